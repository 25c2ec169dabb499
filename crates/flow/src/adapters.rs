//! LoRA adapters beside a base model that writes: each a model of its own, over weights that are
//! in memory once.

use crate::base::BASE_FORMAT;
use crate::writer::{WriterManifest, adapter_digest, check_adapter, is_writer};
use crate::{Project, codes, is_tuned};
use sprat_hub::ModelRef;
use sprat_infer::{Behaviour, DecoderModel, Generator};
use sprat_model::decoder::DecoderAdapter;
use sprat_model::{ADAPTER_WEIGHTS, LanguageModel, gguf_file};
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// An adapter that is to be served, written `NAME=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterRef {
    /// The name that it answers to.
    pub name: String,
    /// Its folder, in the PEFT layout; seen from the settings file.
    pub path: PathBuf,
}

impl FromStr for AdapterRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((name, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
            let what = format!("`{text}` is not an adapter's name with its folder");
            return Err(Error::new(&codes::ADAPTER, what)
                .field("--adapter")
                .help("Write NAME=PATH, such as billing=adapters/billing."));
        };
        sprat_registry::check_name("an adapter", name).map_err(|e| e.field("--adapter"))?;
        Ok(AdapterRef { name: name.to_owned(), path: PathBuf::from(path) })
    }
}

impl Project {
    /// The one reference among several to a base model that writes: what adapters stand beside.
    ///
    /// # Errors
    /// `SPRAT-FLOW-ADAPTER` where there is none or more than one; those of fetching the models.
    pub fn adapted<'a>(&self, references: &'a [String]) -> Result<&'a str> {
        let (mut bases, mut others) = (Vec::new(), Vec::new());
        for reference in references {
            match self.writer_at(reference)? {
                Some(_) => bases.push(reference.as_str()),
                None => others.push(format!("`{reference}` {}", self.why_not_adapted(reference)?)),
            }
        }
        match bases[..] {
            [base] => Ok(base),
            [] => Err(Error::new(&codes::ADAPTER, "no base model is named for the adapters")
                .field("--adapter")
                .why(others.join("; "))),
            _ => Err(Error::new(&codes::ADAPTER, "several base models are named for the adapters")
                .field("--adapter")
                .why(format!("any of {} could be meant", bases.join(", ")))
                .help("Serve each base model with its own adapters by itself.")),
        }
    }

    fn why_not_adapted(&self, reference: &str) -> Result<&'static str> {
        Ok(match reference.parse()? {
            ModelRef::Release { .. } => "is a release, which is served as it passed its gate",
            ModelRef::Endpoint { .. } => "is a hosted model",
            ModelRef::Path(path) if is_tuned(&path) || is_tuned(&self.settings.resolve(&path)) => {
                "is a tuned model, which is served as it was tuned"
            }
            _ => "is no decoder, and only beside one adapters are served",
        })
    }

    /// Opens adapters beside a base model that [`Self::writer`] opened from `reference`: each
    /// becomes a model that shares the base's weights, cache and batches. It is named after its
    /// own name and the digest of its files. A folder that `sprat tune` wrote answers as it was
    /// tuned to, with its instruction and its schema or labels; any other as the base does.
    ///
    /// # Errors
    /// `SPRAT-MODEL-ADAPTER` and `SPRAT-MODEL-SHAPE` for one that does not fit the base,
    /// `SPRAT-FLOW-OTHER-BASE`, `-OTHER-ADAPTER`, `-OTHER-TOKENIZER` and `-OTHER-TEMPLATE` for one
    /// that was tuned over something else; those of reading the files. All say which adapter.
    pub fn beside(
        &self,
        reference: &str,
        base: &DecoderModel,
        adapters: &[AdapterRef],
    ) -> Result<Vec<DecoderModel>> {
        let open = |one: &AdapterRef| {
            self.one_beside(reference, base, one).map_err(|error| named(error, one, base.name()))
        };
        adapters.iter().map(open).collect()
    }

    fn one_beside(
        &self,
        reference: &str,
        base: &DecoderModel,
        one: &AdapterRef,
    ) -> Result<DecoderModel> {
        let folder = self.settings.resolve(&one.path);
        let model = base.engine().model();
        let adapter = DecoderAdapter::open(&folder, model.decoder().config())?;
        let pulled = self.fetched(reference)?;
        let digest = pulled.digest.to_string();
        // Who else writes the PEFT layout says nothing that could be compared.
        if !adapter.digest().is_empty() && adapter.digest() != digest {
            let why = format!(
                "it was tuned over `{}`, whose files have the digest {:.12}, not {:.12}",
                adapter.base(),
                adapter.digest(),
                digest
            );
            return Err(Error::new(&codes::OTHER_BASE, "the base model is another one")
                .file(folder.join(ADAPTER_WEIGHTS))
                .why(why));
        }
        let behaviour = match is_writer(&folder) {
            true => tuned(&folder, model, gguf_file(&pulled.dir)?.is_some())?,
            false => Behaviour::default(),
        };
        let name = format!("{}@{}", one.name, adapter_digest(&folder)?.short());
        let adapter = Arc::new(adapter);
        self.note_adapter(&adapter);
        Ok(DecoderModel::new(name, Arc::clone(base.engine()), Some(adapter), behaviour))
    }
}

/// How an adapter that Sprat tuned answers, after checking that it reads and computes here as it
/// did when it was verified. `stored`: the base's matrices are multiplied as its file stores them.
fn tuned(folder: &Path, model: &LanguageModel, stored: bool) -> Result<Behaviour> {
    let manifest = WriterManifest::read(folder)?;
    check_adapter(&manifest, folder)?;
    manifest.reads_alike(model, folder)?;
    if !stored && manifest.format() != BASE_FORMAT {
        let what = "the base model is multiplied in another number format";
        let why = format!("tuned in {:?}, here it is {BASE_FORMAT:?}", manifest.format());
        return Err(Error::new(&codes::OTHER_BASE, what)
            .file(folder)
            .why(why)
            .help("Serve the tuned model's folder itself with --model."));
    }
    Ok(manifest.behaviour())
}

/// The error, saying which adapter it is about.
fn named(error: Error, one: &AdapterRef, base: &str) -> Error {
    let what =
        format!("the adapter `{}` can't be served over `{base}`: {}", one.name, error.what());
    // What a model's files say in general does not help with an adapter's.
    let general =
        error.code().id.starts_with("SPRAT-MODEL-") && error.remedy() == error.code().remedy;
    let help = match general {
        true => "Name the folder of a LoRA adapter in the PEFT layout that was made for this base.",
        false => error.remedy(),
    };
    let mut named = Error::new(error.code(), what).help(help);
    let place = error.place();
    if let Some(file) = &place.file {
        named = named.file(file);
    }
    if let Some(line) = place.line {
        named = named.line(line);
    }
    if let Some(field) = &place.field {
        named = named.field(field);
    }
    match error.reason() {
        Some(why) => named.why(why),
        None => named,
    }
}
