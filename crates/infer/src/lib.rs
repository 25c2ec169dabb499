//! The Generator interface and its implementations: local with dynamic batching, and remote.
//!
//! [`Generator`] is the one interface through which base, tuned, shrunk and hosted models are
//! used, so that benchmark, serving and monitoring share one code path. A request is submitted
//! and gives a [`Pending`], which yields [`Event`]s to a thread or to an async task alike.

mod answer;
mod batcher;
mod channel;
pub mod codes;
pub mod constraint;
mod embedder;
mod encoder;
mod engine;
mod generator;
mod queue;
pub mod remote;
mod request;

pub use answer::{Answer, Event, Finish, Pending, Reply, Timing, reply};
pub use batcher::Limits;
pub use embedder::{Embedder, Embedding, EncoderEmbedder, PendingEmbedding, TextEmbedder};
pub use engine::{EncoderEngine, Scored, TextClassifier};
pub use generator::{Generator, Load};
pub use remote::Remote;
pub use request::{Constraint, Input, Message, Request, Role, Tool, ToolChoice, Tools};
