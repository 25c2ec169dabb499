//! Which requests a small model keeps and which go to a large one. Nothing here knows HTTP or
//! storage.
//!
//! Where the line is: [`fit()`] takes graded requests to a [`RouteFit`]. [`bound`] chooses a
//! threshold on the small model's score such that failures among what is kept stay under a stated
//! share with a stated confidence; [`curve`] says what large calls buy.
//!
//! At work: [`Routed`] is a [`sprat_infer::Generator`] over a small model and [`Upstreams`]. A
//! [`Policy`] divides the requests ([`policy`], one file each); private requests stay whatever it
//! says, and every answer names the side that gave it and why.

pub mod bound;
mod breaker;
mod budget;
pub mod codes;
pub mod curve;
mod fit;
mod graded;
mod head;
mod ledger;
mod parts;
pub mod policy;
mod private;
mod routed;
mod turns;
mod upstreams;

pub use breaker::Breaker;
pub use budget::{Budget, Charge, Limit, Limits, Spent};
pub use fit::{Decision, FitOptions, Fitted, RouteFit, SCHEMA, Sealed, fit};
pub use graded::{Failure, Graded};
pub use head::{Head, Trained};
pub use ledger::LEDGER_EVERY;
pub use parts::Parts;
pub use policy::after::{Keep, confidence, scored};
pub use policy::before::Before;
pub use policy::raise::{Raise, Raised};
pub use policy::{Decider, Policy, Side};
pub use private::{Private, PrivateRules};
pub use routed::{Explained, Routed, Step};
pub use upstreams::{Upstream, Upstreams};
