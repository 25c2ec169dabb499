//! The large models, in the order in which they are asked.

use crate::budget::Budget;
use crate::{Breaker, codes};
use sprat_infer::{Answer, Generator, Request, codes as infer};
use sprat_task::{Clock, Error, Result};
use std::sync::Arc;
use std::time::Instant;

/// A large model with its breaker.
pub struct Upstream {
    /// What asks it; it brings its own time limits and bounded retries.
    pub model: Arc<dyn Generator>,
    /// Leaves it alone while it fails.
    pub breaker: Breaker,
}

/// Large models: the first that works answers, within one budget.
pub struct Upstreams {
    all: Vec<Upstream>,
    budget: Budget,
    clock: Arc<dyn Clock>,
}

impl Upstreams {
    /// Large models in the order of preference.
    ///
    /// # Errors
    /// [`codes::SETTINGS`] when there is none.
    pub fn new(all: Vec<Upstream>, budget: Budget, clock: Arc<dyn Clock>) -> Result<Self> {
        if all.is_empty() {
            let what = "a route needs a large model";
            return Err(Error::new(&codes::SETTINGS, what).field("route.large"));
        }
        Ok(Upstreams { all, budget, clock })
    }

    /// The names of the large models, in the order in which they are asked.
    pub fn names(&self) -> Vec<String> {
        self.all.iter().map(|upstream| upstream.model.name().to_owned()).collect()
    }

    /// What they may cost together.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The answer of the first large model that gives one that satisfies the request, and that model's name.
    ///
    /// # Errors
    /// [`codes::BUDGET`]; [`codes::UPSTREAMS`] with the reason of each; the model's own where the
    /// request is at fault.
    pub async fn ask(&self, request: &Request) -> Result<(Answer, &str)> {
        self.budget.check(self.clock.now())?;
        let mut reasons = Vec::new();
        for Upstream { model, breaker } in &self.all {
            let name = model.name();
            if request.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                reasons.push(format!("{name}: no time is left"));
                break;
            }
            if !breaker.lets_through(Instant::now()) {
                reasons.push(format!("{name}: left alone after failures"));
                continue;
            }
            let result = match model.submit(request.clone()) {
                Ok(pending) => pending.answer().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(answer) => {
                    breaker.ended(true, Instant::now());
                    self.budget.spend(self.clock.now(), &answer);
                    // It works and wants its money, but what it says is of no use.
                    match &answer.invalid {
                        None => return Ok((answer, name)),
                        Some(why) => reasons.push(format!("{name}: {why}")),
                    }
                }
                Err(error) => {
                    breaker.ended(!is_outage(&error), Instant::now());
                    reasons.push(match error.reason() {
                        Some(why) => format!("{name}: {} ({why})", error.what()),
                        None => format!("{name}: {}", error.what()),
                    });
                }
            }
        }
        let what = "no large model answered";
        Err(Error::new(&codes::UPSTREAMS, what).why(reasons.join("; ")))
    }
}

/// Whether an error says something about the endpoint rather than about this request: a client
/// must not be able to switch an endpoint off for all others.
fn is_outage(error: &Error) -> bool {
    let code = error.code();
    [&infer::REMOTE_UNREACHABLE, &infer::REMOTE_STATUS, &infer::REMOTE_GARBAGE, &infer::TIMEOUT]
        .contains(&code)
}
