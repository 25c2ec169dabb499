//! Writing an encoder's weights in F32 or in a smaller number format.
//!
//! All of them are safetensors files with the family's own tensor names, so that F32 and BF16
//! files open in other tools as they are. With [`Stored::Int8`], a matrix `NAME` is I8 and
//! `NAME.scale` F32 `[rows]` stands beside it: the weight in row `i` is `code · scale[i]`,
//! symmetric, with `scale[i] = max|row i| / 127`. Biases, normalizations and the small tables of
//! positions and token types stay F32 (BF16 in a BF16 file for the tables). The header's note
//! `sprat.weights` names the format.

use crate::artefact::Stored;
use crate::config::EncoderConfig;
use crate::files::{TensorData, TensorWriter};
use crate::weights::EncoderWeights;
use sprat_task::Result;
use std::borrow::Cow;
use std::path::Path;

/// What the name of a quantized tensor's scales ends in.
pub(crate) const SCALE_SUFFIX: &str = ".scale";

/// Writes an encoder's weights as `model.safetensors` in a folder. Gives the file's size in
/// bytes. [`Stored::Head`] and [`Stored::Adapter`] are written as [`Stored::Full`]: what is
/// merged is whole.
///
/// # Errors
/// `SPRAT-MODEL-WRITE`.
pub fn write_encoder(
    weights: &EncoderWeights,
    config: &EncoderConfig,
    stored: Stored,
    folder: &Path,
) -> Result<u64> {
    let mut all = Vec::new();
    let mut visit = |named, values| all.push((named, values));
    weights.embeddings.visit(config, &mut visit);
    for (at, layer) in weights.layers.iter().enumerate() {
        layer.visit(at, config, &mut visit);
    }
    let mut writer = TensorWriter::new();
    let word = format!("{}.weight", config.family.embeddings.word);
    let tables = "embeddings.";
    let note = match stored {
        Stored::Bf16 => "bf16",
        Stored::Int8 => "int8",
        Stored::Head | Stored::Adapter | Stored::Full => "f32",
    };
    writer.note("sprat.weights", note);
    for (named, values) in all {
        let matrix = named.shape.len() == 2;
        let small = named.name.contains(tables) && named.name != word;
        match stored {
            Stored::Int8 if matrix && !small => {
                let (codes, scales) = quantize_rows(values, named.shape[1]);
                let scale_name = format!("{}{SCALE_SUFFIX}", named.name);
                writer.add(&scale_name, &[scales.len()], TensorData::F32(scales.into()))?;
                writer.add(&named.name, &named.shape, TensorData::I8(codes.into()))?;
            }
            Stored::Bf16 if matrix => {
                writer.add(&named.name, &named.shape, TensorData::Bf16(Cow::Borrowed(values)))?;
            }
            _ => writer.add(&named.name, &named.shape, TensorData::F32(Cow::Borrowed(values)))?,
        }
    }
    writer.write(&folder.join("model.safetensors"))
}

/// Symmetric 8-bit codes and one scale a row: the nearest multiple of `max|row| / 127`, ties to
/// even.
fn quantize_rows(values: &[f32], width: usize) -> (Vec<i8>, Vec<f32>) {
    let mut codes = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(values.len() / width.max(1));
    for row in values.chunks_exact(width.max(1)) {
        let scale = row.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let code = |value: &f32| (value * inverse).round_ties_even().clamp(-127.0, 127.0) as i8;
        codes.extend(row.iter().map(code));
        scales.push(scale);
    }
    (codes, scales)
}
