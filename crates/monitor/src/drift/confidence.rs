//! The confidence of the answers, the least confident first.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// The confidence of the answers, the least confident first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence;

impl Confidence {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Confidence.score(seen)).map(|_| Confidence)
    }
}

impl Test for Confidence {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.confidence.map(|confidence| -confidence)
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
