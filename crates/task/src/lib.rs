//! The task description, settings, errors, digests, units, clock and random source that
//! everything else shares.

mod clock;
mod digest;
mod error;
mod progress;
pub mod random;
pub mod settings;
pub mod write;

pub use clock::{Clock, FakeClock, SystemClock, Timestamp};
pub use digest::{Digest, NotADigest};
pub use error::{Code, Error, Kind, Place, Result};
pub use progress::{INTERRUPTED, Interrupt, Progress, Quiet};

/// All error codes of this crate.
pub static ALL: &[&Code] =
    &[&INTERRUPTED, &settings::UNREADABLE, &settings::INVALID, &settings::UNKNOWN_KEY];
