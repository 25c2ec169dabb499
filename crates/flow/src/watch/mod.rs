//! `sprat watch`: looks at new traces, says how the tests stand, and does what follows an alarm.
//!
//! All that is known lies under `.sprat/watch`: the state of the tests (`state.json`), the latest
//! draw for labelling (`draw.json`) and a version on trial (`canary.json`). One process at a time
//! looks (`lock`).

mod actions;
mod calibrate;
mod canary;
mod export;
mod improve;
mod labelled;
mod report;

pub use crate::versions::who as user;
pub use calibrate::CalibrateOptions;
pub use canary::Canary;
pub use export::{ExportFormat, ExportOptions};
pub use labelled::{Asked, Labelled};

use canary::CanaryState;
use export::right_answer;

use crate::answers::Questions;
use crate::{Project, bundle, codes};
use sprat_monitor::drift::Drift;
use sprat_monitor::quality::Confident;
use sprat_monitor::{Alarm, FeedbackLog, Setup, TraceLog, WatchState};
use sprat_registry::Version;
use sprat_store::Lock;
use sprat_task::settings::TaskKind;
use sprat_task::{Error, Result};
use std::path::PathBuf;

/// What a look found.
pub struct Look {
    /// The state after it.
    pub state: WatchState,
    /// The alarms that are new.
    pub raised: Vec<Alarm>,
    /// What labelled answers say of the accuracy, where there are any.
    pub labelled: Option<Labelled>,
    /// How the version on trial stands, where there is one.
    canary: Option<CanaryState>,
    /// Why something could not be said.
    pub notes: Vec<String>,
}

impl Project {
    /// Whether traces keep sketches of embeddings.
    pub fn sketches(&self) -> bool {
        self.settings.watch.enabled || self.settings.serve.trace_sketch
    }

    /// The folder of all that the watch knows.
    pub(crate) fn watch_folder(&self) -> PathBuf {
        self.state.join("watch")
    }

    pub(crate) fn watch_state_file(&self) -> PathBuf {
        self.watch_folder().join("state.json")
    }

    /// Waits until no other process looks.
    pub(crate) fn watch_lock(&self) -> Result<Lock> {
        Lock::exclusive(&self.watch_folder().join("lock"))
    }

    /// The traces of served requests.
    ///
    /// # Errors
    /// The store's.
    pub fn traces(&self) -> Result<TraceLog> {
        TraceLog::open(&self.registry.traces_path())
    }

    /// What people said about answers.
    ///
    /// # Errors
    /// The store's.
    pub fn feedback(&self) -> Result<FeedbackLog> {
        FeedbackLog::open(&self.registry.traces_path())
    }

    /// What the tests are fitted with.
    ///
    /// # Errors
    /// `SPRAT-SETTINGS-INVALID` for a test that there is none of.
    pub(crate) fn watch_setup(&self) -> Result<Setup> {
        let watch = &self.settings.watch;
        let named = |name: &String| {
            let test = Drift::ALL.iter().copied().find(|test| test.name() == name);
            test.ok_or_else(|| {
                let all: Vec<&str> = Drift::ALL.iter().map(|test| test.name()).collect();
                Error::new(&sprat_task::settings::INVALID, format!("`{name}` is no test"))
                    .field("watch.tests")
                    .help(format!("The tests are {}.", all.join(", ")))
            })
        };
        let tests = match &watch.tests[..] {
            [] => Drift::ALL.to_vec(),
            some => some.iter().map(named).collect::<Result<_>>()?,
        };
        Ok(Setup {
            tests,
            false_alarm_every: watch.false_alarm_every as f64,
            history: watch.history,
            caution: watch.caution,
            window: watch.window,
        })
    }

    /// The version that is watched: the promoted one, or else that of the newest trace.
    pub(crate) fn watched(&self, log: &TraceLog) -> Result<(String, Option<Version>)> {
        if let Some(version) = self.current()? {
            return Ok((version.to_string(), Some(version)));
        }
        match log.newest()? {
            Some(row) => Ok((row.version, None)),
            None => Err(Error::new(&codes::WATCH_NOTHING, "there is nothing to watch")),
        }
    }

    /// Looks at what is new since the last look, and does what follows an alarm. `dry_run`: actions
    /// are only written down, whatever the settings say.
    ///
    /// # Errors
    /// `SPRAT-WATCH-NOTHING`, those of the traces and of the state; failed actions are no errors
    /// but part of the record.
    pub fn watch_look(&self, dry_run: bool) -> Result<Look> {
        let _lock = self.watch_lock()?;
        let log = self.traces()?;
        let (name, version) = self.watched(&log)?;
        let file = self.watch_state_file();
        let setup = self.watch_setup()?;
        let mut state = match WatchState::load(&file)? {
            Some(mut state) => {
                if state.version() != name || *state.setup() != setup {
                    state.restart(&name, setup);
                }
                state
            }
            None => WatchState::new(&name, setup),
        };
        let mut notes = Vec::new();
        if !state.calibrated() {
            match version.as_ref().map(|version| self.graded(version)) {
                Some(Ok(Some(rows))) => state.calibrate(rows),
                Some(Ok(None)) | None => {}
                Some(Err(why)) => notes.push(format!("no estimate of the accuracy: {why}")),
            }
        }
        // Of an interruption the part that was looked at is kept.
        let mut raised = state.advance(&log, &self.interrupt)?;
        let labelled = match self.labelled(version.as_ref()) {
            Ok(labelled) => labelled,
            Err(why) => {
                notes.push(format!("labelled answers could not be read: {why}"));
                None
            }
        };
        if let Some(alarm) = labelled.as_ref().and_then(|labelled| labelled.alarm(&name)) {
            raised.extend(state.raise_from(alarm));
        }
        let (canary, against) = match self.look_at_canary(dry_run) {
            Ok(found) => found,
            Err(why) => {
                notes.push(format!("the canary could not be looked at: {why}"));
                (None, None)
            }
        };
        if let Some(alarm) = against {
            let again = alarm.clone();
            match state.raise_from(alarm) {
                Some(alarm) => raised.push(alarm),
                // Its alarm stands, and what should have followed did not: a dry run, a full disk.
                None if !dry_run && !self.settings.watch.dry_run => drop(self.withdraw(&again)?),
                None => {}
            }
        }
        self.follow_up(&mut state, &raised, dry_run)?;
        // As they stand after the actions.
        let raised =
            raised.iter().filter_map(|new| state.alarms().iter().find(|a| a.id == new.id)).cloned();
        let raised = raised.collect();
        Ok(Look { raised, state, labelled, canary, notes })
    }

    /// The released model's confidence on the validation rows, and whether it was right; none where
    /// the task has no labels. Kept as a step: it is computed once for a version.
    fn graded(&self, version: &Version) -> Result<Option<Vec<Confident>>> {
        if self.settings.task.kind != TaskKind::Classify {
            return Ok(None);
        }
        let folder = self.registry.checkout(version)?;
        if !bundle::is_bundle(&folder) {
            return Ok(None);
        }
        let prepared = self.prepared_unjudged()?;
        if prepared.split != version.content.split {
            let what = "the data is not what the version was made from any more";
            return Err(Error::new(&codes::INPUTS_GONE, what));
        }
        let questions = Questions::of(&prepared.validation, prepared.labels());
        let inputs = serde_json::json!({
            "artefact": version.content.artefact.digest(),
            "validation": prepared.validation.digest,
        });
        let step = self.steps().run("watch-grades", &inputs, |_| {
            let model = bundle::open(&folder)?;
            let texts: Vec<&str> = questions.texts.iter().map(String::as_str).collect();
            let predictions = model.predict(&texts)?;
            let graded = predictions.iter().zip(&questions.gold).map(|(prediction, gold)| {
                let (best, confidence) = prediction.best();
                let right = model.labels().get(best) == questions.labels.get(*gold);
                Confident { confidence: f64::from(confidence), right }
            });
            Ok(graded.collect::<Vec<_>>())
        })?;
        Ok(Some(step.value))
    }

    /// Takes note of all standing alarms, and takes back what they raised the thresholds of routes
    /// to. `relearn`: the requests from now on are the new normal.
    ///
    /// # Errors
    /// Those of the state and of the routes' files.
    pub fn watch_acknowledge(&self, relearn: bool, why: &str) -> Result<crate::Done> {
        let _lock = self.watch_lock()?;
        let file = self.watch_state_file();
        let Some(mut state) = WatchState::load(&file)? else {
            return Err(Error::new(&codes::WATCH_NOTHING, "the watch has not looked yet")
                .help("Run `sprat watch` first."));
        };
        let acknowledged = state.acknowledge();
        if relearn {
            state.relearn();
        }
        state.save(&file)?;
        let lowered = self.lower_routes(None, why)?;
        let body = serde_json::json!({
            "acknowledged": acknowledged, "relearn": relearn, "lowered": lowered, "who": crate::versions::who(),
            "why": why,
        });
        self.registry.record_event(self.task(), "watch-acknowledged", &body)?;
        let mut text = format!("{acknowledged} alarm(s) acknowledged");
        if !lowered.is_empty() {
            text += &format!("; the route of {} is as it was fitted", lowered.join(", "));
        }
        if relearn {
            text += &format!("; the next {} requests are the new normal", state.setup().history);
        }
        let page = sprat_report::Page::new("Watch").verdict(sprat_report::Tone::Good, text);
        Ok(crate::Done::new("sprat.watch-acknowledge/1", body, page))
    }
}
