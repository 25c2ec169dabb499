//! The contract of the trace trait.

use crate::sqlite::SqliteTraces;
use crate::{Feedback, NewFeedback, TraceFilter, TraceRow, Traces};
use sprat_task::Timestamp;
use std::path::Path;

fn on_every_backend(story: impl Fn(&dyn Traces)) {
    let folder = tempfile::tempdir().unwrap();
    story(&SqliteTraces::open(&folder.path().join("traces.sqlite")).unwrap());
}

fn trace(at: u64, task: &str) -> TraceRow {
    TraceRow {
        id: format!("request-{at}"),
        at: Timestamp(at),
        task: task.into(),
        version: "v1".into(),
        text: Some("where is my card?".into()),
        text_hash: None,
        label: Some("card_arrival".into()),
        confidence: Some(0.875),
        scores: vec![("card_arrival".into(), 0.875), ("lost_card".into(), 0.125)],
        latency_ms: 2.5,
        prompt_tokens: 7,
        completion_tokens: 0,
        status: 200,
        route: None,
        usd: Some(0.25),
        valid: Some(true),
        output: Some("card_arrival".into()),
        sketch: Some(vec![0, 255, 7]),
    }
}

fn feedback_on_every_backend<T: Traces + Feedback>(story: impl Fn(&T), open: fn(&Path) -> T) {
    let folder = tempfile::tempdir().unwrap();
    story(&open(&folder.path().join("traces.sqlite")));
}

fn said<'a>(trace: u64, author: &'a str, label: Option<&'a str>) -> NewFeedback<'a> {
    NewFeedback { trace, author, good: label.is_none(), label, output: None, at: Timestamp(9) }
}

#[test]
fn traces_come_back_as_they_were_written_in_order() {
    on_every_backend(|traces| {
        let rows = [trace(1, "intent"), trace(2, "intent"), trace(3, "language")];
        traces.append(&rows[..2]).unwrap();
        traces.append(&rows[2..]).unwrap();
        let read = traces.read(&TraceFilter::default()).unwrap();
        assert!(traces.check().unwrap().is_empty());
        assert_eq!(read.iter().map(|(_, row)| row.clone()).collect::<Vec<_>>(), rows);
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let page = TraceFilter { after: read[0].0, limit: Some(1), ..TraceFilter::default() };
        assert_eq!(traces.read(&page).unwrap(), read[1..2]);
        assert_eq!(traces.newest().unwrap().as_ref(), Some(&rows[2]));
    });
}

#[test]
fn a_filter_narrows_by_task_version_and_time() {
    on_every_backend(|traces| {
        let mut rows: Vec<TraceRow> = (0..10).map(|at| trace(at, "intent")).collect();
        rows[3].task = "language".into();
        rows[4].version = "v2".into();
        traces.append(&rows).unwrap();
        let all = TraceFilter::default();
        let count = |filter: TraceFilter| traces.count(&filter).unwrap();
        assert_eq!(count(all.clone()), 10);
        assert_eq!(count(TraceFilter { task: Some("intent".into()), ..all.clone() }), 9);
        assert_eq!(count(TraceFilter { version: Some("v2".into()), ..all.clone() }), 1);
        let (since, before) = (Some(Timestamp(2)), Some(Timestamp(5)));
        assert_eq!(count(TraceFilter { since, before, ..all }), 3);
    });
}

#[test]
fn pruning_removes_by_age_and_keeps_the_newest_rows() {
    on_every_backend(|traces| {
        traces.append(&(0..10).map(|at| trace(at, "intent")).collect::<Vec<_>>()).unwrap();
        assert_eq!(traces.prune(Some(Timestamp(4)), None).unwrap(), 4);
        assert_eq!(traces.prune(None, Some(2)).unwrap(), 4);
        assert_eq!(traces.prune(None, Some(2)).unwrap(), 0);
        let left = traces.read(&TraceFilter::default()).unwrap();
        assert_eq!(left.iter().map(|(_, row)| row.at.0).collect::<Vec<_>>(), [8, 9]);
    });
}

#[test]
fn a_score_that_is_not_a_number_does_not_spoil_the_row() {
    on_every_backend(|traces| {
        let mut row = trace(1, "intent");
        row.scores.push(("broken".into(), f64::NAN));
        traces.append(&[row]).unwrap();
        assert_eq!(traces.read(&TraceFilter::default()).unwrap()[0].1, trace(1, "intent"));
    });
}

#[test]
fn a_position_is_never_given_twice_even_when_all_rows_are_gone() {
    on_every_backend(|traces| {
        traces.append(&[trace(1, "intent"), trace(2, "intent")]).unwrap();
        assert_eq!(traces.prune(Some(Timestamp(100)), None).unwrap(), 2);
        traces.append(&[trace(200, "intent")]).unwrap();
        assert_eq!(traces.read(&TraceFilter::default()).unwrap()[0].0, 3);
    });
}

#[test]
fn feedback_is_kept_once_for_each_author_and_the_last_word_counts() {
    feedback_on_every_backend(
        |traces: &crate::sqlite::SqliteTraces| {
            let mut rows = [trace(1, "intent"), trace(2, "intent"), trace(3, "intent")];
            rows[2].id = "request-1".into();
            traces.append(&rows).unwrap();
            let (newest, row) = traces.find("request-1").unwrap().unwrap();
            assert_eq!((newest, &row), (3, &rows[2]), "the newest of two with one name");
            assert!(traces.find("nobody").unwrap().is_none());
            assert_eq!(traces.give(&said(1, "ann", None)).unwrap(), Some(true));
            assert_eq!(traces.give(&said(1, "ann", None)).unwrap(), Some(false), "said already");
            assert_eq!(traces.give(&said(2, "ann", Some("x"))).unwrap(), Some(true));
            assert_eq!(traces.give(&said(1, "bob", Some("y"))).unwrap(), Some(true));
            assert_eq!(traces.give(&said(1, "ann", Some("z"))).unwrap(), Some(true));
            assert_eq!(traces.give(&said(77, "ann", None)).unwrap(), None);
            let all = traces.given(0, 10).unwrap();
            let told: Vec<_> = all
                .iter()
                .map(|(said, row)| (said.trace, &*said.author, said.label.as_deref(), &*row.id))
                .collect();
            let expected = [
                (2, "ann", Some("x"), "request-2"),
                (1, "bob", Some("y"), "request-1"),
                (1, "ann", Some("z"), "request-1"),
            ];
            assert_eq!(told, expected);
            assert_eq!(traces.given(all[1].0.position, 10).unwrap(), all[2..]);
            // What is forgotten is forgotten with all that was said about it.
            traces.prune(Some(Timestamp(2)), None).unwrap();
            assert_eq!(traces.given(0, 10).unwrap().len(), 1);
        },
        |path| crate::sqlite::SqliteTraces::open_durable(path).unwrap(),
    );
}
