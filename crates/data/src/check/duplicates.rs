//! Rows of one part that say the same, or nearly the same.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::part::Part;
use sprat_task::Result;

/// The same text twice in a part.
pub(super) struct Exact;
/// Nearly the same text twice in a part.
pub(super) struct Near;

impl Check for Exact {
    fn id(&self) -> &'static str {
        "exact-duplicates"
    }
    fn title(&self) -> &'static str {
        "Exact duplicates"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Texts are compared within a part after Unicode NFC, lower case, and white space \
         collapsed; 64-bit hashes, confirmed on the text."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` keeps the first row of each."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let mut findings = Findings::new(evidence);
        for text in 0..evidence.members.len() as u32 {
            let rows = evidence.members.of(text);
            if rows.len() < 2 || evidence.rows[rows[0] as usize].1.text.trim().is_empty() {
                continue;
            }
            for part in Part::ALL {
                let own = || {
                    let of = evidence.parts_of(text).filter(move |(_, other)| *other == part);
                    of.map(|(row, _)| row)
                };
                let count = own().count() as u64;
                if count > 1 {
                    findings.push(count - 1, || {
                        Finding::new(format!("{count} rows with the same text"))
                            .rows(evidence, own())
                    });
                }
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

impl Check for Near {
    fn id(&self) -> &'static str {
        "near-duplicates"
    }
    fn title(&self) -> &'static str {
        "Near-duplicates"
    }
    fn severity(&self) -> Severity {
        Severity::Warn
    }
    fn method(&self) -> &'static str {
        "Jaccard similarity of the sets of character 4-grams (lower case, without punctuation) at \
         or over the threshold, 0.8 by default. Candidates by MinHash with 16 bands of 5 hashes, \
         each verified; linear in the rows. In a crowded bucket a row is compared with 5 others \
         of each part, so every near-duplicate is found, though not every pair of them."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` keeps one of them for each label."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        let mut findings = Findings::new(evidence);
        for pair in &evidence.near {
            for part in Part::ALL {
                let of = |text| {
                    evidence.parts_of(text).find(|(_, other)| *other == part).map(|(row, _)| row)
                };
                let (Some(first), Some(second)) = (of(pair.first), of(pair.second)) else {
                    continue;
                };
                findings.push(1, || {
                    let labels = [first, second].map(|row| evidence.class(row));
                    let message = match labels {
                        [Some(a), Some(b)] if a != b => {
                            format!("nearly the same text, labelled `{a}` and `{b}`")
                        }
                        _ => "nearly the same text".to_owned(),
                    };
                    let finding = Finding::new(message).rows(evidence, [first, second]);
                    Finding { score: Some(pair.similarity), ..finding }
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}
