//! The settings of a hosted model.

use super::redact::Secret;
use crate::codes;
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest file of a key, in bytes.
const KEY_BYTES: usize = 16 << 10;

/// Whether a label is asked for through `response_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Structured {
    /// Yes, until the endpoint says that it does not know it.
    #[default]
    Auto,
    /// Yes; an endpoint that does not know it is an error.
    Always,
    /// No: by instruction alone.
    Never,
}

/// What a hosted model costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// US dollars for a million tokens read.
    pub usd_per_million_input_tokens: f64,
    /// US dollars for a million tokens written.
    pub usd_per_million_output_tokens: f64,
}

impl Prices {
    /// What so many tokens cost, in US dollars.
    pub(crate) fn of(&self, read: usize, written: usize) -> f64 {
        (read as f64 * self.usd_per_million_input_tokens
            + written as f64 * self.usd_per_million_output_tokens)
            / 1e6
    }
}

/// A hosted model and how to ask it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name under which it answers, such as `openai:gpt-large`.
    pub name: String,
    /// Where the API begins, usually ending in `/v1`.
    pub base_url: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// The key, if the endpoint wants one.
    pub api_key: Option<Secret>,
    /// What the task is, in words: it precedes the conversation as a system message.
    pub instruction: Option<String>,
    /// The labels of a classification task; empty for free text.
    pub labels: Vec<String>,
    /// Whether labels are asked for through `response_format`.
    pub structured: Structured,
    /// Prices, if known.
    pub prices: Option<Prices>,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// The longest silence within an answer whose head is there.
    pub idle_timeout: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// The first wait before a retry; it doubles each time.
    pub backoff: Duration,
    /// The longest wait before a retry, also when the endpoint asks for more.
    pub max_wait: Duration,
    /// Requests at once.
    pub concurrency: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// The longest response that is read, in bytes.
    pub response_limit: u64,
    /// A PEM file of trusted roots instead of Mozilla's, usually `SSL_CERT_FILE`.
    pub roots: Option<PathBuf>,
    /// Whether the proxy of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` is used.
    pub proxy_from_environment: bool,
}

impl Settings {
    /// Settings with the usual limits.
    pub fn new(
        name: impl Into<String>,
        base_url: impl Into<String>,
        model: impl Into<String>,
    ) -> Self {
        Settings {
            name: name.into(),
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            instruction: None,
            labels: Vec::new(),
            structured: Structured::Auto,
            prices: None,
            timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            retries: 4,
            backoff: Duration::from_millis(500),
            max_wait: Duration::from_secs(30),
            concurrency: 4,
            queue: 1024,
            response_limit: 4 << 20,
            roots: None,
            proxy_from_environment: true,
        }
    }

    /// Takes the key and the trusted roots from environment variables, read through `lookup`
    /// (usually `std::env::var(name).ok()`): the key from the variable named `api_key_env`.
    ///
    /// # Errors
    /// [`codes::REMOTE_KEY`] when that variable is not set or empty.
    pub fn with_environment(
        mut self,
        api_key_env: Option<&str>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let get = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        self.roots = get("SSL_CERT_FILE").map(PathBuf::from);
        if let Some(variable) = api_key_env {
            let Some(key) = get(variable) else {
                let what =
                    format!("the key of `{}` is missing: `{variable}` is not set", self.name);
                return Err(Error::new(&codes::REMOTE_KEY, what)
                    .field("api_key_env")
                    .help(format!("Set it: export {variable}=…")));
            };
            self.api_key = Some(Secret::new(key.trim()));
        }
        Ok(self)
    }

    /// Takes the key from a file: its only line.
    ///
    /// # Errors
    /// [`codes::REMOTE_KEY`] when it cannot be read, or does not hold one line of text.
    pub fn with_key_file(mut self, file: &Path) -> Result<Self> {
        let what = |what: &str| format!("the key of `{}` {what}", self.name);
        let text = std::fs::read(file).map_err(|why| {
            Error::new(&codes::REMOTE_KEY, what("cannot be read"))
                .file(file)
                .field("api_key_file")
                .why(why.to_string())
                .help("Correct `api_key_file`, and let this user read the file.")
        })?;
        // What stands in it is not shown, whatever it is.
        let key = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
        if key.is_empty() || key.contains(char::is_whitespace) || text.len() > KEY_BYTES {
            return Err(Error::new(&codes::REMOTE_KEY, what("is no single word in its file"))
                .file(file)
                .field("api_key_file")
                .help("Write the key, and nothing else, into the file."));
        }
        self.api_key = Some(Secret::new(key));
        Ok(self)
    }
}
