//! Several models over the same weights, by the real binary over real sockets: a base model with
//! LoRA adapters beside it, each asked for by its name.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking, and each uses its part of the support module"
)]

mod support;

use serde_json::{Value, json};
use sprat_model::decoder::{DecoderConfig, Projection, merge_adapter};
use sprat_model::{Adaptable, Adapter, Format, LoraPair, tiny};
use sprat_nn::Mat;
use std::path::Path;
use support::{Run, Server, sprat};

const NAMES: [&str; 3] = ["base", "billing", "support"];
const PROMPTS: [&str; 4] = [
    "The card was charged twice and nobody answers the telephone, what is to be done now?",
    "The card was charged twice and nobody answers the mail",
    "hello",
    "Where is the parcel?",
];

/// An adapter of rank 2 on every linear layer, strong enough to change what is written.
fn adapter(base: &Path, seed: u32, digest: &str) -> Adapter<Projection> {
    let config = DecoderConfig::read(&base.join("config.json")).unwrap();
    let rank = 2;
    let mut state = seed;
    let mut fill = |rows: usize, cols: usize| {
        let values = (0..rows * cols).map(|_| {
            // Numerical Recipes' generator: the same weights on every machine.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.5) * 0.8
        });
        Mat::new(rows, cols, values.collect())
    };
    let mut pairs = Vec::new();
    for layer in 0..config.layer_count() {
        for &part in Projection::all(&config) {
            let (outputs, inputs) = config.part_shape(part);
            pairs.push(LoraPair { layer, part, a: fill(rank, inputs), b: fill(outputs, rank) });
        }
    }
    let base = "hf:some/base".to_owned();
    let digest = digest.to_owned();
    Adapter { rank, alpha: 2.0, dropout: 0.0, base, digest, scale: 1.0, pairs }
}

fn write(adapter: &Adapter<Projection>, base: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    adapter.write(to, &DecoderConfig::read(&base.join("config.json")).unwrap()).unwrap();
}

/// A folder with a settings file, a base model and two adapters.
fn lay() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("sprat.toml"), "[task]\nname = \"desk\"\n").unwrap();
    let base = path.join("base");
    tiny::write_decoder(&base, 1).unwrap();
    for (seed, name) in NAMES[1..].iter().enumerate() {
        write(&adapter(&base, seed as u32 + 1, ""), &base, &path.join(name));
    }
    folder
}

const BOTH: [&str; 6] =
    ["--model", "file:base", "--adapter", "billing=billing", "--adapter", "support=support"];

/// Greedily written tokens with their probabilities, through one of the endpoints.
fn ask(server: &Server, model: &str, prompt: &str, chat: bool) -> Value {
    let mut body = json!({ "model": model, "temperature": 0, "max_tokens": 24 });
    let path = if chat {
        body["messages"] = json!([{ "role": "user", "content": prompt }]);
        body["logprobs"] = json!(true);
        "/v1/chat/completions"
    } else {
        body["prompt"] = json!(prompt);
        body["logprobs"] = json!(0);
        "/v1/completions"
    };
    let (status, said) = server.post(path, &body.to_string());
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["model"], model);
    said["choices"][0].clone()
}

/// What every model says to every prompt, one after another.
fn one_by_one(server: &Server, names: &[&str]) -> Vec<Value> {
    let each = |name: &&str| {
        let name = *name;
        PROMPTS.map(|prompt| [ask(server, name, prompt, false), ask(server, name, prompt, true)])
    };
    names.iter().flat_map(each).flatten().collect()
}

#[test]
fn every_name_answers_as_it_does_alone_whatever_else_is_asked_for() {
    let folder = lay();
    let path = folder.path();
    // Each by itself, in a server of its own.
    let mut alone = one_by_one(&Server::start(path, &["--model", "file:base"]), &["base"]);
    for name in &NAMES[1..] {
        let with = format!("{name}={name}");
        let server = Server::start(path, &["--model", "file:base", "--adapter", &with]);
        alone.extend(one_by_one(&server, &[name]));
    }
    let server = Server::start(path, &BOTH);
    let server = &server;
    for _ in 0..2 {
        let together: Vec<Value> = std::thread::scope(|scope| {
            let mut asked = Vec::new();
            for name in NAMES {
                for prompt in PROMPTS {
                    for chat in [false, true] {
                        asked.push(scope.spawn(move || ask(server, name, prompt, chat)));
                    }
                }
            }
            asked.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(together, alone);
    }
    // The adapters do something, and not the same.
    let count = alone.len() / 3;
    let (base, rest) = alone.split_at(count);
    let (billing, support) = rest.split_at(count);
    for at in 0..count {
        assert!(base[at] != billing[at] && base[at] != support[at] && billing[at] != support[at]);
    }

    // In a stream too.
    let body = json!({ "model": "support", "temperature": 0, "max_tokens": 24, "stream": true,
        "prompt": PROMPTS[0] });
    let stream = server.stream("/v1/completions", &body.to_string());
    let text: String =
        stream.iter().map(|one| one["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(support[0]["text"], text);
    assert!(stream.len() > 3 && stream.iter().all(|one| one["model"] == "support"));

    let metrics = server.get("/metrics").1;
    for name in NAMES {
        let found = metrics.lines().any(|line| {
            line.starts_with("sprat_answers_total") && line.contains(&format!("model=\"{name}\""))
        });
        assert!(found, "{name}: {metrics}");
    }
}

#[test]
fn a_merged_adapter_writes_the_same_tokens() {
    let folder = lay();
    let path = folder.path();
    let base = path.join("base");
    merge_adapter(&base, Some(&adapter(&base, 1, "")), Format::F32, &path.join("merged")).unwrap();
    let beside = Server::start(path, &BOTH);
    let merged = Server::start(path, &["--model", "file:merged"]);
    let mut compared = 0;
    for prompt in PROMPTS {
        let scored = |server: &Server, model: &str| {
            let body = json!({ "model": model, "temperature": 0, "max_tokens": 24, "logprobs": 2,
                "prompt": prompt });
            let said = server.post("/v1/completions", &body.to_string()).1;
            said["choices"][0]["logprobs"].clone()
        };
        let (one, other) = (scored(&beside, "billing"), scored(&merged, "merged"));
        let tokens = one["tokens"].as_array().unwrap();
        for (at, token) in tokens.iter().enumerate() {
            // The weights are multiplied in bfloat16, rounded before or after the merge: where two
            // tokens are about as likely, either may come, and then the texts part.
            let mut best: Vec<f64> = one["top_logprobs"][at]
                .as_object()
                .unwrap()
                .values()
                .map(|logprob| logprob.as_f64().unwrap())
                .collect();
            best.sort_by(f64::total_cmp);
            if best.len() > 1 && best[best.len() - 1] - best[best.len() - 2] < 0.1 {
                break;
            }
            assert_eq!(*token, other["tokens"][at], "{prompt}: {one}\n{other}");
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} tokens");
}

#[test]
fn all_models_are_listed_and_other_names_are_not_found() {
    let folder = lay();
    let server = Server::start(folder.path(), &BOTH);
    let list: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    let cards = list["data"].as_array().unwrap();
    let ids: Vec<&str> = cards.iter().map(|card| card["id"].as_str().unwrap()).collect();
    assert_eq!(ids, NAMES);
    for card in cards {
        assert_eq!(card["abilities"], json!(["chat", "complete"]));
        assert!(card["version"].as_str().unwrap().starts_with(card["id"].as_str().unwrap()));
    }
    let (status, one) = server.get("/v1/models/billing");
    assert_eq!((status, one.contains("billing@")), (200, true), "{one}");
    let body = r#"{"model": "sales", "prompt": "x"}"#;
    let (status, said) = server.post("/v1/completions", body);
    assert_eq!((status, &said["error"]["code"]), (404, &json!("SPRAT-SERVE-MODEL")), "{said}");
    let memory = &server.said()["memory_bytes"];
    assert!(memory["weights"].as_u64() > Some(0) && memory["cache"].as_u64() > Some(0), "{memory}");
    assert!(memory["adapters"].as_u64() > Some(0), "{memory}");
    let base = Server::start(folder.path(), &["--model", "file:base"]);
    let alone = &base.said()["memory_bytes"];
    assert_eq!((&alone["weights"], &alone["cache"]), (&memory["weights"], &memory["cache"]));
    assert_eq!(alone["adapters"], 0);
}

#[test]
fn several_base_models_are_served_at_once() {
    let folder = lay();
    tiny::write_decoder(&folder.path().join("other"), 2).unwrap();
    let server = Server::start(folder.path(), &["--model", "file:base", "--model", "file:other"]);
    let said = ["base", "other"].map(|name| ask(&server, name, PROMPTS[0], false));
    assert_ne!(said[0], said[1]);
}

#[test]
fn a_model_that_is_named_is_served_in_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    sprat_model::tiny::write_decoder(&folder.path().join("base"), 1).unwrap();
    let server = Server::start(folder.path(), &["--model", "file:base"]);
    let answer = ask(&server, "base", "Two?", true);
    assert!(answer["message"].is_object(), "{answer}");
    let unnamed = fails(folder.path(), &[], 1);
    let elsewhere = fails(folder.path(), &["--config", "other.toml", "--model", "file:base"], 1);
    for error in [unnamed, elsewhere] {
        assert_eq!(error["code"], "SPRAT-SETTINGS-UNREADABLE", "{error}");
    }
}

/// Runs `sprat serve` with arguments that must fail.
fn fails(folder: &Path, args: &[&str], code: i32) -> Value {
    let all = [&["serve", "--json", "--listen", "127.0.0.1:0"], args].concat();
    let done: Run = sprat(folder, &all).exits(code);
    done.json()["error"].clone()
}

#[test]
fn what_can_not_be_served_says_which_adapter_and_why() {
    let folder = lay();
    let path = folder.path();
    let base = path.join("base");
    let over =
        |with: &str, code: i32| fails(path, &["--model", "file:base", "--adapter", with], code);

    for (with, id) in [
        ("billing", "SPRAT-FLOW-ADAPTER"),
        ("billing=", "SPRAT-FLOW-ADAPTER"),
        ("=billing", "SPRAT-REGISTRY-NAME"),
        ("a b=billing", "SPRAT-REGISTRY-NAME"),
        ("a@v1=billing", "SPRAT-REGISTRY-NAME"),
        ("base=billing", "SPRAT-SERVE-NAME"),
    ] {
        assert_eq!(over(with, 2)["code"], id, "{with}");
    }
    let twice = ["--model", "file:base", "--adapter", "x=billing", "--adapter", "x=support"];
    let error = fails(path, &twice, 2);
    assert_eq!(error["code"], "SPRAT-SERVE-NAME");
    assert!(error["message"].as_str().unwrap().contains("`x`"), "{error}");

    let error = over("billing=nowhere", 1);
    assert_eq!(error["code"], "SPRAT-MODEL-MISSING-FILE", "{error}");
    assert!(error["message"].as_str().unwrap().contains("`billing`"), "{error}");
    assert!(error["file"].as_str().unwrap().contains("nowhere"), "{error}");

    // Of another shape, of another architecture, and of the same shape over other weights.
    let wide = path.join("wide");
    tiny::write_decoder(&wide, 1).unwrap();
    let config = std::fs::read_to_string(wide.join("config.json")).unwrap();
    let config = config.replace("\"hidden_size\":32", "\"hidden_size\":64");
    std::fs::write(wide.join("config.json"), config).unwrap();
    write(&adapter(&wide, 1, ""), &wide, &path.join("of-wide"));
    let error = over("billing=of-wide", 1);
    assert_eq!(error["code"], "SPRAT-MODEL-SHAPE", "{error}");
    assert!(error["message"].as_str().unwrap().contains("`billing`"), "{error}");
    assert!(error["file"].as_str().unwrap().ends_with("of-wide/adapter_model.safetensors"));
    assert!(error["help"].as_str().unwrap().contains("PEFT"), "{error}");

    write(&adapter(&base, 1, &"0".repeat(64)), &base, &path.join("of-other"));
    let error = over("billing=of-other", 3);
    assert_eq!(error["code"], "SPRAT-FLOW-OTHER-BASE", "{error}");
    assert!(error["why"].as_str().unwrap().contains("hf:some/base"), "{error}");

    // Beside what takes none.
    tiny::write(&path.join("encoder"), 1).unwrap();
    let beside = |model: &[&str]| {
        let error = fails(path, &[model, &["--adapter", "x=billing"]].concat(), 2);
        assert_eq!(error["code"], "SPRAT-FLOW-ADAPTER", "{error}");
        error["why"].as_str().unwrap().to_owned()
    };
    assert!(beside(&["--model", "file:encoder"]).contains("no decoder"));
    assert!(beside(&["--model", "desk@v1"]).contains("is a release"));
    assert!(beside(&[]).contains("`desk@production` is a release"));
    let two = beside(&["--model", "file:base", "--model", "file:wide"]);
    assert!(two.contains("file:base, file:wide"), "{two}");
}
