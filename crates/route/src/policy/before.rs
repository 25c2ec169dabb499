//! *Before*: the difficulty of a request is judged by its embedding, and the small model is asked
//! only about what it keeps.

use crate::{Head, RouteFit};
use sprat_infer::{Embedder, Input, PendingEmbedding, Request, Role};
use sprat_task::Result;
use std::sync::Arc;

/// A trained head over an encoder, with the threshold of its fit.
///
/// A tuned classifier's answer takes hardly more than the embedding that it is computed from. Where
/// the head reads that one, the classifier is asked at once and hands it out with its answer: what
/// is kept is answered already, and nothing is computed twice.
#[derive(Clone)]
pub struct Before {
    /// From an embedding to a score.
    pub head: Arc<Head>,
    /// From a score to a decision.
    pub fit: Arc<RouteFit>,
    /// The encoder that the head was trained on; `None`: the small model's own.
    pub encoder: Option<Arc<dyn Embedder>>,
}

impl Before {
    /// The score of an embedding.
    pub(crate) fn score(&self, embedding: &[f32]) -> f32 {
        self.head.score(embedding) as f32
    }

    /// Whether the small model gets a request of this score.
    pub(crate) fn keeps(&self, score: f32) -> bool {
        self.fit.decide(f64::from(score)).keep
    }

    /// The least score that the small model gets.
    pub(crate) fn threshold(&self) -> Option<f32> {
        self.fit.threshold.map(|least| least as f32)
    }
}

/// Queues a request's text for an encoder; nothing without a text to judge.
///
/// # Errors
/// Those of the encoder's queue.
pub(crate) fn embed(encoder: &dyn Embedder, request: &Request) -> Result<Option<PendingEmbedding>> {
    let Some(text) = judged_text(&request.input) else { return Ok(None) };
    encoder.submit(text.to_owned(), request.deadline).map(Some)
}

/// The text whose difficulty is judged: the text itself, or what was asked last.
fn judged_text(input: &Input) -> Option<&str> {
    match input {
        Input::Text(text) => Some(text),
        Input::Messages(messages) => {
            let asked = messages.iter().rev().find(|message| message.role == Role::User);
            asked.map(|message| message.content.as_str())
        }
        Input::Prompt(_) | Input::Tokens(_) => None,
    }
}
