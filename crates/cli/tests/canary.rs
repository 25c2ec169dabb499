//! A version on trial, as a user and a client live it: its share of the requests, what promotes it,
//! and what takes it away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use sprat_monitor::{Observed, Options, Recorder};
use sprat_task::SystemClock;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::watch::{WATCH, clean, released, send, settings, settle, strange, wait};
use support::{Server, sprat};

/// A project whose first version is promoted again, with a second one beside it.
fn first_promoted(trial: &str) -> tempfile::TempDir {
    let folder = released();
    sprat(folder.path(), &["rollback", "--quiet"]).exits(0);
    let tests = "tests = [\"validity\", \"refusals\", ";
    // Rare enough that the clean requests of a test raise none.
    let watch = WATCH.replace("tests = [", tests).replace("every = 1000", "every = 20000");
    settings(folder.path(), &format!("{watch}{trial}"));
    folder
}

/// Asks for a user; gives the version that answered, and the request's id.
fn ask(server: &Server, user: usize, at: usize) -> (String, String) {
    let id = format!("user-{user}-{at}");
    let body = json!({ "input": clean(at), "user": format!("user-{user}") }).to_string();
    let header = format!("x-request-id: {id}\r\n");
    let (status, answer) = server.post_with("/v1/classify", &header, &body);
    assert_eq!(status, 200, "{answer}");
    let variant = answer["data"][0]["route"]["variant"].as_str();
    let version = variant.or_else(|| answer["version"].as_str()).unwrap();
    (version.to_owned(), id)
}

/// Asks again and again until a version has answered, or answers no more.
#[track_caller]
fn until(server: &Server, what: &str, seen: impl Fn(&[String]) -> bool) {
    // Every text once: the same ones again and again would be no clean requests.
    static NEXT: AtomicUsize = AtomicUsize::new(2000);
    let next = || NEXT.fetch_add(1, Ordering::Relaxed);
    let begun = Instant::now();
    loop {
        let versions: Vec<String> = (0..30).map(|user| ask(server, user, next()).0).collect();
        if seen(&versions) {
            return;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            panic!("never came: {what}: {versions:?}; {}", server.get("/v1/watch").1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets the others stop, also where the test fails: it would wait for them for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn any(versions: &[String], version: &str) -> bool {
    versions.iter().any(|one| one == version)
}

/// The latest alarm about a canary.
#[track_caller]
fn canary_alarm(seen: &Value) -> Value {
    let mut alarms = seen["alarms"].as_array().unwrap().iter();
    alarms.rfind(|alarm| alarm["test"] == "canary").unwrap().clone()
}

/// The version that the alias stands at.
fn promoted(path: &Path) -> Value {
    sprat(path, &["log", "--json"]).exits(0).json()["aliases"][0]["version"].clone()
}

#[test]
fn a_canary_gets_its_share_and_a_quiet_trial_promotes_it_until_an_alarm() {
    let folder = first_promoted("canary_share = 0.3\ncanary_requests = 100\n");
    let path = folder.path();
    // So long a history that the trial's own requests do not use up the first time after it.
    let text = std::fs::read_to_string(path.join("sprat.toml")).unwrap();
    std::fs::write(path.join("sprat.toml"), text.replace("= 200", "= 400")).unwrap();
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..500).map(clean));
    wait(&server, |state| state["requests"] == 500);
    // Others ask all the while; not one of them may be lost.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                ask(&server, 1000 + at % 50, 1000 + at);
                at += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let begun = ["promote", "v2", "--canary", "-m", "try", "--json"];
        let begun = sprat(path, &begun).exits(0).json();
        assert_eq!(begun["canary"]["version"], "answers@v2", "{begun}");
        assert_eq!(promoted(path), 1, "the alias has not moved");
        until(&server, "the canary", |seen| any(seen, "answers@v2"));
        // About its share of the users, and each keeps what it has.
        let mut of: BTreeMap<String, usize> = BTreeMap::new();
        for user in 0..80 {
            let (version, _) = ask(&server, user, user);
            let (again, _) = ask(&server, user, 80 + user);
            let whole = again == "answers@v2" && promoted(path) == 2;
            assert!(version == again || whole, "user {user}: {version}, then {again}");
            *of.entry(version).or_default() += 1;
        }
        assert!((10..=40).contains(&of["answers@v2"]), "{of:?}");
        until(&server, "the promotion", |seen| !any(seen, "answers@v1"));
    });
    assert_eq!(promoted(path), 2);
    let log = sprat(path, &["watch", "log"]).exits(0).out;
    assert!(log.contains("canary answers@v2: promoted") && log.contains("quiet"), "{log}");
    // Traces say which version answered, with a split and without.
    settle(&server);
    let args = ["traces", "export", "t.jsonl", "--version", "answers@v2", "--format", "jsonl"];
    let rows = sprat(path, &[&args[..], &["--json"]].concat()).exits(0).json();
    assert!(rows["rows"].as_u64().unwrap() >= 100, "{rows}");

    // Its first time after the promotion: an alarm takes it back, though no action is set.
    let learned =
        |state: &Value| (state["version"] == "answers@v2").then(|| state["learned"].as_u64());
    let state = wait(&server, |state| learned(state).is_some());
    let missing = 400 - learned(&state).flatten().unwrap().min(400) as usize;
    send(&server, "clean", (500..530 + missing).map(clean));
    wait(&server, |state| state["tested"].as_u64() >= Some(20));
    send(&server, "strange", (0..200).map(strange));
    until(&server, "the way back", |seen| !any(seen, "answers@v2"));
    assert_eq!(promoted(path), 1);
    let log = sprat(path, &["watch", "log"]).exits(0).out;
    assert!(log.contains("rollback done"), "{log}");
}

#[test]
fn a_request_what_people_say_and_an_alarm_take_a_canary_away() {
    let folder = first_promoted("canary_share = 0.5\ncanary_requests = 30\n");
    let path = folder.path();
    let text = std::fs::read_to_string(path.join("sprat.toml")).unwrap();
    // The same few texts again and again are no clean requests: only answers are tested.
    let (answers, inputs) = (text.find("\"novelty\""), text.find("canary_share"));
    let text = format!("{}]\n{}", &text[..answers.unwrap()], &text[inputs.unwrap()..]);
    let text = text.replace("enabled = true", "enabled = false");
    std::fs::write(path.join("sprat.toml"), text).unwrap();
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..300).map(clean));
    settle(&server);
    let canary = |version: &str| sprat(path, &["promote", version, "--canary", "--json"]);
    let refused = canary("v1").exits(2).json();
    assert_eq!(refused["error"]["code"], "SPRAT-WATCH-CANARY", "it is promoted already");

    // By request.
    canary("v2").exits(0);
    let two = canary("v2").exits(2).json();
    assert!(two["error"].to_string().contains("on trial already"), "{two}");
    until(&server, "the canary", |seen| any(seen, "answers@v2"));
    sprat(path, &["rollback", "--canary", "-m", "enough", "--json"]).exits(0);
    until(&server, "its end", |seen| !any(seen, "answers@v2"));
    sprat(path, &["rollback", "--canary", "--json"]).exits(2);

    // By whoever moves the alias, also where it moves back: the next one can begin.
    canary("v2").exits(0);
    sprat(path, &["promote", "v2", "--quiet"]).exits(0);
    sprat(path, &["rollback", "--quiet"]).exits(0);
    until(&server, "the first version", |seen| !any(seen, "answers@v2"));

    // By what people say of its answers, once it has answered enough.
    canary("v2").exits(0);
    until(&server, "the canary again", |seen| any(seen, "answers@v2"));
    settle(&server);
    for user in 0..100 {
        let (version, id) = ask(&server, user, user);
        settle(&server);
        let verdict = if version == "answers@v2" { "wrong" } else { "right" };
        let said = json!({ "id": id, "verdict": verdict }).to_string();
        assert_eq!(server.post("/v1/feedback", &said).0, 200);
    }
    let dry = sprat(path, &["watch", "--dry-run", "--json"]).exits(3).json();
    let alarm = canary_alarm(&dry);
    let act = &alarm["actions"][1];
    assert_eq!((&act["action"], &act["outcome"]), (&"withdraw".into(), &"dry-run".into()), "{dry}");
    assert!(dry["canary"]["what"].as_str().unwrap().contains("labelled answers"), "{dry}");
    assert!(any(&(0..30).map(|user| ask(&server, user, user).0).collect::<Vec<_>>(), "answers@v2"));
    sprat(path, &["watch", "--json"]).exits(3);
    until(&server, "its end by feedback", |seen| !any(seen, "answers@v2"));
    drop(server);
    sprat(path, &["watch", "acknowledge"]).exits(0);

    // By an alarm: its answers fail where those of the promoted version do not.
    canary("v2").exits(0);
    let log = path.join(".sprat/traces.sqlite");
    let recorder = Recorder::start(&log, Options::default(), Arc::new(SystemClock)).unwrap();
    for at in 0..100 {
        let broken = at % 2 == 1;
        assert!(recorder.record(Observed {
            id: format!("half-{at}"),
            task: "answers".into(),
            version: if broken { "answers@v2" } else { "answers@v1" }.into(),
            text: clean(at),
            label: (!broken).then(|| "yes".into()),
            status: if broken { 500 } else { 200 },
            valid: Some(!broken),
            ..Observed::default()
        }));
    }
    recorder.flush().unwrap();
    let seen = sprat(path, &["watch", "--json"]).exits(3).json();
    let alarm = canary_alarm(&seen);
    assert_eq!(alarm["version"], "answers@v2");
    // As many as it took, in plain numbers.
    let what = alarm["what"].as_str().unwrap();
    assert!(
        what.starts_with("validity: ") && what.contains(" answers invalid, against 0 of "),
        "{what}"
    );
    assert!(alarm["evidence"].as_f64() >= alarm["threshold"].as_f64(), "{alarm}");
    assert_eq!(
        (&alarm["actions"][1]["action"], &alarm["actions"][1]["outcome"]),
        (&"withdraw".into(), &"done".into()),
        "{alarm}"
    );
    assert!(!path.join(".sprat/watch/canary.json").exists());
    assert_eq!(promoted(path), 1, "nothing else moved");
}
