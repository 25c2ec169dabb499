//! The promise of the loop: stopped or killed anywhere, it ends with the same bits.

use crate::fit::{Fitted, Plan, fit};
use crate::metrics::Metrics;
use crate::recipe::Recipe;
use crate::state::Checkpoints;
use crate::toy::{CLASSES, Toy};
use sprat_task::settings::Span;
use sprat_task::{Digest, Interrupt, Progress, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

fn recipe() -> Recipe {
    Recipe {
        batch: 8,
        epochs: 5.0,
        eval_every: Some(7),
        patience: 100,
        learning_rate: Some(0.05),
        checkpoint_every: Span::seconds(0),
        ..Recipe::default()
    }
}

/// Asks for a stop after so many steps.
struct StopAfter {
    left: AtomicU64,
    interrupt: Interrupt,
    skip: AtomicU64,
}

impl Progress for StopAfter {
    fn start(&self, _: &str, _: Option<u64>, _: &'static str) {
        // The next `advance` only tells how far an earlier run came.
        self.skip.store(1, Ordering::Relaxed);
    }
    fn advance(&self, _: u64) {
        if self.skip.swap(0, Ordering::Relaxed) == 0
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.interrupt.request();
        }
    }
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

fn train(
    toy: &mut Toy,
    folder: &Path,
    recipe: &Recipe,
    stop: u64,
) -> (Result<Fitted<Metrics>>, Vec<String>) {
    let interrupt = Interrupt::default();
    let progress = StopAfter {
        left: AtomicU64::new(stop),
        interrupt: interrupt.clone(),
        skip: AtomicU64::new(0),
    };
    let checkpoints = Checkpoints::new(folder, Digest::of(b"toy run"));
    let (lengths, gold) = (toy.lengths(), toy.gold());
    let plan = Plan {
        recipe,
        rate: recipe.learning_rate.unwrap(),
        lengths: &lengths,
        validated: gold.len(),
        checkpoints: &checkpoints,
        progress: &progress,
        interrupt: &interrupt,
        seconds: None,
    };
    let mut notes = Vec::new();
    (fit(toy, &plan, &mut notes), notes)
}

/// The record without the only field that the clock fills.
fn timeless(fitted: &Fitted<Metrics>) -> String {
    let mut history = fitted.history.clone();
    history.iter_mut().for_each(|point| point.seconds = 0.0);
    format!("{:?} {} {} {history:?}", fitted.best, fitted.steps, fitted.planned)
}

fn undisturbed(recipe: &Recipe) -> (Vec<u32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::new(1);
    let fitted = train(&mut toy, folder.path(), recipe, u64::MAX).0.unwrap();
    (toy.bits(), timeless(&fitted))
}

#[test]
fn training_learns() {
    let folder = tempfile::tempdir().unwrap();
    let fitted = train(&mut Toy::new(1), folder.path(), &recipe(), u64::MAX).0.unwrap();
    let first = fitted.history[0].validation.unwrap();
    assert!((first.loss - (CLASSES as f64).ln()).abs() < 1e-6, "untrained");
    assert!(fitted.best.metrics.refined_loss < 0.8 * first.refined_loss);
    assert_eq!((fitted.steps, fitted.planned), (60, 60));
}

#[test]
fn stopped_at_every_step_in_turn_it_ends_with_the_same_bits() {
    let expected = undisturbed(&recipe());
    for stop in [1, 2, 3, 6, 7, 8, 29, 59] {
        let folder = tempfile::tempdir().unwrap();
        // A stop every `stop` steps, each time a new process would find nothing but the folder.
        for round in 0.. {
            assert!(round < 100, "the run ends");
            let mut toy = Toy::new(1);
            match train(&mut toy, folder.path(), &recipe(), stop).0 {
                Ok(fitted) => {
                    assert_eq!((toy.bits(), timeless(&fitted)), expected, "a stop every {stop}");
                    break;
                }
                Err(error) => assert_eq!(error.code().id, "SPRAT-INTERRUPTED"),
            }
        }
    }
}

#[test]
fn patience_ends_a_run_and_the_best_weights_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        learning_rate: Some(3.0),
        patience: 3,
        epochs: 100.0,
        eval_every: Some(1),
        ..recipe()
    };
    let mut toy = Toy::new(1);
    let fitted = train(&mut toy, folder.path(), &recipe, u64::MAX).0.unwrap();
    assert_eq!(fitted.steps, fitted.best.step + 3);
    assert!(fitted.steps < fitted.planned);
    use crate::learner::Learner;
    let kept = toy.validate().unwrap();
    assert_eq!(kept, fitted.best.metrics);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before_it() {
    let expected = undisturbed(&recipe());
    let folder = tempfile::tempdir().unwrap();
    train(&mut Toy::new(1), folder.path(), &recipe(), 20).0.unwrap_err();
    let newest = folder.path().join("checkpoint");
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&newest, &bytes).unwrap();
    let mut toy = Toy::new(1);
    let (fitted, notes) = train(&mut toy, folder.path(), &recipe(), u64::MAX);
    assert_eq!((toy.bits(), timeless(&fitted.unwrap())), expected);
    assert!(notes.len() == 1 && notes[0].contains("checkpoint is damaged"), "{notes:?}");
}

#[test]
fn when_no_checkpoint_is_whole_the_error_says_so_and_nothing_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    train(&mut Toy::new(1), folder.path(), &recipe(), 20).0.unwrap_err();
    for name in ["checkpoint", "checkpoint.previous"] {
        std::fs::write(folder.path().join(name), b"SPRATCKP\x01\0\0\0 torn").unwrap();
    }
    let error = train(&mut Toy::new(1), folder.path(), &recipe(), 20).0.unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-CHECKPOINT");
    assert!(folder.path().join("checkpoint.previous").exists());
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(&mut Toy::new(1), folder.path(), &recipe(), 5).0.unwrap_err();
    let other = Checkpoints::new(folder.path(), Digest::of(b"another run"));
    let error = other.load(&mut Toy::new(1), &mut Vec::new()).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-OTHER-RUN");
}

#[test]
fn a_diverging_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe { learning_rate: Some(1e38), clip: 1e9, ..recipe() };
    let error = train(&mut Toy::new(1), folder.path(), &recipe, u64::MAX).0.unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-DIVERGED");
}

/// The environment variable by which the test below starts itself as a process to be killed.
const CHILD: &str = "SPRAT_TRAIN_TEST_CHILD";

#[test]
fn killed_again_and_again_it_ends_with_the_same_bits() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut toy = Toy::new(1);
        toy.pause = Duration::from_millis(2);
        train(&mut toy, Path::new(&folder), &recipe(), u64::MAX).0.unwrap();
        let bits: Vec<u8> = toy.bits().iter().flat_map(|bits| bits.to_le_bytes()).collect();
        sprat_task::write::bytes(&Path::new(&folder).join("done"), &bits).unwrap();
        return;
    }
    let (expected, _) = undisturbed(&recipe());
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let mut kills = 0;
    for round in 0u64.. {
        assert!(round < 300, "the run ends");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "resume_tests::killed_again_and_again_it_ends_with_the_same_bits"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A different moment each time; `kill` is SIGKILL on Unix.
        std::thread::sleep(Duration::from_millis(15 + round * 7 % 40));
        kills += u64::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        if done.exists() {
            break;
        }
    }
    assert!(kills > 0, "at least one run was killed in the middle");
    let bits: Vec<u8> = expected.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    assert_eq!(std::fs::read(&done).unwrap(), bits);
}
