//! Which requests a small model keeps and which go to a large one: decisions on plain numbers,
//! without HTTP and without storage.
//!
//! [`fit()`] takes graded requests to a [`RouteFit`], and [`RouteFit::decide`] is all that serving
//! needs. [`bound`] chooses a threshold on the small model's score such that failures among what is kept
//! stay under a stated share with a stated confidence; [`curve`] says what large calls buy.

pub mod bound;
pub mod codes;
pub mod curve;
mod fit;
mod graded;
mod parts;

pub use fit::{Decision, FitOptions, Fitted, RouteFit, SCHEMA, Sealed, fit};
pub use graded::{Failure, Graded};
