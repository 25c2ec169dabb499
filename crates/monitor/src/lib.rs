//! Traces of served requests: written off the hot path, read back for reports and drift tests.
//!
//! [`Recorder::record`] never blocks and never fails: it puts the request into a bounded queue,
//! and a thread of its own writes batches to `traces.sqlite`. What does not fit is dropped and
//! counted. [`TraceLog`] reads.

pub mod codes;
mod key;
mod log;
mod policy;
mod recorder;
mod writer;

pub use key::HashKey;
pub use log::TraceLog;
pub use policy::TextPolicy;
pub use recorder::{Observed, Options, Recorder, Retention, Stats};
pub use sprat_store::{TraceFilter, TraceRow};
