//! An alarm, its evidence, and what was done about it.

use super::WatchState;
use serde::{Deserialize, Serialize};
use sprat_task::Timestamp;

/// An alarm with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its number, from 1.
    pub id: u64,
    /// The test that raised it.
    pub test: String,
    /// The version that was watched.
    pub version: String,
    /// The statistic, at or above the threshold.
    pub evidence: f64,
    /// The threshold.
    pub threshold: f64,
    /// The request at which it was raised, counted from the first one after the history.
    pub request: u64,
    /// The estimated request at which the shift began.
    pub since: u64,
    /// The position of the trace at which it was raised.
    pub position: u64,
    /// When that request was answered.
    pub at: Timestamp,
    /// What it means, in words.
    pub what: String,
    /// How often the same test came to the same conclusion again while it stood.
    pub repeats: u64,
    /// Whether nobody has acknowledged it.
    pub standing: bool,
    /// What was done.
    pub actions: Vec<Act>,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm {
            id: 0,
            test: String::new(),
            version: String::new(),
            evidence: 0.0,
            threshold: 0.0,
            request: 0,
            since: 0,
            position: 0,
            at: Timestamp(0),
            what: String::new(),
            repeats: 0,
            standing: true,
            actions: Vec::new(),
        }
    }
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is to be taken; where this was left by a process that died, the next look takes it.
    Pending,
    /// It was taken.
    Done,
    /// It would have been taken.
    DryRun,
    /// It was taken not long ago.
    Cooling,
    /// It did not work.
    Failed,
}

impl Outcome {
    /// The word for tables and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pending => "pending",
            Outcome::Done => "done",
            Outcome::DryRun => "dry-run",
            Outcome::Cooling => "cooling",
            Outcome::Failed => "failed",
        }
    }
}

/// An action that followed an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Its name.
    pub action: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// What came of it, in words.
    pub detail: String,
}

impl WatchState {
    /// All alarms that are remembered, oldest first.
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// The alarms that nobody has acknowledged.
    pub fn standing_alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(|alarm| alarm.standing)
    }

    /// How many alarms there have been.
    pub fn alarms_so_far(&self) -> u64 {
        self.alarms_so_far
    }

    /// Takes note of all alarms: none stands any more. Says how many did.
    pub fn acknowledge(&mut self) -> usize {
        if let Some(watch) = &mut self.watch {
            watch.acknowledge();
        }
        let standing = self.alarms.iter_mut().filter(|alarm| alarm.standing);
        standing.map(|alarm| alarm.standing = false).count()
    }

    /// Plans actions for an alarm; the state is to be written before they are taken.
    pub fn plan(&mut self, alarm: u64, actions: &[String], now: Timestamp) {
        if let Some(alarm) = self.alarms.iter_mut().find(|known| known.id == alarm) {
            alarm.actions = actions
                .iter()
                .map(|action| Act {
                    action: action.clone(),
                    outcome: Outcome::Pending,
                    at: now,
                    detail: String::new(),
                })
                .collect();
        }
    }

    /// The actions that are planned and not taken: alarm and name.
    pub fn pending(&self) -> Vec<(u64, String)> {
        let of = |alarm: &Alarm| {
            let id = alarm.id;
            let open = alarm.actions.iter().filter(|act| act.outcome == Outcome::Pending);
            open.map(|act| (id, act.action.clone())).collect::<Vec<_>>()
        };
        self.alarms.iter().flat_map(of).collect()
    }

    /// When an action was last taken, by the clock of then.
    pub fn last_done(&self, action: &str) -> Option<Timestamp> {
        let acts = self.alarms.iter().flat_map(|alarm| &alarm.actions);
        let done = acts.filter(|act| act.action == action && act.outcome == Outcome::Done);
        done.map(|act| act.at).max()
    }

    /// Takes down how an action ended.
    pub fn settle(&mut self, alarm: u64, act: Act) {
        let Some(alarm) = self.alarms.iter_mut().find(|known| known.id == alarm) else { return };
        match alarm.actions.iter_mut().find(|known| known.action == act.action) {
            Some(known) => *known = act,
            None => alarm.actions.push(act),
        }
    }
}
