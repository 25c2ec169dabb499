//! What a frozen encoder thinks of each row's label: the votes of its nearest other rows.
//!
//! Confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068) needs probabilities
//! that a model gave to rows it was not fitted on. A row's nearest neighbours among all *other*
//! rows give them without fitting anything: leave-one-out by construction. Votes are weighted by
//! the softmax of cosine similarities (Wu et al. 2018, arXiv:1805.01978, section 3.4).

use sprat_data::{Dataset, Parts};
use sprat_model::Encoder;
use sprat_task::{Interrupt, Result};

/// More rows than this are left to the gate's own linear model: every row looks at every other.
pub(crate) const MOST_ROWS: usize = 20_000;
/// How many neighbours vote.
const NEIGHBOURS: usize = 12;
/// The softmax's temperature.
const TEMPERATURE: f32 = 0.1;
/// What every class has before the votes, so that no probability is 0.
const PRIOR: f32 = 0.01;

/// The votes over all rows of the parts.
pub(crate) struct Votes {
    /// The classes, sorted.
    pub(crate) labels: Vec<String>,
    /// `[rows, labels]`, each row a distribution.
    pub(crate) values: Vec<f32>,
}

/// Asks the neighbours of every row; none where there are too many rows, or no labels.
///
/// # Errors
/// Those of the encoder; an interruption.
pub(crate) fn votes(
    encoder: &Encoder,
    parts: &Parts<'_>,
    interrupt: &Interrupt,
) -> Result<Option<Votes>> {
    let data: Vec<&Dataset> = parts.present().map(|(_, data)| data).collect();
    let rows: usize = data.iter().map(|data| data.len()).sum();
    let mut labels: Vec<String> = data.iter().flat_map(|data| data.labels()).collect();
    labels.sort();
    labels.dedup();
    if labels.len() < 2 || rows > MOST_ROWS {
        return Ok(None);
    }
    let examples: Vec<_> = data.iter().flat_map(|data| data.examples.iter()).collect();
    let texts: Vec<&str> = examples.iter().map(|row| row.text.as_str()).collect();
    let mut vectors = encoder.embed(&texts)?;
    sprat_nn::l2_normalize(&mut vectors);
    let class = |row: usize| {
        let label = examples[row].label.as_ref()?;
        labels.binary_search(label).ok()
    };
    let width = vectors.cols.max(1);
    let mut values = vec![PRIOR; rows * labels.len()];
    let mut nearest: Vec<(f32, usize)> = Vec::new();
    for (row, out) in values.chunks_exact_mut(labels.len()).enumerate() {
        if row % 256 == 0 {
            interrupt.check()?;
        }
        let own = &vectors.data[row * width..(row + 1) * width];
        nearest.clear();
        for (other, vector) in vectors.data.chunks_exact(width).enumerate() {
            // A copy of the text is no second opinion.
            if other != row && texts[other] != texts[row] {
                let similarity: f32 = own.iter().zip(vector).map(|(a, b)| a * b).sum();
                nearest.push((similarity, other));
            }
        }
        let most = NEIGHBOURS.min(nearest.len());
        let better = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if most > 0 {
            nearest.select_nth_unstable_by(most - 1, better);
        }
        // In one order, so that the sums have the same bits every time.
        nearest[..most].sort_by(better);
        let best = nearest.first().map_or(0.0, |near| near.0);
        for (similarity, other) in &nearest[..most] {
            if let Some(class) = class(*other) {
                out[class] += ((similarity - best) / TEMPERATURE).exp();
            }
        }
        let sum: f32 = out.iter().sum();
        out.iter_mut().for_each(|p| *p /= sum);
    }
    Ok(Some(Votes { labels, values }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_data::Example;

    #[test]
    fn every_row_has_a_distribution_and_its_own_label_has_no_vote() {
        let folder = tempfile::tempdir().unwrap();
        sprat_model::tiny::write(folder.path(), 1).unwrap();
        let encoder = Encoder::open(folder.path(), sprat_model::Format::F32).unwrap();
        let row = |text: &str, label: &str| Example {
            text: text.into(),
            label: Some(label.into()),
            ..Example::default()
        };
        let data = Dataset::new(vec![row("cat", "x"), row("cat", "x"), row("snow", "y")], "made");
        let votes = votes(&encoder, &Parts::whole(&data), &Interrupt::default()).unwrap().unwrap();
        assert_eq!(votes.labels, ["x", "y"]);
        for row in votes.values.chunks(2) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        // The only other text is labelled y: the copy does not vote for x.
        assert!(votes.values[1] > 0.9, "{:?}", votes.values);
    }
}
