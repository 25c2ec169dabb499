//! The local engine of encoder classifiers.

use crate::answer::{Answer, Pending, Reply, Timing, reply};
use crate::batcher::{Batcher, Compute, Deliver, Limits, Measured};
use crate::codes;
use crate::generator::{Generator, Load};
use crate::request::{Constraint, Request};
use sprat_task::{Error, Result};
use std::sync::Arc;

/// The probabilities of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// Calibrated probabilities, one per label in order; they sum to 1.
    pub probabilities: Vec<f32>,
    /// Tokens read.
    pub tokens: usize,
    /// Tokens of the text that did not fit and were not read.
    pub cut: usize,
    /// The embedding of the text, `[hidden]`, where the model hands it out.
    pub embedding: Option<Vec<f32>>,
}

/// A model that gives every text a probability per label.
pub trait TextClassifier: Send + Sync + 'static {
    /// The labels, in the order of the probabilities.
    fn labels(&self) -> &[String];

    /// The most tokens of a text that it reads.
    fn max_tokens(&self) -> usize {
        usize::MAX
    }

    /// One result per text, in order.
    ///
    /// # Errors
    /// Those of the model.
    fn classify(&self, texts: &[&str]) -> Result<Vec<Scored>>;
}

/// A classifier behind a dynamic batcher.
pub struct EncoderEngine {
    name: String,
    batcher: Batcher<Classify, Wanted>,
}

impl EncoderEngine {
    /// Starts an engine that answers under `name`.
    ///
    /// # Errors
    /// [`codes::THREAD`] when the system gives no thread.
    pub fn start(
        name: impl Into<String>,
        model: Arc<dyn TextClassifier>,
        limits: Limits,
    ) -> Result<Self> {
        let name = name.into();
        let batcher = Batcher::start(&name, Arc::new(Classify(model)), limits)?;
        Ok(EncoderEngine { name, batcher })
    }

    /// Answers what waits, then ends the engine's thread and waits for that.
    pub fn close(mut self) {
        self.batcher.close();
    }

    /// The model behind the engine.
    pub fn model(&self) -> &Arc<dyn TextClassifier> {
        &self.batcher.compute().0
    }
}

impl Generator for EncoderEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[String] {
        self.model().labels()
    }

    fn submits_at_once(&self, _: &Request) -> bool {
        true
    }

    fn load(&self) -> Load {
        self.batcher.load()
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        if let Some(adapter) = &request.adapter {
            let what = format!("`{}` has no adapter named `{adapter}`", self.name);
            return Err(Error::new(&codes::INPUT, what).field("adapter"));
        }
        let allowed = self.allowed(request.constraint.as_ref())?;
        let text = request.input.single_text()?.to_owned();
        let (reply, pending) = reply();
        let wanted = Wanted { reply, model: Arc::clone(self.model()), allowed };
        self.batcher.push(text, request.deadline, wanted)?;
        Ok(pending)
    }
}

impl EncoderEngine {
    /// Which labels a constraint leaves, as a mask; none: all of them.
    fn allowed(&self, constraint: Option<&Constraint>) -> Result<Option<Vec<bool>>> {
        let wanted = match constraint {
            None => return Ok(None),
            Some(Constraint::Labels(wanted)) => wanted,
            Some(_) => {
                let what = "a classifier answers with a label, not with free JSON";
                return Err(Error::new(&codes::CONSTRAINT, what));
            }
        };
        let labels = self.labels();
        if let Some(unknown) = wanted.iter().find(|label| !labels.contains(label)) {
            let what = format!("the model does not know the label `{unknown}`");
            return Err(Error::new(&codes::CONSTRAINT, what)
                .help(format!("It knows: {}.", preview(labels))));
        }
        if wanted.is_empty() {
            return Err(Error::new(&codes::CONSTRAINT, "the constraint allows no label at all"));
        }
        if labels.iter().all(|label| wanted.contains(label)) {
            return Ok(None);
        }
        Ok(Some(labels.iter().map(|label| wanted.contains(label)).collect()))
    }
}

/// The first few labels, for an error message.
fn preview(labels: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text: String =
        labels.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if labels.len() > SHOWN {
        text += &format!(" and {} more", labels.len() - SHOWN);
    }
    text
}

struct Classify(Arc<dyn TextClassifier>);

impl Compute for Classify {
    type Output = Scored;

    fn max_tokens(&self) -> usize {
        self.0.max_tokens()
    }

    fn run(&self, texts: &[&str]) -> Result<Vec<Scored>> {
        self.0.classify(texts)
    }
}

/// A request in the queue: who waits, and for which labels.
struct Wanted {
    reply: Reply,
    model: Arc<dyn TextClassifier>,
    allowed: Option<Vec<bool>>,
}

impl Deliver<Scored> for Wanted {
    fn cancelled(&self) -> bool {
        self.reply.is_cancelled()
    }

    fn deliver(self, result: Result<Scored>, measured: Measured) {
        let answer = result.and_then(|scored| {
            answer(self.model.labels(), scored, self.allowed.as_deref(), measured)
        });
        self.reply.end(answer);
    }
}

/// The answer that the probabilities give. Under a mask the probabilities of the labels left
/// are divided by their sum: the conditional distribution, given that one of them is right.
fn answer(
    labels: &[String],
    mut scored: Scored,
    allowed: Option<&[bool]>,
    measured: Measured,
) -> Result<Answer> {
    if scored.probabilities.len() != labels.len()
        || scored.probabilities.iter().any(|p| !p.is_finite())
    {
        return Err(Error::new(&codes::PANIC, "the model gave no valid probabilities"));
    }
    if let Some(allowed) = allowed {
        let mut sum = 0.0;
        for (p, allowed) in scored.probabilities.iter_mut().zip(allowed) {
            *p = if *allowed { p.max(f32::MIN_POSITIVE) } else { 0.0 };
            sum += *p;
        }
        scored.probabilities.iter_mut().for_each(|p| *p /= sum);
    }
    // The first of equal probabilities wins, so that the answer depends on nothing else.
    let mut best: Option<(usize, f32)> = None;
    for (index, p) in scored.probabilities.iter().enumerate() {
        if best.is_none_or(|(_, most)| *p > most) {
            best = Some((index, *p));
        }
    }
    let Some((label, confidence)) = best.and_then(|(index, p)| Some((labels.get(index)?, p)))
    else {
        return Err(Error::new(&codes::PANIC, "the model has no labels"));
    };
    Ok(Answer {
        output: label.clone(),
        label: Some(label.clone()),
        confidence: Some(confidence),
        scores: labels.iter().cloned().zip(scored.probabilities).collect(),
        prompt_tokens: scored.tokens,
        cut_tokens: scored.cut,
        embedding: scored.embedding,
        latency: measured.queued + measured.computed,
        timing: Timing {
            queued: measured.queued,
            computed: measured.computed,
            batch: measured.batch,
            first: None,
        },
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests;
