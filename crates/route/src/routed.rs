//! The cascade: the small model answers, its confidence decides.
//!
//! Calibration is the small model's matter (a tuned classifier's probabilities are calibrated);
//! here its confidence is only compared with a threshold. Of a model that writes, the confidence
//! is the geometric mean of its tokens' probabilities.

use crate::upstreams::Upstreams;
use crate::{Private, RouteFit, Rules, codes};
use sprat_infer::{
    Answer, Constraint, Event, Generator, Load, Pending, Reply, Request, Route, codes as infer,
    reply,
};
use sprat_task::settings::WhenLargeFails;
use sprat_task::{Error, Kind, Result};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// Which answers of the small model are kept, by its confidence from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// Those with at least this confidence.
    Above(f32),
    /// Those that a fitted route keeps; its scores are confidences.
    Fitted(Arc<RouteFit>),
}

impl Keep {
    fn keeps(&self, confidence: f32) -> bool {
        match self {
            Keep::Above(least) => confidence >= *least,
            Keep::Fitted(fit) => fit.decide(f64::from(confidence)).keep,
        }
    }

    fn threshold(&self) -> Option<f32> {
        match self {
            Keep::Above(least) => Some(*least),
            Keep::Fitted(fit) => fit.threshold.map(|least| least as f32),
        }
    }
}

/// How requests are divided.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which answers of the small model are kept.
    pub keep: Keep,
    /// Which requests never leave.
    pub rules: Rules,
    /// What happens when no large model answers.
    pub when_large_fails: WhenLargeFails,
}

/// A small model with large ones behind it.
pub struct Routed {
    small: Arc<dyn Generator>,
    large: Arc<Upstreams>,
    policy: Policy,
    runtime: Option<Runtime>,
}

impl Routed {
    /// Puts large models behind a small one.
    ///
    /// # Errors
    /// [`codes::SETTINGS`] for a threshold that is none, [`infer::THREAD`] when the system gives
    /// no thread.
    pub fn new(small: Arc<dyn Generator>, large: Arc<Upstreams>, policy: Policy) -> Result<Self> {
        if let Keep::Above(least) = policy.keep
            && !(0.0..=1.0).contains(&least)
        {
            let what = "the least confidence that is kept must be from 0 to 1";
            return Err(Error::new(&codes::SETTINGS, what).field("route.keep_above"));
        }
        // It only waits: the models have threads of their own.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("route").build();
        let runtime = runtime.map_err(|why| {
            Error::new(&infer::THREAD, "could not start a thread for the route")
                .why(why.to_string())
        })?;
        Ok(Routed { small, large, policy, runtime: Some(runtime) })
    }
}

impl Drop for Routed {
    /// What is on its way is cut off, without waiting: this may run on an async thread.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Generator for Routed {
    fn name(&self) -> &str {
        self.small.name()
    }

    fn labels(&self) -> &[String] {
        self.small.labels()
    }

    fn converses(&self) -> bool {
        self.small.converses()
    }

    fn load(&self) -> Load {
        self.small.load()
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::new(&infer::CLOSED, "the route is being shut down"));
        };
        let private = self.policy.rules.judge(&request);
        let mut asked = request.clone();
        if private.is_none() && self.small.labels().is_empty() && asked.logprobs.is_none() {
            asked.logprobs = Some(0);
        }
        // A full queue stays the client's matter: overload must not become the large model's bill.
        let small = self.small.submit(asked)?;
        let (reply, pending) = reply();
        if let Some(private) = private {
            runtime.spawn(pass(small, reply, private, Arc::clone(&self.small)));
            return Ok(pending);
        }
        let cascade = Cascade {
            small: Arc::clone(&self.small),
            large: Arc::clone(&self.large),
            policy: self.policy.clone(),
            request,
        };
        runtime.spawn(async move {
            let first = small.answer().await;
            if !reply.is_cancelled() {
                reply.end(cascade.decide(first).await);
            }
        });
        Ok(pending)
    }
}

/// The small model's events as they come: its request may not leave.
async fn pass(mut pending: Pending, reply: Reply, private: Private, small: Arc<dyn Generator>) {
    while let Some(event) = pending.next().await {
        let event = match event {
            Event::Done(mut answer) => {
                answer.route = Some(Route {
                    large: false,
                    model: small.name().to_owned(),
                    why: private.to_string(),
                    confidence: answer.confidence,
                    threshold: None,
                });
                Event::Done(answer)
            }
            other => other,
        };
        if !reply.send(event) {
            return;
        }
    }
}

struct Cascade {
    small: Arc<dyn Generator>,
    large: Arc<Upstreams>,
    policy: Policy,
    request: Request,
}

impl Cascade {
    async fn decide(self, first: Result<Answer>) -> Result<Answer> {
        let threshold = self.policy.keep.threshold();
        let confidence = first.as_ref().ok().and_then(confidence);
        let doubt = match &first {
            Err(error) if error.code().kind == Kind::Usage => return first,
            Err(error) => format!("the small model failed: {}", error.what()),
            Ok(answer) if answer.invalid.is_some() => "the small model's answer is invalid".into(),
            Ok(_) => match confidence {
                Some(sure) if self.policy.keep.keeps(sure) => {
                    return first.map(|mut answer| {
                        self.strip(&mut answer);
                        answer.route = Some(self.kept(confidence, "sure enough".into()));
                        answer
                    });
                }
                Some(_) => "not sure enough".into(),
                None => "the small model does not say how sure it is".into(),
            },
        };
        let error = match self.large.ask(&self.for_large()).await {
            Ok((mut answer, model)) => {
                answer.route = Some(Route {
                    large: true,
                    model: model.to_owned(),
                    why: doubt,
                    confidence,
                    threshold,
                });
                return Ok(answer);
            }
            Err(error) => error,
        };
        match (first, self.policy.when_large_fails) {
            (Ok(mut answer), WhenLargeFails::Small) if answer.invalid.is_none() => {
                self.strip(&mut answer);
                let why = format!("{doubt}, but {}", error.what());
                answer.route = Some(self.kept(confidence, why));
                Ok(answer)
            }
            // The reason lies with the small model then; it is the one that was asked for.
            (Err(first), WhenLargeFails::Small) => Err(first),
            _ => Err(error),
        }
    }

    /// The request as a hosted model may be asked.
    fn for_large(&self) -> Request {
        let mut request = self.request.clone();
        request.adapter = None;
        let labels = self.small.labels();
        if request.constraint.is_none() && !labels.is_empty() {
            request.constraint = Some(Constraint::Labels(labels.to_vec()));
        }
        request
    }

    /// Takes away the scores that only the route wanted.
    fn strip(&self, answer: &mut Answer) {
        if self.request.logprobs.is_none() {
            answer.tokens.clear();
        }
    }

    fn kept(&self, confidence: Option<f32>, why: String) -> Route {
        let threshold = self.policy.keep.threshold();
        Route { large: false, model: self.small.name().to_owned(), why, confidence, threshold }
    }
}

/// How sure a model is of its answer.
fn confidence(answer: &Answer) -> Option<f32> {
    if answer.confidence.is_some() || answer.tokens.is_empty() {
        return answer.confidence;
    }
    let sum: f64 = answer.tokens.iter().map(|token| f64::from(token.logprob)).sum();
    Some((sum / answer.tokens.len() as f64).exp() as f32)
}

#[cfg(test)]
mod tests;
