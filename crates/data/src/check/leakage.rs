//! Rows of one part that stand in another: whoever measures on them measures memory.

use super::{Check, Finding, Findings, Look, Outcome, Severity};
use crate::evidence::Evidence;
use crate::part::Part;
use sprat_task::Result;
use std::collections::BTreeMap;

/// The same text in two parts.
pub(super) struct Exact;
/// Nearly the same text in two parts.
pub(super) struct Near;
/// One group in two parts.
pub(super) struct Group;

/// What is said when there is but one part.
fn one_part(evidence: &Evidence<'_>) -> Option<Outcome> {
    let parts = evidence.parts.present().count();
    (parts < 2).then(|| Outcome::Skipped("there is only one part".into()))
}

/// Which parts: bit i for part i.
fn mask(evidence: &Evidence<'_>, text: u32) -> u8 {
    evidence.parts_of(text).fold(0, |mask, (_, part)| mask | 1 << part as u8)
}

/// The parts of a mask, by name.
fn names(mask: u8) -> String {
    let named = Part::ALL.iter().filter(|part| mask >> **part as u8 & 1 == 1);
    named.map(|part| part.name()).collect::<Vec<_>>().join(" and ")
}

impl Check for Exact {
    fn id(&self) -> &'static str {
        "leakage-exact"
    }
    fn title(&self) -> &'static str {
        "The same text in two parts"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "Texts are compared after Unicode NFC, lower case, and white space collapsed."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` drops the rows from the part that is trained on."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = one_part(evidence) {
            return Ok(skipped);
        }
        let mut findings = Findings::new(evidence);
        for text in 0..evidence.members.len() as u32 {
            let mask = mask(evidence, text);
            if mask.count_ones() > 1 {
                let rows = evidence.members.of(text);
                findings.push(rows.len() as u64, || {
                    let message = format!("the same text in {}", names(mask));
                    Finding::new(message).rows(evidence, spread(evidence, rows))
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

/// One row of each part first, so that the named rows show the leak.
fn spread(evidence: &Evidence<'_>, rows: &[u32]) -> Vec<u32> {
    let mut seen = [false; 3];
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for row in rows {
        let part = evidence.rows[*row as usize].0 as usize;
        if std::mem::replace(&mut seen[part], true) { rest.push(*row) } else { first.push(*row) }
    }
    first.extend(rest);
    first
}

impl Check for Near {
    fn id(&self) -> &'static str {
        "leakage-near"
    }
    fn title(&self) -> &'static str {
        "Nearly the same text in two parts"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "Pairs as in near-duplicates, one text in each of two parts; texts that leak exactly are \
         left to leakage-exact."
    }
    fn advice(&self) -> &'static str {
        "`sprat data clean` drops the rows from the part that is trained on; where small \
         differences matter to the task, raise `near.threshold` or waive the check."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = one_part(evidence) {
            return Ok(skipped);
        }
        let mut findings = Findings::new(evidence);
        for pair in &evidence.near {
            let (a, b) = (mask(evidence, pair.first), mask(evidence, pair.second));
            let across = a != b || a.count_ones() > 1;
            let exact = a.count_ones() > 1 || b.count_ones() > 1;
            if across && !exact {
                findings.push(2, || {
                    let rows = [pair.first, pair.second].map(|text| evidence.members.of(text)[0]);
                    let message = format!("nearly the same text in {}", names(a | b));
                    let finding = Finding::new(message).rows(evidence, rows);
                    Finding { score: Some(pair.similarity), ..finding }
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}

impl Check for Group {
    fn id(&self) -> &'static str {
        "leakage-group"
    }
    fn title(&self) -> &'static str {
        "One group in two parts"
    }
    fn severity(&self) -> Severity {
        Severity::Block
    }
    fn method(&self) -> &'static str {
        "Values of the group column are compared as they are."
    }
    fn advice(&self) -> &'static str {
        "Split again with `sprat data split`, which keeps groups together."
    }
    fn run(&self, look: &Look<'_>) -> Result<Outcome> {
        let evidence = look.0;
        if let Some(skipped) = one_part(evidence) {
            return Ok(skipped);
        }
        let mut groups: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, (_, example)) in evidence.rows.iter().enumerate() {
            if let Some(group) = example.group.as_deref() {
                groups.entry(group).or_default().push(row as u32);
            }
        }
        if groups.is_empty() {
            return Ok(Outcome::Skipped("no group column is named".into()));
        }
        let mut findings = Findings::new(evidence);
        for rows in groups.values() {
            let part = |row: &u32| evidence.rows[*row as usize].0;
            let mask = rows.iter().fold(0, |mask, row| mask | 1_u8 << part(row) as u8);
            if mask.count_ones() > 1 {
                findings.push(rows.len() as u64, || {
                    let message = format!("one group in {}", names(mask));
                    Finding::new(message).rows(evidence, spread(evidence, rows))
                });
            }
        }
        Ok(Outcome::Looked(findings))
    }
}
