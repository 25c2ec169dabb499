//! Findings: each names its rows, and shows nothing personal.

use crate::evidence::Evidence;
use crate::part::Part;
use crate::personal;
use serde::{Deserialize, Serialize};

/// A row, as its file knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRef {
    /// The part; its file is in the report's list of parts.
    pub part: Part,
    /// Number of the record, from 1.
    pub row: u64,
    /// Line in the file, from 1.
    pub line: u64,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong, in a few words.
    pub message: String,
    /// The rows it is about; at most [`Finding::MAX_ROWS`].
    pub rows: Vec<RowRef>,
    /// How many rows it is about.
    pub rows_total: u64,
    /// The beginning of the first row's text, with personal data hidden.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub excerpt: Option<String>,
    /// The label that stands there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<String>,
    /// The label that would fit better.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suggested: Option<String>,
    /// Similarity, or how sure the finding is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub score: Option<f32>,
}

impl Finding {
    /// Rows named in one finding.
    pub const MAX_ROWS: usize = 20;

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Finding {
            message: message.into(),
            rows: Vec::new(),
            rows_total: 0,
            excerpt: None,
            label: None,
            suggested: None,
            score: None,
        }
    }

    /// Names the rows; the first one gives the excerpt.
    pub(crate) fn rows(
        mut self,
        evidence: &Evidence<'_>,
        rows: impl IntoIterator<Item = u32>,
    ) -> Self {
        for row in rows {
            let (part, example) = evidence.rows[row as usize];
            if self.rows.is_empty() {
                self.excerpt = Some(excerpt(&example.text)).filter(|text| !text.is_empty());
            }
            if self.rows.len() < Self::MAX_ROWS {
                self.rows.push(RowRef { part, row: example.row, line: example.line });
            }
            self.rows_total += 1;
        }
        self
    }
}

/// What a check found: everything is counted, the first findings are kept.
#[derive(Default)]
pub struct Findings {
    pub(crate) kept: Vec<Finding>,
    /// Findings, and rows that any of them is about.
    pub(crate) total: u64,
    pub(crate) rows: u64,
    pub(crate) summary: Option<String>,
    limit: usize,
}

impl Findings {
    pub(crate) fn new(evidence: &Evidence<'_>) -> Self {
        Findings { limit: evidence.options.max_findings, ..Findings::default() }
    }

    /// Counts a finding about so many rows; it is made only if it will be kept.
    pub(crate) fn push(&mut self, rows: u64, finding: impl FnOnce() -> Finding) {
        self.total += 1;
        self.rows += rows;
        if self.kept.len() < self.limit {
            self.kept.push(finding());
        }
    }
}

/// The beginning of a text on one line, with personal data hidden. A text is cut only after that,
/// so that no half of a number is left.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS: usize = 100;
    const LOOK: usize = 2000;
    let start: String = text.chars().take(LOOK).collect();
    let safe = personal::redact(&start);
    let mut line = String::new();
    for (at, c) in safe.trim().chars().enumerate() {
        if at == CHARS {
            line.push('…');
            break;
        }
        line.push(if c.is_whitespace() { ' ' } else { c });
    }
    line
}
