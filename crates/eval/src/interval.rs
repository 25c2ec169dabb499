//! Confidence intervals.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal};

/// The confidence level of every interval that does not say otherwise.
pub const LEVEL: f64 = 0.95;

/// An estimate with its confidence interval; `low <= estimate <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
}

impl Interval {
    /// An interval, widened to hold its estimate where skewness or rounding left it outside.
    pub fn new(estimate: f64, low: f64, high: f64, level: f64) -> Self {
        Interval { estimate, low: low.min(estimate), high: high.max(estimate), level }
    }

    /// A share as text: `93.1% [92.0, 94.1]`.
    pub fn percent(&self) -> String {
        sprat_report::number::percent_interval(self.estimate, self.low, self.high)
    }

    /// A difference of shares as text: `+1.2 pp [-0.3, +2.7]`.
    pub fn points(&self) -> String {
        sprat_report::number::points_interval(self.estimate, self.low, self.high)
    }
}

/// The standard normal quantile: `normal_quantile(0.975)` is 1.96.
pub fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p.clamp(1e-300, 1.0 - 1e-16))
}

/// The standard normal distribution function.
pub(crate) fn normal_cdf(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// Wilson's score interval for a share (Wilson, "Probable inference, the law of succession, and
/// statistical inference", JASA 22, 1927). With no trials: everything from 0 to 1.
pub fn wilson(successes: u64, trials: u64, level: f64) -> Interval {
    if trials == 0 {
        return Interval { estimate: 0.5, low: 0.0, high: 1.0, level };
    }
    let n = trials as f64;
    let share = successes.min(trials) as f64 / n;
    let z = normal_quantile(0.5 + level / 2.0);
    let z2 = z * z;
    let middle = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Interval::new(share, (middle - half).max(0.0), (middle + half).min(1.0), level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn wilson_agrees_with_statsmodels() {
        // statsmodels 0.15.0: proportion_confint(count, nobs, alpha=0.05, method="wilson").
        for (successes, trials, low, high) in GOLDEN {
            let interval = wilson(successes, trials, 0.95);
            assert!((interval.low - low).abs() < 1e-9, "{interval:?}");
            assert!((interval.high - high).abs() < 1e-9, "{interval:?}");
        }
    }

    const GOLDEN: [(u64, u64, f64, f64); 4] = [
        (0, 20, 0.000000000000, 0.161125158053),
        (168, 180, 0.887101310070, 0.961455925064),
        (2871, 3080, 0.922711754220, 0.940497342468),
        (5, 5, 0.565517535217, 1.000000000000),
    ];

    #[test]
    fn wilson_covers_the_truth_about_95_times_in_100() {
        let mut rng = sprat_task::random::stream(7, "coverage");
        for truth in [0.5, 0.8, 0.93] {
            let covered = (0..4000)
                .filter(|_| {
                    let hits = (0..180).filter(|_| rng.random::<f64>() < truth).count() as u64;
                    let interval = wilson(hits, 180, 0.95);
                    (interval.low..=interval.high).contains(&truth)
                })
                .count();
            let coverage = covered as f64 / 4000.0;
            assert!((0.935..0.97).contains(&coverage), "{truth}: {coverage}");
        }
    }

    proptest::proptest! {
        #[test]
        fn intervals_hold_their_estimate(n in 0u64..5000, share in 0.0f64..=1.0, level in 0.5f64..0.999) {
            let successes = (n as f64 * share) as u64;
            let interval = wilson(successes, n, level);
            proptest::prop_assert!(interval.low <= interval.estimate);
            proptest::prop_assert!(interval.estimate <= interval.high);
            proptest::prop_assert!((0.0..=1.0).contains(&interval.low));
            proptest::prop_assert!((0.0..=1.0).contains(&interval.high));
        }
    }
}
