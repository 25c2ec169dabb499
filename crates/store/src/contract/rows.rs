//! The contract of the row traits.

use crate::memory::MemoryRows;
use crate::sqlite::Sqlite;
use crate::{NewAliasMove, NewOpening, NewVersion, Rows, StepRow};
use sprat_task::{Digest, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Two handles on one store, where the backend has such a thing.
type Pair = (Arc<dyn Rows>, Arc<dyn Rows>);

fn on_every_backend(story: impl Fn(Pair)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.sqlite");
    story((Arc::new(Sqlite::open(&path).unwrap()), Arc::new(Sqlite::open(&path).unwrap())));
    let memory: Arc<dyn Rows> = Arc::new(MemoryRows::default());
    story((memory.clone(), memory));
}

fn add(rows: &dyn Rows, task: &str, body: &str) -> crate::Added {
    let blobs = BTreeSet::from([Digest::of(body.as_bytes()), Digest::of(b"shared")]);
    let digest = Digest::of(format!("version {body}").as_bytes());
    let new = NewVersion { task, digest, parent: None, created: Timestamp(5), body, blobs: &blobs };
    rows.add_version(&new).unwrap()
}

fn shift<'a>(alias: &'a str, expected: u64, to: u32) -> NewAliasMove<'a> {
    let (task, kind, who, why, at) = ("intent", "promote", "ann", "better", Timestamp(9));
    NewAliasMove { task, alias, expected, to, kind, who, why, at }
}

#[test]
fn versions_count_per_task_and_the_same_content_is_one_version() {
    on_every_backend(|(rows, other)| {
        let first = add(&*rows, "intent", "a");
        assert!(first.new && first.row.number == 1);
        assert_eq!(add(&*other, "intent", "b").row.number, 2);
        assert_eq!(add(&*rows, "language", "c").row.number, 1);
        let again = add(&*rows, "intent", "a");
        assert!(!again.new);
        assert_eq!(again.row, first.row);
        assert_eq!(other.version("intent", 1).unwrap(), Some(first.row.clone()));
        assert_eq!(rows.version("intent", 3).unwrap(), None);
        assert_eq!(rows.versions(Some("intent")).unwrap().len(), 2);
        assert_eq!(rows.versions(None).unwrap().len(), 3);
        let prefix = &first.row.digest.to_string()[..10];
        assert_eq!(rows.versions_by_digest("intent", prefix).unwrap(), [first.row]);
        assert!(rows.versions_by_digest("language", prefix).unwrap().is_empty());
    });
}

#[test]
fn a_version_s_parent_and_blobs_are_remembered() {
    on_every_backend(|(rows, _)| {
        let parent = add(&*rows, "intent", "a").row.digest;
        add(&*rows, "intent", "b");
        let blobs = BTreeSet::new();
        let digest = Digest::of(b"child");
        let created = Timestamp(7);
        let parent = Some(parent);
        let new = NewVersion { task: "intent", digest, parent, created, body: "", blobs: &blobs };
        let child = rows.add_version(&new).unwrap().row;
        assert_eq!((child.parent, child.created), (parent, created));
        assert_eq!(rows.version("intent", 3).unwrap(), Some(child));
        let of_a = BTreeSet::from([Digest::of(b"a"), Digest::of(b"shared")]);
        assert_eq!(rows.blobs_of("intent", 1).unwrap(), of_a);
        assert!(rows.blobs_of("intent", 9).unwrap().is_empty());
        assert_eq!(rows.used_blobs().unwrap().len(), 3);
    });
}

#[test]
fn an_alias_moves_only_from_the_revision_that_was_seen() {
    on_every_backend(|(rows, other)| {
        add(&*rows, "intent", "a");
        add(&*rows, "intent", "b");
        assert_eq!(rows.alias("intent", "production").unwrap(), None);
        let first = rows.move_alias(&shift("production", 0, 1)).unwrap().unwrap();
        assert_eq!((first.from, first.to, first.revision), (None, 1, 1));
        assert_eq!(other.move_alias(&shift("production", 0, 2)).unwrap(), None, "set meanwhile");
        let second = other.move_alias(&shift("production", 1, 2)).unwrap().unwrap();
        assert_eq!((second.from, second.to, second.revision), (Some(1), 2, 2));
        assert_eq!(rows.move_alias(&shift("production", 1, 1)).unwrap(), None);
        let now = rows.alias("intent", "production").unwrap().unwrap();
        assert_eq!((now.version, now.revision, now.moved), (2, 2, Timestamp(9)));
        rows.move_alias(&shift("staging", 0, 1)).unwrap().unwrap();
        assert_eq!(rows.moves("intent", Some("production")).unwrap(), [first, second]);
        assert_eq!(rows.moves("intent", None).unwrap().len(), 3);
        assert_eq!(rows.aliases(Some("intent")).unwrap().len(), 2);
        assert_eq!(rows.aliases(None).unwrap().len(), 2);
        assert!(rows.aliases(Some("language")).unwrap().is_empty());
    });
}

#[test]
fn an_alias_cannot_point_to_a_version_that_is_not_there() {
    on_every_backend(|(rows, _)| {
        add(&*rows, "intent", "a");
        assert!(rows.move_alias(&shift("production", 0, 7)).is_err());
        assert_eq!(rows.alias("intent", "production").unwrap(), None);
        assert!(rows.moves("intent", None).unwrap().is_empty());
    });
}

#[test]
fn of_many_who_move_an_alias_at_once_one_wins_each_round() {
    on_every_backend(|(rows, other)| {
        add(&*rows, "intent", "a");
        let wins: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|at| {
                    let store = if at % 2 == 0 { rows.clone() } else { other.clone() };
                    scope.spawn(move || {
                        let tried = (0..10).map(|round| shift("production", round, 1));
                        tried.filter(|m| store.move_alias(m).unwrap().is_some()).count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        let now = rows.alias("intent", "production").unwrap().unwrap();
        assert_eq!(wins as u64, now.revision, "every win is one move");
        let revisions: Vec<u64> =
            rows.moves("intent", None).unwrap().iter().map(|row| row.revision).collect();
        assert_eq!(revisions, (1..=now.revision).collect::<Vec<_>>(), "no gap, nothing twice");
    });
}

#[test]
fn of_many_who_add_versions_at_once_each_gets_a_number() {
    on_every_backend(|(rows, other)| {
        std::thread::scope(|scope| {
            for at in 0..8 {
                let store = if at % 2 == 0 { rows.clone() } else { other.clone() };
                scope.spawn(move || {
                    for round in 0..5 {
                        add(&*store, "intent", &format!("{at}-{round}"));
                    }
                });
            }
        });
        let numbers: Vec<u32> =
            rows.versions(Some("intent")).unwrap().iter().map(|row| row.number).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        assert!(rows.check().unwrap().is_empty());
    });
}

#[test]
fn a_step_is_found_by_name_and_inputs_and_can_be_forgotten() {
    on_every_backend(|(rows, other)| {
        let (inputs, outputs) = (Digest::of(b"in"), Digest::of(b"out"));
        let summary = r#"{"accuracy":0.9}"#.to_owned();
        let row = StepRow { step: "tune".into(), inputs, outputs, summary, at: Timestamp(3) };
        assert_eq!(rows.step("tune", &inputs).unwrap(), None);
        rows.put_step(&row).unwrap();
        assert_eq!(other.step("tune", &inputs).unwrap(), Some(row.clone()));
        assert_eq!(other.step("shrink", &inputs).unwrap(), None);
        assert_eq!(other.step("tune", &outputs).unwrap(), None);
        let later = StepRow { outputs: inputs, at: Timestamp(4), ..row };
        other.put_step(&later).unwrap();
        assert_eq!(rows.steps().unwrap(), [later]);
        assert!(rows.forget_step("tune", &inputs).unwrap());
        assert!(!rows.forget_step("tune", &inputs).unwrap());
    });
}

#[test]
fn the_journal_keeps_openings_and_events_in_order() {
    on_every_backend(|(rows, other)| {
        let split = Digest::of(b"split");
        let new = |task, purpose| NewOpening { task, split, purpose, who: "ann", at: Timestamp(1) };
        let first = rows.add_opening(&new("intent", "release gate")).unwrap();
        let second = other.add_opening(&new("language", "curiosity")).unwrap();
        assert_eq!((first.id, second.id), (1, 2));
        assert_eq!(rows.openings(None).unwrap(), [first.clone(), second]);
        assert_eq!(rows.openings(Some("intent")).unwrap(), [first]);
        let alarm = rows.add_event("intent", "alarm", "{}", Timestamp(2)).unwrap();
        let switch = other.add_event("intent", "switch", r#"{"to":1}"#, Timestamp(3)).unwrap();
        assert_eq!(rows.events("intent", None).unwrap(), [alarm.clone(), switch]);
        assert_eq!(rows.events("intent", Some("alarm")).unwrap(), [alarm]);
        assert!(rows.events("language", None).unwrap().is_empty());
    });
}

#[test]
fn a_store_that_was_closed_opens_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.sqlite");
    let added = add(&Sqlite::open(&path).unwrap(), "intent", "it's \"quoted\"; DROP TABLE — ß");
    let again = Sqlite::open(&path).unwrap();
    let found = crate::Versions::version(&again, "intent", 1).unwrap();
    assert_eq!(found, Some(added.row));
}
