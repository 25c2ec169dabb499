//! A tiny random decoder, for the tests of this crate and of those above it.

use super::config::DecoderConfig;
use super::names::{self, Role};
use super::projection::Slot;
use super::weights::norm_roles;
use crate::codes;
use crate::files::{TensorData, TensorWriter};
use rand::Rng;
use serde_json::json;
use sprat_task::random::stream;
use sprat_task::{Error, Result};
use std::path::Path;

/// Tokens of the tiny decoder: 0 pads, 1 begins and 2 ends.
pub const VOCABULARY: usize = 20;

/// Writes the folder of a Qwen 3 of two layers of width 32, with weights drawn from `seed`.
///
/// # Errors
/// `SPRAT-MODEL-WRITE`.
pub fn write(folder: &Path, seed: u64) -> Result<()> {
    let config = json!({
        "model_type": "qwen3", "vocab_size": VOCABULARY, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::create_dir_all(folder)
        .map_err(|why| Error::io(&codes::WRITE, "make a folder", folder, &why))?;
    crate::artefact::write_json(&folder.join("config.json"), &config)?;
    let config = DecoderConfig::read(&folder.join("config.json"))?;
    let mut writer = TensorWriter::new();
    let mut add = |role: Role, layer: usize, shape: &[usize]| {
        let name = format!("model.{}.weight", names::hugging_face(config.family, role, layer));
        let mut random = stream(seed, &name);
        let count = shape.iter().product();
        let around = if shape.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> =
            (0..count).map(|_| around + 0.4 * (random.random::<f32>() - 0.5)).collect();
        writer.add(&name, shape, TensorData::F32(values.into()))
    };
    add(Role::Embedding, 0, &[config.vocabulary, config.hidden])?;
    add(Role::OutputNorm, 0, &[config.hidden])?;
    for layer in 0..config.layers.len() {
        for slot in Slot::ALL {
            let (_, inputs) = slot.shape(&config);
            for (role, rows) in slot.parts(&config) {
                add(role, layer, &[rows, inputs])?;
            }
        }
        for role in norm_roles(&config) {
            let head = matches!(role, Role::QueryNorm | Role::KeyNorm);
            add(role, layer, &[if head { config.heads.width } else { config.hidden }])?;
        }
    }
    writer.write(&folder.join("model.safetensors")).map(|_| ())
}
