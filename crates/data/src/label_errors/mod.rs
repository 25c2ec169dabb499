//! Suspected label errors by confident learning (Northcutt, Jiang, Chuang, "Confident Learning:
//! Estimating Uncertainty in Dataset Labels", JAIR 2021, arXiv:1911.00068) over out-of-sample
//! probabilities: given ones, or those of a cross-validated linear model.

pub(crate) mod features;
mod linear;

use crate::parallel::map_chunks;
use features::Features;
use linear::Linear;
use serde::{Deserialize, Serialize};
use sprat_task::{Interrupt, Progress, Result};
use std::collections::BTreeMap;

/// How label errors are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelErrorOptions {
    /// Folds of the cross-validation.
    pub folds: usize,
    /// Passes over the rows; by default 8, fewer from 125,000 rows on.
    pub epochs: Option<usize>,
    /// Seed of the order in which rows are visited.
    pub seed: u64,
}

impl Default for LabelErrorOptions {
    fn default() -> Self {
        LabelErrorOptions { folds: 5, epochs: None, seed: 0 }
    }
}

/// Probabilities that a model gave to rows it was not trained on.
#[derive(Clone, Debug)]
pub struct Probabilities<'a> {
    /// The classes, in the order of the columns.
    pub labels: Vec<String>,
    /// `[rows, labels]`, row-major, over all rows of train, validation and test in this order.
    pub values: &'a [f32],
}

/// What a model thinks of one row; the best few classes are enough for confident learning.
#[derive(Clone, Copy)]
pub(crate) struct Opinion {
    /// Probability of the row's own label.
    pub(crate) own: f32,
    /// The most probable classes, best first; `u32::MAX` where there are fewer.
    top: [(u32, f32); TOP],
}

const TOP: usize = 6;

impl Opinion {
    pub(crate) fn of(p: &[f32], label: u32) -> Self {
        let mut top = [(u32::MAX, 0.0); TOP];
        for (class, p) in p.iter().enumerate() {
            if *p > top[TOP - 1].1 {
                let at = top.iter().position(|(_, other)| p > other).unwrap_or(TOP - 1);
                top[at..].rotate_right(1);
                top[at] = (class as u32, *p);
            }
        }
        Opinion { own: p[label as usize], top }
    }
}

/// A row whose label is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Suspect {
    /// The row among all labelled rows.
    pub(crate) row: u32,
    /// The class that the model is confident of.
    pub(crate) suggested: u32,
    /// Probability of the row's own label.
    pub(crate) own: f32,
    /// Probability of the suggested class.
    pub(crate) other: f32,
}

/// Rows to look at, most suspicious first: confident learning with pruning by noise rate.
///
/// The threshold of a class is the mean probability that its own rows give it. A row of label i
/// counts in cell (i, j) of the confident joint for the most probable class j whose threshold it
/// reaches (§3.1, eq. 1–2). The joint is then calibrated so that label i has all of its rows
/// (eq. 3), and of each cell off the diagonal as many rows as it estimates are suspects: those
/// with the largest margin of class j over label i (§3.2, "prune by noise rate"). Rows whose most
/// probable class is their own label are no suspects, whatever the estimate says.
pub(crate) fn suspects(opinions: &[Opinion], labels: &[u32], classes: usize) -> Vec<Suspect> {
    let mut sum = vec![0.0_f64; classes];
    let mut rows = vec![0_u32; classes];
    for (opinion, label) in opinions.iter().zip(labels) {
        sum[*label as usize] += f64::from(opinion.own);
        rows[*label as usize] += 1;
    }
    let threshold: Vec<f32> =
        sum.iter().zip(&rows).map(|(sum, rows)| (sum / f64::from((*rows).max(1))) as f32).collect();
    let mut joint: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut counted = vec![0_u32; classes];
    // For each cell, the rows that may be in it.
    let mut candidates: BTreeMap<(u32, u32), Vec<Suspect>> = BTreeMap::new();
    for (row, (opinion, label)) in opinions.iter().zip(labels).enumerate() {
        let known = || opinion.top.iter().filter(|(class, _)| *class != u32::MAX);
        if let Some((class, _)) = known().find(|(class, p)| *p >= threshold[*class as usize]) {
            *joint.entry((*label, *class)).or_default() += 1;
            counted[*label as usize] += 1;
        }
        if opinion.top[0].0 != *label {
            for (class, p) in known().take_while(|(_, p)| *p > opinion.own) {
                let own = opinion.own;
                let suspect = Suspect { row: row as u32, suggested: *class, own, other: *p };
                candidates.entry((*label, *class)).or_default().push(suspect);
            }
        }
    }
    let surest = |a: &Suspect, b: &Suspect| {
        (b.other - b.own).total_cmp(&(a.other - a.own)).then(a.row.cmp(&b.row))
    };
    let mut found = Vec::new();
    for (cell, mut rows_of_cell) in candidates {
        let Some(count) = joint.get(&cell) else { continue };
        let label = cell.0 as usize;
        let calibrated =
            f64::from(*count) * f64::from(rows[label]) / f64::from(counted[label].max(1));
        rows_of_cell.sort_by(surest);
        rows_of_cell.truncate(calibrated.round() as usize);
        found.extend(rows_of_cell);
    }
    // A row may be in several cells: its most probable class is suggested.
    found.sort_by(|a, b| a.row.cmp(&b.row).then(b.other.total_cmp(&a.other)));
    found.dedup_by_key(|suspect| suspect.row);
    found.sort_by(surest);
    found
}

/// The largest number of classes that the linear model takes on.
pub(crate) const MAX_CLASSES: usize = 2000;

/// Out-of-fold opinions of the linear model. `text_of[i]` is the text (index into `texts`) of
/// labelled row i. All rows with one text are in one fold, so that no row's own copy votes for it.
pub(crate) fn cross_validate(
    texts: &[&str],
    text_of: &[u32],
    labels: &[u32],
    classes: usize,
    options: &LabelErrorOptions,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Opinion>> {
    let folds = options.folds.max(2);
    progress.start("label errors", Some(folds as u64 + 1), "folds");
    // At most 2^24 weights (64 MiB) a fold.
    let buckets = ((1_usize << 24) / classes.max(1)).next_power_of_two() >> 1;
    let buckets = buckets.clamp(1 << 12, 1 << 18) as u32;
    let features = Features::of(texts, buckets, interrupt)?;
    progress.advance(1);
    let fold_of = folds_of(texts.len(), text_of, labels, classes, folds);
    let epochs = options.epochs.unwrap_or((1_000_000 / text_of.len().max(1)).clamp(2, 8));
    let results = map_chunks(folds, 1, interrupt, |fold| {
        let fold = fold.start as u32;
        let inside = |row: &usize| fold_of[text_of[*row] as usize] == fold;
        let mut rows: Vec<(u32, u32)> = (0..text_of.len())
            .filter(|row| !inside(row))
            .map(|row| (text_of[row], labels[row]))
            .collect();
        let mut model = Linear::new(buckets, classes);
        let fitted = model.fit(&features, &mut rows, epochs, options.seed, interrupt);
        let mut p = vec![0.0; classes];
        let held_out = (0..text_of.len()).filter(inside).map(|row| {
            model.probabilities(&features, text_of[row], &mut p);
            (row, Opinion::of(&p, labels[row]))
        });
        let opinions = held_out.collect::<Vec<_>>();
        progress.advance(1);
        fitted.map(|()| opinions)
    })?;
    progress.finish();
    let mut opinions = vec![Opinion { own: 0.0, top: [(u32::MAX, 0.0); TOP] }; text_of.len()];
    for fold in results {
        for (row, opinion) in fold? {
            opinions[row] = opinion;
        }
    }
    Ok(opinions)
}

/// The fold of every text: the texts of each label are dealt out in turn.
fn folds_of(
    texts: usize,
    text_of: &[u32],
    labels: &[u32],
    classes: usize,
    folds: usize,
) -> Vec<u32> {
    let mut next = vec![0_u32; classes];
    let mut fold_of = vec![u32::MAX; texts];
    for (text, label) in text_of.iter().zip(labels) {
        let fold = &mut fold_of[*text as usize];
        if *fold == u32::MAX {
            let turn = &mut next[*label as usize];
            *fold = (*turn + *label) % folds as u32;
            *turn += 1;
        }
    }
    fold_of
}

#[cfg(test)]
mod tests;
