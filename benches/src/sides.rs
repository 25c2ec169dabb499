//! The two sides of the decoder benchmarks, each in a process of its own: ours is this program
//! once more, the peer is llama.cpp.

use serde_json::{Value, json};
use sprat_model::decoder::{Decoder, Step, StepMemory};
use sprat_model::files::Gguf;
use sprat_nn::{PAGE, Span, threads};
use sprat_task::{Code, Error, Kind, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A benchmark that could not run.
pub static BENCH: Code = Code {
    id: "SPRAT-BENCH-FAILED",
    kind: Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-NAME`, which installs what it needs.",
};

/// Threads of both sides.
pub const THREADS: usize = 2;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Reading a prompt of so many tokens.
    Prompt(usize),
    /// Generating so many tokens from an empty context, one sequence.
    Single(usize),
    /// Generating `tokens` in each of `batch` sequences after a prompt of [`PROMPT`] tokens.
    Batch {
        /// Sequences.
        batch: usize,
        /// Tokens of each.
        tokens: usize,
    },
}

/// Prompt of each sequence of a batch.
pub const PROMPT: usize = 64;

/// What one process measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Tokens a second of each repetition.
    pub per_second: Vec<f64>,
    /// Peak resident memory, in bytes.
    pub peak: u64,
    /// Bytes of the weights as they lie in memory, where the side tells.
    pub weights: u64,
}

/// Our side of a measurement, in a process of its own.
///
/// # Errors
/// When the process fails.
pub fn ours(model: &Path, work: Work, repetitions: usize) -> Result<Measured> {
    let program = std::env::current_exe().map_err(|why| failed("this program", &why))?;
    let (kind, size, batch) = match work {
        Work::Prompt(tokens) => ("prompt", tokens, 1),
        Work::Single(tokens) => ("single", tokens, 1),
        Work::Batch { batch, tokens } => ("batch", tokens, batch),
    };
    let mut command = Command::new(program);
    command.arg("--ours").arg(model);
    command.args([kind, &size.to_string(), &batch.to_string(), &repetitions.to_string()]);
    let (text, peak) = output(command)?;
    let answer: Value = serde_json::from_str(text.trim()).unwrap_or_default();
    let per_second = answer["per_second"].as_array().into_iter().flatten();
    Ok(Measured {
        per_second: per_second.filter_map(Value::as_f64).collect(),
        peak,
        weights: answer["weights"].as_u64().unwrap_or_default(),
    })
}

/// llama.cpp's side.
///
/// # Errors
/// When its programs are not there (`SPRAT_LLAMA_CPP`), or fail.
pub fn peer(model: &Path, work: Work, repetitions: usize) -> Result<Measured> {
    let folder = std::env::var_os("SPRAT_LLAMA_CPP").map(PathBuf::from).unwrap_or_default();
    let threads = THREADS.to_string();
    let mut measured = Measured::default();
    let bench = |arguments: [&str; 4]| {
        let mut command = Command::new(folder.join("llama-bench"));
        command.arg("-m").arg(model).args(["-t", &threads, "-o", "json"]).args(arguments);
        command.args(["-r", &repetitions.to_string()]);
        output(command)
    };
    match work {
        Work::Prompt(tokens) | Work::Single(tokens) => {
            let tokens = tokens.to_string();
            let (text, peak) = match work {
                Work::Prompt(_) => bench(["-p", &tokens, "-n", "0"])?,
                _ => bench(["-p", "0", "-n", &tokens])?,
            };
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let samples = answer[0]["samples_ts"].as_array().into_iter().flatten();
            measured.per_second = samples.filter_map(Value::as_f64).collect();
            measured.peak = peak;
        }
        Work::Batch { batch, tokens } => {
            let mut command = Command::new(folder.join("llama-batched-bench"));
            command.arg("-m").arg(model).args(["-t", &threads, "-tb", &threads]);
            let context = batch * (PROMPT + tokens);
            command.args(["-c", &context.to_string(), "--output-format", "jsonl"]);
            command.args(["-npp", &PROMPT.to_string()]);
            command.args(["-ntg", &vec![tokens.to_string(); repetitions].join(",")]);
            command.args(["-npl", &batch.to_string()]);
            let (text, peak) = output(command)?;
            let lines = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
            measured.per_second = lines.filter_map(|line| line["speed_tg"].as_f64()).collect();
            measured.peak = peak;
        }
    }
    Ok(measured)
}

/// If this process was started as our side, measures, prints and says so.
///
/// # Errors
/// When the model cannot be read.
pub fn was_ours() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, model, kind, size, batch, repetitions] = &arguments[..] else { return Ok(false) };
    if flag != "--ours" {
        return Ok(false);
    }
    let number = |text: &str| text.parse::<usize>().unwrap_or(1);
    threads::set_threads(THREADS);
    let decoder = Decoder::open_gguf(&Gguf::open(Path::new(model))?, None)?;
    let work = match kind.as_str() {
        "prompt" => Work::Prompt(number(size)),
        "single" => Work::Single(number(size)),
        _ => Work::Batch { batch: number(batch), tokens: number(size) },
    };
    let mut memory = StepMemory::default();
    run(&decoder, warm_up(work), &mut memory);
    let repetitions = 0..number(repetitions);
    let per_second: Vec<f64> = repetitions.map(|_| run(&decoder, work, &mut memory)).collect();
    println!("{}", json!({ "per_second": per_second, "weights": decoder.bytes() }));
    Ok(true)
}

fn warm_up(work: Work) -> Work {
    match work {
        Work::Prompt(_) => work,
        Work::Single(_) => Work::Single(4),
        Work::Batch { batch, .. } => Work::Batch { batch, tokens: 2 },
    }
}

/// Does the work from an empty cache; tokens a second.
fn run(decoder: &Decoder, work: Work, memory: &mut StepMemory) -> f64 {
    let (batch, prompt, tokens) = match work {
        Work::Prompt(tokens) => (1, 0, tokens),
        Work::Single(tokens) => (1, 0, tokens),
        Work::Batch { batch, tokens } => (batch, PROMPT, tokens),
    };
    let pages = (prompt + tokens).div_ceil(PAGE);
    let mut cache = decoder.cache(pages * batch);
    let owned: Vec<Vec<u32>> =
        (0..batch).map(|s| (0..pages).map(|page| (s * pages + page) as u32).collect()).collect();
    let vocabulary = decoder.config().vocabulary as u32;
    let token = |at: usize| (at as u32).wrapping_mul(2_654_435_761) % vocabulary;
    for pages in owned.iter().filter(|_| prompt > 0) {
        let spans = [Span { rows: 0..prompt, position: 0, pages }];
        let ids: Vec<u32> = (0..prompt).map(token).collect();
        let step = Step { ids: &ids, spans: &spans, ..Step::default() };
        decoder.forward_in(&step, &mut cache, memory);
    }
    let began = Instant::now();
    if matches!(work, Work::Prompt(_)) {
        let ids: Vec<u32> = (0..tokens).map(token).collect();
        let spans = [Span { rows: 0..tokens, position: 0, pages: &owned[0] }];
        let step = Step { ids: &ids, spans: &spans, wanted: &[tokens - 1], ..Step::default() };
        std::hint::black_box(decoder.forward_in(&step, &mut cache, memory));
    } else {
        let wanted: Vec<usize> = (0..batch).collect();
        for position in prompt..prompt + tokens {
            let ids: Vec<u32> = (0..batch).map(|s| token(position * batch + s)).collect();
            let spans: Vec<Span<'_>> =
                (0..batch).map(|s| Span { rows: s..s + 1, position, pages: &owned[s] }).collect();
            let step = Step { ids: &ids, spans: &spans, wanted: &wanted, ..Step::default() };
            std::hint::black_box(decoder.forward_in(&step, &mut cache, memory));
        }
    }
    (batch * tokens) as f64 / began.elapsed().as_secs_f64()
}

/// Runs a program to its end; its standard output and its peak memory.
fn output(mut command: Command) -> Result<(String, u64)> {
    let name = command.get_program().display().to_string();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let child = child.map_err(|why| failed(&name, &why))?;
    let status = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = crate::memory_in(&status, "VmHWM") {
            peak = now.max(peak);
            std::thread::sleep(Duration::from_millis(50));
        }
        peak
    });
    let output = child.wait_with_output().map_err(|why| failed(&name, &why))?;
    if !output.status.success() {
        return Err(Error::new(&BENCH, format!("{name} failed: {}", output.status)));
    }
    let peak = watch.join().unwrap_or_default();
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), peak))
}

fn failed(what: &str, why: &std::io::Error) -> Error {
    Error::new(&BENCH, format!("{what} could not be run")).why(why.to_string())
}
