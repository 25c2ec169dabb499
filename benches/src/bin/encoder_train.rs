//! `bench-encoder-train`: LoRA training of a text encoder against PEFT and PyTorch.
//!
//! Both sides train rank-16 adapters on all linear layers of MiniLM, with a head, AdamW and
//! clipping, on the same batches of 32 Banking77 messages, tokenized beforehand. The peer pads
//! every batch to its longest text; ours does not pad. Tokens per second counts real tokens. Each
//! run is a process of its own, so that its peak memory is its own, and includes opening the
//! model; rounds alternate between the sides and the median counts. Two arrangements of the same
//! messages: shuffled (PyTorch's default), and bucketed by length, which is what `sprat tune` does
//! and what spares the peer most of its padding: the headline.
//!
//! The peer's Python is `SPRAT_BENCH_PYTHON`, by default that of `.cache/bench-venv`.

use serde_json::{Value, json};
use sprat_bench::{closing_line, memory, minilm, peak, shared};
use sprat_model::{Batch, Encoder, Format, Learner, LoraSettings, Noise, Part, Tokens, Tuning};
use sprat_nn::{AdamW, AdamWState, CrossEntropy, clip_gradients};
use sprat_task::{Code, Error, Kind, Result};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const RANK: usize = 16;
const ALPHA: f32 = 32.0;
const DROPOUT: f32 = 0.05;
const BATCH: usize = 32;
const WARMUP: usize = 3;
const TIMED: usize = 20;
const ROUNDS: usize = 3;

static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-encoder-train`, which installs what it needs.",
};

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [child, precision, batches] if child == "--ours" => ours(precision, Path::new(batches)),
        _ => compare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

/// One side in one precision.
#[derive(Clone, Copy, PartialEq)]
struct Side {
    name: &'static str,
    peer: bool,
    precision: &'static str,
}

const SIDES: [Side; 4] = [
    Side { name: "ours f32", peer: false, precision: "f32" },
    Side { name: "ours bf16", peer: false, precision: "bf16" },
    Side { name: "PEFT f32", peer: true, precision: "f32" },
    Side { name: "PEFT bf16 autocast", peer: true, precision: "bf16" },
];

fn compare() -> Result<()> {
    let threads = sprat_nn::threads::threads();
    let f32_peak = peak::f32_flops(threads);
    let bf16_peak = peak::bf16_flops(threads).unwrap_or(f32_peak);
    let gib = 1e9;
    println!(
        "{threads} threads, peak {:.0} GFLOP/s f32, {:.0} bf16",
        f32_peak / gib,
        bf16_peak / gib
    );
    let mut headline = Value::Null;
    for arrangement in ["shuffled", "bucketed"] {
        let batches = write_batches(arrangement)?;
        let mut runs: Vec<Vec<Value>> = vec![Vec::new(); SIDES.len()];
        for _ in 0..ROUNDS {
            for (side, runs) in SIDES.iter().zip(&mut runs) {
                runs.push(run(side, &batches)?);
            }
        }
        println!("\n{arrangement}: {TIMED} batches of {BATCH}, median of {ROUNDS} rounds");
        println!("{:<20} {:>10} {:>9} {:>10}", "", "tokens/s", "peak MB", "of peak");
        let mut rates = Vec::new();
        let mut peaks = Vec::new();
        for (side, runs) in SIDES.iter().zip(&runs) {
            let rate = median(runs, "tokens_per_second")?;
            let bytes = median(runs, "peak_bytes")?;
            let ceiling = if side.precision == "bf16" { bf16_peak } else { f32_peak };
            let share = rate * flops_per_token(runs)? / ceiling;
            println!("{:<20} {rate:>10.0} {:>9.0} {:>9.1}%", side.name, bytes / 1e6, 100.0 * share);
            rates.push(rate);
            peaks.push(bytes);
        }
        let padded = number(&runs[2][0], "padded_tokens")? / number(&runs[2][0], "real_tokens")?;
        println!("padding makes {padded:.2} tokens of one");
        println!("ours f32  / PEFT f32   {:.2} times the tokens per second", rates[0] / rates[2]);
        println!("ours bf16 / PEFT f32   {:.2}", rates[1] / rates[2]);
        println!("ours bf16 / PEFT bf16  {:.2}", rates[1] / rates[3]);
        println!(
            "memory: f32 {:.2}, bf16 {:.2} of PEFT's",
            peaks[0] / peaks[2],
            peaks[1] / peaks[3]
        );
        headline = json!({
            "ours_f32": rates[0], "ours": rates[1], "peer_f32": rates[2], "peer": rates[3],
            "ratio_f32": rates[0] / rates[2], "ratio_ours_bf16_peer_f32": rates[1] / rates[2],
            "memory_ratio_f32": peaks[0] / peaks[2], "memory_ratio": peaks[1] / peaks[3],
            "peak_bytes": peaks[1], "peer_peak_bytes": peaks[3],
            "share_of_peak": rates[1] * flops_per_token(&runs[1])? / bf16_peak,
            "share_of_peak_f32": rates[0] * flops_per_token(&runs[0])? / f32_peak,
            "padded_per_real": padded, "threads": threads, "arrangement": arrangement,
        });
    }
    let (ours, peer) = (number(&headline, "ours")?, number(&headline, "peer")?);
    closing_line("encoder-train", ours, peer, "tokens/s", &headline);
    Ok(())
}

/// Runs one side in a process of its own and returns what it prints last.
fn run(side: &Side, batches: &Path) -> Result<Value> {
    let mut command = if side.peer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/train_peft.py");
        let mut command = Command::new(python());
        command.arg(script).arg(minilm()).arg(batches).arg(side.precision);
        command.args([RANK.to_string(), ALPHA.to_string(), DROPOUT.to_string()]);
        command
    } else {
        let own = std::env::current_exe().map_err(|why| failed("where am I?", why))?;
        let mut command = Command::new(own);
        command.arg("--ours").arg(side.precision).arg(batches);
        command
    };
    let what = format!("could not run {}", side.name);
    let output = command.output().map_err(|why| failed(&what, why))?;
    if !output.status.success() {
        return Err(failed(&what, String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).map_err(|why| failed(&what, why))
}

fn python() -> PathBuf {
    match std::env::var_os("SPRAT_BENCH_PYTHON") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench-venv/bin/python"),
    }
}

/// Writes the batches that both sides train on.
fn write_batches(arrangement: &str) -> Result<PathBuf> {
    let path = shared().join("data/banking77/train.csv");
    let mut reader = csv::Reader::from_path(&path)
        .map_err(|why| failed("Banking77 is missing", why).file(&path))?;
    let mut labels = std::collections::BTreeMap::new();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|why| failed("Banking77 can't be read", why).file(&path))?;
        let (text, label) = (record[0].to_owned(), record[1].to_owned());
        let next = labels.len();
        let class = *labels.entry(label).or_insert(next);
        rows.push((text, class));
    }
    // Words stand for tokens here: only the order matters, and it is near enough.
    let length = |row: &(String, usize)| match arrangement {
        "bucketed" => row.0.split_whitespace().count(),
        _ => 1,
    };
    let lengths: Vec<usize> = rows.iter().map(length).collect();
    let order = sprat_train::epoch_batches(&lengths, BATCH, 0, 0);
    let batches: Vec<Vec<&(String, usize)>> = order
        .iter()
        .filter(|batch| batch.len() == BATCH)
        .take(WARMUP + TIMED)
        .map(|batch| batch.iter().map(|&row| &rows[row]).collect())
        .collect();
    let work = json!({ "classes": labels.len(), "warmup": WARMUP, "batches": batches });
    let file = std::env::temp_dir().join(format!("sprat-bench-{arrangement}.json"));
    sprat_task::write::bytes(&file, work.to_string().as_bytes())
        .map_err(|why| failed("can't write the batches", why))?;
    Ok(file)
}

#[derive(serde::Deserialize)]
struct Work {
    classes: usize,
    warmup: usize,
    batches: Vec<Vec<(String, usize)>>,
}

/// Our side: the steps that `sprat tune` makes, timed; prints one JSON object.
fn ours(precision: &str, batches: &Path) -> Result<()> {
    let text = std::fs::read(batches).map_err(|why| failed("can't read the batches", why))?;
    let work: Work =
        serde_json::from_slice(&text).map_err(|why| failed("can't read the batches", why))?;
    let format = if precision == "bf16" { Format::Bf16 } else { Format::F32 };
    let encoder = Encoder::open(&minilm(), format)?;
    let mut prepared = Vec::new();
    for batch in &work.batches {
        let texts: Vec<&str> = batch.iter().map(|(text, _)| text.as_str()).collect();
        let tokens: Vec<Tokens> = encoder.tokenizer().encode_all(&texts)?;
        let gold: Vec<usize> = batch.iter().map(|(_, class)| *class).collect();
        prepared.push((Batch::new(&tokens), gold));
    }
    let lora = LoraSettings {
        rank: RANK,
        alpha: ALPHA,
        dropout: DROPOUT,
        targets: Part::ALL.to_vec(),
        first_layer: 0,
    };
    let config = encoder.config().clone();
    let mut learner = Learner::new(encoder, work.classes, Tuning::Lora(lora), 0)?;
    let mut gradients = learner.zero_gradients();
    let lengths: Vec<usize> = gradients.slices().iter().map(|slice| slice.len()).collect();
    let decay: Vec<bool> = learner.parameters().iter().map(|named| named.decay).collect();
    let mut state = AdamWState::new(&lengths);
    let (adam, entropy) = (AdamW::default(), CrossEntropy::default());
    let (mut losses, mut tokens, mut squares) = (Vec::new(), 0, 0);
    let mut began = Instant::now();
    for (step, (batch, gold)) in prepared.iter().enumerate() {
        if step == work.warmup {
            (tokens, squares, began) = (0, 0, Instant::now());
        }
        let noise =
            Noise { seed: 0, step: step as u64, hidden: 0.0, attention: 0.0, lora: DROPOUT };
        let (logits, tape) = learner.forward(batch, Some(&noise));
        let (loss, slopes) = entropy.forward_backward(&logits, gold);
        gradients.clear();
        learner.backward(tape, &slopes, &mut gradients);
        clip_gradients(&mut gradients.slices_mut(), 1.0);
        let mut values = learner.parameters_mut();
        adam.step(1e-4, &mut values, &gradients.slices(), &decay, &mut state);
        learner.refresh();
        losses.push(loss);
        tokens += batch.ids.len();
        squares += batch.bounds.windows(2).map(|text| (text[1] - text[0]).pow(2)).sum::<usize>();
    }
    let seconds = began.elapsed().as_secs_f64();
    let shapes = Part::ALL.map(|part| config.linear_shape(part));
    let out = json!({
        "tokens_per_second": tokens as f64 / seconds,
        "real_tokens": tokens,
        "seconds": seconds,
        "peak_bytes": memory("VmHWM"),
        "losses": losses,
        "trainable": lengths.iter().sum::<usize>(),
        "flops_per_token": flops(&shapes, config.layers, config.hidden, tokens, squares),
    });
    writeln!(std::io::stdout(), "{out}").map_err(|why| failed("can't print", why))
}

/// Floating-point operations that one real token needs, the same for both sides: every frozen
/// product forward and for the input's gradient (2 each per weight), every adapter's forward and
/// two backward products, attention's two products forward and four backward.
fn flops(
    shapes: &[(usize, usize)],
    layers: usize,
    hidden: usize,
    tokens: usize,
    squares: usize,
) -> f64 {
    let frozen: usize = shapes.iter().map(|(outputs, inputs)| 4 * outputs * inputs).sum();
    let adapters: usize =
        shapes.iter().map(|(outputs, inputs)| 6 * RANK * (outputs + inputs)).sum();
    // Per text of n tokens: n² · hidden multiply-adds for each of the six products.
    let attention = 12.0 * hidden as f64 * squares as f64 / tokens as f64;
    layers as f64 * ((frozen + adapters) as f64 + attention)
}

fn flops_per_token(runs: &[Value]) -> Result<f64> {
    // The peer does not say; ours stands in, as the work is the same.
    match runs[0].get("flops_per_token") {
        Some(_) => number(&runs[0], "flops_per_token"),
        None => Ok(FLOPS_OF_MINILM),
    }
}

/// What [`flops`] gives for MiniLM without attention.
const FLOPS_OF_MINILM: f64 = 6.0 * (4.0 * 1_769_472.0 + 6.0 * 16.0 * 6_912.0);

fn number(value: &Value, field: &str) -> Result<f64> {
    value
        .get(field)
        .and_then(Value::as_f64)
        .ok_or_else(|| failed("a run gave no figure", format!("`{field}` is missing")))
}

fn median(runs: &[Value], field: &str) -> Result<f64> {
    let mut all = runs.iter().map(|run| number(run, field)).collect::<Result<Vec<f64>>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[all.len() / 2])
}
