//! `bench-encoder-serve`: classification of short texts, in-process and over HTTP, against ONNX
//! Runtime.
//!
//! Ours: the engine that serves (queue, dynamic batching, tokenizer, encoder, pooling, 77-way
//! head), called from this process, one text at a time and 32 at once, in f32, bf16 and int8.
//! Peer: ONNX Runtime in a process of its own on the same texts in the same groups: tokenizer,
//! encoder and pooling in one graph, f32 and dynamic int8, without head and without queue. Both
//! include tokenization and use the same number of threads. Rounds alternate between the two, and
//! the median round counts;
//! the 5th percentile of the latencies tells what an undisturbed call takes. The ratio compares the better of ours with the better of the peer, in
//! the scenario where it is smaller.

use serde_json::{Value, json};
use sprat_bench::{closing_line, minilm, peak, shared};
use sprat_infer::{EncoderEngine, Generator, Limits, Request, Scored, TextClassifier};
use sprat_model::{Encoder, Format};
use sprat_nn::{Linear, Mat, softmax};
use sprat_serve::{Config, NoTraces, Served, Table};
use sprat_task::{Error, Interrupt, Result, SystemClock, Timestamp};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Instant;

const THREADS: usize = 2;
/// Odd, so that there is a median.
const ROUNDS: usize = 5;
/// Requests at once, and how many texts one round takes.
const SCENARIOS: [(usize, usize); 2] = [(1, 256), (32, 1024)];
const FORMATS: [(&str, Format); 3] =
    [("f32", Format::F32), ("bf16", Format::Bf16), ("int8", Format::Int8)];

static BENCH: sprat_task::Code = sprat_task::Code {
    id: "SPRAT-BENCH-FAILED",
    kind: sprat_task::Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-encoder-serve`, which installs what it needs.",
};

fn failed(what: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |why| Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> std::process::ExitCode {
    match bench() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            std::process::ExitCode::from(error.code().kind.exit_code())
        }
    }
}

/// An encoder with a prototype head: the mean vector of five examples per class.
struct Prototypes {
    encoder: Encoder,
    head: Linear,
    labels: Vec<String>,
}

impl Prototypes {
    fn open(format: Format, train: &[Pair]) -> Result<Self> {
        let encoder = Encoder::open(&minilm(), format)?;
        let mut labels: Vec<String> = train.iter().map(|(_, label)| label.clone()).collect();
        labels.sort();
        labels.dedup();
        let mut rows = Vec::new();
        for label in &labels {
            let texts: Vec<&str> =
                train.iter().filter(|row| row.1 == *label).take(5).map(|row| &*row.0).collect();
            let vectors = encoder.embed(&texts)?;
            rows.extend((0..vectors.cols).map(|column| {
                let sum: f32 = (0..vectors.rows).map(|row| vectors.row(row)[column]).sum();
                20.0 * sum / vectors.rows as f32
            }));
        }
        let hidden = encoder.config().hidden;
        let weight = Mat { rows: labels.len(), cols: hidden, data: rows };
        Ok(Prototypes { head: Linear::new(weight, None, Format::F32), encoder, labels })
    }
}

impl TextClassifier for Prototypes {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        let tokens = self.encoder.tokenizer().encode_all(texts)?;
        let logits = self.head.forward(&self.encoder.embed_tokens(&tokens));
        Ok(tokens
            .iter()
            .enumerate()
            .map(|(row, text)| {
                let mut probabilities = logits.row(row).to_vec();
                softmax(&mut probabilities);
                Scored { probabilities, tokens: text.ids.len(), cut: text.cut, embedding: None }
            })
            .collect())
    }
}

/// What one round measured.
#[derive(Clone, Default)]
struct Round {
    seconds: f64,
    latencies_ms: Vec<f64>,
}

fn bench() -> Result<()> {
    sprat_nn::threads::set_threads(THREADS);
    let (train, texts) = banking77()?;
    let mut peer = Peer::start(&texts)?;
    let mut engines = Vec::new();
    for (name, format) in FORMATS {
        let model = Arc::new(Prototypes::open(format, &train)?);
        let engine = EncoderEngine::start(name, model.clone(), Limits::default())?;
        engines.push((name, model, Arc::new(engine)));
    }
    describe(&peer, &engines[0].1, &engines[2].1, &texts)?;

    let mut worst: Option<(f64, f64, f64, String)> = None;
    let mut table = serde_json::Map::new();
    for (at_once, count) in SCENARIOS {
        let texts = &texts[..count.min(texts.len())];
        let mut ours = vec![Vec::new(); engines.len()];
        let mut theirs = vec![Vec::new(); 2];
        for round in 0..=ROUNDS {
            for (at, name) in ["f32", "int8"].into_iter().enumerate() {
                theirs[at].push(peer.round(name, at_once, texts.len())?);
            }
            for (at, (_, _, engine)) in engines.iter().enumerate() {
                ours[at].push(in_process(engine.as_ref(), texts, at_once)?);
            }
            if round == 0 {
                // The first round warms caches and thread pools.
                ours.iter_mut().for_each(Vec::clear);
                theirs.iter_mut().for_each(Vec::clear);
            }
        }
        println!("\n{at_once} at once, {} texts, median of {ROUNDS} rounds:", texts.len());
        let mut best = [(0.0, ""); 2];
        let named_ours = FORMATS.iter().zip(&ours).map(|((name, _), rounds)| (0, *name, rounds));
        let named_theirs = ["f32", "int8"].into_iter().zip(&theirs);
        let named_theirs = named_theirs.map(|(name, rounds)| (1, name, rounds));
        for (side, name, rounds) in named_ours.chain(named_theirs) {
            let rate = texts.len() as f64 / median(rounds.iter().map(|r| r.seconds).collect());
            let mut all: Vec<f64> = rounds.iter().flat_map(|r| r.latencies_ms.clone()).collect();
            all.sort_by(f64::total_cmp);
            let who = ["ours", "ONNX Runtime"][side];
            println!(
                "  {who:<13} {name:<5} {rate:>9.1} texts/s   p5 {:>7.2} ms   p50 {:>7.2} ms   p95 {:>7.2} ms",
                quantile(&all, 0.05),
                quantile(&all, 0.50),
                quantile(&all, 0.95)
            );
            table.insert(format!("{who} {name} {at_once}"), json!((rate * 10.0).round() / 10.0));
            if rate > best[side].0 {
                best[side] = (rate, name);
            }
        }
        let ratio = best[0].0 / best[1].0;
        println!("  ratio {ratio:.2} (ours {} against ONNX Runtime {})", best[0].1, best[1].1);
        let scenario = format!("{at_once} at once, {} against {}", best[0].1, best[1].1);
        if worst.as_ref().is_none_or(|(_, _, least, _)| ratio < *least) {
            worst = Some((best[0].0, best[1].0, ratio, scenario));
        }
    }
    drop(peer);

    share_of_peak(&engines[0].1, &texts)?;
    let mut p95 = Vec::new();
    for (name, _, engine) in &engines {
        let latencies = over_http(engine.clone(), &texts)?;
        let (p50, p95_ms) = (quantile(&latencies, 0.5), quantile(&latencies, 0.95));
        println!("over HTTP, one client, {name}: p50 {p50:.2} ms, p95 {p95_ms:.2} ms");
        p95.push(p95_ms);
    }
    let best_p95 = p95.into_iter().fold(f64::INFINITY, f64::min);
    let (ours, peer, _, scenario) = worst.unwrap_or_default();
    let extra = json!({ "scenario": scenario, "http_p95_ms": best_p95, "texts_per_s": table });
    closing_line("encoder-serve", ours, peer, "texts/s", &extra);
    Ok(())
}

/// A text and its label.
type Pair = (String, String);

/// Training pairs and shuffled test texts.
fn banking77() -> Result<(Vec<Pair>, Vec<String>)> {
    use rand::seq::SliceRandom;
    let read = |part: &str| {
        let path = shared().join("data/banking77").join(part);
        let text = std::fs::read_to_string(&path)
            .map_err(|why| Error::io(&BENCH, "read Banking77", &path, &why))?;
        Ok::<_, Error>(records(&text))
    };
    let mut texts: Vec<String> = read("test.csv")?.into_iter().map(|(text, _)| text).collect();
    texts.shuffle(&mut sprat_task::random::stream(0, "bench texts"));
    texts.truncate(1024);
    Ok((read("train.csv")?, texts))
}

/// The records of a two-column CSV file without its header; quotes are doubled inside quotes.
fn records(text: &str) -> Vec<Pair> {
    let mut rows = Vec::new();
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                fields.push(std::mem::take(&mut field));
                if let [text, label] = fields.as_slice() {
                    rows.push((text.clone(), label.clone()));
                }
                fields.clear();
            }
            c => field.push(c),
        }
    }
    rows.into_iter().skip(1).collect()
}

/// One round of ours through the engine.
fn in_process(engine: &EncoderEngine, texts: &[String], at_once: usize) -> Result<Round> {
    let mut round = Round::default();
    let began = Instant::now();
    for group in texts.chunks(at_once) {
        let start = Instant::now();
        let mut pending = Vec::with_capacity(group.len());
        for text in group {
            pending.push(engine.submit(Request::text(text.as_str()))?);
        }
        for pending in pending {
            pending.wait()?;
        }
        round.latencies_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    round.seconds = began.elapsed().as_secs_f64();
    Ok(round)
}

/// ONNX Runtime in its own process.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    about: Value,
}

impl Peer {
    fn start(texts: &[String]) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("sprat-bench-{}.json", std::process::id()));
        sprat_task::write::bytes(&file, json!(texts).to_string().as_bytes())
            .map_err(failed("the texts could not be written"))?;
        let python = std::env::var("SPRAT_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/serve_onnx.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(minilm())
            .arg(&file)
            .arg(THREADS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("the peer could not be started"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::new(&BENCH, "the peer has no pipes"));
        };
        let mut peer = Peer { child, input, output: BufReader::new(output), about: Value::Null };
        peer.about = peer.line()?;
        let _ = std::fs::remove_file(file);
        Ok(peer)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(failed("the peer does not answer"))?;
        serde_json::from_str(&line)
            .map_err(|why| Error::new(&BENCH, "the peer ended early").why(why.to_string()))
    }

    fn round(&mut self, format: &str, at_once: usize, texts: usize) -> Result<Round> {
        let command = json!({ "format": format, "at_once": at_once, "texts": texts });
        writeln!(self.input, "{command}").map_err(failed("the peer does not listen"))?;
        let answer = self.line()?;
        let latencies = answer["latencies_ms"].as_array().into_iter().flatten();
        Ok(Round {
            seconds: answer["seconds"].as_f64().unwrap_or(f64::NAN),
            latencies_ms: latencies.filter_map(Value::as_f64).collect(),
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Versions, and that both sides compute the same vectors.
fn describe(peer: &Peer, f32: &Prototypes, int8: &Prototypes, texts: &[String]) -> Result<()> {
    let some: Vec<&str> = texts.iter().take(64).map(String::as_str).collect();
    let (full, shrunk) = (f32.encoder.embed(&some)?, int8.encoder.embed(&some)?);
    let cosines: Vec<f64> =
        (0..some.len()).map(|row| cosine(full.row(row), shrunk.row(row))).collect();
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let theirs: Vec<f32> = peer.about["first_vector"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|x| x.as_f64().map(|x| x as f32))
        .collect();
    let same = cosine(full.row(0), &theirs);
    println!("ONNX Runtime {}, {THREADS} threads on both sides", peer.about["onnxruntime"]);
    println!("cosine of our f32 vector and the peer's: {same:.6}");
    println!(
        "cosine of int8 and f32 over 64 texts: ours mean {mean:.4}, least {least:.4}; peer mean {:.4}, least {:.4}",
        peer.about["int8_cosine_mean"].as_f64().unwrap_or(f64::NAN),
        peer.about["int8_cosine_min"].as_f64().unwrap_or(f64::NAN)
    );
    if same < 0.9999 {
        return Err(Error::new(&BENCH, "the two sides do not compute the same vectors"));
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// How much of the machine's measured ceiling the f32 encoder reaches in batches of 32.
fn share_of_peak(model: &Prototypes, texts: &[String]) -> Result<()> {
    let config = model.encoder.config();
    let (hidden, inner) = (config.hidden as f64, config.intermediate as f64);
    let (mut operations, mut seconds) = (0.0, f64::INFINITY);
    for _ in 0..3 {
        operations = 0.0;
        let began = Instant::now();
        for group in texts.chunks(32) {
            let texts: Vec<&str> = group.iter().map(String::as_str).collect();
            for scored in model.classify(&texts)? {
                let tokens = scored.tokens as f64;
                // Per token and layer 4 h² + 2 h i products of weights and 2 t h of attention; a
                // multiply-add counts as two operations.
                let products = 4.0 * hidden * hidden + 2.0 * hidden * inner + 2.0 * tokens * hidden;
                operations += 2.0 * config.layers as f64 * tokens * products;
            }
        }
        seconds = began.elapsed().as_secs_f64().min(seconds);
    }
    let (reached, ceiling) = (operations / seconds / 1e9, peak::f32_flops(THREADS) / 1e9);
    println!(
        "\nf32 in batches of 32: {reached:.0} GFLOP/s, {:.0} % of the measured f32 peak of {ceiling:.0} \
         (tokenization included in the time)",
        100.0 * reached / ceiling
    );
    Ok(())
}

/// Sorted latencies in ms of one client that asks one text after the other.
fn over_http(engine: Arc<EncoderEngine>, texts: &[String]) -> Result<Vec<f64>> {
    let served = Served {
        id: "bench".into(),
        aliases: Vec::new(),
        version: "1".into(),
        created: Timestamp(0),
        generator: Some(engine),
        embedder: None,
        threshold: None,
    };
    let config =
        Config { address: ([127, 0, 0, 1], 0).into(), handle_signals: false, ..Config::default() };
    let table = Arc::new(Table::new(vec![Arc::new(served)]));
    let shutdown = Interrupt::default();
    let (sender, receiver) = mpsc::channel();
    let stop = shutdown.clone();
    let server = std::thread::spawn(move || {
        let ready = move |address| {
            let _ = sender.send(address);
        };
        sprat_serve::run(config, table, Arc::new(NoTraces), Arc::new(SystemClock), &stop, ready)
    });
    let address = receiver.recv().map_err(|_| Error::new(&BENCH, "the server did not start"))?;
    let measured = client(address, texts).map_err(failed("the server does not answer"));
    shutdown.request();
    match server.join() {
        Ok(result) => result?,
        Err(_) => return Err(Error::new(&BENCH, "the server ended abnormally")),
    }
    measured
}

fn client(address: SocketAddr, texts: &[String]) -> std::io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut latencies = Vec::new();
    for text in texts {
        let body = json!({ "input": text, "top_k": 5 }).to_string();
        let request = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let start = Instant::now();
        stream.write_all(request.as_bytes())?;
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.starts_with("HTTP/1.1") && !line.contains(" 200 ") {
                return Err(std::io::Error::other(line));
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        latencies.push(start.elapsed().as_secs_f64() * 1e3);
    }
    latencies.drain(..latencies.len().min(32)); // warm-up
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The value under which a share `q` of the sorted values lies (nearest rank).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
