//! What a model answers, and how it is received.

use crate::channel::{self, Receiver, Sender, Waited};
use crate::codes;
use crate::constraint::Enforced;
use crate::sampling::TokenScore;
use sprat_task::{Error, Result};
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It was complete.
    #[default]
    Stop,
    /// The limit on tokens was reached.
    Length,
    /// The provider withheld it.
    Filtered,
}

/// Where the time of an answer went, measured by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From submission until the engine began with it.
    pub queued: Duration,
    /// From then until the answer was complete: the time of the whole batch.
    pub computed: Duration,
    /// How many requests shared the batch.
    pub batch: usize,
    /// From submission until the first token was written, where the answer is written.
    pub first: Option<Duration>,
}

/// A complete answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The text of the answer; for a classifier the label.
    pub output: String,
    /// The label, where the model is a classifier or the request was constrained to labels.
    pub label: Option<String>,
    /// Calibrated probability of the label, in 0..=1, where the model gives one.
    pub confidence: Option<f32>,
    /// Every label with its probability, in the model's order of labels.
    pub scores: Vec<(String, f32)>,
    /// Why the output does not satisfy the request's constraint, where it does not. Only
    /// engines without control over the decoding (hosted ones) ever set it.
    pub invalid: Option<String>,
    /// How far the output can be relied on to satisfy the request's constraint, where there was
    /// one.
    pub enforced: Option<Enforced>,
    /// Tokens read.
    pub prompt_tokens: usize,
    /// Tokens of the input that did not fit and were not read.
    pub cut_tokens: usize,
    /// Tokens written; 0 for classifiers.
    pub completion_tokens: usize,
    /// Tokens of the prompt whose keys and values an earlier request had left.
    pub cached_tokens: usize,
    /// The output's tokens, where their probabilities were asked for.
    pub tokens: Vec<TokenScore>,
    /// The prompt's tokens, where their probabilities were asked for; the first has none, which
    /// is written as 0.
    pub prompt_scores: Vec<TokenScore>,
    /// Why the answer ended.
    pub finish: Finish,
    /// From submission until the answer was complete.
    pub latency: Duration,
    /// Where that time went.
    pub timing: Timing,
    /// What it cost in US dollars, where prices are known.
    pub usd: Option<f64>,
    /// The embedding of the input, `[hidden]`, where the model hands it out.
    pub embedding: Option<Vec<f32>>,
    /// Which model of a route answered, and why, where there was a choice.
    pub route: Option<Route>,
}

/// Which model of a route answered, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// Whether it was a large model.
    pub large: bool,
    /// The name of the model.
    pub model: String,
    /// Why it was this one, in words.
    pub why: String,
    /// How sure the small model was, from 0 to 1.
    pub confidence: Option<f32>,
    /// How sure it had to be.
    pub threshold: Option<f32>,
    /// Which version the request was given to, where requests are split between several.
    pub variant: Option<Variant>,
}

/// The part of the requests that an answer belongs to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variant {
    /// The version, such as `task@v4`.
    pub name: String,
    /// The share of requests that it gets, from 0 to 1.
    pub share: f64,
}

impl Route {
    /// The side of a large model, in the word of responses and traces.
    pub const LARGE: &str = "large";
    /// The side of the small model.
    pub const SMALL: &str = "small";

    /// The side that answered.
    pub fn side(&self) -> &'static str {
        if self.large { Route::LARGE } else { Route::SMALL }
    }
}

/// A piece of an output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Its text: whole characters, and nothing that could be the beginning of a stop text.
    pub text: String,
    /// The tokens written since the last piece, where their probabilities were asked for.
    pub tokens: Vec<TokenScore>,
    /// The side of a route that writes it ([`Route::side`]), where there was a choice.
    pub side: Option<&'static str>,
}

impl From<&str> for Delta {
    fn from(text: &str) -> Self {
        Delta { text: text.to_owned(), ..Delta::default() }
    }
}

/// What a [`Pending`] yields: any number of deltas, then exactly one end.
#[derive(Clone, Debug)]
pub enum Event {
    /// A further piece of the output.
    Delta(Delta),
    /// The complete answer; its output holds all deltas again.
    Done(Box<Answer>),
    /// There will be no answer.
    Failed(Error),
}

/// A complete answer that comes while it is waited for.
pub type Asking = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// What is done to the complete answer before whoever waits sees it.
type Last = Box<dyn FnOnce(&mut Answer) + Send>;

/// An answer that is on its way. Dropping it cancels the request.
pub struct Pending {
    events: Receiver<Event>,
    last: Option<Last>,
    side: Option<&'static str>,
}

/// The engine's end of a [`Pending`].
pub struct Reply {
    events: Sender<Event>,
}

/// A connected pair, for whoever implements [`crate::Generator`].
pub fn reply() -> (Reply, Pending) {
    let (sender, receiver) = channel::channel();
    (Reply { events: sender }, Pending { events: receiver, last: None, side: None })
}

impl Reply {
    /// Sends an event; `false` when nobody waits for it any more.
    pub fn send(&self, event: Event) -> bool {
        self.events.send(event)
    }

    /// Ends the request.
    pub fn end(self, result: Result<Answer>) {
        let _ = self.events.send(match result {
            Ok(answer) => Event::Done(Box::new(answer)),
            Err(error) => Event::Failed(error),
        });
    }

    /// Whether the receiver has gone: no need to compute any further.
    pub fn is_cancelled(&self) -> bool {
        self.events.is_cancelled()
    }

    /// Ends when the receiver has gone: what waits for somebody else can stop at once.
    pub async fn cancelled(&self) {
        self.events.cancelled().await;
    }
}

impl Pending {
    /// The same, with something done to the complete answer before whoever waits sees it. It runs
    /// where the answer is received.
    #[must_use]
    pub fn then(mut self, finish: impl FnOnce(&mut Answer) + Send + 'static) -> Self {
        self.last = Some(match self.last.take() {
            None => Box::new(finish),
            Some(first) => Box::new(move |answer: &mut Answer| {
                first(answer);
                finish(answer);
            }),
        });
        self
    }

    /// The same, with its pieces marked as written by this side of a route.
    #[must_use]
    pub fn written_by(mut self, side: &'static str) -> Self {
        self.side = Some(side);
        self
    }

    fn finished(&mut self, mut event: Event) -> Event {
        match &mut event {
            Event::Delta(delta) => delta.side = self.side.or(delta.side),
            Event::Done(answer) => {
                if let Some(finish) = self.last.take() {
                    finish(answer);
                }
            }
            Event::Failed(_) => {}
        }
        event
    }

    /// The next event, waiting on this thread. None after the end.
    pub fn recv(&mut self) -> Option<Event> {
        match self.events.wait_until(None) {
            Waited::Got(event) => Some(self.finished(event)),
            Waited::Ended | Waited::TimedOut => None,
        }
    }

    /// The next event, for async callers. None after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.events.next().await?;
        Some(self.finished(event))
    }

    /// The complete answer, waiting on this thread.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn wait(self) -> Result<Answer> {
        self.wait_until(None)
    }

    /// The complete answer, waiting on this thread no longer than until `deadline`.
    ///
    /// # Errors
    /// Those of the engine; [`codes::TIMEOUT`] when the time is over.
    pub fn wait_until(mut self, deadline: Option<Instant>) -> Result<Answer> {
        loop {
            match self.events.wait_until(deadline) {
                Waited::Got(event) => match self.finished(event) {
                    Event::Delta(_) => {}
                    Event::Done(answer) => return Ok(*answer),
                    Event::Failed(error) => return Err(error),
                },
                Waited::Ended => return Err(vanished()),
                Waited::TimedOut => {
                    return Err(Error::new(&codes::TIMEOUT, "the answer did not come in time"));
                }
            }
        }
    }

    /// The complete answer, for async callers.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn answer(mut self) -> Result<Answer> {
        loop {
            match self.next().await {
                Some(Event::Delta(_)) => {}
                Some(Event::Done(answer)) => return Ok(*answer),
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(vanished()),
            }
        }
    }
}

/// The engine dropped a request without a word.
pub(crate) fn vanished() -> Error {
    Error::new(&codes::PANIC, "the engine ended without an answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_deltas_ends_with_the_answer() {
        let (reply, pending) = reply();
        reply.send(Event::Delta(Delta::from("hel")));
        reply.send(Event::Delta(Delta::from("lo")));
        reply.end(Ok(Answer { output: "hello".into(), ..Answer::default() }));
        assert_eq!(pending.wait().unwrap().output, "hello");
    }

    #[test]
    fn the_complete_answer_is_finished_wherever_it_is_received() {
        let asked = || {
            let (reply, pending) = reply();
            reply.send(Event::Delta(Delta::from("a")));
            reply.end(Ok(Answer { output: "a".into(), ..Answer::default() }));
            pending.then(|answer| answer.output.push('b')).then(|answer| answer.output.push('c'))
        };
        assert_eq!(asked().wait().unwrap().output, "abc");
        let mut pending = asked();
        assert!(matches!(pending.recv(), Some(Event::Delta(_))));
        let Some(Event::Done(answer)) = pending.recv() else { panic!("no answer") };
        assert_eq!(answer.output, "abc");
    }

    #[test]
    fn an_engine_that_vanishes_is_an_error_and_not_a_hang() {
        let (reply, pending) = reply();
        drop(reply);
        assert_eq!(pending.wait().unwrap_err().code(), &codes::PANIC);
    }
}
