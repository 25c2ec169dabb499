//! `bench-gateway`: what `sprat serve` adds in front of a hosted model, and how much it carries,
//! against LiteLLM's proxy.
//!
//! A local endpoint that answers at once plays the hosted model, in a process of its own; so does
//! the load generator ([`sprat_bench::load`]). The endpoint is asked directly, and through the real
//! `sprat serve` of a released project whose route sends every request to it, with the private
//! rules, breaker, budget and traces on, at fixed rates in turn. What is added is the difference of
//! the two sides' percentiles; a bare proxy, hyper's client behind its server, shows what the machine
//! asks of any. Then ours and LiteLLM's proxy (one worker per core, no database, no keys, nothing
//! logged) carry as much as they can, in turn. Everything shares the machine's cores.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use sprat_bench::closing_line;
use sprat_bench::load::{Measured, closed_loop, open_loop, post};
use sprat_task::{Error, Result};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Requests a second, for the latencies.
const RATES: [f64; 6] = [500.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0];
/// How much may be added at the 99th percentile, in milliseconds.
const AIM_MS: f64 = 1.0;
/// Connections, at most when rates are fixed, and always when they are not.
const CONNECTIONS: usize = 256;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(5);

static BENCH: sprat_task::Code = sprat_task::Code {
    id: "SPRAT-BENCH-FAILED",
    kind: sprat_task::Kind::Failed,
    summary: "A benchmark could not run.",
    remedy: "Run it through `make bench-gateway`, which builds and installs what it needs.",
};

fn failed<'a, E: std::fmt::Display>(what: &'a str) -> impl Fn(E) -> Error + 'a {
    move |why| Error::new(&BENCH, what).why(why.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["endpoint"] => endpoint(),
        ["proxy", endpoint] => proxy(endpoint),
        ["load", address, rate, seconds] => load(address, rate, seconds),
        ["--rounds", rounds] => bench(rounds.parse().unwrap_or(3)),
        _ => bench(3),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n  {}", error.remedy());
            ExitCode::from(error.code().kind.exit_code())
        }
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // LiteLLM's workers are processes of their own: its whole group goes. For a child that leads no
        // group this says only that there is none.
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processor time of a process and its children so far, in seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the name in brackets; fields 14 and 15 of proc(5), in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn bench(rounds: usize) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("sprat-bench-gateway-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(failed("no place for the project"))?;
    let done = measure(&folder, rounds);
    let _ = std::fs::remove_dir_all(&folder);
    done
}

fn measure(folder: &Path, rounds: usize) -> Result<()> {
    let (mock, direct) = start_role(&["endpoint"])?;
    let (bare, passing) = start_role(&["proxy", &direct.to_string()])?;
    let (ours, address) = start_ours(folder, direct)?;
    println!("{} cores, shared by load, gateway and endpoint; medians of {rounds} rounds", cores());
    // Both are warm, and the first connections made.
    for address in [direct, passing, address] {
        run_load(address, Some(500.0), 2.0)?;
    }
    let mut reached = 0.0;
    let mut table = Vec::new();
    for rate in RATES {
        let (mut plain, mut passed) = (Vec::new(), Vec::new());
        let (mut through, mut busy) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            plain.push(run_load(direct, Some(rate), 5.0)?);
            passed.push(run_load(passing, Some(rate), 5.0)?);
            let before = cpu_seconds(ours.0.id());
            let measured = run_load(address, Some(rate), 5.0)?;
            let spent = cpu_seconds(ours.0.id()) - before;
            busy.push(1e6 * spent / measured.answered.max(1) as f64);
            through.push(measured);
        }
        let at = |runs: &[Measured], share| median(runs.iter().map(|one| one.quantile_ms(share)));
        let lost: usize = through.iter().map(|one| one.failed).sum();
        let added = |share| at(&through, share) - at(&plain, share);
        let least = |share| at(&passed, share) - at(&plain, share);
        let spread: Vec<String> =
            through.iter().map(|one| format!("{:.2}", one.quantile_ms(0.99))).collect();
        println!(
            "{rate:>6.0} a second: directly p50 {:.2} p99 {:.2} ms, through us p50 {:.2} p99 {:.2} ms \
             ({}); added p50 {:.2} p99 {:.2} ms (a bare proxy: {:.2} and {:.2}); {:.0} µs of processor \
             a request, {lost} failed",
            at(&plain, 0.5),
            at(&plain, 0.99),
            at(&through, 0.5),
            at(&through, 0.99),
            spread.join(", "),
            added(0.5),
            added(0.99),
            least(0.5),
            least(0.99),
            median(busy.iter().copied()),
        );
        if lost == 0 && added(0.99) < AIM_MS {
            reached = rate;
        }
        table.push(json!({ "per_second": rate, "added_p50_ms": added(0.5),
            "added_p99_ms": added(0.99), "bare_p50_ms": least(0.5), "bare_p99_ms": least(0.99),
            "failed": lost }));
    }
    println!(
        "highest of these rates with less than {AIM_MS} ms added at p99: {reached:.0} a second"
    );

    let peer = start_litellm(folder, direct)?;
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let side = |address, name: &str, all: &mut Vec<f64>| -> Result<()> {
        let measured = run_load(address, None, 8.0)?;
        let per_second = measured.answered as f64 / measured.seconds;
        println!(
            "{name}: {per_second:.0} a second over {AT_ONCE} connections, p50 {:.2} ms, p99 {:.2} ms, \
             {} failed",
            measured.quantile_ms(0.5),
            measured.quantile_ms(0.99),
            measured.failed
        );
        all.push(per_second);
        Ok(())
    };
    if let Some((_, address)) = &peer {
        run_load(*address, Some(50.0), 3.0)?;
    }
    for _ in 0..rounds {
        side(address, "ours", &mut mine)?;
        if let Some((_, address)) = &peer {
            side(*address, "LiteLLM", &mut theirs)?;
        }
    }
    side(passing, "a bare proxy", &mut Vec::new())?;
    side(direct, "the endpoint alone", &mut Vec::new())?;
    drop((ours, bare, mock));
    let (mine, theirs) = (median(mine.into_iter()), median(theirs.into_iter()));
    println!("at most {mine:.0} a second, LiteLLM {theirs:.0}: {:.1} times", mine / theirs);
    let extra = json!({ "rate_under_1_ms": reached, "rates": table });
    closing_line("gateway", mine, theirs, "requests/s", &extra);
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// This program in another role.
fn role(arguments: &[&str]) -> Result<Command> {
    let mut command =
        Command::new(std::env::current_exe().map_err(failed("this program has no name"))?);
    command.args(arguments);
    Ok(command)
}

fn run_load(address: SocketAddr, rate: Option<f64>, seconds: f64) -> Result<Measured> {
    let rate = rate.map_or("most".to_owned(), |rate| rate.to_string());
    let output = role(&["load", &address.to_string(), &rate, &seconds.to_string()])?
        .stderr(Stdio::inherit())
        .output()
        .map_err(failed("the load cannot be started"))?;
    serde_json::from_slice(&output.stdout).map_err(failed("the load ended early"))
}

/// The load generator's process.
fn load(address: &str, rate: &str, seconds: &str) -> Result<()> {
    let address = address.parse().map_err(failed("no address"))?;
    let time = Duration::from_secs_f64(seconds.parse().map_err(failed("no time"))?);
    let text = "my parcel has not come yet, and the saddle that I sent back a week ago is not paid \
                for either; what shall I do about it, and whom can I call";
    let body = json!({ "model": "answers", "messages": [{ "role": "user", "content": text }] });
    let request = post("/v1/chat/completions", &body.to_string());
    let measured = match rate.parse::<f64>() {
        Ok(rate) => open_loop(address, &request, rate, time, CONNECTIONS, PATIENCE),
        Err(_) => closed_loop(address, &request, AT_ONCE, time),
    };
    let measured = measured.map_err(failed("the load met an error"))?;
    println!("{}", json!(measured));
    Ok(())
}

/// This program as a server, which says its address first.
fn start_role(arguments: &[&str]) -> Result<(Running, SocketAddr)> {
    let child = role(arguments)?.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(failed("this program cannot be started again"))?;
    let line = first_line(&mut child)?;
    let address = line.trim().parse().map_err(failed("a server has no address"))?;
    Ok((Running(child), address))
}

fn first_line(child: &mut Child) -> Result<String> {
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(failed("a program says nothing"))?;
    }
    Ok(line)
}

/// Listens, says where, and answers every connection by a function.
async fn serve_each<F, R, E>(answer: F) -> Result<()>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = std::result::Result<Response<Full<Bytes>>, E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
    let listener = listener.map_err(failed("no port"))?;
    println!("{}", listener.local_addr().map_err(failed("no address"))?);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let service = hyper::service::service_fn(answer.clone());
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

/// The endpoint's process: one thread that answers every request with the same label.
fn endpoint() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("no runtime"))?.block_on(serve_each(answer))
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    while let Some(frame) = request.body_mut().frame().await {
        frame?;
    }
    const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"large","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":60,"completion_tokens":1,"total_tokens":61}}"#;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The bare proxy's process: hyper's own client and server on as many threads as ours, which pass
/// bodies on and look at nothing. What it adds is what this machine asks of any proxy.
fn proxy(endpoint: &str) -> Result<()> {
    let endpoint: SocketAddr = endpoint.parse().map_err(failed("no address"))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(failed("no runtime"))?.block_on(async move {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        let pass = move |request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let path = request.uri().path().to_owned();
                let body = request.into_body().collect().await?.to_bytes();
                let request = Request::post(format!("http://{endpoint}{path}"))
                    .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                    .body(Full::new(body))?;
                let (head, body) = client.request(request).await?.into_parts();
                let body = Full::new(body.collect().await?.to_bytes());
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::from_parts(head, body))
            }
        };
        serve_each(pass).await
    })
}

/// `sprat serve` of a project whose route sends everything to the endpoint.
fn start_ours(folder: &Path, endpoint: SocketAddr) -> Result<(Running, SocketAddr)> {
    let sprat = match std::env::var_os("SPRAT_BINARY") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe().map_err(failed("no name"))?.with_file_name("sprat"),
    };
    sprat_model::tiny::write(&folder.join("base"), 1)?;
    let words = ["parcel", "invoice", "saddle", "helmet", "brake", "refund", "shop", "tyre"];
    let mut csv = String::from("text,label\n");
    for at in 0..160 {
        let (a, b, c) = (words[at % 8], words[(at / 8) % 8], words[(at / 64) % 8]);
        csv += &format!("my {a} and the {b} near a {c} number {at},{}\n", ["yes", "no"][at % 2]);
    }
    let settings = format!(
        "[task]\nname = \"answers\"\n[data]\ntrain = \"data.csv\"\n[needs]\nprivacy = \"any\"\n\
         [tune]\nmethod = \"head\"\n[[candidates]]\nmodel = \"file:base\"\n\
         [[candidates]]\nmodel = \"openai:large\"\nbase_url = \"http://{endpoint}/v1\"\n\
         usd_per_million_input_tokens = 1.0\nusd_per_million_output_tokens = 4.0\n\
         [route]\nlarge = [\"openai:large\"]\nkeep_above = 1.0\nconcurrency = 256\n\
         usd_per_day = 1e6\n[[route.rules]]\nto = \"large\"\nmin_chars = 1\n"
    );
    let write = |name: &str, text: &str| {
        sprat_task::write::bytes(&folder.join(name), text.as_bytes())
            .map_err(failed("the project cannot be written"))
    };
    write("data.csv", &csv)?;
    write("sprat.toml", &settings)?;
    for step in [&["tune"][..], &["release"], &["promote", "v1"]] {
        let mut command = Command::new(&sprat);
        command.current_dir(folder).args(step).arg("--quiet").env("NO_PROXY", "127.0.0.1");
        let output = command.output().map_err(failed("`sprat` cannot be started"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::new(&BENCH, format!("`sprat {}` failed", step.join(" "))).why(why));
        }
    }
    let child = Command::new(&sprat)
        .current_dir(folder)
        .args(["serve", "--listen", "127.0.0.1:0", "--json"])
        .env("NO_PROXY", "127.0.0.1")
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.map_err(failed("`sprat serve` cannot be started"))?;
    let line = first_line(&mut child)?;
    let said: Value = serde_json::from_str(&line).map_err(failed("`sprat serve` did not start"))?;
    let address = said["address"].as_str().unwrap_or_default();
    let address = address.parse().map_err(failed("`sprat serve` has no address"))?;
    Ok((Running(child), address))
}

/// LiteLLM's proxy as its documentation has it for production; none where it is not installed.
fn start_litellm(folder: &Path, endpoint: SocketAddr) -> Result<Option<(Running, SocketAddr)>> {
    let Some(program) = std::env::var_os("SPRAT_LITELLM") else {
        println!("no LiteLLM: `SPRAT_LITELLM` is not set");
        return Ok(None);
    };
    let config = format!(
        "model_list:\n  - model_name: answers\n    litellm_params:\n      model: openai/large\n      \
         api_base: http://{endpoint}/v1\n      api_key: sk-none\nlitellm_settings:\n  \
         set_verbose: false\n  num_retries: 0\n  request_timeout: 20\n"
    );
    let path = folder.join("litellm.yaml");
    sprat_task::write::bytes(&path, config.as_bytes()).map_err(failed("no configuration"))?;
    let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = free.map_err(failed("no port"))?;
    let log = std::fs::File::create(folder.join("litellm.log")).map_err(failed("no log"))?;
    let errors = log.try_clone().map_err(failed("no log"))?;
    let child = Command::new(program)
        .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
        .args(["--num_workers", &cores().to_string(), "--config"])
        .arg(&path)
        .envs([
            ("LITELLM_MODE", "PRODUCTION"),
            ("LITELLM_LOG", "ERROR"),
            ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
            ("DISABLE_ADMIN_UI", "True"),
            // Neither side asks for keys; it would not start without one otherwise.
            ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true"),
            ("NO_PROXY", "127.0.0.1"),
        ])
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn();
    let running = Running(child.map_err(failed("LiteLLM cannot be started"))?);
    let begun = Instant::now();
    loop {
        if TcpStream::connect(address).is_ok() {
            let tried = run_load(address, Some(5.0), 1.0)?;
            if tried.answered > 0 {
                return Ok(Some((running, address)));
            }
        }
        if begun.elapsed() > Duration::from_secs(120) {
            let log = std::fs::read_to_string(folder.join("litellm.log")).unwrap_or_default();
            return Err(Error::new(&BENCH, "LiteLLM does not answer").why(log));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}
