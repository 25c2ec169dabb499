//! Which requests a small model keeps and which go to a large one.
//!
//! [`Routed`] is a [`sprat_infer::Generator`] over a small model and [`Upstreams`]: the small
//! model answers, and its confidence decides whether its answer is kept. Nothing here knows HTTP
//! or storage.

mod breaker;
mod budget;
pub mod codes;
mod private;
mod routed;
mod upstreams;

pub use breaker::Breaker;
pub use budget::{Budget, Limit, Limits, Spent};
pub use private::{Private, Rules};
pub use routed::{Policy, Routed, WhenLargeFails};
pub use upstreams::{Upstream, Upstreams};
