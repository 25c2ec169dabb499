//! How the labels are spread over classes and parts.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::evidence::{Evidence, NO_LABEL};
use crate::part::Part;
use sprat_task::Result;

/// A label that nothing can be learnt about.
pub(super) struct LabelOnlyInTest;
/// Classes with few training rows.
pub(super) struct RareClasses;
/// One class far larger than the others.
pub(super) struct Imbalance;

/// Rows of each class in each part.
fn counts(evidence: &Evidence<'_>) -> Vec<[u64; 3]> {
    let mut counts = vec![[0; 3]; evidence.classes.len()];
    for ((part, _), class) in evidence.rows.iter().zip(&evidence.class_of) {
        if *class != NO_LABEL {
            counts[*class as usize][*part as usize] += 1;
        }
    }
    counts
}

/// Labels are classes only if they repeat.
fn no_classes(evidence: &Evidence<'_>) -> Option<Outcome> {
    let classes = evidence.classes.len();
    let why = if classes == 0 {
        "the data is not labelled".to_owned()
    } else if classes * 3 > evidence.rows.len() && classes > 20 {
        format!("{classes} labels over {} rows are no classes", evidence.rows.len())
    } else {
        return None;
    };
    Some(Outcome::Skipped(why))
}

fn rows_of<'e>(evidence: &'e Evidence<'_>, class: usize) -> impl Iterator<Item = u32> + 'e {
    let rows = evidence.class_of.iter().enumerate();
    rows.filter(move |(_, own)| **own as usize == class).map(|(row, _)| row as u32)
}

impl Check for LabelOnlyInTest {
    fn id(&self) -> &'static str {
        "label-only-in-test"
    }
    fn title(&self) -> &'static str {
        "Labels missing from the training part"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "Labels of validation or test rows that no training row bears."
    }
    fn advice(&self) -> &'static str {
        "Correct the spelling of the label, add training rows, or split again."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = no_classes(evidence) {
            return Ok(skipped);
        }
        let mut findings = Findings::new(evidence);
        for (class, count) in counts(evidence).iter().enumerate() {
            if count[Part::Train as usize] == 0 {
                findings.push(count.iter().sum(), || {
                    let name = evidence.classes[class];
                    let message = format!("label `{name}` has no training row");
                    let rows = rows_of(evidence, class);
                    Finding {
                        label: Some(name.into()),
                        ..Finding::new(message).rows(evidence, rows)
                    }
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

impl Check for RareClasses {
    fn id(&self) -> &'static str {
        "rare-classes"
    }
    fn title(&self) -> &'static str {
        "Rare classes"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Classes with fewer training rows than `min_class_rows`, 8 by default."
    }
    fn advice(&self) -> &'static str {
        "Label more rows of these classes, or merge them."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = no_classes(evidence) {
            return Ok(skipped);
        }
        let mut findings = Findings::new(evidence);
        for (class, count) in counts(evidence).iter().enumerate() {
            let train = count[Part::Train as usize];
            if train > 0 && train < evidence.options.min_class_rows as u64 {
                findings.push(train, || {
                    let name = evidence.classes[class];
                    let message = format!("class `{name}` has {train} training row(s)");
                    let rows = rows_of(evidence, class);
                    Finding {
                        label: Some(name.into()),
                        ..Finding::new(message).rows(evidence, rows)
                    }
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

impl Check for Imbalance {
    fn id(&self) -> &'static str {
        "imbalance"
    }
    fn title(&self) -> &'static str {
        "Imbalanced classes"
    }
    fn severity(&self) -> Severity {
        Severity::Info
    }
    fn method(&self) -> &'static str {
        "Classes with more than `max_imbalance` times (10 by default) the training rows of the \
         median class."
    }
    fn advice(&self) -> &'static str {
        "Weigh the classes in training, and look at macro-F1 rather than accuracy."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = no_classes(evidence) {
            return Ok(skipped);
        }
        let counts: Vec<u64> =
            counts(evidence).iter().map(|count| count[Part::Train as usize]).collect();
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        // The lower median, so that of two classes the smaller one is the measure.
        let median = sorted[(sorted.len() - 1) / 2].max(1);
        let mut findings = Findings::new(evidence);
        for (class, count) in counts.iter().enumerate() {
            if *count as f64 > evidence.options.max_imbalance * median as f64 {
                findings.push(*count, || {
                    let name = evidence.classes[class];
                    let message = format!(
                        "class `{name}` has {count} training rows, the median class {median}"
                    );
                    let rows = rows_of(evidence, class);
                    Finding {
                        label: Some(name.into()),
                        ..Finding::new(message).rows(evidence, rows)
                    }
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}
