//! Intervals by resampling rows (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
//!
//! A resample is a vector of counts, how often each row was drawn: statistics are then weighted
//! sums, and several models are compared on the very same resamples.

use crate::interval::{Interval, normal_cdf, normal_quantile};
use rand::RngCore;
use sprat_task::random::stream;

/// Resamples where nothing else is said.
pub const RESAMPLES: usize = 2000;

/// Calls `visit` with the counts of each of `resamples` resamples of `rows` rows. Depends on
/// `seed` and `name` alone.
pub fn resample(
    rows: usize,
    resamples: usize,
    seed: u64,
    name: &str,
    mut visit: impl FnMut(&[u32]),
) {
    let mut rng = stream(seed, name);
    let mut counts = vec![0u32; rows];
    // Multiply and shift: the bias is below rows / 2^32.
    let at = |draw: u32| ((u64::from(draw) * rows as u64) >> 32) as usize;
    for _ in 0..resamples {
        counts.fill(0);
        for _ in 0..rows / 2 {
            let draw = rng.next_u64();
            counts[at(draw as u32)] += 1;
            counts[at((draw >> 32) as u32)] += 1;
        }
        if rows % 2 == 1 {
            counts[at(rng.next_u32())] += 1;
        }
        visit(&counts);
    }
}

/// The percentile interval of `replicates` (not finite ones left out).
pub fn percentile(estimate: f64, replicates: &[f64], level: f64) -> Interval {
    let sorted = sorted(replicates);
    let tail = (1.0 - level) / 2.0;
    let (low, high) = (quantile(&sorted, tail), quantile(&sorted, 1.0 - tail));
    Interval::new(estimate, low.unwrap_or(estimate), high.unwrap_or(estimate), level)
}

/// The bias-corrected and accelerated interval (Efron, "Better bootstrap confidence intervals",
/// JASA 82, 1987); `jackknife` are the statistics with rows, or equal groups of rows, left out.
pub fn bca(estimate: f64, replicates: &[f64], jackknife: &[f64], level: f64) -> Interval {
    let sorted = sorted(replicates);
    if sorted.is_empty() {
        return Interval::new(estimate, estimate, estimate, level);
    }
    // Ties count half: discrete statistics would else be shifted.
    let below = sorted.iter().filter(|value| **value < estimate).count() as f64;
    let equal = sorted.iter().filter(|value| **value == estimate).count() as f64;
    let share = (below + equal / 2.0) / sorted.len() as f64;
    if share <= 0.0 || share >= 1.0 {
        return percentile(estimate, replicates, level);
    }
    let bias = normal_quantile(share);
    let mean = jackknife.iter().sum::<f64>() / jackknife.len().max(1) as f64;
    let (mut squares, mut cubes) = (0.0, 0.0);
    for value in jackknife {
        let d = mean - value;
        squares += d * d;
        cubes += d * d * d;
    }
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let adjusted = |tail: f64| {
        let z = bias + normal_quantile(tail);
        normal_cdf(bias + z / (1.0 - acceleration * z))
    };
    let tail = (1.0 - level) / 2.0;
    let low = quantile(&sorted, adjusted(tail)).unwrap_or(estimate);
    let high = quantile(&sorted, adjusted(1.0 - tail)).unwrap_or(estimate);
    Interval::new(estimate, low, high, level)
}

/// Calls `visit` with counts from which one of at most 500 equal groups of rows is left out: the
/// delete-a-group jackknife, whose skewness estimates the same acceleration as single rows do.
pub fn jackknife(rows: usize, mut visit: impl FnMut(&[u32])) {
    let groups = rows.min(500);
    let mut counts = vec![1u32; rows];
    for group in 0..groups {
        counts.iter_mut().skip(group).step_by(groups).for_each(|count| *count = 0);
        visit(&counts);
        counts.iter_mut().skip(group).step_by(groups).for_each(|count| *count = 1);
    }
}

/// The interval of a mean of `values`: percentile over [`RESAMPLES`] resamples.
pub fn mean(values: &[f64], seed: u64, name: &str, level: f64) -> Interval {
    let n = values.len().max(1) as f64;
    let estimate = values.iter().sum::<f64>() / n;
    let mut replicates = Vec::with_capacity(RESAMPLES);
    resample(values.len(), RESAMPLES, seed, name, |counts| {
        let sum: f64 = counts.iter().zip(values).map(|(&count, v)| f64::from(count) * v).sum();
        replicates.push(sum / n);
    });
    percentile(estimate, &replicates, level)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Linear interpolation between order statistics (Hyndman and Fan's type 7, NumPy's default);
/// `None` without values.
pub(crate) fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = p.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (above - below) * at.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law school data, Efron and Tibshirani 1993, table 3.1: LSAT scores.
    const LSAT: [f64; 15] = [
        576.0, 635.0, 558.0, 578.0, 666.0, 580.0, 555.0, 661.0, 651.0, 605.0, 653.0, 575.0, 545.0,
        572.0, 594.0,
    ];

    #[test]
    fn intervals_agree_with_scipy_within_simulation_error() {
        // scipy 1.17.1: stats.bootstrap((LSAT,), np.mean, n_resamples=200_000, rng=1), methods
        // "percentile" and "BCa".
        let weighted = |counts: &[u32]| {
            counts.iter().zip(LSAT).map(|(&n, v)| f64::from(n) * v).sum::<f64>()
                / f64::from(counts.iter().sum::<u32>())
        };
        let (mut replicates, mut left_out) = (Vec::new(), Vec::new());
        resample(15, 50_000, 1, "lsat", |counts| replicates.push(weighted(counts)));
        jackknife(15, |counts| left_out.push(weighted(counts)));
        let mean = LSAT.iter().sum::<f64>() / 15.0;
        let simple = percentile(mean, &replicates, 0.95);
        let better = bca(mean, &replicates, &left_out, 0.95);
        for (ours, scipy) in [
            (simple.low, 580.47),
            (simple.high, 621.13),
            (better.low, 581.47),
            (better.high, 622.47),
        ] {
            assert!((ours - scipy).abs() < 0.6, "{ours} {scipy}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let run = |seed| mean(&LSAT, seed, "x", 0.95);
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn every_resample_draws_as_many_rows_as_there_are() {
        for rows in [1, 2, 7, 100] {
            resample(rows, 50, 1, "n", |counts| {
                assert_eq!(counts.iter().sum::<u32>() as usize, rows);
            });
        }
        resample(0, 3, 1, "none", |counts| assert!(counts.is_empty()));
    }

    #[test]
    fn a_constant_has_no_uncertainty() {
        let interval = mean(&[2.0; 9], 1, "c", 0.95);
        assert_eq!((interval.low, interval.high), (2.0, 2.0));
        assert_eq!(bca(1.0, &[1.0; 50], &[1.0; 5], 0.95).high, 1.0);
    }
}
