//! The local engine of models that write.

mod choosing;
mod label_tree;
mod pages;
mod prompt;
mod sequence;
mod worker;
mod writer;

use crate::answer::{Pending, reply};
use crate::codes;
use crate::constraint::Grammars;
use crate::generator::{Generator, Load};
use crate::queue::Queue;
use crate::request::{Constraint, Request};
use choosing::{Choosing, Room};
use label_tree::LabelTree;
use sequence::{Goal, Guide, Plan, Work, Writing};
use sprat_model::LanguageModel;
use sprat_model::decoder::DecoderAdapter;
use sprat_nn::PAGE;
use sprat_task::{Clock, Error, Result, SystemClock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use worker::Worker;

/// The bounds of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Requests that are computed at the same time, at most.
    pub sequences: usize,
    /// Tokens of prompts that one step reads, at most; answers are not kept waiting longer.
    pub step_tokens: usize,
    /// Tokens whose keys and values fit into memory at once. The memory is known before the
    /// first request: [`sprat_model::decoder::Decoder::cache_bytes`].
    pub cache_tokens: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// The seed of requests that have none is drawn from this and their number.
    pub seed: u64,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        DecoderLimits { sequences: 32, step_tokens: 256, cache_tokens: 16_384, queue: 256, seed: 0 }
    }
}

/// How a model answers where a request says nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// The system message, where a conversation begins without one.
    pub instruction: Option<String>,
    /// The labels that it was tuned to choose from; empty: it writes.
    pub labels: Vec<String>,
    /// Divides the labels' scores: calibrated on held-out data.
    pub label_temperature: f32,
    /// What answers must satisfy.
    pub constraint: Option<Constraint>,
    /// Tokens of an answer, at most.
    pub max_tokens: usize,
    /// The temperature of the sampling.
    pub temperature: f32,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            instruction: None,
            labels: Vec::new(),
            label_temperature: 1.0,
            constraint: None,
            max_tokens: 512,
            temperature: 1.0,
        }
    }
}

/// Weights with their scheduler. Several [`DecoderModel`]s share it: their requests are computed
/// together, each under its own adapter.
pub struct DecoderEngine {
    model: Arc<LanguageModel>,
    limits: DecoderLimits,
    queue: Arc<Queue<Work>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    submitted: AtomicU64,
    /// Made when the first constraint comes.
    grammars: Mutex<Option<Grammars>>,
}

impl DecoderEngine {
    /// Starts the engine's thread, named after `name`.
    ///
    /// # Errors
    /// [`codes::THREAD`] when the system gives no thread.
    pub fn start(name: &str, model: Arc<LanguageModel>, limits: DecoderLimits) -> Result<Self> {
        let queue = Arc::new(Queue::new(limits.queue));
        let pages = limits.cache_tokens.div_ceil(PAGE).max(1);
        let worker = Worker::new(model.clone(), limits.clone(), queue.clone(), pages);
        let worker = std::thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || worker.run())
            .map_err(|why| {
                Error::new(&codes::THREAD, "could not start the model's thread")
                    .why(why.to_string())
            })?;
        let (worker, submitted) = (Mutex::new(Some(worker)), AtomicU64::new(0));
        Ok(DecoderEngine { model, limits, queue, worker, submitted, grammars: Mutex::default() })
    }

    /// Answers what waits, then ends the engine's thread and waits for that.
    pub fn close(&self) {
        self.queue.close();
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            let _ = worker.join();
        }
    }

    /// The model behind the engine.
    pub fn model(&self) -> &Arc<LanguageModel> {
        &self.model
    }

    /// Bytes that the keys and values of all requests take together.
    pub fn cache_bytes(&self) -> usize {
        self.model.decoder().cache_bytes(self.limits.cache_tokens.max(1))
    }

    /// What compiles constraints for the model's vocabulary.
    fn grammars(&self) -> Result<Grammars> {
        let mut grammars = self.grammars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(grammars) = &*grammars {
            return Ok(grammars.clone());
        }
        let made = Grammars::new(self.model.tokenizer())?;
        Ok(grammars.insert(made).clone())
    }

    /// Pages of the whole cache.
    fn pages(&self) -> usize {
        self.limits.cache_tokens.div_ceil(PAGE).max(1)
    }

    /// Tokens of one sequence, at most.
    fn room(&self) -> usize {
        self.model.decoder().context().min(self.pages() * PAGE)
    }

    fn too_long(&self, prompt: usize, answer: usize) -> Error {
        let what = format!("{prompt} tokens of prompt and {answer} of answer do not fit");
        let room = self.room();
        Error::new(&codes::CONTEXT, what)
            .field("max_tokens")
            .why(format!("the model and its cache have room for {room} tokens"))
    }
}

impl Drop for DecoderEngine {
    /// What waits is still answered; the worker then ends by itself.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Labels, and the tokens of all as answers.
type KnownLabels = (Vec<String>, Arc<LabelTree>);

/// A model that answers: an engine's weights, perhaps with an adapter, and how it behaves.
pub struct DecoderModel {
    name: String,
    engine: Arc<DecoderEngine>,
    adapter: Option<Arc<DecoderAdapter>>,
    behaviour: Behaviour,
    clock: SystemClock,
    /// The labels' tokens, made when they are first needed.
    labels: Mutex<Vec<KnownLabels>>,
}

impl DecoderModel {
    /// A model that answers under `name`.
    pub fn new(
        name: impl Into<String>,
        engine: Arc<DecoderEngine>,
        adapter: Option<Arc<DecoderAdapter>>,
        behaviour: Behaviour,
    ) -> Self {
        let (name, labels) = (name.into(), Mutex::default());
        DecoderModel { name, engine, adapter, behaviour, clock: SystemClock, labels }
    }

    /// The engine behind it.
    pub fn engine(&self) -> &Arc<DecoderEngine> {
        &self.engine
    }

    fn writing(
        &self,
        request: &Request,
        prompt: &[u32],
        constraint: Option<Constraint>,
    ) -> Result<Writing> {
        if constraint.is_some() && !request.stop.is_empty() {
            let what = "an answer under a constraint cannot be ended by a stop text";
            return Err(Error::new(&codes::INPUT, what).field("stop"));
        }
        let vocabulary = self.engine.model.decoder().config().vocabulary;
        request.sampling.check(vocabulary)?;
        check_stops(&request.stop)?;
        let left = self.engine.room().saturating_sub(prompt.len());
        let most = match request.max_tokens {
            Some(most) if most > left => return Err(self.engine.too_long(prompt.len(), most)),
            Some(most) => most,
            None if left == 0 => return Err(self.engine.too_long(prompt.len(), 1)),
            None => self.behaviour.max_tokens.min(left),
        };
        let number = self.engine.submitted.fetch_add(1, Ordering::Relaxed);
        let guide = constraint.map(|constraint| {
            let matcher = self.engine.grammars()?.compile(&constraint)?;
            Ok::<_, Error>(Guide { matcher, retries: 0 })
        });
        let plan = Plan {
            sampling: request.sampling.clone(),
            own: (self.behaviour.temperature, self.engine.limits.seed.wrapping_add(number)),
            stops: request.stop.clone(),
            stream: self.engine.model.tokenizer().continuing_decoder(true),
        };
        Ok(Writing::new(plan, prompt, most, guide.transpose()?))
    }

    /// The labels as answers of the model, in its tokens.
    fn label_tree(&self, labels: &[String]) -> Result<Arc<LabelTree>> {
        /// How many sets of labels are kept.
        const KEPT: usize = 16;
        let mut kept = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tree)) = kept.iter().find(|(known, _)| known == labels) {
            return Ok(tree.clone());
        }
        let instruction = self.behaviour.instruction.as_deref();
        let now = self.clock.now();
        let tokens = labels
            .iter()
            .map(|label| prompt::answer_tokens(&self.engine.model, instruction, label, now))
            .collect::<Result<Vec<_>>>()?;
        let tree = Arc::new(LabelTree::new(&tokens));
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((labels.to_vec(), tree.clone()));
        Ok(tree)
    }

    fn choosing(&self, labels: &[String], prompt: usize) -> Result<Choosing> {
        let known = &self.behaviour.labels;
        let unknown = labels.iter().find(|label| !known.is_empty() && !known.contains(label));
        if let Some(unknown) = unknown {
            let what = format!("the model does not know the label `{unknown}`");
            return Err(Error::new(&codes::CONSTRAINT, what));
        }
        let mut labels = labels.to_vec();
        let mut seen = std::collections::HashSet::new();
        labels.retain(|label| seen.insert(label.clone()));
        if labels.is_empty() {
            return Err(Error::new(&codes::CONSTRAINT, "the constraint allows no label at all"));
        }
        let tree = self.label_tree(&labels)?;
        if prompt + tree.longest() > self.engine.model.decoder().context() {
            return Err(self.engine.too_long(prompt, tree.longest()));
        }
        let room = Room::new(&tree, prompt, self.engine.pages());
        Ok(Choosing::new(labels, tree, self.behaviour.label_temperature, room))
    }
}

impl Generator for DecoderModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[String] {
        &self.behaviour.labels
    }

    fn converses(&self) -> bool {
        true
    }

    fn load(&self) -> Load {
        Load { waiting: self.engine.queue.len(), capacity: self.engine.queue.capacity() }
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        if let Some(adapter) = &request.adapter {
            let what = format!("`{}` has no adapter named `{adapter}`", self.name);
            return Err(Error::new(&codes::INPUT, what).field("adapter"));
        }
        let instruction = self.behaviour.instruction.as_deref();
        let prompt = prompt::tokens(&self.engine.model, instruction, &request, self.clock.now())?;
        if prompt.is_empty() {
            return Err(Error::new(&codes::INPUT, "the prompt is empty").field("prompt"));
        }
        if prompt.len() > self.engine.room() {
            return Err(self.engine.too_long(prompt.len(), 0));
        }
        let tuned = || {
            let labels = &self.behaviour.labels;
            (!labels.is_empty()).then(|| Constraint::Labels(labels.clone()))
        };
        let constraint = request.constraint.clone().or_else(tuned);
        let goal = match constraint.or_else(|| self.behaviour.constraint.clone()) {
            Some(Constraint::Labels(labels)) => Goal::Choose(self.choosing(&labels, prompt.len())?),
            other => Goal::Write(Box::new(self.writing(&request, &prompt, other)?)),
        };
        let (reply, pending) = reply();
        let work = Work {
            reply,
            prompt,
            goal,
            adapter: self.adapter.clone(),
            prompt_scores: request.prompt_logprobs,
            logprobs: request.logprobs,
        };
        let pages = work.pages() + work.branch_pages();
        if pages > self.engine.pages() {
            return Err(self.engine.too_long(work.prompt.len(), pages * PAGE - work.prompt.len()));
        }
        self.engine.queue.push(work, request.deadline)?;
        Ok(pending)
    }
}

fn check_stops(stops: &[String]) -> Result<()> {
    const MOST: usize = 16;
    const LONGEST: usize = 256;
    let refuse = |what: String| Err(Error::new(&codes::INPUT, what).field("stop"));
    if stops.len() > MOST {
        return refuse(format!("there are {} stop texts, at most {MOST} can be", stops.len()));
    }
    match stops.iter().find(|stop| stop.is_empty() || stop.len() > LONGEST) {
        Some(stop) if stop.is_empty() => refuse("a stop text is empty".to_owned()),
        Some(_) => refuse(format!("a stop text is longer than {LONGEST} bytes")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
