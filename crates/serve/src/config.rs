//! The settings of the server.

use crate::console::Console;
use crate::keys::Keys;
use crate::watching::Watcher;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The settings of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Who may use it; empty: everybody.
    pub keys: Keys,
    /// Who may promote and roll back; empty: nobody.
    pub admins: Keys,
    /// Names under which browsers reach the page where no key is asked for, besides `localhost` and
    /// plain addresses.
    pub hosts: Vec<String>,
    /// What the page and the admin API look at; without it they say that there is nothing.
    pub console: Option<Arc<dyn Console>>,
    /// Whether `/metrics` answers without a key.
    pub open_metrics: bool,
    /// The longest body, in bytes.
    pub body_limit: usize,
    /// Inputs in one request, at most.
    pub max_inputs: usize,
    /// The longest input, in bytes.
    pub max_input_bytes: usize,
    /// Requests at once; further ones are answered with 429.
    pub max_concurrent: usize,
    /// Connections at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// Time for one request, from its head to its answer.
    pub request_timeout: Duration,
    /// Time to send the head of a request.
    pub header_timeout: Duration,
    /// Time that running requests get when the server stops.
    pub drain_timeout: Duration,
    /// Whether SIGTERM and Ctrl-C stop the server.
    pub handle_signals: bool,
    /// What keeps feedback and watches; without one these addresses answer 404.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// What `/v1/route` answers.
    pub route: RouteView,
}

/// Tells of the route behind the preferred model, at the moment when it is asked; nothing where
/// there is no route. What it tells is the caller's matter: the server knows no routes.
#[derive(Clone)]
pub struct RouteView {
    tell: Arc<dyn Fn() -> Option<Value> + Send + Sync>,
    shadowed: Arc<dyn Fn() -> Vec<Shadowed> + Send + Sync>,
}

/// Requests that a large model was asked about as well, in the background, for `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The version whose answers were compared.
    pub version: String,
    /// What became of them, such as `agreed`.
    pub outcome: &'static str,
    /// How many there were since the server started: it never falls.
    pub count: u64,
}

impl RouteView {
    /// A view that `tell` gives. It is called on the path of requests and must not block.
    pub fn new(tell: impl Fn() -> Option<Value> + Send + Sync + 'static) -> Self {
        RouteView { tell: Arc::new(tell), shadowed: Arc::new(Vec::new) }
    }

    /// The same with what became of shadowed requests.
    #[must_use]
    pub fn with_shadowed(
        self,
        shadowed: impl Fn() -> Vec<Shadowed> + Send + Sync + 'static,
    ) -> Self {
        RouteView { shadowed: Arc::new(shadowed), ..self }
    }

    /// What is to be told now.
    pub(crate) fn tell(&self) -> Option<Value> {
        (self.tell)()
    }

    /// What became of shadowed requests so far.
    pub(crate) fn shadowed(&self) -> Vec<Shadowed> {
        (self.shadowed)()
    }
}

impl Default for RouteView {
    fn default() -> Self {
        RouteView::new(|| None)
    }
}

impl std::fmt::Debug for RouteView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteView")
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            keys: Keys::default(),
            admins: Keys::default(),
            hosts: Vec::new(),
            console: None,
            open_metrics: false,
            body_limit: 4 << 20,
            max_inputs: 2048,
            max_input_bytes: 256 << 10,
            max_concurrent: 256,
            max_connections: 1024,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            handle_signals: true,
            watcher: None,
            route: RouteView::default(),
        }
    }
}
