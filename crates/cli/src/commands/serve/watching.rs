//! The watch of a running server: looks at new traces on a thread of its own, and answers for the
//! server what it cannot know without storage.

use serde_json::{Value, json};
use sprat_flow::Project;
use sprat_flow::watch::Look;
use sprat_monitor::{FeedbackLog, Outcome, Recorder, Said, TestVerdict};
use sprat_serve::{Gauge, Watcher};
use sprat_task::{Clock, Error, Interrupt, Result, SystemClock};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a sleeping thread asks whether it is to end.
const NAP: Duration = Duration::from_millis(20);

/// What the server asks.
pub(super) struct Watching {
    /// For the labelling queue; the thread that looks has a project of its own.
    project: Mutex<Project>,
    feedback: FeedbackLog,
    recorder: Arc<Recorder>,
    latest: Mutex<Latest>,
}

/// What the last look found.
struct Latest {
    document: Value,
    gauges: Vec<Gauge>,
}

impl Watching {
    /// Nothing has been looked at yet.
    ///
    /// # Errors
    /// Those of the traces' database.
    pub(super) fn new(project: Project, recorder: Arc<Recorder>) -> Result<Self> {
        let feedback = project.feedback()?;
        let watch = &project.settings.watch;
        let document = json!({
            "schema": "sprat.watch/1",
            "state": if watch.enabled { "learning" } else { "off" },
            "requests": 0, "learned": 0, "tested": 0,
            "history": watch.history, "false_alarm_every": watch.false_alarm_every,
            "tests": [], "alarms": [], "accuracy": null, "labelled": null, "canary": null, "notes": [],
        });
        let latest = Mutex::new(Latest { document, gauges: Vec::new() });
        Ok(Watching { project: Mutex::new(project), feedback, recorder, latest })
    }

    fn note(&self, project: &Project, look: &Look) {
        let latest = Latest { document: look.document(project), gauges: gauges(look) };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = latest;
    }
}

/// Looks again and again until interrupted. What goes wrong is told and tried again.
pub(super) fn start(
    watching: Arc<Watching>,
    project: Project,
    interrupt: Interrupt,
) -> Result<JoinHandle<()>> {
    let interval = project.settings.watch.interval.0;
    std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || {
            while !interrupt.requested() {
                look(&watching, &project);
                let begun = Instant::now();
                while !interrupt.requested() && begun.elapsed() < interval {
                    std::thread::sleep(NAP.min(interval));
                }
            }
        })
        .map_err(|why| {
            Error::new(&sprat_serve::codes::START, "the system gives no thread")
                .why(why.to_string())
        })
}

fn look(watching: &Watching, project: &Project) {
    // A defect in a test must not take the server's watch away for good, nor the server.
    match catch_unwind(AssertUnwindSafe(|| project.watch_look(false))) {
        Ok(Ok(look)) => {
            for alarm in &look.raised {
                eprintln!("ALARM {} of {}: {}", alarm.test, alarm.version, alarm.what);
                for act in alarm.actions.iter().filter(|act| act.action != "log") {
                    eprintln!("  {} {}: {}", act.action, act.outcome.name(), act.detail);
                }
            }
            watching.note(project, &look);
        }
        Ok(Err(error)) if *error.code() == sprat_flow::codes::WATCH_NOTHING => {}
        Ok(Err(error)) => tracing::error!(code = error.code().id, %error, "the watch did not look"),
        Err(_) => tracing::error!("the watch met an unexpected state; it looks again"),
    }
}

impl Watcher for Watching {
    fn feedback(&self, said: &Said) -> Result<bool> {
        match self.feedback.give(said, SystemClock.now()) {
            // The trace may still wait to be written.
            Err(error) if *error.code() == sprat_monitor::codes::TRACE => {
                self.recorder.flush()?;
                self.feedback.give(said, SystemClock.now())
            }
            other => other,
        }
    }

    fn labels(&self, limit: usize) -> Result<Value> {
        // What was answered a moment ago can be drawn too.
        self.recorder.flush()?;
        self.project.lock().unwrap_or_else(PoisonError::into_inner).label_document(limit)
    }

    fn state(&self) -> Result<Value> {
        Ok(self.latest.lock().unwrap_or_else(PoisonError::into_inner).document.clone())
    }

    fn gauges(&self) -> Vec<Gauge> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).gauges.clone()
    }
}

fn gauges(look: &Look) -> Vec<Gauge> {
    let state = &look.state;
    let plain = |name: &'static str, value: f64| Gauge { name, label: None, value };
    let mut all = vec![
        plain("sprat_watch_requests", (state.learned() + state.tested()) as f64),
        plain("sprat_watch_alarms_standing", state.standing_alarms().count() as f64),
        plain("sprat_watch_alarms_total", state.alarms_so_far() as f64),
    ];
    for test in state.tests() {
        let of = |name: &'static str, value: f64| Gauge {
            name,
            label: Some(("test", test.name.to_owned())),
            value,
        };
        let stands = |verdict| f64::from(u8::from(test.standing == verdict));
        all.push(of("sprat_watch_alarm", stands(TestVerdict::Alarm)));
        all.push(of("sprat_watch_blind", stands(TestVerdict::Blind)));
        all.push(of("sprat_watch_evidence_share", test.evidence / test.threshold));
    }
    for outcome in [Outcome::Done, Outcome::Failed, Outcome::Cooling, Outcome::DryRun] {
        let acts = state.alarms().iter().flat_map(|alarm| &alarm.actions);
        let count = acts.filter(|act| act.action != "log" && act.outcome == outcome).count();
        all.push(Gauge {
            name: "sprat_watch_actions",
            label: Some(("outcome", outcome.name().to_owned())),
            value: count as f64,
        });
    }
    if let Some(accuracy) = state.accuracy() {
        all.push(plain("sprat_watch_accuracy_estimate", accuracy.estimate));
    }
    if let Some(estimate) = look.labelled.as_ref().and_then(|labelled| labelled.estimate) {
        all.push(plain("sprat_watch_accuracy_labelled", estimate));
    }
    all
}
