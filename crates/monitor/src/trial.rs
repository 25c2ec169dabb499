//! A version on trial: whether it answers worse than the promoted one does at the same time.
//!
//! Both get requests of one stream, who gets which is drawn. Of the answers in the order of their
//! traces, one of the version on trial is compared with those of the promoted version that came
//! since the last comparison, the newest [`MOST`] of them: each serves once. So whatever changes
//! for both, a busy machine or other requests, speaks against neither. Where none came in between,
//! as often happens where the version on trial has a large share, its answer is counted but not
//! compared. Whether an answer is compared never depends on what it was. Comparing with one answer
//! where there is one finds more than waiting for several: what is worse in one answer in twenty
//! shows in the number of comparisons.
//!
//! Where the version is no worse, an answer of its is as likely to stand anywhere among those that
//! it is compared with, whatever came before. Then [`Wealth`] bounds the chance that anything is
//! ever found over the whole trial: with `k` tests, each at a threshold of `k / α`, it is at most
//! `α`. Users that keep their version and ask much more, or for other things, than all others
//! break that where there are few of them.

use crate::Observation;
use crate::drift::{Cost, Drift, Latency, Refusals, Test, Validity};
use crate::sequential::{Place, Wealth};
use std::collections::VecDeque;

/// The chance that a version which is no worse is ever found to be, by all tests together.
pub const ALPHA: f64 = 0.01;
/// The most answers that one is compared with: older ones are of another time.
pub const MOST: usize = 19;
/// The comparisons from which on the silence of a test says something.
pub const ENOUGH: u64 = 30;
/// What is slower or dearer by less than this factor is not worse: with fewer requests a version
/// finds colder caches, and a better one may say a little more.
const FACTOR: f64 = 1.25;
/// Nor what is slower by less, in milliseconds.
const SLACK_MS: f64 = 1.0;
/// So many answers of a version that was just opened are not timed.
const COLD: u64 = 10;

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The version on trial.
    Trial,
    /// The promoted one.
    Promoted,
}

/// What speaks against the version on trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Worse {
    /// The test that found it.
    pub test: Drift,
    /// The wealth of who bet on it.
    pub evidence: f64,
    /// What it had to reach.
    pub threshold: f64,
    /// The plain facts.
    pub what: String,
}

/// The tests of one trial.
#[derive(Clone, Debug)]
pub struct Trial {
    tests: Vec<Compared>,
    threshold: f64,
}

/// One test at work.
#[derive(Clone, Debug)]
struct Compared {
    test: Drift,
    wealth: Wealth,
    /// The promoted version's scores since the last comparison.
    waiting: VecDeque<f64>,
    comparisons: u64,
    /// All scores of the version on trial, and of the promoted one in the same time.
    own: Vec<f64>,
    over: Vec<f64>,
    found: bool,
}

impl Trial {
    /// Those of the tests that a version on trial can be put to, over so many answers of its.
    pub fn new(tests: &[Drift], answers: u64) -> Trial {
        let fit = |test: &&Drift| {
            matches!(test, Drift::Validity | Drift::Refusals | Drift::Latency | Drift::Cost)
        };
        let compared = |test: &Drift| Compared {
            test: *test,
            wealth: Wealth::new(answers),
            waiting: VecDeque::with_capacity(MOST),
            comparisons: 0,
            own: Vec::new(),
            over: Vec::new(),
            found: false,
        };
        let tests: Vec<Compared> = tests.iter().filter(fit).map(compared).collect();
        let threshold = tests.len().max(1) as f64 / ALPHA;
        Trial { tests, threshold }
    }

    /// Takes the next answer; gives what now speaks against the version on trial, once a test.
    pub fn observe(&mut self, of: Of, seen: &Observation<'_>) -> Option<Worse> {
        let threshold = self.threshold;
        let found: Vec<Worse> =
            self.tests.iter_mut().filter_map(|test| test.observe(of, seen, threshold)).collect();
        found.into_iter().next()
    }

    /// The tests whose silence says something.
    pub fn seeing(&self) -> impl Iterator<Item = Drift> {
        self.tests.iter().filter(|test| test.comparisons >= ENOUGH).map(|test| test.test)
    }
}

impl Compared {
    fn observe(&mut self, of: Of, seen: &Observation<'_>, threshold: f64) -> Option<Worse> {
        let score = score(self.test, seen)?;
        if of == Of::Promoted {
            self.over.push(score);
            if self.waiting.len() == MOST {
                self.waiting.pop_front();
            }
            self.waiting.push_back(score);
            return None;
        }
        self.own.push(score);
        let cold = self.test == Drift::Latency && self.own.len() as u64 <= COLD;
        if cold || self.waiting.is_empty() {
            return None;
        }
        let score = match self.test {
            Drift::Latency => (score - SLACK_MS) / FACTOR,
            Drift::Cost => score / FACTOR,
            _ => score,
        };
        self.comparisons += 1;
        let evidence = self.wealth.observe(Place::of(score, self.waiting.drain(..)));
        if evidence < threshold || self.found {
            return None;
        }
        self.found = true;
        Some(Worse { test: self.test, evidence, threshold, what: self.facts() })
    }

    /// What the scores of both say, in words.
    fn facts(&self) -> String {
        let (own, over) = (&self.own, &self.over);
        let beside = "of the promoted version at the same time";
        let share = |what: &str| {
            let (events, others) = (own.iter().sum::<f64>(), over.iter().sum::<f64>());
            let (all, of) = (own.len(), over.len());
            format!("{events} of {all} answers {what}, against {others} of {of} {beside}")
        };
        let half = |what: &str, unit: &str| {
            let (own, over) = (short(median(own)), short(median(over)));
            format!("half of the answers {what} {own}{unit}, against {over}{unit} {beside}")
        };
        match self.test {
            Drift::Validity => share("invalid"),
            Drift::Refusals => share("refused or abstained"),
            Drift::Latency => half("took more than", " ms"),
            _ => half("cost more than", ""),
        }
    }
}

/// How bad an answer is; `None` where it does not carry what the test needs.
fn score(test: Drift, seen: &Observation<'_>) -> Option<f64> {
    let score = match test {
        Drift::Validity => Validity.score(seen),
        Drift::Refusals => Refusals.score(seen),
        Drift::Latency => Latency.score(seen),
        Drift::Cost => Cost.score(seen),
        _ => None,
    };
    score.filter(|score| score.is_finite())
}

/// A number to about three digits.
fn short(number: f64) -> String {
    match number.abs() {
        100.0.. => format!("{number:.0}"),
        1.0.. => format!("{number:.1}"),
        _ => format!("{number:.6}"),
    }
}

fn median(scores: &[f64]) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
