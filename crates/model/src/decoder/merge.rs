//! A model folder with an adapter merged into its weights.

use super::config::DecoderConfig;
use super::projection::Projection;
use super::source::Folder;
use crate::adapter::Adapter;
use crate::artefact::copy_files;
use crate::codes;
use crate::files::{TensorData, TensorWriter, Weights};
use sprat_nn::{Format, Lora};
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// The files besides the weights that make a folder a decoder.
const DECODER_FILES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

/// Copies the files besides the weights that make a folder a decoder, where `from` has them.
///
/// # Errors
/// `SPRAT-MODEL-READ`, `SPRAT-MODEL-WRITE`.
pub fn copy_decoder_files(from: &Path, to: &Path) -> Result<()> {
    copy_files(&DECODER_FILES, from, to)
}

/// Writes the model of `base`, a folder in Hugging Face's layout, with `adapter`, if any, merged
/// into its weights: a folder of the same layout, its tensors in [`Format::F32`] or [`Format::Bf16`].
///
/// # Errors
/// `SPRAT-MODEL-CONFIG` for another format; those of reading the base and of writing otherwise.
pub fn merge_adapter(
    base: &Path,
    adapter: Option<&Adapter<Projection>>,
    format: Format,
    folder: &Path,
) -> Result<()> {
    if !matches!(format, Format::F32 | Format::Bf16) {
        let what = "a merged model is written in F32 or BF16";
        return Err(Error::new(&codes::CONFIG, what).field("format"));
    }
    let config = DecoderConfig::read(&base.join("config.json"))?;
    let weights = Weights::open(base)?;
    let source = Folder::new(&weights, &config, format);
    let name = |layer, part: Projection| format!("{}.weight", source.name(layer, part.role()));
    let scale = adapter.map_or(0.0, |adapter| adapter.scale);
    let pairs = adapter.into_iter().flat_map(|adapter| &adapter.pairs);
    let pairs: HashMap<String, _> = pairs.map(|pair| (name(pair.layer, pair.part), pair)).collect();
    rewrite(&weights, format, folder, |name, values| {
        if let Some(pair) = pairs.get(name) {
            let lora = Lora { a: pair.a.clone(), b: pair.b.clone(), scale };
            let delta = lora.delta();
            if values.len() != delta.data.len() {
                let what = format!("tensor `{name}` has another shape than the adapter's");
                return Err(Error::new(&codes::SHAPE, what).file(base));
            }
            values.iter_mut().zip(&delta.data).for_each(|(w, d)| *w += d);
        }
        Ok(true)
    })?;
    copy_decoder_files(base, folder)
}

/// Writes weights as one file, each tensor as `change` leaves it; one for which it gives `false`
/// is left out.
pub(crate) fn rewrite(
    weights: &Weights,
    format: Format,
    folder: &Path,
    change: impl Fn(&str, &mut Vec<f32>) -> Result<bool>,
) -> Result<()> {
    let mut writer = TensorWriter::new();
    for name in weights.names() {
        let tensor = weights.tensor(&name)?;
        let shape = tensor.shape().to_vec();
        let mut values = tensor.f32(&shape)?;
        if !change(&name, &mut values)? {
            continue;
        }
        let data = match format {
            Format::Bf16 => TensorData::Bf16(values.into()),
            _ => TensorData::F32(values.into()),
        };
        writer.add(&name, &shape, data)?;
    }
    writer.write(&folder.join("model.safetensors")).map(|_| ())
}
