//! A served classifier under watch: clean requests, then others, an alarm, and what follows it;
//! feedback and the labelling queue.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::watch::{WATCH, clean, released, send, settings, settle, strange, wait};
use support::{Server, command, run, sprat};

#[test]
fn a_shift_raises_an_alarm_and_the_alias_moves_back_while_requests_go_on() {
    let folder = released();
    let path = folder.path();
    let hook = "actions = [\"rollback\", \"command\", \"retrain\"]\n\
                command = [\"sh\", \"-c\", \"cat > told.json\"]\n";
    settings(path, &format!("{WATCH}{hook}"));
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..200).map(clean));
    send(&server, "more", (200..500).map(clean));
    let state = wait(&server, |state| state["requests"] == 500);
    assert_eq!((&state["state"], &state["tested"]), (&"quiet".into(), &300.into()), "{state}");
    let tests = state["tests"].as_array().unwrap();
    let standing =
        |name: &str| tests.iter().find(|t| t["name"] == name).unwrap()["standing"].clone();
    for seeing in ["novelty", "topics", "vocabulary", "language", "length", "label", "confidence"] {
        assert_eq!(standing(seeing), "quiet", "{seeing}: {state}");
    }
    assert!(state["accuracy"]["estimate"].is_number(), "{state}");

    // Others come, under load; the alias moves and nobody sees an error.
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                let texts = (at..at + 20).map(strange);
                let name = format!("strange-{at}");
                send(&server, &name, texts);
                sent.fetch_add(20, Ordering::Relaxed);
                at += 20;
            }
        });
        let begun = Instant::now();
        loop {
            let versions = send(&server, "look", std::iter::once(clean(1)));
            if versions[0] == "answers@v1" {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the alias never moved");
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
    });
    let state = wait(&server, |state| {
        state["alarms"][0]["actions"].as_array().is_some_and(|acts| {
            acts.len() == 4 && acts.iter().all(|act| act["outcome"] != "pending")
        })
    });
    let alarm = &state["alarms"][0];
    assert!(alarm["evidence"].as_f64() >= alarm["threshold"].as_f64(), "{alarm}");
    for act in alarm["actions"].as_array().unwrap() {
        assert_eq!(act["outcome"], "done", "{alarm}");
    }
    let told: Value =
        serde_json::from_slice(&std::fs::read(path.join("told.json")).unwrap()).unwrap();
    assert_eq!((&told["schema"], &told["task"]), (&"sprat.alarm/1".into(), &"answers".into()));
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains("sprat_watch_alarms_standing "), "{metrics}");
    drop(server);

    // The command line sees the same, until somebody takes note.
    let seen = sprat(path, &["watch", "--json"]).exits(3).json();
    assert_eq!(seen["error"]["code"], "SPRAT-WATCH-ALARM");
    assert_eq!(seen["version"], "answers@v1");
    let log = sprat(path, &["watch", "log", "--json"]).exits(0).json();
    let of = |label: &str| {
        log["events"].as_array().unwrap().iter().filter(|e| e["label"] == label).count()
    };
    assert!(of("watch-alarm") >= 1 && of("watch-action") >= 3, "{log}");
    let log = sprat(path, &["log", "--json"]).exits(0).json();
    assert_eq!(log["aliases"][0]["version"], 1);
    sprat(path, &["watch", "acknowledge", "-m", "seen"]).exits(0);
    let page = path.join(".sprat/reports/watch.html");
    sprat(path, &["watch"]).exits(0);
    assert!(std::fs::read_to_string(page).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn a_dry_run_takes_no_action_and_a_watch_that_is_killed_goes_on() {
    let folder = released();
    let path = folder.path();
    // Not by the server: by the command, which is killed now and then.
    let watch = WATCH.replace("enabled = true", "enabled = false");
    let route = "actions = [\"rollback\"]\n";
    settings(path, &format!("{watch}{route}"));
    let server = Server::start(path, &[]);
    assert_eq!(wait(&server, |_| true)["state"], "off");
    send(&server, "clean", (0..400).map(clean));
    send(&server, "strange", (0..200).map(strange));
    settle(&server);
    drop(server);
    for milliseconds in [5, 40, 120] {
        let mut watch = command(path);
        watch.args(["watch", "--dry-run", "--quiet"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = watch.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = child.kill();
        let _ = child.wait();
    }
    let seen = sprat(path, &["watch", "--dry-run", "--json", "--quiet"]).exits(3).json();
    let tests: Vec<&str> =
        seen["alarms"].as_array().unwrap().iter().map(|a| a["test"].as_str().unwrap()).collect();
    let mut once = tests.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), tests.len(), "an alarm was raised twice: {tests:?}");
    assert_eq!(seen["alarms"][0]["actions"][1]["outcome"], "dry-run", "{seen}");
    let log = sprat(path, &["log", "--json"]).exits(0).json();
    assert_eq!(log["aliases"][0]["version"], 2, "a dry run moved the alias");
}

#[test]
fn feedback_is_kept_once_survives_a_kill_and_labels_become_a_figure() {
    let folder = released();
    let path = folder.path();
    settings(path, "[watch]\nlabel_budget = 40\n");
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..200).map(clean));
    let say = |body: Value| server.post("/v1/feedback", &body.to_string());
    let (status, kept) = say(json!({ "id": "clean-0", "index": 3, "verdict": "right" }));
    assert_eq!((status, &kept["new"]), (200, &true.into()), "{kept}");
    let (_, again) = say(json!({ "id": "clean-0", "index": 3, "verdict": "right" }));
    assert_eq!(again["new"], false);
    let refused = |body: Value, status: u16, code: &str| {
        let (found, answer) = say(body);
        assert_eq!((found, &answer["error"]["code"]), (status, &code.into()), "{answer}");
    };
    refused(json!({ "id": "nobody", "verdict": "right" }), 404, "SPRAT-MONITOR-TRACE");
    refused(
        json!({ "id": "clean-0", "index": 50, "verdict": "right" }),
        404,
        "SPRAT-MONITOR-TRACE",
    );
    refused(json!({ "id": "clean-0", "verdict": "maybe" }), 400, "SPRAT-SERVE-BODY");
    refused(json!({ "id": "clean-0" }), 400, "SPRAT-SERVE-BODY");
    refused(json!({ "id": "clean-0", "verdict": "right", "why": 1 }), 400, "SPRAT-SERVE-PARAMETER");
    let long = "x".repeat(2000);
    refused(
        json!({ "id": "clean-0", "verdict": "wrong", "label": long }),
        400,
        "SPRAT-MONITOR-FEEDBACK",
    );
    let (_, queue) = server.get("/v1/labels?limit=500");
    let queue: Value = serde_json::from_str(&queue).unwrap();
    assert_eq!(queue["labels"], json!(["no", "yes"]));
    let asked = queue["queue"].as_array().unwrap().clone();
    assert!((25..=60).contains(&asked.len()), "{} of 200 drawn for 40", asked.len());
    let first = &asked[0];
    assert!(first["text"].as_str().unwrap().starts_with("my "), "{first}");
    let other = if first["label"] == "yes" { "no" } else { "yes" };
    refused(
        json!({ "id": first["id"], "verdict": "right", "label": other }),
        400,
        "SPRAT-MONITOR-FEEDBACK",
    );
    assert_eq!(server.get("/v1/labels?limit=none").0, 400);
    let (status, _) = say(json!({ "id": first["id"], "verdict": "wrong", "label": other }));
    assert_eq!(status, 200);
    // What was acknowledged is there after a kill.
    drop(server);
    let lines: String = asked[1..]
        .iter()
        .map(|asked| format!("{}\n", json!({ "id": asked["id"], "verdict": "wrong" })))
        .collect();
    std::fs::write(
        path.join("said.jsonl"),
        format!(
            "{}\nnonsense\n{lines}",
            json!({ "id": first["id"], "verdict": "wrong", "label": other })
        ),
    )
    .unwrap();
    let read = sprat(path, &["watch", "feedback", "said.jsonl", "--json"]).exits(1).json();
    assert_eq!((&read["known"], &read["new"]), (&1.into(), &(asked.len() - 1).into()), "{read}");
    assert_eq!(read["errors"][0]["line"], 2, "{read}");
    let again = sprat(path, &["watch", "feedback", "said.jsonl", "--json"]).exits(1).json();
    assert_eq!((&again["known"], &again["new"]), (&asked.len().into(), &0.into()), "{again}");
    // Every label says that the answer was wrong: that is an alarm.
    let seen = sprat(path, &["watch", "--json"]).exits(3).json();
    assert_eq!(seen["alarms"][0]["test"], "accuracy", "{seen}");
    assert!(seen["labelled"]["high"].as_f64().unwrap() < 0.3, "{seen}");
}

#[test]
fn the_queue_is_worked_off_through_a_pipe() {
    let folder = released();
    let path = folder.path();
    settings(path, "[watch]\nlabel_budget = 20\n");
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..100).map(clean));
    settle(&server);
    drop(server);
    std::fs::write(path.join("answers"), "r\nunknown label\ny\ns\nw\nq\n").unwrap();
    let mut label = command(path);
    label.args(["label", "--by", "ann"]).stdin(std::fs::File::open(path.join("answers")).unwrap());
    let done = run(&mut label).exits(0);
    assert!(done.out.contains("3 labelled"), "{}", done.out);
    assert!(done.out.contains("no key, no number of the list and no label"), "{}", done.out);
    let queue = sprat(path, &["label", "--json"]).exits(0).json();
    let left = queue["queue"].as_array().unwrap().len();
    let text = format!("{left} left");
    assert!(done.out.contains(&text), "{text}: {}", done.out);
    // Nothing to draw from where texts are not kept.
    let found = sprat(path, &["label", "--draw", "--json"]).exits(1).json();
    assert_eq!(found["error"]["code"], "SPRAT-WATCH-FEW", "{found}");
}

#[test]
fn calibration_measures_the_rate_and_the_delays_and_needs_enough_rows() {
    let folder = released();
    let path = folder.path();
    settings(path, "[watch]\nhistory = 150\nfalse_alarm_every = 1000\n");
    let found = sprat(path, &["watch", "calibrate", "--json", "--quiet"]).exits(1).json();
    assert_eq!(found["error"]["code"], "SPRAT-WATCH-FEW", "{found}");
    let server = Server::start(path, &[]);
    send(&server, "clean", (0..400).map(clean));
    settle(&server);
    drop(server);
    let few = ["watch", "calibrate", "--requests", "4000", "--rounds", "2", "--json", "--quiet"];
    let found = sprat(path, &few).exits(0).json();
    assert_eq!((&found["history"], &found["clean"]["requests"]), (&150.into(), &4000.into()));
    assert!(found["clean"]["rate"]["low"].as_f64().unwrap() <= 0.001, "{found}");
    assert!(found["in_order"]["requests"].as_u64().unwrap() == 250, "{found}");
    let shifts = found["shifts"].as_array().unwrap();
    let foreign = shifts.iter().find(|s| s["shift"] == "foreign words" && s["share"] == 0.5);
    assert!(foreign.unwrap()["median"].as_u64().unwrap() < 400, "{found}");
}

/// Sends strange texts and gives the id and the label of each answer.
fn answers(server: &Server, texts: impl Iterator<Item = String>) -> Vec<(usize, String)> {
    texts
        .enumerate()
        .map(|(at, text)| {
            let id = format!("x-request-id: one-{at}\r\n");
            let body = json!({ "input": text }).to_string();
            let (status, answer) = server.post_with("/v1/classify", &id, &body);
            assert_eq!(status, 200, "{answer}");
            (at, answer["data"][0]["label"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn labelled_traces_make_the_next_version_and_only_a_better_one_is_promoted() {
    let folder = released();
    let path = folder.path();
    settings(path, "");
    let server = Server::start(path, &[]);
    let found = answers(&server, (0..120).map(strange));
    settle(&server);
    drop(server);
    let few = sprat(path, &["improve", "--json", "--quiet"]).exits(1).json();
    assert_eq!(few["error"]["code"], "SPRAT-WATCH-FEW", "{few}");
    let say = |label: &dyn Fn(&str) -> String| {
        let line = |(at, answered): &(usize, String)| {
            let right = label(answered);
            let verdict = if right == *answered { "right" } else { "wrong" };
            let said = json!({ "id": format!("one-{at}"), "verdict": verdict, "label": right,
                "by": "ann" });
            format!("{said}\n")
        };
        let lines: String = found.iter().map(line).collect();
        std::fs::write(path.join("said.jsonl"), lines).unwrap();
        sprat(path, &["watch", "feedback", "said.jsonl", "--quiet"]).exits(0);
    };
    // Production is right everywhere: nothing can be better.
    say(&|answered| answered.to_owned());
    let refused = sprat(path, &["improve", "--json", "--quiet"]).exits(3).json();
    assert_eq!(refused["error"]["code"], "SPRAT-IMPROVE-NOT-BETTER", "{refused}");
    assert_eq!(refused["version"], Value::Null);
    // Strange requests all mean the label that it gives least.
    let yes = found.iter().filter(|(_, label)| label == "yes").count();
    let right = if yes * 2 > found.len() { "no" } else { "yes" };
    say(&|_| right.to_owned());
    let better = sprat(path, &["improve", "--auto", "--json", "--quiet"]).exits(0).json();
    // Better beyond doubt: it is on trial, and no other one can be.
    assert_eq!(
        (&better["version"], &better["canary"]["version"], &better["promoted"]),
        (&"answers@v3".into(), &"answers@v3".into(), &false.into()),
        "{better}"
    );
    assert_eq!(better["canary"]["share"], 0.1, "{better}");
    let second = sprat(path, &["improve", "--auto", "--json", "--quiet"]).exits(2).json();
    assert_eq!(second["error"]["code"], "SPRAT-WATCH-CANARY", "{second}");
    assert!(
        better["fresh"]["candidate_only"].as_u64() > better["fresh"]["reference_only"].as_u64()
    );
    let log = sprat(path, &["log", "--json"]).exits(0).json();
    assert_eq!(log["aliases"][0]["version"], 2);
    let openings = log["log"].as_array().unwrap().iter().filter(|e| e["entry"] == "opening");
    let carried = openings.filter(|e| e["purpose"].as_str().unwrap().contains("carried over"));
    assert!(carried.count() >= 1, "{log}");

    // The same traces, written out.
    let export = |format: &str, file: &str| {
        let args = ["traces", "export", file, "--format", format, "--json", "--quiet"];
        sprat(path, &args).exits(0).json()
    };
    assert_eq!(export("jsonl", "all.jsonl")["rows"], 120);
    let lines = std::fs::read_to_string(path.join("all.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["feedback"][0]["author"], "ann", "{first}");
    assert_eq!(export("openai", "tune.jsonl")["rows"], 120);
    let lines = std::fs::read_to_string(path.join("tune.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["messages"][1]["content"], right, "{first}");
    assert_eq!(export("parquet", "all.parquet")["rows"], 120);
    let bytes = std::fs::read(path.join("all.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}
