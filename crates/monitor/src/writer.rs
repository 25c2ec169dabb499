//! The thread that writes traces in batches.

use crate::recorder::{Counters, horizon};
use crate::sketch::Sketcher;
use crate::{Observed, Options, TextPolicy, TraceRow};
use sprat_store::Traces;
use sprat_task::{Clock, Error, Result, Timestamp};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The longest pause after a failed write.
const PAUSE: Duration = Duration::from_secs(1);

/// How long rows gather before the queue is looked at again. A thread that waited for each of them
/// would be woken as often, at the cost of those who serve.
const GATHER: Duration = Duration::from_millis(10);

/// How many rows are written at once, and the pause after them. All of them in one go would keep a
/// core for milliseconds, and whoever answers requests may be waiting for it.
const SLICE: usize = 20;
const BREATH: Duration = Duration::from_micros(200);

/// What the queue carries.
pub(crate) enum Message {
    /// A request and when it was recorded.
    Row(Timestamp, Box<Observed>),
    /// Look at the counters: somebody waits for a flush.
    Wake,
}

pub(crate) struct Writer {
    traces: Box<dyn Traces>,
    options: Options,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    /// Taken from the queue, not written yet; at most one batch.
    pending: Vec<TraceRow>,
    sketcher: Sketcher,
}

impl Writer {
    pub(crate) fn new(
        traces: Box<dyn Traces>,
        options: Options,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
    ) -> Writer {
        let (pending, sketcher) = (Vec::new(), Sketcher::default());
        Writer { traces, options, clock, counters, pending, sketcher }
    }

    /// Runs until the queue's other end is dropped, and writes what is left.
    pub(crate) fn run(mut self, incoming: &Receiver<Message>) {
        let batch = self.options.batch.max(1);
        let mut pruned: Option<Instant> = None;
        let mut oldest: Option<Instant> = None;
        loop {
            if pruned.is_none_or(|at| at.elapsed() >= self.options.prune_every) {
                self.prune();
                pruned = Some(Instant::now());
            }
            let late = oldest.is_some_and(|at| at.elapsed() >= self.options.delay);
            if self.pending.len() < batch && !late {
                let next = match oldest {
                    Some(_) => incoming.try_recv(),
                    None => {
                        incoming.recv_timeout(self.options.prune_every).map_err(|why| match why {
                            RecvTimeoutError::Timeout => TryRecvError::Empty,
                            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                        })
                    }
                };
                match next {
                    Ok(Message::Row(at, observed)) => {
                        self.take(at, *observed);
                        oldest.get_or_insert_with(Instant::now);
                        continue;
                    }
                    Ok(Message::Wake) => continue,
                    Err(TryRecvError::Empty) if oldest.is_none() => continue,
                    Err(TryRecvError::Empty) if !self.counters.flush_waits() => {
                        std::thread::sleep(GATHER.min(self.options.delay));
                        continue;
                    }
                    Err(TryRecvError::Empty) => {}
                    Err(TryRecvError::Disconnected) => break,
                }
            }
            if self.write().is_ok() {
                oldest = None;
            } else if self.counters.closing.load(Ordering::Acquire) {
                break;
            } else {
                // The batch waits for the next try; meanwhile the queue fills, and what does not
                // fit is dropped where it is counted.
                std::thread::sleep(self.options.delay.min(PAUSE));
            }
        }
        self.finish(incoming);
    }

    fn finish(&mut self, incoming: &Receiver<Message>) {
        while let Ok(message) = incoming.recv() {
            if let Message::Row(at, observed) = message {
                self.take(at, *observed);
            }
        }
        if self.write().is_err() {
            self.counters.lost.fetch_add(self.pending.len() as u64, Ordering::Relaxed);
        }
    }

    fn take(&mut self, at: Timestamp, observed: Observed) {
        let keeps = self.options.text == TextPolicy::Keep;
        let output = (keeps && !observed.output.is_empty()).then_some(observed.output);
        let wanted = observed.embedding.filter(|_| self.options.sketch);
        let sketch = wanted.and_then(|embedding| self.sketcher.sketch(&embedding));
        let (text, text_hash) = self.options.text.apply(observed.text);
        let mut scores: Vec<(String, f64)> = observed
            .scores
            .into_iter()
            .filter(|(_, score)| score.is_finite())
            .map(|(label, score)| (label, f64::from(score)))
            .collect();
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        scores.truncate(self.options.scores);
        self.pending.push(TraceRow {
            id: observed.id,
            at,
            task: observed.task,
            version: observed.version,
            text,
            text_hash,
            label: observed.label,
            confidence: observed.confidence.filter(|c| c.is_finite()).map(f64::from),
            scores,
            latency_ms: observed.latency.as_secs_f64() * 1000.0,
            prompt_tokens: observed.prompt_tokens,
            completion_tokens: observed.completion_tokens,
            status: observed.status,
            route: observed.route,
            usd: observed.usd.filter(|usd| usd.is_finite()),
            valid: observed.valid,
            output,
            sketch,
        });
    }

    fn write(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            let rows = self.pending.len().min(SLICE);
            let result = self.traces.append(&self.pending[..rows]);
            self.note(result.as_ref().err().cloned());
            if result.is_err() {
                self.counters.failures.fetch_add(1, Ordering::Release);
                return result;
            }
            self.counters.written.fetch_add(rows as u64, Ordering::Release);
            self.pending.drain(..rows);
            let hurry =
                self.counters.flush_waits() || self.counters.closing.load(Ordering::Acquire);
            if !self.pending.is_empty() && !hurry {
                std::thread::sleep(BREATH);
            }
        }
        Ok(())
    }

    fn prune(&self) {
        let retention = &self.options.retention;
        if retention.age.is_none() && retention.rows.is_none() {
            return;
        }
        let before = horizon(retention, self.clock.now());
        if let Err(why) = self.traces.prune(before, retention.rows) {
            self.note(Some(why));
        }
    }

    fn note(&self, error: Option<Error>) {
        *self.counters.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}
