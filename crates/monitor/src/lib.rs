//! Traces of served requests: written off the hot path, read back for reports and drift tests.
//!
//! [`Recorder::record`] never blocks and never fails: it puts the request into a bounded queue,
//! and a thread of its own writes batches to `traces.sqlite`. What does not fit is dropped and
//! counted. [`TraceLog`] reads.
//!
//! [`Watch`] compares the stream of requests with a clean history, test by test ([`drift`]), with
//! a bound on the rate of false alarms ([`sequential`]). [`quality`] estimates the accuracy without
//! labels, or with few.

pub mod codes;
pub mod drift;
mod feedback;
mod key;
mod log;
mod observation;
mod policy;
pub mod quality;
mod recorder;
pub mod sequential;
pub mod shifts;
mod sketch;
mod state;
pub mod trial;
mod watch;
mod writer;

pub use feedback::{ANONYMOUS, FeedbackLog, Said, Verdict, gold_label};
pub use key::HashKey;
pub use log::TraceLog;
pub use observation::Observation;
pub use policy::TextPolicy;
pub use recorder::{Observed, Options, Recorder, Retention, Stats};
pub use sketch::{Sketcher, unsketch};
pub use sprat_store::{FeedbackRow, TraceFilter, TraceRow};
pub use state::{
    Accuracy, Act, Alarm, Outcome, Phase, Setup, TestState, Verdict as TestVerdict, WatchState,
    is_answer,
};
pub use watch::{DriftAlarm, Standing, Watch, WatchOptions};
