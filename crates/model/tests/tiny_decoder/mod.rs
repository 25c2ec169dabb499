//! Tiny decoders of every family, with weights from a formula.

use crate::formula::fill;
use rand::Rng;
use serde_json::Value;
use sprat_model::decoder::{DecoderConfig, Projection};
use sprat_model::files::{TensorData, TensorWriter};
use sprat_model::{Adaptable, Adapter, LoraPair};
use sprat_nn::Mat;
use sprat_task::random::stream;
use std::path::Path;

/// The golden file of the decoders.
pub(crate) fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/decoders.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Writes the model folder of a family, its weights from the formula.
pub(crate) fn write(family: &Value, folder: &Path) {
    write_with(family, folder, fill);
}

/// Writes the model folder of a family with random weights.
pub(crate) fn write_random(family: &Value, folder: &Path) {
    write_with(family, folder, |name, count| {
        let mut random = stream(4, name);
        let around = if name.contains("norm") { 1.0 } else { 0.0 };
        (0..count).map(|_| around + 0.5 * (random.random::<f32>() - 0.5)).collect()
    });
}

fn write_with(family: &Value, folder: &Path, fill: impl Fn(&str, usize) -> Vec<f32>) {
    let mut writer = TensorWriter::new();
    for (name, shape) in family["tensors"].as_object().unwrap() {
        let shape: Vec<usize> =
            shape.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let values = fill(name, shape.iter().product());
        writer.add(name, &shape, TensorData::F32(values.into())).unwrap();
    }
    writer.write(&folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), family["config"].to_string()).unwrap();
}

/// An adapter on every projection of every layer, its matrices from the formula.
pub(crate) fn adapter(config: &DecoderConfig, rank: usize, salt: &str) -> Adapter<Projection> {
    let mat = |name: String, rows, cols| Mat::new(rows, cols, fill(&name, rows * cols));
    let pairs = (0..config.layers.len()).flat_map(|layer| {
        Projection::all(config).iter().map(move |&part| {
            let (outputs, inputs) = config.part_shape(part);
            let name = format!("{salt}{layer}{}", part.name());
            LoraPair {
                layer,
                part,
                a: mat(format!("{name}a"), rank, inputs),
                b: mat(format!("{name}b"), outputs, rank),
            }
        })
    });
    Adapter {
        rank,
        alpha: 1.0,
        dropout: 0.0,
        base: "hf:tiny".into(),
        digest: "abc".into(),
        scale: 1.0 / rank as f32,
        pairs: pairs.collect(),
    }
}
