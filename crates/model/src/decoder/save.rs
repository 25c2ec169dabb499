//! Writing what training made of a decoder.

use super::learner::DecoderLearner;
use super::merge::{copy_decoder_files, rewrite};
use super::source::Folder;
use super::weights::DecoderWeights;
use crate::artefact::BaseModel;
use crate::codes;
use crate::files::Weights;
use sprat_nn::Format;
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

impl DecoderLearner {
    /// Writes what was trained: an adapter in the PEFT layout, or, after full training, a whole
    /// model folder in the layout of `base`, the folder that the decoder was opened from.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`; `SPRAT-MODEL-CONFIG` when a whole model is to be written and the base
    /// is no folder.
    pub fn save(&self, folder: &Path, base: &Path, base_model: &BaseModel) -> Result<()> {
        if let Some(adapter) = self.adapter(base_model) {
            return adapter.write(folder, self.decoder.config());
        }
        match &self.full {
            Some(weights) if base.is_dir() => self.save_full(weights, folder, base),
            _ => {
                let what = "a whole model is written in the layout of a folder, and this is none";
                Err(Error::new(&codes::CONFIG, what).file(base))
            }
        }
    }

    fn save_full(&self, trained: &DecoderWeights, folder: &Path, base: &Path) -> Result<()> {
        let config = self.decoder.config();
        let weights = Weights::open(base)?;
        let source = Folder::new(&weights, config, Format::F32);
        let mut values: HashMap<String, (bool, &[f32])> = HashMap::new();
        for (named, own) in trained.tensors(config) {
            // Gemma's files hold the scales of norms less 1.
            let less = config.family.norm_plus_one && named.name.contains("norm");
            values.insert(source.place(&named.name), (less, own));
        }
        let output = source.place("lm_head.weight");
        rewrite(&weights, Format::F32, folder, |name, data| {
            match values.get(name) {
                Some((less, own)) => {
                    let less = if *less { 1.0 } else { 0.0 };
                    data.iter_mut().zip(*own).for_each(|(to, from)| *to = from - less);
                }
                // A copy of the shared table would not be the trained one.
                None if name == output => return Ok(false),
                None => {}
            }
            Ok(true)
        })?;
        copy_decoder_files(base, folder)
    }
}
