//! The length of the inputs.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// The length of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Length;

impl Length {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Length.score(seen)).map(|_| Length)
    }
}

impl Test for Length {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.length
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
