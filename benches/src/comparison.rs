//! Rounds of a measurement, ours and the peer's in turn, and how they are told.

use crate::random_models::{Mix, SHAPES, random_model};
use crate::sides::{self, BENCH, Measured, THREADS, Work};
use crate::{closing_line, machine, peak};
use serde_json::json;
use sprat_task::{Error, Result};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the command line of a decoder benchmark says.
pub struct Options {
    /// `(shape, mix)` names.
    pub models: Vec<(String, Mix)>,
    /// Batch sizes.
    pub batches: Vec<usize>,
    /// Rounds; in each either side runs once.
    pub rounds: usize,
}

impl Options {
    /// Reads `--models 135m:q4_0,0.5b:q8_0`, `--batch 8,32` and `--rounds 5`.
    ///
    /// # Errors
    /// For anything else.
    pub fn read(models: &str) -> Result<Self> {
        let mut options = Options { models: parse_models(models)?, batches: vec![1], rounds: 5 };
        let mut arguments = std::env::args().skip(1);
        while let (Some(flag), Some(value)) = (arguments.next(), arguments.next()) {
            match flag.as_str() {
                "--models" => options.models = parse_models(&value)?,
                "--batch" => {
                    options.batches = value.split(',').filter_map(|n| n.parse().ok()).collect();
                }
                "--rounds" => options.rounds = value.parse().unwrap_or(options.rounds),
                other => return Err(Error::new(&BENCH, format!("`{other}` is no option"))),
            }
        }
        Ok(options)
    }
}

fn parse_models(text: &str) -> Result<Vec<(String, Mix)>> {
    let wrong = |part: &str| Error::new(&BENCH, format!("`{part}` is no shape:format"));
    text.split(',')
        .map(|part| {
            let (shape, mix) = part.split_once(':').ok_or_else(|| wrong(part))?;
            Ok((shape.to_owned(), Mix::by_name(mix).ok_or_else(|| wrong(part))?))
        })
        .collect()
}

/// Runs a benchmark as a program: our side where this process is one, else `bench`.
pub fn program(bench: impl FnOnce() -> Result<()>) -> ExitCode {
    let done = sides::was_ours().and_then(|ours| if ours { Ok(()) } else { bench() });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

/// One line of the table.
struct Line {
    what: String,
    ours: f64,
    peer: f64,
}

/// Measures every model with every kind of work, prints a table and the closing line, whose ratio
/// is the smallest.
///
/// # Errors
/// When a side cannot run.
pub fn compare(bench: &str, options: &Options, works: &[Work]) -> Result<()> {
    let folder = models_folder();
    std::fs::create_dir_all(&folder)
        .map_err(|why| Error::new(&BENCH, "no place for models").why(why.to_string()))?;
    println!("{THREADS} threads on both sides, medians of {} rounds in turn", options.rounds);
    let int8 = peak::int8_macs(THREADS);
    let mut lines = Vec::new();
    for (name, mix) in &options.models {
        let Some(shape) = SHAPES.iter().find(|shape| shape.name == name) else {
            return Err(Error::new(&BENCH, format!("`{name}` is no shape")));
        };
        let model = random_model(shape, *mix, &folder)?;
        for &work in works {
            let (mut mine, mut theirs) = (Measured::default(), Measured::default());
            let mut bandwidth: Vec<f64> = Vec::new();
            for _ in 0..options.rounds {
                join(&mut mine, sides::ours(&model, work, 1)?);
                join(&mut theirs, sides::peer(&model, work, 1)?);
                bandwidth.push(machine::read_bandwidth(THREADS));
            }
            let bandwidth = bandwidth.into_iter().fold(0.0, f64::max);
            let (ours, peer) = (median(&mine.per_second), median(&theirs.per_second));
            let what = format!("{name} {} {}", mix.name(), describe(work));
            let spread = |all: &[f64]| {
                let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                format!("{least:.1} to {:.1}", all.iter().copied().fold(0.0, f64::max))
            };
            println!(
                "{what}: ours {ours:.1} tokens/s ({}), llama.cpp {peer:.1} ({}), {:.2} times",
                spread(&mine.per_second),
                spread(&theirs.per_second),
                ours / peer,
            );
            let rows = if let Work::Batch { batch, .. } = work { batch } else { 1 };
            let moved = mine.weights as f64 / rows as f64;
            let macs = shape.products_per_token(!matches!(work, Work::Prompt(_)));
            println!(
                "    peak memory {} MiB, llama.cpp {} MiB; weights {:.1} MB a token, {:.0} % of \
                 {:.1} GB/s read; {:.0} % of {:.0} G int8 multiply-adds/s",
                mine.peak >> 20,
                theirs.peak >> 20,
                moved / 1e6,
                100.0 * moved * ours / bandwidth,
                bandwidth / 1e9,
                100.0 * macs * ours / int8,
                int8 / 1e9,
            );
            lines.push(Line { what, ours, peer });
        }
    }
    let table: Vec<_> = lines
        .iter()
        .map(|line| json!({ "what": line.what, "ours": line.ours, "peer": line.peer }))
        .collect();
    let least = lines.iter().min_by(|a, b| (a.ours / a.peer).total_cmp(&(b.ours / b.peer)));
    if let Some(least) = least {
        closing_line(bench, least.ours, least.peer, "tokens/s", &json!({ "all": table }));
    }
    Ok(())
}

fn describe(work: Work) -> String {
    match work {
        Work::Prompt(tokens) => format!("prompt of {tokens}"),
        Work::Single(_) => "batch 1".to_owned(),
        Work::Batch { batch, .. } => format!("batch {batch}"),
    }
}

fn join(all: &mut Measured, round: Measured) {
    all.per_second.extend(round.per_second);
    all.peak = all.peak.max(round.peak);
    all.weights = round.weights;
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Where the random models are kept: `SPRAT_BENCH_MODELS`, or the repository's cache.
fn models_folder() -> PathBuf {
    match std::env::var_os("SPRAT_BENCH_MODELS") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/models"),
    }
}
