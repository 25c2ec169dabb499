//! Models by reference, behind the one interface that answers.

use crate::project::is_hosted;
use crate::writer::{Writer, is_writer};
use crate::{Project, bundle, codes};
use sprat_hub::ModelRef;
use sprat_infer::remote::{Prices, Remote, Settings};
use sprat_infer::{DecoderLimits, EncoderEngine, Generator, Limits};
use sprat_model::Classifier;
use sprat_task::settings::Candidate;
use sprat_task::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// Opens a bundle: a version's checkout, or a model's folder that needs nothing outside itself.
///
/// # Errors
/// Those of the classifier.
pub fn open_bundle(folder: &Path) -> Result<Classifier> {
    bundle::open(folder)
}

/// Opens a folder's model behind the one interface that answers: a tuned classifier, or a tuned
/// model that writes, its adapter beside its base, its answers under its schema. `name` is what
/// answers call it.
///
/// # Errors
/// `SPRAT-FLOW-OTHER-TEMPLATE`, `-TOKENIZER` and `-ADAPTER` where something was exchanged since
/// tuning; those of the model and of the engine.
pub fn open_generator(
    name: &str,
    folder: &Path,
    limits: Limits,
    decoder: DecoderLimits,
) -> Result<Arc<dyn Generator>> {
    if is_writer(folder) {
        let writer = Writer::open(name, folder, decoder)?;
        return Ok(Arc::new(writer.answering(name)));
    }
    let model = Arc::new(bundle::open(folder)?);
    Ok(Arc::new(EncoderEngine::start(name, model, limits)?))
}

/// Whether a folder is that of a tuned model, which [`open_generator`] opens.
pub fn is_tuned(folder: &Path) -> bool {
    bundle::is_bundle(folder) || is_writer(folder)
}

impl Project {
    /// A model that answers: a release, a bundle's folder, or a hosted candidate.
    ///
    /// # Errors
    /// `SPRAT-FLOW-REFERENCE`, and those of opening the model.
    pub fn generator(&self, reference: &str) -> Result<Arc<dyn Generator>> {
        let parsed: ModelRef = match reference.parse() {
            Ok(parsed) => parsed,
            // `v3` and `latest` are short for this task's.
            Err(error) => match self.version(reference) {
                Ok(version) => ModelRef::Release {
                    task: version.task.clone(),
                    at: Some(format!("v{}", version.number)),
                },
                Err(_) => return Err(error),
            },
        };
        match parsed {
            ModelRef::Release { .. } => {
                let version = self.version(reference)?;
                let folder = self.registry.checkout(&version)?;
                self.local(&version.to_string(), &folder)
            }
            ModelRef::Path(path) if is_tuned(&path) => self.local(reference, &path),
            ModelRef::Endpoint { .. } => {
                let known = |candidate: &&Candidate| candidate.model == reference;
                let candidate = self.settings.candidates.iter().find(known).ok_or_else(|| {
                    let what = format!("`{reference}` is not a candidate of the settings");
                    Error::new(&codes::REFERENCE, what)
                })?;
                let labels = self.prepared()?.labels().to_vec();
                Ok(Arc::new(self.hosted(candidate, labels)?))
            }
            _ => {
                if let Some(writer) = self.writer(reference)? {
                    return Ok(Arc::new(writer));
                }
                let what = format!("`{reference}` is a base model: it has no head that answers");
                Err(Error::new(&codes::REFERENCE, what)
                    .help("Tune it first: `sprat tune`, or the whole path: `sprat up`."))
            }
        }
    }

    /// A tuned model's folder, within the bounds of the settings. One that is an adapter shares
    /// its base's weights with what is open already.
    ///
    /// # Errors
    /// Those of [`open_generator`].
    pub fn local(&self, name: &str, folder: &Path) -> Result<Arc<dyn Generator>> {
        if is_writer(folder) {
            return Ok(Arc::new(self.shared_writer(name, folder)?));
        }
        open_generator(name, folder, self.limits(), self.decoder_limits())
    }

    /// The bounds of the local engine's batches and queue.
    pub fn limits(&self) -> Limits {
        let serve = &self.settings.serve;
        Limits { max_batch: serve.max_batch, queue: serve.queue, ..Limits::default() }
    }

    /// A hosted candidate, asked to choose among the labels.
    ///
    /// # Errors
    /// Those of the remote client: a missing key or address.
    pub(crate) fn hosted(&self, candidate: &Candidate, labels: Vec<String>) -> Result<Remote> {
        Remote::open(Settings { labels, ..self.endpoint(candidate)? })
    }

    /// How a hosted candidate is asked: its address, key and prices.
    ///
    /// # Errors
    /// `SPRAT-FLOW-REFERENCE` without an address, `SPRAT-REMOTE-KEY`.
    pub(crate) fn endpoint(&self, candidate: &Candidate) -> Result<Settings> {
        debug_assert!(is_hosted(candidate));
        let Some(base_url) = &candidate.base_url else {
            let what = format!("the hosted candidate `{}` has no address", candidate.model);
            return Err(Error::new(&codes::REFERENCE, what)
                .field("candidates.base_url")
                .help("Set base_url to the endpoint's address, up to and with /v1."));
        };
        let file = candidate.api_key_file.as_ref().map(|path| self.settings.resolve(path));
        let env = candidate.api_key_env.as_deref();
        let mut settings = endpoint(&candidate.model, base_url, env, file.as_deref())?;
        settings.prices = Some(Prices {
            usd_per_million_input_tokens: candidate.usd_per_million_input_tokens,
            usd_per_million_output_tokens: candidate.usd_per_million_output_tokens,
        });
        Ok(settings)
    }
}

/// How an `openai:…` model is asked, with its key from the environment or a file, and trusted
/// roots from the environment.
///
/// # Errors
/// `SPRAT-REMOTE-KEY` where the key's variable is not set, its file cannot be read, or both are
/// named.
pub(crate) fn endpoint(
    model: &str,
    base_url: &str,
    env: Option<&str>,
    file: Option<&Path>,
) -> Result<Settings> {
    let served = model.trim_start_matches("openai:");
    let settings = Settings::new(model, base_url, served)
        .with_environment(env, |name| std::env::var(name).ok())?;
    match file {
        None => Ok(settings),
        Some(_) if env.is_some() => {
            let what = format!("`{model}` has both `api_key_env` and `api_key_file`");
            Err(Error::new(&sprat_infer::codes::REMOTE_KEY, what)
                .field("api_key_file")
                .help("Keep one of the two."))
        }
        Some(file) => settings.with_key_file(file),
    }
}
