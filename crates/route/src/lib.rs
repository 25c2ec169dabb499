//! Which requests a small model keeps and which go to a large one: decisions on plain numbers,
//! without HTTP and without storage.
//!
//! [`bound`] chooses a threshold on the small model's score such that failures among what is kept
//! stay under a stated share with a stated confidence; [`curve`] says what large calls buy.

pub mod bound;
pub mod curve;
mod graded;

pub use graded::{Failure, Graded};
