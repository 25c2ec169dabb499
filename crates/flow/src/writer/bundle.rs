//! The folder of a model that writes: `model.json`, an adapter with its base in `base/`, or whole
//! weights.

use super::manifest::{FILE, WriterManifest, WriterWeights};
use crate::bundle::{BASE, link_folder};
use crate::codes;
use sprat_infer::{DecoderEngine, DecoderLimits, DecoderModel};
use sprat_model::decoder::DecoderAdapter;
use sprat_model::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, LanguageModel};
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a folder is that of a tuned model that writes.
pub fn is_writer(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// Lays a tuned model out in a new folder that needs nothing outside itself. Files are hard-linked
/// where the file system allows it.
///
/// # Errors
/// `SPRAT-FLOW-WRITE`, and those of reading the manifest.
pub(crate) fn assemble(model: &Path, base: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        // Left by a run that ended early.
        std::fs::remove_dir_all(to)
            .map_err(|why| Error::io(&codes::WRITE, "remove an unfinished bundle", to, &why))?;
    }
    link_folder(model, to)?;
    if WriterManifest::read(model)?.weights == WriterWeights::Adapter {
        link_folder(base, &to.join(BASE))?;
    }
    Ok(())
}

/// The folder in a bundle from which the language model is opened.
pub(crate) fn weights_folder(folder: &Path, weights: WriterWeights) -> PathBuf {
    match weights {
        WriterWeights::Adapter => folder.join(BASE),
        _ => folder.to_owned(),
    }
}

/// The digest of an adapter's files.
///
/// # Errors
/// `SPRAT-FLOW-OTHER-ADAPTER` when one can't be read.
pub(crate) fn adapter_digest(folder: &Path) -> Result<Digest> {
    let mut both = Vec::new();
    for name in [ADAPTER_CONFIG, ADAPTER_WEIGHTS] {
        let path = folder.join(name);
        let mut file = std::fs::File::open(&path)
            .map_err(|why| Error::io(&codes::OTHER_ADAPTER, "open the adapter", &path, &why))?;
        let (digest, _) = Digest::of_reader(&mut file)
            .map_err(|why| Error::io(&codes::OTHER_ADAPTER, "read the adapter", &path, &why))?;
        both.push(digest.to_string());
    }
    Ok(Digest::of(both.join("\n").as_bytes()))
}

/// A model that writes, open.
pub(crate) struct Writer {
    /// What it is.
    pub(crate) manifest: WriterManifest,
    /// Its weights with their scheduler.
    pub(crate) engine: Arc<DecoderEngine>,
    /// The adapter beside the weights.
    pub(crate) adapter: Option<Arc<DecoderAdapter>>,
}

impl Writer {
    /// Opens a bundle and checks that nothing in it was exchanged since tuning.
    ///
    /// # Errors
    /// `SPRAT-FLOW-OTHER-ADAPTER`, `SPRAT-FLOW-OTHER-TOKENIZER`, `SPRAT-FLOW-OTHER-TEMPLATE`; those
    /// of the model and the engine.
    pub(crate) fn open(name: &str, folder: &Path, limits: DecoderLimits) -> Result<Self> {
        Writer::over(folder, |weights, manifest| {
            let model = LanguageModel::open(weights, manifest.format(), None)?;
            Ok(Arc::new(DecoderEngine::start(name, Arc::new(model), limits)?))
        })
    }

    /// Opens a bundle as [`Self::open`] does, over the engine that `engine` gives for its weights.
    ///
    /// # Errors
    /// Those of [`Self::open`] and of `engine`.
    pub(crate) fn over(
        folder: &Path,
        engine: impl FnOnce(&Path, &WriterManifest) -> Result<Arc<DecoderEngine>>,
    ) -> Result<Self> {
        let manifest = WriterManifest::read(folder)?;
        check_adapter(&manifest, folder)?;
        let weights = weights_folder(folder, manifest.weights);
        let engine = engine(&weights, &manifest)?;
        let model = engine.model();
        manifest.reads_alike(model, &weights)?;
        let adapter = match manifest.weights {
            WriterWeights::Adapter => {
                Some(Arc::new(DecoderAdapter::open(folder, model.decoder().config())?))
            }
            _ => None,
        };
        Ok(Writer { manifest, engine, adapter })
    }

    /// The weights of a folder alone, under the behaviour of a tuned model.
    ///
    /// # Errors
    /// Those of the model and the engine.
    pub(crate) fn bare(
        name: &str,
        folder: &Path,
        manifest: &WriterManifest,
        limits: DecoderLimits,
    ) -> Result<Self> {
        let model = LanguageModel::open(folder, manifest.format(), None)?;
        let engine = Arc::new(DecoderEngine::start(name, Arc::new(model), limits)?);
        Ok(Writer { manifest: manifest.clone(), engine, adapter: None })
    }

    /// The model as it answers.
    pub(crate) fn answering(&self, name: &str) -> DecoderModel {
        self.behaving(name, self.manifest.behaviour())
    }

    /// The same weights under another behaviour.
    pub(crate) fn behaving(&self, name: &str, behaviour: sprat_infer::Behaviour) -> DecoderModel {
        DecoderModel::new(name, Arc::clone(&self.engine), self.adapter.clone(), behaviour)
    }
}

/// Checks that an adapter's files are those that were tuned.
///
/// # Errors
/// `SPRAT-FLOW-OTHER-ADAPTER`.
pub(crate) fn check_adapter(manifest: &WriterManifest, folder: &Path) -> Result<()> {
    let Some(ours) = &manifest.digests.adapter else { return Ok(()) };
    if manifest.weights != WriterWeights::Adapter {
        return Ok(());
    }
    let found = adapter_digest(folder)?;
    if found == *ours {
        return Ok(());
    }
    let why = format!("tuned was {}, here is {}", ours.short(), found.short());
    Err(Error::new(&codes::OTHER_ADAPTER, "the adapter is not the one that was tuned")
        .file(folder)
        .why(why))
}
