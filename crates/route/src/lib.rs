//! Which requests a small model keeps and which go to a large one. Nothing here knows HTTP or
//! storage.
//!
//! Where the line is: [`fit()`] takes graded requests to a [`RouteFit`]. [`bound`] chooses a
//! threshold on the small model's score such that failures among what is kept stay under a stated
//! share with a stated confidence; [`curve`] says what large calls buy.
//!
//! At work: [`Routed`] is a [`sprat_infer::Generator`] over a small model and [`Upstreams`]. The
//! small model answers, and its confidence decides whether its answer is kept; private requests
//! stay whatever it is.

pub mod bound;
mod breaker;
mod budget;
pub mod codes;
pub mod curve;
mod fit;
mod graded;
mod parts;
mod private;
mod routed;
mod upstreams;

pub use breaker::Breaker;
pub use budget::{Budget, Limit, Limits, Spent};
pub use fit::{Decision, FitOptions, Fitted, RouteFit, SCHEMA, Sealed, fit};
pub use graded::{Failure, Graded};
pub use private::{Private, Rules};
pub use routed::{Keep, Policy, Routed};
pub use upstreams::{Upstream, Upstreams};
