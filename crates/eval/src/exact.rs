//! Exact binomial statements about a share: no normal approximation, so they hold for any number
//! of trials.

use crate::interval::Interval;
use statrs::distribution::{Binomial, DiscreteCDF, Hypergeometric};
use statrs::function::beta::beta_reg;

/// `P(X <= successes)` for `X ~ Bin(trials, share)`: the exact one-sided p-value of the hypothesis
/// that the true share is at least `share`, after so few successes. It is 1 without trials.
pub fn binomial_tail(successes: u64, trials: u64, share: f64) -> f64 {
    if successes >= trials || share.is_nan() {
        return 1.0;
    }
    Binomial::new(share.clamp(0.0, 1.0), trials).map_or(1.0, |binomial| binomial.cdf(successes))
}

/// The exact one-sided upper bound: a share of successes as high as this or higher would give so
/// few of them with probability `1 - confidence` at most. It is 1 without trials.
///
/// The `confidence` quantile of `Beta(successes + 1, trials - successes)` (Clopper and Pearson,
/// "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika
/// 26, 1934).
pub fn binomial_upper(successes: u64, trials: u64, confidence: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    beta_quantile((successes + 1) as f64, (trials - successes) as f64, confidence)
}

/// The exact one-sided lower bound, the counterpart of [`binomial_upper`]. It is 0 without trials.
pub fn binomial_lower(successes: u64, trials: u64, confidence: f64) -> f64 {
    1.0 - binomial_upper(trials - successes.min(trials), trials, confidence)
}

/// Clopper and Pearson's exact interval for a share: it holds the truth in at least `level` of
/// samples, whatever the truth. With no trials: everything from 0 to 1.
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Interval {
    if trials == 0 {
        return Interval { estimate: 0.5, low: 0.0, high: 1.0, level };
    }
    let successes = successes.min(trials);
    let side = 0.5 + level / 2.0;
    let low = binomial_lower(successes, trials, side);
    let high = binomial_upper(successes, trials, side);
    Interval::new(successes as f64 / trials as f64, low, high, level)
}

/// Fisher's exact one-sided test that the first of two samples, each of (successes, trials), has
/// the greater share: the probability of so many or more successes in it, were all successes dealt
/// out at random. It is 1 without trials in either (Fisher, "On the interpretation of chi-squared
/// from contingency tables", JRSS 85, 1922).
pub fn fisher_tail((a, n): (u64, u64), (b, m): (u64, u64)) -> f64 {
    let (a, b) = (a.min(n), b.min(m));
    if a == 0 || n == 0 || m == 0 {
        return 1.0;
    }
    Hypergeometric::new(n + m, a + b, n).map_or(1.0, |dealt| dealt.sf(a - 1))
}

/// The quantile of a Beta distribution by bisection of its distribution function, to the last bit:
/// slower than series, and right in the far tails too.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    if p.is_nan() {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            // The upper end: a bound is never rounded to the wrong side.
            return high;
        }
        if beta_reg(a, b, middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn two_shares_are_compared_as_by_enumeration() {
        // By hand: 3 of 4 against 1 of 4 is (4 choose 3)(4 choose 1) + 1 of (8 choose 4) ways.
        assert!((fisher_tail((3, 4), (1, 4)) - 17.0 / 70.0).abs() < 1e-12);
        assert!((fisher_tail((4, 4), (0, 4)) - 1.0 / 70.0).abs() < 1e-12);
        assert!(fisher_tail((30, 40), (10, 40)) < 1e-4 && fisher_tail((10, 40), (30, 40)) > 0.99);
        for nothing in [fisher_tail((0, 0), (3, 9)), fisher_tail((3, 9), (0, 0))] {
            assert_eq!(nothing, 1.0);
        }
    }

    #[test]
    fn the_interval_agrees_with_scipy() {
        // scipy 1.17.1: stats.binomtest(k, n).proportion_ci(0.95, method="exact").
        for (successes, trials, low, high) in [
            (0, 20, 0.000000000000, 0.168433470983),
            (168, 180, 0.886442956415, 0.965080601014),
            (2871, 3080, 0.922680982995, 0.940773452304),
            (5, 5, 0.478176249895, 1.000000000000),
            (3, 250, 0.002481558255, 0.034666614575),
        ] {
            let interval = clopper_pearson(successes, trials, 0.95);
            assert!((interval.low - low).abs() < 1e-11, "{interval:?}");
            assert!((interval.high - high).abs() < 1e-11, "{interval:?}");
        }
        assert_eq!(clopper_pearson(0, 0, 0.95).high, 1.0);
    }

    #[test]
    fn bound_and_tail_agree_with_scipy() {
        // scipy 1.17.1: stats.beta.ppf(confidence, k + 1, n - k).
        for (successes, trials, confidence, bound) in [
            (0, 59, 0.95, 0.049507609888),
            (7, 200, 0.9, 0.058152845240),
            (12, 1000, 0.99, 0.022697467873),
            (60, 1000, 0.95, 0.073849148450),
        ] {
            let ours = binomial_upper(successes, trials, confidence);
            assert!((ours - bound).abs() < 1e-11, "{ours} {bound}");
        }
        // scipy 1.17.1: stats.binom.cdf(k, n, share).
        for (successes, trials, share, tail) in [
            (0, 59, 0.05, 4.849452524942e-02),
            (7, 200, 0.05, 2.133047027847e-01),
            (12, 1000, 0.02, 3.760481039718e-02),
            (60, 1000, 0.05, 9.329374813667e-01),
            (5, 5, 0.3, 1.0),
        ] {
            let ours = binomial_tail(successes, trials, share);
            assert!((ours / tail - 1.0).abs() < 1e-10, "{ours} {tail}");
        }
        assert_eq!(binomial_tail(0, 0, 0.1), 1.0);
    }

    #[test]
    fn the_upper_bound_holds_in_at_least_its_confidence_of_samples() {
        let mut rng = sprat_task::random::stream(3, "exact coverage");
        for truth in [0.01, 0.05, 0.3] {
            let held = (0..3000)
                .filter(|_| {
                    let hits = (0..120).filter(|_| rng.random::<f64>() < truth).count() as u64;
                    binomial_upper(hits, 120, 0.9) >= truth
                })
                .count();
            // Three standard errors below 0.9.
            assert!(held as f64 / 3000.0 > 0.9 - 3.0 * (0.09f64 / 3000.0).sqrt(), "{truth}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_bound_is_where_the_tail_reaches_the_level(
            n in 1u64..2000, share in 0.0f64..1.0, confidence in 0.5f64..0.999,
        ) {
            let k = (n as f64 * share) as u64;
            let bound = binomial_upper(k, n, confidence);
            proptest::prop_assert!((binomial_tail(k, n, bound) - (1.0 - confidence)).abs() < 1e-8);
            proptest::prop_assert!(binomial_lower(k, n, confidence) <= k as f64 / n as f64);
        }
    }
}
