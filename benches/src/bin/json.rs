//! `bench-json`: extraction under a JSON Schema over HTTP, eight clients at once, against llama.cpp's
//! server: the same file of weights, two threads on both sides, the same requests.
//!
//! The weights are our small base, tuned on the table bookings of `examples/` and merged (kept in
//! `.cache/bench/json`). Both servers run in turn, one at a time, for `--rounds` rounds; each time
//! every client asks its share of the rows, greedily. What is counted are answers a second; how
//! many of them satisfy the schema and how many are exactly right is printed beside it.
//!
//! Options: `--rounds N` (3), `--base FILE` (the shipped model).

use serde_json::{Value, json};
use sprat_bench::closing_line;
use sprat_bench::extraction_tasks::example;
use sprat_bench::sides::{BENCH, THREADS};
use sprat_model::decoder::{Formats, Memory, TokenExample, write_gguf};
use sprat_model::{BaseModel, BlockFormat, Format, LanguageModel};
use sprat_task::settings::{ClassWeights, Method};
use sprat_task::{Digest, Error, Interrupt, Quiet, Result};
use sprat_train::{DecoderJob, MODEL_FOLDER, Recipe, tune_decoder};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;
const ANSWER_TOKENS: usize = 96;
const INSTRUCTION: &str = "Take the booking's fields out of the message.";

fn failed(what: &str, why: impl ToString) -> Error {
    Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Texts with the wanted answers, and the schema.
struct Task {
    rows: Vec<(String, String)>,
    schema: Value,
}

impl Task {
    fn read() -> Result<Task> {
        let folder = root().join("examples/table-bookings");
        let text = std::fs::read_to_string(folder.join("schema.json"))
            .map_err(|why| failed("the schema is missing", why))?;
        let schema =
            serde_json::from_str(&text).map_err(|why| failed("the schema is damaged", why))?;
        let mut reader = csv::Reader::from_path(folder.join("bookings.csv"))
            .map_err(|why| failed("the rows are missing", why))?;
        let rows = reader.deserialize::<(String, String)>();
        let rows = rows.collect::<std::result::Result<Vec<_>, _>>();
        let mut rows = rows.map_err(|why| failed("a row is damaged", why))?;
        for (_, answer) in &mut rows {
            let value: Value =
                serde_json::from_str(answer).map_err(|why| failed("a row is damaged", why))?;
            *answer = value.to_string();
        }
        Ok(Task { rows, schema })
    }
}

fn bench() -> Result<()> {
    let mut rounds = 3;
    let mut base = root().join("models/sprat-base/sprat-base-q8_0.gguf");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--rounds" => {
                rounds = value.parse().map_err(|why| failed(name, why))?;
            }
            [name, value] if name == "--base" => base = value.into(),
            other => return Err(failed("unknown option", &other[0])),
        }
    }
    let task = Task::read()?;
    let (model, asked) = tuned(&task, &base)?;
    let mut sides = [Side::ours(), Side::llama_cpp()?];
    for _ in 0..rounds {
        for side in &mut sides {
            let round = side.measure(&model, &task, asked)?;
            println!(
                "{}: {:.1} answers a second, {} of {} satisfy the schema, {} are right",
                side.name, round.per_second, round.valid, asked, round.right
            );
            side.rounds.push(round);
        }
    }
    let [ours, theirs] = &sides;
    let (mine, peer) = (ours.median(), theirs.median());
    println!("ours {mine:.1}, llama.cpp {peer:.1} answers a second: {:.2}", mine / peer);
    let valid = |side: &Side| side.rounds.iter().map(|round| round.valid).min().unwrap_or(0);
    let right = |side: &Side| side.rounds.first().map_or(0, |round| round.right);
    let extra = json!({
        "clients": CLIENTS, "requests": asked, "rounds": rounds,
        "ours_valid": valid(ours), "peer_valid": valid(theirs),
        "ours_right": right(ours), "peer_right": right(theirs), "aim": 2.0,
    });
    closing_line("json", mine, peer, "answers a second", &extra);
    Ok(())
}

/// The merged model, and how many of the last rows it has not seen.
fn tuned(task: &Task, base: &Path) -> Result<(PathBuf, usize)> {
    let folder = root().join(".cache/bench/json");
    let asked = task.rows.len() / 5;
    let bytes = std::fs::read(base).map_err(|why| failed("the base is missing", why).file(base))?;
    let digest = Digest::of(&bytes);
    let file = folder.join(format!("{}.gguf", digest.short()));
    if file.exists() {
        return Ok((file, asked));
    }
    println!("tuning {} on the bookings", base.display());
    let model = LanguageModel::open(base, Format::F32, None)?;
    let seen = task.rows.len() - asked;
    let examples = |rows: &[(String, String)]| -> Result<Vec<TokenExample>> {
        let row = |(text, answer): &(String, String)| example(&model, INSTRUCTION, (text, answer));
        rows.iter().map(row).collect()
    };
    let (train, valid) = task.rows[..seen].split_at(seen * 9 / 10);
    let (train, valid) = (examples(train)?, examples(valid)?);
    let recipe = Recipe {
        method: Method::Lora,
        learning_rate: Some(3e-3),
        rank: 16,
        targets: vec!["all".to_owned()],
        batch: 16,
        epochs: 2.0,
        class_weights: ClassWeights::None,
        ..Recipe::default()
    };
    let run = folder.join(digest.short());
    let outcome = tune_decoder(&DecoderJob {
        base,
        base_model: &BaseModel { reference: "base".into(), digest: digest.to_string() },
        train: &train,
        valid: &valid,
        ends: model.tokenizer().ends(),
        context: None,
        memory: Memory::Normal,
        recipe: &recipe,
        folder: &run,
        progress: &Quiet,
        interrupt: &Interrupt::default(),
    })?;
    println!("validation loss {:.3} after {} steps", outcome.validation.loss, outcome.steps);
    let formats = Formats::One(BlockFormat::Q8_0);
    write_gguf(base, Some(&run.join(MODEL_FOLDER)), formats, None, &file)?;
    Ok((file, asked))
}

/// What one server did in one round.
struct Round {
    per_second: f64,
    valid: usize,
    right: usize,
}

/// A server, and what it did.
struct Side {
    name: &'static str,
    program: PathBuf,
    rounds: Vec<Round>,
}

/// A server that ends with the measurement.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Side {
    fn ours() -> Side {
        // Beside this program.
        let here = std::env::current_exe().unwrap_or_default();
        Side { name: "ours", program: here.with_file_name("sprat"), rounds: Vec::new() }
    }

    fn llama_cpp() -> Result<Side> {
        let folder = std::env::var_os("SPRAT_LLAMA_CPP")
            .ok_or_else(|| failed("llama.cpp is missing", "SPRAT_LLAMA_CPP names no folder"))?;
        let program = Path::new(&folder).join("llama-server");
        Ok(Side { name: "llama.cpp", program, rounds: Vec::new() })
    }

    fn start(&self, model: &Path, port: u16) -> Result<Running> {
        let mut command = Command::new(&self.program);
        let threads = THREADS.to_string();
        if self.name == "ours" {
            let listen = format!("127.0.0.1:{port}");
            command.args([
                "serve",
                "--quiet",
                "--threads",
                &threads,
                "--listen",
                &listen,
                "--model",
            ]);
            command.arg(model);
        } else {
            // A slot for each client, each with the context that the requests need.
            let context = (512 * CLIENTS).to_string();
            let (clients, port) = (CLIENTS.to_string(), port.to_string());
            command.args(["--threads", &threads, "--parallel", &clients, "--ctx-size", &context]);
            command.args(["--port", &port, "--jinja", "--no-webui", "--model"]).arg(model);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = child.spawn();
        child.map(Running).map_err(|why| failed("a server could not be started", why))
    }

    fn measure(&self, model: &Path, task: &Task, asked: usize) -> Result<Round> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|why| failed("there is no free port", why))?.port();
        let mut server = self.start(model, port)?;
        let rows = &task.rows[task.rows.len() - asked..];
        let client = || {
            let agent = ureq::Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(120)))
                .build();
            ureq::Agent::new_with_config(agent)
        };
        // Until it answers; the first request warms it up.
        let begun = Instant::now();
        let name = loop {
            match model_name(&client(), port) {
                Ok(name) => break name,
                Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(failed(self.name, format!("the server ended: {status}")));
            }
        };
        let ask = |agent: &ureq::Agent, text: &str| ask(agent, port, &name, text, &task.schema);
        ask(&client(), &rows[0].0)?;
        let begun = Instant::now();
        let answers: Vec<Result<Vec<(usize, String)>>> = std::thread::scope(|scope| {
            let ask = &ask;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|first| {
                    scope.spawn(move || {
                        let agent = client();
                        let own = (first..rows.len()).step_by(CLIENTS);
                        own.map(|at| Ok((at, ask(&agent, &rows[at].0)?))).collect()
                    })
                })
                .collect();
            let ended = |client: std::thread::ScopedJoinHandle<'_, Result<_>>| {
                client.join().unwrap_or_else(|_| Err(failed("a client", "it panicked")))
            };
            clients.into_iter().map(ended).collect()
        });
        let seconds = begun.elapsed().as_secs_f64();
        let checks = jsonschema::validator_for(&task.schema)
            .map_err(|why| failed("the schema is wrong", why))?;
        let (mut valid, mut right) = (0, 0);
        for answers in answers {
            for (at, answer) in answers? {
                let Ok(value) = serde_json::from_str::<Value>(&answer) else { continue };
                valid += usize::from(checks.is_valid(&value));
                let gold: Value = serde_json::from_str(&rows[at].1).unwrap_or_default();
                right += usize::from(value == gold);
            }
        }
        Ok(Round { per_second: rows.len() as f64 / seconds, valid, right })
    }

    fn median(&self) -> f64 {
        let mut all: Vec<f64> = self.rounds.iter().map(|round| round.per_second).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    }
}

/// What the server calls its model.
fn model_name(agent: &ureq::Agent, port: u16) -> Result<String> {
    let response = agent.get(format!("http://127.0.0.1:{port}/v1/models")).call();
    let mut response = response.map_err(|why| failed("the server does not answer", why))?;
    let list: Value =
        response.body_mut().read_json().map_err(|why| failed("a list is damaged", why))?;
    let name = list["data"][0]["id"].as_str();
    name.map(str::to_owned).ok_or_else(|| failed("there is no model", &list))
}

/// One request; the answer's text.
fn ask(agent: &ureq::Agent, port: u16, model: &str, text: &str, schema: &Value) -> Result<String> {
    let body = json!({
        "model": model,
        "messages": [
            { "role": "system", "content": INSTRUCTION },
            { "role": "user", "content": text },
        ],
        "temperature": 0, "max_tokens": ANSWER_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": { "name": "booking", "strict": true, "schema": schema },
        },
    });
    let url = format!("http://127.0.0.1:{port}/v1/chat/completions");
    let response = agent.post(&url).send_json(&body);
    let mut response = response.map_err(|why| failed("a request failed", why))?;
    let answer: Value =
        response.body_mut().read_json().map_err(|why| failed("an answer is damaged", why))?;
    let content = answer["choices"][0]["message"]["content"].as_str();
    content.map(str::to_owned).ok_or_else(|| failed("an answer has no text", answer))
}
