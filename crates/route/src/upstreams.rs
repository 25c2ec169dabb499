//! The large models: in which order they are asked, until one answers.

use crate::budget::{Budget, Charge};
use crate::turns::Turns;
use crate::{Breaker, codes};
use futures_util::stream::{FuturesUnordered, StreamExt};
use sprat_infer::{
    Answer, Delta, Estimate, Event, Generator, Pending, Reply, Request, Route, codes as infer,
    tokens_at_most,
};
use sprat_task::{Clock, Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A large model with its breaker and its place among the others.
pub struct Upstream {
    /// What asks it; it brings its own time limits and bounded retries.
    pub model: Arc<dyn Generator>,
    /// Leaves it alone while it fails.
    pub breaker: Breaker,
    /// Those of a lower order are asked first.
    pub order: usize,
    /// Of the requests to those of one order it is asked first with this share of all weights; at
    /// least 1.
    pub weight: u32,
}

impl Upstream {
    /// A large model that shares the lowest order with all others, evenly.
    pub fn new(model: Arc<dyn Generator>, breaker: Breaker) -> Self {
        Upstream { model, breaker, order: 0, weight: 1 }
    }
}

/// Large models: the first that works answers, within one budget.
pub struct Upstreams {
    all: Vec<Upstream>,
    turns: Turns,
    budget: Budget,
    hedge_after: Option<Duration>,
    clock: Arc<dyn Clock>,
}

/// How far a request came with one large model.
enum Came {
    /// Its whole answer is there.
    Whole(Box<Answer>),
    /// Its first piece is there.
    Begun(Delta, Pending),
    /// There will be none.
    Failed(Error),
}

/// A request that a large model has, and what it is charged with. Whoever drops it breaks the
/// request off: it stays charged with what is known.
struct Asked<'a> {
    at: usize,
    estimate: Estimate,
    charge: Charge<'a>,
}

impl Asked<'_> {
    fn answered(&mut self, answer: &Answer) {
        self.charge.becomes(self.estimate.answered(answer));
    }
}

impl Upstreams {
    /// Large models, asked by their order and weights, those of one order in turns.
    ///
    /// # Errors
    /// [`codes::SETTINGS`] when there is none.
    pub fn new(all: Vec<Upstream>, budget: Budget, clock: Arc<dyn Clock>) -> Result<Self> {
        if all.is_empty() {
            let what = "a route needs a large model";
            return Err(Error::new(&codes::SETTINGS, what).field("route.large"));
        }
        let turns = Turns::new(all.iter().map(|one| (one.order, one.weight)));
        Ok(Upstreams { all, turns, budget, hedge_after: None, clock })
    }

    /// The same with hedging: after so long without an answer, the next large model is asked as
    /// well, and the first answer counts (Dean and Barroso, "The Tail at Scale", 2013). The other
    /// request is broken off; what its endpoint charges for it is not known, so the budget stays
    /// charged with an estimate.
    #[must_use]
    pub fn hedged(mut self, after: Option<Duration>) -> Self {
        self.hedge_after = after;
        self
    }

    /// The names of the large models, in the order in which they are given.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|upstream| upstream.model.name().to_owned()).collect()
    }

    /// What they may cost together.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The answer of the first large model that gives one that satisfies the request, and that
    /// model's name.
    ///
    /// # Errors
    /// [`codes::BUDGET`]; [`codes::UPSTREAMS`] with the reason of each; the model's own where the
    /// request is at fault.
    pub async fn ask(&self, request: &Request) -> Result<(Answer, &str)> {
        self.first(request, None).await
    }

    /// The same, with the pieces of the answer passed on as they come where the request asks for
    /// them and somebody takes them. Once one was passed on, no other model takes over.
    ///
    /// # Errors
    /// Those of [`Upstreams::ask`]; [`codes::BROKEN_OFF`] after the first piece.
    pub async fn relay(&self, request: &Request, reply: Option<&Reply>) -> Result<(Answer, &str)> {
        self.first(request, reply.filter(|_| request.stream)).await
    }

    async fn first(&self, request: &Request, reply: Option<&Reply>) -> Result<(Answer, &str)> {
        self.budget.check(self.clock.now())?;
        let mut reasons = Vec::new();
        let mut turns = self.turns.next(|at| !self.all[at].breaker.is_open(Instant::now()));
        let mut next = |reasons: &mut Vec<String>| self.begin(&mut turns, request, reasons);
        let mut asked = FuturesUnordered::new();
        let mut hedge = self.hedge_after;
        loop {
            if asked.is_empty() {
                let Some(at) = next(&mut reasons) else { break };
                asked.push(self.come(at, request, reply.is_some()));
            }
            let (mut one, came) = tokio::select! {
                Some(first) = asked.next() => first,
                () = wait(hedge), if hedge.is_some() => {
                    hedge = None;
                    if let Some(at) = next(&mut reasons) {
                        asked.push(self.come(at, request, reply.is_some()));
                    }
                    continue;
                }
                else => continue,
            };
            let Upstream { model, breaker, .. } = &self.all[one.at];
            let name = model.name();
            let came = match came {
                Came::Begun(first, pending) => {
                    // The others are broken off: this one's answer is under way.
                    drop(asked);
                    let answer = self.rest(one, first, pending, reply).await?;
                    return Ok((answer, name));
                }
                came => came,
            };
            match came {
                Came::Whole(answer) => {
                    breaker.ended(true, Instant::now());
                    one.answered(&answer);
                    // It works and wants its money, but what it says may be of no use.
                    match &answer.invalid {
                        None => return Ok((*answer, name)),
                        Some(why) => reasons.push(format!("{name}: {why}")),
                    }
                }
                Came::Failed(error) => {
                    breaker.ended(!is_outage(&error), Instant::now());
                    if costs_nothing(&error) {
                        one.charge.waive();
                    }
                    reasons.push(match error.reason() {
                        Some(why) => format!("{name}: {} ({why})", error.what()),
                        None => format!("{name}: {}", error.what()),
                    });
                }
                Came::Begun(..) => {}
            }
        }
        let what = "no large model answered";
        Err(Error::new(&codes::UPSTREAMS, what).why(reasons.join("; ")))
    }

    /// The next large model that may be asked.
    fn begin(
        &self,
        turns: &mut impl Iterator<Item = usize>,
        request: &Request,
        reasons: &mut Vec<String>,
    ) -> Option<usize> {
        for at in turns {
            let Upstream { model, breaker, .. } = &self.all[at];
            let name = model.name();
            if request.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                reasons.push(format!("{name}: no time is left"));
                return None;
            }
            if breaker.lets_through(Instant::now()) {
                return Some(at);
            }
            reasons.push(format!("{name}: left alone after failures"));
        }
        None
    }

    /// Asks one until its answer is there, or, where pieces are wanted, its first piece.
    async fn come(&self, at: usize, request: &Request, pieces: bool) -> (Asked<'_>, Came) {
        let model = &self.all[at].model;
        let estimate = model.estimate(request);
        let charge = self.budget.charge(self.clock.now(), estimate.at_most());
        let mut asked = Asked { at, estimate, charge };
        let came = match pieces {
            true => begun(model.as_ref(), request).await,
            false => whole(model.as_ref(), request).await,
        };
        let came = came.unwrap_or_else(|error| {
            // It did not even leave.
            asked.charge.waive();
            Came::Failed(error)
        });
        (asked, came)
    }

    /// Passes the pieces of an answer on, from the first to the last.
    async fn rest(
        &self,
        mut asked: Asked<'_>,
        first: Delta,
        mut pending: Pending,
        reply: Option<&Reply>,
    ) -> Result<Answer> {
        let Upstream { model, breaker, .. } = &self.all[asked.at];
        let mut event = Some(Event::Delta(first));
        let mut written = 0.0;
        loop {
            let error = match event {
                Some(Event::Delta(mut delta)) => {
                    delta.side = Some(Route::LARGE);
                    // Whoever waits may go at any moment: so much was written at least.
                    written += tokens_at_most(delta.text.as_bytes());
                    asked.charge.becomes(asked.estimate.broken_off(written));
                    if let Some(reply) = reply {
                        let _ = reply.send(Event::Delta(delta));
                    }
                    event = pending.next().await;
                    continue;
                }
                Some(Event::Done(answer)) => {
                    breaker.ended(true, Instant::now());
                    asked.answered(&answer);
                    return Ok(*answer);
                }
                Some(Event::Failed(error)) => error,
                None => vanished(),
            };
            breaker.ended(!is_outage(&error), Instant::now());
            let what = format!("{} broke off its answer", model.name());
            let why = match error.reason() {
                Some(why) => format!("{} ({why})", error.what()),
                None => error.what().to_owned(),
            };
            return Err(Error::new(&codes::BROKEN_OFF, what).why(why));
        }
    }
}

/// Asks a model until its answer is there. An error: it can't be asked.
async fn whole(model: &dyn Generator, request: &Request) -> Result<Came> {
    Ok(match model.ask(request.clone())?.await {
        Ok(answer) => Came::Whole(Box::new(answer)),
        Err(error) => Came::Failed(error),
    })
}

/// Asks a model until the first piece of its answer is there. An error: it can't be asked.
async fn begun(model: &dyn Generator, request: &Request) -> Result<Came> {
    let mut pending = model.submit(request.clone())?;
    Ok(match pending.next().await {
        Some(Event::Delta(delta)) => Came::Begun(delta, pending),
        Some(Event::Done(answer)) => Came::Whole(answer),
        Some(Event::Failed(error)) => Came::Failed(error),
        None => Came::Failed(vanished()),
    })
}

async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn vanished() -> Error {
    Error::new(&infer::PANIC, "the large model ended without an answer")
}

/// Whether an error says something about the endpoint rather than about this request: a client
/// must not be able to switch an endpoint off for all others.
fn is_outage(error: &Error) -> bool {
    let code = error.code();
    [
        &infer::REMOTE_UNREACHABLE,
        &infer::REMOTE_UNFINISHED,
        &infer::REMOTE_STATUS,
        &infer::REMOTE_GARBAGE,
        &infer::TIMEOUT,
    ]
    .contains(&code)
}

/// Whether nobody charges for a request that failed like this: it never reached the endpoint, or was
/// refused. One that ran out of time, or whose answer broke off or made no sense, may cost.
fn costs_nothing(error: &Error) -> bool {
    let free = [&infer::REMOTE_UNREACHABLE, &infer::REMOTE_STATUS, &infer::REMOTE_REFUSED];
    free.contains(&error.code())
}

#[cfg(test)]
mod tests;
