//! The share of invalid answers.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// The share of invalid answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validity;

impl Validity {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Validity.score(seen)).map(|_| Validity)
    }
}

impl Test for Validity {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.valid.map(|valid| f64::from(u8::from(!valid)))
    }

    fn side(&self) -> Side {
        Side::Event
    }
}
