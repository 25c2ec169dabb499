//! What gc removes and keeps, and what the doctor notices.

use crate::support::{World, release};
use sprat_registry::{Diagnosis, Expect, GcOptions, Version};
use sprat_task::{Digest, Interrupt, Quiet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const NOW: GcOptions = GcOptions { grace: Duration::ZERO, dry_run: false };

#[test]
fn gc_removes_what_nothing_needs_and_only_that() {
    let world = World::new();
    let registry = &world.registry;
    let version = world.release("weights");
    registry.checkout(&version).unwrap();
    let outputs = registry.blobs().put_bytes(b"outputs of a step").unwrap();
    let summary = serde_json::json!({});
    registry.record_step("tune", &Digest::of(b"in"), &outputs, &summary).unwrap();
    let unused = registry.blobs().put_bytes(b"of an abandoned release").unwrap();
    fs::write(registry.folder().join("blobs/tmp/9-9-9.tmp"), "half").unwrap();
    fs::create_dir(registry.folder().join("checkouts/.abc.9-9.tmp")).unwrap();

    let patient = GcOptions { grace: Duration::from_secs(3600), dry_run: false };
    let collected = registry.gc(&patient).unwrap();
    assert_eq!((collected.used, collected.young, collected.removed), (3, 1, 0));
    let trial = registry.gc(&GcOptions { dry_run: true, ..NOW }).unwrap();
    assert!(registry.blobs().has(&unused).unwrap(), "a dry run removes nothing");
    let collected = registry.gc(&NOW).unwrap();
    assert_eq!((collected.used, collected.removed, collected.bytes), (3, 1, 23));
    assert_eq!((collected.leftovers, collected.checkouts), (1, 1));
    assert!(trial.dry_run && trial.removed == 1 && trial.leftovers == 1 && trial.checkouts == 1);
    assert!(!registry.blobs().has(&unused).unwrap() && registry.blobs().has(&outputs).unwrap());
    registry.checkout(&version).unwrap();
    world.assert_sound();
}

#[test]
fn gc_and_releases_at_the_same_time_never_lose_a_file() {
    let world = World::new();
    std::thread::scope(|scope| {
        let releases = [0, 1].map(|at| {
            let world = &world;
            scope.spawn(move || {
                for round in 0..15 {
                    // Half of the content is shared between the two.
                    world.release(&format!("{}-{}", round, if round % 2 == 0 { at } else { 0 }));
                }
            })
        });
        while releases.iter().any(|release| !release.is_finished()) {
            world.registry.gc(&NOW).unwrap();
        }
    });
    world.assert_sound();
}

#[test]
fn gc_beside_a_checkout_does_not_take_half_of_it() {
    let world = World::new();
    let content: Vec<(String, String)> =
        (0..60).map(|i| (format!("w{i}"), i.to_string())).collect();
    let files: Vec<_> = content.iter().map(|(name, text)| (&**name, text.as_bytes())).collect();
    let folder = world.artefact("wide", &files);
    let version = release(&world.registry, &folder, None).unwrap().version;
    std::thread::scope(|scope| {
        let checkouts = scope.spawn(|| {
            for _ in 0..8 {
                let checkout = world.registry.checkout(&version).unwrap();
                assert_eq!(fs::read_dir(&checkout).unwrap().count(), files.len());
                fs::remove_dir_all(checkout).unwrap();
            }
        });
        while !checkouts.is_finished() {
            world.registry.gc(&NOW).unwrap();
        }
    });
}

fn examine(world: &World) -> Diagnosis {
    world.registry.doctor(&Quiet, &Interrupt::default()).unwrap()
}

fn blob_path(world: &World, content: &[u8]) -> PathBuf {
    let name = Digest::of(content).to_string();
    world.registry.folder().join("blobs").join(&name[..2]).join(&name[2..4]).join(&name)
}

fn sound_world() -> (World, Version) {
    let world = World::new();
    let version = world.release("weights");
    world.registry.promote(&version, "production", Expect::Any, "ann", "").unwrap();
    world.registry.checkout(&version).unwrap();
    let diagnosis = examine(&world);
    assert!(diagnosis.is_sound() && diagnosis.notes.is_empty());
    let checked = diagnosis.checked;
    assert_eq!((checked.versions, checked.aliases, checked.moves), (1, 1, 1));
    assert_eq!((checked.blobs, checked.bytes, checked.checkouts), (2, 9, 1));
    (world, version)
}

/// Runs statements behind the registry's back.
fn tamper(world: &World, sql: &str) {
    let path = world.registry.folder().join("registry.sqlite");
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
}

fn assert_noticed(world: &World, words: &str) {
    let problems = examine(world).problems;
    let named = |problem: &sprat_registry::Problem| {
        format!("{}: {}", problem.subject, problem.what).contains(words) && !problem.help.is_empty()
    };
    assert!(problems.iter().any(named), "{words:?} is not in {problems:#?}");
}

#[test]
fn the_doctor_notices_every_kind_of_damage() {
    let (world, _) = sound_world();
    fs::remove_file(blob_path(&world, b"weights")).unwrap();
    assert_noticed(&world, "`weights/head.bin` is missing");

    let (world, version) = sound_world();
    let path = blob_path(&world, b"weights");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "weighty").unwrap();
    assert_noticed(&world, "`weights/head.bin` is damaged");
    fs::remove_dir_all(world.registry.folder().join("checkouts")).unwrap();
    let error = world.registry.checkout(&version).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-STORE-DAMAGED", "nor is it ever used");
    let left = fs::read_dir(world.registry.folder().join("checkouts")).unwrap().count();
    assert_eq!(left, 0, "a failed checkout leaves nothing");

    let (world, version) = sound_world();
    let folder = world.registry.checkout(&version).unwrap();
    fs::write(folder.join("classifier.json"), "[]").unwrap();
    assert_noticed(&world, "it is not what intent@v1 consists of");

    for (sql, words) in [
        ("UPDATE versions SET body = replace(body, '0.93', '0.99')", "its content has"),
        ("UPDATE versions SET body = '{'", "intent@v1"),
        ("UPDATE versions SET body = replace(body, '\"format\":1', '\"format\":7')", "format is 7"),
        ("UPDATE versions SET digest = replace(digest, substr(digest, 1, 2), 'zz')", "zz"),
        ("DELETE FROM version_blobs", "list of blobs"),
        ("UPDATE aliases SET version = 9", "v9 does not exist"),
        ("UPDATE alias_moves SET revision = 5", "history"),
        ("DELETE FROM alias_moves", "history"),
    ] {
        let (world, _) = sound_world();
        tamper(&world, sql);
        assert_noticed(&world, words);
    }
}

#[test]
fn what_is_left_of_interrupted_work_is_a_note_and_no_problem() {
    let (world, _) = sound_world();
    fs::write(world.registry.folder().join("blobs/tmp/9-9-9.tmp"), "half").unwrap();
    fs::create_dir(world.registry.folder().join("checkouts/.abc.9-9.tmp")).unwrap();
    let diagnosis = examine(&world);
    assert!(diagnosis.is_sound());
    assert_eq!(diagnosis.notes.len(), 2, "{:?}", diagnosis.notes);
}
