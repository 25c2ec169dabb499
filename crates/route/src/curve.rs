//! What large calls buy: quality against the share of requests that go to the large model.

use serde::{Deserialize, Serialize};
use sprat_eval::{Interval, LEVEL, bootstrap};

/// Points of the curve besides its beginning.
const POINTS: usize = 20;
/// Resamples behind the intervals.
const RESAMPLES: usize = 1000;

/// A request with both models' grades.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The trust in the small model: the lowest scores go to the large model first.
    pub score: f64,
    /// Whether the small model is right.
    pub small: bool,
    /// Whether the large model is right.
    pub large: bool,
}

/// One share of large calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The share of requests that the large model answers.
    pub share_large: f64,
    /// The system's accuracy.
    pub quality: f64,
    /// The same with requests chosen at random: a straight line.
    pub random: f64,
    /// The same with the requests that gain chosen first, and those that lose last.
    pub oracle: f64,
    /// The least score that is kept for about this share; `None`: at the curve's end nothing is.
    pub threshold: Option<f64>,
}

/// The quality–cost curve of a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Rows.
    pub rows: u64,
    /// Accuracy of the small model alone (bootstrap).
    pub small: Interval,
    /// Accuracy of the large model alone (bootstrap).
    pub large: Interval,
    /// The curve.
    pub points: Vec<Point>,
    /// The share of the large model's accuracy that `needed` is about.
    pub target: f64,
    /// The least share of large calls that reaches it; `None` where no share does.
    pub needed: Option<Interval>,
    /// The same at random.
    pub needed_random: Option<f64>,
    /// The same with perfect knowledge.
    pub needed_oracle: Option<f64>,
    /// The average performance gap recovered (APGR; Ong et al. 2024, arXiv:2406.18665): 0.5 at
    /// random. `None` where the large model is no better.
    pub apgr: Option<Interval>,
    /// The least shares of large calls that recover 50 and 80 % of the gap (CPT, same source).
    pub cpt: Option<(f64, f64)>,
}

/// Rows of equal score and their positions, lowest score first.
struct Ranked<'a> {
    pairs: &'a [Pair],
    groups: Vec<Vec<usize>>,
}

/// A weighted sample's curve as corners `(share, quality)` between which it is straight: equal
/// scores are sent in random order.
struct Traced {
    small: f64,
    large: f64,
    corners: Vec<(f64, f64)>,
    /// Shares of requests that gain and that lose from a large call.
    gain: f64,
    loss: f64,
}

impl<'a> Ranked<'a> {
    fn new(pairs: &'a [Pair]) -> Self {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|&a, &b| pairs[a].score.total_cmp(&pairs[b].score));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for at in order {
            match groups.last_mut() {
                Some(group) if pairs[group[0]].score == pairs[at].score => group.push(at),
                _ => groups.push(vec![at]),
            }
        }
        Ranked { pairs, groups }
    }

    /// The least score of those that are kept when about so many are sent.
    fn threshold(&self, share: f64) -> Option<f64> {
        let wanted = share * self.pairs.len() as f64 - 1e-9;
        let mut sent = 0;
        for group in &self.groups {
            if sent as f64 >= wanted {
                return Some(self.pairs[group[0]].score);
            }
            sent += group.len();
        }
        None
    }

    fn trace(&self, counts: &[u32]) -> Traced {
        let total: f64 = counts.iter().map(|&n| f64::from(n)).sum::<f64>().max(1.0);
        let share = |of: &dyn Fn(&Pair) -> bool| {
            let rows = self.pairs.iter().zip(counts);
            rows.filter(|(pair, _)| of(pair)).map(|(_, &n)| f64::from(n)).sum::<f64>() / total
        };
        let (small, large) = (share(&|pair| pair.small), share(&|pair| pair.large));
        let mut corners = vec![(0.0, small)];
        let (mut sent, mut change) = (0.0, 0.0);
        for group in &self.groups {
            for &at in group {
                let (pair, n) = (&self.pairs[at], f64::from(counts[at]));
                sent += n;
                change += n * (f64::from(u8::from(pair.large)) - f64::from(u8::from(pair.small)));
            }
            corners.push((sent / total, small + change / total));
        }
        let gain = share(&|pair| pair.large && !pair.small);
        let loss = share(&|pair| pair.small && !pair.large);
        Traced { small, large, corners, gain, loss }
    }
}

impl Traced {
    fn at(&self, share: f64) -> f64 {
        let after = self.corners.partition_point(|corner| corner.0 < share);
        match (after.checked_sub(1), self.corners.get(after)) {
            (None, _) => self.small,
            (Some(_), None) => self.large,
            (Some(before), Some(&(right, high))) => {
                let (left, low) = self.corners[before];
                low + (high - low) * (share - left) / (right - left)
            }
        }
    }

    fn oracle(&self, share: f64) -> f64 {
        self.small + share.min(self.gain) - (share - (1.0 - self.loss)).max(0.0)
    }

    /// The least share with at least this quality.
    fn reaches(&self, quality: f64) -> Option<f64> {
        // A quality that is met but for rounding is met.
        let quality = quality - 1e-12;
        if self.small >= quality {
            return Some(0.0);
        }
        self.corners.windows(2).find(|pair| pair[1].1 >= quality).map(|pair| {
            let ((left, low), (right, high)) = (pair[0], pair[1]);
            (left + (right - left) * (quality - low) / (high - low)).clamp(left, right)
        })
    }

    fn random_reaches(&self, quality: f64) -> Option<f64> {
        match quality {
            quality if self.small >= quality => Some(0.0),
            quality if self.large < quality => None,
            quality => Some((quality - self.small) / (self.large - self.small)),
        }
    }

    fn apgr(&self) -> Option<f64> {
        if self.large <= self.small {
            return None;
        }
        let area: f64 =
            self.corners.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
        Some((area - self.small) / (self.large - self.small))
    }
}

/// The curve; `target` is the share of the large model's accuracy to reach, such as 0.95. `None`
/// without rows.
pub fn curve(pairs: &[Pair], target: f64, seed: u64) -> Option<Curve> {
    if pairs.is_empty() {
        return None;
    }
    let ranked = Ranked::new(pairs);
    let traced = ranked.trace(&vec![1; pairs.len()]);
    let mut replicates: [Vec<f64>; 4] = Default::default();
    bootstrap::resample(pairs.len(), RESAMPLES, seed, "route curve", |counts| {
        let again = ranked.trace(counts);
        replicates[0].push(again.small);
        replicates[1].push(again.large);
        replicates[2].push(again.reaches(target * again.large).unwrap_or(1.0));
        replicates[3].push(again.apgr().unwrap_or(f64::NAN));
    });
    let interval = |estimate, of: usize| bootstrap::percentile(estimate, &replicates[of], LEVEL);
    let points = (0..=POINTS).map(|at| {
        let share_large = at as f64 / POINTS as f64;
        Point {
            share_large,
            quality: traced.at(share_large),
            random: traced.small + share_large * (traced.large - traced.small),
            oracle: traced.oracle(share_large),
            threshold: ranked.threshold(share_large),
        }
    });
    let wanted = target * traced.large;
    let gap = |share: f64| traced.reaches(traced.small + share * (traced.large - traced.small));
    let missing = wanted - traced.small;
    Some(Curve {
        rows: pairs.len() as u64,
        small: interval(traced.small, 0),
        large: interval(traced.large, 1),
        points: points.collect(),
        target,
        needed: traced.reaches(wanted).map(|share| interval(share, 2)),
        needed_random: traced.random_reaches(wanted),
        needed_oracle: (missing <= traced.gain).then_some(missing.max(0.0)),
        apgr: traced.apgr().map(|apgr| interval(apgr, 3)),
        cpt: if traced.large > traced.small { gap(0.5).zip(gap(0.8)) } else { None },
    })
}

/// The accuracy when this share of the requests goes to the large model: at random, and with the
/// requests that gain first and those that lose last.
pub fn same_share(pairs: &[Pair], share: f64) -> (f64, f64) {
    let traced = Ranked::new(pairs).trace(&vec![1; pairs.len()]);
    (traced.small + share * (traced.large - traced.small), traced.oracle(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(scores: impl Fn(usize) -> f64) -> Vec<Pair> {
        // Half right with the small model; the large one is right but for every tenth.
        (0..1000)
            .map(|at| Pair { score: scores(at), small: at % 2 == 0, large: at % 10 != 1 })
            .collect()
    }

    #[test]
    fn a_score_without_signal_is_the_straight_line() {
        let flat = curve(&pairs(|_| 0.5), 0.95, 1).unwrap();
        for point in &flat.points {
            assert!((point.quality - point.random).abs() < 1e-12, "{point:?}");
        }
        // (0.95 · 0.9 - 0.5) / (0.9 - 0.5).
        assert!((flat.needed_random.unwrap() - 0.8875).abs() < 1e-12);
        assert!((flat.needed.unwrap().estimate - 0.8875).abs() < 1e-9);
        assert!((flat.needed_oracle.unwrap() - 0.355).abs() < 1e-12);
        assert!((flat.apgr.unwrap().estimate - 0.5).abs() < 1e-9);
        let (half, most) = flat.cpt.unwrap();
        assert!((half - 0.5).abs() < 1e-9 && (most - 0.8).abs() < 1e-9);
    }

    #[test]
    fn a_perfect_score_is_the_oracle_and_a_wrong_one_is_worse_than_random() {
        let gains = |at: usize| at % 2 == 1 && at % 10 != 1;
        let best = curve(&pairs(|at| if gains(at) { 0.0 } else { 1.0 }), 0.95, 1).unwrap();
        assert!((best.needed.unwrap().estimate - 0.355).abs() < 1e-9);
        for point in &best.points {
            assert!((point.quality - point.oracle).abs() < 1e-9, "{point:?}");
            let (random, oracle) =
                same_share(&pairs(|at| if gains(at) { 0.0 } else { 1.0 }), point.share_large);
            assert!((random - point.random).abs() + (oracle - point.oracle).abs() < 1e-9);
        }
        let worst = curve(&pairs(|at| if gains(at) { 1.0 } else { 0.0 }), 0.95, 1).unwrap();
        assert!(worst.apgr.unwrap().estimate < 0.3 && worst.needed.unwrap().estimate > 0.9);
        assert!(curve(&[], 0.95, 1).is_none());
        let ranked = curve(&pairs(|at| at as f64), 0.95, 1).unwrap();
        assert_eq!(ranked.points[5].threshold, Some(250.0));
        assert_eq!((ranked.points[0].threshold, ranked.points[20].threshold), (Some(0.0), None));
    }

    #[test]
    fn a_large_model_that_is_no_better_leaves_no_gap() {
        let same: Vec<Pair> =
            (0..50).map(|at| Pair { score: f64::from(at), small: true, large: true }).collect();
        let curve = curve(&same, 0.95, 1).unwrap();
        assert_eq!((curve.apgr, curve.needed.unwrap().estimate), (None, 0.0));
    }
}
