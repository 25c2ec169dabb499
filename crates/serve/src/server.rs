//! The server: listening, serving connections, stopping.

use crate::codes;
use crate::config::Config;
use crate::gate;
use crate::guard::{self, Peer};
use crate::links::Links;
use crate::meter::Meter;
use crate::models::Models;
use crate::state::State;
use crate::trace::TraceSink;
use crate::{admin, chat, classify, completions, embeddings, operations, page, watching};
use axum::Router;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sprat_task::{Clock, Error, Interrupt, Result};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::Layer;

/// How many may look at the project at once.
const LOOKS: usize = 8;
use tokio::task::JoinSet;

/// Serves until the interrupt is requested, or SIGTERM or Ctrl-C comes where `config` says so,
/// then answers what is running and returns. `ready` is told the address once it listens.
/// Its sockets wait on [`sprat_infer::network`]; not to be called from async code.
///
/// # Errors
/// [`codes::PORT`] when the address cannot be had, [`codes::START`] when the system gives no
/// threads.
pub fn run(
    config: Config,
    models: Arc<dyn Models>,
    traces: Arc<dyn TraceSink>,
    clock: Arc<dyn Clock>,
    shutdown: &Interrupt,
    ready: impl FnOnce(SocketAddr),
) -> Result<()> {
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Error::new(&codes::START, what).why(why.to_string())
    };
    let mut prefix = [0; 4];
    getrandom::fill(&mut prefix).map_err(|why| failed("no random numbers", &why))?;
    let state = Arc::new(State {
        permits: Arc::new(Semaphore::new(config.max_concurrent.clamp(1, 1 << 20))),
        looks: Semaphore::new(LOOKS),
        tally: Mutex::default(),
        links: Links::new().map_err(|why| failed("no random numbers", &why))?,
        meter: Meter::new()?,
        models,
        traces,
        clock,
        draining: AtomicBool::new(false),
        id_prefix: u32::from_le_bytes(prefix),
        id_next: AtomicU64::new(0),
        config,
    });
    sprat_infer::network()?.block_on(async {
        let listener = listen(state.config.address).await?;
        let address = listener.local_addr().unwrap_or(state.config.address);
        if state.config.keys.is_empty() && !address.ip().is_loopback() {
            tracing::warn!(%address, "everybody who reaches this address may use the server");
        }
        ready(address);
        serve(listener, Arc::clone(&state), shutdown).await;
        Ok(())
    })
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|why| {
        let port = address.port();
        let error = Error::new(&codes::PORT, format!("cannot listen on {address}"));
        match why.kind() {
            ErrorKind::AddrInUse => error.why(format!("port {port} is in use")).help(format!(
                "Stop the program that uses port {port} (`ss -ltnp 'sport = :{port}'` names it), \
                 or choose another port."
            )),
            ErrorKind::PermissionDenied => error
                .why(format!("this user may not open port {port}"))
                .help("Choose a port from 1024 on."),
            ErrorKind::AddrNotAvailable => error
                .why("this machine does not have that address")
                .help("Listen on 127.0.0.1, or on 0.0.0.0 for all addresses of the machine."),
            _ => error.why(why.to_string()),
        }
    })
}

fn router(state: Arc<State>) -> Router {
    let gates =
        |which: fn(Arc<State>, axum::extract::Request, axum::middleware::Next) -> GateFuture| {
            let state = Arc::clone(&state);
            from_fn(move |request, next| which(Arc::clone(&state), request, next))
        };
    let work = Router::new()
        .route("/v1/chat/completions", post(chat::chat))
        .route("/v1/completions", post(completions::completions))
        .route("/v1/classify", post(classify::classify))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/feedback", post(watching::feedback))
        .route_layer(gates(|state, request, next| Box::pin(gate::admit(state, request, next))));
    let mut looking = Router::new()
        .route("/v1/models", get(operations::models))
        .route("/v1/models/{model}", get(operations::model))
        .route("/v1/watch", get(watching::watch))
        .route("/v1/route", get(operations::route));
    // The queue shows texts of requests, so it is guarded like the project.
    let inspecting = Router::new()
        .route("/v1/labels", get(watching::labels))
        .route("/admin/overview", get(admin::overview))
        .route("/admin/releases", get(admin::releases))
        .route("/admin/releases/{version}", get(admin::release))
        .route("/admin/diff", get(admin::diff))
        .route("/admin/reports", get(admin::reports))
        .route_layer(gates(|state, request, next| Box::pin(guard::inspect(state, request, next))));
    let changing = Router::new()
        .route("/admin/promote", post(admin::promote))
        .route("/admin/rollback", post(admin::rollback))
        .route_layer(gates(|state, request, next| Box::pin(guard::change(state, request, next))));
    let mut open = Router::new()
        .route("/", get(page::root))
        .route("/page/{file}", get(page::asset))
        // It checks by itself, for links to reports carry their permission.
        .route("/admin/reports/{name}", get(admin::report))
        .route("/healthz", get(operations::healthz))
        .route("/readyz", get(operations::readyz))
        .route("/openapi.json", get(operations::openapi));
    if state.config.open_metrics {
        open = open.route("/metrics", get(operations::metrics));
    } else {
        looking = looking.route("/metrics", get(operations::metrics));
    }
    let looking = looking
        .route_layer(gates(|state, request, next| Box::pin(gate::look(state, request, next))));
    work.merge(looking)
        .merge(inspecting)
        .merge(changing)
        .merge(open)
        .fallback(operations::nowhere)
        .method_not_allowed_fallback(operations::wrong_method)
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked))
        .layer(gates(|state, request, next| Box::pin(gate::measure(state, request, next))))
        .with_state(Arc::clone(&state))
}

type GateFuture = std::pin::Pin<Box<dyn Future<Output = Response> + Send>>;

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    crate::error::ApiError::plain(&codes::PANIC, "the server met an unexpected state")
        .into_response()
}

async fn serve(listener: TcpListener, state: Arc<State>, shutdown: &Interrupt) {
    let service = router(Arc::clone(&state));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(state.config.header_timeout);
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(state.config.max_connections.clamp(1, 1 << 20)));
    let mut running = JoinSet::new();
    let mut stop = std::pin::pin!(stopped(&state.config, shutdown));
    let mut upkeep = tokio::time::interval(Duration::from_secs(5));
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            _ = upkeep.tick() => {
                state.meter.upkeep();
                continue;
            }
            Some(_) = running.join_next() => continue,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, permit)) = accepted else { continue };
        // Small answers must not wait for further data.
        let _ = stream.set_nodelay(true);
        let from = axum::Extension(Peer(stream.peer_addr().ok()));
        let service = TowerToHyperService::new(from.layer(service.clone()));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        running.spawn(async move {
            if let Err(why) = connection.await {
                tracing::debug!(%why, "a connection ended");
            }
            drop(permit);
        });
    }
    state.draining.store(true, Ordering::Relaxed);
    drop(listener);
    tracing::info!("stopping: running requests are finished first");
    if tokio::time::timeout(state.config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off: they took longer than the drain timeout");
    }
    running.shutdown().await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(why) => {
            // Usually too many open files: to try at once would only burn time.
            tracing::warn!(%why, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Ends when the server is to stop.
async fn stopped(config: &Config, shutdown: &Interrupt) {
    let asked = async {
        while !shutdown.requested() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if !config.handle_signals {
        return asked.await;
    }
    tokio::select! {
        () = asked => {}
        () = signalled() => {}
    }
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn signalled() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
