//! GGUF files made of other models: an adapter merged in, matrices in other formats.

use super::adapter_gguf::interleaved;
use super::config::DecoderConfig;
use super::export;
use super::gguf;
use super::gguf_matrices::{Matrix, Origin};
use super::projection::Projection;
use crate::adapter::{Adapter, LoraPair};
use crate::codes;
use crate::files::{Gguf, GgufWriter};
use sprat_nn::{BlockFormat, Lora};
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Writes the model of `base`, a GGUF file or a folder in Hugging Face's layout, as a GGUF file:
/// with the adapter in the PEFT layout of `adapter`, if any, merged into its weights, its
/// matrices in `format`. Matrices whose rows are no whole number of blocks, and without a format
/// all of them, keep their own. What is merged is restored from its blocks first, one matrix at a
/// time. Gives the file's size in bytes.
///
/// A folder's file is opened once more and compared with the folder before it gets its name.
///
/// # Errors
/// `SPRAT-MODEL-SHAPE` when the adapter does not belong to the model; `SPRAT-MODEL-CONFIG` and
/// `SPRAT-MODEL-VOCABULARY` for a folder whose architecture or tokenizer has something for which
/// GGUF files have no words; those of reading the base and of writing otherwise.
pub fn write_gguf(
    base: &Path,
    adapter: Option<&Path>,
    format: Option<BlockFormat>,
    path: &Path,
) -> Result<u64> {
    let origin = Origin::open(base)?;
    let config = origin.config();
    let adapter: Option<Adapter<Projection>> =
        adapter.map(|folder| Adapter::read(folder, config)).transpose()?;
    let scale = adapter.as_ref().map_or(0.0, |adapter| adapter.scale);
    let pairs = adapter.iter().flat_map(|adapter| &adapter.pairs);
    let mut pairs: HashMap<(usize, Projection), &LoraPair<Projection>> =
        pairs.map(|pair| ((pair.layer, pair.part), pair)).collect();
    let matrices = origin.matrices()?;
    let mut writer = GgufWriter::new(config.family.architecture);
    origin.metadata().into_iter().for_each(|(key, value)| writer.set(key, value.clone()));
    for matrix in &matrices {
        let pair = matrix.projection.and_then(|place| pairs.remove(&place));
        let wanted = wanted(matrix, format);
        match matrix.blocks() {
            Some(blocks) if pair.is_none() && wanted == matrix.format => {
                writer.add_blocks(&matrix.name, &matrix.shape, wanted, blocks)?;
            }
            _ => {
                let make = move || merged(matrix, pair, scale, config);
                writer.add_later(&matrix.name, &matrix.shape, wanted, make, None)?;
            }
        }
    }
    if let Some((layer, part)) = pairs.keys().next() {
        let what = format!("the adapter adapts `{}` of layer {layer}", part.name());
        return Err(Error::new(&codes::SHAPE, what).why("the model has no such tensor").file(base));
    }
    match &origin {
        Origin::File { .. } => writer.write(path),
        Origin::Folder { .. } => checked(&writer, config, path),
    }
}

/// The format that a matrix gets: its own, where its rows are no whole number of blocks.
fn wanted(matrix: &Matrix<'_>, format: Option<BlockFormat>) -> BlockFormat {
    let columns = matrix.shape.last().copied().unwrap_or(1);
    let fits = |format: &BlockFormat| matrix.shape.len() > 1 && format.bytes_for(columns).is_some();
    format.filter(fits).unwrap_or(matrix.format)
}

/// A matrix with its share of the adapter.
fn merged(
    matrix: &Matrix<'_>,
    pair: Option<&LoraPair<Projection>>,
    scale: f32,
    config: &DecoderConfig,
) -> Result<Vec<f32>> {
    let mut values = matrix.values()?;
    let Some(pair) = pair else { return Ok(values) };
    let delta = Lora { a: pair.a.clone(), b: pair.b.clone(), scale }.delta();
    let delta = match (config.family.interleaved_in_gguf, pair.part) {
        (true, Projection::Query | Projection::Key) => interleaved(&delta, config.heads.width),
        _ => delta.data,
    };
    if values.len() != delta.len() {
        let what = format!("tensor `{}` has another shape than the adapter's", matrix.name);
        return Err(Error::new(&codes::SHAPE, what));
    }
    values.iter_mut().zip(&delta).for_each(|(w, d)| *w += d);
    Ok(values)
}

/// Writes a file beside `path`, and gives it its name when it says what the folder says.
fn checked(writer: &GgufWriter<'_>, config: &DecoderConfig, path: &Path) -> Result<u64> {
    let beside = path.with_extension("gguf.tmp");
    let size = writer.write(&beside)?;
    let named = Gguf::open(&beside)
        .and_then(|file| export::compare(config, &gguf::config(&file)?))
        .and_then(|()| {
            std::fs::rename(&beside, path)
                .map_err(|why| Error::io(&codes::WRITE, "name the file", path, &why))
        });
    if named.is_err() {
        // The error says what matters.
        drop(std::fs::remove_file(&beside));
    }
    named.map(|()| size)
}
