//! A watch over the traces of one served version, as it is written down between two looks.
//!
//! The first requests of a version fit the tests; every further one is tested. What was looked at
//! is known by position in the traces, never by time: clocks that jump change nothing. The state is
//! one file, written whole; a look that is killed is made again from the file before it.

mod alarm;
mod report;
mod track;

pub use alarm::{Act, Alarm, Outcome};
pub use report::{Accuracy, Phase, TestState, Verdict};

use crate::drift::Drift;
use crate::quality::Confident;
use crate::{Observation, TraceFilter, TraceLog, TraceRow, Watch, WatchOptions, codes, unsketch};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Interrupt, Result, write};
use std::collections::VecDeque;
use std::path::Path;
use track::Track;

/// The form of the file.
const SCHEMA: &str = "sprat.watch-state/2";
/// The form before it: the same fields, tests that added their evidence up otherwise.
const BEFORE: &str = "sprat.watch-state/1";
/// Traces read at a time.
const PAGE: u64 = 500;
/// The most alarms that the file remembers; all are in the journal.
const REMEMBERED: usize = 200;

/// What a watch is fitted with. Another setup fits it anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The tests.
    pub tests: Vec<Drift>,
    /// All tests together give at most one false alarm in so many clean requests.
    pub false_alarm_every: f64,
    /// How many requests fit the tests.
    pub history: u64,
    /// Every threshold is multiplied by this.
    pub caution: f64,
    /// On how many of the latest requests the accuracy is estimated.
    pub window: usize,
}

/// A watch over one served version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchState {
    schema: String,
    /// The version as traces name it, such as `intent@v3`.
    version: String,
    setup: Setup,
    /// Traces up to this position were looked at.
    seen: u64,
    /// Alarms at or before this position are not raised again: a watch that is fitted anew goes
    /// over traces that it knows.
    raised_to: u64,
    /// The position before the first trace of the history.
    from: u64,
    /// Requests that belong to the history so far.
    learned: u64,
    watch: Option<Watch>,
    tracks: Vec<Track>,
    /// The latest confidences, oldest first.
    recent: VecDeque<f64>,
    /// Graded rows of the version, by which the accuracy is estimated.
    calibration: Option<Vec<Confident>>,
    alarms: Vec<Alarm>,
    alarms_so_far: u64,
}

#[derive(Deserialize)]
struct Head {
    schema: String,
}

impl WatchState {
    /// A watch over a version, of which nothing is known yet.
    pub fn new(version: &str, setup: Setup) -> WatchState {
        WatchState {
            schema: SCHEMA.to_owned(),
            version: version.to_owned(),
            setup,
            seen: 0,
            raised_to: 0,
            from: 0,
            learned: 0,
            watch: None,
            tracks: Vec::new(),
            recent: VecDeque::new(),
            calibration: None,
            alarms: Vec::new(),
            alarms_so_far: 0,
        }
    }

    /// Begins anew over another version or with another setup. Alarms stay until they are
    /// acknowledged; none is raised for traces that were looked at.
    pub fn restart(&mut self, version: &str, setup: Setup) {
        let fresh = WatchState::new(version, setup);
        let before = std::mem::replace(self, fresh);
        self.raised_to = before.raised_to.max(before.seen);
        self.calibration = before.calibration.filter(|_| before.version == version);
        self.alarms = before.alarms;
        self.alarms_so_far = before.alarms_so_far;
    }

    /// Takes what comes after the traces that were looked at as the new history.
    pub fn relearn(&mut self) {
        let (version, setup, seen) = (self.version.clone(), self.setup.clone(), self.seen);
        self.restart(&version, setup);
        self.seen = seen;
    }

    /// Reads the file; none where there is none.
    ///
    /// # Errors
    /// [`codes::STATE`].
    pub fn load(path: &Path) -> Result<Option<WatchState>> {
        let bytes = match std::fs::read(path) {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other
                .map_err(|why| Error::io(&codes::STATE, "read the watch's state", path, &why))?,
        };
        let wrong = |why: String| {
            Error::new(&codes::STATE, "the watch's state is not what it should be")
                .file(path)
                .why(why)
        };
        let head: Head = serde_json::from_slice(&bytes).map_err(|why| wrong(why.to_string()))?;
        if ![SCHEMA, BEFORE].contains(&head.schema.as_str()) {
            return Err(wrong(format!("it is `{}`, this program knows `{SCHEMA}`", head.schema)));
        }
        let mut state: WatchState =
            serde_json::from_slice(&bytes).map_err(|why| wrong(why.to_string()))?;
        if head.schema == BEFORE {
            // Evidence of before can't be gone on with: the tests are fitted anew on the traces.
            let (version, setup) = (state.version.clone(), state.setup.clone());
            state.restart(&version, setup);
        }
        Ok(Some(state))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`codes::SAVE`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |why: String| {
            Error::new(&codes::SAVE, "could not write the watch's state").file(path).why(why)
        };
        let bytes = serde_json::to_vec(self).map_err(|why| failed(why.to_string()))?;
        write::bytes(path, &bytes).map_err(|why| failed(why.to_string()))
    }

    /// Looks at all traces of the version that it has not seen; gives the alarms that are new.
    /// Interrupted, it stops between two traces.
    ///
    /// # Errors
    /// The store's.
    pub fn advance(&mut self, log: &TraceLog, interrupt: &Interrupt) -> Result<Vec<Alarm>> {
        let mut raised = Vec::new();
        loop {
            let filter = TraceFilter {
                version: Some(self.version.clone()),
                after: self.seen,
                limit: Some(PAGE),
                ..TraceFilter::default()
            };
            let page = log.read(&filter)?;
            if page.is_empty() || interrupt.requested() {
                self.raised_to = self.raised_to.max(self.seen);
                return Ok(raised);
            }
            for (position, row) in &page {
                if is_answer(row) {
                    self.take(*position, row, log, &mut raised)?;
                }
                self.seen = *position;
            }
        }
    }

    fn take(
        &mut self,
        position: u64,
        row: &TraceRow,
        log: &TraceLog,
        raised: &mut Vec<Alarm>,
    ) -> Result<()> {
        if let Some(confidence) = row.confidence {
            self.recent.push_back(confidence);
            while self.recent.len() > self.setup.window {
                self.recent.pop_front();
            }
        }
        let Some(watch) = &mut self.watch else {
            if self.learned == 0 {
                self.from = position.saturating_sub(1);
            }
            self.learned += 1;
            if self.learned >= self.setup.history {
                self.fit(log, position)?;
            }
            return Ok(());
        };
        let embedding = row.sketch.as_deref().and_then(unsketch);
        let found = watch.observe(&Observation::of(row, embedding.as_deref()));
        for (track, standing) in self.tracks.iter_mut().zip(watch.standings()) {
            let alarm = found.iter().find(|alarm| alarm.test == standing.test);
            track.note(watch.requests(), alarm.map_or(standing.statistic, |a| a.statistic));
        }
        if position <= self.raised_to {
            watch.acknowledge();
            return Ok(());
        }
        for found in found {
            let name = found.test.name();
            // One that stands of another version says nothing of this one.
            let stands = |alarm: &&mut Alarm| {
                alarm.standing && alarm.test == name && alarm.version == self.version
            };
            if let Some(alarm) = self.alarms.iter_mut().find(stands) {
                alarm.repeats += 1;
                continue;
            }
            let what = format!(
                "{}; it seems to have begun about {} requests before",
                found.what(),
                found.at.saturating_sub(found.since) + 1,
            );
            let alarm = Alarm {
                test: name.to_owned(),
                version: self.version.clone(),
                evidence: found.statistic,
                threshold: found.threshold,
                request: found.at,
                since: found.since,
                position,
                at: row.at,
                what,
                ..Alarm::default()
            };
            raised.push(self.raise(alarm));
        }
        Ok(())
    }

    /// Takes an alarm into the list, where nothing of its kind stands; gives it with its number.
    fn raise(&mut self, mut alarm: Alarm) -> Alarm {
        self.alarms_so_far += 1;
        alarm.id = self.alarms_so_far;
        alarm.standing = true;
        self.alarms.push(alarm.clone());
        if self.alarms.len() > REMEMBERED {
            let gone = self.alarms.iter().position(|alarm| !alarm.standing).unwrap_or(0);
            self.alarms.remove(gone);
        }
        alarm
    }

    /// Raises an alarm that comes from elsewhere, such as labelled answers; none where one of its
    /// test stands already for its version, by default the watched one.
    pub fn raise_from(&mut self, mut alarm: Alarm) -> Option<Alarm> {
        if alarm.version.is_empty() {
            alarm.version.clone_from(&self.version);
        }
        let same = |known: &Alarm| known.test == alarm.test && known.version == alarm.version;
        let stands = self.alarms.iter().any(|known| known.standing && same(known));
        (!stands).then(|| self.raise(alarm))
    }

    /// Fits the tests on the history, which ends at a position.
    fn fit(&mut self, log: &TraceLog, to: u64) -> Result<()> {
        let mut rows: Vec<(TraceRow, Option<Vec<f32>>)> = Vec::new();
        let filter = TraceFilter {
            version: Some(self.version.clone()),
            after: self.from,
            ..TraceFilter::default()
        };
        log.each_until(&filter, to, |row| {
            if is_answer(&row) {
                let embedding = row.sketch.as_deref().and_then(unsketch);
                rows.push((row, embedding));
            }
            Ok(())
        })?;
        let seen: Vec<Observation<'_>> = rows
            .iter()
            .map(|(row, embedding)| Observation::of(row, embedding.as_deref()))
            .collect();
        let watch = Watch::fit(&seen, self.options());
        self.tracks = watch.standings().map(|_| Track::default()).collect();
        self.watch = Some(watch);
        Ok(())
    }

    fn options(&self) -> WatchOptions {
        WatchOptions {
            tests: self.setup.tests.clone(),
            false_alarms_per: self.setup.false_alarm_every,
            caution: self.setup.caution,
            ..WatchOptions::default()
        }
    }

    /// The graded rows by which the accuracy is estimated.
    pub fn calibrate(&mut self, rows: Vec<Confident>) {
        self.calibration = Some(rows);
    }

    /// Whether graded rows are there.
    pub fn calibrated(&self) -> bool {
        self.calibration.is_some()
    }

    /// The version that is watched.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What it is fitted with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The position of the last trace that was looked at.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

/// Whether a trace is one of an answer: embeddings leave traces too.
pub fn is_answer(row: &TraceRow) -> bool {
    let answered = row.status == 0 || (200..300).contains(&row.status);
    let silent = row.label.is_none() && row.scores.is_empty() && row.completion_tokens == 0;
    !(answered && silent && row.confidence.is_none())
}

#[cfg(test)]
mod tests;
