//! Texts to vectors, behind the same dynamic batcher.

use crate::answer::vanished;
use crate::batcher::{Batcher, Compute, Deliver, Limits, Measured};
use crate::channel::{self, Receiver, Sender, Waited};
use crate::codes;
use crate::generator::Load;
use sprat_task::{Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// The vector of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// `[hidden]`, normalized where the model's own settings say so.
    pub vector: Vec<f32>,
    /// Tokens read.
    pub tokens: usize,
}

/// A model that gives every text a vector.
pub trait TextEmbedder: Send + Sync + 'static {
    /// The length of a vector.
    fn dimensions(&self) -> usize;

    /// The most tokens of a text that it reads.
    fn max_tokens(&self) -> usize {
        usize::MAX
    }

    /// One vector per text, in order.
    ///
    /// # Errors
    /// Those of the model.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>>;
}

/// Whatever gives texts vectors on request.
pub trait Embedder: Send + Sync {
    /// The name under which the model was asked for.
    fn name(&self) -> &str;

    /// The length of a vector.
    fn dimensions(&self) -> usize;

    /// Queues one text and returns at once.
    ///
    /// # Errors
    /// [`codes::BUSY`] when the queue is full.
    fn submit(&self, text: String, deadline: Option<Instant>) -> Result<PendingEmbedding>;

    /// How much it has to do.
    fn load(&self) -> Load {
        Load::default()
    }
}

/// A vector that is on its way. Dropping it cancels the request.
pub struct PendingEmbedding(Receiver<Result<Embedding>>);

impl PendingEmbedding {
    /// The vector, waiting on this thread no longer than until `deadline`.
    ///
    /// # Errors
    /// Those of the model; [`codes::TIMEOUT`] when the time is over.
    pub fn wait_until(mut self, deadline: Option<Instant>) -> Result<Embedding> {
        match self.0.wait_until(deadline) {
            Waited::Got(result) => result,
            Waited::Ended => Err(vanished()),
            Waited::TimedOut => Err(Error::new(&codes::TIMEOUT, "the vector did not come in time")),
        }
    }

    /// The vector, for async callers.
    ///
    /// # Errors
    /// Those of the model.
    pub async fn vector(mut self) -> Result<Embedding> {
        self.0.next().await.unwrap_or_else(|| Err(vanished()))
    }
}

/// An encoder behind a dynamic batcher.
pub struct EncoderEmbedder {
    name: String,
    batcher: Batcher<Embed, Wanted>,
}

impl EncoderEmbedder {
    /// Starts an engine that answers under `name`.
    ///
    /// # Errors
    /// [`codes::THREAD`] when the system gives no thread.
    pub fn start(
        name: impl Into<String>,
        model: Arc<dyn TextEmbedder>,
        limits: Limits,
    ) -> Result<Self> {
        let name = name.into();
        let batcher = Batcher::start(&name, Arc::new(Embed(model)), limits)?;
        Ok(EncoderEmbedder { name, batcher })
    }

    /// Answers what waits, then ends the engine's thread and waits for that.
    pub fn close(mut self) {
        self.batcher.close();
    }
}

impl Embedder for EncoderEmbedder {
    fn name(&self) -> &str {
        &self.name
    }

    fn dimensions(&self) -> usize {
        self.batcher.compute().0.dimensions()
    }

    fn load(&self) -> Load {
        self.batcher.load()
    }

    fn submit(&self, text: String, deadline: Option<Instant>) -> Result<PendingEmbedding> {
        let (sender, receiver) = channel::channel();
        self.batcher.push(text, deadline, Wanted(sender))?;
        Ok(PendingEmbedding(receiver))
    }
}

struct Embed(Arc<dyn TextEmbedder>);

impl Compute for Embed {
    type Output = Embedding;

    fn max_tokens(&self) -> usize {
        self.0.max_tokens()
    }

    fn run(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        self.0.embed(texts)
    }
}

struct Wanted(Sender<Result<Embedding>>);

impl Deliver<Embedding> for Wanted {
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn deliver(self, result: Result<Embedding>, _: Measured) {
        let _ = self.0.send(result);
    }
}
