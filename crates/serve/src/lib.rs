//! The HTTP server: OpenAI-compatible API, classification API, limits, keys and shutdown.
//!
//! [`run`] serves whatever [`Models`] resolves and leaves a [`Trace`] per input in a
//! [`TraceSink`]. It knows neither weights nor storage.

mod admin;
mod body;
mod chat;
mod classify;
pub mod codes;
mod completions;
mod config;
pub mod console;
mod document;
mod drawing;
mod embeddings;
mod error;
mod exchange;
mod follow;
mod gate;
mod guard;
pub mod keys;
mod links;
mod meter;
mod models;
mod operations;
mod page;
mod schema;
mod server;
mod sse;
mod state;
mod tools;
mod trace;
mod watching;
mod wire;

pub use config::{Config, RouteView, Shadowed};
pub use document::openapi;
pub use follow::{Source, follow};
pub use models::{Models, Served, Table, unambiguous};
pub use server::run;
pub use trace::{NoTraces, Trace, TraceSink};
pub use watching::{Gauge, Watcher};

/// Parses a body as each of the endpoints does, for fuzzing: it must not panic.
#[doc(hidden)]
pub fn parse_bodies(bytes: &[u8]) {
    let _ = body::parse::<wire::ChatRequest>(bytes).map_err(|error| error.body());
    let _ = body::parse::<wire::ClassifyRequest>(bytes).map_err(|error| error.body());
    let _ = body::parse::<wire::EmbeddingsRequest>(bytes).map_err(|error| error.body());
    let _ = body::parse::<watching::FeedbackRequest>(bytes).map_err(|error| error.body());
}
