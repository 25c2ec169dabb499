//! The real server under load while things break: its large model, its disk, the server itself, and
//! the release that it serves. Every request is either answered as its version answers, or refused
//! with a coded error; only what is on its way when the server is killed may be lost.
//!
//! `make chaos` runs the long form and shows the table; the short one belongs to the tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::Value;
use sprat_infer::remote::mock::{Act, Mock};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{command, sprat};

/// Clients that ask at the same time, one request after the other.
const CLIENTS: usize = 4;

/// After an alias has moved, the server follows within this time: it looks four times a second,
/// and a machine that is busy takes its time to open a model.
const FOLLOW: Duration = Duration::from_secs(5);

const TEXTS: [&str; 4] =
    ["is the saddle here", "the brake is loose", "my refund please", "a helmet and a tyre"];

/// What became of one request.
#[derive(Clone, Debug)]
enum Fate {
    /// Answered, by which version, with which label and confidence, and by which side.
    Answered { text: usize, version: String, said: (String, f64), by: String },
    /// Refused with this code.
    Refused(String),
    /// No whole answer: the connection broke or was not there.
    Lost(String),
    /// Something that must never come.
    Wrong(String),
}

struct Event {
    sent: Instant,
    ended: Instant,
    fate: Fate,
}

/// A keep-alive connection.
struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn ask(&mut self, text: usize) -> Event {
        let sent = Instant::now();
        let fate = self.exchange(text).unwrap_or_else(|why| {
            self.stream = None;
            Fate::Lost(why.to_string())
        });
        Event { sent, ended: Instant::now(), fate }
    }

    fn exchange(&mut self, text: usize) -> std::io::Result<Fate> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                none.insert(BufReader::new(stream))
            }
        };
        let body = serde_json::json!({ "input": TEXTS[text] }).to_string();
        let request = format!(
            "POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut status) = (String::new(), 0, String::new());
        let mut close = false;
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                _ if line.is_empty() => break,
                None => status = line.split(' ').nth(1).unwrap_or_default().to_owned(),
                Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                Some(("connection", "close")) => close = true,
                Some(_) => {}
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        if close {
            self.stream = None;
        }
        let text_of = || String::from_utf8_lossy(&answer).into_owned();
        let Ok(value) = serde_json::from_slice::<Value>(&answer) else {
            return Ok(Fate::Wrong(text_of()));
        };
        if status != "200" {
            return Ok(match value["error"]["code"].as_str() {
                Some(code) if code.starts_with("SPRAT-") => Fate::Refused(code.to_owned()),
                _ => Fate::Wrong(text_of()),
            });
        }
        let one = &value["data"][0];
        let (Some(version), Some(label)) = (value["version"].as_str(), one["label"].as_str())
        else {
            return Ok(Fate::Wrong(text_of()));
        };
        Ok(Fate::Answered {
            text,
            version: version.to_owned(),
            said: (label.to_owned(), one["confidence"].as_f64().unwrap_or(-1.0)),
            by: one["route"]["by"].as_str().unwrap_or("small").to_owned(),
        })
    }
}

/// Asks with all clients while `during` runs.
fn under_load<T>(address: SocketAddr, during: impl FnOnce() -> T) -> (Vec<Event>, T) {
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Vec::new());
    let done = std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (stop, all) = (&stop, &all);
            scope.spawn(move || {
                let mut client = Client { address, stream: None };
                let mut events = Vec::new();
                let mut text = number;
                while !stop.load(Ordering::Relaxed) {
                    text = (text + 1) % TEXTS.len();
                    let event = client.ask(text);
                    // A server that is not there is not asked a million times.
                    if matches!(event.fate, Fate::Lost(_)) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    events.push(event);
                }
                all.lock().unwrap().extend(events);
            });
        }
        let done = during();
        stop.store(true, Ordering::Relaxed);
        done
    });
    (all.into_inner().unwrap(), done)
}

/// A server at a port of its own, killed at the end.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(folder: &Path, address: SocketAddr) -> Served {
        Served::under(folder, address, None)
    }

    /// With `blocks` no file may grow over so many KiB, as on a full disk.
    fn under(folder: &Path, address: SocketAddr, blocks: Option<u64>) -> Served {
        let listen = address.to_string();
        let serve = ["serve", "--listen", &listen, "--json"];
        let mut command = match blocks {
            None => {
                let mut command = command(folder);
                command.args(serve);
                command
            }
            Some(blocks) => {
                // Whoever writes beyond the limit gets an error instead of the signal.
                let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
                let mut shell = std::process::Command::new("bash");
                shell.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_sprat")).args(serve);
                shell
                    .current_dir(folder)
                    .env("SPRAT_HOME", support::home())
                    .env("NO_PROXY", "127.0.0.1");
                shell
            }
        };
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert!(said["address"].is_string(), "{said}");
        Served { child, address }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A line of the table.
struct Row {
    name: &'static str,
    sent: usize,
    large: usize,
    small: usize,
    refused: BTreeMap<String, usize>,
    lost: usize,
    note: String,
}

impl Row {
    fn of(name: &'static str, events: &[Event]) -> Row {
        let (mut large, mut small, mut lost) = (0, 0, 0);
        let mut refused = BTreeMap::new();
        for event in events {
            match &event.fate {
                Fate::Answered { by, .. } if by == "large" => large += 1,
                Fate::Answered { .. } => small += 1,
                Fate::Refused(code) => *refused.entry(code.clone()).or_default() += 1,
                Fate::Lost(_) => lost += 1,
                Fate::Wrong(what) => panic!("{name}: an answer that must never come: {what}"),
            }
        }
        Row { name, sent: events.len(), large, small, refused, lost, note: String::new() }
    }

    /// Nothing may be lost.
    #[track_caller]
    fn whole(self) -> Row {
        assert_eq!(self.lost, 0, "{}: requests were lost", self.name);
        assert!(self.sent > 0, "{}: nothing was sent", self.name);
        self
    }

    fn refusals(&self) -> usize {
        self.refused.values().sum()
    }

    fn noting(mut self, note: impl Into<String>) -> Row {
        self.note = note.into();
        self
    }

    fn print(&self) {
        let refused: Vec<String> =
            self.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
        println!(
            "{:<34} {:>7} sent {:>7} large {:>7} small {:>5} lost   refused: {}  {}",
            self.name,
            self.sent,
            self.large,
            self.small,
            self.lost,
            if refused.is_empty() { "0".to_owned() } else { refused.join(", ") },
            self.note,
        );
    }
}

/// A project with two releases over a tiny encoder, which answer differently; v1 is promoted.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sprat_model::tiny::write(&path.join("base"), 1).unwrap();
    let words = ["parcel", "invoice", "saddle", "helmet", "brake", "refund", "shop", "tyre"];
    for (version, flip) in [("v1", 0), ("v2", 1)] {
        let mut csv = String::from("text,label\n");
        for at in 0..160 {
            let (a, b, c) = (words[at % 8], words[(at / 8) % 8], words[(at / 64) % 8]);
            let label = ["yes", "no"][(at + flip * (at / 3)) % 2];
            csv += &format!("my {a} and the {b} near a {c} number {at},{label}\n");
        }
        std::fs::write(path.join("data.csv"), csv).unwrap();
        settings(path, "");
        for step in ["tune", "release"] {
            // Rows of random labels are no better by tuning: the gate is told so.
            sprat(path, &[step, "--quiet"]).exits(0);
        }
        if version == "v1" {
            sprat(path, &["promote", "v1", "--quiet"]).exits(0);
        }
    }
    folder
}

fn settings(folder: &Path, route: &str) {
    let text = format!(
        "[task]\nname = \"answers\"\n[data]\ntrain = \"data.csv\"\n[needs]\nprivacy = \"any\"\n\
         [tune]\nmethod = \"head\"\n[release]\nmax_drop = 1.0\n\
         [[candidates]]\nmodel = \"file:base\"\n{route}"
    );
    std::fs::write(folder.join("sprat.toml"), text).unwrap();
}

/// A route that asks the endpoint about everything.
fn route(base_url: &str, more: &str) -> String {
    format!(
        "[[candidates]]\nmodel = \"openai:large\"\nbase_url = \"{base_url}\"\n\
         [route]\nlarge = [\"openai:large\"]\nkeep_above = 1.0\nretries = 0\ntimeout = \"300ms\"\n\
         breaker_failures = 1000000\ntokens_per_day = 1000000000\n{more}"
    )
}

/// An address where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// Every answer of the small model must be one that its version gives.
#[track_caller]
fn check_answers(known: &BTreeMap<(String, usize), (String, f64)>, events: &[Event]) {
    for event in events {
        if let Fate::Answered { text, version, said, by } = &event.fate
            && by == "small"
        {
            let right = &known[&(version.clone(), *text)];
            assert_eq!(said, right, "{version} does not answer like this");
        }
    }
}

/// What each version says by itself.
fn what_versions_say(folder: &Path) -> BTreeMap<(String, usize), (String, f64)> {
    let mut known = BTreeMap::new();
    settings(folder, "");
    for version in ["v1", "v2"] {
        let address = free_address();
        sprat(folder, &["promote", version, "--quiet"]).exits(0);
        let _served = Served::start(folder, address);
        let mut client = Client { address, stream: None };
        for text in 0..TEXTS.len() {
            let Fate::Answered { version, said, .. } = client.ask(text).fate else {
                panic!("{version} does not answer")
            };
            known.insert((version, text), said);
        }
    }
    sprat(folder, &["promote", "v1", "--quiet"]).exits(0);
    assert_eq!(known.len(), 2 * TEXTS.len(), "two versions that know their names: {known:?}");
    let differ = (0..TEXTS.len()).any(|text| {
        let mut said = known.iter().filter(|((_, at), _)| *at == text).map(|(_, said)| said);
        said.next() != said.next()
    });
    assert!(differ, "the versions cannot be told apart: {known:?}");
    known
}

/// The scenarios, each for `time`.
fn chaos(time: Duration, switches: usize) {
    let folder = project();
    let path = folder.path();
    let known = what_versions_say(path);
    let mut rows = vec![];
    rows.extend(upstreams(path, &known, time));
    rows.push(full_disk(path, &known, time));
    rows.push(killed(path, &known, time));
    rows.push(moved(path, &known, switches));
    for row in &rows {
        row.print();
    }
}

type Known = BTreeMap<(String, usize), (String, f64)>;

/// A large model that fails in every way, with the small model's answer as the way out, and
/// without.
fn upstreams(path: &Path, known: &Known, time: Duration) -> Vec<Row> {
    let act = Arc::new(Mutex::new(Act::HangUp));
    let mock = {
        let act = Arc::clone(&act);
        Mock::start(move |_| act.lock().unwrap().clone()).unwrap()
    };
    let well = Act::Say("{\"label\":\"no\"}".into());
    let slow = Act::Slow(Duration::from_secs(2), Box::new(well.clone()));
    let error = Act::status(200, "{\"error\": {\"message\": \"down\"}}");
    let injected = Act::Raw(
        "HTTP/1.1 200 OK\r\nx-a: b\r\n set-cookie: c=d\r\ncontent-length: 2\r\n\r\n{}".into(),
    );
    let endless = Act::status(200, " ".repeat(5 << 20));
    let mut rows = Vec::new();
    settings(path, &route(&mock.base_url(), ""));
    let served = Served::start(path, free_address());
    let run = |name, act_now: Act, served: &Served| {
        *act.lock().unwrap() = act_now;
        let (events, ()) = under_load(served.address, || std::thread::sleep(time));
        check_answers(known, &events);
        Row::of(name, &events).whole()
    };
    let row = run("large model: well", well.clone(), &served);
    assert!(row.large > 0 && row.small == 0 && row.refusals() == 0, "{}", row.name);
    rows.push(row);
    for (name, fault) in [
        ("large model: hangs up", Act::HangUp),
        ("large model: garbage", Act::Garbage),
        ("large model: half an answer", Act::HalfBody),
        ("large model: 200 with an error", error.clone()),
        ("large model: injects headers", injected),
        ("large model: answer without end", endless),
        ("large model: slower than its limit", slow.clone()),
    ] {
        let row = run(name, fault, &served);
        assert!(row.small > 0 && row.refusals() == 0, "{name}");
        rows.push(row);
    }
    let row = run("large model: well again", well, &served);
    assert!(row.large > 0, "{}", row.name);
    rows.push(row);
    drop(served);

    settings(path, &route(&mock.base_url(), "when_large_fails = \"error\"\n"));
    let served = Served::start(path, free_address());
    for (name, fault) in [("no way out: 200 with an error", error), ("no way out: slow", slow)] {
        let row = run(name, fault, &served);
        // Who was answered before the fault began is none: all are refused, with the code.
        assert_eq!(row.large + row.small, 0, "{name}");
        assert_eq!(row.refused.keys().collect::<Vec<_>>(), ["SPRAT-ROUTE-UPSTREAMS"], "{name}");
        rows.push(row);
    }
    drop(served);

    let dead = format!("http://{}/v1", free_address());
    settings(path, &route(&dead, "").replace("1000000\n", "5\n"));
    let served = Served::start(path, free_address());
    let row = run("large model: dead, with the breaker", Act::HangUp, &served);
    assert!(row.small > 0 && row.refusals() == 0, "{}", row.name);
    rows.push(row);
    rows
}

/// A disk without room: requests go on, traces are given up and counted.
fn full_disk(path: &Path, known: &Known, time: Duration) -> Row {
    settings(path, "");
    let address = free_address();
    let traces = std::fs::read_dir(path.join(".sprat")).unwrap().flatten();
    let largest = traces.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).max();
    // A little more than the largest file of the project takes now.
    let blocks = largest.unwrap_or(0) / 1024 + 16;
    let served = Served::under(path, address, Some(blocks));
    let (events, ()) = under_load(address, || std::thread::sleep(time));
    drop(served);
    check_answers(known, &events);
    let row = Row::of("disk full", &events).whole();
    assert!(row.small > 0 && row.refusals() == 0, "requests depend on the disk");
    // With room again the same project serves on.
    let _served = Served::start(path, address);
    let fate = Client { address, stream: None }.ask(0).fate;
    assert!(matches!(fate, Fate::Answered { .. }), "{fate:?}");
    row.noting(format!("(no file over {blocks} KiB)"))
}

/// `kill -9` under load and a start at the same address: what was on its way is lost, no more, and
/// what large models cost is known but for the last second.
fn killed(path: &Path, known: &Known, time: Duration) -> Row {
    let mock = Mock::play([Act::Say("{\"label\":\"no\"}".into())]).unwrap();
    settings(path, &route(&mock.base_url(), ""));
    let address = free_address();
    let ledger = path.join(".sprat/route-spent.json");
    let _ = std::fs::remove_file(&ledger);
    let mut served = Served::start(path, address);
    let (events, (killed_at, back_at)) = under_load(address, || {
        std::thread::sleep(time.max(Duration::from_millis(2500)));
        let killed_at = Instant::now();
        served.kill();
        served = Served::start(path, address);
        let back_at = Instant::now();
        std::thread::sleep(time);
        (killed_at, back_at)
    });
    check_answers(known, &events);
    let lost = |sent: &dyn Fn(Instant) -> bool| {
        events.iter().filter(|one| matches!(one.fate, Fate::Lost(_)) && sent(one.sent)).count()
    };
    // Those that were sent before the kill, and not answered; and those sent after the return.
    let cut = lost(&|sent| sent < killed_at);
    let late = lost(&|sent| sent > back_at);
    assert!(cut <= CLIENTS, "{cut} requests were lost, more than the {CLIENTS} on their way");
    assert_eq!(late, 0, "requests were lost after the server was back");
    let paid = |before: Instant| {
        let large = |one: &&Event| {
            matches!(&one.fate, Fate::Answered { by, .. } if by == "large") && one.ended < before
        };
        // The endpoint counts twelve tokens an answer.
        12 * events.iter().filter(large).count() as u64
    };
    drop(served);
    let text = std::fs::read_to_string(&ledger).unwrap();
    let written: Value = serde_json::from_str(&text).unwrap();
    let tokens = written["windows"][1]["tokens"].as_u64().unwrap();
    let surely = paid(killed_at.checked_sub(Duration::from_secs(2)).unwrap());
    assert!(tokens >= surely && surely > 0, "{tokens} tokens of at least {surely} are known");
    let mut row = Row::of("kill -9 and start again", &events);
    let away = lost(&|sent| sent >= killed_at && sent <= back_at);
    row.lost = late;
    row.noting(format!(
        "({cut} on their way at the kill; {away} tries while it was away for {} ms)",
        (back_at - killed_at).as_millis()
    ))
}

/// The alias moves while requests run at full speed: each answer names a version that was current
/// while the request ran, and is that version's own.
fn moved(path: &Path, known: &Known, switches: usize) -> Row {
    settings(path, "");
    let address = free_address();
    let _served = Served::start(path, address);
    // From when on, and until when at the latest, a version may be the one that is served.
    let mut current = vec![("answers@v1".to_owned(), Instant::now(), None)];
    let (events, ()) = under_load(address, || {
        for number in 0..switches {
            let (next, step) = match number % 2 {
                0 => ("answers@v2", ["promote", "v2"]),
                _ => ("answers@v1", ["rollback", ""]),
            };
            let begun = Instant::now();
            let arguments: Vec<&str> =
                step.into_iter().filter(|one| !one.is_empty()).chain(["--quiet"]).collect();
            sprat(path, &arguments).exits(0);
            let last = current.last_mut().unwrap();
            last.2 = Some(Instant::now() + FOLLOW);
            current.push((next.to_owned(), begun, None));
            std::thread::sleep(Duration::from_millis(700));
        }
    });
    check_answers(known, &events);
    let mut seen = BTreeMap::<String, usize>::new();
    for event in &events {
        let Fate::Answered { version, .. } = &event.fate else { continue };
        *seen.entry(version.clone()).or_default() += 1;
        let fits = current.iter().any(|(name, from, until)| {
            name == version && *from <= event.ended && until.is_none_or(|until| event.sent <= until)
        });
        assert!(fits, "{version} was not current");
    }
    assert_eq!(seen.len(), 2, "both versions were served: {seen:?}");
    let row = Row::of("promote and rollback", &events).whole();
    assert_eq!(row.refusals(), 0, "a moving alias refuses nobody");
    row.noting(format!("({switches} moves; {seen:?})"))
}

#[test]
fn requests_survive_whatever_breaks() {
    chaos(Duration::from_millis(400), 2);
}

#[test]
#[ignore = "a minute: `make chaos`"]
fn requests_survive_whatever_breaks_for_long() {
    chaos(Duration::from_secs(4), 10);
}
