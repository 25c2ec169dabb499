//! GGUF files made of other models: an adapter merged in, matrices in other formats.

use super::adapter_gguf::interleaved;
use super::budget;
use super::config::DecoderConfig;
use super::export;
use super::formats::{Formats, StoredMatrix, q4_k_m};
use super::gguf;
use super::gguf_matrices::{Matrix, Origin};
use super::importance::Importance;
use super::projection::Projection;
use crate::adapter::{Adapter, LoraPair};
use crate::codes;
use crate::files::{Gguf, GgufWriter};
use sprat_nn::{BlockFormat, Lora};
use sprat_task::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its matrices, in the order of the file; vectors are not among them.
    pub matrices: Vec<StoredMatrix>,
}

/// A matrix, and the part of an adapter that is to be merged into it.
struct Part<'a> {
    matrix: &'a Matrix<'a>,
    pair: Option<&'a LoraPair<Projection>>,
    scale: f32,
    importance: Option<&'a [f32]>,
}

/// Writes the model of `base`, a GGUF file or a folder in Hugging Face's layout, as a GGUF file:
/// with the adapter in the PEFT layout of `adapter`, if any, merged into its weights, its
/// matrices in `formats`. What is merged is restored from its blocks first, one matrix at a time.
/// `importance` is that of the model, for the formats that search for their scales and for
/// [`Formats::Budget`].
///
/// A folder's file is opened once more and compared with the folder before it gets its name.
///
/// # Errors
/// `SPRAT-MODEL-SHAPE` when the adapter or the importance does not belong to the model;
/// `SPRAT-MODEL-BUDGET` when the smallest formats take more than the budget;
/// `SPRAT-MODEL-CONFIG` and `SPRAT-MODEL-VOCABULARY` for a folder whose architecture or tokenizer
/// has something for which GGUF files have no words; those of reading the base and of writing
/// otherwise.
pub fn write_gguf(
    base: &Path,
    adapter: Option<&Path>,
    formats: Formats<'_>,
    importance: Option<&Importance>,
    path: &Path,
) -> Result<Written> {
    let origin = Origin::open(base)?;
    let config = origin.config();
    let adapter: Option<Adapter<Projection>> =
        adapter.map(|folder| Adapter::read(folder, config)).transpose()?;
    let scale = adapter.as_ref().map_or(0.0, |adapter| adapter.scale);
    let pairs = adapter.iter().flat_map(|adapter| &adapter.pairs);
    let mut pairs: HashMap<(usize, Projection), &LoraPair<Projection>> =
        pairs.map(|pair| ((pair.layer, pair.part), pair)).collect();
    let matrices = origin.matrices()?;
    let mut part = |matrix| Part {
        matrix,
        pair: matrix.projection.and_then(|place| pairs.remove(&place)),
        scale,
        importance: importance.and_then(|importance| importance.of(matrix)),
    };
    let parts: Vec<Part<'_>> = matrices.iter().map(&mut part).collect();
    if let Some((layer, part)) = pairs.keys().next() {
        let what = format!("the adapter adapts `{}` of layer {layer}", part.name());
        return Err(Error::new(&codes::SHAPE, what).why("the model has no such tensor").file(base));
    }
    let unfit = |part: &&Part<'_>| part.importance.is_some_and(|own| own.len() != part.columns());
    if let Some(part) = parts.iter().find(unfit) {
        let what = format!("the importance is of another model: `{}` differs", part.matrix.name);
        return Err(Error::new(&codes::SHAPE, what).file(base));
    }
    let chosen = chosen(&parts, formats, config)?;
    let mut writer = GgufWriter::new(config.family.architecture);
    for (key, value) in origin.metadata() {
        // It names the format of most matrices; without it readers look themselves.
        if key != "general.file_type" || matches!(formats, Formats::Own) {
            writer.set(key, value.clone());
        }
    }
    for (part, &format) in parts.iter().zip(&chosen) {
        let Part { matrix, pair, importance, .. } = part;
        match matrix.blocks() {
            Some(blocks) if pair.is_none() && format == matrix.format => {
                writer.add_blocks(&matrix.name, &matrix.shape, format, blocks)?;
            }
            _ => {
                let importance = importance.filter(|_| format.uses_importance()).map(Cow::Borrowed);
                let make = move || part.merged(config);
                writer.add_later(&matrix.name, &matrix.shape, format, make, importance)?;
            }
        }
    }
    let bytes = match &origin {
        Origin::File { .. } => writer.write(path),
        Origin::Folder { .. } => checked(&writer, config, path),
    }?;
    let stored = parts.iter().zip(chosen).filter(|(part, _)| part.is_matrix());
    let stored = stored.map(|(part, format)| StoredMatrix {
        name: part.matrix.name.clone(),
        weights: part.weights(),
        format,
    });
    Ok(Written { bytes, matrices: stored.collect() })
}

/// The format of each part; vectors keep their own.
fn chosen(
    parts: &[Part<'_>],
    formats: Formats<'_>,
    config: &DecoderConfig,
) -> Result<Vec<BlockFormat>> {
    let by_name = match formats {
        Formats::Budget(bits) => within_budget(parts, bits, config)?,
        Formats::Like(other) => other.iter().map(|one| (one.name.as_str(), one.format)).collect(),
        _ => HashMap::new(),
    };
    let choose = |part: &Part<'_>| {
        let matrix = part.matrix;
        let wanted = match formats {
            _ if !part.is_matrix() => return matrix.format,
            Formats::Own => return matrix.format,
            Formats::One(format) => Some(format),
            Formats::Q4KM => Some(q4_k_m(matrix, config.layers.len())),
            Formats::Budget(_) | Formats::Like(_) => by_name.get(matrix.name.as_str()).copied(),
        };
        wanted.map_or(matrix.format, |format| format.fitting(part.columns()))
    };
    Ok(parts.iter().map(choose).collect())
}

/// The formats of all matrices that leave least error in so many bits a weight.
fn within_budget<'a>(
    parts: &[Part<'a>],
    bits: f64,
    config: &DecoderConfig,
) -> Result<HashMap<&'a str, BlockFormat>> {
    let matrices: Vec<&Part<'a>> = parts.iter().filter(|part| part.is_matrix()).collect();
    let measured = matrices
        .iter()
        .map(|part| Ok(budget::candidates(&part.merged(config)?, part.columns(), part.importance)));
    let measured = measured.collect::<Result<Vec<_>>>()?;
    let weights: usize = matrices.iter().map(|part| part.weights()).sum();
    let bytes = (weights as f64 * bits / 8.0) as usize;
    let formats = budget::choose(&measured, bytes).map_err(|least| {
        let least = least as f64 * 8.0 / weights as f64;
        let what = format!("{bits} bits a weight are too few for this model");
        Error::new(&codes::BUDGET, what)
            .why(format!("its smallest formats take {least:.2} bits a weight"))
    })?;
    let names = matrices.iter().map(|part| part.matrix.name.as_str());
    Ok(names.zip(formats).collect())
}

impl Part<'_> {
    fn is_matrix(&self) -> bool {
        self.matrix.shape.len() > 1
    }

    fn columns(&self) -> usize {
        self.matrix.shape.last().copied().unwrap_or(1)
    }

    fn weights(&self) -> usize {
        self.matrix.shape.iter().product()
    }

    /// The weights with their share of the adapter.
    fn merged(&self, config: &DecoderConfig) -> Result<Vec<f32>> {
        let mut values = self.matrix.values()?;
        let Some(pair) = self.pair else { return Ok(values) };
        let delta = Lora { a: pair.a.clone(), b: pair.b.clone(), scale: self.scale }.delta();
        let delta = match (config.family.interleaved_in_gguf, pair.part) {
            (true, Projection::Query | Projection::Key) => interleaved(&delta, config.heads.width),
            _ => delta.data,
        };
        if values.len() != delta.len() {
            let name = &self.matrix.name;
            let what = format!("tensor `{name}` has another shape than the adapter's");
            return Err(Error::new(&codes::SHAPE, what));
        }
        values.iter_mut().zip(&delta).for_each(|(w, d)| *w += d);
        Ok(values)
    }
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
