//! A server over a small made-up model, and a client.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use sprat_infer::{
    Behaviour, DecoderEngine, DecoderLimits, DecoderModel, Embedding, EncoderEmbedder,
    EncoderEngine, Limits, Scored, TextClassifier, TextEmbedder,
};
use sprat_model::{Format, LanguageModel};
use sprat_serve::{Config, Served, Table, Trace, TraceSink};
use sprat_task::{Error, Interrupt, Result, SystemClock, Timestamp};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// "card…" is a card, "loan…" a loan, all else other; "slow" takes 300 ms; "panic" panics.
pub struct Model {
    pub labels: Vec<String>,
    pub probe: Arc<Probe>,
}

/// What a test can see of a model from outside.
#[derive(Default)]
pub struct Probe {
    pub calls: AtomicUsize,
    pub dropped: AtomicBool,
}

impl Drop for Model {
    fn drop(&mut self) {
        self.probe.dropped.store(true, Ordering::SeqCst);
    }
}

impl TextClassifier for Model {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        self.probe.calls.fetch_add(1, Ordering::SeqCst);
        Ok(texts
            .iter()
            .map(|text| {
                if text.starts_with("slow") {
                    std::thread::sleep(Duration::from_millis(300));
                }
                assert!(!text.starts_with("panic"), "as asked");
                let probabilities = match text.get(..4) {
                    Some("card") => vec![0.75, 0.125, 0.125],
                    Some("loan") => vec![0.25, 0.5, 0.25],
                    _ => vec![0.25, 0.25, 0.5],
                };
                Scored {
                    probabilities,
                    tokens: text.split(' ').count() + 2,
                    cut: 0,
                    embedding: None,
                }
            })
            .collect())
    }
}

impl TextEmbedder for Model {
    fn dimensions(&self) -> usize {
        3
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        if texts.contains(&"fail") {
            static BAD: sprat_task::Code = sprat_task::Code {
                id: "SPRAT-TEST-BAD",
                kind: sprat_task::Kind::Usage,
                summary: "As asked.",
                remedy: "Do not ask.",
            };
            return Err(Error::new(&BAD, "as asked"));
        }
        Ok(texts
            .iter()
            .map(|text| Embedding { vector: vec![0.6, 0.0, -0.8], tokens: text.len() })
            .collect())
    }
}

fn model() -> (Arc<Model>, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let labels = ["card", "loan", "other"].map(String::from).to_vec();
    (Arc::new(Model { labels, probe: Arc::clone(&probe) }), probe)
}

/// A served model under the name `task`, and its probe.
pub fn served(version: &str, limits: Limits) -> (Arc<Served>, Arc<Probe>) {
    let (model, probe) = model();
    let generator = EncoderEngine::start("task", model.clone(), limits).unwrap();
    let embedder = EncoderEmbedder::start("task", model, limits).unwrap();
    let served = Served {
        id: "task".into(),
        aliases: vec!["task@production".into()],
        version: version.into(),
        created: Timestamp(1_700_000_000_000),
        generator: Some(Arc::new(generator)),
        embedder: Some(Arc::new(embedder)),
        threshold: None,
    };
    (Arc::new(served), probe)
}

/// A tiny random model that writes, under the name `writer`.
pub fn writer() -> Arc<Served> {
    let folder = tempfile::tempdir().unwrap();
    sprat_model::tiny::write_decoder(folder.path(), 1).unwrap();
    let model = LanguageModel::open(folder.path(), Format::F32, None).unwrap();
    let limits = DecoderLimits { cache_tokens: 4096, ..DecoderLimits::default() };
    let engine = Arc::new(DecoderEngine::start("writer", Arc::new(model), limits).unwrap());
    let model = DecoderModel::new("writer", engine, None, Behaviour::default());
    Arc::new(Served {
        id: "writer".into(),
        aliases: vec![],
        version: "v1".into(),
        created: Timestamp(1_700_000_000_000),
        generator: Some(Arc::new(model)),
        embedder: None,
        threshold: None,
    })
}

/// Runs a Python script beside this one against a server, where its client is installed.
pub fn python(script: &str, address: &str, package: &str) {
    let python = std::env::var_os("SPRAT_PYTHON")
        .map_or_else(|| root().join(".cache/test-venv/bin/python"), Into::into);
    let mut has = Command::new(&python);
    has.args(["-c", &format!("import {package}")]);
    client(Command::new(&python), has, script, address, "set SPRAT_PYTHON");
}

/// The same with Node.js and a package of npm.
pub fn node(script: &str, address: &str, package: &str) {
    let modules = std::env::var_os("SPRAT_NODE_PATH")
        .map_or_else(|| root().join(".cache/test-node/node_modules"), Into::into);
    let command = || {
        let mut command = Command::new("node");
        command.env("NODE_PATH", &modules);
        command
    };
    let mut has = command();
    has.args(["-e", &format!("require('{package}')")]);
    client(command(), has, script, address, "set SPRAT_NODE_PATH");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn client(mut run: Command, mut has: Command, script: &str, address: &str, hint: &str) {
    if !has.output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {script}: its client is not installed");
        eprintln!("        (`make test` installs it, or {hint})");
        return;
    }
    let path = root().join("crates/serve/tests").join(script);
    let output = run.arg(path).arg(address).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.trim_end().ends_with("all checks passed"), "{text}");
}

#[derive(Default)]
pub struct Traces(pub Mutex<Vec<Trace>>);

impl TraceSink for Traces {
    fn record(&self, trace: Trace) {
        self.0.lock().unwrap().push(trace);
    }
}

pub struct Server {
    pub address: SocketAddr,
    pub table: Arc<Table>,
    pub traces: Arc<Traces>,
    pub shutdown: Interrupt,
    pub probe: Arc<Probe>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(Config::default(), Limits::default())
    }

    pub fn with(config: Config, limits: Limits) -> Self {
        let (model, probe) = served("v1", limits);
        Self::serve(config, model, probe)
    }

    /// A server over a model that writes: a tiny random one that knows every byte.
    pub fn writing() -> Self {
        Self::serve(Config::default(), writer(), Arc::default())
    }

    fn serve(config: Config, model: Arc<Served>, probe: Arc<Probe>) -> Self {
        let config =
            Config { address: ([127, 0, 0, 1], 0).into(), handle_signals: false, ..config };
        let table = Arc::new(Table::new(vec![model]));
        let traces = Arc::new(Traces::default());
        let shutdown = Interrupt::default();
        let (sender, receiver) = mpsc::channel();
        let (t, s, i) = (table.clone(), traces.clone(), shutdown.clone());
        let thread = std::thread::spawn(move || {
            let ready = move |address| sender.send(address).unwrap();
            sprat_serve::run(config, t, s, Arc::new(SystemClock), &i, ready)
        });
        let address = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        Server { address, table, traces, shutdown, probe, thread: Some(thread) }
    }

    /// Waits until the first model began to compute.
    pub fn wait_until_busy(&self) {
        while self.probe.calls.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn stop(&mut self) -> Result<()> {
        self.shutdown.request();
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for header in headers {
            head += header;
            head += "\r\n";
        }
        head += "\r\n";
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// Sends bytes as they are; they must ask for the connection to be closed.
    pub fn raw(&self, request: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Reply::parse(&bytes)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub text: String,
    pub json: Value,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { dechunk(body) } else { body.to_owned() };
        let json = serde_json::from_str(&body).unwrap_or(Value::Null);
        Reply { status, head: head.to_ascii_lowercase(), text: body, json }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Asserts an error in OpenAI's shape.
    pub fn refused(&self, status: u16, code: &str, param: Option<&str>) {
        assert_eq!(self.status, status, "{}", self.text);
        let error = &self.json["error"];
        assert_eq!(error["code"], code, "{}", self.text);
        assert_eq!(error["param"].as_str(), param, "{}", self.text);
        assert!(error["message"].as_str().is_some_and(|m| m.len() > 10), "{}", self.text);
        assert!(error["type"].as_str().unwrap().ends_with("_error"), "{}", self.text);
    }
}

fn dechunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out += rest.get(..size).unwrap_or(rest);
        body = rest.get(size + 2..).unwrap_or("");
    }
    out
}
