//! `bench-train` and `bench-qlora`: LoRA of rank 16 on all linear layers of a decoder, against
//! PEFT on PyTorch.
//!
//! Both sides open the same folder of random weights and train on batches of random tokens, all of
//! which carry loss: `bench-train` the shape of SmolLM2-135M with 4 × 256 tokens a step,
//! `bench-qlora` (`--qlora`) that of Qwen2.5-0.5B, whose weights ours keeps in the blocks of Q4_0.
//! Each run is a process of its own, so that its peak memory is its own; rounds alternate between
//! the sides, and the median counts.
//!
//! Options: `--qlora`, `--rounds N` (3), `--steps N` (3). The peer's Python is
//! `SPRAT_BENCH_PYTHON`, by default that of `.cache/bench-venv`.

use rand::Rng;
use serde_json::{Value, json};
use sprat_bench::{closing_line, memory, peak};
use sprat_model::decoder::{
    Decoder, DecoderLearner, DecoderTuning, Memory, Projection, TokenBatch, TokenExample,
};
use sprat_model::{BlockFormat, Format, LoraSettings};
use sprat_nn::{AdamW, AdamWState, clip_gradients};
use sprat_task::{Code, Error, Kind, Result, random};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-train`, which installs what it needs.",
};

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

/// Tokens that go forward and backward at once, as in runs.
const PART: usize = 2048;
const EXAMPLES: usize = 4;
const TOKENS: usize = 256;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [child, folder, format, low, steps] if child == "--ours" => {
            ours(Path::new(folder), format, low == "low", steps)
        }
        _ => Options::read(&arguments).and_then(|options| compare(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

struct Options {
    qlora: bool,
    rounds: usize,
    steps: usize,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Options { qlora: false, rounds: 3, steps: 3 };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            if name == "--qlora" {
                options.qlora = true;
                continue;
            }
            let value = arguments.next().and_then(|value| value.parse().ok());
            match (name.as_str(), value) {
                ("--rounds", Some(value)) => options.rounds = value,
                ("--steps", Some(value)) => options.steps = value,
                _ => return Err(failed("unknown option, or no number behind it", name)),
            }
        }
        Ok(options)
    }
}

/// One side: its name, how it computes, whether it is the peer.
struct Side {
    name: &'static str,
    format: &'static str,
    low: bool,
    peer: bool,
}

const fn side(name: &'static str, format: &'static str, low: bool, peer: bool) -> Side {
    Side { name, format, low, peer }
}

const TRAIN: [Side; 5] = [
    side("ours bf16", "bf16", false, false),
    side("ours bf16, low memory", "bf16", true, false),
    side("ours f32", "f32", false, false),
    side("PEFT bf16 autocast", "bf16", false, true),
    side("PEFT f32", "f32", false, true),
];

const QLORA: [Side; 3] = [
    side("ours Q4_0, low memory", "q4_0", true, false),
    side("ours Q4_0", "q4_0", false, false),
    side("PEFT f32", "f32", false, true),
];

/// The shapes of SmolLM2-135M and Qwen2.5-0.5B.
fn shape(qlora: bool) -> Value {
    if qlora {
        return json!({ "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896,
            "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
            "num_key_value_heads": 2, "max_position_embeddings": 2048,
            "tie_word_embeddings": true });
    }
    json!({ "model_type": "llama", "vocab_size": 49_152, "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": true })
}

fn compare(options: &Options) -> Result<()> {
    let threads = sprat_nn::threads::threads();
    let peak = peak::bf16_flops(threads).unwrap_or_else(|| peak::f32_flops(threads));
    let (name, sides) = match options.qlora {
        true => ("qlora", &QLORA[..]),
        false => ("train", &TRAIN[..]),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/models").join(name);
    if !folder.join("model.safetensors").exists() {
        std::fs::create_dir_all(&folder).map_err(|why| failed("no place for a model", why))?;
        let shape = shape(options.qlora).to_string();
        peer(&["make", &shape, &folder.to_string_lossy()])?;
    }
    let mut runs: Vec<Vec<Value>> = vec![Vec::new(); sides.len()];
    for _ in 0..options.rounds {
        for (side, runs) in sides.iter().zip(&mut runs) {
            runs.push(run(side, &folder, options.steps)?);
        }
    }
    println!(
        "{EXAMPLES} x {TOKENS} tokens a step, {threads} threads, median of {} rounds; peak {:.0} GFLOP/s",
        options.rounds,
        peak / 1e9
    );
    println!("{:<24} {:>9} {:>10}", "", "s a step", "peak MB");
    let mut rows = Vec::new();
    for (side, runs) in sides.iter().zip(&runs) {
        let (seconds, bytes) = (median(runs, "seconds")?, median(runs, "peak_bytes")?);
        println!("{:<24} {seconds:>9.2} {:>10.0}", side.name, bytes / 1e6);
        rows.push((side, seconds, bytes));
    }
    let ours = &rows[0];
    let peer =
        rows.iter().find(|(side, ..)| side.peer).ok_or_else(|| failed("there is no peer", ""))?;
    println!(
        "{} / {}: {:.2} times the speed, {:.2} of the memory",
        ours.0.name,
        peer.0.name,
        peer.1 / ours.1,
        ours.2 / peer.2
    );
    let extra = json!({ "memory_ratio": ours.2 / peer.2, "threads": threads,
        "sides": rows.iter().map(|(side, seconds, bytes)|
            json!([side.name, seconds, bytes])).collect::<Vec<_>>() });
    // Steps a second, so that more is better.
    closing_line(name, 1.0 / ours.1, 1.0 / peer.1, "steps/s", &extra);
    Ok(())
}

/// Runs one side in a process of its own and returns what it prints last.
fn run(side: &Side, folder: &Path, steps: usize) -> Result<Value> {
    let (folder, steps) = (folder.to_string_lossy().into_owned(), steps.to_string());
    if side.peer {
        let (examples, tokens) = (EXAMPLES.to_string(), TOKENS.to_string());
        return peer(&["train", &folder, side.format, &examples, &tokens, &steps]);
    }
    let own = std::env::current_exe().map_err(|why| failed("where am I?", why))?;
    let memory = if side.low { "low" } else { "normal" };
    last_line(Command::new(own).args(["--ours", &folder, side.format, memory, &steps]))
}

fn peer(arguments: &[&str]) -> Result<Value> {
    let python = std::env::var_os("SPRAT_BENCH_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench-venv/bin/python"),
        PathBuf::from,
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/train_decoder_peft.py");
    last_line(Command::new(python).arg(script).args(arguments))
}

fn last_line(command: &mut Command) -> Result<Value> {
    let output = command.output().map_err(|why| failed("could not run a side", why))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(failed("a side ended with an error", why));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or("null");
    serde_json::from_str(line).map_err(|why| failed("a side printed no result", why))
}

fn median(runs: &[Value], field: &str) -> Result<f64> {
    let mut numbers: Vec<f64> = runs.iter().filter_map(|run| run[field].as_f64()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().ok_or_else(|| failed("no figure", field))
}

/// Our side: the steps that `sprat tune` makes, timed; prints one JSON object.
fn ours(folder: &Path, format: &str, low: bool, steps: &str) -> Result<()> {
    let format = match format {
        "f32" => Format::F32,
        "bf16" => Format::Bf16,
        _ => Format::Blocks(BlockFormat::Q4_0),
    };
    let steps: usize = steps.parse().map_err(|why| failed("steps", why))?;
    let decoder = Decoder::open(folder, format, Some(TOKENS))?;
    let config = decoder.config().clone();
    let mut random = random::stream(1, "tokens");
    let mut id = || random.random_range(0..config.vocabulary as u32);
    let examples: Vec<TokenExample> = (0..EXAMPLES)
        .map(|_| TokenExample { ids: (0..TOKENS).map(|_| id()).collect(), answer: 1..TOKENS })
        .collect();
    let targets = Projection::all(&config).to_vec();
    let lora = LoraSettings { rank: 16, alpha: 32.0, dropout: 0.0, targets, first_layer: 0 };
    let mut learner = DecoderLearner::new(decoder, DecoderTuning::Lora(lora), 1)?;
    if low {
        learner.set_memory(Memory::Low);
    }
    let mut gradients = learner.zero_gradients();
    let lengths: Vec<usize> = gradients.slices().iter().map(|slice| slice.len()).collect();
    let mut state = AdamWState::new(&lengths);
    let decay = vec![true; lengths.len()];
    let weight = 1.0 / examples.iter().map(TokenExample::counted).sum::<usize>() as f32;
    let mut times = Vec::new();
    for _ in 0..=steps {
        let began = Instant::now();
        gradients.clear();
        for part in examples.chunks((PART / TOKENS).max(1)) {
            learner.accumulate(&TokenBatch::new(part), None, weight, &mut gradients);
        }
        clip_gradients(&mut gradients.slices_mut(), 1.0);
        let mut values = learner.parameters_mut();
        AdamW::default().step(1e-4, &mut values, &gradients.slices(), &decay, &mut state);
        times.push(began.elapsed().as_secs_f64());
    }
    let timed = &mut times[1..];
    timed.sort_by(f64::total_cmp);
    println!("{}", json!({ "seconds": timed[timed.len() / 2], "peak_bytes": memory("VmHWM") }));
    Ok(())
}
