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
    /// What the answer cost, in US dollars, where prices are known.
    #[serde(default)]
    pub usd: Option<f64>,
    /// Whether the answer was of the right form; none where there was no answer to judge.
    #[serde(default)]
    pub valid: Option<bool>,
    /// What was written, where the policy keeps texts and the model writes.
    #[serde(default)]
    pub output: Option<String>,
    /// The embedding of the input in few bytes, in the form of the crate above. Not written out
    /// with the other columns.
    #[serde(skip)]
    pub sketch: Option<Vec<u8>>,
}

/// What somebody said about an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedbackRow {
    /// The how-manieth change of feedback it is; grows.
    pub position: u64,
    /// The position of the trace.
    pub trace: u64,
    /// Who said it.
    pub author: String,
    /// Whether the answer was right.
    pub good: bool,
    /// The right label, where it is known.
    pub label: Option<String>,
    /// The right answer of a model that writes, where it is known.
    pub output: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Feedback that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewFeedback<'a> {
    /// The position of the trace.
    pub trace: u64,
    /// Who says it.
    pub author: &'a str,
    /// Whether the answer was right.
    pub good: bool,
    /// The right label.
    pub label: Option<&'a str>,
    /// The right answer.
    pub output: Option<&'a str>,
    /// When.
    pub at: Timestamp,
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
    /// Positions grow and are never used twice.
    ///
    /// # Errors
    /// The backend's.
    fn read(&self, filter: &TraceFilter) -> Result<Vec<(u64, TraceRow)>>;

    /// The row that was added last.
    ///
    /// # Errors
    /// The backend's.
    fn newest(&self) -> Result<Option<TraceRow>>;

    /// Removes rows older than `before`, and the oldest ones beyond `keep` rows, with the feedback
    /// on them; says how many rows.
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

/// Keeps what people say about answers.
pub trait Feedback: Send + Sync {
    /// The newest trace with an identifier, and its position.
    ///
    /// # Errors
    /// The backend's.
    fn find(&self, id: &str) -> Result<Option<(u64, TraceRow)>>;

    /// Keeps feedback; what the same author said before about the same trace is replaced. `None`
    /// when the trace is gone, `Some(false)` when exactly this had been said already.
    ///
    /// # Errors
    /// The backend's.
    fn give(&self, new: &NewFeedback<'_>) -> Result<Option<bool>>;

    /// Feedback after a position with the traces it is about, oldest first, `limit` at most.
    ///
    /// # Errors
    /// The backend's.
    fn given(&self, after: u64, limit: u64) -> Result<Vec<(FeedbackRow, TraceRow)>>;
}
