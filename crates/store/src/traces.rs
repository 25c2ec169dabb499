//! Rows of served requests.

use serde::{Deserialize, Serialize};
use sprat_task::{Result, Timestamp};

/// One served request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    /// The request's identifier, as the client got it.
    pub id: String,
    /// When it was answered.
    pub at: Timestamp,
    /// The task that it asked for.
    pub task: String,
    /// The version that answered.
    pub version: String,
    /// The input, where the policy keeps it.
    pub text: Option<String>,
    /// A keyed digest of the input, where the policy hashes it.
    pub text_hash: Option<String>,
    /// The label that was answered, if any.
    pub label: Option<String>,
    /// The calibrated confidence, from 0 to 1.
    pub confidence: Option<f64>,
    /// The best scores, best first.
    pub scores: Vec<(String, f64)>,
    /// Time from receipt to answer, in milliseconds.
    pub latency_ms: f64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// The HTTP status, or 0 outside HTTP.
    pub status: u16,
    /// Which model of a route answered, if there is a route.
    pub route: Option<String>,
}

/// Which traces to read.
#[derive(Clone, Debug, Default)]
pub struct TraceFilter {
    /// Only this task.
    pub task: Option<String>,
    /// Only this version.
    pub version: Option<String>,
    /// Only at this moment or later.
    pub since: Option<Timestamp>,
    /// Only before this moment.
    pub before: Option<Timestamp>,
    /// Only after this position (see [`Traces::read`]); for reading in pages.
    pub after: u64,
    /// At most so many rows; `None` for all.
    pub limit: Option<u64>,
}

/// Keeps traces.
pub trait Traces: Send + Sync {
    /// Adds rows, all or none.
    ///
    /// # Errors
    /// The backend's.
    fn append(&self, rows: &[TraceRow]) -> Result<()>;

    /// How many rows match (`after` and `limit` are ignored).
    ///
    /// # Errors
    /// The backend's.
    fn count(&self, filter: &TraceFilter) -> Result<u64>;

    /// The rows that match with their positions, in the order in which they were added.
    /// Positions grow and are never used twice while any later row exists.
    ///
    /// # Errors
    /// The backend's.
    fn read(&self, filter: &TraceFilter) -> Result<Vec<(u64, TraceRow)>>;

    /// Removes rows older than `before`, and the oldest ones beyond `keep` rows; says how many.
    ///
    /// # Errors
    /// The backend's.
    fn prune(&self, before: Option<Timestamp>, keep: Option<u64>) -> Result<u64>;

    /// Lets the database check itself; each line names one thing that is broken.
    ///
    /// # Errors
    /// The backend's.
    fn check(&self) -> Result<Vec<String>>;
}
