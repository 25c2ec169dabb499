//! Storage traits and their backends: SQLite for rows, a folder of content-addressed blobs for
//! bytes.
//!
//! The traits ([`Versions`], [`Aliases`], [`Steps`], [`Journal`], [`Traces`], [`Blobs`]) speak of
//! rows with opaque bodies: what a body means is for the crates above. Each trait has one set of
//! contract tests that runs on every backend. [`sqlite`] and [`memory`] implement the row traits;
//! [`FolderBlobs`] and [`MemoryBlobs`] keep the bytes. Further backends (PostgreSQL, S3) belong
//! behind the same traits, and the SQL is kept to what both databases understand.

pub mod blobs;
pub mod codes;
#[cfg(test)]
mod contract;
mod lock;
pub mod memory;
mod rows;
pub mod sqlite;
mod traces;

pub use blobs::{BlobInfo, Blobs, FolderBlobs, MemoryBlobs};
pub use lock::Lock;
pub use rows::{
    Added, AliasRow, Aliases, EventRow, Journal, MoveRow, NewAliasMove, NewOpening, NewVersion,
    OpeningRow, Rows, StepRow, Steps, VersionRow, Versions,
};
pub use traces::{Feedback, FeedbackRow, NewFeedback, TraceFilter, TraceRow, Traces};
