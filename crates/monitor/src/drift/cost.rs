//! What the answers cost.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// What the answers cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost;

impl Cost {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Cost.score(seen)).map(|_| Cost)
    }
}

impl Test for Cost {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.cost
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
