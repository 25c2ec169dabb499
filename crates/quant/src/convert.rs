//! Conversion of classifiers and of plain encoders.

use crate::codes;
use crate::variant::{Shrunk, Variant, folder_bytes};
use sprat_model::files::Weights;
use sprat_model::{
    EncoderConfig, EncoderWeights, Head, Manifest, Stored, copy_encoder_files, merged_weights,
    write_encoder,
};
use sprat_task::{Error, Result};
use std::path::Path;

/// Converts a classifier: its adapter, if it has one, is merged first. `base` is the base model's
/// folder, which an adapter or a head alone needs. The manifest is written last, so that a folder
/// that was left halfway does not open.
///
/// # Errors
/// `SPRAT-QUANT-SOURCE` when it is already small, `SPRAT-QUANT-PLACE` when `out` is `artefact`,
/// and those of reading and writing models.
pub fn shrink_classifier(
    artefact: &Path,
    base: Option<&Path>,
    variant: Variant,
    out: &Path,
) -> Result<Shrunk> {
    apart(artefact, out)?;
    let mut manifest = Manifest::read(artefact)?;
    if matches!(manifest.weights, Stored::Bf16 | Stored::Int8) {
        let what = format!("these weights are already {:?}", manifest.weights);
        return Err(Error::new(&codes::SOURCE, what).file(artefact));
    }
    let (folder, config, weights) = merged_weights(artefact, base)?;
    let head = Head::read(artefact, manifest.labels.len(), config.hidden)?;
    let weight_bytes = write_encoder(&weights, &config, variant.stored(), out)?;
    copy_encoder_files(folder, out)?;
    head.write(out)?;
    manifest.weights = variant.stored();
    manifest.write(out)?;
    shrunk(variant, out, weight_bytes)
}

/// Converts a plain encoder, for comparison: how much general ability does the format cost?
///
/// # Errors
/// `SPRAT-QUANT-PLACE` when `out` is `model`, and those of reading and writing models.
pub fn shrink_encoder(model: &Path, variant: Variant, out: &Path) -> Result<Shrunk> {
    apart(model, out)?;
    let config = EncoderConfig::read(&model.join("config.json"))?;
    let files = Weights::open(model)?;
    if matches!(files.note("sprat.weights"), Some("bf16" | "int8")) {
        let what = "these weights are already in a small format";
        return Err(Error::new(&codes::SOURCE, what).file(model));
    }
    let weights = EncoderWeights::read(&files, &config)?;
    copy_encoder_files(model, out)?;
    let weight_bytes = write_encoder(&weights, &config, variant.stored(), out)?;
    shrunk(variant, out, weight_bytes)
}

fn shrunk(variant: Variant, out: &Path, weight_bytes: u64) -> Result<Shrunk> {
    let total_bytes = folder_bytes(out)?;
    Ok(Shrunk { variant, folder: out.to_path_buf(), weight_bytes, total_bytes })
}

/// A mapped file must not be replaced while it is read.
fn apart(from: &Path, to: &Path) -> Result<()> {
    match (from.canonicalize(), to.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => {
            Err(Error::new(&codes::PLACE, "a model cannot be converted in its place").file(to))
        }
        _ => Ok(()),
    }
}
