//! The whole path on real customer messages: twelve intents of Banking77, the ones that are
//! easiest to confuse (all about cards). The data stays outside of the repository.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use support::{minilm, root, sprat};

const INTENTS: usize = 12;
const TRAIN_PER_INTENT: usize = 60;
const TEST_PER_INTENT: usize = 40;

/// The folder with Banking77; says loudly when it is missing.
fn banking77() -> Option<PathBuf> {
    let shared = std::env::var_os("SPRAT_SHARED").map(PathBuf::from);
    let folder = shared.unwrap_or_else(|| root().join("../shared")).join("data/banking77");
    if folder.join("train.csv").exists() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no Banking77 at {}; set SPRAT_SHARED", folder.display());
    None
}

/// The first messages of each of the card intents, as CSV.
fn subset(text: &str, per_intent: usize) -> String {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["text", "category"]).unwrap();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for record in reader.records() {
        let record = record.unwrap();
        let intent = record[1].to_owned();
        if !intent.contains("card") || (kept.len() == INTENTS && !kept.contains_key(&intent)) {
            continue;
        }
        let count = kept.entry(intent).or_default();
        if *count < per_intent {
            *count += 1;
            writer.write_record(&record).unwrap();
        }
    }
    assert_eq!(kept.len(), INTENTS, "intents of Banking77");
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

#[test]
fn up_releases_a_classifier_of_real_messages_that_passes_the_gate() {
    let (Some(minilm), Some(data)) = (minilm(), banking77()) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in [("train.csv", TRAIN_PER_INTENT), ("test.csv", TEST_PER_INTENT)] {
        let text = std::fs::read_to_string(data.join(name)).unwrap();
        std::fs::write(folder.path().join(name), subset(&text, count)).unwrap();
    }
    let settings = format!(
        "[task]\nname = \"banking\"\nkind = \"classify\"\ninput = \"text\"\ntarget = \"category\"\n\
         [data]\ntrain = \"train.csv\"\ntest = \"test.csv\"\nwaive = [\"leakage-near\"]\n\
         [needs]\nmin_quality = 0.85\n\
         [[candidates]]\nmodel = \"file:{}\"\nname = \"minilm\"\n",
        minilm.display()
    );
    std::fs::write(folder.path().join("sprat.toml"), settings).unwrap();
    let up = sprat(folder.path(), &["up", "--no-serve", "--quiet", "--json"]).exits(0).json();
    assert_eq!(up["version"], "banking@v1");
    let gate = &up["gate"];
    assert_eq!(gate["passed"], true);
    assert_eq!(gate["evidence"]["quality"]["rows"], (INTENTS * TEST_PER_INTENT) as u64);
    // Figures of the whole task are in docs/benchmarks.md; here a broken path must show.
    let accuracy = gate["evidence"]["quality"]["value"]["estimate"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    let question = "{\"text\": \"My card still has not come in the post, where is it?\"}\n";
    std::fs::write(folder.path().join("questions.jsonl"), question).unwrap();
    let answers = sprat(folder.path(), &["predict", "--input", "questions.jsonl"]).exits(0);
    assert_eq!(answers.json()["label"], "card_arrival");
}
