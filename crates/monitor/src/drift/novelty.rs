//! The distance to the nearest input of the history.

use super::places::Places;
use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// How many inputs are remembered: the cost of a request is in proportion.
const REMEMBERED: usize = 512;

/// The distance of an embedding to the nearest of up to 512 embeddings of the history (Sun et
/// al., "Out-of-distribution detection with deep nearest neighbors", 2022, arXiv:2204.06507).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Novelty {
    places: Places,
}

impl Novelty {
    /// Remembers rows, evenly spread over the history.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        let all = enough(rows, |seen| seen.embedding)?;
        let kept = REMEMBERED.min(all.len());
        let rows: Vec<&[f32]> = (0..kept).map(|at| all[at * all.len() / kept]).collect();
        Places::new(&rows).map(|places| Novelty { places })
    }
}

impl Test for Novelty {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        self.places.nearest(seen.embedding?).map(|(_, far)| f64::from(far))
    }

    fn side(&self) -> Side {
        Side::High
    }
}
