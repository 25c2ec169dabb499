//! A state over real traces in a file: what it learns, what it raises once, and what it survives.

use super::*;
use crate::{Observed, Options, Recorder};
use sprat_task::{FakeClock, Timestamp};
use std::sync::Arc;
use std::time::Duration;

fn setup() -> Setup {
    let tests = Drift::ALL.to_vec();
    Setup { tests, false_alarm_every: 1000.0, history: 200, caution: 1.0, window: 100 }
}

/// Writes requests `from..to` of a version; from `moved` on they are long and of one label.
fn write(folder: &Path, version: &str, from: u64, to: u64, moved: u64) -> TraceLog {
    let path = folder.join("traces.sqlite");
    let clock = Arc::new(FakeClock::new(Timestamp(1_000_000)));
    let recorder = Recorder::start(&path, Options::default(), clock).unwrap();
    for at in from..to {
        let strange = at >= moved;
        let near = |d: u64| (at * 7 + d * 3) % 11;
        recorder.record(Observed {
            id: format!("request-{at}"),
            task: "intent".into(),
            version: version.into(),
            text: format!("order number {} is late", at % 13),
            label: Some(["a", "b", "c"][if strange { 1 } else { at as usize % 3 }].into()),
            confidence: Some(if strange { 0.4 } else { 0.8 + (at % 10) as f32 / 100.0 }),
            scores: vec![("a".into(), 0.9)],
            latency: Duration::from_millis(2 + at % 5),
            prompt_tokens: 8 + near(1) + if strange { 60 } else { 0 },
            status: 200,
            valid: Some(true),
            embedding: Some(
                (0..8).map(|d| near(d) as f32 + if strange { 90.0 } else { 0.0 }).collect(),
            ),
            ..Observed::default()
        });
    }
    recorder.flush().unwrap();
    drop(recorder);
    TraceLog::open(&path).unwrap()
}

fn go() -> Interrupt {
    Interrupt::default()
}

#[test]
fn it_learns_first_then_tests_and_raises_each_alarm_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "intent@v1", 0, 150, 9999);
    let mut state = WatchState::new("intent@v1", setup());
    assert!(state.advance(&log, &go()).unwrap().is_empty());
    assert_eq!((state.phase(), state.learned(), state.tested()), (Phase::Learning, 150, 0));
    let log = write(folder.path(), "intent@v1", 150, 600, 9999);
    // Another version's requests are none of its business.
    write(folder.path(), "intent@v2", 0, 100, 0);
    assert!(state.advance(&log, &go()).unwrap().is_empty());
    assert_eq!((state.phase(), state.tested()), (Phase::Quiet, 400));
    let test = |state: &WatchState, name: &str| {
        state.tests().into_iter().find(|test| test.name == name).unwrap()
    };
    for seeing in ["novelty", "topics", "length", "vocabulary", "label", "confidence"] {
        assert_eq!(test(&state, seeing).standing, Verdict::Quiet, "{seeing}");
    }
    let log = write(folder.path(), "intent@v1", 600, 900, 600);
    let raised = state.advance(&log, &go()).unwrap();
    assert_eq!(state.phase(), Phase::Alarm);
    let novelty = raised.iter().find(|alarm| alarm.test == "novelty").unwrap();
    assert!(novelty.request.abs_diff(410) < 100 && novelty.since.abs_diff(401) < 60, "{novelty:?}");
    assert!(novelty.evidence >= novelty.threshold);
    let mut names: Vec<&str> = raised.iter().map(|alarm| alarm.test.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), raised.len(), "one alarm a test while it stands");
    let shown = test(&state, "novelty");
    assert_eq!((shown.standing, shown.since), (Verdict::Alarm, Some(novelty.since)));
    assert!(shown.series.iter().any(|point| point.1 >= shown.threshold), "{:?}", shown.series);
    assert_eq!(state.acknowledge(), raised.len());
    assert_eq!(state.phase(), Phase::Quiet);
}

#[test]
fn it_is_written_whole_goes_on_bit_for_bit_and_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watch/state.json");
    assert_eq!(WatchState::load(&path).unwrap(), None);
    let log = write(folder.path(), "intent@v1", 0, 500, 400);
    let mut whole = WatchState::new("intent@v1", setup());
    whole.advance(&log, &go()).unwrap();
    // The same with a stop in between, as when a process ends between two looks.
    let other = tempfile::tempdir().unwrap();
    let log = write(other.path(), "intent@v1", 0, 230, 400);
    let mut state = WatchState::new("intent@v1", setup());
    state.advance(&log, &go()).unwrap();
    state.save(&path).unwrap();
    let log = write(other.path(), "intent@v1", 230, 500, 400);
    let mut state = WatchState::load(&path).unwrap().unwrap();
    state.advance(&log, &go()).unwrap();
    let (mut one, mut two) = (whole.tests(), state.tests());
    assert_eq!(whole.alarms().len(), state.alarms().len());
    // Only the moments of the fake clock differ, which nothing depends on.
    one.iter_mut().chain(&mut two).for_each(|test| test.why.clear());
    assert_eq!(one, two);
    let text = std::fs::read_to_string(&path).unwrap().replace("watch-state/2", "watch-state/9");
    for wrong in [text.as_str(), "{", "{\"schema\": \"sprat.watch-state/2\"}"] {
        std::fs::write(&path, wrong).unwrap();
        assert_eq!(WatchState::load(&path).unwrap_err().code().id, "SPRAT-MONITOR-STATE");
    }
}

#[test]
fn a_watch_that_is_fitted_anew_does_not_raise_what_it_raised_before() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "intent@v1", 0, 900, 600);
    let mut state = WatchState::new("intent@v1", setup());
    let before = state.advance(&log, &go()).unwrap().len();
    assert!(before > 0);
    state.acknowledge();
    state.restart("intent@v1", Setup { history: 300, ..setup() });
    assert!(state.advance(&log, &go()).unwrap().is_empty());
    assert_eq!(state.phase(), Phase::Quiet);
    assert_eq!(state.alarms().len(), before, "what was is remembered");
    state.relearn();
    assert!(state.advance(&log, &go()).unwrap().is_empty());
    assert_eq!((state.phase(), state.learned()), (Phase::Learning, 0));
}

#[test]
fn a_state_of_the_form_before_is_fitted_anew_and_keeps_its_alarms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let log = write(folder.path(), "intent@v1", 0, 900, 600);
    let mut state = WatchState::new("intent@v1", setup());
    let raised = state.advance(&log, &go()).unwrap();
    state.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap().replace("watch-state/2", "watch-state/1");
    std::fs::write(&path, text).unwrap();
    let mut state = WatchState::load(&path).unwrap().unwrap();
    assert_eq!((state.learned(), state.alarms().len()), (0, raised.len()));
    assert!(state.advance(&log, &go()).unwrap().is_empty(), "none is raised twice");
    assert_eq!((state.phase(), state.learned()), (Phase::Alarm, 200));
    state.save(&path).unwrap();
    assert_eq!(WatchState::load(&path).unwrap().unwrap(), state);
}

#[test]
fn clocks_that_jump_change_nothing() {
    let rows = |times: fn(u64) -> u64| {
        let folder = tempfile::tempdir().unwrap();
        let log = write(folder.path(), "intent@v1", 0, 500, 400);
        let all = TraceFilter::default();
        let path = folder.path().join("jumping.sqlite");
        let jumping = sprat_store::sqlite::SqliteTraces::open(&path).unwrap();
        log.each(&all, |mut row| {
            row.at = Timestamp(times(row.at.0));
            sprat_store::Traces::append(&jumping, &[row])
        })
        .unwrap();
        let mut state = WatchState::new("intent@v1", setup());
        state.advance(&TraceLog::open(&path).unwrap(), &go()).unwrap();
        let alarms: Vec<_> = state.alarms().iter().map(|a| (a.test.clone(), a.request)).collect();
        (alarms, state.tests())
    };
    let steady = rows(|at| at);
    assert!(!steady.0.is_empty());
    assert_eq!(steady, rows(|at| if at % 2 == 0 { 5 } else { 4_000_000_000_000 - at }));
}

#[test]
fn planned_actions_wait_until_they_are_settled() {
    let mut state = WatchState::new("intent@v1", setup());
    let alarm = state.raise_from(Alarm { test: "accuracy".into(), ..Alarm::default() }).unwrap();
    assert!(state.raise_from(Alarm { test: "accuracy".into(), ..Alarm::default() }).is_none());
    state.plan(alarm.id, &["log".to_owned(), "webhook".to_owned()], Timestamp(5));
    assert_eq!(state.pending().len(), 2);
    let act = |action: &str, outcome| Act {
        action: action.into(),
        outcome,
        at: Timestamp(7),
        detail: String::new(),
    };
    state.settle(alarm.id, act("webhook", Outcome::Failed));
    state.settle(alarm.id, act("log", Outcome::Done));
    assert!(state.pending().is_empty());
    assert_eq!((state.last_done("log"), state.last_done("webhook")), (Some(Timestamp(7)), None));
}
