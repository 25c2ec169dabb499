//! A threshold with a guarantee: `P(failure | kept) <= alpha` with probability `1 - delta` over
//! the draw of the calibration part.
//!
//! The procedure is Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052) over a nested
//! family of thresholds `t_1 > t_2 > … > t_m`, of which the last keeps everything:
//!
//! 1. The family and the places where testing starts come from scores of the *fit part* and from
//!    the mere size of the calibration part. Were they taken from the calibration part's own
//!    scores, the kept rows would not be an independent sample at a threshold fixed beforehand.
//! 2. At `t_j` the `n` rows of the calibration part with `score >= t_j` have `k` failures. Given
//!    `n`, they are independent draws at the true failure rate `R(t_j)`, so
//!    `p_j = P(Bin(n, alpha) <= k)` is a valid p-value of `H_j: R(t_j) > alpha` (Clopper and
//!    Pearson 1934). `R` need not be monotone.
//! 3. The strictest thresholds keep so few rows that nothing could be shown, and a single
//!    sequence would end there. So `delta` is split evenly over a few starts, at kept counts that
//!    grow geometrically, and the hypotheses are tested in order by the fixed-sequence Bonferroni
//!    procedure (Wiens, "A fixed sequence Bonferroni procedure for testing multiple endpoints",
//!    Pharmaceutical Statistics 2, 2003): `H_j` is tested at its own share of `delta` plus what
//!    the hypothesis before it was tested at, if that one was rejected. The probability of any
//!    false rejection is at most `delta`, so whichever rejected threshold is chosen, the bound
//!    holds: the loosest one is.
//!
//! Geifman and El-Yaniv ("Selective classification for deep neural networks", 2017) bisect the
//! thresholds of the calibration part itself under a Bonferroni correction over `log2 m` steps and
//! need a risk that falls with the threshold to end at a useful one; here neither the correction
//! nor the choice depends on that shape.
//!
//! Rows are taken as independent. What is kept in production must come from the same traffic.

use serde::{Deserialize, Serialize};
use sprat_eval::{binomial_tail, binomial_upper};

/// Steps of coverage between the thresholds of a family.
const STEPS: usize = 100;
/// How many starts share `delta` at most.
const STARTS: usize = 4;
/// The chance of success that [`Shortfall::calibration_rows`] plans for.
const POWER: f64 = 0.8;
/// Rates of fewer rows than this say nothing about what more rows could show.
const LEAST_ROWS: usize = 20;
/// Above so many failures nobody would grade on.
const MOST_FAILURES: u64 = 1 << 20;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The greatest failure rate among kept requests.
    pub alpha: f64,
    /// The probability, over calibration parts, that the bound may fail.
    pub delta: f64,
}

/// A request's score, and whether keeping it failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The trust in the small model: higher is safer.
    pub score: f64,
    /// Whether keeping it failed.
    pub failed: bool,
}

/// The thresholds that are tested, strictest first, and where testing starts. A threshold of
/// `None` keeps everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// The thresholds.
    pub thresholds: Vec<Option<f64>>,
    /// Positions at which a share of `delta` is spent, rising.
    pub starts: Vec<usize>,
}

impl Family {
    /// The family for a calibration part of so many rows, from the fit part's scores alone.
    pub fn new(fit_scores: &[f64], calibration_rows: usize, bound: Bound) -> Self {
        let mut scores: Vec<f64> = fit_scores.iter().copied().filter(|s| s.is_finite()).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        let mut thresholds: Vec<Option<f64>> = Vec::new();
        let mut shares = Vec::new();
        for step in 1..STEPS {
            let rank = (scores.len() * step).div_ceil(STEPS);
            let Some(&score) = rank.checked_sub(1).and_then(|at| scores.get(at)) else { continue };
            if thresholds.last() != Some(&Some(score)) {
                thresholds.push(Some(score));
                // Equal scores are kept together.
                let kept = scores.partition_point(|other| *other >= score);
                shares.push(kept as f64 / scores.len() as f64);
            }
        }
        thresholds.push(None);
        shares.push(1.0);
        // With no failure among `least` rows, a share of delta is just enough.
        let least = (bound.delta / STARTS as f64).ln() / (1.0 - bound.alpha).ln();
        let (first, last) = (1.5 * least, calibration_rows as f64);
        let mut starts = Vec::new();
        for step in 0..STARTS {
            let wanted = first * (last / first).max(1.0).powf(step as f64 / (STARTS - 1) as f64);
            let at = shares.iter().position(|share| share * last >= wanted - 1e-9);
            starts.push(at.unwrap_or(thresholds.len() - 1));
        }
        starts.dedup();
        Family { thresholds, starts }
    }
}

/// One tested threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// The threshold; `None` keeps everything.
    pub threshold: Option<f64>,
    /// Rows of the calibration part that it keeps.
    pub kept: u64,
    /// Failures among them.
    pub failures: u64,
    /// The p-value of "the failure rate is above alpha".
    pub p_value: f64,
    /// The level that it was tested at.
    pub level: f64,
}

impl Tested {
    /// Whether the bound was shown here.
    pub fn passed(&self) -> bool {
        self.p_value <= self.level
    }
}

/// Whether a threshold keeps a score. What is no number is never kept.
pub fn keeps(threshold: Option<f64>, score: f64) -> bool {
    !score.is_nan() && threshold.is_none_or(|threshold| score >= threshold)
}

/// Tests the family on the calibration part. Returns what was tested, in order; the loosest
/// threshold that passed is the last one that [`Tested::passed`].
pub fn test(family: &Family, calibration: &[Outcome], bound: Bound) -> Vec<Tested> {
    let share = bound.delta / family.starts.len().max(1) as f64;
    let mut tested = Vec::new();
    let mut carried = 0.0;
    for (at, &threshold) in family.thresholds.iter().enumerate() {
        let own = if family.starts.contains(&at) { share } else { 0.0 };
        let level = carried + own;
        if level <= 0.0 {
            continue;
        }
        let kept = calibration.iter().filter(|row| keeps(threshold, row.score));
        let (kept, failures) = kept.fold((0, 0), |(n, k), row| (n + 1, k + u64::from(row.failed)));
        let p_value = binomial_tail(failures, kept, bound.alpha);
        let result = Tested { threshold, kept, failures, p_value, level };
        tested.push(result);
        carried = if result.passed() { level } else { 0.0 };
    }
    tested
}

/// What is missing where no threshold passed, as estimated from the rows that there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The calibration rows with which the test passes with a probability of 80 % if the rates are
    /// what they seem to be; `None`: at every threshold the failure rate seems to be above alpha,
    /// so that no number of rows will do.
    pub calibration_rows: Option<u64>,
    /// The lowest failure rate seen at any threshold with enough rows to speak of.
    pub lowest_rate: f64,
    /// The share of requests kept there.
    pub share: f64,
}

/// Plans for a test that would pass. Rates are `(k + 1/2) / (n + 1)`, so that a few rows without
/// failure do not promise a rate of nothing.
pub fn shortfall(family: &Family, rows: &[Outcome], bound: Bound) -> Shortfall {
    let level = bound.delta / family.starts.len().max(1) as f64;
    let mut found = Shortfall { calibration_rows: None, lowest_rate: 1.0, share: 0.0 };
    for &threshold in &family.thresholds {
        let kept: Vec<&Outcome> = rows.iter().filter(|row| keeps(threshold, row.score)).collect();
        if kept.len() < LEAST_ROWS {
            continue;
        }
        let failures = kept.iter().filter(|row| row.failed).count();
        let rate = (failures as f64 + 0.5) / (kept.len() as f64 + 1.0);
        let share = kept.len() as f64 / rows.len() as f64;
        if rate < found.lowest_rate {
            (found.lowest_rate, found.share) = (rate, share);
        }
        if let Some(kept) = rows_for(rate, bound.alpha, level) {
            let needed = (kept as f64 / share).ceil() as u64;
            let least = found.calibration_rows.map_or(needed, |least| least.min(needed));
            found.calibration_rows = Some(least);
        }
    }
    found
}

/// The kept rows with which a test at `level` passes with probability [`POWER`] at a true `rate`.
fn rows_for(rate: f64, alpha: f64, level: f64) -> Option<u64> {
    if rate >= alpha {
        return None;
    }
    // With up to k failures the test passes from n_k rows on; more failures allowed, more power.
    let passes = |k: u64| {
        let n = least_rows(k, alpha, level);
        (binomial_tail(k, n, rate) >= POWER).then_some(n)
    };
    let mut high = 1;
    while passes(high).is_none() {
        high *= 2;
        if high > MOST_FAILURES {
            return None;
        }
    }
    let mut low = 0;
    if let Some(n) = passes(0) {
        return Some(n);
    }
    while high - low > 1 {
        let middle = low.midpoint(high);
        if passes(middle).is_some() { high = middle } else { low = middle }
    }
    passes(high)
}

/// The least rows with which `k` failures are few enough.
fn least_rows(k: u64, alpha: f64, level: f64) -> u64 {
    let enough = |n: u64| binomial_upper(k, n, 1.0 - level) <= alpha;
    let mut high = k + 1;
    while !enough(high) && high < 1 << 40 {
        high *= 2;
    }
    let mut low = k;
    while high - low > 1 {
        let middle = low.midpoint(high);
        if enough(middle) { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use sprat_task::random;

    const BOUND: Bound = Bound { alpha: 0.1, delta: 0.1 };

    fn draw(n: usize, seed: u64, name: &str, risk: impl Fn(f64) -> f64) -> Vec<Outcome> {
        let mut rng = random::stream(seed, name);
        (0..n)
            .map(|_| {
                let score: f64 = rng.random();
                Outcome { score, failed: rng.random::<f64>() < risk(score) }
            })
            .collect()
    }

    /// The true failure rate above a threshold, by the midpoint rule; scores are uniform.
    fn truth(threshold: Option<f64>, risk: impl Fn(f64) -> f64) -> f64 {
        let from = threshold.unwrap_or(0.0).clamp(0.0, 1.0 - 1e-9);
        let step = (1.0 - from) / 2000.0;
        (0..2000).map(|at| risk(from + (f64::from(at) + 0.5) * step)).sum::<f64>() / 2000.0
    }

    /// The shares of draws in which nothing was chosen, in which the bound failed, and the mean
    /// kept share where something was chosen.
    fn monte_carlo(rows: usize, risk: impl Fn(f64) -> f64) -> (f64, f64, f64) {
        const DRAWS: u64 = 400;
        let (mut none, mut broken, mut kept) = (0.0, 0.0, 0.0);
        for seed in 0..DRAWS {
            let fit: Vec<f64> = draw(300, seed, "fit", &risk).iter().map(|o| o.score).collect();
            let calibration = draw(rows, seed, "calibration", &risk);
            let family = Family::new(&fit, rows, BOUND);
            let tested = test(&family, &calibration, BOUND);
            match tested.iter().rev().find(|tested| tested.passed()) {
                None => none += 1.0,
                Some(chosen) => {
                    broken += f64::from(u8::from(truth(chosen.threshold, &risk) > BOUND.alpha));
                    kept += 1.0 - chosen.threshold.unwrap_or(0.0).clamp(0.0, 1.0);
                }
            }
        }
        let chosen = (DRAWS as f64 - none).max(1.0);
        (none / DRAWS as f64, broken / DRAWS as f64, kept / chosen)
    }

    /// Three standard errors of a share of 0.1 over 400 draws above delta.
    const MOST_BROKEN: f64 = 0.1 + 3.0 * 0.015;

    #[test]
    fn the_bound_holds_and_is_not_absurdly_conservative() {
        // The rate above t is (1 - t) / 2: everything above 0.8 may be kept.
        let (none, broken, kept) = monte_carlo(2000, |score| 1.0 - score);
        assert!(none < 0.15 && broken <= MOST_BROKEN, "{none} {broken} {kept}");
        // The share that could be kept with perfect knowledge is 0.2. That a tenth of the draws
        // chooses nothing is the price of testing at starts that know no failures.
        assert!(kept > 0.11, "{kept} of 0.2");
    }

    #[test]
    fn the_bound_holds_where_the_risk_is_not_monotone() {
        // The most trusted are worse than the next ones, then a cliff.
        let waves = |score: f64| match score {
            s if s > 0.9 => 0.25,
            s if s > 0.5 => 0.02,
            s if s > 0.3 => 0.3,
            _ => 0.08,
        };
        let (_, broken, _) = monte_carlo(1500, waves);
        assert!(broken <= MOST_BROKEN, "{broken}");
        // Everything is a hair above alpha: the worst case of the test.
        let (none, broken, _) = monte_carlo(1500, |_| 0.1001);
        assert!(broken <= MOST_BROKEN && none > 0.8, "{none} {broken}");
        // A score without signal where everything may be kept.
        let (none, broken, kept) = monte_carlo(1500, |_| 0.07);
        assert!(none < 0.1 && broken == 0.0 && kept > 0.9, "{none} {broken} {kept}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let risk = |score: f64| if score > 0.5 { 0.05 } else { 0.5 };
        let rows = draw(60, 1, "few", risk);
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let family = Family::new(&scores, 60, BOUND);
        assert!(test(&family, &rows, BOUND).iter().all(|tested| !tested.passed()));
        let missing = shortfall(&family, &rows, BOUND);
        let needed = missing.calibration_rows.unwrap();
        assert!((100..5000).contains(&needed), "{missing:?}");
        let hopeless = draw(500, 1, "hopeless", |_| 0.4);
        let missing = shortfall(&family, &hopeless, BOUND);
        assert!(missing.calibration_rows.is_none() && missing.lowest_rate > 0.2, "{missing:?}");
        // 22 rows without failure exclude 0.1 at 0.1: 0.9^22 = 0.0985.
        assert_eq!(least_rows(0, 0.1, 0.1), 22);
        assert!(test(&Family::new(&[], 0, BOUND), &[], BOUND).iter().all(|t| !t.passed()));
    }

    #[test]
    fn a_score_that_is_no_number_is_never_kept() {
        assert!(!keeps(None, f64::NAN) && keeps(None, f64::NEG_INFINITY) && !keeps(Some(0.5), 0.4));
    }
}
