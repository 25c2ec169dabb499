//! What is expected of a route, measured on the graded requests that trained nothing of it.

use super::document::{FitReport, RowCounts, together};
use super::graded::{Grades, Rows};
use super::judged::JudgeReport;
use sprat_eval::{Interval, LEVEL, wilson};
use sprat_route::bound;
use sprat_route::curve::{Pair, curve, same_share};
use sprat_route::{FitOptions, RouteFit};

/// The curve says which share of large calls reaches this share of the large model's accuracy.
pub(super) const TARGET: f64 = 0.95;

/// What a report is made of.
pub(super) struct View<'a> {
    pub(super) rows: &'a Rows,
    pub(super) grades: &'a Grades,
    pub(super) options: FitOptions,
    /// Whether the small model is asked about every request.
    pub(super) asks_small: bool,
    /// The large model, where one was asked.
    pub(super) large: Option<String>,
    /// The judge behind the grades, where one is.
    pub(super) judge: Option<JudgeReport>,
    /// Of 1,000 requests: the small model, the large one.
    pub(super) prices: (Option<f64>, Option<f64>),
}

impl View<'_> {
    /// What can be said of the rows that trained no score; with a route also of its threshold.
    pub(super) fn report(&self, fit: Option<&RouteFit>) -> FitReport {
        let parts = self.options.parts(&self.grades.rows);
        let measured = parts.calibration.iter().chain(&parts.sealed);
        let pairs: Vec<Pair> = measured
            .filter_map(|at| {
                let row = self.grades.rows[*at];
                // Where no large model was asked it is taken for one that is always right.
                let large = if self.large.is_some() { row.large? } else { true };
                Some(Pair { score: self.grades.scores[*at], small: row.small, large })
            })
            .collect();
        let sent = |pair: &Pair| fit.is_some_and(|fit| !bound::keeps(fit.threshold, pair.score));
        let right = |pair: &Pair| if sent(pair) { pair.large } else { pair.small };
        let n = pairs.len() as u64;
        let count =
            |of: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| of(pair)).count() as u64;
        let share = share_of(count(&sent), n);
        let (small, large) = self.prices;
        let together = together(share.estimate, (small, large), self.asks_small);
        FitReport {
            data: self.rows.source.clone(),
            rows: self.rows.counts,
            large: self.large.clone(),
            judge: self.judge.clone(),
            measured_on: n,
            share_large: share,
            quality: share_of(count(&right), n),
            same_share: same_share(&pairs, share.estimate),
            usd_per_1000: (small, large, together),
            curve: curve(&pairs, TARGET, self.options.seed),
            caveats: self.caveats(),
        }
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        let counts: RowCounts = self.rows.counts;
        if self.rows.source == "the validation part" {
            caveats.push(
                "The validation part also chose the model's checkpoint and its temperature, so \
                 its grades are a little too good. Graded traffic (--data) has no such bias."
                    .into(),
            );
        }
        if self.large.is_none() {
            caveats.push(
                "No large model was asked: the figures for the two together take it for one that \
                 is always right."
                    .into(),
            );
        }
        if counts.unanswered > 0 {
            caveats.push(format!(
                "{} requests got no valid answer with a confidence from the small model; they \
                 always go to the large one and are not in these figures.",
                counts.unanswered
            ));
        }
        if counts.large_missing > 0 {
            caveats.push(format!(
                "The large model's answer is missing for {} requests.",
                counts.large_missing
            ));
        }
        caveats.extend(self.judge.iter().flat_map(JudgeReport::caveats));
        caveats.push(
            "The bound holds for requests like the graded ones. When traffic moves, fit again."
                .into(),
        );
        caveats
    }
}

fn share_of(count: u64, n: u64) -> Interval {
    match n {
        0 => Interval::new(0.0, 0.0, 1.0, LEVEL),
        n => wilson(count, n, LEVEL),
    }
}
