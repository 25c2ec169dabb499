//! A GGUF file with an adapter merged into its matrices, and its matrices in another format.

use super::adapter_gguf::interleaved;
use super::gguf;
use super::names;
use super::projection::Projection;
use crate::adapter::Adapter;
use crate::codes;
use crate::files::{Gguf, GgufWriter};
use sprat_nn::{BlockFormat, Lora};
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Writes the model of the GGUF file `base` with the adapter in the PEFT layout of `adapter`, if
/// any, merged into its weights: its metadata as they are, its matrices in `format` (those whose
/// rows are no whole number of blocks, and without a format all of them, in their own). What is
/// merged is restored from its blocks first, one matrix at a time. Gives the file's size in bytes.
///
/// # Errors
/// `SPRAT-MODEL-SHAPE` when the adapter does not belong to the model; those of reading the base
/// and of writing otherwise.
pub fn merge_gguf(
    base: &Path,
    adapter: Option<&Path>,
    format: Option<BlockFormat>,
    path: &Path,
) -> Result<u64> {
    let file = Gguf::open(base)?;
    let config = gguf::config(&file)?;
    let adapter: Option<Adapter<Projection>> =
        adapter.map(|folder| Adapter::read(folder, &config)).transpose()?;
    let name = |layer, part: Projection| format!("{}.weight", names::gguf(part.role(), layer));
    let pairs = adapter.iter().flat_map(|adapter| &adapter.pairs);
    let mut pairs: HashMap<String, _> =
        pairs.map(|pair| (name(pair.layer, pair.part), pair)).collect();
    let scale = adapter.as_ref().map_or(0.0, |adapter| adapter.scale);
    let mut writer = GgufWriter::new(file.metadata().text("general.architecture")?);
    writer.set_all(file.metadata());
    for tensor in file.tensors() {
        let shape = tensor.shape();
        let columns = shape.last().copied().unwrap_or(1);
        let pair = pairs.remove(tensor.name());
        let wanted = format
            .filter(|format| shape.len() > 1 && format.bytes_for(columns).is_some())
            .unwrap_or(tensor.format());
        if pair.is_none() && wanted == tensor.format() {
            writer.add_blocks(tensor.name(), shape, wanted, tensor.bytes())?;
            continue;
        }
        let (heads, reorders) = (config.heads.width, config.family.interleaved_in_gguf);
        let make = move || {
            let mut values = tensor.dequantized()?;
            let Some(pair) = pair else { return Ok(values) };
            let lora = Lora { a: pair.a.clone(), b: pair.b.clone(), scale };
            let delta = lora.delta();
            let delta = match (reorders, pair.part) {
                (true, Projection::Query | Projection::Key) => interleaved(&delta, heads),
                _ => delta.data,
            };
            if values.len() != delta.len() {
                let what =
                    format!("tensor `{}` has another shape than the adapter's", tensor.name());
                return Err(Error::new(&codes::SHAPE, what));
            }
            values.iter_mut().zip(&delta).for_each(|(w, d)| *w += d);
            Ok(values)
        };
        writer.add_later(tensor.name(), shape, wanted, make, None)?;
    }
    if let Some(name) = pairs.keys().next() {
        let what = format!("the adapter adapts `{name}`, which the file does not have");
        return Err(Error::new(&codes::SHAPE, what).file(base));
    }
    writer.write(path)
}
