//! Dynamic batching: requests that wait while the model computes share its next batch.
//!
//! The worker never waits for a batch to fill: it takes what is there. An idle engine therefore
//! answers at once, a busy one batches by itself, and the latency that batching adds is bounded
//! by one batch of at most [`Limits::max_batch`] requests and [`Limits::max_tokens`] tokens.

use crate::codes;
use crate::queue::{Job, Queue};
use sprat_task::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The bounds of a batcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests per batch, at most.
    pub max_batch: usize,
    /// Tokens per batch, at most (estimated from the length of the text); one request that is
    /// longer has a batch of its own.
    pub max_tokens: usize,
    /// Requests that may wait.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_batch: 32, max_tokens: 4096, queue: 256 }
    }
}

/// The model behind a batcher.
pub(crate) trait Compute: Send + Sync + 'static {
    /// What one text gives.
    type Output: Send + 'static;

    /// Computes one output per text, in order. Runs on the worker's thread.
    ///
    /// # Errors
    /// Those of the model; a batch that fails is tried again one by one.
    fn run(&self, texts: &[&str]) -> Result<Vec<Self::Output>>;

    /// The most tokens of a text that the model reads.
    fn max_tokens(&self) -> usize;

    /// An upper estimate of the tokens of a text.
    fn estimate_tokens(&self, text: &str) -> usize {
        // WordPiece and BPE need about one token for four bytes of English, and more for rare
        // words; three is on the safe side.
        (text.len() / 3 + 2).min(self.max_tokens())
    }
}

/// How the result of one text is delivered.
pub(crate) trait Deliver<T>: Send + 'static {
    /// Whether nobody waits for it any more.
    fn cancelled(&self) -> bool;
    /// Delivers the result with its timing.
    fn deliver(self, result: Result<T>, measured: Measured);
}

/// The times of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) queued: Duration,
    pub(crate) computed: Duration,
    pub(crate) batch: usize,
}

struct Work<D> {
    text: String,
    tokens: usize,
    deliver: D,
}

/// A model with its queue and its worker thread.
pub(crate) struct Batcher<C: Compute, D> {
    compute: Arc<C>,
    queue: Arc<Queue<Work<D>>>,
    worker: Option<JoinHandle<()>>,
}

impl<C: Compute, D> Batcher<C, D> {
    /// The model itself.
    pub(crate) fn compute(&self) -> &Arc<C> {
        &self.compute
    }

    /// How many requests wait, and how many may.
    pub(crate) fn load(&self) -> crate::Load {
        crate::Load { waiting: self.queue.len(), capacity: self.queue.capacity() }
    }

    /// Takes no further requests, answers those that wait, and ends the worker.
    pub(crate) fn close(&mut self) {
        self.queue.close();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl<C: Compute, D: Deliver<C::Output>> Batcher<C, D> {
    /// Starts the worker.
    ///
    /// # Errors
    /// [`codes::THREAD`] when the system gives no thread.
    pub(crate) fn start(name: &str, compute: Arc<C>, limits: Limits) -> Result<Self> {
        let queue = Arc::new(Queue::new(limits.queue));
        let (model, jobs) = (Arc::clone(&compute), Arc::clone(&queue));
        let worker = std::thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || work(model.as_ref(), &jobs, limits))
            .map_err(|why| {
                Error::new(&codes::THREAD, "could not start the model's thread")
                    .why(why.to_string())
            })?;
        Ok(Batcher { compute, queue, worker: Some(worker) })
    }

    /// Queues one text.
    ///
    /// # Errors
    /// [`codes::BUSY`] when the queue is full, [`codes::CLOSED`] when it is closed.
    pub(crate) fn push(&self, text: String, deadline: Option<Instant>, deliver: D) -> Result<()> {
        let tokens = self.compute.estimate_tokens(&text);
        self.queue.push(Work { text, tokens, deliver }, deadline)
    }
}

impl<C: Compute, D> Drop for Batcher<C, D> {
    /// What waits is still answered; the worker then ends by itself. Nobody waits for it here,
    /// because the last owner may be an async task.
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn work<C: Compute, D: Deliver<C::Output>>(model: &C, queue: &Queue<Work<D>>, limits: Limits) {
    loop {
        let (mut count, mut tokens) = (0, 0);
        let taken = queue.take(|work| {
            if work.deliver.cancelled() {
                return true; // costs nothing: it is dropped below
            }
            count += 1;
            tokens += work.tokens;
            count <= limits.max_batch && tokens <= limits.max_tokens
        });
        let Some(taken) = taken else { return };
        let begun = Instant::now();
        let mut batch = Vec::with_capacity(taken.len());
        for job in taken {
            if job.work.deliver.cancelled() {
                continue;
            }
            if job.deadline.is_some_and(|deadline| deadline <= begun) {
                let what = "the request waited until its time limit";
                let error = Error::new(&codes::TIMEOUT, what);
                finish(job, Err(error), begun, Duration::ZERO, 1);
            } else {
                batch.push(job);
            }
        }
        run_batch(model, batch, begun);
    }
}

fn run_batch<C: Compute, D: Deliver<C::Output>>(
    model: &C,
    batch: Vec<Job<Work<D>>>,
    begun: Instant,
) {
    if batch.is_empty() {
        return;
    }
    let size = batch.len();
    let texts: Vec<&str> = batch.iter().map(|job| job.work.text.as_str()).collect();
    match guarded(model, &texts) {
        Ok(outputs) => {
            let computed = begun.elapsed();
            for (job, output) in batch.into_iter().zip(outputs) {
                finish(job, Ok(output), begun, computed, size);
            }
        }
        Err(error) if size == 1 => {
            for job in batch {
                finish(job, Err(error.clone()), begun, begun.elapsed(), size);
            }
        }
        // One bad text must not fail its neighbours: each is tried alone.
        Err(_) => {
            for job in batch {
                run_batch(model, vec![job], Instant::now());
            }
        }
    }
}

/// Runs the model; a panic in it and a wrong number of outputs become errors.
fn guarded<C: Compute>(model: &C, texts: &[&str]) -> Result<Vec<C::Output>> {
    let outputs = catch_unwind(AssertUnwindSafe(|| model.run(texts))).unwrap_or_else(|_| {
        Err(Error::new(&codes::PANIC, "the model's computation ended abnormally"))
    })?;
    if outputs.len() != texts.len() {
        let what = format!("the model gave {} outputs for {} texts", outputs.len(), texts.len());
        return Err(Error::new(&codes::PANIC, what));
    }
    Ok(outputs)
}

fn finish<T, D: Deliver<T>>(
    job: Job<Work<D>>,
    result: Result<T>,
    begun: Instant,
    computed: Duration,
    batch: usize,
) {
    let queued = begun.saturating_duration_since(job.queued);
    job.work.deliver.deliver(result, Measured { queued, computed, batch });
}
