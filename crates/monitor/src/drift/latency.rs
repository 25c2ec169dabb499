//! How long the answers take. Sees load and machines as well as models.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// How long the answers take. Sees load and machines as well as models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency;

impl Latency {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Latency.score(seen)).map(|_| Latency)
    }
}

impl Test for Latency {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.latency_ms
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
