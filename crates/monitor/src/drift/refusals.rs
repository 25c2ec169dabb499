//! The share of refusals and abstentions.

use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// The share of refusals and abstentions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusals;

impl Refusals {
    /// Needs nothing but rows that carry the value.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        enough(rows, |seen| Refusals.score(seen)).map(|_| Refusals)
    }
}

impl Test for Refusals {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        seen.refused.map(|refused| f64::from(u8::from(refused)))
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
