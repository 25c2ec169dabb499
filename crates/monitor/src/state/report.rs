//! What the state says to people and programs.

use super::WatchState;
use crate::Standing;
use crate::drift::Drift;
use crate::quality::estimated_accuracy;
use serde::Serialize;

/// What the watch as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is collecting the history.
    Learning,
    /// No alarm stands.
    Quiet,
    /// An alarm stands.
    Alarm,
}

/// How a test stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It sees, and there is nothing to see.
    Quiet,
    /// Its alarm stands.
    Alarm,
    /// It cannot see: its silence says nothing.
    Blind,
}

impl Verdict {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Quiet => "quiet",
            Verdict::Alarm => "alarm",
            Verdict::Blind => "blind",
        }
    }
}

/// One test as reports show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestState {
    /// Its name.
    pub name: &'static str,
    /// How it stands.
    pub standing: Verdict,
    /// Why, in words.
    pub why: String,
    /// The present statistic; while its alarm stands, the one that raised it.
    pub evidence: f64,
    /// What the statistic must reach for an alarm.
    pub threshold: f64,
    /// The estimated request at which the shift of its standing alarm began.
    pub since: Option<u64>,
    /// Requests that it saw.
    pub seen: u64,
    /// Requests that did not carry what it needs.
    pub missing: u64,
    /// The course of the statistic: request and greatest evidence of the requests up to it.
    pub series: Vec<(u64, f64)>,
}

/// The accuracy without labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// The estimate.
    pub estimate: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Requests behind it.
    pub n: u64,
    /// How it is made, and when it fails.
    pub method: &'static str,
    /// The same by thresholded confidence, which fails in other ways.
    pub by_threshold: f64,
}

/// The method's name with its known failure.
const METHOD: &str = "difference of confidences from graded rows of the release; wrong without any \
                      sign when the meaning changes: inputs that no label fits, labels that mean \
                      something else now";

impl WatchState {
    /// What the watch is doing.
    pub fn phase(&self) -> Phase {
        match &self.watch {
            _ if self.standing_alarms().next().is_some() => Phase::Alarm,
            None => Phase::Learning,
            Some(_) => Phase::Quiet,
        }
    }

    /// Requests of the history so far.
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// Requests tested since.
    pub fn tested(&self) -> u64 {
        self.watch.as_ref().map_or(0, |watch| watch.requests())
    }

    /// How the tests stand; empty while the history is collected.
    pub fn tests(&self) -> Vec<TestState> {
        let standings = self.watch.iter().flat_map(|watch| watch.standings());
        standings.zip(&self.tracks).map(|(one, track)| self.test(one, track.points())).collect()
    }

    fn test(&self, standing: &Standing, series: &[(u64, f64)]) -> TestState {
        let name = standing.test.name();
        let alarm = self.standing_alarms().find(|alarm| alarm.test == name);
        let (verdict, why) = match alarm {
            Some(alarm) => (Verdict::Alarm, alarm.what.clone()),
            None if standing.blind() => (Verdict::Blind, blindness(standing)),
            None => (Verdict::Quiet, standing.test.about().trim_end_matches('.').to_owned()),
        };
        TestState {
            name,
            standing: verdict,
            why,
            // After an alarm the statistic begins anew; what counts is what raised it.
            evidence: alarm.map_or(standing.statistic, |alarm| alarm.evidence),
            threshold: standing.threshold,
            since: alarm.map(|alarm| alarm.since),
            seen: standing.seen,
            missing: standing.missing,
            series: series.to_vec(),
        }
    }

    /// The accuracy on the latest requests, estimated without labels; none without graded rows or
    /// without requests.
    pub fn accuracy(&self) -> Option<Accuracy> {
        let live: Vec<f64> = self.recent.iter().copied().collect();
        let found = estimated_accuracy(self.calibration.as_deref()?, &live, 0)?;
        let by = found.by_difference;
        Some(Accuracy {
            estimate: by.estimate,
            low: by.low,
            high: by.high,
            n: found.requests,
            method: METHOD,
            by_threshold: found.by_threshold.estimate,
        })
    }
}

/// Why a test cannot see.
fn blindness(standing: &Standing) -> String {
    let needs = match standing.test {
        Drift::Novelty | Drift::Topics => {
            "embeddings: the served model gives none, or `serve.trace_sketch` is off"
        }
        Drift::Vocabulary | Drift::Language => {
            "the texts of requests: `serve.trace_text` is not `keep`"
        }
        Drift::Label => "labels: the model gives none",
        Drift::Confidence | Drift::Refusals => "confidences: the model gives none",
        Drift::Length | Drift::Validity | Drift::Latency | Drift::Cost => "answered requests",
    };
    if standing.fitted {
        let all = standing.seen + standing.missing;
        format!("{} of {all} requests lack what it needs: {needs}", standing.missing)
    } else {
        format!("too little of the history has what it needs: {needs}")
    }
}
