//! Whole runs on a tiny random decoder: what a folder holds afterwards, and that nothing (threads,
//! memory, stops, kills) changes a bit of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use sprat_model::BaseModel;
use sprat_model::Format;
use sprat_model::decoder::{Decoder, DecoderAdapter, tiny};
use sprat_task::settings::{ClassWeights, Method, Precision, Span};
use sprat_task::{Interrupt, Progress, Quiet, Result};
use sprat_train::{
    DecoderJob, DecoderOutcome, MODEL_FOLDER, Memory, Recipe, TokenExample, replay, train_decoder,
    tune_decoder,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Three words, the question, and the words again in the order of their numbers.
fn examples(count: usize, from: usize) -> Vec<TokenExample> {
    let one = |at: usize| {
        let words = [5 + at % 4, 9 + at / 4 % 5, 14 + at / 20 % 6].map(|word| word as u32);
        let turned = at % 3;
        let mut ids = vec![1];
        ids.extend((0..3).map(|i| words[(i + turned) % 3]));
        ids.push(3);
        ids.extend(words);
        ids.push(2);
        TokenExample { answer: 5..ids.len(), ids }
    };
    (from..from + count).map(one).collect()
}

struct Bench {
    folder: tempfile::TempDir,
    train: Vec<TokenExample>,
    valid: Vec<TokenExample>,
    base_model: BaseModel,
    interrupt: Interrupt,
    memory: Memory,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        tiny::write(&folder.path().join("base"), 5).unwrap();
        Bench {
            folder,
            train: examples(60, 0),
            valid: examples(20, 61),
            base_model: BaseModel { reference: "file:tiny".into(), digest: "tiny-5".into() },
            interrupt: Interrupt::default(),
            memory: Memory::Normal,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, recipe: &Recipe, progress: &dyn Progress) -> Result<DecoderOutcome> {
        let (base, folder) = (self.path("base"), self.path(name));
        tune_decoder(&self.job(&base, &folder, recipe, progress))
    }

    fn job<'a>(
        &'a self,
        base: &'a Path,
        folder: &'a Path,
        recipe: &'a Recipe,
        progress: &'a dyn Progress,
    ) -> DecoderJob<'a> {
        DecoderJob {
            base,
            base_model: &self.base_model,
            train: &self.train,
            valid: &self.valid,
            ends: &[2],
            context: None,
            memory: self.memory,
            recipe,
            folder,
            progress,
            interrupt: &self.interrupt,
        }
    }

    /// The bytes of what was trained.
    fn bits(&self, name: &str) -> Vec<u8> {
        let folder = self.path(name).join(MODEL_FOLDER);
        let weights = ["adapter_model.safetensors", "model.safetensors"].map(|f| folder.join(f));
        std::fs::read(weights.iter().find(|path| path.exists()).unwrap()).unwrap()
    }
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
fn every_method_learns_and_leaves_what_is_served() {
    let bench = Bench::new();
    for method in [Method::Lora, Method::Full] {
        let name = format!("{method:?}");
        let recipe = Recipe { epochs: 30.0, precision: Precision::F32, ..recipe(method) };
        let outcome = bench.run(&name, &recipe, &Quiet).unwrap();
        let (before, after) = (outcome.untuned, outcome.validation);
        assert!(after.loss < 0.8 * before.loss, "{name}: {before:?}, then {after:?}");
        assert_eq!(DecoderOutcome::read(&bench.path(&name)).unwrap(), outcome);
        assert_eq!((outcome.train_tokens, after.tokens), (60 * 4, 20 * 4));
        let folder = bench.path(&name).join(MODEL_FOLDER);
        let share = outcome.trainable_parameters as f64 / outcome.total_parameters as f64;
        let found = match method {
            Method::Full => {
                assert_eq!(share, 1.0);
                let decoder = Decoder::open(&folder, Format::F32, None).unwrap();
                decoder.measure(&bench.valid, None, 100)
            }
            _ => {
                assert!(share < 0.5, "{share}");
                let decoder = Decoder::open(&bench.path("base"), Format::F32, None).unwrap();
                let adapter = DecoderAdapter::open(&folder, decoder.config()).unwrap();
                assert_eq!((adapter.base(), adapter.digest()), ("file:tiny", "tiny-5"));
                decoder.measure(&bench.valid, Some(&adapter), 100)
            }
        };
        let loss = found.loss / found.tokens as f64;
        assert!((loss - after.loss).abs() < 1e-9, "measured as served");
        // The loop's own measure is the same but for rounding.
        let best = outcome.history.iter().find(|point| point.step == outcome.best_step).unwrap();
        assert!((best.validation.unwrap().loss - after.loss).abs() < 1e-4);
        let base = bench.path("base");
        let job = bench.job(&base, &folder, &recipe, &Quiet);
        let again = replay(&job, &folder, &bench.valid).unwrap();
        let sum: f64 = again.iter().map(|example| example.loss).sum();
        assert!((sum / found.tokens as f64 - after.loss).abs() < 1e-4, "the trainer's own forward");
        assert!(!bench.path(&name).join("checkpoint").exists(), "no checkpoint is left over");
    }
}

#[test]
fn neither_threads_nor_memory_change_a_bit() {
    let mut bench = Bench::new();
    for method in [Method::Lora, Method::Full] {
        let mut runs = Vec::new();
        for (threads, memory) in [(1, Memory::Normal), (2, Memory::Normal), (2, Memory::Low)] {
            sprat_nn::threads::set_threads(threads);
            bench.memory = memory;
            let name = format!("{method:?}-{threads}-{memory:?}");
            bench.run(&name, &recipe(method), &Quiet).unwrap();
            runs.push(bench.bits(&name));
        }
        assert!(runs[0] == runs[1] && runs[1] == runs[2], "{method:?}");
    }
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
    for method in [Method::Lora, Method::Full] {
        let whole = format!("{method:?}-whole");
        bench.run(&whole, &recipe(method), &Quiet).unwrap();
        for stop in [2, 5, 13] {
            let name = format!("{method:?}-{stop}");
            let mut stops = 0;
            loop {
                bench.interrupt = Interrupt::default();
                let progress = StopAfter(AtomicU64::new(stop), bench.interrupt.clone());
                match bench.run(&name, &recipe(method), &progress) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.code().id, "SPRAT-INTERRUPTED"),
                }
                stops += 1;
            }
            assert!(stops > 0 && bench.bits(&name) == bench.bits(&whole), "{name}, {stops} stops");
        }
        bench.interrupt = Interrupt::default();
    }
}

/// The environment variable by which the test below starts itself as another process.
const CHILD: &str = "SPRAT_TRAIN_DECODER_CHILD";

#[test]
fn killed_again_and_again_a_run_ends_with_the_same_bits() {
    let bench = Bench::new();
    let slow = Recipe { epochs: 30.0, checkpoint_every: Span::seconds(0), ..recipe(Method::Lora) };
    if let Some(folder) = std::env::var_os(CHILD) {
        let (base, folder) = (Path::new(&folder).join("base"), Path::new(&folder).join("killed"));
        train_decoder(&bench.job(&base, &folder, &slow, &Quiet)).unwrap();
        return;
    }
    bench.run("whole", &slow, &Quiet).unwrap();
    let mut kills = 0;
    for round in 0u64.. {
        assert!(round < 200, "the run ends");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_again_and_again_a_run_ends_with_the_same_bits"])
            .env(CHILD, bench.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + round * 37 % 90 + round * 3));
        kills += u64::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
        if bench.path("killed").join("run.json").exists() {
            break;
        }
    }
    assert!(kills > 0, "at least one run was killed in the middle");
    assert!(bench.bits("killed") == bench.bits("whole"), "after {kills} kills");
}

#[test]
fn patience_ends_a_run_and_a_search_chooses_the_rate() {
    let bench = Bench::new();
    let hot =
        Recipe { learning_rate: Some(0.3), patience: 2, epochs: 50.0, ..recipe(Method::Lora) };
    let outcome = bench.run("hot", &hot, &Quiet).unwrap();
    assert!(outcome.steps < outcome.planned_steps, "{} steps", outcome.steps);
    let searched = Recipe { budget: Some(Span::seconds(600)), epochs: 3.0, ..recipe(Method::Lora) };
    let outcome = bench.run("searched", &searched, &Quiet).unwrap();
    let found = outcome.search.clone().unwrap();
    assert!(found.trials.len() >= 7 && !found.cut, "{found:?}");
    let chosen = found.chosen.unwrap();
    assert_eq!(outcome.recipe.learning_rate, Some(chosen.learning_rate));
    let again = Recipe { budget: None, ..outcome.recipe.clone() };
    let again = bench.run("again", &again, &Quiet).unwrap();
    assert_eq!(again.run, outcome.run);
    assert!(bench.bits("again") == bench.bits("searched"));
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_computed() {
    let mut bench = Bench::new();
    bench.train[7].ids[8] = 4;
    bench.train[9].answer = 5..5;
    let error = bench.run("a", &recipe(Method::Lora), &Quiet).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-EXAMPLES");
    let reason = error.reason().unwrap();
    assert!(reason.contains("no token carries loss in rows 9"), "{reason}");
    assert!(reason.contains("rows 7"), "{reason}");
    let bench = Bench::new();
    let short = Recipe { max_tokens: Some(8), ..recipe(Method::Lora) };
    let error = bench.run("a", &short, &Quiet).unwrap_err();
    assert!(error.reason().unwrap().contains("does not fit the context"), "{error}");
    let head = bench.run("a", &recipe(Method::Head), &Quiet).unwrap_err();
    assert_eq!(head.code().id, "SPRAT-TRAIN-RECIPE");
    for classifiers in [
        Recipe { class_weights: ClassWeights::Balanced, ..recipe(Method::Lora) },
        Recipe { head_rate: 0.1, ..recipe(Method::Lora) },
        Recipe { label_smoothing: 0.2, ..recipe(Method::Full) },
    ] {
        let error = bench.run("a", &classifiers, &Quiet).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-TRAIN-RECIPE");
    }
    let targets = Recipe { targets: vec!["intermediate".into()], ..recipe(Method::Lora) };
    let error = bench.run("a", &targets, &Quiet).unwrap_err();
    assert!(error.remedy().contains("gate"), "{}", error.remedy());
}

/// A GGUF file as base: adapters over its blocks.
#[test]
fn adapters_are_trained_over_the_blocks_of_a_gguf_file() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("SPRAT_SHARED").map_or(beside, PathBuf::from);
    let base = shared.join("models/aidreams260K/aidreams260K-q8_0.gguf");
    if !base.exists() {
        eprintln!("SKIPPED: no shared models at {}; set SPRAT_SHARED", shared.display());
        return;
    }
    let mut bench = Bench::new();
    let rising = |at: usize| {
        let start = 300 + (at * 37 % 150) as u32;
        TokenExample { ids: (0..24).map(|i| start + i).collect(), answer: 4..24 }
    };
    bench.train = (0..32).map(rising).collect();
    bench.valid = (40..48).map(rising).collect();
    let (folder, recipe) = (bench.path("gguf"), Recipe { epochs: 6.0, ..recipe(Method::Lora) });
    let job = DecoderJob { ends: &[], ..bench.job(&base, &folder, &recipe, &Quiet) };
    let outcome = tune_decoder(&job).unwrap();
    let (before, after) = (outcome.untuned.loss, outcome.validation.loss);
    assert!(after < 0.5 * before, "{before}, then {after}");
    let full = Recipe { method: Method::Full, ..recipe.clone() };
    let error = tune_decoder(&DecoderJob { recipe: &full, ..job }).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-TRAIN-RECIPE");
}
