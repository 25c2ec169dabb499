//! Engines that are open: models over the same weights share one, and so its cache and its batches.

use crate::Project;
use crate::writer::{Writer, WriterManifest};
use serde::Serialize;
use sprat_infer::{DecoderEngine, DecoderModel};
use sprat_model::decoder::DecoderAdapter;
use sprat_model::{Format, LanguageModel, gguf_file};
use sprat_task::Result;
use std::path::Path;
use std::sync::{Arc, Weak};

/// What an engine computes with, where other models may be over the same.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    /// The digest of the base model's files.
    base: String,
    /// How its matrices are multiplied; none: as a GGUF file stores them.
    format: Option<Format>,
}

/// What is open. Whoever answers holds it; here it is only known.
#[derive(Default)]
pub(crate) struct Engines {
    open: Vec<(Option<Weights>, Weak<DecoderEngine>)>,
    adapters: Vec<Weak<DecoderAdapter>>,
}

/// The memory of the models that write which are open, in bytes: all that they take before the
/// first request, but for what one step computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Weights, those that several models share once.
    pub weights: usize,
    /// Keys and values of the requests in progress.
    pub cache: usize,
    /// Adapters beside the weights.
    pub adapters: usize,
}

impl Project {
    /// The engine over a model's files: the one that is open over the same base in the same
    /// number format, or a new one. Without the base's digest it is not shared.
    ///
    /// # Errors
    /// Those of opening the model and of the engine.
    pub(crate) fn shared_engine(
        &self,
        name: &str,
        path: &Path,
        format: Format,
        base: Option<&str>,
    ) -> Result<Arc<DecoderEngine>> {
        let stored = gguf_file(path)?.is_some();
        let weights = base
            .filter(|digest| !digest.is_empty())
            .map(|digest| Weights { base: digest.to_owned(), format: (!stored).then_some(format) });
        let mut engines = self.engines.borrow_mut();
        engines.open.retain(|(_, engine)| engine.strong_count() > 0);
        let mut known = engines.open.iter().filter(|(of, _)| of.is_some() && *of == weights);
        if let Some(engine) = known.find_map(|(_, engine)| engine.upgrade()) {
            return Ok(engine);
        }
        let model = Arc::new(LanguageModel::open(path, format, None)?);
        let engine = Arc::new(DecoderEngine::start(name, model, self.decoder_limits())?);
        engines.open.push((weights, Arc::downgrade(&engine)));
        Ok(engine)
    }

    /// A tuned model that writes, over the engine of its base where it is an adapter.
    ///
    /// # Errors
    /// Those of [`Writer::open`].
    pub(crate) fn shared_writer(&self, name: &str, folder: &Path) -> Result<DecoderModel> {
        let writer = Writer::over(folder, |path, manifest: &WriterManifest| {
            self.shared_engine(name, path, manifest.format(), manifest.shared_base())
        })?;
        if let Some(adapter) = &writer.adapter {
            self.note_adapter(adapter);
        }
        Ok(writer.answering(name))
    }

    /// Takes note of an adapter's memory.
    pub(crate) fn note_adapter(&self, adapter: &Arc<DecoderAdapter>) {
        let mut engines = self.engines.borrow_mut();
        engines.adapters.retain(|adapter| adapter.strong_count() > 0);
        engines.adapters.push(Arc::downgrade(adapter));
    }

    /// The memory of the models that write which are open.
    pub fn held(&self) -> Held {
        let engines = self.engines.borrow();
        let mut held = Held::default();
        for engine in engines.open.iter().filter_map(|(_, engine)| engine.upgrade()) {
            held.weights += engine.model().decoder().bytes();
            held.cache += engine.cache_bytes();
        }
        let adapters = engines.adapters.iter().filter_map(Weak::upgrade);
        held.adapters = adapters.map(|adapter| adapter.bytes()).sum();
        held
    }
}
