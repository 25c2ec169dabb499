//! `bench-extraction`: how much of full fine-tuning's gain LoRA keeps when our small base learns to
//! extract, on SNIPS and restaurant8k.
//!
//! For each task and seed, training rows are drawn and the base is tuned twice: all weights, and
//! LoRA on all linear layers. The learning rate of each is the one of its ladder with the lowest
//! validation loss at the first seed. The test part, asked under the schema as it is
//! served, is measured once for each tuned model and for the base. Finished runs are kept in
//! `.cache/bench/extraction`: the program can be stopped and goes on.
//!
//! Options: `--seeds N` (3), `--rows N` to train on (2000), `--test N` rows at most (1000),
//! `--epochs N` (4), `--batch N` (8), `--rank N` of the adapters (32, their scale is always 2),
//! `--only snips|restaurant8k`, `--base FOLDER` (`models/sprat-base` as floats,
//! `benches/unpack_base.py`).

use serde_json::{Value, json};
use sprat_bench::closing_line;
use sprat_bench::extraction_tasks::{Row, Task, example};
use sprat_bench::sides::BENCH;
use sprat_eval::{Extracted, Extraction, extraction};
use sprat_infer::{
    Behaviour, Constraint, DecoderEngine, DecoderLimits, DecoderModel, Finish, Generator, Request,
};
use sprat_model::decoder::{DecoderAdapter, Memory, TokenExample};
use sprat_model::{BaseModel, Format, LanguageModel};
use sprat_task::settings::{ClassWeights, Method};
use sprat_task::{Digest, Error, Interrupt, Quiet, Result};
use sprat_train::{DecoderJob, DecoderOutcome, MODEL_FOLDER, Recipe, tune_decoder};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const VALID: usize = 300;
const ANSWER_TOKENS: usize = 160;

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

struct Options {
    seeds: u64,
    rows: usize,
    test: usize,
    epochs: f64,
    batch: usize,
    rank: usize,
    only: Option<String>,
    base: PathBuf,
}

impl Options {
    fn parse() -> Result<Self> {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/sprat-base");
        let mut options = Options {
            seeds: 3,
            rows: 2000,
            test: 1000,
            epochs: 4.0,
            batch: 8,
            rank: 32,
            only: None,
            base: cache,
        };
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(failed("an option has no value", &pair[0]));
            };
            let number = || value.parse::<usize>().map_err(|why| failed(name, why));
            match name.as_str() {
                "--seeds" => options.seeds = number()? as u64,
                "--rows" => options.rows = number()?,
                "--test" => options.test = number()?,
                "--epochs" => options.epochs = number()? as f64,
                "--batch" => options.batch = number()?,
                "--rank" => options.rank = number()?,
                "--only" => options.only = Some(value.clone()),
                "--base" => options.base = value.into(),
                _ => return Err(failed("unknown option", name)),
            }
        }
        Ok(options)
    }
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

/// A way to tune, with the learning rates it chooses from, in rising order. The two in the middle
/// are tried first, and the next one wherever the best of them stands at the edge.
const WAYS: [(&str, Method, [f64; 4]); 2] = [
    ("full", Method::Full, [2.5e-4, 5e-4, 1e-3, 2e-3]),
    ("lora", Method::Lora, [7.5e-4, 1.5e-3, 3e-3, 6e-3]),
];

fn bench(options: &Options) -> Result<()> {
    let mut shares = Vec::new();
    let mut valid = true;
    for name in ["snips", "restaurant8k"] {
        if options.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let mut task = Task::read(name)?;
        let all = task.test.len();
        let step = all.div_ceil(options.test.max(1)).max(1);
        task.test = task.test.into_iter().step_by(step).collect();
        println!(
            "{name}: {} rows to draw from, {} of {all} to test on",
            task.train.len(),
            task.test.len()
        );
        let base = Model { folder: options.base.clone(), adapter: None };
        let untuned = base.measure(&task)?;
        println!("  base, untuned: {}", words(&untuned));
        let mut found = Vec::new();
        for (way, method, rates) in WAYS {
            let mut rate = None;
            let mut gained = Vec::new();
            for seed in 0..options.seeds {
                let best = match rate {
                    Some(rate) => tuned(&task, options, way, method, rate, seed)?,
                    None => {
                        let run = |rate: f64| -> Result<(f64, (DecoderOutcome, Model))> {
                            let tuned = tuned(&task, options, way, method, rate, seed)?;
                            let run = &tuned.0;
                            println!(
                                "  {way} at {rate}: validation loss {:.4} after {} steps, {:.0} s",
                                run.validation.loss, run.steps, run.seconds
                            );
                            Ok((tuned.0.validation.loss, tuned))
                        };
                        let [lowest, low, high, highest] = rates;
                        let (low, high) = (run(low)?, run(high)?);
                        let (edge, inner) = match low.0 < high.0 {
                            true => (run(lowest)?, low),
                            false => (run(highest)?, high),
                        };
                        if edge.0 < inner.0 { edge.1 } else { inner.1 }
                    }
                };
                rate = best.0.recipe.learning_rate;
                let score = best.1.measure(&task)?;
                println!("  {way}, seed {seed}: {}", words(&score));
                valid &= score.valid.estimate == 1.0;
                gained.push(score.micro_f1.estimate);
            }
            found.push((way, gained));
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len().max(1) as f64;
        let before = untuned.micro_f1.estimate;
        let (full, lora) = (mean(&found[0].1), mean(&found[1].1));
        let share = (lora - before) / (full - before);
        println!(
            "  micro-F1: base {before:.4}, full {full:.4}, LoRA {lora:.4}: {share:.3} of the gain"
        );
        shares.push((name, before, full, lora, share));
    }
    let least = shares.iter().map(|(.., share)| *share).fold(f64::INFINITY, f64::min);
    let tasks: Vec<Value> = shares
        .iter()
        .map(|(name, base, full, lora, share)| {
            json!({ "task": name, "base": base, "full": full, "lora": lora, "share": share })
        })
        .collect();
    let extra = json!({ "tasks": tasks, "always_valid": valid, "aim": 0.9 });
    closing_line("extraction", least, 1.0, "share of full fine-tuning's gain in micro-F1", &extra);
    Ok(())
}

fn words(score: &Extraction) -> String {
    format!(
        "micro-F1 {:.4} [{:.4}, {:.4}], exact {:.1} %, valid {:.1} %",
        score.micro_f1.estimate,
        score.micro_f1.low,
        score.micro_f1.high,
        score.exact.estimate * 100.0,
        score.valid.estimate * 100.0
    )
}

/// A model to measure.
struct Model {
    folder: PathBuf,
    adapter: Option<PathBuf>,
}

impl Model {
    /// Asks the test part, greedily and under the schema.
    fn measure(&self, task: &Task) -> Result<Extraction> {
        let model = Arc::new(LanguageModel::open(&self.folder, Format::F32, None)?);
        let adapter = match &self.adapter {
            Some(folder) => Some(Arc::new(DecoderAdapter::open(folder, model.decoder().config())?)),
            None => None,
        };
        let limits = DecoderLimits { queue: task.test.len(), ..DecoderLimits::default() };
        let engine = Arc::new(DecoderEngine::start(task.name, model, limits)?);
        let behaviour = Behaviour {
            instruction: Some(task.instruction.to_owned()),
            constraint: Some(Constraint::JsonSchema(task.schema.clone())),
            max_tokens: ANSWER_TOKENS,
            temperature: 0.0,
            ..Behaviour::default()
        };
        let model = DecoderModel::new(task.name, engine, adapter, behaviour);
        let checks = jsonschema::validator_for(&task.schema)
            .map_err(|why| failed("the schema is wrong", why))?;
        let pending: Vec<_> =
            task.test.iter().map(|(text, _)| model.submit(Request::text(text))).collect();
        let (mut predicted, mut valid, mut gold) = (Vec::new(), Vec::new(), Vec::new());
        for (pending, (_, answer)) in pending.into_iter().zip(&task.test) {
            // An answer that does not fit into its tokens is an error, and so is no answer.
            let given = pending.and_then(sprat_infer::Pending::wait).ok();
            let given = given.filter(|given| given.finish == Finish::Stop);
            let value = given.and_then(|given| serde_json::from_str::<Value>(&given.output).ok());
            valid.push(value.as_ref().is_none_or(|value| checks.is_valid(value)));
            predicted.push(value);
            gold.push(serde_json::from_str(answer).map_err(|why| failed("a row is wrong", why))?);
        }
        let answers = Extracted { gold: &gold, predicted: &predicted, valid: &valid };
        extraction(answers, 1000, 0)
    }
}

/// A run with a rate and a seed, and the model that came out of it.
fn tuned(
    task: &Task,
    options: &Options,
    way: &str,
    method: Method,
    rate: f64,
    seed: u64,
) -> Result<(DecoderOutcome, Model)> {
    let (train, valid) = task.draw(options.rows, VALID, seed);
    let model = LanguageModel::open(&options.base, Format::F32, None)?;
    let (train, valid) = (examples(&model, task, &train)?, examples(&model, task, &valid)?);
    let ends = model.tokenizer().ends().to_vec();
    drop(model);
    let mut recipe = Recipe {
        method,
        learning_rate: Some(rate),
        targets: vec!["all".to_owned()],
        batch: options.batch,
        epochs: options.epochs,
        class_weights: ClassWeights::None,
        seed,
        ..Recipe::default()
    };
    // Not where there are no adapters: a run of all weights serves every rank.
    let rank = if method == Method::Lora { options.rank } else { 0 };
    if rank > 0 {
        (recipe.rank, recipe.alpha) = (rank, 2.0 * rank as f64);
    }
    let weights = std::fs::read(options.base.join("model.safetensors"))
        .map_err(|why| failed("the base is missing; `make bench-extraction` unpacks it", why))?;
    let digest = Digest::of(&weights);
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/extraction");
    let Options { rows, epochs, batch, .. } = options;
    let run = format!(
        "{}-{}-{rows}-{epochs}x{batch}-{way}-{rank}-{rate}-{seed}",
        digest.short(),
        task.name
    );
    let folder = cache.join(run);
    let outcome = tune_decoder(&DecoderJob {
        base: &options.base,
        base_model: &BaseModel { reference: "base".into(), digest: digest.to_string() },
        train: &train,
        valid: &valid,
        ends: &ends,
        context: None,
        memory: Memory::Normal,
        recipe: &recipe,
        folder: &folder,
        progress: &Quiet,
        interrupt: &Interrupt::default(),
    })?;
    let made = folder.join(MODEL_FOLDER);
    let model = match method {
        Method::Full => Model { folder: made, adapter: None },
        _ => Model { folder: options.base.clone(), adapter: Some(made) },
    };
    Ok((outcome, model))
}

/// Rows as conversations, their answers marked.
fn examples(model: &LanguageModel, task: &Task, rows: &[Row]) -> Result<Vec<TokenExample>> {
    rows.iter().map(|(text, answer)| example(model, task.instruction, (text, answer))).collect()
}
