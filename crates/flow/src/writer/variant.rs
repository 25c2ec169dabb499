//! How a tuned model becomes a smaller one: the adapter merged, the matrices in other formats,
//! weighed by what the training examples put through them.

use super::bundle::{Writer, weights_folder};
use super::examples::Teller;
use super::manifest::{WriterManifest, WriterWeights};
use crate::{Project, codes};
use sprat_data::Dataset;
use sprat_model::decoder::{
    DecoderConfig, Formats, Importance, StoredMatrix, merge_adapter, write_gguf,
};
use sprat_model::files::Gguf;
use sprat_model::{Adapter, BlockFormat, Format, GgufVocabulary, TextTokenizer, gguf_file};
use sprat_task::{Error, Result};
use std::path::Path;

/// The file of a merged model in blocks.
const GGUF: &str = "model.gguf";

/// What a variant is made with.
pub(crate) struct Making {
    /// The size budget of a mix, in bits a weight.
    pub(crate) bits: f64,
    /// How much the columns of the tuned model's matrices matter, where that was measured.
    pub(crate) importance: Option<Importance>,
}

impl Project {
    /// What the settings say about making variants, with the calibration that `formats` need.
    ///
    /// # Errors
    /// Those of the template.
    pub(crate) fn making(
        &self,
        tuned: &Writer,
        train: &Dataset,
        formats: &[WriterWeights],
    ) -> Result<Making> {
        let shrink = &self.settings.shrink;
        let wanted = shrink.calibrate && formats.iter().any(|weights| weights.is_calibrated());
        Ok(Making {
            bits: shrink.bits,
            importance: wanted.then(|| importance(tuned, train)).transpose()?,
        })
    }

    /// A run's bundle as the variant `weights`, in a new folder.
    ///
    /// # Errors
    /// Those of the model and of merging.
    pub(crate) fn variant(
        &self,
        full: &Path,
        weights: WriterWeights,
        train: &Dataset,
        target: &Path,
    ) -> Result<()> {
        let tuned = Writer::open("calibration", full, self.decoder_limits())?;
        let making = self.making(&tuned, train, &[weights])?;
        drop(tuned);
        merged(full, weights, &making, target).map(|_| ())
    }
}

/// The importance of columns over examples of the training part, evenly spaced over all of them.
fn importance(tuned: &Writer, train: &Dataset) -> Result<Importance> {
    /// More examples change the means little.
    const EXAMPLES: usize = 200;
    /// Tokens read at once.
    const TOKENS: usize = 2048;
    let model = tuned.engine.model();
    let teller = Teller { model, instruction: tuned.manifest.instruction.as_deref() };
    let mut part = train.clone();
    part.examples.retain(|row| row.label.is_some());
    let all = part.examples.len();
    if all > EXAMPLES {
        let picked = (0..EXAMPLES).map(|at| part.examples[at * all / EXAMPLES].clone());
        part.examples = picked.collect();
    }
    let mut examples = teller.examples(&part)?;
    examples.retain(|example| example.answer.end <= model.decoder().context());
    Ok(model.decoder().importance(&examples, tuned.adapter.as_deref(), TOKENS))
}

/// Writes a bundle's model with its adapter merged, in a new folder: as a GGUF file where the base
/// is one or the format is one of blocks; otherwise as safetensors in bfloat16, which are brought
/// into the format when the model is opened. Gives the matrices of a GGUF file.
///
/// # Errors
/// `SPRAT-FLOW-KIND` for a format that the base can't have; those of the model.
pub(crate) fn merged(
    full: &Path,
    weights: WriterWeights,
    making: &Making,
    target: &Path,
) -> Result<Vec<StoredMatrix>> {
    let mut manifest = WriterManifest::read(full)?;
    let base = weights_folder(full, manifest.weights);
    let adapted = manifest.weights == WriterWeights::Adapter;
    let file = gguf_file(&base)?;
    let of_blocks = weights.is_blocks();
    if of_blocks && file.is_none() {
        whole_blocks(&base, weights)?;
    }
    std::fs::create_dir_all(target)
        .map_err(|why| Error::io(&codes::WRITE, "make a folder", target, &why))?;
    if of_blocks || file.is_some() {
        let path = target.join(GGUF);
        let (formats, importance) = (formats(weights, making)?, making.importance.as_ref());
        let written = write_gguf(&base, adapted.then_some(full), formats, importance, &path)?;
        if file.is_none() {
            // The same tokens, told in another way.
            let vocabulary = GgufVocabulary::read(Gguf::open(&path)?.metadata())?;
            manifest.digests.tokenizer = TextTokenizer::from_gguf(&vocabulary)?.digest()?;
        }
        finish(manifest, weights, target)?;
        return Ok(written.matrices);
    }
    let adapter = match adapted {
        true => Some(Adapter::read(full, &DecoderConfig::read(&base.join("config.json"))?)?),
        // Nothing to merge: the weights themselves were trained.
        false => None,
    };
    merge_adapter(&base, adapter.as_ref(), Format::Bf16, target)?;
    finish(manifest, weights, target)?;
    Ok(Vec::new())
}

fn finish(mut manifest: WriterManifest, weights: WriterWeights, target: &Path) -> Result<()> {
    manifest.weights = weights;
    manifest.digests.adapter = None;
    manifest.write(target)
}

/// The formats of a GGUF file's matrices.
fn formats(weights: WriterWeights, making: &Making) -> Result<Formats<'static>> {
    match weights {
        WriterWeights::Q8 => Ok(Formats::One(BlockFormat::Q8_0)),
        WriterWeights::Q4 => Ok(Formats::One(BlockFormat::Q4_0)),
        WriterWeights::Q6K => Ok(Formats::One(BlockFormat::Q6K)),
        WriterWeights::Q4KM => Ok(Formats::Q4KM),
        WriterWeights::Mixed => Ok(Formats::Budget(making.bits)),
        WriterWeights::Bf16 => Ok(Formats::One(BlockFormat::Bf16)),
        WriterWeights::Int8 | WriterWeights::Adapter | WriterWeights::Full => {
            let what = format!("a GGUF file has no matrices in {}", weights.name());
            Err(Error::new(&codes::KIND, what).field("shrink.formats"))
        }
    }
}

/// # Errors
/// `SPRAT-FLOW-KIND` when rows of a model's matrices are no whole number of blocks, and the format
/// is not one that then takes others.
fn whole_blocks(folder: &Path, weights: WriterWeights) -> Result<()> {
    /// Numbers in a block of Q8_0 and Q4_0.
    const BLOCK: usize = 32;
    if !matches!(weights, WriterWeights::Q8 | WriterWeights::Q4) {
        return Ok(());
    }
    let config = DecoderConfig::read(&folder.join("config.json"))?;
    let widths = [config.hidden, config.intermediate, config.heads.query * config.heads.width];
    let Some(width) = widths.into_iter().find(|width| width % BLOCK != 0) else { return Ok(()) };
    let what = format!("rows of {width} numbers are no whole blocks of {}", weights.name());
    Err(Error::new(&codes::KIND, what)
        .file(folder)
        .field("shrink.formats")
        .help("Use int8 or bf16 for this model."))
}
