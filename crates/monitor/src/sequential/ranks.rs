//! Conformal p-values in constant memory.

use rand::RngCore;
use serde::{Deserialize, Serialize};
use sprat_task::random::stream;

/// Bins of scores that take more values than this.
const BINS: usize = 256;
/// Bins beyond the greatest score of the fitting rows, so that what is far out can be told from
/// what is very far out.
const BEYOND: usize = 8;

/// The scores seen so far, in bins. Ties within a bin are broken at random, which keeps the
/// p-values exactly uniform however coarse the bins are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// The lower bounds of all bins but the first.
    edges: Vec<f64>,
    counts: Vec<u64>,
    total: u64,
    /// The state of the stream that breaks ties.
    ties: u64,
}

impl Ranks {
    /// Empty ranks with bins that suit the scores of the fitting rows; these are not counted.
    pub fn new(fitting: &[f64], seed: u64, name: &str) -> Ranks {
        let mut sorted: Vec<f64> = fitting.iter().copied().filter(|s| s.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let mut edges = sorted.clone();
        edges.dedup();
        if edges.len() > BINS {
            edges = (0..BINS).map(|bin| sorted[bin * sorted.len() / BINS]).collect();
            edges.dedup();
        }
        if let (Some(&last), Some(&first)) = (sorted.last(), sorted.first()) {
            let step = (last - first) / (2 * BEYOND) as f64;
            edges.push(last.next_up());
            if step > 0.0 {
                edges.extend((1..BEYOND).map(|at| last + at as f64 * step));
            }
            edges.sort_by(f64::total_cmp);
            edges.dedup();
        }
        let counts = vec![0; edges.len() + 1];
        Ranks { edges, counts, total: 0, ties: stream(seed, name).next_u64() }
    }

    /// The smoothed p-value of a score among all before it and itself; small where the score is
    /// great. The score is counted from now on. Takes time in the number of bins, at most 265.
    pub fn p_value(&mut self, score: f64) -> f64 {
        // What is not a number is as strange as can be.
        let score = if score.is_nan() { f64::INFINITY } else { score };
        let bin = self.edges.partition_point(|&edge| edge <= score);
        let greater: u64 = self.counts[bin + 1..].iter().sum();
        self.counts[bin] += 1;
        self.total += 1;
        (greater as f64 + self.tie() * self.counts[bin] as f64) / self.total as f64
    }

    /// How many scores have been counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Uniform in [0, 1): SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    /// generators", 2014), because its whole state is one number that can be written down.
    fn tie(&mut self) -> f64 {
        self.ties = self.ties.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.ties;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn p_values_are_uniform_for_continuous_and_for_tied_scores() {
        for levels in [2.0, 7.0, 1e9] {
            let mut rng = stream(1, "scores");
            let mut draw = || (rng.random::<f64>().powi(3) * levels).floor();
            let fitting: Vec<f64> = (0..300).map(|_| draw()).collect();
            let mut ranks = Ranks::new(&fitting, 1, "t");
            let mut counts = [0u32; 10];
            for _ in 0..20_000 {
                counts[(ranks.p_value(draw()) * 10.0) as usize] += 1;
            }
            let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - 2000.0).powi(2) / 2000.0).sum();
            // The 0.999 quantile of χ² with 9 degrees of freedom.
            assert!(chi2 < 27.9, "{levels}: {chi2}");
        }
    }

    #[test]
    fn strange_scores_get_small_p_values_and_nothing_panics() {
        let fitting: Vec<f64> = (0..1000).map(f64::from).collect();
        let mut ranks = Ranks::new(&fitting, 1, "t");
        for score in &fitting {
            ranks.p_value(*score);
        }
        assert!(ranks.p_value(5000.0) < 0.01);
        assert!(ranks.p_value(f64::NAN) < 0.01);
        assert!(ranks.p_value(f64::NEG_INFINITY) > 0.99);
        assert!((0.0..=1.0).contains(&Ranks::new(&[], 1, "t").p_value(1.0)));
    }
}
