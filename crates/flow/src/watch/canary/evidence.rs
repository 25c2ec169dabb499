//! What a canary's answers say of it: each is compared with the promoted version's of the same time
//! ([`sprat_monitor::trial`]), and what people said of both.
//!
//! Its requests are a random share of the same traffic, so tests that tell whether inputs changed
//! have nothing to say, and a better version answers with other labels and another confidence: only
//! what is worse whatever the answer was is tested.

use super::Canary;
use crate::Project;
use serde::Serialize;
use sprat_eval::fisher_tail;
use sprat_monitor::drift::Drift;
use sprat_monitor::trial::{Of, Trial};
use sprat_monitor::{Observation, TraceFilter, is_answer};
use sprat_report::number;
use sprat_task::{Result, Timestamp};
use std::collections::BTreeMap;

/// The one-sided error of the test on what people said.
const ALPHA: f64 = 0.05;

/// Answers that somebody judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::watch) struct Judged {
    wrong: u64,
    all: u64,
}

/// What speaks against a canary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Against {
    pub(super) what: String,
    pub(super) evidence: f64,
    pub(super) threshold: f64,
    /// The position of the trace that was the last straw; 0: no single one was.
    pub(super) position: u64,
    pub(super) at: Timestamp,
}

/// How a canary stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::watch) struct CanaryState {
    #[serde(flatten)]
    pub(super) canary: Canary,
    /// Requests that it answered.
    pub(super) answered: u64,
    /// The tests that can see.
    tests: Vec<&'static str>,
    /// What people said of its answers.
    judged: Judged,
    /// What they said of the promoted version's in the same time.
    judged_over: Judged,
    /// What speaks against it.
    pub(super) against: Option<Against>,
    /// It was promoted wholly by this look.
    pub(super) promoted: bool,
}

impl Project {
    /// How a canary stands by the traces and the feedback of its time.
    pub(super) fn canary_state(&self, canary: Canary) -> Result<CanaryState> {
        let setup = self.watch_setup()?;
        let mut trial = Trial::new(&setup.tests, canary.requests);
        let (mut answered, mut against) = (0, None);
        // In the order of their positions: the answers of one time stand together.
        let since = TraceFilter { after: canary.from, ..TraceFilter::default() };
        self.traces()?.each_at(&since, |position, row| {
            self.interrupt.check()?;
            let of = match &row.version {
                version if *version == canary.version => Of::Trial,
                version if *version == canary.over => Of::Promoted,
                _ => return Ok(()),
            };
            if !is_answer(&row) {
                return Ok(());
            }
            answered += u64::from(of == Of::Trial);
            let found = trial.observe(of, &Observation::of(&row, None));
            against = against.take().or_else(|| {
                found.map(|found| Against {
                    what: format!("{}: {}", found.test.name(), found.what),
                    evidence: found.evidence,
                    threshold: found.threshold,
                    position,
                    at: row.at,
                })
            });
            Ok(())
        })?;
        let (judged, judged_over) = self.people_said(&canary)?;
        // Looked at once, at the end: looks in between would each err a little.
        if against.is_none() && answered >= canary.requests {
            let p = fisher_tail((judged.wrong, judged.all), (judged_over.wrong, judged_over.all));
            against = (p <= ALPHA).then(|| Against {
                what: format!("labelled answers: {}", judged.against(judged_over, p)),
                evidence: 1.0 / p.max(f64::MIN_POSITIVE),
                threshold: 1.0 / ALPHA,
                position: 0,
                at: Timestamp(0),
            });
        }
        let tests = trial.seeing().map(Drift::name).collect();
        let promoted = false;
        Ok(CanaryState { canary, answered, tests, judged, judged_over, against, promoted })
    }

    /// What people said of the answers of a canary's time: of its own, and of the promoted
    /// version's. Of several who judged one answer the last one counts.
    fn people_said(&self, canary: &Canary) -> Result<(Judged, Judged)> {
        let mut last: BTreeMap<u64, (bool, bool)> = BTreeMap::new();
        self.feedback()?.each(|feedback, trace| {
            let own = trace.version == canary.version;
            if feedback.trace > canary.from && (own || trace.version == canary.over) {
                last.insert(feedback.trace, (own, feedback.good));
            }
            Ok(())
        })?;
        let (mut judged, mut over) = (Judged::default(), Judged::default());
        for (own, good) in last.into_values() {
            let part = if own { &mut judged } else { &mut over };
            part.all += 1;
            part.wrong += u64::from(!good);
        }
        Ok((judged, over))
    }
}

impl Judged {
    fn against(self, over: Judged, p: f64) -> String {
        format!(
            "{} of {} wrong, against {} of {} of the promoted version (p = {})",
            self.wrong,
            self.all,
            over.wrong,
            over.all,
            number::p_value(p)
        )
    }
}

impl CanaryState {
    /// How it stands, in words.
    pub(in crate::watch) fn sentence(&self) -> String {
        let Canary { version, over, share, requests, .. } = &self.canary;
        let Judged { wrong, all } = self.judged;
        let mut text = format!(
            "{version} answered {} of {requests} requests at {} beside {over}",
            self.answered,
            number::percent(*share)
        );
        if all > 0 {
            text += &format!("; {wrong} of {all} judged answers were wrong");
        }
        text += &match (&self.against, self.promoted) {
            (Some(against), _) => format!("; against it: {}", against.what),
            (None, true) => "; it is promoted".to_owned(),
            (None, false) if self.tests.is_empty() => {
                format!("; no test can see yet: {over} answered too few at the same time")
            }
            (None, false) => format!("; quiet: {}", self.tests.join(", ")),
        };
        text
    }

    /// Whether it has answered enough, and somebody would have seen what is wrong with it.
    pub(super) fn proven(&self) -> bool {
        self.answered >= self.canary.requests && (!self.tests.is_empty() || self.judged.all > 0)
    }

    /// Whether the look took or ended nothing, and the trial goes on.
    pub(in crate::watch) fn goes_on(&self) -> bool {
        self.against.is_none() && !self.promoted
    }
}
