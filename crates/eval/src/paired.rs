//! Two models on the same rows.

use crate::answers::Answers;
use crate::bootstrap;
use crate::confusion::Tally;
use crate::interval::{Interval, LEVEL, normal_quantile};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};
use statrs::distribution::{Binomial, Discrete, DiscreteCDF};

/// McNemar's test on the rows that exactly one of two models got right (McNemar, "Note on the
/// sampling error of the difference between correlated proportions", 1947).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Two-sided p-value of the exact conditional test.
    pub exact_p: f64,
    /// Two-sided mid-p value: less conservative, level kept in practice (Fagerland, Lydersen and
    /// Laake, "The McNemar test for binary matched-pairs data", 2013).
    pub mid_p: f64,
}

/// McNemar's test; `first_only` rows are right with the first model alone, `second_only` with
/// the second alone.
pub fn mcnemar(first_only: u64, second_only: u64) -> McNemar {
    let discordant = first_only + second_only;
    let fewer = first_only.min(second_only);
    let Some(binomial) = (discordant > 0).then(|| Binomial::new(0.5, discordant).ok()).flatten()
    else {
        return McNemar { exact_p: 1.0, mid_p: 1.0 };
    };
    let point = binomial.pmf(fewer);
    let exact_p = (2.0 * binomial.cdf(fewer)).min(1.0);
    let mid_p = if first_only == second_only { 1.0 - point / 2.0 } else { exact_p - point };
    McNemar { exact_p, mid_p: mid_p.clamp(0.0, 1.0) }
}

/// One-sided exact p-value that losses are not more frequent than gains.
pub(crate) fn more_losses_than_gains(losses: u64, gains: u64) -> f64 {
    if losses == 0 {
        return 1.0;
    }
    let Ok(binomial) = Binomial::new(0.5, losses + gains) else { return 1.0 };
    // P(X >= losses) for X ~ Bin(losses + gains, 1/2), by symmetry.
    binomial.cdf(gains)
}

/// The difference of two paired shares, first minus second, with Tango's score interval (Tango,
/// "Equivalence test and confidence interval for the difference in proportions for the
/// paired-sample design", 1998): it also holds its level when few rows or none differ.
pub fn paired_difference(first_only: u64, second_only: u64, rows: u64, level: f64) -> Interval {
    if rows == 0 {
        return Interval::new(0.0, -1.0, 1.0, level);
    }
    let (b, c, n) = (first_only as f64, second_only as f64, rows as f64);
    let estimate = (b - c) / n;
    let z = normal_quantile(0.5 + level / 2.0);
    let score = |delta: f64| {
        let linear = -b - c + (2.0 * n - b + c) * delta;
        let constant = -c * delta * (1.0 - delta);
        let root = (linear * linear - 8.0 * n * constant).max(0.0).sqrt();
        let nuisance = (root - linear) / (4.0 * n);
        let variance = n * (2.0 * nuisance + delta * (1.0 - delta));
        let distance = b - c - n * delta;
        if variance > 0.0 { distance / variance.sqrt() } else { distance.signum() * f64::INFINITY }
    };
    // The score falls as delta grows: bisect for z below the estimate and -z above it.
    let solve = |mut low: f64, mut high: f64, target: f64| {
        for _ in 0..80 {
            let middle = f64::midpoint(low, high);
            if score(middle) > target {
                low = middle;
            } else {
                high = middle;
            }
        }
        f64::midpoint(low, high)
    };
    Interval::new(estimate, solve(-1.0, estimate, z), solve(estimate, 1.0, -z), level)
}

/// A candidate against a reference on the same rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The candidate.
    pub candidate: String,
    /// What it is compared with.
    pub reference: String,
    /// Rows.
    pub rows: u64,
    /// Rows that both got right.
    pub both: u64,
    /// Rows that only the candidate got right.
    pub candidate_only: u64,
    /// Rows that only the reference got right.
    pub reference_only: u64,
    /// Rows that neither got right.
    pub neither: u64,
    /// Accuracy, candidate minus reference (Tango).
    pub accuracy: Interval,
    /// Macro-F1, candidate minus reference (paired bootstrap).
    pub macro_f1: Interval,
    /// McNemar's test.
    pub mcnemar: McNemar,
    /// The mid-p value adjusted for the number of candidates (Holm); the mid-p value itself
    /// until [`crate::bench`] adjusts it.
    pub adjusted_p: f64,
}

/// Compares a candidate with a reference on the same rows.
///
/// # Errors
/// [`crate::codes::INPUT`] when the two were not asked the same rows.
pub fn compare(
    (candidate, ours): (&str, &Answers<'_>),
    (reference, theirs): (&str, &Answers<'_>),
    resamples: usize,
    seed: u64,
) -> Result<Comparison> {
    if ours.gold() != theirs.gold() || ours.labels() != theirs.labels() {
        let what = format!("`{candidate}` and `{reference}` were not tested on the same rows");
        return Err(Error::new(&crate::codes::INPUT, what));
    }
    let (mut both, mut candidate_only, mut reference_only, mut neither) = (0, 0, 0, 0);
    for (a, b) in ours.right().into_iter().zip(theirs.right()) {
        match (a, b) {
            (true, true) => both += 1,
            (true, false) => candidate_only += 1,
            (false, true) => reference_only += 1,
            (false, false) => neither += 1,
        }
    }
    let rows = ours.rows() as u64;
    let difference =
        |n: &[u32]| Tally::weighted(ours, n).macro_f1() - Tally::weighted(theirs, n).macro_f1();
    let mut replicates = Vec::with_capacity(resamples);
    bootstrap::resample(ours.rows(), resamples, seed, "eval paired", |counts| {
        replicates.push(difference(counts));
    });
    let estimate = difference(&vec![1; ours.rows()]);
    let test = mcnemar(candidate_only, reference_only);
    Ok(Comparison {
        candidate: candidate.to_owned(),
        reference: reference.to_owned(),
        rows,
        both,
        candidate_only,
        reference_only,
        neither,
        accuracy: paired_difference(candidate_only, reference_only, rows, LEVEL),
        macro_f1: bootstrap::percentile(estimate, &replicates, LEVEL),
        mcnemar: test,
        adjusted_p: test.mid_p,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn mcnemar_agrees_with_statsmodels_and_the_paper() {
        // statsmodels 0.15.0: mcnemar([[0, b], [c, 0]], exact=True).pvalue; the mid-p value is
        // the exact one less binom.pmf(min(b, c), b + c, 0.5), scipy 1.17.1.
        for (b, c, exact, mid) in [
            (1, 9, 0.021484375000, 0.011718750000),
            (12, 5, 0.143463134766, 0.096252441406),
            (10, 10, 1.000000000000, 0.911901473999),
            (40, 21, 0.020414713800, 0.015134080997),
            (0, 3, 0.250000000000, 0.125000000000),
        ] {
            let test = mcnemar(b, c);
            assert!((test.exact_p - exact).abs() < 1e-9, "{test:?}");
            assert!((test.mid_p - mid).abs() < 1e-9, "{test:?}");
        }
        assert_eq!(mcnemar(0, 0), McNemar { exact_p: 1.0, mid_p: 1.0 });
    }

    #[test]
    fn tangos_interval_agrees_with_an_independent_solution() {
        // Roots of Tango's score equation found by scipy 1.17.1 optimize.brentq, with the
        // nuisance share maximised numerically instead of by the closed form.
        for (b, c, n, low, high) in [
            (12, 5, 100, -0.01186321, 0.15741561),
            (4, 9, 180, -0.07342247, 0.01311550),
            (31, 40, 3080, -0.00848754, 0.00250417),
            (7, 1, 50, 0.01161969, 0.24658081),
        ] {
            let interval = paired_difference(b, c, n, 0.95);
            assert!((interval.low - low).abs() < 1e-5, "{interval:?} {low}");
            assert!((interval.high - high).abs() < 1e-5, "{interval:?} {high}");
        }
        // Closed form when nothing differs: z² / (n + z²).
        let none = paired_difference(0, 0, 180, 0.95);
        let z2 = normal_quantile(0.975).powi(2);
        assert!(
            (none.high - z2 / (180.0 + z2)).abs() < 1e-9 && (none.low + none.high).abs() < 1e-9
        );
    }

    #[test]
    fn the_paired_interval_covers_the_truth() {
        let mut rng = sprat_task::random::stream(5, "tango");
        let (gain, loss, rows) = (0.02, 0.035, 400);
        let covered = (0..1500)
            .filter(|_| {
                let (mut b, mut c) = (0, 0);
                for _ in 0..rows {
                    let draw: f64 = rng.random();
                    b += u64::from(draw < gain);
                    c += u64::from((gain..gain + loss).contains(&draw));
                }
                let interval = paired_difference(b, c, rows, 0.95);
                (interval.low..=interval.high).contains(&(gain - loss))
            })
            .count();
        let coverage = covered as f64 / 1500.0;
        assert!((0.93..0.975).contains(&coverage), "{coverage}");
    }

    #[test]
    fn a_better_candidate_is_recognised() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let gold: Vec<usize> = (0..200).map(|at| at % 2).collect();
        let flip = |every: usize| -> Vec<usize> {
            gold.iter()
                .enumerate()
                .map(|(at, &g)| if at % every == 0 { 1 - g } else { g })
                .collect()
        };
        let (good, poor) = (flip(50), flip(5));
        let ours = Answers::new(&labels, &gold, &good, None).unwrap();
        let theirs = Answers::new(&labels, &gold, &poor, None).unwrap();
        let result = compare(("good", &ours), ("poor", &theirs), 500, 1).unwrap();
        assert_eq!((result.candidate_only, result.reference_only), (36, 0));
        assert!(result.mcnemar.mid_p < 1e-6 && result.accuracy.low > 0.1);
        assert!(result.macro_f1.low > 0.0);
        let other = [1, 0];
        let unlike = Answers::new(&labels, &other, &other, None).unwrap();
        assert!(compare(("good", &ours), ("x", &unlike), 10, 1).is_err());
    }

    proptest::proptest! {
        #[test]
        fn exchanging_the_models_changes_signs_only(b in 0u64..60, c in 0u64..60, rest in 0u64..500) {
            let n = b + c + rest + 1;
            proptest::prop_assert_eq!(mcnemar(b, c), mcnemar(c, b));
            let (one, other) = (paired_difference(b, c, n, 0.95), paired_difference(c, b, n, 0.95));
            proptest::prop_assert!((one.low + other.high).abs() < 1e-9, "{:?} {:?}", one, other);
            proptest::prop_assert!(one.low <= one.estimate && one.estimate <= one.high);
            let test = mcnemar(b, c);
            proptest::prop_assert!(test.mid_p <= test.exact_p && test.mid_p >= 0.0);
        }
    }
}
