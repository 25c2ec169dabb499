//! The whole life of a classifier, as a user lives it: the real binary, the real encoder, the
//! support-tickets example.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use support::{Server, command, copy_folder, minilm, run, sprat, tickets};
use tempfile::TempDir;

/// The example after `sprat up --no-serve`, made once for all tests of this file.
fn ready() -> Option<&'static Path> {
    static READY: OnceLock<Option<(TempDir, Value)>> = OnceLock::new();
    let made = READY.get_or_init(|| {
        let minilm = minilm()?;
        let folder = tickets(&minilm);
        let up = sprat(folder.path(), &["up", "--no-serve", "--quiet", "--json"]).exits(0);
        let document = up.json();
        Some((folder, document))
    });
    made.as_ref().map(|(folder, _)| folder.path())
}

/// A copy that a test may change.
fn copy() -> Option<TempDir> {
    let ready = ready()?;
    let folder = tempfile::tempdir().unwrap();
    copy_folder(ready, folder.path());
    Some(folder)
}

#[test]
fn up_says_what_it_did_for_each_practice_and_a_second_run_does_nothing() {
    let Some(folder) = copy() else { return };
    let again = sprat(folder.path(), &["up", "--no-serve", "--quiet", "--json"]).exits(0).json();
    assert_eq!(again["practices"].as_object().unwrap().len(), 10);
    for step in again["steps"].as_array().unwrap() {
        assert_eq!(step["state"], "unchanged", "{step}");
    }
    assert_eq!(again["version"], "support-tickets@v1");
    for report in ["data-check", "bench", "choose", "release", "up"] {
        let page = folder.path().join(format!(".sprat/reports/{report}.html"));
        let html = std::fs::read_to_string(&page).unwrap();
        assert!(html.starts_with("<!doctype html>") && html.len() > 2000, "{report}");
        assert!(!html.contains("http://") && !html.contains("src=\"http"), "{report}");
    }
}

#[test]
fn predict_answers_in_order_and_reports_bad_lines() {
    let Some(folder) = copy() else { return };
    let input = folder.path().join("in.jsonl");
    std::fs::write(
        &input,
        "{\"id\": \"a\", \"text\": \"I was charged twice for the same order\"}\nnonsense\n\
         {\"id\": \"c\", \"messages\": [{\"role\": \"user\", \"content\": \"cancel my order\"}]}\n",
    )
    .unwrap();
    let args = ["predict", "--quiet", "--input", "in.jsonl", "--output", "out.jsonl"];
    let done = sprat(folder.path(), &args).exits(1);
    assert!(done.err.contains("SPRAT-PREDICT-LINES-FAILED"), "{}", done.err);
    let out = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["id"], "a");
    assert!(lines[0]["confidence"].as_f64().unwrap() > 0.0);
    assert_eq!(lines[1]["error"]["code"], "SPRAT-PREDICT-LINE");
    assert_eq!(lines[2]["model"], "support-tickets@v1");
    let sum: f64 =
        lines[0]["scores"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-3);
}

#[test]
fn a_version_is_reproduced_bit_for_bit_with_another_number_of_threads() {
    let Some(folder) = copy() else { return };
    let args = ["reproduce", "v1", "--quiet", "--json", "--threads", "1"];
    let done = sprat(folder.path(), &args).exits(0);
    assert_eq!(done.json()["reproduced"], true);
}

#[test]
fn a_second_release_is_promoted_under_a_running_server_and_rolled_back() {
    let Some(folder) = copy() else { return };
    let path = folder.path();
    let server = Server::start(path, &[]);
    let ask = || server.post("/v1/classify", r#"{"input": "please cancel my order"}"#);
    let version = || ask().1["version"].as_str().unwrap_or_default().to_string();
    let (status, first) = ask();
    assert_eq!(status, 200, "{first}");
    // Another seed gives another model of the same task.
    let settings = std::fs::read_to_string(path.join("sprat.toml")).unwrap();
    let settings = settings.replace("min_quality      = 0.70", "min_quality      = 0.10")
        + "\n[tune]\nseed = 7\nmethod = \"head\"\n\n[release]\nconfidence = 0.9999\n";
    std::fs::write(path.join("sprat.toml"), settings).unwrap();
    sprat(path, &["release", "--quiet"]).exits(0);
    sprat(path, &["promote", "v2", "--quiet", "-m", "trial"]).exits(0);
    let begun = std::time::Instant::now();
    while !version().contains("v2") {
        let (status, body) = ask();
        assert_eq!(status, 200, "{body}");
        assert!(begun.elapsed().as_secs() < 20, "the server never followed the alias");
    }
    sprat(path, &["rollback", "--quiet", "-m", "worse"]).exits(0);
    let log = sprat(path, &["log", "--json"]).exits(0).json();
    assert_eq!(log["aliases"][0]["version"], 1);
    let diff = sprat(path, &["diff", "v1", "v2", "--json"]).exits(0).json();
    assert!(!diff["diff"]["settings"].as_array().unwrap().is_empty());
}

#[test]
fn an_exported_version_answers_the_same_in_another_store() {
    let Some(folder) = copy() else { return };
    let path = folder.path();
    sprat(path, &["export", "v1", "v1.tar", "--quiet"]).exits(0);
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(path.join("v1.tar"), other.path().join("v1.tar")).unwrap();
    std::fs::write(other.path().join("sprat.toml"), "[task]\nname = \"support-tickets\"\n")
        .unwrap();
    sprat(other.path(), &["import", "v1.tar", "--quiet"]).exits(0);
    std::fs::write(other.path().join("in.jsonl"), "{\"text\": \"where is my parcel\"}\n").unwrap();
    std::fs::copy(other.path().join("in.jsonl"), path.join("in.jsonl")).unwrap();
    let answer = |folder: &Path| {
        let done = sprat(
            folder,
            &["predict", "--model", "support-tickets@v1", "--quiet", "--input", "in.jsonl"],
        );
        let line: Value = serde_json::from_str(done.exits(0).out.lines().next().unwrap()).unwrap();
        (line["label"].clone(), line["scores"].clone())
    };
    assert_eq!(answer(path), answer(other.path()));
    sprat(other.path(), &["doctor", "--quiet"]).exits(0);
    // A changed byte is found.
    let mut bytes = std::fs::read(path.join("v1.tar")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(other.path().join("torn.tar"), bytes).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    std::fs::copy(other.path().join("sprat.toml"), fresh.path().join("sprat.toml")).unwrap();
    std::fs::copy(other.path().join("torn.tar"), fresh.path().join("torn.tar")).unwrap();
    sprat(fresh.path(), &["import", "torn.tar", "--quiet"]).exits(1);
    sprat(fresh.path(), &["doctor", "--quiet"]).exits(0);
}

#[test]
fn a_tune_killed_at_any_moment_ends_with_the_same_bits() {
    let Some(minilm) = minilm() else { return };
    let undisturbed = tickets(&minilm);
    let args = ["tune", "--quiet", "--json", "--epochs", "0.6", "--batch", "8"];
    let expected = sprat(undisturbed.path(), &args).exits(0).json()["artefact"].clone();
    let disturbed = tickets(&minilm);
    let settings = disturbed.path().join("sprat.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, text + "\n[tune]\ncheckpoint_every = \"1s\"\n").unwrap();
    for milliseconds in [1500, 3000, 4500] {
        let mut child = command(disturbed.path())
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let _ = child.kill();
        let _ = child.wait();
    }
    let resumed = run(command(disturbed.path()).args(args)).exits(0).json();
    assert_eq!(resumed["artefact"], expected);
}
