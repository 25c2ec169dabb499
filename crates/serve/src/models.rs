//! Which models are served, and under which names.

use crate::codes;
use sprat_infer::{Embedder, Generator};
use sprat_task::{Error, Result, Timestamp};
use std::sync::{Arc, PoisonError, RwLock};

/// A model that is served.
pub struct Served {
    /// The name that `/v1/models` lists, such as `support-intent`.
    pub id: String,
    /// Further names it answers to, such as `support-intent@production`.
    pub aliases: Vec<String>,
    /// The version behind the names at present, for answers and traces.
    pub version: String,
    /// When that version was made.
    pub created: Timestamp,
    /// What answers `/v1/classify` and `/v1/chat/completions`, if anything.
    pub generator: Option<Arc<dyn Generator>>,
    /// What answers `/v1/embeddings`, if anything.
    pub embedder: Option<Arc<dyn Embedder>>,
    /// Confidence under which `/v1/classify` abstains unless the request says otherwise.
    pub threshold: Option<f32>,
}

impl Served {
    /// Whether it answers to a name.
    pub fn answers_to(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// Checks that every name stands for one model.
///
/// # Errors
/// [`codes::NAME`], with the name.
pub fn unambiguous(models: &[Arc<Served>]) -> Result<()> {
    for (at, model) in models.iter().enumerate() {
        let names = std::iter::once(&model.id).chain(&model.aliases);
        for name in names {
            if let Some(other) = models[..at].iter().find(|other| other.answers_to(name)) {
                let what = format!("two models would answer to `{name}`");
                let why = format!("they are {} and {}", other.version, model.version);
                return Err(Error::new(&codes::NAME, what).why(why));
            }
        }
    }
    Ok(())
}

/// Resolves the names in requests. Every request resolves anew and keeps what it got until it is
/// answered: when a name moves, new requests go to the new model and the old one finishes its
/// own, then goes with the last of them.
pub trait Models: Send + Sync {
    /// The model behind a name.
    fn resolve(&self, name: &str) -> Option<Arc<Served>>;

    /// The model of requests that name none.
    fn preferred(&self) -> Option<Arc<Served>>;

    /// All models.
    fn list(&self) -> Vec<Arc<Served>>;

    /// Whether it can answer requests: what `/readyz` says.
    fn ready(&self) -> bool {
        !self.list().is_empty()
    }
}

/// A table of models that can be replaced while requests run.
#[derive(Default)]
pub struct Table(RwLock<Arc<[Arc<Served>]>>);

impl Table {
    /// A table with these models; the first is the preferred one.
    pub fn new(models: Vec<Arc<Served>>) -> Self {
        Table(RwLock::new(models.into()))
    }

    /// Replaces all models at once and returns the old ones.
    pub fn replace(&self, models: Vec<Arc<Served>>) -> Arc<[Arc<Served>]> {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *table, models.into())
    }

    fn now(&self) -> Arc<[Arc<Served>]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Models for Table {
    fn resolve(&self, name: &str) -> Option<Arc<Served>> {
        self.now().iter().find(|served| served.answers_to(name)).cloned()
    }

    fn preferred(&self) -> Option<Arc<Served>> {
        self.now().first().cloned()
    }

    fn list(&self) -> Vec<Arc<Served>> {
        self.now().to_vec()
    }
}
