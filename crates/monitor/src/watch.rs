//! The watch: all tests over one stream of requests.

use crate::Observation;
use crate::drift::{Drift, FEWEST, Fitted, Test};
use crate::sequential::{Detector, Direction, Ranks, Side};
use serde::{Deserialize, Serialize};

/// Rows of the history that stay together when it is cut into its two parts.
const RUN: usize = 8;

/// How a watch is set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// All tests together give at most one false alarm in so many clean requests, on average.
    pub false_alarms_per: f64,
    /// The tests.
    pub tests: Vec<Drift>,
    /// Every threshold is multiplied by this; calibration on one's own history raises it.
    pub caution: f64,
    /// The seed of all that is random.
    pub seed: u64,
}

impl Default for WatchOptions {
    fn default() -> Self {
        let tests = Drift::ALL.to_vec();
        WatchOptions { false_alarms_per: 100_000.0, tests, caution: 1.0, seed: 0 }
    }
}

/// The evidence of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftAlarm {
    /// The test.
    pub test: Drift,
    /// The statistic, at or above the threshold.
    pub statistic: f64,
    /// The threshold.
    pub threshold: f64,
    /// The request at which the alarm was raised, counted from 1.
    pub at: u64,
    /// The estimated request at which the shift began.
    pub since: u64,
    /// Which way the scores have moved, where that is clear.
    #[serde(default)]
    pub direction: Option<Direction>,
}

impl DriftAlarm {
    /// What has changed, in words.
    pub fn what(&self) -> &'static str {
        let moved = self.direction.and_then(|direction| self.test.moved(direction));
        moved.unwrap_or(self.test.about().trim_end_matches('.'))
    }
}

/// How one test stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The test.
    pub test: Drift,
    /// Whether the history carried what the test needs; it watches nothing otherwise.
    pub fitted: bool,
    /// The present statistic.
    pub statistic: f64,
    /// What the statistic must reach for an alarm.
    pub threshold: f64,
    /// Requests that the test has seen.
    pub seen: u64,
    /// Requests that did not carry what the test needs.
    pub missing: u64,
    /// The first alarm since the last acknowledgement, if any.
    pub alarm: Option<DriftAlarm>,
    /// Alarms since the last acknowledgement.
    pub alarms: u64,
}

impl Standing {
    /// Whether the test's silence says nothing, because it could not see: it was not fitted, or
    /// more than half of the requests did not carry what it needs.
    pub fn blind(&self) -> bool {
        !self.fitted || self.missing > self.seen
    }
}

/// All tests over one stream. It can be written down at any moment and read back: the same stream
/// then gives the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    options: WatchOptions,
    channels: Vec<Channel>,
    requests: u64,
}

/// One test at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Channel {
    standing: Standing,
    machinery: Option<Machinery>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Machinery {
    test: Fitted,
    ranks: Ranks,
    detector: Detector,
}

impl Watch {
    /// Fits the tests on clean requests, in their order. Alternate runs of eight rows fit and
    /// calibrate; see [`crate::sequential`] for what follows from that.
    pub fn fit(history: &[Observation<'_>], options: WatchOptions) -> Watch {
        let part = |which: usize| -> Vec<Observation<'_>> {
            let mine = |(at, _): &(usize, &Observation<'_>)| at / RUN % 2 == which;
            history.iter().enumerate().filter(mine).map(|(_, seen)| *seen).collect()
        };
        let (fitting, calibration) = (part(0), part(1));
        let mut machines: Vec<(Drift, Option<Machinery>)> = Vec::new();
        for &test in &options.tests {
            machines.push((test, machinery(test, &fitting, &calibration, options.seed)));
        }
        let fitted = machines.iter().filter(|(_, machinery)| machinery.is_some()).count();
        let threshold = options.false_alarms_per * fitted.max(1) as f64 * options.caution.max(1.0);
        let channels = machines.into_iter().map(|(test, machinery)| Channel {
            standing: Standing {
                test,
                fitted: machinery.is_some(),
                statistic: 0.0,
                threshold,
                seen: 0,
                missing: 0,
                alarm: None,
                alarms: 0,
            },
            machinery,
        });
        Watch { channels: channels.collect(), options, requests: 0 }
    }

    /// Takes the next request; gives the alarms that it raises. A test that raised one begins
    /// anew, and its alarm stands until [`Watch::acknowledge`].
    pub fn observe(&mut self, seen: &Observation<'_>) -> Vec<DriftAlarm> {
        self.requests += 1;
        let mut alarms = Vec::new();
        for channel in &mut self.channels {
            alarms.extend(channel.observe(seen, self.requests));
        }
        alarms
    }

    /// How the tests stand.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.channels.iter().map(|channel| &channel.standing)
    }

    /// Whether an alarm stands.
    pub fn alarmed(&self) -> bool {
        self.standings().any(|standing| standing.alarm.is_some())
    }

    /// Takes note of all alarms: none stands any more.
    pub fn acknowledge(&mut self) {
        for channel in &mut self.channels {
            channel.standing.alarm = None;
            channel.standing.alarms = 0;
        }
    }

    /// Requests seen.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How the watch was set up.
    pub fn options(&self) -> &WatchOptions {
        &self.options
    }
}

fn machinery(
    test: Drift,
    fitting: &[Observation<'_>],
    calibration: &[Observation<'_>],
    seed: u64,
) -> Option<Machinery> {
    let fitted = test.fit(fitting, seed)?;
    let scores = |rows: &[Observation<'_>]| -> Vec<f64> {
        rows.iter().filter_map(|seen| fitted.score(seen)).collect()
    };
    let calibration = scores(calibration);
    if calibration.len() < FEWEST {
        return None;
    }
    let mut ranks = Ranks::new(&scores(fitting), seed, test.name());
    for score in calibration {
        ranks.p_value(score);
    }
    let detector = Detector::new(fitted.side());
    Some(Machinery { test: fitted, ranks, detector })
}

impl Channel {
    fn observe(&mut self, seen: &Observation<'_>, request: u64) -> Option<DriftAlarm> {
        let standing = &mut self.standing;
        let machinery = self.machinery.as_mut()?;
        let Some(score) = machinery.test.score(seen) else {
            standing.missing += 1;
            return None;
        };
        standing.seen += 1;
        let p = machinery.ranks.p_value(score);
        standing.statistic = match machinery.test.side() {
            Side::Event => machinery.detector.observe_event(p, score > 0.0),
            _ => machinery.detector.observe(p),
        };
        if standing.statistic < standing.threshold {
            return None;
        }
        // Exact while every request carries what the test needs.
        let behind = standing.seen.saturating_sub(machinery.detector.since());
        let alarm = DriftAlarm {
            test: standing.test,
            statistic: standing.statistic,
            threshold: standing.threshold,
            at: request,
            since: request.saturating_sub(behind) + 1,
            direction: machinery.detector.direction(),
        };
        machinery.detector.restart();
        standing.alarm.get_or_insert(alarm);
        standing.alarms += 1;
        Some(alarm)
    }
}
