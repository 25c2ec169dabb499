//! Rows that say nothing, or teach nothing.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use sprat_task::Result;

/// No text.
pub(super) struct EmptyText;
/// No label.
pub(super) struct MissingLabel;

impl Check for EmptyText {
    fn id(&self) -> &'static str {
        "empty-text"
    }
    fn title(&self) -> &'static str {
        "Rows without text"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "The input holds no letter, digit or symbol: it is empty or white space."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` drops them."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let mut findings = Findings::new(evidence);
        for (row, (_, example)) in evidence.rows.iter().enumerate() {
            if example.text.trim().is_empty() {
                let finding = || Finding::new("no text").rows(evidence, [row as u32]);
                findings.push(1, finding);
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

impl Check for MissingLabel {
    fn id(&self) -> &'static str {
        "missing-label"
    }
    fn title(&self) -> &'static str {
        "Rows without a label"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "The target is missing, empty or white space, in data where other rows have one."
    }
    fn advice(&self) -> &'static str {
        "Label the rows; `sprat data clean` drops them."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if evidence.classes.is_empty() {
            return Ok(Outcome::Skipped("the data is not labelled".into()));
        }
        let mut findings = Findings::new(evidence);
        for (row, (_, example)) in evidence.rows.iter().enumerate() {
            if example.label.is_none() {
                let finding = || Finding::new("no label").rows(evidence, [row as u32]);
                findings.push(1, finding);
            }
        }
        Ok(Outcome::Looked(findings))
    }
}
