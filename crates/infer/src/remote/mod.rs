//! Hosted models behind any OpenAI-compatible endpoint.

mod body;
mod label;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod redact;
mod retry;
mod settings;
mod transport;

pub use redact::Secret;
pub use settings::{Prices, Settings, Structured};

use crate::answer::{Answer, Pending, Reply, Timing, reply};
use crate::codes;
use crate::generator::{Generator, Load};
use crate::queue::{Job, Queue};
use crate::request::{Constraint, Input, Request};
use crate::sampling::Sampling;
use body::Dialect;
use sprat_task::{Clock, Error, Result, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use transport::Transport;

/// A hosted model: a bounded queue and a few threads that ask the endpoint.
pub struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    transport: Transport,
    queue: Queue<Work>,
    clock: Box<dyn Clock>,
    /// What this endpoint turned out not to understand.
    plain: AtomicBool,
    new_limit: AtomicBool,
}

struct Work {
    request: Request,
    reply: Reply,
}

impl Remote {
    /// Opens a hosted model. Nothing is sent yet.
    ///
    /// # Errors
    /// [`codes::REMOTE_SETTINGS`] for an address that is none, [`codes::REMOTE_KEY`] when the
    /// variable that should hold the key is not set, [`codes::THREAD`].
    pub fn open(settings: Settings) -> Result<Self> {
        Self::with_clock(settings, Box::new(SystemClock))
    }

    /// [`Remote::open`] with a clock of the caller's: it reads `Retry-After` dates.
    ///
    /// # Errors
    /// Those of [`Remote::open`].
    pub fn with_clock(settings: Settings, clock: Box<dyn Clock>) -> Result<Self> {
        let transport = Transport::new(&settings)?;
        let shared = Arc::new(Shared {
            transport,
            queue: Queue::new(settings.queue),
            clock,
            plain: AtomicBool::new(settings.structured == Structured::Never),
            new_limit: AtomicBool::new(false),
            settings,
        });
        let remote = Remote { shared: Arc::clone(&shared) };
        for number in 0..shared.settings.concurrency.max(1) {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("remote {number}"))
                .spawn(move || shared.work())
                .map_err(|why| {
                    Error::new(&codes::THREAD, "could not start a thread for a hosted model")
                        .why(why.to_string())
                })?;
        }
        Ok(remote)
    }
}

impl Drop for Remote {
    /// What waits is still asked; the threads then end by themselves.
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Generator for Remote {
    fn name(&self) -> &str {
        &self.shared.settings.name
    }

    fn labels(&self) -> &[String] {
        &self.shared.settings.labels
    }

    fn converses(&self) -> bool {
        self.labels().is_empty()
    }

    fn load(&self) -> Load {
        Load { waiting: self.shared.queue.len(), capacity: self.shared.queue.capacity() }
    }

    fn submit(&self, mut request: Request) -> Result<Pending> {
        if request.adapter.is_some() {
            let what = "a hosted model has no adapters";
            return Err(Error::new(&codes::INPUT, what).field("adapter"));
        }
        refuse(&request)?;
        if request.constraint.is_none() && !self.labels().is_empty() {
            request.constraint = Some(Constraint::Labels(self.labels().to_vec()));
        }
        match &request.constraint {
            Some(Constraint::JsonSchema(schema)) => {
                jsonschema::validator_for(schema).map_err(|why| {
                    Error::new(&codes::CONSTRAINT, "the JSON schema is not valid")
                        .why(why.to_string())
                })?;
            }
            None | Some(Constraint::Labels(_)) => {}
            Some(_) => {
                let what = "a hosted model answers under labels or a JSON schema only";
                return Err(Error::new(&codes::CONSTRAINT, what));
            }
        }
        let (reply, pending) = reply();
        let deadline = request.deadline;
        self.shared.queue.push(Work { request, reply }, deadline)?;
        Ok(pending)
    }
}

/// Refuses wishes that the protocol cannot carry: nothing is silently ignored.
fn refuse(request: &Request) -> Result<()> {
    let (sampling, plain) = (&request.sampling, Sampling::default());
    let unable = [
        ("tokens", matches!(request.input, Input::Tokens(_))),
        ("top_k", sampling.top_k != plain.top_k),
        ("min_p", sampling.min_p != plain.min_p),
        ("repetition_penalty", sampling.repetition_penalty != plain.repetition_penalty),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("logprobs", request.logprobs.is_some() || request.prompt_logprobs),
    ];
    match unable.into_iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((field, _)) => {
            let what = format!("a hosted model cannot be asked with `{field}`");
            Err(Error::new(&codes::INPUT, what).field(field))
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some(mut jobs) = self.queue.take(|_| false) {
            let Some(job) = jobs.pop() else { continue };
            if job.work.reply.is_cancelled() {
                continue;
            }
            let answer = self.ask(&job);
            job.work.reply.end(answer);
        }
    }

    fn ask(&self, job: &Job<Work>) -> Result<Answer> {
        let begun = Instant::now();
        let request = &job.work.request;
        let mut attempts = retry::Attempts::new(&self.settings, self.clock.as_ref());
        loop {
            if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(Error::new(&codes::TIMEOUT, "the hosted model took too long"));
            }
            let dialect = Dialect {
                structured: !self.plain.load(Ordering::Relaxed),
                new_limit: self.new_limit.load(Ordering::Relaxed),
            };
            let sent = body::build(&self.settings, request, dialect);
            let fault = match self.transport.post(&sent, job.deadline) {
                Ok(received) => {
                    let parsed = body::parse(&self.settings, request, &received)?;
                    return Ok(measured(parsed, job.queued, begun));
                }
                Err(fault) => fault,
            };
            if self.adapt(&fault, request, dialect) {
                continue;
            }
            attempts.wait_after(fault, job.deadline, || job.work.reply.is_cancelled())?;
        }
    }

    /// Learns from a refusal what the endpoint does not understand; whether asking again in
    /// another dialect may help. A label is checked here in any case, so it may be asked for
    /// without `response_format`; a free JSON schema may not.
    fn adapt(&self, fault: &transport::Fault, request: &Request, used: Dialect) -> bool {
        if fault.status != Some(400) && fault.status != Some(422) {
            return false;
        }
        let about = |name: &str| fault.reason.contains(name);
        let labels = matches!(request.constraint, Some(Constraint::Labels(_)));
        if used.structured
            && labels
            && self.settings.structured == Structured::Auto
            && (about("response_format") || about("json_schema"))
        {
            self.plain.store(true, Ordering::Relaxed);
            return true;
        }
        if !used.new_limit && request.max_tokens.is_some() && about("max_completion_tokens") {
            self.new_limit.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }
}

fn measured(mut answer: Answer, queued: Instant, begun: Instant) -> Answer {
    answer.latency = queued.elapsed();
    answer.timing = Timing {
        queued: begun.saturating_duration_since(queued),
        computed: begun.elapsed(),
        batch: 1,
        first: None,
    };
    answer
}

#[cfg(test)]
mod tests;
