//! One text, two labels: at most one of them is right.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::evidence::NO_LABEL;
use sprat_task::Result;

/// The same text with different labels, in any part.
pub(super) struct ConflictingLabels;

impl Check for ConflictingLabels {
    fn id(&self) -> &'static str {
        "conflicting-labels"
    }
    fn title(&self) -> &'static str {
        "Conflicting labels on the same text"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Texts that are the same (as in exact-duplicates), over all parts, with more than one \
         label."
    }
    fn advice(&self) -> &'static str {
        "Decide on one label; `sprat data clean` keeps a strict majority's label and drops all \
         rows where there is none."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let mut findings = Findings::new(evidence);
        for text in 0..evidence.members.len() as u32 {
            let rows = evidence.members.of(text);
            let class = |row: &u32| evidence.class_of[*row as usize];
            let mut classes: Vec<u32> =
                rows.iter().map(class).filter(|class| *class != NO_LABEL).collect();
            classes.sort_unstable();
            classes.dedup();
            if classes.len() > 1 {
                findings.push(rows.len() as u64, || {
                    let names = classes.iter().map(|class| evidence.classes[*class as usize]);
                    let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>();
                    let message = format!("one text labelled {}", names.join(", "));
                    Finding::new(message).rows(evidence, rows.iter().copied())
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}
