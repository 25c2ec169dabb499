//! Labels that a model, trained without the row, confidently contradicts.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::evidence::Suspects;
use sprat_task::Result;

/// Suspected label errors.
pub(super) struct LabelErrors;

impl Check for LabelErrors {
    fn id(&self) -> &'static str {
        "label-errors"
    }
    fn title(&self) -> &'static str {
        "Suspected label errors"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Confident learning (Northcutt et al. 2021): the confident joint, calibrated, pruned by \
         noise rate, over probabilities of the given model or of a logistic regression on hashed words, \
         cross-validated in 5 folds that keep equal texts together."
    }
    fn advice(&self) -> &'static str {
        "Look at the rows, the most suspicious first; the suggestion is often right, not always."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let suspects = match &evidence.suspects {
            Suspects::Found { rows, .. } => rows,
            Suspects::Skipped(why) => return Ok(Outcome::Skipped(why.clone())),
        };
        let mut findings = Findings::new(evidence);
        for suspect in suspects {
            findings.push(1, || {
                let label = evidence.class(suspect.row).unwrap_or_default();
                let suggested = evidence.classes[suspect.suggested as usize];
                let message = format!("labelled `{label}`, looks like `{suggested}`");
                Finding {
                    label: Some(label.into()),
                    suggested: Some(suggested.into()),
                    score: Some(suspect.other - suspect.own),
                    ..Finding::new(message).rows(evidence, [suspect.row])
                }
            });
        }
        let labelled = evidence.rows.iter().filter(|(_, row)| row.label.is_some()).count();
        let share = 100.0 * suspects.len() as f64 / labelled.max(1) as f64;
        findings.summary = Some(format!("{share:.1} % of the labelled rows"));
        Ok(Outcome::Looked(findings))
    }
}
