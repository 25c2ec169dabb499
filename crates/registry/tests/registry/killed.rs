//! `kill -9` at any moment. The child is this very test program, running [`child`].
//!
//! This shows that no order of operations leaves a half-done state. It cannot show what a power
//! failure does; against that, files and folders are synced before they are named.

use crate::support::{artefact, assert_sound, pass, release, what};
use rand::Rng;
use sprat_registry::{Expect, GcOptions, Limits, Registry};
use sprat_task::{Interrupt, Quiet, SystemClock, random};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const FOLDER: &str = "SPRAT_TEST_KILLED_FOLDER";
const NAME: &str = "SPRAT_TEST_KILLED_NAME";

fn open(folder: &Path) -> Registry {
    Registry::open(&folder.join(".sprat"), Arc::new(SystemClock)).unwrap()
}

/// Releases, promotes, rolls back, exports, imports and collects until it is killed, and writes
/// down what it was told to be done.
#[test]
#[ignore = "the child of the test below"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let name = std::env::var(NAME).unwrap();
    let registry = open(&folder);
    let work = folder.join(format!("work-{name}"));
    let mut done = File::options()
        .create(true)
        .append(true)
        .open(folder.join(format!("done-{name}")))
        .unwrap();
    for round in 0_u64.. {
        let weights = format!("{name} {round} ").repeat(3000);
        let files: [(&str, &[u8]); 2] = [("classifier.json", b"{}"), ("w", weights.as_bytes())];
        let folder = artefact(&work.join("artefact"), &files);
        let version = release(&registry, &folder, None).unwrap().version;
        // One write each: a line is there or not, whenever the child is killed.
        done.write_all(format!("version {}\n", version.digest).as_bytes()).unwrap();
        let moved = registry.promote(&version, "production", Expect::Any, &name, "").unwrap();
        if let Some(moved) = moved {
            done.write_all(format!("revision {}\n", moved.revision).as_bytes()).unwrap();
        }
        if round % 3 == 1 {
            // The other child may be faster, or there may be nothing to go back to.
            let _ = registry.rollback("intent", "production", &name, "");
        }
        if round % 4 == 2 {
            registry.checkout(&version).unwrap();
            let archive = work.join("archive.tar");
            let (quiet, limits) = (Interrupt::default(), Limits::default());
            registry.export(&version, &archive, &Quiet, &quiet).unwrap();
            registry.import(&archive, &limits, &Quiet, &quiet).unwrap();
        }
        if round % 5 == 3 {
            let grace = Duration::ZERO;
            registry.gc(&GcOptions { grace, dry_run: false }).unwrap();
        }
    }
}

fn start(folder: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(NAME, name)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The numbers or digests of one kind that a child was told to be done.
fn told(folder: &Path, name: &str, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(format!("done-{name}"))).unwrap_or_default();
    let prefix = format!("{kind} ");
    text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[test]
fn killed_at_any_moment_the_registry_is_sound_and_keeps_what_it_promised() {
    let mut random = random::stream(7, "moments to kill at");
    let mut versions = 0;
    for fresh in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..6 {
            let mut children = [start(folder.path(), "a"), start(folder.path(), "b")];
            for child in &mut children {
                std::thread::sleep(Duration::from_millis(random.random_range(1..120)));
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let registry = open(folder.path());
            assert_sound(&registry);
            for name in ["a", "b"] {
                let known = registry.versions(None).unwrap();
                for digest in told(folder.path(), name, "version") {
                    let kept = known.iter().any(|version| version.digest.to_string() == digest);
                    assert!(kept, "{name} was told that {digest} is released");
                }
                let revision = registry.alias("intent", "production").unwrap();
                let revision = revision.map_or(0, |alias| alias.revision);
                for told in told(folder.path(), name, "revision") {
                    assert!(told.parse::<u64>().unwrap() <= revision);
                }
            }
        }
        // Work goes on as if nothing had happened, and gc clears up.
        let registry = open(folder.path());
        let last = artefact(&folder.path().join("last"), &[("w", format!("{fresh}").as_bytes())]);
        let quiet = Interrupt::default();
        registry.release(&what(&last, None), &pass(&last), &Quiet, &quiet).unwrap();
        registry.gc(&GcOptions { grace: Duration::ZERO, dry_run: false }).unwrap();
        let diagnosis = registry.doctor(&Quiet, &quiet).unwrap();
        assert!(diagnosis.is_sound() && diagnosis.notes.is_empty(), "{diagnosis:#?}");
        versions += registry.versions(None).unwrap().len();
    }
    assert!(versions > 8, "the children were killed before they did anything: {versions}");
}
