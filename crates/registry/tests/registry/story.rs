//! A task's life: released, promoted, replaced, rolled back, looked at.

use crate::support::{World, artefact, pass, release, what};
use serde_json::json;
use sprat_registry::{DEFAULT_ALIAS, Expect, LogEntry, Registry, Tree, Via, diff};
use sprat_task::{Digest, Interrupt, Quiet, SystemClock};
use std::fs;
use std::sync::Arc;

#[test]
fn a_task_is_released_promoted_improved_and_rolled_back() {
    for world in [World::new(), World::in_memory()] {
        let registry = &world.registry;
        assert_eq!(registry.resolve("intent").unwrap_err().code().id, "SPRAT-REGISTRY-UNKNOWN");

        let one = world.release("one");
        assert_eq!(one.to_string(), "intent@v1");
        assert_eq!(registry.resolve("intent").unwrap().via, Via::Latest);
        let moved = registry.promote(&one, DEFAULT_ALIAS, Expect::Unset, "ann", "first").unwrap();
        assert_eq!(moved.unwrap().from, None);

        let folder = world.artefact("two", &[("classifier.json", b"{}"), ("head.bin", b"better")]);
        let two = release(registry, &folder, Some(one.digest)).unwrap().version;
        let resolved = registry.resolve("intent").unwrap();
        assert_eq!(resolved.version, one, "a release alone changes nothing for its users");
        assert_eq!(resolved.via, Via::Alias("production".into()));
        registry.promote(&two, DEFAULT_ALIAS, Expect::Version(1), "ann", "better").unwrap();
        assert_eq!(registry.resolve("intent").unwrap().version, two);
        assert_eq!(registry.resolve("intent@v1").unwrap().version, one);
        assert_eq!(registry.resolve("intent@1").unwrap().via, Via::Number);
        let prefix = format!("intent@{}", two.digest.short());
        assert_eq!(registry.resolve(&prefix).unwrap().version, two);
        assert_eq!(registry.lineage(&two).unwrap()[0].version.as_ref(), Some(&one));

        let back = registry.rollback("intent", DEFAULT_ALIAS, "bob", "complaints").unwrap();
        assert_eq!((back.from, back.to, back.kind.as_str()), (Some(2), 1, "rollback"));
        assert_eq!(registry.resolve("intent@production").unwrap().version, one);
        let error = registry.rollback("intent", DEFAULT_ALIAS, "bob", "more").unwrap_err();
        assert_eq!(error.code().id, "SPRAT-REGISTRY-NO-PREVIOUS");

        let split = Digest::of(b"split");
        registry.record_opening("intent", &split, "release gate", "ann").unwrap();
        registry.record_event("intent", "alarm", &json!({"p": 0.01})).unwrap();
        let log = registry.log("intent").unwrap();
        let kinds: Vec<&str> = log
            .iter()
            .map(|entry| match entry {
                LogEntry::Version(_) => "version",
                LogEntry::Move(_) => "move",
                LogEntry::Opening(_) => "opening",
                LogEntry::Event(_) => "event",
            })
            .collect();
        let story = ["version", "move", "version", "move", "move", "opening", "event"];
        assert_eq!(kinds, story, "in the order in which it happened");
        world.assert_sound();
    }
}

#[test]
fn rolling_back_goes_down_the_promotions_still_in_force() {
    let world = World::new();
    let versions: Vec<_> = ["a", "b", "c", "d"].map(|content| world.release(content)).into();
    let promote = |number: usize| {
        let version = &versions[number - 1];
        world.registry.promote(version, "production", Expect::Any, "ann", "").unwrap();
    };
    let back = || world.registry.rollback("intent", "production", "ann", "").unwrap().to;
    (1..=3).for_each(promote);
    assert_eq!(back(), 2);
    promote(4);
    assert_eq!((back(), back()), (2, 1), "3 was taken back before");
    assert!(world.registry.rollback("intent", "production", "ann", "").is_err());
    assert_eq!(world.registry.moves("intent", None).unwrap().len(), 7);
    world.assert_sound();
}

#[test]
fn a_stale_expectation_moves_nothing() {
    let world = World::new();
    let (one, two) = (world.release("one"), world.release("two"));
    let promote = |version, expect| world.registry.promote(version, "production", expect, "a", "");
    promote(&one, Expect::Unset).unwrap();
    for stale in [Expect::Unset, Expect::Version(2), Expect::Revision(0)] {
        let error = promote(&two, stale).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-REGISTRY-CONFLICT");
        assert!(error.to_string().contains("v1"), "{error}");
    }
    assert_eq!(promote(&one, Expect::Any).unwrap(), None, "it points there already");
    promote(&two, Expect::Revision(1)).unwrap().unwrap();
    let back = |expect| world.registry.rollback_from("intent", "production", expect, "a", "");
    let error = back(Expect::Revision(1)).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-REGISTRY-CONFLICT");
    assert_eq!(world.registry.moves("intent", None).unwrap().len(), 2);
    assert_eq!(back(Expect::Revision(2)).unwrap().to, 1);
}

#[test]
fn the_same_content_is_the_same_version_and_any_change_is_another() {
    let world = World::new();
    let folder = world.artefact("same", &[("head.bin", b"w")]);
    let first = release(&world.registry, &folder, None).unwrap();
    let again = release(&world.registry, &folder, None).unwrap();
    assert!(first.new && !again.new);
    assert_eq!(first.version, again.version);
    let mut other = what(&folder, None);
    other.settings = json!({"lora": {"rank": 8}, "rate": 2e-4});
    let gate = pass(&folder);
    let quiet = Interrupt::default();
    let other = world.registry.release(&other, &gate, &Quiet, &quiet).unwrap();
    assert!(other.new);
    let found = diff(&first.version.content, &other.version.content);
    assert_eq!(found.settings.len(), 1);
    assert_eq!(
        (found.settings[0].path.as_str(), found.settings[0].delta),
        ("lora.rank", Some(-8.0))
    );
    assert!(!found.same_inputs() && found.files.is_empty() && found.metrics.is_empty());
    assert!(diff(&first.version.content, &again.version.content).is_empty());
}

#[test]
fn a_gate_lets_only_the_artefact_pass_that_it_judged() {
    let world = World::new();
    let judged = world.artefact("judged", &[("head.bin", b"good")]);
    let gate = pass(&judged);
    fs::write(judged.join("head.bin"), "other").unwrap();
    let quiet = Interrupt::default();
    let error = world.registry.release(&what(&judged, None), &gate, &Quiet, &quiet).unwrap_err();
    assert_eq!((error.code().id, error.code().kind.exit_code()), ("SPRAT-REGISTRY-GATE", 3));
    assert!(world.registry.versions(None).unwrap().is_empty());
}

#[test]
fn an_interrupted_release_leaves_no_version() {
    let world = World::new();
    let folder = world.artefact("new", &[("head.bin", b"w")]);
    let interrupt = Interrupt::default();
    interrupt.request();
    let gate = pass(&folder);
    let error = world.registry.release(&what(&folder, None), &gate, &Quiet, &interrupt);
    assert_eq!(error.unwrap_err().code().id, "SPRAT-INTERRUPTED");
    assert!(world.registry.versions(None).unwrap().is_empty());
    world.assert_sound();
}

#[test]
fn a_checkout_has_the_files_and_is_made_once() {
    let world = World::new();
    let version = world.release("weights");
    let folder = world.registry.checkout(&version).unwrap();
    assert_eq!(fs::read(folder.join("weights/head.bin")).unwrap(), b"weights");
    assert_eq!(Tree::of_folder(&folder).unwrap(), version.content.artefact);
    assert_eq!(world.registry.checkout(&version).unwrap(), folder);
    fs::remove_file(folder.join("classifier.json")).unwrap();
    world.registry.checkout(&version).unwrap();
    assert!(folder.join("classifier.json").exists(), "an incomplete one is made again");
    let elsewhere = world.folder.path().join("elsewhere");
    world.registry.materialise(&version, &elsewhere).unwrap();
    let error = world.registry.materialise(&version, &elsewhere).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-REGISTRY-CHECKOUT");
    world.assert_sound();
}

#[test]
fn many_who_check_out_at_once_all_get_the_whole() {
    let world = World::new();
    let version = world.release(&"x".repeat(100));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let folder = world.registry.checkout(&version).unwrap();
                assert_eq!(Tree::of_folder(&folder).unwrap(), version.content.artefact);
            });
        }
    });
    let checkouts = fs::read_dir(world.registry.folder().join("checkouts")).unwrap();
    assert_eq!(checkouts.count(), 1, "nothing is left of those that came second");
}

#[test]
fn finished_steps_are_found_again_by_their_inputs() {
    let world = World::new();
    let (inputs, outputs) = (Digest::of(b"in"), Digest::of(b"out"));
    assert_eq!(world.registry.step("tune", &inputs).unwrap(), None);
    let summary = json!({"loss": 0.25});
    world.registry.record_step("tune", &inputs, &outputs, &summary).unwrap();
    let again = Registry::open(world.registry.folder(), Arc::new(SystemClock)).unwrap();
    let found = again.step("tune", &inputs).unwrap().unwrap();
    assert_eq!((found.outputs, found.summary), (outputs, summary));
    assert_eq!(again.steps().unwrap().len(), 1);
    assert!(again.forget_step("tune", &inputs).unwrap());
    assert_eq!(again.step("tune", &inputs).unwrap(), None);
}

#[test]
fn a_reference_that_names_nothing_says_what_there_is() {
    let world = World::new();
    let version = world.release("one");
    world.registry.promote(&version, "canary", Expect::Any, "ann", "").unwrap();
    let code = |reference: &str| world.registry.resolve(reference).unwrap_err().code().id;
    for unknown in ["other", "intent@v9", "intent@production", "intent@000000", "other@latest"] {
        assert_eq!(code(unknown), "SPRAT-REGISTRY-UNKNOWN", "{unknown}");
    }
    for malformed in ["", "@", "intent@", "intent@a@b", "../x", "intent@ "] {
        assert_eq!(code(malformed), "SPRAT-REGISTRY-NAME", "{malformed}");
    }
    let error = world.registry.resolve("intent@production").unwrap_err();
    assert!(error.to_string().contains("canary"), "{error}");
    let error = world.registry.promote(&version, "v2", Expect::Any, "ann", "").unwrap_err();
    assert_eq!(error.code().id, "SPRAT-REGISTRY-NAME");
}

#[test]
fn an_artefact_that_cannot_be_released_is_refused() {
    let world = World::new();
    let folder = world.artefact("fine", &[("head.bin", b"w")]);
    let gate = pass(&folder);
    let empty = artefact(&world.folder.path().join("empty"), &[]);
    fs::create_dir_all(&empty).unwrap();
    for bad in [empty, world.folder.path().join("absent")] {
        let quiet = Interrupt::default();
        let error = world.registry.release(&what(&bad, None), &gate, &Quiet, &quiet).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-REGISTRY-ARTEFACT");
    }
}
