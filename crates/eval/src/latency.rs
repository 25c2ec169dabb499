//! Latency quantiles with intervals that assume no distribution.

use crate::bootstrap;
use crate::interval::LEVEL;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF};

/// A quantile of the measured times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// The sample quantile (linear interpolation).
    pub ms: f64,
    /// Lower bound; `None` when there are too few measurements to give one.
    pub low: Option<f64>,
    /// Upper bound; `None` when there are too few measurements to give one.
    pub high: Option<f64>,
}

impl Quantile {
    /// As text: `4.2 ms [4.0, 4.6]`; a missing bound is an open one.
    pub fn text(&self) -> String {
        use sprat_report::number::{fixed, millis};
        if self.low.is_none() && self.high.is_none() {
            return millis(self.ms);
        }
        let bound = |ms: Option<f64>| match ms {
            Some(ms) if self.ms >= 1000.0 => fixed(ms / 1000.0, 2),
            Some(ms) if self.ms >= 100.0 => fixed(ms, 0),
            Some(ms) if self.ms >= 10.0 => fixed(ms, 1),
            Some(ms) if self.ms >= 1.0 => fixed(ms, 2),
            Some(ms) => fixed(ms * 1000.0, 0),
            None => "?".to_owned(),
        };
        format!("{} [{}, {}]", millis(self.ms), bound(self.low), bound(self.high))
    }
}

/// How long requests take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Measured requests.
    pub requests: u64,
    /// Mean, ms.
    pub mean_ms: f64,
    /// Median.
    pub p50: Quantile,
    /// 95th percentile.
    pub p95: Quantile,
    /// 99th percentile.
    pub p99: Quantile,
}

/// Summarises measured times in milliseconds; `None` without any finite one.
pub fn latency(milliseconds: &[f64]) -> Option<Latency> {
    let mut sorted: Vec<f64> =
        milliseconds.iter().copied().filter(|ms| ms.is_finite() && *ms >= 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |p: f64| -> Option<Quantile> {
        let (low, high) = bounds(sorted.len(), p);
        Some(Quantile {
            ms: bootstrap::quantile(&sorted, p)?,
            low: low.map(|rank| sorted[rank]),
            high: high.map(|rank| sorted[rank]),
        })
    };
    Some(Latency {
        requests: sorted.len() as u64,
        mean_ms: sorted.iter().sum::<f64>() / sorted.len().max(1) as f64,
        p50: at(0.5)?,
        p95: at(0.95)?,
        p99: at(0.99)?,
    })
}

/// Ranks (from 0) of the order statistics that hold the quantile with at least 95 % confidence:
/// the number of measurements below it is binomial (David and Nagaraja, "Order Statistics",
/// 2003, section 7.1).
fn bounds(n: usize, p: f64) -> (Option<usize>, Option<usize>) {
    let Ok(below) = Binomial::new(p, n as u64) else { return (None, None) };
    let tail = (1.0 - LEVEL) / 2.0;
    // Found here rather than by `inverse_cdf`, which starts its search far away.
    let spread = (n as f64 * p * (1.0 - p)).sqrt();
    let start = (n as f64 * p - 4.0 * spread - 2.0).max(0.0) as u64;
    let first = |share: f64| (start..=n as u64).find(|&k| below.cdf(k) >= share);
    let low = first(tail).and_then(|k| (k as usize).checked_sub(1));
    let high = first(1.0 - tail).map(|k| k as usize).filter(|&rank| rank < n);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn quantiles_agree_with_numpy_and_ranks_with_scipy() {
        // NumPy 2.4.6: np.quantile(range(1, 101), [.5, .95, .99]) = 50.5, 95.05, 99.01;
        // ranks from scipy 1.17.1: binom.ppf([.025, .975], 100, .5) = 40, 60 -> values 40, 61;
        // binom.ppf([.025, .975], 100, .95) = 90, 99 -> values 90, 100; p99: 97 and 100 -> none.
        let times: Vec<f64> = (1..=100).map(f64::from).collect();
        let found = latency(&times).unwrap();
        assert!((found.p50.ms - 50.5).abs() < 1e-9 && (found.p95.ms - 95.05).abs() < 1e-9);
        assert_eq!((found.p50.low, found.p50.high), (Some(40.0), Some(61.0)));
        assert_eq!((found.p95.low, found.p95.high), (Some(90.0), Some(100.0)));
        assert_eq!((found.p99.low, found.p99.high), (Some(97.0), None));
    }

    #[test]
    fn few_measurements_give_no_bound_rather_than_a_wrong_one() {
        let found = latency(&[5.0, 7.0]).unwrap();
        // The lower bound is right: both lie above the quantile once in 400 times.
        assert_eq!((found.p95.low, found.p95.high), (Some(5.0), None));
        assert_eq!(found.p50.low, None);
        assert!(latency(&[]).is_none() && latency(&[f64::NAN]).is_none());
    }

    #[test]
    fn the_bounds_hold_the_true_quantile() {
        // Exponential times: the 95th percentile is ln 20.
        let mut rng = sprat_task::random::stream(3, "latency");
        let truth = 20f64.ln();
        let covered = (0..1000)
            .filter(|_| {
                let times: Vec<f64> = (0..300).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
                let p95 = latency(&times).unwrap().p95;
                p95.low.unwrap() <= truth && truth <= p95.high.unwrap()
            })
            .count();
        assert!((935..=985).contains(&covered), "{covered}");
    }
}
