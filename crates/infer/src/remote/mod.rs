//! Hosted models behind any OpenAI-compatible endpoint.

mod body;
mod chunks;
mod connect;
mod events;
mod fault;
mod label;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod redact;
mod retry;
mod settings;
mod transport;

pub use redact::Secret;
pub use settings::{Prices, Settings, Structured};

use crate::answer::{Answer, Asking, Delta, Event, Pending, Reply, Timing, reply};
use crate::codes;
use crate::estimate::{AROUND, Estimate, UNBOUNDED, tokens_at_most};
use crate::generator::{Generator, Load};
use crate::network::network;
use crate::request::{Constraint, Input, Request};
use crate::sampling::Sampling;
use body::Dialect;
use chunks::Chunks;
use fault::Fault;
use sprat_task::{Clock, Error, Result, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use transport::Transport;

/// How long the end of a stream is waited for whose answer is complete.
const END: Duration = Duration::from_millis(20);

/// A hosted model: a bounded number of requests on their way to an endpoint, and a bounded number
/// that wait for their turn. Dropping it cuts nothing off.
pub struct Remote {
    shared: Arc<Shared>,
    network: Handle,
}

struct Shared {
    settings: Settings,
    transport: Transport,
    /// The places for requests at once.
    places: Semaphore,
    /// Requests that have a place or wait for one.
    present: AtomicUsize,
    clock: Box<dyn Clock>,
    /// What this endpoint turned out not to understand.
    plain: AtomicBool,
    new_limit: AtomicBool,
    uncounted: AtomicBool,
}

/// One request that has a place in the queue.
struct Job {
    request: Request,
    queued: Instant,
    shared: Arc<Shared>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.shared.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Remote {
    /// Opens a hosted model. Nothing is sent yet.
    ///
    /// # Errors
    /// [`codes::REMOTE_SETTINGS`] for an address that is none, a proxy or roots that cannot be
    /// used; [`codes::THREAD`].
    pub fn open(settings: Settings) -> Result<Self> {
        Self::with_clock(settings, Box::new(SystemClock))
    }

    /// [`Remote::open`] with a clock of the caller's: it reads `Retry-After` dates.
    ///
    /// # Errors
    /// Those of [`Remote::open`].
    pub fn with_clock(settings: Settings, clock: Box<dyn Clock>) -> Result<Self> {
        let shared = Arc::new(Shared {
            transport: Transport::new(&settings)?,
            places: Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            present: AtomicUsize::new(0),
            clock,
            plain: AtomicBool::new(settings.structured == Structured::Never),
            new_limit: AtomicBool::new(false),
            uncounted: AtomicBool::new(false),
            settings,
        });
        Ok(Remote { shared, network: network()? })
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

    fn submits_at_once(&self, request: &Request) -> bool {
        !matches!(request.constraint, Some(Constraint::JsonSchema(_)))
    }

    fn load(&self) -> Load {
        let settings = &self.shared.settings;
        let present = self.shared.present.load(Ordering::Relaxed);
        Load { waiting: present.saturating_sub(settings.concurrency), capacity: settings.queue }
    }

    /// From the body as it is sent. A label is no longer than the longest of them; any other answer
    /// as long as the request allows, or what an answer usually is at most.
    fn estimate(&self, request: &Request) -> Estimate {
        let Shared { settings, .. } = &*self.shared;
        let sent = body::tokens_at_most(settings, request, self.shared.dialect());
        let most = match &request.constraint {
            Some(Constraint::Labels(labels)) => {
                let tokens = labels.iter().map(|label| tokens_at_most(label.as_bytes()));
                tokens.fold(0.0, f64::max).ceil() as usize + AROUND
            }
            _ => UNBOUNDED,
        };
        Estimate {
            read: sent.ceil() as usize,
            written: request.max_tokens.unwrap_or(most),
            around: AROUND,
            prices: settings.prices,
        }
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        let (reply, pending) = reply();
        let job = self.job(request)?;
        self.network.spawn(job.run(reply));
        Ok(pending)
    }

    fn ask(&self, request: Request) -> Result<Asking> {
        let job = self.job(request)?;
        Ok(Box::pin(async move { job.in_turn(None).await }))
    }
}

impl Remote {
    /// A request that has a place in the queue.
    fn job(&self, mut request: Request) -> Result<Job> {
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
        let settings = &self.shared.settings;
        let most = settings.concurrency.max(1).saturating_add(settings.queue);
        if self.shared.present.fetch_add(1, Ordering::Relaxed) >= most {
            self.shared.present.fetch_sub(1, Ordering::Relaxed);
            let what = format!("{} requests wait for this model already", settings.queue);
            return Err(Error::new(&codes::BUSY, what));
        }
        let shared = Arc::clone(&self.shared);
        Ok(Job { request, queued: Instant::now(), shared })
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

impl Job {
    async fn run(self, reply: Reply) {
        // Whoever asked may go: the endpoint then stops as well, for its connection is closed.
        let answer = tokio::select! {
            answer = self.in_turn(Some(&reply)) => answer,
            () = reply.cancelled() => return,
        };
        reply.end(answer);
    }

    /// Waits for a place, then asks. `pieces`: where those of the answer go.
    async fn in_turn(&self, pieces: Option<&Reply>) -> Result<Answer> {
        let late = || Error::new(&codes::TIMEOUT, "the hosted model took too long");
        let place = self.shared.places.acquire();
        let _place = match self.request.deadline {
            None => place.await,
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), place).await.map_err(|_| late())?
            }
        };
        let begun = Instant::now();
        let settings = &self.shared.settings;
        let mut attempts = retry::Attempts::new(settings, self.shared.clock.as_ref());
        let mut first = None;
        loop {
            if self.request.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(late());
            }
            let dialect = self.shared.dialect();
            let fault = match self.attempt(dialect, pieces, &mut first).await {
                Ok(answer) => return Ok(self.measured(answer, begun, first)),
                Err(fault) => fault,
            };
            if first.is_some() {
                // Pieces were passed on: another answer could not take them back.
                return Err(fault.error);
            }
            if self.shared.adapt(&fault, &self.request, dialect) {
                continue;
            }
            let next = attempts.next_after(fault, self.request.deadline)?;
            tokio::time::sleep_until(next.into()).await;
        }
    }

    /// Asks once. `first`: after which time the first piece was passed on.
    async fn attempt(
        &self,
        dialect: Dialect,
        pieces: Option<&Reply>,
        first: &mut Option<Duration>,
    ) -> Result<Answer, Fault> {
        let Shared { settings, transport, .. } = &*self.shared;
        let sent = body::build(settings, &self.request, dialect);
        let response = transport.post(sent, self.request.deadline).await?;
        if !(response.is_stream() && body::streams(&self.request)) {
            let received = response.whole().await?;
            return Ok(body::parse(settings, &self.request, &received)?);
        }
        let (mut events, mut chunks) = (response.events(), Chunks::default());
        loop {
            match events.next().await? {
                Some(data) if data.trim() == "[DONE]" => break,
                None if chunks.is_complete() => break,
                None => return Err(transport.faults.cut_short()),
                Some(data) => {
                    let piece = chunks.take(&data, &transport.faults)?;
                    if !piece.is_empty() {
                        first.get_or_insert_with(|| self.queued.elapsed());
                        let delta = Delta { text: piece, ..Delta::default() };
                        let _ = pieces.map(|reply| reply.send(Event::Delta(delta)));
                    }
                }
            }
        }
        if !chunks.is_complete() {
            return Err(transport.faults.cut_short());
        }
        // The end of the body lets the connection be used again; it is there as a rule.
        let _ = tokio::time::timeout(END, events.next()).await;
        Ok(chunks.answer(settings))
    }

    fn measured(&self, mut answer: Answer, begun: Instant, first: Option<Duration>) -> Answer {
        answer.latency = self.queued.elapsed();
        answer.timing = Timing {
            queued: begun.saturating_duration_since(self.queued),
            computed: begun.elapsed(),
            batch: 1,
            first,
        };
        answer
    }
}

impl Shared {
    fn dialect(&self) -> Dialect {
        Dialect {
            structured: !self.plain.load(Ordering::Relaxed),
            new_limit: self.new_limit.load(Ordering::Relaxed),
            counted: !self.uncounted.load(Ordering::Relaxed),
        }
    }

    /// Learns from a refusal what the endpoint does not understand; whether asking again in
    /// another dialect may help. A label is checked here in any case, so it may be asked for
    /// without `response_format`; a free JSON schema may not.
    fn adapt(&self, fault: &Fault, request: &Request, used: Dialect) -> bool {
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
        if used.counted && body::streams(request) && about("stream_options") {
            self.uncounted.store(true, Ordering::Relaxed);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests;
