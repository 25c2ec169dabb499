//! Readers, examples, the data gate's checks, splits and dataset versions.
//!
//! [`read`] brings a file of any supported format into memory; [`split`] takes parts off it and
//! seals the test part; [`check`] looks for whatever makes later numbers worthless; [`clean`]
//! writes a better version beside the old one, and [`pick`] the most useful few of its rows.

mod check;
mod clean;
pub mod codes;
mod evidence;
mod example;
mod label_errors;
mod near;
mod parallel;
mod part;
mod personal;
mod pick;
mod read;
mod report;
mod same;
mod seal;
mod split;
mod text;
mod version;
mod write_parquet;

pub use check::{
    AnswerRule, Check, CheckOptions, Finding, Findings, FromModel, Length, LengthLimit, Look,
    Outcome, RowRef, Severity, check, checks,
};
pub use clean::{Action, CleanPolicy, Cleaned, LogEntry, Manifest, ManifestFile, clean};
pub use example::{Dataset, Example};
pub use label_errors::{LabelErrorOptions, Probabilities};
pub use near::NearOptions;
pub use part::{Part, Parts};
pub use personal::{PersonalKind, PersonalSpan, find_personal, redact};
pub use pick::{Picked, pick};
pub use read::{Format, ReadOptions, read, read_columns, read_interruptibly};
pub use report::{CheckReport, PartReport, Report, Status, Verdict};
pub use seal::{Opening, Seal};
pub use split::{Given, Split, SplitOptions, split};
pub use text::normalized;
pub use version::{read_rows, write_rows};
pub use write_parquet::{Cells, write_parquet};
