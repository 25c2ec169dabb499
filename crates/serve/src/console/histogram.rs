//! Latencies in buckets whose bounds grow by a constant factor.

use std::collections::BTreeMap;

/// The upper bound of the first bucket, in milliseconds.
const FIRST_MS: f64 = 0.01;
/// From bound to bound; a percentile is off by at most half of the step, 2 %.
const GROWTH: f64 = 1.04;
/// The last bucket holds everything over 100 s.
const LAST: u16 = 412;

/// Counts of latencies; memory grows with the number of different buckets, at most 413.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: BTreeMap<u16, u64>,
    total: u64,
}

impl Histogram {
    /// Takes one latency in milliseconds; what is no number is left out.
    pub(crate) fn add(&mut self, ms: f64) {
        if ms.is_nan() {
            return;
        }
        let place = (ms.max(FIRST_MS) / FIRST_MS).ln() / GROWTH.ln();
        let bucket = place.ceil().clamp(0.0, f64::from(LAST)) as u16;
        *self.counts.entry(bucket).or_default() += 1;
        self.total += 1;
    }

    /// Takes all latencies of another.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
        self.total += other.total;
    }

    /// The nearest-rank percentile in milliseconds, `share` from 0 to 1: the geometric middle of
    /// the bucket in which it lies. None without latencies.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Some(FIRST_MS * GROWTH.powf(f64::from(*bucket) - 0.5));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for n in 1..=1000 {
            histogram.add(f64::from(n) / 4.0);
        }
        histogram.add(f64::NAN);
        for (share, exact) in [(0.5, 125.0), (0.95, 237.5), (0.99, 247.5)] {
            let found = histogram.percentile(share).unwrap();
            assert!((found / exact - 1.0).abs() < 0.025, "{share}: {found} for {exact}");
        }
    }

    #[test]
    fn merged_counts_are_those_of_all_and_extremes_have_a_place() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        [0.0, -1.0, 5.0].into_iter().for_each(|ms| a.add(ms));
        [5.0, 1e12, f64::INFINITY].into_iter().for_each(|ms| b.add(ms));
        a.merge(&b);
        assert_eq!(a.total, 6);
        assert!(a.percentile(0.1).unwrap() <= FIRST_MS);
        assert!((a.percentile(0.5).unwrap() / 5.0 - 1.0).abs() < 0.025);
        assert!(a.percentile(1.0).unwrap() > 100_000.0);
    }
}
