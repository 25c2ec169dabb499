//! Every family against transformers, on tiny encoders whose weights come from a formula:
//! `golden/families.json` says how it was made.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod formula;

use formula::fill;
use serde_json::{Value, json};
use sprat_model::files::{TensorData, TensorWriter};
use sprat_model::{Batch, Encoder, Format, Tokenizer, Tokens, tiny};
use std::path::Path;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// Writes the model of one family, its tensors under `prefix`.
fn write(folder: &Path, family: &Value, prefix: &str) {
    let mut writer = TensorWriter::new();
    for (name, shape) in family["tensors"].as_object().unwrap() {
        let shape: Vec<usize> =
            shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let values = fill(name, shape.iter().product());
        writer.add(&format!("{prefix}{name}"), &shape, TensorData::F32(values.into())).unwrap();
    }
    // The tokenizer plays no part here; the tiny one has no token that is too large.
    tiny::write(folder, 1).unwrap();
    writer.write(&folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), family["config"].to_string()).unwrap();
}

#[test]
fn hidden_states_agree_with_transformers() {
    for (name, family) in golden()["families"].as_object().unwrap() {
        let prefixes = sprat_model::Family::of(family["config"]["model_type"].as_str().unwrap());
        for prefix in prefixes.unwrap().prefixes {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), family, prefix);
            let encoder = Encoder::open(folder.path(), Format::F32).unwrap();
            let texts = family["texts"].as_array().unwrap().iter().map(|ids| {
                let ids = numbers(ids).into_iter().map(|id| id as u32).collect();
                Tokens { ids, cut: 0 }
            });
            let batch = Batch::new(&texts.collect::<Vec<_>>());
            let states = encoder.states(&batch, encoder.config().layers);
            for (text, bounds) in batch.bounds.windows(2).enumerate() {
                for (side, row) in [("first", bounds[0]), ("last", bounds[1] - 1)] {
                    let expected = numbers(&family[side][text]);
                    for (ours, theirs) in states.row(row).iter().zip(&expected) {
                        assert!(
                            (ours - theirs).abs() < 2e-5,
                            "{name}, prefix `{prefix}`, text {text}, {side}: {ours} and {theirs}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn old_names_of_normalizations_are_understood() {
    let golden = golden();
    let family = &golden["families"]["bert"];
    let (new, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(new.path(), family, "");
    write(old.path(), family, "");
    let mut writer = TensorWriter::new();
    for (name, shape) in family["tensors"].as_object().unwrap() {
        let shape: Vec<usize> =
            shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let values = fill(name, shape.iter().product());
        let name = name
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        writer.add(&name, &shape, TensorData::F32(values.into())).unwrap();
    }
    writer.write(&old.path().join("model.safetensors")).unwrap();
    let open = |folder: &Path| Encoder::open(folder, Format::F32).unwrap().weights();
    assert_eq!(open(new.path()), open(old.path()));
}

#[test]
fn a_sentencepiece_tokenizer_with_prefix_and_limit_agrees_with_transformers() {
    let golden = golden();
    let own = &golden["tokenizer"];
    let folder = tempfile::tempdir().unwrap();
    // Padding and another limit in the file must not matter.
    let mut file = own["file"].clone();
    file["padding"] = json!({"strategy": {"Fixed": 12}, "direction": "Right", "pad_id": 3,
        "pad_type_id": 0, "pad_token": "<pad>", "pad_to_multiple_of": null});
    file["truncation"] =
        json!({"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 1});
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
    let limit = own["limit"].as_u64().unwrap() as usize;
    let mut tokenizer = Tokenizer::open(folder.path(), 24, limit).unwrap();
    tokenizer.set_preparation(own["prefix"].as_str().unwrap(), false);
    for (text, ids) in own["texts"].as_array().unwrap().iter().zip(own["ids"].as_array().unwrap()) {
        let ours = tokenizer.encode(text.as_str().unwrap()).unwrap();
        let theirs: Vec<u32> = numbers(ids).into_iter().map(|id| id as u32).collect();
        assert_eq!(ours.ids, theirs, "{text}");
    }
}
