//! The side that the server sees: a bounded queue that never makes it wait.

use crate::writer::{Message, Writer};
use crate::{TextPolicy, codes};
use serde::Serialize;
use sprat_store::{Traces, sqlite::SqliteTraces};
use sprat_task::{Clock, Error, Result, Timestamp};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A served request, as the server saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The request's identifier, as the client got it.
    pub id: String,
    /// The task that it asked for.
    pub task: String,
    /// The version that answered, such as `intent@v3`.
    pub version: String,
    /// The input; kept, hashed or dropped by policy.
    pub text: String,
    /// The label that was answered, if any.
    pub label: Option<String>,
    /// The calibrated confidence, from 0 to 1.
    pub confidence: Option<f32>,
    /// Labels and their scores, in any order; the best are kept.
    pub scores: Vec<(String, f32)>,
    /// Time from receipt to answer.
    pub latency: Duration,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// The HTTP status, or 0 outside HTTP.
    pub status: u16,
    /// Which model of a route answered, if there is a route.
    pub route: Option<String>,
    /// What the answer cost, in US dollars, where prices are known.
    pub usd: Option<f64>,
    /// Whether the answer was of the right form; none where there was no answer to judge.
    pub valid: Option<bool>,
    /// What a model that writes wrote; kept only where texts are.
    pub output: String,
    /// The embedding of the input, of which a sketch is kept where sketches are wanted.
    pub embedding: Option<Vec<f32>>,
}

/// How long traces are kept. Without either limit: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Not longer than this.
    pub age: Option<Duration>,
    /// Not more rows than this; the oldest go first.
    pub rows: Option<u64>,
}

/// How traces are written.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is kept of the inputs.
    pub text: TextPolicy,
    /// Whether sketches of embeddings are kept.
    pub sketch: bool,
    /// How many of the best scores are kept.
    pub scores: usize,
    /// How many requests may wait to be written; more are dropped and counted.
    pub queue: usize,
    /// How many are written in one transaction.
    pub batch: usize,
    /// How long a request waits at most before it is written.
    pub delay: Duration,
    /// How long traces are kept.
    pub retention: Retention,
    /// How often the retention is enforced.
    pub prune_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            text: TextPolicy::Keep,
            sketch: true,
            scores: 5,
            queue: 10_000,
            batch: 500,
            delay: Duration::from_millis(200),
            retention: Retention::default(),
            prune_every: Duration::from_secs(60),
        }
    }
}

/// How the recorder is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests taken into the queue.
    pub recorded: u64,
    /// Requests written to the database.
    pub written: u64,
    /// Requests not taken because the queue was full.
    pub dropped: u64,
    /// Requests taken but given up, because writing still failed at shutdown.
    pub lost: u64,
    /// What writing last failed with; empty again once it works.
    pub error: Option<String>,
}

/// What both sides share.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) recorded: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Writes that failed.
    pub(crate) failures: AtomicU64,
    /// How many rows must be written for every flush to be done.
    flush_to: AtomicU64,
    /// The recorder is being dropped.
    pub(crate) closing: AtomicBool,
    pub(crate) error: Mutex<Option<Error>>,
}

impl Counters {
    /// Whether somebody waits for rows that are not written yet.
    pub(crate) fn flush_waits(&self) -> bool {
        self.flush_to.load(Ordering::Acquire) > self.written.load(Ordering::Acquire)
    }

    fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Records served requests. Share it by reference or `Arc`; dropping it writes what waits.
pub struct Recorder {
    queue: Option<SyncSender<Message>>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens the traces' database and starts the writer.
    ///
    /// # Errors
    /// Those of [`SqliteTraces::open`], or [`codes::WRITER`].
    pub fn start(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Recorder> {
        Recorder::over(Box::new(SqliteTraces::open(path)?), options, clock)
    }

    /// A recorder over any backend.
    ///
    /// # Errors
    /// [`codes::WRITER`] when the thread cannot be started.
    pub fn over(
        traces: Box<dyn Traces>,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Recorder> {
        let (queue, incoming) = sync_channel(options.queue.max(1));
        let counters = Arc::new(Counters::default());
        let writer = Writer::new(traces, options, clock.clone(), counters.clone());
        let thread = std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || writer.run(&incoming))
            .map_err(|why| {
                Error::new(&codes::WRITER, "could not start the writer of traces")
                    .why(why.to_string())
            })?;
        Ok(Recorder { queue: Some(queue), counters, clock, thread: Some(thread) })
    }

    /// Takes a request down. Never blocks; says whether there was room for it.
    pub fn record(&self, observed: Observed) -> bool {
        let at = self.clock.now();
        let message = Message::Row(at, Box::new(observed));
        let taken = self.queue.as_ref().is_some_and(|queue| match queue.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        });
        let counter = if taken { &self.counters.recorded } else { &self.counters.dropped };
        counter.fetch_add(1, Ordering::Release);
        taken
    }

    /// How the recorder is doing.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            recorded: read(&self.counters.recorded),
            written: read(&self.counters.written),
            dropped: read(&self.counters.dropped),
            lost: read(&self.counters.lost),
            error: self.counters.error().map(|why| why.to_string()),
        }
    }

    /// Waits until everything recorded before this call is written.
    ///
    /// # Errors
    /// What writing fails with (the rows then keep waiting), or [`codes::WRITER`].
    pub fn flush(&self) -> Result<()> {
        let counters = &self.counters;
        let target = counters.recorded.load(Ordering::Acquire);
        let failures = counters.failures.load(Ordering::Acquire);
        counters.flush_to.fetch_max(target, Ordering::AcqRel);
        if let Some(queue) = &self.queue {
            // A full queue keeps the writer awake as well.
            let _ = queue.try_send(Message::Wake);
        }
        while counters.written.load(Ordering::Acquire) < target {
            if counters.failures.load(Ordering::Acquire) > failures
                && let Some(why) = counters.error()
            {
                return Err(why);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(Error::new(&codes::WRITER, "the writer of traces has ended"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Writes what waits and ends the writer.
    pub fn shutdown(mut self) -> Stats {
        self.end();
        self.stats()
    }

    fn end(&mut self) {
        self.counters.closing.store(true, Ordering::Release);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

/// The moment before which traces are too old.
pub(crate) fn horizon(retention: &Retention, now: Timestamp) -> Option<Timestamp> {
    let age = u64::try_from(retention.age?.as_millis()).unwrap_or(u64::MAX);
    Some(Timestamp(now.0.saturating_sub(age)))
}
