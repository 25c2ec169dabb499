//! The whole life of an extraction task, as a user lives it: the real binary, and a tiny decoder
//! with random weights, which is enough to see every step work.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::{Server, sprat};

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": {
    "name": {"type": "string", "maxLength": 12},
    "people": {"type": "integer", "minimum": 1, "maximum": 20},
    "day": {"enum": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Sunday"]}
  },
  "required": ["name", "people", "day"],
  "additionalProperties": false
}"#;

/// Sixty requests for tables, and what is to be taken out of them.
fn rows() -> String {
    let names = [
        "Novak", "Okafor", "Lindgren", "Haddad", "Moreau", "Tanaka", "Silva", "Kowalski", "Reyes",
        "Bauer",
    ];
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Sunday"];
    let mut csv = String::from("text,answer\n");
    for at in 0..60 {
        let (name, day, people) = (names[at % 10], days[at / 10], 2 + at % 7);
        let text = match at % 3 {
            0 => format!("{day} please, {name}, we are {people}"),
            1 => format!("Table for {people} on {day} under {name}"),
            _ => format!("{name} here: {people} of us come {day} night"),
        };
        let answer = format!(r#"{{"day": "{day}", "people": {people}, "name": "{name}"}}"#);
        csv += &format!("\"{text}\",\"{}\"\n", answer.replace('"', "\"\""));
    }
    csv
}

fn lay(folder: &Path) {
    sprat_model::tiny::write_decoder(&folder.join("base"), 1).unwrap();
    std::fs::write(folder.join("tables.csv"), rows()).unwrap();
    std::fs::write(folder.join("schema.json"), SCHEMA).unwrap();
}

fn init(folder: &Path) {
    let args = [
        "init",
        "tables.csv",
        "--kind",
        "extract",
        "--target",
        "answer",
        "--schema",
        "schema.json",
        "--instruction",
        "Name, number and day of the table.",
        "--name",
        "tables",
        "--model",
        "file:base",
        "--quiet",
    ];
    sprat(folder, &args).exits(0);
    let file = folder.join("sprat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let tune = "max_answer_tokens = 96\n\n[tune]\nepochs = 3\nbatch = 8\nrank = 8\n\
                precision = \"f32\"\nlearning_rate = 1e-2\n\n[shrink]\nformats = [\"int8\"]\n\n[data]";
    std::fs::write(&file, settings.replace("[data]", tune)).unwrap();
}

#[test]
fn from_rows_to_a_model_that_answers_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    lay(path);
    init(path);
    sprat(path, &["data", "check", "--quiet"]).exits(0);

    let tuned = sprat(path, &["tune", "--quiet", "--json"]).exits(0).json();
    assert_eq!(tuned["schema"], "sprat.tune-writer/1");
    let (before, after) =
        (&tuned["outcome"]["untuned"]["loss"], &tuned["outcome"]["validation"]["loss"]);
    assert!(after.as_f64() < before.as_f64(), "{before} → {after}");
    let replay = &tuned["equivalence"];
    assert_eq!(replay["changed"], 0);
    assert!(replay["greatest"].as_f64() < replay["tolerance"].as_f64(), "{replay}");
    let again = sprat(path, &["tune", "--quiet", "--json"]).exits(0).json();
    assert_eq!((&again["skipped"], &again["artefact"]), (&Value::Bool(true), &tuned["artefact"]));

    let bench = sprat(path, &["bench", "--quiet", "--json"]).exits(0).json();
    let candidates = bench["bench"]["candidates"].as_array().unwrap();
    let names: Vec<&str> = candidates.iter().map(|one| one["name"].as_str().unwrap()).collect();
    let free = ["base base, no schema", "base tuned, no schema"];
    assert_eq!(names, [["base base", "base tuned"], free].concat());
    for (one, name) in candidates.iter().zip(names) {
        if !free.contains(&name) {
            assert_eq!(one["score"]["valid"]["estimate"], 1.0, "{one}");
        }
        assert!(one["tokens_per_s"].as_f64().unwrap() > 0.0);
    }
    assert!(candidates[1]["perplexity"].as_f64() < candidates[0]["perplexity"].as_f64());
    let html = std::fs::read_to_string(path.join(".sprat/reports/bench.html")).unwrap();
    assert!(html.contains("exact match") && html.contains("people"));

    let model = tuned["folder"].as_str().unwrap();
    std::fs::write(path.join("in.jsonl"), "{\"id\": 1, \"text\": \"Table for 4 under Novak\"}\n")
        .unwrap();
    let answer = |model: &str| -> Value {
        let args = ["predict", "--model", model, "--quiet", "--input", "in.jsonl"];
        serde_json::from_str(sprat(path, &args).exits(0).out.lines().next().unwrap()).unwrap()
    };
    let line = answer(model);
    let fields: Value = serde_json::from_str(line["output"].as_str().unwrap()).unwrap();
    assert!(fields["people"].is_i64() && fields["name"].is_string(), "{line}");

    let up = sprat(path, &["up", "--no-serve", "--quiet", "--json"]).exits(0).json();
    assert_eq!(up["version"], "tables@v1", "{up}");
    assert_eq!(answer("tables")["model"], "tables@v1");
    let server = Server::start(path, &[]);
    let body = r#"{"model": "tables", "messages": [{"role": "user", "content": "Novak, four"}]}"#;
    let (status, said) = server.post("/v1/chat/completions", body);
    assert_eq!(status, 200, "{said}");
    let content = said["choices"][0]["message"]["content"].as_str().unwrap();
    let fields: Value = serde_json::from_str(content).unwrap();
    assert!(fields["day"].is_string() && fields["people"].is_i64(), "{said}");
    drop(server);
    let unchanged = sprat(path, &["up", "--no-serve", "--quiet", "--json"]).exits(0).json();
    for step in unchanged["steps"].as_array().unwrap() {
        assert_eq!(step["state"], "unchanged", "{step}");
    }
    sprat(path, &["doctor", "--quiet"]).exits(0);
    let again = sprat(path, &["reproduce", "v1", "--quiet", "--json", "--threads", "1"]);
    assert_eq!(again.exits(0).json()["reproduced"], true);

    // Another seed makes another model, which is tested against the first.
    let file = path.join("sprat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("[tune]", "[tune]\nseed = 7")).unwrap();
    let second = sprat(path, &["release", "--quiet", "--json"]).exits(0).json();
    assert_eq!(second["version"], "tables@v2", "{second}");
    let findings = second["gate"]["findings"].as_array().unwrap();
    let rule = findings.iter().find(|rule| rule["rule"] == "not-worse-than-current").unwrap();
    assert_eq!(rule["verdict"], "passed", "{rule}");
    sprat(path, &["promote", "v2", "--quiet"]).exits(0);
    assert_eq!(answer("tables@production")["model"], "tables@v2");
    sprat(path, &["rollback", "--quiet"]).exits(0);
    assert_eq!(answer("tables@production")["model"], "tables@v1");

    // Both at once, and the base as it is; what two references name is served once.
    let server = Server::start(
        path,
        &[
            "--model",
            "tables@production",
            "--model",
            "tables@v2",
            "--model",
            "v1",
            "--model",
            "file:base",
        ],
    );
    let list: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    let cards = list["data"].as_array().unwrap().iter();
    let ids: Vec<&str> = cards.map(|card| card["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["tables", "tables@v2", "base"]);
    assert_eq!(list["data"][0]["aliases"], json!(["tables@v1", "tables@production", "v1"]));
    for model in ["tables", "tables@v1", "tables@v2"] {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Novak" }] });
        let (status, said) = server.post("/v1/chat/completions", &body.to_string());
        assert_eq!(status, 200, "{said}");
        let content = said["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(serde_json::from_str::<Value>(content).unwrap()["people"].is_i64(), "{said}");
    }
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    lay(path);
    init(path);
    let file = path.join("sprat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let with = |from: &str, to: &str| {
        std::fs::write(&file, settings.replace(from, to)).unwrap();
        sprat(path, &["tune", "--quiet"])
    };
    let shrunk = settings.replace("\"int8\"", "\"q4_0\"").replace("epochs = 3", "epochs = 1");
    std::fs::write(&file, shrunk).unwrap();
    let done = sprat(path, &["shrink", "--quiet"]).exits(1);
    assert!(done.err.contains("no whole blocks of q4_0"), "{}", done.err);
    let done = with("schema.json", "missing.json").exits(1);
    assert!(done.err.contains("SPRAT-FLOW-ANSWER-SCHEMA"), "{}", done.err);
    let done = with("rank = 8", "method = \"head\"").exits(1);
    assert!(done.err.contains("SPRAT-FLOW-KIND"), "{}", done.err);
    sprat_model::tiny::write(&path.join("encoder"), 1).unwrap();
    let done = with("file:base", "file:encoder").exits(1);
    assert!(done.err.contains("is an encoder"), "{}", done.err);
}
