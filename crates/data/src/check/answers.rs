//! Targets that are no answers to the task.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use sprat_task::Result;

/// A target that breaks the rule for answers, such as a JSON schema.
pub(super) struct InvalidAnswer;

impl Check for InvalidAnswer {
    fn id(&self) -> &'static str {
        "invalid-answer"
    }
    fn title(&self) -> &'static str {
        "Targets that are no valid answers"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "Every target is read as JSON and checked against the schema of the task. A model that is \
         tuned on others learns answers that it will not be allowed to give."
    }
    fn advice(&self) -> &'static str {
        "Correct the rows, or the schema."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let Some(rule) = evidence.model.answers else {
            return Ok(Outcome::Skipped("the task has no schema of answers".into()));
        };
        let mut findings = Findings::new(evidence);
        for (row, (_, example)) in evidence.rows.iter().enumerate() {
            let Some(why) = example.label.as_deref().and_then(rule) else { continue };
            findings.push(1, || Finding::new(why).rows(evidence, [row as u32]));
        }
        Ok(Outcome::Looked(findings))
    }
}
