//! The share of words that the history does not have.

use super::words::words;
use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// Bits of the set of known words. Some unknown words pass for known ones, which only weakens
/// the test.
const BITS: u64 = 1 << 17;

/// The share of words that the history does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    known: Vec<u64>,
}

impl Vocabulary {
    /// Remembers the words of the rows.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        let mut known = vec![0; (BITS / 64) as usize];
        for word in enough(rows, |seen| seen.text)?.into_iter().flat_map(words) {
            let bit = word % BITS;
            known[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        Some(Vocabulary { known })
    }
}

impl Test for Vocabulary {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        let (mut all, mut unseen) = (0u32, 0u32);
        for word in words(seen.text?) {
            let bit = word % BITS;
            all += 1;
            unseen += u32::from(self.known[(bit / 64) as usize] & (1 << (bit % 64)) == 0);
        }
        Some(f64::from(unseen) / f64::from(all.max(1)))
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
