//! Models by reference, behind the one interface that answers.

use crate::project::is_hosted;
use crate::{Project, bundle, codes};
use sprat_hub::ModelRef;
use sprat_infer::remote::{Prices, Remote, Settings};
use sprat_infer::{
    Embedding, EncoderEngine, Generator, Limits, Scored, TextClassifier, TextEmbedder,
};
use sprat_model::Classifier;
use sprat_task::settings::Candidate;
use sprat_task::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// A classifier on this machine.
pub struct LocalClassifier(Classifier);

impl LocalClassifier {
    /// Opens a bundle: a version's checkout, or a tuned model's folder with its base.
    ///
    /// # Errors
    /// Those of the classifier.
    pub fn open(folder: &Path) -> Result<Self> {
        bundle::open(folder).map(LocalClassifier)
    }

    /// The model itself.
    pub fn classifier(&self) -> &Classifier {
        &self.0
    }
}

impl TextClassifier for LocalClassifier {
    fn labels(&self) -> &[String] {
        self.0.labels()
    }

    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        let predictions = self.0.predict(texts)?;
        let scored = |p: sprat_model::Prediction| Scored {
            probabilities: p.probabilities,
            tokens: p.tokens,
            cut: p.cut,
        };
        Ok(predictions.into_iter().map(scored).collect())
    }
}

impl TextEmbedder for LocalClassifier {
    fn dimensions(&self) -> usize {
        self.0.encoder().config().hidden
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let tokens = self.0.encoder().tokenizer().encode_all(texts)?;
        let vectors = self.0.encoder().embed_tokens(&tokens);
        let rows = vectors.data.chunks_exact(vectors.cols.max(1));
        let embedding = |(row, tokens): (&[f32], &sprat_model::Tokens)| Embedding {
            vector: row.to_vec(),
            tokens: tokens.ids.len(),
        };
        Ok(rows.zip(&tokens).map(embedding).collect())
    }
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
            ModelRef::Path(path) if bundle::is_bundle(&path) => self.local(reference, &path),
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
                let what = format!("`{reference}` is a base model: it has no head that answers");
                Err(Error::new(&codes::REFERENCE, what)
                    .help("Tune it first: `sprat tune`, or the whole path: `sprat up`."))
            }
        }
    }

    fn local(&self, name: &str, folder: &Path) -> Result<Arc<dyn Generator>> {
        let model = Arc::new(LocalClassifier::open(folder)?);
        Ok(Arc::new(EncoderEngine::start(name, model, self.limits())?))
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
        debug_assert!(is_hosted(candidate));
        let model = candidate.model.trim_start_matches("openai:");
        let Some(base_url) = &candidate.base_url else {
            let what = format!("the hosted candidate `{}` has no address", candidate.model);
            return Err(Error::new(&codes::REFERENCE, what)
                .field("candidates.base_url")
                .help("Set base_url to the endpoint's address, up to and with /v1."));
        };
        let mut settings = Settings::new(&candidate.model, base_url, model)
            .with_environment(candidate.api_key_env.as_deref(), |name| std::env::var(name).ok())?;
        settings.labels = labels;
        settings.prices = Some(Prices {
            usd_per_million_input_tokens: candidate.usd_per_million_input_tokens,
            usd_per_million_output_tokens: candidate.usd_per_million_output_tokens,
        });
        Remote::open(settings)
    }
}
