//! Base models that write, answering as they are: before anything is tuned, and to serve them.

use crate::Project;
use crate::project::last_part;
use crate::writer::is_writer;
use sprat_hub::ModelRef;
use sprat_infer::{Behaviour, DecoderLimits, DecoderModel};
use sprat_model::{Format, LanguageModel};
use sprat_task::Result;
use std::path::PathBuf;

/// How a base model's matrices are multiplied; those of a GGUF file as they are stored.
pub(crate) const BASE_FORMAT: Format = Format::Bf16;

impl Project {
    /// Where a reference to a base model that writes leads: a model folder or a GGUF file. None
    /// for everything else.
    ///
    /// # Errors
    /// Those of fetching the model.
    pub(crate) fn writer_at(&self, reference: &str) -> Result<Option<PathBuf>> {
        let path = match reference.parse()? {
            ModelRef::Path(path) => match self.settings.resolve(&path) {
                path if path.exists() => path,
                // Says that nothing is there.
                _ => self.fetched(reference)?.dir,
            },
            ModelRef::Hub { .. } | ModelRef::Wheel { .. } => self.fetched(reference)?.dir,
            ModelRef::Endpoint { .. } | ModelRef::Release { .. } => return Ok(None),
        };
        // A tuned model's folder may look like a base model's: it has its manifest besides.
        Ok((!is_writer(&path) && LanguageModel::is_at(&path)).then_some(path))
    }

    /// Whether a reference is to a base model that writes, which is then not a tuned one.
    ///
    /// # Errors
    /// Those of fetching the model.
    pub fn is_writer_as_it_is(&self, reference: &str) -> Result<bool> {
        Ok(self.writer_at(reference)?.is_some())
    }

    /// A base model that writes, where the reference is to one. Its name is the last part of
    /// the reference with the digest of its files.
    ///
    /// # Errors
    /// Those of fetching and opening the model.
    pub fn writer(&self, reference: &str) -> Result<Option<DecoderModel>> {
        let Some(path) = self.writer_at(reference)? else { return Ok(None) };
        let digest = self.fetched(reference)?.digest;
        let name = format!("{}@{}", last_part(reference), digest.short());
        let base = digest.to_string();
        let engine = self.shared_engine(&name, &path, BASE_FORMAT, Some(&base))?;
        Ok(Some(DecoderModel::new(name, engine, None, Behaviour::default())))
    }

    /// The bounds of a decoder's engine.
    pub(crate) fn decoder_limits(&self) -> DecoderLimits {
        let serve = &self.settings.serve;
        DecoderLimits {
            sequences: serve.max_batch,
            queue: serve.queue,
            cache_tokens: serve.cache_tokens,
            ..DecoderLimits::default()
        }
    }
}
