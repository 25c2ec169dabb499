//! A disk that fills up in the middle of a release: a file system of 4 MiB in a namespace of its
//! own, with this very test program inside, running [`child`].

use crate::support::{artefact, assert_sound, release};
use sprat_registry::{Expect, Registry};
use sprat_task::SystemClock;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const FOLDER: &str = "SPRAT_TEST_FULL_FOLDER";

/// Writes until nothing more fits, then gives `spare` bytes back.
fn fill(path: &Path, spare: u64) {
    let mut file = File::create(path).unwrap();
    for size in [65_536, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(spare)).unwrap();
}

#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Some(disk) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    // The artefacts lie elsewhere: only the registry's disk is full.
    let elsewhere = tempfile::tempdir().unwrap();
    let make = |name: &str, size: usize| {
        artefact(&elsewhere.path().join(name), &[("w", name.repeat(size).as_bytes())])
    };
    let registry = Registry::open(&disk.join(".sprat"), Arc::new(SystemClock)).unwrap();
    let first = release(&registry, &make("first", 10_000), None).unwrap().version;
    registry.promote(&first, "production", Expect::Any, "ann", "").unwrap();

    // Room for rows, none for the artefact.
    fill(&disk.join("filler"), 512 << 10);
    let error = release(&registry, &make("large", 200_000), None).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-STORE-FULL", "{error}");
    assert!(registry.blobs().leftovers().unwrap().is_empty());
    assert_sound(&registry);

    // Room for some small artefacts, until rows do not fit either.
    fill(&disk.join("filler"), 100 << 10);
    let released = (0..1000).take_while(|at| {
        let outcome = release(&registry, &make(&format!("small-{at}"), 1), None);
        if let Err(why) = &outcome {
            let id = why.code().id;
            assert!(matches!(id, "SPRAT-STORE-FULL" | "SPRAT-STORE-FILE"), "{why}");
        }
        outcome.is_ok()
    });
    let released = released.count();
    assert!(released < 1000, "the disk did not fill up");
    assert_eq!(registry.resolve("intent").unwrap().version, first, "reading goes on");
    assert_eq!(registry.versions(None).unwrap().len(), 1 + released);
    assert_sound(&registry);

    // With room again, the same release succeeds.
    fs::remove_file(disk.join("filler")).unwrap();
    release(&registry, &make("large", 200_000), None).unwrap();
    let again = Registry::open(&disk.join(".sprat"), Arc::new(SystemClock)).unwrap();
    assert_eq!(again.versions(None).unwrap().len(), 2 + released);
    assert_sound(&again);
    println!("all well");
}

#[test]
fn a_full_disk_refuses_the_release_and_loses_nothing() {
    let disk = tempfile::tempdir().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(disk.path()).arg(std::env::current_exe().unwrap()).env(FOLDER, disk.path());
        command
    };
    let mount = "mount -t tmpfs -o size=4m tmpfs \"$1\"";
    if !inside(mount).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED the full disk: this machine cannot mount one without being root");
        return;
    }
    let run = format!("{mount} && exec \"$2\" --exact full_disk::child --ignored --nocapture");
    let output = inside(&run).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all well"), "{said}\n{complained}");
}
