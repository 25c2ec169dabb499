//! A served task under watch: two releases of a classifier, clean requests and strange ones.

use super::{Server, sprat};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// So many rows of two classes.
fn lay(folder: &Path, rows: usize) {
    let mut csv = String::from("text,label\n");
    for at in 0..rows {
        csv += &format!("{},{}\n", clean(at), ["yes", "no"][at % 2]);
    }
    std::fs::write(folder.join("data.csv"), csv).unwrap();
}

/// Each of 4096 texts at most once, in an order that tells nothing: twelve bits of a mixed number
/// (four rounds of a Feistel network over its halves).
pub(crate) fn clean(at: usize) -> String {
    let words = ["parcel", "invoice", "saddle", "helmet", "brake", "refund", "shop", "tyre"];
    let (mut left, mut right) = (at % 64, at / 64 % 64);
    for key in [0x9e37, 0x79b9, 0x7f4a, 0x7c15] {
        let mixed = (right * 0x2545 + key) * 0x9e5b;
        (left, right) = (right, left ^ ((mixed >> 7) % 64));
    }
    let at = left * 64 + right;
    let (a, b, c) = (words[at % 8], words[(at / 8) % 8], words[(at / 64) % 8]);
    format!("my {a} and the {b} near a {c} number {at}")
}

/// Longer texts in other words, none nearly the same as another.
pub(crate) fn strange(at: usize) -> String {
    const WORDS: &str = "können wir heute bitte Rechnung noch einmal zusammen Kunden besprechen \
                         ablegen warum Lieferung gestern falsch Adresse ändern Termin morgen \
                         Vertrag kündigen Geld zurück danke";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let word = |i: usize| words[(at * (2 * i + 1) + 5 * i + at / 24) % 24];
    (0..12).map(word).collect::<Vec<_>>().join(" ")
}

/// Waits until all traces are written: feedback on what is not known yet looks for them.
pub(crate) fn settle(server: &Server) {
    let nobody = json!({ "id": "nobody", "verdict": "right" }).to_string();
    assert_eq!(server.post("/v1/feedback", &nobody).0, 404);
}

/// Writes `sprat.toml`, with more at its end.
pub(crate) fn settings(folder: &Path, more: &str) {
    let text = format!(
        "[task]\nname = \"answers\"\n[data]\ntrain = \"data.csv\"\n[release]\nconfidence = 0.9999\n\
         [[candidates]]\nmodel = \"file:base\"\n[serve]\ntrace_text = \"keep\"\n\
         [tune]\nmethod = \"head\"\n{more}"
    );
    std::fs::write(folder.join("sprat.toml"), text).unwrap();
}

/// A watch by the server that learns from 200 requests.
pub(crate) const WATCH: &str = "[watch]\nenabled = true\nhistory = 200\nfalse_alarm_every = 1000\n\
                     interval = \"1s\"\ntests = [\"novelty\", \"topics\", \"length\", \
                     \"vocabulary\", \"language\", \"label\", \"confidence\"]\n";

/// A project with two releases, the second promoted over the first.
pub(crate) fn released() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sprat_model::tiny::write(&path.join("base"), 1).unwrap();
    settings(path, "");
    for (version, rows) in [("v1", 150), ("v2", 160)] {
        lay(path, rows);
        sprat(path, &["release", "--quiet"]).exits(0);
        sprat(path, &["promote", version, "--quiet"]).exits(0);
    }
    folder
}

/// Classifies texts, fifty a request; gives the versions that answered.
pub(crate) fn send(
    server: &Server,
    name: &str,
    texts: impl Iterator<Item = String>,
) -> Vec<String> {
    let texts: Vec<String> = texts.collect();
    let mut versions = Vec::new();
    for (number, part) in texts.chunks(50).enumerate() {
        let id = format!("x-request-id: {name}-{number}\r\n");
        let body = json!({ "input": part }).to_string();
        let (status, answer) = server.post_with("/v1/classify", &id, &body);
        assert_eq!(status, 200, "{answer}");
        versions.push(answer["version"].as_str().unwrap().to_owned());
    }
    versions
}

/// The server's watch, once `wanted` holds.
#[track_caller]
pub(crate) fn wait(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let (status, text) = server.get("/v1/watch");
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &state["schema"]), (200, &"sprat.watch/1".into()), "{text}");
        if wanted(&state) {
            return state;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "never came: {text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
