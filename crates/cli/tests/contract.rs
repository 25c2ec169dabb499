//! The contract of the command line: exit codes, JSON, errors with code, place and remedy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use std::path::Path;
use support::{command, run, sprat};

/// A folder with a settings file and some labelled rows.
fn project(settings: &str, rows: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sprat.toml"), settings).unwrap();
    std::fs::write(folder.path().join("data.csv"), rows).unwrap();
    folder
}

const SETTINGS: &str = "[data]\ntrain = \"data.csv\"\n";

/// Rows of two classes, each text different.
fn rows(count: usize) -> String {
    let words = ["parcel", "invoice", "saddle", "helmet", "brake", "refund", "shop", "tyre"];
    let mut csv = String::from("text,label\n");
    for at in 0..count {
        let (a, b, c) = (words[at % 8], words[(at / 8) % 8], words[(at / 64) % 8]);
        csv += &format!("my {a} and the {b} near a {c} number {at},{}\n", ["yes", "no"][at % 2]);
    }
    csv
}

/// Runs a command that must fail, and returns its JSON error.
#[track_caller]
fn error(folder: &Path, args: &[&str], code: i32) -> serde_json::Value {
    let done = sprat(folder, &[args, &["--json", "--quiet"]].concat()).exits(code);
    let error = done.json()["error"].clone();
    for field in ["code", "message", "help"] {
        assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {error}");
    }
    assert!(done.err.contains(error["code"].as_str().unwrap()), "{}", done.err);
    error
}

#[test]
fn help_and_version_are_no_errors_and_wrong_usage_is_two() {
    let folder = tempfile::tempdir().unwrap();
    assert!(sprat(folder.path(), &["--help"]).exits(0).out.contains("Usage: sprat"));
    assert!(sprat(folder.path(), &["--version"]).exits(0).out.starts_with("sprat "));
    sprat(folder.path(), &["frobnicate"]).exits(2);
    sprat(folder.path(), &["tune", "--rank", "many"]).exits(2);
    sprat(folder.path(), &[]).exits(2);
}

#[test]
fn a_missing_or_misspelled_settings_file_says_where_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(error(folder.path(), &["up"], 1)["code"], "SPRAT-SETTINGS-UNREADABLE");
    std::fs::write(folder.path().join("sprat.toml"), "[tune]\n\nlerning_rate = 1\n").unwrap();
    let found = error(folder.path(), &["tune"], 1);
    assert_eq!(found["code"], "SPRAT-SETTINGS-UNKNOWN-KEY");
    assert_eq!((found["line"].as_u64(), found["column"].as_u64()), (Some(3), Some(1)));
    assert_eq!(found["help"], "Did you mean `learning_rate`?");
}

#[test]
fn init_guesses_the_columns_and_never_replaces_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data.csv"), rows(10)).unwrap();
    let said = sprat(folder.path(), &["init", "data.csv", "--name", "demo", "--json"]).exits(0);
    assert_eq!(said.json()["input"], "text");
    assert_eq!(error(folder.path(), &["init", "data.csv"], 1)["code"], "SPRAT-FLOW-EXISTS");
    sprat(folder.path(), &["init", "data.csv", "--force"]).exits(0);
    std::fs::write(folder.path().join("odd.csv"), "a,b\n1,2\n").unwrap();
    let found = error(folder.path(), &["init", "odd.csv", "--force"], 1);
    assert_eq!(found["code"], "SPRAT-FLOW-COLUMN");
}

#[test]
fn torn_quotes_latin_1_and_monstrous_cells_are_named_by_line() {
    let torn = project(SETTINGS, b"text,label\nfine,a\n\"torn,b\nmore,c\n");
    let found = error(torn.path(), &["data", "check"], 1);
    assert_eq!(found["line"], 3, "{found}");
    let latin = project(SETTINGS, b"text,label\nfine,a\nstra\xdfe,b\n");
    let found = error(latin.path(), &["data", "check"], 1);
    assert_eq!((found["line"].as_u64(), found["byte"].is_u64()), (Some(3), true), "{found}");
    let huge = format!("text,label\nfine,a\n{},b\n", "x".repeat(10 << 20));
    let huge = project(SETTINGS, huge.as_bytes());
    assert_eq!(error(huge.path(), &["data", "check"], 1)["line"], 3);
    let missing =
        project("[task]\ninput = \"txt\"\n[data]\ntrain = \"data.csv\"\n", b"text,label\na,b\n");
    let found = error(missing.path(), &["data", "check"], 1);
    assert!(found["help"].as_str().unwrap().contains("text"), "{found}");
}

#[test]
fn a_leak_into_the_test_part_blocks_with_three_unless_waived_or_fixed() {
    let settings = "[data]\ntrain = \"data.csv\"\ntest = \"test.csv\"\n";
    let folder = project(settings, rows(120).as_bytes());
    let leaked = "text,label\nmy parcel and the parcel near a parcel number 0,yes\nanother,no\n";
    std::fs::write(folder.path().join("test.csv"), leaked).unwrap();
    let found = error(folder.path(), &["data", "check"], 3);
    assert!(found["message"].as_str().unwrap().contains("leakage-exact"), "{found}");
    let waived =
        ["data", "check", "--waive", "leakage-exact", "--waive", "leakage-near", "--quiet"];
    sprat(folder.path(), &waived).exits(0);
    let report = sprat(folder.path(), &["data", "check", "--json", "--quiet"]).exits(3).json();
    let leak = report["checks"].as_array().unwrap().iter().find(|c| c["id"] == "leakage-exact");
    assert_eq!(leak.unwrap()["findings"][0]["rows"][0]["line"], 2, "{report}");
    let cleaned = sprat(folder.path(), &["data", "clean", "--json", "--quiet"]).exits(0).json();
    assert_eq!(cleaned["removed"]["leakage-exact"], 1, "{cleaned}");
    let unknown = error(folder.path(), &["data", "check", "--waive", "leakage-exat"], 2);
    assert!(unknown["help"].as_str().unwrap().contains("leakage-exact"), "{unknown}");
}

#[test]
fn one_class_and_a_label_only_in_test_are_refused() {
    let one = project(SETTINGS, b"text,label\na,x\nb,x\nc,x\nd,x\ne,x\nf,x\ng,x\nh,x\ni,x\nj,x\n");
    let found = error(one.path(), &["data", "split"], 1);
    assert!(found["code"].as_str().unwrap().starts_with("SPRAT-"), "{found}");
    let settings = "[data]\ntrain = \"data.csv\"\ntest = \"test.csv\"\n";
    let only = project(settings, rows(60).as_bytes());
    std::fs::write(only.path().join("test.csv"), "text,label\nnever seen,maybe\n").unwrap();
    let found = error(only.path(), &["data", "check"], 3);
    assert!(found["message"].as_str().unwrap().contains("label-only-in-test"), "{found}");
}

#[test]
fn a_model_that_is_not_there_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let offline = |args: &[&str]| {
        let mut command = command(folder.path());
        run(command.args(args).args(["--json", "--quiet", "--offline"]).env("SPRAT_HOME", &home))
    };
    let found = offline(&["pull", "hf:nobody/nothing"]).exits(1).json();
    assert_eq!(found["error"]["code"], "SPRAT-HUB-OFFLINE");
    assert!(found["error"]["message"].as_str().unwrap().contains("hf:nobody/nothing"));
    let found = offline(&["pull", "fh:nobody/nothing"]).exits(2).json();
    assert_eq!(found["error"]["help"], "Did you mean `hf:nobody/nothing`?");
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let found = offline(&["pull", "file:empty"]).exits(1).json();
    assert!(found["error"]["code"].as_str().unwrap().starts_with("SPRAT-HUB-"), "{found}");
}

#[test]
fn a_folder_with_a_truncated_model_is_refused() {
    let settings = "[data]\ntrain = \"data.csv\"\n[[candidates]]\nmodel = \"file:model\"\n";
    let folder = project(settings, rows(200).as_bytes());
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    let config = r#"{"model_type": "bert", "vocab_size": 30, "hidden_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "hidden_act": "gelu", "max_position_embeddings": 16, "type_vocab_size": 2}"#;
    std::fs::write(model.join("config.json"), config).unwrap();
    std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    std::fs::write(model.join("model.safetensors"), 1_u64.to_le_bytes()).unwrap();
    let found = error(folder.path(), &["tune"], 1);
    assert!(found["file"].as_str().is_some(), "{found}");
    assert!(found["why"].as_str().unwrap().contains("claims 1 bytes"), "{found}");
}

#[test]
fn an_empty_store_is_sound_and_has_nothing_to_serve() {
    let folder = project(SETTINGS, rows(20).as_bytes());
    assert_eq!(sprat(folder.path(), &["doctor", "--json"]).exits(0).json()["sound"], true);
    assert_eq!(sprat(folder.path(), &["log", "--json"]).exits(0).json()["task"], "task");
    let found = error(folder.path(), &["serve"], 1);
    assert!(found["message"].as_str().unwrap().contains("task@production"), "{found}");
    error(folder.path(), &["promote", "v1"], 1);
    error(folder.path(), &["rollback"], 1);
    error(folder.path(), &["show", "v9"], 1);
    error(folder.path(), &["predict", "--model", "pypi:some-base==1.0"], 1);
}

#[test]
fn an_api_key_is_shown_once_and_stored_as_a_hash() {
    let folder = project(SETTINGS, b"");
    let args = ["keys", "create", "alice", "--file", "keys", "--json"];
    let made = sprat(folder.path(), &args).exits(0).json();
    let key = made["key"].as_str().unwrap();
    let stored = std::fs::read_to_string(folder.path().join("keys")).unwrap();
    assert!(stored.starts_with("alice ") && !stored.contains(key), "{stored}");
    error(folder.path(), &["keys", "create", "bob"], 2);
}
