//! `sprat improve` for a model that writes: corrected answers from traces become the next version.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use sprat_infer::remote::mock::{Act, Mock};
use std::path::Path;
use std::sync::OnceLock;
use support::watch::{clean, settle, strange};
use support::{Server, copy_folder, sprat};

const SCHEMA: &str = r#"{"type": "object", "properties": {"day": {"enum": ["Monday", "Friday"]}},
    "required": ["day"], "additionalProperties": false}"#;

/// A task whose every answer is Monday, released and promoted; made once, each test gets a copy.
fn released() -> tempfile::TempDir {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = tempfile::tempdir().unwrap();
    copy_folder(MADE.get_or_init(made).path(), folder.path());
    folder
}

fn made() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sprat_model::tiny::write_decoder(&path.join("base"), 1).unwrap();
    std::fs::write(path.join("schema.json"), SCHEMA).unwrap();
    let rows: String = (0..60).map(|at| format!("\"{}\",{MONDAY}\n", clean(at))).collect();
    std::fs::write(path.join("data.csv"), format!("text,answer\n{rows}")).unwrap();
    let settings = "[task]\nname = \"days\"\nkind = \"extract\"\ntarget = \"answer\"\n\
        schema = \"schema.json\"\ninstruction = \"Which day?\"\nmax_answer_tokens = 24\n\
        [data]\ntrain = \"data.csv\"\n[[candidates]]\nmodel = \"file:base\"\n[serve]\ntrace_text = \"keep\"\n\
        [tune]\nepochs = 8\nbatch = 8\nrank = 8\nprecision = \"f32\"\nlearning_rate = 1e-2\n\
        [shrink]\nformats = []\n";
    std::fs::write(path.join("sprat.toml"), settings).unwrap();
    sprat(path, &["release", "--quiet"]).exits(0);
    sprat(path, &["promote", "v1", "--quiet"]).exits(0);
    folder
}

const MONDAY: &str = r#""{""day"":""Monday""}""#;

fn answer(server: &Server, text: &str, id: &str) -> String {
    let body = json!({ "model": "days", "messages": [{ "role": "user", "content": text }] });
    let header = format!("x-request-id: {id}\r\n");
    let (status, said) = server.post_with("/v1/chat/completions", &header, &body.to_string());
    assert_eq!(status, 200, "{said}");
    said["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

fn improve(path: &Path, code: i32) -> Value {
    sprat(path, &["improve", "--json", "--quiet"]).exits(code).json()
}

#[test]
fn corrected_answers_become_the_next_version_of_a_model_that_writes() {
    let folder = released();
    let path = folder.path();
    let server = Server::start(path, &[]);
    assert_eq!(answer(&server, &clean(99), "open"), r#"{"day":"Monday"}"#);
    let wrong = (0..70)
        .filter(|at| answer(&server, &strange(*at), &format!("strange-{at}")).contains("Monday"));
    assert!(wrong.count() > 60, "production knows nothing else");
    settle(&server);
    drop(server);
    assert_eq!(improve(path, 1)["error"]["code"], "SPRAT-WATCH-FEW");
    // With white space, as people write JSON; what does not fit the schema teaches nothing.
    let said = |at: usize| {
        let right = if at == 0 { r#"{"day": "Sunday"}"# } else { r#"{ "day": "Friday" }"# };
        let id = format!("strange-{at}");
        format!("{}\n", json!({ "id": id, "verdict": "wrong", "output": right, "by": "ann" }))
    };
    std::fs::write(path.join("said.jsonl"), (0..70).map(said).collect::<String>()).unwrap();
    sprat(path, &["watch", "feedback", "said.jsonl", "--quiet"]).exits(0);
    let better = improve(path, 0);
    assert_eq!((&better["version"], &better["shown"]), (&"days@v2".into(), &true.into()));
    let (dataset, fresh) = (&better["dataset"], &better["fresh"]);
    let labelled = dataset["labelled"].as_u64().unwrap();
    // Without the one that does not fit, and those that are nearly a row to compare on.
    assert!(labelled > 0 && labelled + dataset["kept"].as_u64().unwrap() < 70, "{dataset}");
    assert_eq!(fresh["rows"], dataset["kept"], "{fresh}");
    assert!(fresh["candidate_only"].as_u64() > fresh["reference_only"].as_u64(), "{fresh}");
    assert!(better["gate"]["findings"].is_array(), "{better}");
    let log = sprat(path, &["log", "--json"]).exits(0).json();
    assert_eq!(log["aliases"][0]["version"], 1, "nobody asked to promote it");

    sprat(path, &["promote", "v2", "--quiet"]).exits(0);
    let server = Server::start(path, &[]);
    let right = (200..220).filter(|at| answer(&server, &strange(*at), "x").contains("Friday"));
    assert!(right.count() > 10);
}

#[test]
fn what_a_large_model_answered_teaches_a_model_that_writes() {
    let folder = released();
    let path = folder.path();
    let mock = Mock::start(|_| Act::Say(r#"{"day":"Friday"}"#.into())).unwrap();
    let text = std::fs::read_to_string(path.join("sprat.toml")).unwrap();
    let large = format!(
        "[[candidates]]\nmodel = \"openai:large\"\nbase_url = \"{}\"\n\
         [route]\nlarge = [\"openai:large\"]\nretries = 0\nkeep_above = 1.0\n",
        mock.base_url()
    );
    std::fs::write(path.join("sprat.toml"), text + &large).unwrap();
    let server = Server::start(path, &[]);
    // A right answer of half of them is confirmed; the large model's word stands for the others.
    let friday = (0..120)
        .filter(|at| answer(&server, &strange(*at), &format!("strange-{at}")).contains("Friday"));
    assert_eq!(friday.count(), 120);
    settle(&server);
    drop(server);
    let said = |at: usize| {
        format!("{}\n", json!({ "id": format!("strange-{at}"), "verdict": "right", "by": "ann" }))
    };
    std::fs::write(path.join("said.jsonl"), (0..60).map(said).collect::<String>()).unwrap();
    sprat(path, &["watch", "feedback", "said.jsonl", "--quiet"]).exits(0);
    let better = improve(path, 0);
    assert_eq!(better["version"], "days@v2", "{better}");
    let dataset = &better["dataset"];
    let (labelled, taught) =
        (dataset["labelled"].as_u64().unwrap(), dataset["large"].as_u64().unwrap());
    // Without those that are nearly a row to compare on.
    assert!(labelled > 0 && (20..=60).contains(&taught), "{dataset}");
    let rows = path.join(better["folder"].as_str().unwrap()).join("train.jsonl");
    let rows = std::fs::read_to_string(rows).unwrap();
    let fridays = rows.lines().filter(|line| line.contains("Friday")).count() as u64;
    assert_eq!(fridays, labelled + taught, "each is a row to train on");
}
