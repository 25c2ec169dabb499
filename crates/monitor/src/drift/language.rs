//! How surprising the letters of a text are to one who has read the history.

use super::words::trigrams;
use super::{Test, enough};
use crate::Observation;
use crate::sequential::Side;
use serde::{Deserialize, Serialize};

/// Cells of the hashed profile.
const CELLS: usize = 1 << 13;

/// The mean surprise of a text's letter trigrams under the history's profile, in nats (Cavnar and
/// Trenkle, "N-gram-based text categorization", 1994, tell languages apart by such profiles).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Language {
    surprise: Vec<f32>,
}

impl Language {
    /// Counts the trigrams of the rows.
    pub(super) fn fit(rows: &[Observation<'_>], _: u64) -> Option<Self> {
        let mut counts = vec![0.5f64; CELLS];
        for text in enough(rows, |seen| seen.text)? {
            trigrams(text, |gram| counts[gram as usize % CELLS] += 1.0);
        }
        let total: f64 = counts.iter().sum();
        Some(Language { surprise: counts.iter().map(|n| -(n / total).ln() as f32).collect() })
    }
}

impl Test for Language {
    fn score(&self, seen: &Observation<'_>) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0u32);
        trigrams(seen.text?, |gram| {
            sum += f64::from(self.surprise[gram as usize % CELLS]);
            count += 1;
        });
        Some(sum / f64::from(count.max(1)))
    }

    fn side(&self) -> Side {
        Side::Both
    }
}
