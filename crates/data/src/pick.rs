//! Picking the N most useful clean examples: quality before quantity.

use crate::check::{CheckOptions, FromModel};
use crate::evidence::{Evidence, NO_LABEL, Suspects};
use crate::example::Dataset;
use crate::label_errors::features::Features;
use crate::part::Parts;
use crate::text::mix;
use sprat_task::{Interrupt, Progress, Result};
use std::collections::BinaryHeap;

/// The picked rows.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The rows, in the order of the old dataset.
    pub data: Dataset,
    /// Rows that were left out because their label is suspected, their text is repeated, or they
    /// are empty.
    pub unclean: usize,
}

/// Most rows of a class that stand for all of it when usefulness is measured.
const SAMPLE: usize = 256;
/// Numbers in a row's dense vector.
const WIDTH: usize = 128;
/// Per class, at most so many candidates, or four times the rows wanted of it.
const POOL: usize = 4000;

/// Picks at most `n` rows of `train`.
///
/// Left out first are empty rows, repeated and nearly repeated texts, texts with conflicting
/// labels, and suspected label errors. Every class gets the same share of `n` (small classes give
/// what they have, and the rest is shared out again). Within a class, rows are picked greedily to
/// maximise facility location: the sum, over a sample of the class, of the likeness of the most
/// alike picked row. The greedy choice is within 1 - 1/e of the best (Nemhauser, Wolsey, Fisher
/// 1978) and is made lazily (Minoux 1978); as a measure for choosing training data see Wei, Iyer,
/// Bilmes, "Submodularity in Data Subset Selection and Active Learning" (ICML 2015). Likeness is
/// the cosine of tf-idf vectors under a random projection; ties go to the row whose label the
/// cross-validated model is surest of. Near-linear in the rows and deterministic.
///
/// # Errors
/// As [`crate::check`].
pub fn pick(
    train: &Dataset,
    n: usize,
    options: &CheckOptions,
    model: &FromModel<'_>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Picked> {
    let evidence = Evidence::gather(Parts::whole(train), options, model, progress, interrupt)?;
    let clean = clean_rows(&evidence);
    let unclean = train.len() - clean.len();
    let own: &[f32] = match &evidence.suspects {
        Suspects::Found { own, .. } => own,
        Suspects::Skipped(_) => &[],
    };
    // Rows without a label are one more class: unlabelled data is picked from as well.
    let classes = evidence.classes.len() + 1;
    let mut by_class: Vec<Vec<u32>> = vec![Vec::new(); classes];
    for row in &clean {
        let class = evidence.class_of[*row as usize];
        by_class[if class == NO_LABEL { classes - 1 } else { class as usize }].push(*row);
    }
    let share = shares(&by_class.iter().map(Vec::len).collect::<Vec<_>>(), n);
    let mut picked = Vec::with_capacity(n.min(clean.len()));
    progress.start("pick", Some(classes as u64), "classes");
    for (rows, wanted) in by_class.iter_mut().zip(share) {
        interrupt.check()?;
        picked.extend(of_class(&evidence, rows, wanted, own)?);
        progress.advance(1);
    }
    progress.finish();
    picked.sort_unstable();
    let rows = picked.iter().map(|row| train.examples[*row as usize].clone()).collect();
    Ok(Picked { data: Dataset::new(rows, &train.source), unclean })
}

/// One row of each text that nothing speaks against, ascending.
fn clean_rows(evidence: &Evidence<'_>) -> Vec<u32> {
    let mut out = vec![false; evidence.members.len()];
    let mut suspect = vec![false; evidence.rows.len()];
    if let Suspects::Found { rows, .. } = &evidence.suspects {
        rows.iter().for_each(|found| suspect[found.row as usize] = true);
    }
    for text in 0..evidence.members.len() as u32 {
        let rows = evidence.members.of(text);
        let class = |row: &u32| evidence.class_of[*row as usize];
        let conflict = rows.iter().any(|row| class(row) != class(&rows[0]));
        let empty = evidence.rows[rows[0] as usize].1.text.trim().is_empty();
        out[text as usize] = conflict || empty || suspect[rows[0] as usize];
    }
    // Pairs are sorted by their later text: the earlier one is decided.
    for pair in &evidence.near {
        if !out[pair.first as usize] {
            out[pair.second as usize] = true;
        }
    }
    let kept = (0..evidence.members.len() as u32).filter(|text| !out[*text as usize]);
    kept.map(|text| evidence.members.of(text)[0]).collect()
}

/// Shares `n` out evenly; what a small class can't give goes to the others.
fn shares(sizes: &[usize], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).filter(|class| sizes[*class] > 0).collect();
    order.sort_by_key(|class| sizes[*class]);
    let mut share = vec![0; sizes.len()];
    let mut left = n;
    for (at, class) in order.iter().enumerate() {
        let classes = order.len() - at;
        // The largest classes are last and take the remainder of the division.
        share[*class] = sizes[*class].min(left / classes);
        left -= share[*class];
    }
    share
}

fn of_class(
    evidence: &Evidence<'_>,
    rows: &mut Vec<u32>,
    wanted: usize,
    own: &[f32],
) -> Result<Vec<u32>> {
    if wanted >= rows.len() || wanted == 0 {
        rows.truncate(wanted);
        return Ok(std::mem::take(rows));
    }
    // A fixed pseudo-random order, so that pool and sample do not follow the file's order.
    rows.sort_unstable_by_key(|row| (mix(u64::from(*row) + 1), *row));
    rows.truncate(POOL.max(4 * wanted));
    let texts: Vec<&str> =
        rows.iter().map(|row| evidence.rows[*row as usize].1.text.as_str()).collect();
    let features = Features::of(&texts, 1 << 18, evidence.interrupt)?;
    let vectors: Vec<[f32; WIDTH]> =
        (0..rows.len() as u32).map(|text| project(features.row(text))).collect();
    let sample = &vectors[..vectors.len().min(SAMPLE)];
    let mut covered = vec![0.0_f32; sample.len()];
    let gain = |at: usize, covered: &[f32]| -> f32 {
        let more =
            |(other, best): (&[f32; WIDTH], &f32)| (dot(&vectors[at], other) - best).max(0.0);
        sample.iter().zip(covered).map(more).sum()
    };
    let sure = |at: usize| own.get(rows[at] as usize).copied().unwrap_or(0.0);
    let mut heap: BinaryHeap<Candidate> = (0..rows.len())
        .map(|at| Candidate { gain: gain(at, &covered), sure: sure(at), at, round: 0 })
        .collect();
    let mut picked = Vec::with_capacity(wanted);
    while let Some(best) = heap.pop().filter(|_| picked.len() < wanted) {
        // A gain only shrinks as more is covered: one that is up to date and on top is the best.
        if best.round == picked.len() || best.gain <= 0.0 {
            for (other, covered) in sample.iter().zip(&mut covered) {
                *covered = covered.max(dot(&vectors[best.at], other));
            }
            picked.push(rows[best.at]);
        } else {
            let gain = gain(best.at, &covered);
            heap.push(Candidate { gain, round: picked.len(), ..best });
        }
    }
    Ok(picked)
}

/// A row that may be picked next.
struct Candidate {
    gain: f32,
    sure: f32,
    at: usize,
    round: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by = self.gain.total_cmp(&other.gain).then(self.sure.total_cmp(&other.sure));
        by.then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// A sparse vector folded into few dimensions with random signs, which keeps inner products on
/// average (Weinberger et al. 2009); unit length.
fn project(row: impl Iterator<Item = (u32, f32)>) -> [f32; WIDTH] {
    let mut dense = [0.0; WIDTH];
    for (feature, weight) in row {
        // Four places a feature lower the variance.
        for place in 0..4 {
            let hash = mix(u64::from(feature) * 4 + place + 1);
            let sign = if hash >> 63 == 0 { 0.5 } else { -0.5 };
            dense[hash as usize % WIDTH] += sign * weight;
        }
    }
    let length = dense.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    dense.map(|x| x / length)
}

fn dot(a: &[f32; WIDTH], b: &[f32; WIDTH]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::Example;
    use sprat_task::Quiet;

    #[test]
    fn shares_are_even_and_small_classes_give_what_they_have() {
        assert_eq!(shares(&[100, 2, 100], 30), [14, 2, 14]);
        assert_eq!(shares(&[1, 0, 2], 30), [1, 0, 2]);
        assert_eq!(shares(&[5, 5], 3).iter().sum::<usize>(), 3);
    }

    #[test]
    fn every_topic_of_a_class_is_picked_before_any_comes_twice() {
        // Each label has four topics of very different sizes.
        let mut rows = Vec::new();
        for at in 0..400_u64 {
            let topic = [0, 0, 0, 0, 0, 0, 0, 1, 2, 3][at as usize % 10];
            let label = format!("label{}", at / 10 % 2);
            let words = (0..5).map(|word| format!("{label}t{topic}w{word}"));
            let words = words.chain([format!("n{}", mix(at))]);
            rows.push(Example {
                row: at + 1,
                text: words.collect::<Vec<_>>().join(" "),
                label: Some(label),
                extra: [("topic".to_owned(), format!("{topic}"))].into(),
                ..Example::default()
            });
        }
        let data = Dataset::new(rows, "made up");
        let run = || {
            let options = CheckOptions::default();
            pick(&data, 8, &options, &FromModel::default(), &Quiet, &Interrupt::default()).unwrap()
        };
        let picked = run();
        let mut seen: Vec<_> = picked
            .data
            .examples
            .iter()
            .map(|row| (row.label.clone().unwrap(), row.extra["topic"].clone()))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert_eq!(picked.data.digest, run().data.digest);
    }
}
