//! What people say about answers: right, wrong, and what would have been right.

use crate::{TraceRow, codes};
use serde::{Deserialize, Serialize};
use sprat_store::{Feedback, FeedbackRow, NewFeedback, sqlite::SqliteTraces};
use sprat_task::{Error, Result, Timestamp};
use std::path::Path;

/// The longest identifier and the longest author, in bytes.
const NAME: usize = 128;
/// The longest label, in bytes.
const LABEL: usize = 1024;
/// The longest corrected answer, in bytes.
const OUTPUT: usize = 64 << 10;
/// Rows read at a time.
const PAGE: u64 = 1000;

/// Who said it where nobody is named.
pub const ANONYMOUS: &str = "anonymous";

/// Whether an answer was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was.
    Right,
    /// It was not.
    Wrong,
}

/// What somebody says about an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The request's id, as the response's `x-request-id` or its body names it.
    pub id: String,
    /// Which input of the request, from 0.
    #[serde(default)]
    pub index: usize,
    /// Whether the answer was right.
    pub verdict: Verdict,
    /// The right label, where it is known.
    #[serde(default)]
    pub label: Option<String>,
    /// The right answer of a model that writes, where it is known.
    #[serde(default)]
    pub output: Option<String>,
    /// Who says it; what the same person said before about the same answer is replaced.
    #[serde(default)]
    pub by: Option<String>,
}

/// The feedback in the traces' database.
pub struct FeedbackLog(Box<dyn Feedback>);

impl FeedbackLog {
    /// Opens the traces' database. What is written through this handle is on disk before
    /// [`FeedbackLog::give`] returns.
    ///
    /// # Errors
    /// Those of [`SqliteTraces::open_durable`].
    pub fn open(path: &Path) -> Result<FeedbackLog> {
        Ok(FeedbackLog(Box::new(SqliteTraces::open_durable(path)?)))
    }

    /// Keeps feedback; `false` when exactly this had been said already.
    ///
    /// # Errors
    /// [`codes::TRACE`] for an id that no trace has, [`codes::FEEDBACK`] for what cannot be kept
    /// (with the field), and the store's.
    pub fn give(&self, said: &Said, now: Timestamp) -> Result<bool> {
        let wrong = |field: &str, what: String| {
            Err(Error::new(&codes::FEEDBACK, what).field(field.to_owned()))
        };
        let author = said.by.as_deref().unwrap_or(ANONYMOUS);
        let label = said.label.as_deref().map(str::trim);
        for (field, value, most) in [
            ("id", Some(said.id.as_str()), NAME),
            ("by", Some(author), NAME),
            ("label", label, LABEL),
            ("output", said.output.as_deref(), OUTPUT),
        ] {
            if value.is_some_and(|value| value.len() > most) {
                return wrong(field, format!("`{field}` is longer than {most} bytes"));
            }
            if field != "output" && value.is_some_and(str::is_empty) {
                return wrong(field, format!("`{field}` is empty"));
            }
        }
        let unknown = || {
            let id: String = said.id.chars().take(80).collect();
            let what = format!("there is no trace of request `{id}`, input {}", said.index);
            Err(Error::new(&codes::TRACE, what).field("id"))
        };
        let Some((trace, row)) = self.find(&said.id, said.index)? else { return unknown() };
        let good = said.verdict == Verdict::Right;
        if let (Some(wanted), Some(answered)) = (label, row.label.as_deref())
            && good != (wanted == answered)
        {
            let what = match good {
                true => {
                    format!("the answer was `{answered}`: it cannot be right when `{wanted}` is")
                }
                false => {
                    format!("the answer was `{answered}`: it cannot be wrong and right at once")
                }
            };
            return wrong("label", what);
        }
        let new =
            NewFeedback { trace, author, good, label, output: said.output.as_deref(), at: now };
        match self.0.give(&new)? {
            Some(new) => Ok(new),
            None => unknown(),
        }
    }

    /// The newest trace of a request's input, with its position. The ids in the bodies of chat
    /// answers work too.
    ///
    /// # Errors
    /// The store's.
    pub fn find(&self, id: &str, index: usize) -> Result<Option<(u64, TraceRow)>> {
        let bare = ["chatcmpl-", "cmpl-"].iter().find_map(|prefix| id.strip_prefix(prefix));
        let name = |id: &str| if index == 0 { id.to_owned() } else { format!("{id}-{index}") };
        match self.0.find(&name(id))? {
            None => bare.map_or(Ok(None), |bare| self.0.find(&name(bare))),
            found => Ok(found),
        }
    }

    /// Calls `visit` with all feedback and the traces it is about, oldest first.
    ///
    /// # Errors
    /// The store's, or the visitor's.
    pub fn each(&self, mut visit: impl FnMut(FeedbackRow, TraceRow) -> Result<()>) -> Result<()> {
        let mut after = 0;
        loop {
            let page = self.0.given(after, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = last.position;
            for (feedback, trace) in page {
                visit(feedback, trace)?;
            }
        }
    }
}

/// The right label by what was said about an answer: the corrected one, or the answered one where
/// it was right.
pub fn gold_label<'a>(feedback: &'a FeedbackRow, trace: &'a TraceRow) -> Option<&'a str> {
    let answered = trace.label.as_deref().filter(|_| feedback.good);
    feedback.label.as_deref().or(answered)
}
