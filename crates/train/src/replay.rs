//! A finished run's model once more through the trainer's own forward pass.

use crate::decoder;
use crate::decoder_run::DecoderJob;
use crate::recipe;
use sprat_model::decoder::{
    Decoder, DecoderLearner, DecoderTuning, TokenBatch, TokenExample, TokenSum,
};
use sprat_model::{Adapter, Format, LoraSettings};
use sprat_task::Result;
use sprat_task::settings::Method;
use std::path::Path;

/// The losses of examples, one by one, as training computes them: without cache, without packed
/// adapters, without dropout. `folder` holds what the job left.
///
/// # Errors
/// Those of opening the model.
pub fn replay(
    job: &DecoderJob<'_>,
    folder: &Path,
    examples: &[TokenExample],
) -> Result<Vec<TokenSum>> {
    let recipe = recipe::resolve(job.recipe);
    let learner = match recipe.method {
        Method::Full => {
            let decoder = Decoder::open(folder, Format::F32, job.context)?;
            DecoderLearner::new(decoder, DecoderTuning::Full, recipe.seed)?
        }
        _ => {
            let decoder = decoder::open(job, &recipe)?;
            let adapter = Adapter::read(folder, decoder.config())?;
            let mut targets = Vec::new();
            for pair in &adapter.pairs {
                if !targets.contains(&pair.part) {
                    targets.push(pair.part);
                }
            }
            let tuning = DecoderTuning::Lora(LoraSettings {
                rank: adapter.rank,
                alpha: adapter.alpha,
                dropout: 0.0,
                targets,
                first_layer: 0,
            });
            let mut learner = DecoderLearner::new(decoder, tuning, recipe.seed)?;
            learner.load(&adapter)?;
            learner
        }
    };
    Ok(examples.iter().map(|example| learner.measure(&TokenBatch::new([example]))).collect())
}
