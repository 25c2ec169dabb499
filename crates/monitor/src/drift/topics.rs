//! The region of the space of embeddings that an input falls into.

use super::places::{Places, distance};
use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use rand::Rng;
use serde::{Deserialize, Serialize};
use sprat_task::random::stream;

/// The most regions; the cost of a request is in proportion.
const REGIONS: usize = 48;
/// Rounds of k-means.
const ROUNDS: usize = 8;

/// The region (a cell of k-means over the history) that an embedding falls into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topics {
    centres: Places,
}

impl Topics {
    /// Lloyd's k-means from the seeds of k-means++ (Arthur and Vassilvitskii 2007), the regions
    /// then put in a chain of neighbours, so that coarse bins of their numbers hold what is alike.
    pub(super) fn fit(rows: &[Observation<'_>], seed: u64) -> Option<Self> {
        let rows = enough(rows, |seen| seen.embedding)?;
        let dim = rows.first()?.len();
        let mut rng = stream(seed, "watch topics");
        let mut chosen: Vec<&[f32]> = vec![rows[rng.random_range(0..rows.len())]];
        let mut far: Vec<f32> = rows.iter().map(|row| distance(row, chosen[0])).collect();
        while chosen.len() < REGIONS.min(rows.len() / 10) {
            let sum: f64 = far.iter().map(|&far| f64::from(far)).sum();
            let mut left = rng.random::<f64>() * sum;
            let hit = far.iter().position(|&far| {
                left -= f64::from(far);
                left < 0.0
            });
            let Some(next) = hit.map(|at| rows[at]) else { break };
            chosen.push(next);
            far.iter_mut().zip(&rows).for_each(|(far, row)| *far = far.min(distance(row, next)));
        }
        let mut centres = Places::new(&chosen)?;
        for _ in 0..ROUNDS {
            let mut sums = vec![(0.0f32, vec![0.0f32; dim]); chosen.len()];
            for row in &rows {
                let (at, _) = centres.nearest(row)?;
                sums[at].0 += 1.0;
                sums[at].1.iter_mut().zip(*row).for_each(|(sum, x)| *sum += x);
            }
            for ((count, sum), old) in sums.iter_mut().zip(centres.rows()) {
                if *count == 0.0 {
                    (*count, *sum) = (1.0, old.to_vec());
                }
                sum.iter_mut().for_each(|x| *x /= *count);
            }
            let means: Vec<&[f32]> = sums.iter().map(|(_, mean)| mean.as_slice()).collect();
            centres = Places::new(&means)?;
        }
        Some(Topics { centres: centres.ordered(&centres.chain()) })
    }
}

impl Test for Topics {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        self.centres.nearest(seen.embedding?).map(|(at, _)| at as f64)
    }

    fn side(&self) -> Side {
        Side::Mix
    }
}
