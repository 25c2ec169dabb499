//! What the checks, the cleaning and the picking all need, computed once: which rows say the same,
//! which nearly the same, and which labels a model doubts.

use crate::check::{CheckOptions, FromModel};
use crate::codes;
use crate::example::Example;
use crate::label_errors::{self, Opinion, Suspect};
use crate::near::{self, Pair};
use crate::part::{Part, Parts};
use crate::same::{Members, SameText};
use sprat_task::{Error, Interrupt, Progress, Result};
use std::collections::BTreeMap;

/// Facts about all rows of all parts. Rows and texts are numbered by `u32`.
pub(crate) struct Evidence<'a> {
    pub(crate) parts: Parts<'a>,
    pub(crate) options: &'a CheckOptions,
    pub(crate) model: &'a FromModel<'a>,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) rows: Vec<(Part, &'a Example)>,
    pub(crate) same: SameText,
    /// The rows of each distinct text.
    pub(crate) members: Members,
    /// Near-duplicate pairs of distinct texts.
    pub(crate) near: Vec<Pair>,
    /// Class names, sorted.
    pub(crate) classes: Vec<&'a str>,
    /// The class of every row; `NO_LABEL` without one.
    pub(crate) class_of: Vec<u32>,
    pub(crate) suspects: Suspects,
}

/// The class of a row without a label.
pub(crate) const NO_LABEL: u32 = u32::MAX;

/// What came of the search for label errors.
pub(crate) enum Suspects {
    /// Looked; the rows, most suspicious first, and the own label's probability per row.
    Found { rows: Vec<Suspect>, own: Vec<f32> },
    /// Not looked, and why.
    Skipped(String),
}

impl<'a> Evidence<'a> {
    pub(crate) fn gather(
        parts: Parts<'a>,
        options: &'a CheckOptions,
        model: &'a FromModel<'a>,
        progress: &dyn Progress,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let rows = parts.rows();
        if u32::try_from(rows.len()).is_err() {
            let what = "more than 4,294,967,295 rows can't be checked at once";
            return Err(Error::new(&codes::TOO_LARGE, what));
        }
        options.verify()?;
        progress.start("exact duplicates", Some(1), "passes");
        let texts: Vec<&str> = rows.iter().map(|(_, row)| row.text.as_str()).collect();
        let same = SameText::find(&texts, interrupt)?;
        progress.advance(1);
        progress.finish();
        let members = same.members();
        let distinct: Vec<&str> = same.first.iter().map(|row| texts[*row as usize]).collect();
        drop(texts);
        let near = if options.skips("near-duplicates") && options.skips("leakage-near") {
            Vec::new()
        } else {
            let first_part: Vec<u8> =
                same.first.iter().map(|row| rows[*row as usize].0 as u8).collect();
            near::pairs(&distinct, &first_part, &options.near, progress, interrupt)?
        };
        let (classes, class_of) = classes(&rows);
        let suspects = Suspects::Skipped(String::new());
        let mut evidence = Evidence {
            parts,
            options,
            model,
            interrupt,
            rows,
            same,
            members,
            near,
            classes,
            class_of,
            suspects,
        };
        evidence.suspects = evidence.suspects(&distinct, progress)?;
        Ok(evidence)
    }

    /// The rows of a text, and their parts.
    pub(crate) fn parts_of(&self, text: u32) -> impl Iterator<Item = (u32, Part)> + '_ {
        self.members.of(text).iter().map(|row| (*row, self.rows[*row as usize].0))
    }

    /// The part of a row.
    pub(crate) fn part(&self, row: u32) -> Part {
        self.rows[row as usize].0
    }

    /// The label of a row.
    pub(crate) fn class(&self, row: u32) -> Option<&'a str> {
        self.classes.get(self.class_of[row as usize] as usize).copied()
    }

    fn suspects(&self, distinct: &[&str], progress: &dyn Progress) -> Result<Suspects> {
        let skipped = |why: String| Ok(Suspects::Skipped(why));
        if self.options.skips("label-errors") {
            return skipped("switched off".into());
        }
        let labelled: Vec<u32> = (0..self.rows.len() as u32)
            .filter(|row| self.class_of[*row as usize] != NO_LABEL)
            .collect();
        let labels: Vec<u32> = labelled.iter().map(|row| self.class_of[*row as usize]).collect();
        let classes = self.classes.len();
        let opinions = if let Some(given) = &self.model.probabilities {
            self.given(given, &labelled, &labels)?
        } else if classes < 2 {
            return skipped("fewer than two classes".into());
        } else if classes > label_errors::MAX_CLASSES || classes * 5 > labelled.len() {
            return skipped(format!(
                "{classes} labels over {} rows are no classes",
                labelled.len()
            ));
        } else {
            let text_of: Vec<u32> =
                labelled.iter().map(|row| self.same.text_of[*row as usize]).collect();
            let options = &self.options.label_errors;
            label_errors::cross_validate(
                distinct,
                &text_of,
                &labels,
                classes,
                options,
                progress,
                self.interrupt,
            )?
        };
        let mut own = vec![0.0; self.rows.len()];
        for (row, opinion) in labelled.iter().zip(&opinions) {
            own[*row as usize] = opinion.own;
        }
        let mut rows = label_errors::suspects(&opinions, &labels, classes);
        rows.iter_mut().for_each(|suspect| suspect.row = labelled[suspect.row as usize]);
        Ok(Suspects::Found { rows, own })
    }

    /// Opinions out of a given matrix.
    fn given(
        &self,
        given: &label_errors::Probabilities<'_>,
        labelled: &[u32],
        labels: &[u32],
    ) -> Result<Vec<Opinion>> {
        let width = given.labels.len();
        if given.values.len() != width * self.rows.len() {
            let what = format!(
                "{} probabilities do not fill {} rows of {width} classes",
                given.values.len(),
                self.rows.len()
            );
            return Err(Error::new(&codes::SETTING, what).field("probabilities"));
        }
        // The matrix may have its columns in another order than ours.
        let mut column = Vec::with_capacity(self.classes.len());
        for class in &self.classes {
            let found = given.labels.iter().position(|label| label == class);
            column.push(found.ok_or_else(|| {
                let what = format!("the probabilities have no column for the label `{class}`");
                Error::new(&codes::SETTING, what).field("probabilities")
            })?);
        }
        let mut p = vec![0.0; column.len()];
        let opinion = |(row, label): (&u32, &u32)| {
            let values = &given.values[*row as usize * width..][..width];
            p.iter_mut().zip(&column).for_each(|(p, column)| *p = values[*column]);
            Opinion::of(&p, *label)
        };
        Ok(labelled.iter().zip(labels).map(opinion).collect())
    }
}

fn classes<'a>(rows: &[(Part, &'a Example)]) -> (Vec<&'a str>, Vec<u32>) {
    let mut number: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, row) in rows {
        if let Some(label) = row.label.as_deref() {
            number.entry(label).or_insert(0);
        }
    }
    number.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    let class_of = rows
        .iter()
        .map(|(_, row)| row.label.as_deref().map_or(NO_LABEL, |label| number[label]))
        .collect();
    (number.into_keys().collect(), class_of)
}
