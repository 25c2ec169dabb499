//! Whole runs on a tiny random encoder: what a folder holds afterwards, and that nothing
//! (threads, kills, a second process) changes a bit of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use sprat_model::{BaseModel, Classifier};
use sprat_task::settings::{Method, Precision, Span};
use sprat_task::{Digest, Interrupt, Progress, Quiet, Result};
use sprat_train::{Job, MODEL_FOLDER, Outcome, Recipe, Settings, search, train, tune};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

type Examples = Vec<(String, usize)>;

/// Animals, colours and weather, told apart by one word among others.
fn examples(count: usize, from: usize) -> Examples {
    let kinds = [["red", "green", "blue"], ["cat", "dog", "bird"], ["rain", "snow", "wind"]];
    let fill = ["one", "two", "three", "north", "south"];
    (from..from + count)
        .map(|at| {
            let word = kinds[at % 3][at / 3 % 3];
            let mut words: Vec<&str> = (0..1 + at % 4).map(|i| fill[(at + i * 2) % 5]).collect();
            words.insert(at % words.len().max(1), word);
            (words.join(" "), at % 3)
        })
        .collect()
}

struct Bench {
    folder: tempfile::TempDir,
    train: Examples,
    valid: Examples,
    labels: Vec<String>,
    base_model: BaseModel,
    interrupt: Interrupt,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        sprat_model::tiny::write(&folder.path().join("base"), 5).unwrap();
        Bench {
            folder,
            train: examples(60, 0),
            valid: examples(24, 61),
            labels: ["colour", "animal", "weather"].map(str::to_owned).to_vec(),
            base_model: BaseModel { reference: "file:tiny".into(), digest: "tiny-5".into() },
            interrupt: Interrupt::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, recipe: &Recipe, progress: &dyn Progress) -> Result<Outcome> {
        let (base, folder) = (self.path("base"), self.path(name));
        tune(&self.job(&base, &folder, recipe, progress))
    }

    fn job<'a>(
        &'a self,
        base: &'a Path,
        folder: &'a Path,
        recipe: &'a Recipe,
        progress: &'a dyn Progress,
    ) -> Job<'a> {
        Job {
            base,
            base_model: &self.base_model,
            train: &self.train,
            valid: &self.valid,
            labels: &self.labels,
            recipe,
            folder,
            cache: None,
            progress,
            interrupt: &self.interrupt,
        }
    }

    /// The digest of every file of the classifier.
    fn bits(&self, name: &str) -> Vec<(String, Digest)> {
        let mut files: Vec<_> = walk(&self.path(name).join(MODEL_FOLDER));
        files.sort();
        files
            .into_iter()
            .map(|path| (path.display().to_string(), Digest::of(&std::fs::read(&path).unwrap())))
            .map(|(path, digest)| (path.rsplit('/').next().unwrap().to_owned(), digest))
            .collect()
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn recipe(method: Method) -> Recipe {
    Recipe {
        method,
        rank: 4,
        alpha: 8.0,
        batch: 8,
        epochs: 4.0,
        learning_rate: Some(if method == Method::Full { 4e-3 } else { 1e-2 }),
        eval_every: Some(4),
        patience: 100,
        ..Recipe::default()
    }
}

#[test]
fn every_method_learns_and_leaves_a_classifier_that_opens() {
    let bench = Bench::new();
    for method in [Method::Head, Method::Lora, Method::Full] {
        let name = format!("{method:?}");
        let recipe = Recipe { epochs: 40.0, ..recipe(method) };
        let outcome = bench.run(&name, &recipe, &Quiet).unwrap();
        // The encoder is random: a head alone beats chance, the others find the words.
        let least = if method == Method::Head { 0.45 } else { 0.8 };
        assert!(outcome.validation.accuracy > least, "{name}: {:?}", outcome.validation);
        assert!(outcome.validation.brier <= outcome.frozen_head.brier + 0.02);
        assert_eq!(Outcome::read(&bench.path(&name)).unwrap(), outcome);
        let base = bench.path("base");
        let folder = bench.path(&name).join(MODEL_FOLDER);
        let classifier = Classifier::open(&folder, Some(&base)).unwrap();
        let texts: Vec<&str> = bench.valid.iter().map(|(text, _)| text.as_str()).collect();
        let right = classifier.predict(&texts).unwrap();
        let right = right.iter().zip(&bench.valid).filter(|(p, (_, gold))| p.best().0 == *gold);
        let accuracy = right.count() as f64 / texts.len() as f64;
        assert_eq!(accuracy, outcome.validation.accuracy, "measured as served");
        assert_eq!(f64::from(classifier.manifest().temperature as f32), {
            f64::from(outcome.temperature as f32)
        });
        let share = outcome.trainable_share();
        assert!(share > 0.0 && (share < 1.0) == (method != Method::Full), "{name}: {share}");
        assert!(!bench.path(&name).join("checkpoint").exists(), "no checkpoint is left over");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let bench = Bench::new();
    for method in [Method::Lora, Method::Full] {
        let mut runs = Vec::new();
        for threads in [1, 2] {
            sprat_nn::threads::set_threads(threads);
            let name = format!("{method:?}-{threads}");
            bench.run(&name, &recipe(method), &Quiet).unwrap();
            runs.push(bench.bits(&name));
        }
        assert_eq!(runs[0], runs[1], "{method:?}");
    }
}

#[test]
fn seeds_and_precisions_change_the_result() {
    let bench = Bench::new();
    let runs = [(0, Precision::Bf16), (1, Precision::Bf16), (0, Precision::F32)].map(
        |(seed, precision)| {
            let name = format!("{seed}-{precision:?}");
            let recipe = Recipe { seed, precision, ..recipe(Method::Lora) };
            bench.run(&name, &recipe, &Quiet).unwrap();
            bench.bits(&name)
        },
    );
    assert!(runs[0] != runs[1] && runs[0] != runs[2]);
}

#[test]
fn a_finished_run_is_not_repeated() {
    let bench = Bench::new();
    let first = bench.run("a", &recipe(Method::Lora), &Quiet).unwrap();
    let again = bench.run("a", &recipe(Method::Lora), &Quiet).unwrap();
    assert_eq!(first, again, "also the seconds: it is the same record");
    let other = bench.run("a", &Recipe { seed: 3, ..recipe(Method::Lora) }, &Quiet).unwrap();
    assert_ne!(first.run, other.run, "another recipe is another run");
}

/// Asks for a stop after so many calls of `advance`.
struct StopAfter(AtomicU64, Interrupt);

impl Progress for StopAfter {
    fn start(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn advance(&self, _: u64) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.request();
        }
    }
    fn note(&self, _: &str) {}
    fn finish(&self) {}
}

#[test]
fn stopped_anywhere_a_run_goes_on_to_the_same_bits() {
    let mut bench = Bench::new();
    for method in [Method::Head, Method::Lora, Method::Full] {
        let whole = format!("{method:?}-whole");
        bench.run(&whole, &recipe(method), &Quiet).unwrap();
        for stop in [1, 5, 13, 17, 22] {
            let name = format!("{method:?}-{stop}");
            let mut stops = 0;
            loop {
                bench.interrupt = Interrupt::default();
                // Later rounds get further, since a stop before the loop leaves no checkpoint.
                let left = AtomicU64::new(stop + 7 * stops);
                let progress = StopAfter(left, bench.interrupt.clone());
                match bench.run(&name, &recipe(method), &progress) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.code().id, "SPRAT-INTERRUPTED"),
                }
                stops += 1;
            }
            assert_eq!(bench.bits(&name), bench.bits(&whole), "{name}, {stops} stops");
        }
        bench.interrupt = Interrupt::default();
    }
}

#[test]
fn an_unfinished_run_of_something_else_is_not_overwritten() {
    let mut bench = Bench::new();
    let progress = StopAfter(AtomicU64::new(20), bench.interrupt.clone());
    bench.run("a", &recipe(Method::Lora), &progress).unwrap_err();
    bench.interrupt = Interrupt::default();
    let other = Recipe { rank: 2, ..recipe(Method::Lora) };
    let error = bench.run("a", &other, &Quiet).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-OTHER-RUN");
    bench.run("a", &recipe(Method::Lora), &Quiet).unwrap();
}

#[test]
fn data_that_cannot_be_trained_on_is_refused() {
    let id = |bench: &Bench| bench.run("a", &recipe(Method::Head), &Quiet).unwrap_err().code().id;
    let mut bench = Bench::new();
    bench.valid.clear();
    assert_eq!(id(&bench), "SPRAT-TRAIN-DATA");
    let mut bench = Bench::new();
    bench.train.retain(|(_, class)| *class != 1);
    let error = bench.run("a", &recipe(Method::Head), &Quiet).unwrap_err();
    assert!(error.what().contains("`animal`"), "{error}");
    let mut bench = Bench::new();
    bench.train[0].1 = 3;
    assert_eq!(id(&bench), "SPRAT-TRAIN-DATA");
    let mut bench = Bench::new();
    bench.labels.truncate(1);
    assert_eq!(id(&bench), "SPRAT-TRAIN-DATA");
    let bench = Bench::new();
    let recipe = Recipe { targets: vec!["gate".into()], ..recipe(Method::Lora) };
    let error = bench.run("a", &recipe, &Quiet).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-RECIPE");
    assert!(error.remedy().contains("attention_output"), "{}", error.remedy());
}

fn searched() -> Recipe {
    Recipe { budget: Some(Span::seconds(600)), epochs: 3.0, ..recipe(Method::Lora) }
}

#[test]
fn a_search_records_its_trials_and_the_final_run_can_be_reproduced_without_it() {
    let bench = Bench::new();
    let outcome = bench.run("a", &searched(), &Quiet).unwrap();
    let found = outcome.search.clone().unwrap();
    assert!(found.trials.len() >= 7 && !found.cut, "{found:?}");
    let Settings { learning_rate, rank, .. } = found.chosen.unwrap();
    assert_eq!((outcome.recipe.learning_rate, outcome.recipe.rank), (Some(learning_rate), rank));
    let again = bench.run("b", &Recipe { budget: None, ..outcome.recipe.clone() }, &Quiet).unwrap();
    assert_eq!((again.run, bench.bits("b")), (outcome.run, bench.bits("a")));
    assert!(!bench.path("a").join("trials").exists());
    assert_eq!(bench.run("a", &searched(), &Quiet).unwrap(), outcome, "done is done");
}

#[test]
fn a_search_that_was_stopped_goes_on_where_it_was() {
    let mut bench = Bench::new();
    let whole = bench.run("whole", &searched(), &Quiet).unwrap().search.unwrap();
    let mut stops = 0;
    let found = loop {
        bench.interrupt = Interrupt::default();
        let progress = StopAfter(AtomicU64::new(45), bench.interrupt.clone());
        match bench.run("a", &searched(), &progress) {
            Ok(outcome) => break outcome.search.unwrap(),
            Err(error) => assert_eq!(error.code().id, "SPRAT-INTERRUPTED"),
        }
        stops += 1;
    };
    let tried = |found: &sprat_train::Found| {
        found.trials.iter().map(|trial| (trial.settings, trial.metrics)).collect::<Vec<_>>()
    };
    assert!(stops > 2);
    assert_eq!(tried(&found), tried(&whole));
    assert_eq!(bench.bits("a"), bench.bits("whole"));
}

#[test]
fn a_budget_of_nothing_still_makes_one_trial() {
    let bench = Bench::new();
    let recipe = searched();
    let (base, folder) = (bench.path("base"), bench.path("a"));
    let job = bench.job(&base, &folder, &recipe, &Quiet);
    let (chosen, found) = search(&job, Duration::ZERO).unwrap();
    assert!(found.cut && found.trials.len() == 1 && found.trials[0].cut, "{found:?}");
    assert_eq!(chosen.epochs, recipe.epochs);
}

/// The environment variable by which the tests below start themselves as another process.
const CHILD: &str = "SPRAT_TRAIN_RUNS_CHILD";

fn child(test: &str, folder: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn slow() -> Recipe {
    Recipe { epochs: 40.0, checkpoint_every: Span::seconds(0), ..recipe(Method::Lora) }
}

#[test]
fn killed_again_and_again_a_run_ends_with_the_same_bits() {
    let mut bench = Bench::new();
    if let Some(folder) = std::env::var_os(CHILD) {
        let (base, folder) = (Path::new(&folder).join("base"), Path::new(&folder).join("killed"));
        let recipe = slow();
        train(&bench.job(&base, &folder, &recipe, &Quiet)).unwrap();
        return;
    }
    bench.interrupt = Interrupt::default();
    bench.run("whole", &slow(), &Quiet).unwrap();
    let mut kills = 0;
    for round in 0u64.. {
        assert!(round < 200, "the run ends");
        let name = "killed_again_and_again_a_run_ends_with_the_same_bits";
        let mut child = child(name, bench.folder.path());
        // A different moment each time, and longer in time: the head comes first each time.
        std::thread::sleep(Duration::from_millis(60 + round * 37 % 90 + round * 3));
        kills += u64::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        if bench.path("killed").join("run.json").exists() {
            break;
        }
    }
    assert!(kills > 0, "at least one run was killed in the middle");
    assert_eq!(bench.bits("killed"), bench.bits("whole"));
}

#[test]
fn two_runs_in_one_folder_at_once_are_one_too_many() {
    let bench = Bench::new();
    if let Some(folder) = std::env::var_os(CHILD) {
        let (base, folder) = (Path::new(&folder).join("base"), Path::new(&folder).join("killed"));
        let recipe = Recipe { epochs: 5000.0, ..slow() };
        let _ = train(&bench.job(&base, &folder, &recipe, &Quiet));
        return;
    }
    let name = "two_runs_in_one_folder_at_once_are_one_too_many";
    let mut child = child(name, bench.folder.path());
    let checkpoint = bench.path("killed").join("checkpoint");
    for _ in 0..500 {
        if checkpoint.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(checkpoint.exists(), "the other process is at work");
    let error = bench.run("killed", &slow(), &Quiet).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(error.code().id, "SPRAT-TRAIN-LOCKED");
    assert!(error.reason().unwrap().contains(&child.id().to_string()), "{error}");
}
