//! A tiny decoder through tuning, opening and the checks that nothing was exchanged.

use super::bundle::Writer;
use super::examples::Teller;
use super::manifest::{FILE, WriterManifest};
use super::replay::{replay, served_losses};
use crate::{AdapterRef, Project, Surroundings, open_generator};
use serde_json::{Value, json};
use sprat_infer::{DecoderLimits, Generator, Limits, Request};
use sprat_model::{ADAPTER_WEIGHTS, tiny};
use sprat_task::settings::Settings;
use sprat_task::{FakeClock, Interrupt, Quiet, Timestamp};
use sprat_train::TokenExample;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const NAMES: [&str; 10] = [
    "Novak", "Okafor", "Lindgren", "Haddad", "Moreau", "Tanaka", "Silva", "Kowalski", "Reyes",
    "Bauer",
];
const DAYS: [&str; 6] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Sunday"];

fn rows() -> String {
    let mut csv = String::from("text,answer\n");
    for at in 0..60 {
        let (name, day, people) = (NAMES[at % 10], DAYS[at / 10], 2 + at % 7);
        let text = match at % 3 {
            0 => format!("{day} please, {name}, we are {people}"),
            1 => format!("Table for {people} on {day} under {name}"),
            _ => format!("{name} here: {people} of us come {day} night"),
        };
        // Spaces, and another order than the schema's: it is brought into one form.
        let answer = format!(r#"{{ "people": {people}, "name": "{name}" }}"#);
        csv += &format!("\"{text}\",\"{}\"\n", answer.replace('"', "\"\""));
    }
    csv
}

fn settings(kind: &str, more: &str) -> String {
    format!(
        "[task]\nname = \"tables\"\nkind = \"{kind}\"\ntarget = \"answer\"\n\
         instruction = \"Name and number.\"\nmax_answer_tokens = 128\n{more}\n\
         [data]\ntrain = \"tables.csv\"\n\
         [tune]\nepochs = 1\nbatch = 16\nprecision = \"f32\"\nrank = 4\n\
         [[candidates]]\nmodel = \"file:base\"\n"
    )
}

fn lay(folder: &Path, kind: &str) {
    tiny::write_decoder(&folder.join("base"), 1).unwrap();
    std::fs::write(folder.join("tables.csv"), rows()).unwrap();
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "people": {"type": "integer", "minimum": 1, "maximum": 20},
        },
        "required": ["name", "people"], "additionalProperties": false,
    });
    std::fs::write(folder.join("schema.json"), schema.to_string()).unwrap();
    let more = if kind == "extract" { "schema = \"schema.json\"" } else { "" };
    std::fs::write(folder.join("sprat.toml"), settings(kind, more)).unwrap();
}

fn project(folder: &Path) -> Project {
    let settings = Settings::read(&folder.join("sprat.toml")).unwrap();
    let around = Surroundings {
        offline: true,
        clock: Arc::new(FakeClock::new(Timestamp(1_000))),
        progress: Arc::new(Quiet),
        interrupt: Interrupt::default(),
        executable: None,
    };
    Project::open(settings, around).unwrap()
}

/// A tuned bundle, made once for all tests of this file.
fn tuned() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, bundle) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        lay(folder.path(), "extract");
        let done = project(folder.path()).tune().unwrap();
        let bundle = PathBuf::from(done.document["folder"].as_str().unwrap());
        (folder, bundle)
    });
    bundle
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn open(folder: &Path) -> sprat_task::Result<Writer> {
    Writer::open("test", folder, DecoderLimits::default())
}

#[test]
fn a_tuned_model_answers_under_its_schema() {
    let model =
        open_generator("tables", tuned(), Limits::default(), DecoderLimits::default()).unwrap();
    let ask = || model.answer(Request::text("Table for 4 on Friday under Novak")).unwrap();
    let answer = ask();
    let value: Value = serde_json::from_str(&answer.output).unwrap();
    assert!(value["people"].is_i64() && value["name"].is_string(), "{answer:?}");
    assert!(answer.output.starts_with("{\"name\":"), "{}", answer.output);
    assert_eq!(answer.output, ask().output, "answers are greedy");
}

#[test]
fn an_exchanged_template_is_named() {
    let folder = tempfile::tempdir().unwrap();
    copy(tuned(), folder.path());
    open(folder.path()).unwrap();
    let file = folder.path().join("base/tokenizer_config.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("<|{{", "<|end|><|{{")).unwrap();
    assert_eq!(open(folder.path()).err().unwrap().code().id, "SPRAT-FLOW-OTHER-TEMPLATE");
}

#[test]
fn an_exchanged_tokenizer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    copy(tuned(), folder.path());
    let file = folder.path().join("base/tokenizer.json");
    let mut value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    value["model"]["merges"] = json!([]);
    std::fs::write(&file, value.to_string()).unwrap();
    assert_eq!(open(folder.path()).err().unwrap().code().id, "SPRAT-FLOW-OTHER-TOKENIZER");
}

#[test]
fn a_dropped_or_exchanged_adapter_is_named() {
    let folder = tempfile::tempdir().unwrap();
    copy(tuned(), folder.path());
    let file = folder.path().join(ADAPTER_WEIGHTS);
    let mut bytes = std::fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(open(folder.path()).err().unwrap().code().id, "SPRAT-FLOW-OTHER-ADAPTER");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(open(folder.path()).err().unwrap().code().id, "SPRAT-FLOW-OTHER-ADAPTER");
}

#[test]
fn weights_that_serve_other_losses_are_not_equivalent() {
    let whole = open(tuned()).unwrap();
    let model = whole.engine.model();
    let teller = Teller { model, instruction: whole.manifest.instruction.as_deref() };
    let examples: Vec<TokenExample> = (2..6)
        .map(|n| {
            let answer = format!("{{\"name\":\"Novak\",\"people\":{n}}}");
            teller.example(&format!("Table for {n} under Novak"), &answer).unwrap()
        })
        .collect();
    let adapter = whole.adapter.as_deref();
    let trainer = |examples: &[TokenExample]| {
        let one = |example| model.decoder().measure(std::slice::from_ref(example), adapter, 512);
        Ok(examples.iter().map(one).collect())
    };
    let interrupt = Interrupt::default();
    let same = replay(&whole, &trainer, &examples, &interrupt).unwrap();
    same.require("tune").unwrap();
    assert!(same.written > 0 && same.greatest < 1e-4, "{same:?}");
    // The same manifest and the same base, and the adapter left out of the engine.
    let dropped =
        Writer::bare("bare", &tuned().join("base"), &whole.manifest, DecoderLimits::default());
    let dropped = dropped.unwrap();
    let other = replay(&dropped, &trainer, &examples, &interrupt).unwrap();
    let error = other.require("tune").unwrap_err();
    assert_eq!(error.code().id, "SPRAT-FLOW-NOT-EQUIVALENT");
    assert!(error.to_string().contains("`tune`"), "{error}");
    assert_eq!(served_losses(&whole, &examples, &interrupt).unwrap().len(), 4);
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(tuned().join(FILE)).unwrap();
    std::fs::write(folder.path().join(FILE), text.replace("sprat-writer/1", "sprat-writer/9"))
        .unwrap();
    let error = WriterManifest::read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("sprat-writer/9"), "{error}");
}

#[test]
fn rows_against_the_schema_block_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "extract");
    let csv = rows().replacen("{ \"\"people\"\": 2,", "{ \"\"people\"\": \"\"two\"\",", 1);
    std::fs::write(folder.path().join("tables.csv"), csv).unwrap();
    let project = project(folder.path());
    let done = project.data_check(None).unwrap();
    assert_eq!(done.refused.unwrap().code().id, "SPRAT-DATA-BLOCKED");
    let checks = done.document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["id"] == "invalid-answer").unwrap();
    assert_eq!(found["findings"][0]["rows"][0]["row"], 1);
    assert_eq!(project.tune().unwrap_err().code().id, "SPRAT-FLOW-DATA-REFUSED");
}

#[test]
fn texts_are_generated_and_labels_chosen_by_the_same_path() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "generate");
    let done = project(folder.path()).tune().unwrap();
    let bundle = PathBuf::from(done.document["folder"].as_str().unwrap());
    let model =
        open_generator("texts", &bundle, Limits::default(), DecoderLimits::default()).unwrap();
    assert!(model.answer(Request::text("Table for 4")).unwrap().completion_tokens > 0);
    let up = project(folder.path()).up().unwrap();
    assert!(up.refused.is_none() && up.document["version"] == "tables@v1", "{}", up.document);

    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "classify");
    let mut csv = String::from("text,answer\n");
    for (at, line) in rows().lines().skip(1).enumerate() {
        let text = line.split("\",\"").next().unwrap();
        csv += &format!("{text}\",{}\n", ["small", "large"][usize::from(2 + at % 7 > 4)]);
    }
    std::fs::write(folder.path().join("tables.csv"), csv).unwrap();
    let done = project(folder.path()).tune().unwrap();
    assert_eq!(done.document["manifest"]["labels"], json!(["large", "small"]));
    let bundle = PathBuf::from(done.document["folder"].as_str().unwrap());
    let model =
        open_generator("labels", &bundle, Limits::default(), DecoderLimits::default()).unwrap();
    let answer = model.answer(Request::text("Table for 4")).unwrap();
    let sum: f32 = answer.scores.iter().map(|(_, p)| p).sum();
    assert!((sum - 1.0).abs() < 1e-4 && answer.label.is_some(), "{answer:?}");
    let up = project(folder.path()).up().unwrap();
    assert!(up.refused.is_none() && up.document["version"] == "tables@v1", "{}", up.document);
}

/// A copy of the tuned bundle that says it was verified in bfloat16, as a base is served.
fn tuned_in_bf16(to: &Path) {
    copy(tuned(), to);
    let file = to.join(FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"f32\"", "\"bf16\"")).unwrap();
}

#[test]
fn models_over_one_base_share_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "extract");
    let project = project(folder.path());
    let (second, third) = (folder.path().join("second"), folder.path().join("third"));
    copy(tuned(), &second);
    tuned_in_bf16(&third);
    let one = project.local("one", tuned()).unwrap();
    let alone = project.held();
    let two = project.local("two", &second).unwrap();
    let both = project.held();
    assert!(alone.weights > 0 && alone.cache > 0 && alone.adapters > 0, "{alone:?}");
    assert_eq!((both.weights, both.cache), (alone.weights, alone.cache));
    assert_eq!(both.adapters, 2 * alone.adapters);
    let ask = |n| Request::text(format!("Table for {n} under Novak"));
    let pending: Vec<_> =
        (2..6).flat_map(|n| [one.submit(ask(n)).unwrap(), two.submit(ask(n)).unwrap()]).collect();
    let said: Vec<_> = pending.into_iter().map(|one| one.wait().unwrap().output).collect();
    assert!(said.chunks(2).all(|pair| pair[0] == pair[1]), "{said:?}");

    // In another number format the weights are others.
    let base = project.writer("file:base").unwrap().unwrap();
    assert_eq!(project.held().cache, 2 * alone.cache);
    let four = project.local("three", &third).unwrap();
    assert_eq!(project.held().cache, 2 * alone.cache);
    assert!(four.answer(ask(4)).is_ok());
    drop((one, two, base, four));
    assert_eq!((project.held().weights, project.held().cache), (0, 0), "nobody holds them");
}

#[test]
fn a_tuned_adapter_beside_a_base_answers_as_it_was_tuned_to() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "extract");
    let project = project(folder.path());
    tuned_in_bf16(&folder.path().join("tuned"));
    let base = project.writer("file:base").unwrap().unwrap();
    let beside = |path: &Path| {
        let one = AdapterRef { name: "fields".into(), path: path.to_owned() };
        project.beside("file:base", &base, &[one])
    };
    let models = beside(Path::new("tuned")).unwrap();
    assert!(models[0].name().starts_with("fields@"));
    let answer = models[0].answer(Request::text("Table for 4 under Novak")).unwrap();
    let value: Value = serde_json::from_str(&answer.output).unwrap();
    assert!(value["people"].is_i64(), "{value}");
    let error = beside(tuned()).err().unwrap();
    assert_eq!(error.code().id, "SPRAT-FLOW-OTHER-BASE");
    assert!(error.to_string().contains("number format"), "{error}");
    tiny::write_decoder(&folder.path().join("other"), 2).unwrap();
    let other = project.writer("file:other").unwrap().unwrap();
    let one = AdapterRef { name: "fields".into(), path: "tuned".into() };
    let error = project.beside("file:other", &other, &[one]).err().unwrap();
    assert_eq!(error.code().id, "SPRAT-FLOW-OTHER-BASE");
    assert!(error.to_string().contains("file:base"), "{error}");
}

fn append(folder: &Path, text: &str) {
    let file = folder.join("sprat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{settings}\n{text}")).unwrap();
}

#[test]
fn files_in_blocks_are_verified_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "extract");
    append(
        folder.path(),
        "[shrink]\nformats = [\"q6_k\", \"q4_k_m\", \"mixed\"]\nbits = 8.5\nmargin = 1.0\n",
    );
    let done = project(folder.path()).shrink().unwrap();
    let variants = done.document["variants"].as_array().unwrap();
    let size = |at: usize| variants[at]["bytes"].as_u64().unwrap();
    assert!(size(0) > size(2) && size(2) > size(1), "{variants:#?}");
    let formats = |at: usize, kind: &str| -> Value {
        let kinds = variants[at]["matrices"].as_array().unwrap();
        kinds.iter().find(|one| one["kind"] == kind).unwrap()["formats"].clone()
    };
    // Rows of 32 and 48 numbers are too short for blocks of 256.
    assert_eq!(formats(0, "attn_q"), json!({"Q8_0": 2}));
    assert_eq!(formats(1, "attn_q"), json!({"Q5_0": 2}));
    assert_eq!(formats(1, "attn_v"), json!({"Q5_0": 1, "Q8_0": 1}));
    assert_eq!(formats(1, "token_embd"), json!({"Q8_0": 1}));
    assert_eq!(formats(2, "ffn_down"), json!({"F16": 2}));
    for variant in variants {
        assert!(variant["loss"].as_f64().unwrap() > 0.0, "{variant}");
        let general = &variant["retention"]["general_loss"]["estimate"];
        assert!(general.as_f64().unwrap().abs() < 0.5, "{variant}");
        let model = done.document["folder"].as_str().unwrap();
        let model = Path::new(model).join(variant["weights"].as_str().unwrap());
        let names = std::fs::read_dir(&model).unwrap().count();
        assert_eq!(names, 2, "a file and its manifest");
    }
    let html = std::fs::read_to_string(folder.path().join(".sprat/reports/shrink.html")).unwrap();
    assert!(html.contains("Formats of the matrices") && html.contains("1 × Q8_0"), "{html}");
    assert!(project(folder.path()).shrink().unwrap().document["skipped"] == true);

    let up = project(folder.path()).up().unwrap();
    assert!(up.refused.is_none() && up.document["version"] == "tables@v1", "{}", up.document);
    let again = project(folder.path()).reproduce("v1").unwrap();
    assert_eq!(again.document["reproduced"], true, "{}", again.document);

    let file = folder.path().join("sprat.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, settings.replace("bits = 8.5", "bits = 4.5")).unwrap();
    let error = project(folder.path()).shrink().unwrap_err();
    assert_eq!(error.code().id, "SPRAT-MODEL-BUDGET");
}

#[test]
fn a_file_is_made_smaller_with_what_the_training_part_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let shared = std::env::var_os("SPRAT_SHARED").map_or(root.join("shared"), PathBuf::from);
    let base = shared.join("models/aidreams260K/aidreams260K-f32.gguf");
    if !base.exists() {
        eprintln!("SKIPPED: no {}; set SPRAT_SHARED to the shared data", base.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), "generate");
    std::fs::remove_dir_all(folder.path().join("base")).unwrap();
    std::fs::create_dir(folder.path().join("base")).unwrap();
    std::fs::copy(base, folder.path().join("base/model.gguf")).unwrap();
    append(folder.path(), "[shrink]\nformats = [\"mixed\"]\nbits = 7.0\nmargin = 1.0\n");
    let shrunk = |calibrate: bool| {
        let mut project = project(folder.path());
        project.settings.shrink.calibrate = calibrate;
        project.settings.task.max_answer_tokens = 16;
        let done = project.shrink().unwrap();
        let file = Path::new(done.document["folder"].as_str().unwrap()).join("mixed/model.gguf");
        let variant = &done.document["variants"][0];
        let lost = variant["loss"].as_f64().unwrap() - done.document["full_loss"].as_f64().unwrap();
        assert!(lost.abs() < 0.5, "{lost}");
        // The untuned base is a file as well, and in other formats it tells other tokens.
        assert!(variant["retention"]["general_loss"]["estimate"].is_number(), "{variant}");
        std::fs::read(file).unwrap()
    };
    let (with, without) = (shrunk(true), shrunk(false));
    assert!(with != without, "calibration has a say");
    // Of 260 thousand weights, 7 bits each.
    assert!(with.len().abs_diff(without.len()) < 20_000, "{} {}", with.len(), without.len());
}
