//! The Generator interface and its implementations: local engines for encoders
//! (dynamic batching) and for decoders (continuous batching over a paged cache), and remote ones.
//!
//! [`Generator`] is the one interface through which base, tuned, shrunk and hosted models are
//! used, so that benchmark, serving and monitoring share one code path. A request is submitted
//! and gives a [`Pending`], which yields [`Event`]s to a thread or to an async task alike.

mod answer;
mod batcher;
mod channel;
pub mod codes;
pub mod constraint;
mod decoder;
mod embedder;
mod encoder;
mod engine;
mod estimate;
mod generator;
mod network;
mod queue;
pub mod remote;
mod request;
mod sampling;

pub use answer::{
    Answer, Asking, Delta, Event, Finish, Pending, Reply, Route, Timing, Variant, reply,
};
pub use batcher::Limits;
pub use decoder::{Behaviour, DecoderEngine, DecoderLimits, DecoderModel};
pub use embedder::{Embedder, Embedding, EncoderEmbedder, PendingEmbedding, TextEmbedder};
pub use encoder::WithEmbeddings;
pub use engine::{EncoderEngine, Scored, TextClassifier};
pub use estimate::{Estimate, Usage, tokens_at_most};
pub use generator::{Generator, Load};
pub use network::network;
pub use remote::Remote;
pub use request::{Caller, Constraint, Input, Message, Request, Role, Tool, ToolChoice, Tools};
pub use sampling::{Sampling, TokenScore};
