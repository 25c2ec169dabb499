//! A small model with large ones behind it, as one generator.

mod explain;

pub use explain::{Explained, Step};

use crate::policy::after::{Keep, scored, strip};
use crate::policy::before::{Before, embed};
use crate::policy::{Decider, Policy, Side};
use crate::{Upstreams, codes};
use sprat_infer::{
    Answer, Generator, Load, Pending, PendingEmbedding, Reply, Request, Route, codes as infer,
    network, reply,
};
use sprat_task::settings::WhenLargeFails;
use sprat_task::{Error, Kind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long a request waits before it tries the small model's full queue again.
const AGAIN: Duration = Duration::from_millis(5);

/// A small model with large ones behind it.
pub struct Routed {
    desk: Arc<Desk>,
}

/// What all requests share.
pub(crate) struct Desk {
    pub(crate) small: Arc<dyn Generator>,
    pub(crate) large: Arc<Upstreams>,
    pub(crate) policy: Policy,
    handle: Handle,
}

/// What is known of a request when a side is chosen.
#[derive(Clone, Debug, Default)]
struct Reason {
    why: String,
    confidence: Option<f32>,
    threshold: Option<f32>,
}

impl Reason {
    fn fixed(why: impl Into<String>) -> Self {
        Reason { why: why.into(), ..Reason::default() }
    }

    fn route(self, side: Side, model: &str) -> Route {
        Route {
            large: side == Side::Large,
            model: model.to_owned(),
            why: self.why,
            confidence: self.confidence,
            threshold: self.threshold,
            variant: None,
        }
    }
}

impl Routed {
    /// Puts large models behind a small one.
    ///
    /// # Errors
    /// [`codes::SETTINGS`] for a threshold that is none, and for rules about the small model's
    /// label where the side is chosen before it is asked; [`infer::THREAD`] when the system gives
    /// no thread.
    pub fn new(small: Arc<dyn Generator>, large: Arc<Upstreams>, policy: Policy) -> Result<Self> {
        let wrong = |field: &str, what: &str| {
            Err(Error::new(&codes::SETTINGS, what).field(field.to_owned()))
        };
        match &policy.decider {
            Decider::After(Keep::Above(least), _) if !(0.0..=1.0).contains(least) => {
                let what = "the least confidence that is kept must be from 0 to 1";
                return wrong("route.keep_above", what);
            }
            Decider::Before(_) if policy.fixed.look_at_labels() => {
                let what = "rules about the small model's label need `policy = \"after\"`";
                return wrong("route.rules", what);
            }
            Decider::After(..) if policy.fixed.look_at_labels() && small.labels().is_empty() => {
                return wrong("route.rules", "the small model gives no labels");
            }
            _ => {}
        }
        let handle = network()?;
        let desk = Arc::new(Desk { small, large, policy, handle });
        Ok(Routed { desk })
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }
}

impl Generator for Routed {
    fn name(&self) -> &str {
        self.desk.small.name()
    }

    fn labels(&self) -> &[String] {
        self.desk.small.labels()
    }

    fn converses(&self) -> bool {
        self.desk.small.converses()
    }

    fn submits_at_once(&self, request: &Request) -> bool {
        self.desk.small.submits_at_once(request)
    }

    fn load(&self) -> Load {
        self.desk.small.load()
    }

    fn submit(&self, request: Request) -> Result<Pending> {
        let desk = &self.desk;
        if let Some(private) = desk.policy.private.judge(&request) {
            return desk.keep(request, Reason::fixed(private.to_string()), false);
        }
        if let Some(hit) = desk.policy.fixed.judge(&request) {
            let reason = Reason::fixed(hit.why);
            return match hit.to {
                Side::Small => desk.keep(request, reason, true),
                Side::Large => {
                    let (reply, pending) = reply();
                    self.spawn(Arc::clone(desk).send(request, reason, None, reply));
                    Ok(pending)
                }
            };
        }
        let (reply, pending) = reply();
        if let Decider::Before(Before { encoder: Some(encoder), .. }) = &desk.policy.decider {
            let embedding = embed(encoder.as_ref(), &request)?;
            self.spawn(Arc::clone(desk).judge(request, embedding, reply));
            return Ok(pending);
        }
        // A full queue stays the client's matter: overload must not become the large model's bill.
        let small = desk.small.submit(desk.scored(&request))?;
        self.spawn(Arc::clone(desk).cascade(request, small, reply));
        Ok(pending)
    }
}

impl Routed {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.desk.handle.spawn(work);
    }
}

impl Desk {
    /// The small model's answer as it comes, with the reason why it is its; `shadow`: a large one
    /// may be asked about it afterwards.
    fn keep(self: &Arc<Self>, request: Request, reason: Reason, shadow: bool) -> Result<Pending> {
        let asked = (shadow && self.policy.shadow.is_some()).then(|| request.clone());
        let desk = Arc::clone(self);
        Ok(self.small.submit(request)?.then(move |answer| {
            let confidence = reason.confidence.or(answer.confidence);
            let reason = Reason { confidence, ..reason };
            answer.route = Some(reason.route(Side::Small, desk.small.name()));
            if let Some(asked) = asked {
                desk.shadow(&asked, answer);
            }
        }))
    }

    /// The same from the route's own thread: the small model's queue may be full for a moment.
    async fn keep_soon(
        self: Arc<Self>,
        request: Request,
        reason: Reason,
        shadow: bool,
        reply: Reply,
    ) {
        let deadline = request.deadline;
        let mut pending = loop {
            if reply.is_cancelled() {
                return;
            }
            let (desk, asked, because) = (Arc::clone(&self), request.clone(), reason.clone());
            let submit = move || desk.keep(asked, because, shadow);
            // To render a template and to compile a schema takes its time.
            let submitted = match self.small.converses() {
                true => tokio::task::spawn_blocking(submit).await.unwrap_or_else(|_| {
                    Err(Error::new(&infer::PANIC, "the request could not be prepared"))
                }),
                false => submit(),
            };
            match submitted {
                Ok(pending) => break pending,
                Err(error)
                    if *error.code() == infer::BUSY
                        && deadline.is_none_or(|deadline| deadline > Instant::now()) =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return reply.end(Err(error)),
            }
        };
        while let Some(event) = pending.next().await {
            if !reply.send(event) {
                return;
            }
        }
    }

    /// A large model's answer; where there is none, what the settings say. `first`: what the small
    /// model said, where it was asked already.
    async fn send(
        self: Arc<Self>,
        request: Request,
        reason: Reason,
        first: Option<Result<Answer>>,
        reply: Reply,
    ) {
        if reply.is_cancelled() {
            return;
        }
        let Some(asked) = self.large_answer(&request, &reply).await else { return };
        let error = match asked {
            Ok((mut answer, model)) => {
                // What was asked has one embedding, whoever answers: drift is seen by it.
                answer.embedding = first.and_then(Result::ok).and_then(|first| first.embedding);
                answer.route = Some(reason.route(Side::Large, model));
                return reply.end(Ok(answer));
            }
            Err(error) if self.is_final(&error) => return reply.end(Err(error)),
            Err(error) => error,
        };
        let reason = Reason { why: format!("{}, but {}", reason.why, error.what()), ..reason };
        match first {
            None => self.keep_soon(request, reason, false, reply).await,
            Some(Ok(answer)) if answer.invalid.is_none() => {
                reply.end(Ok(self.own(&request, answer, reason)));
            }
            Some(Ok(_)) => reply.end(Err(error)),
            // The reason lies with the small model then; it is the one that was asked for.
            Some(Err(first)) => reply.end(Err(first)),
        }
    }

    /// What a large model says, its pieces passed on as they come; none when nobody waits for it
    /// any more: it is then broken off.
    async fn large_answer(
        &self,
        request: &Request,
        reply: &Reply,
    ) -> Option<Result<(Answer, &str)>> {
        let request = self.policy.for_large(request);
        tokio::select! {
            answer = self.large.relay(&request, reply) => Some(answer),
            () = reply.cancelled() => None,
        }
    }

    /// Whether an error of the large models is the answer: nobody can go on where one broke off.
    fn is_final(&self, error: &Error) -> bool {
        *error.code() == codes::BROKEN_OFF || self.policy.when_large_fails == WhenLargeFails::Error
    }

    /// *Before*, over an encoder of its own: the score of the request's embedding decides, and no
    /// model has been asked yet.
    async fn judge(
        self: Arc<Self>,
        request: Request,
        embedding: Option<PendingEmbedding>,
        reply: Reply,
    ) {
        let decider = &self.policy.decider;
        let score = match (embedding, decider) {
            (Some(embedding), Decider::Before(before)) => match embedding.vector().await {
                Ok(embedding) => Some(before.score(&embedding.vector)),
                Err(error) => return reply.end(Err(error)),
            },
            _ => None,
        };
        if reply.is_cancelled() {
            return;
        }
        match self.side(score) {
            (Side::Small, reason) => self.keep_soon(request, reason, true, reply).await,
            (Side::Large, reason) => self.send(request, reason, None, reply).await,
        }
    }

    /// Which side a score sends a request to. While an alarm has raised the threshold, more go to
    /// the large models than the decider says.
    fn side(&self, score: Option<f32>) -> (Side, Reason) {
        let decider = &self.policy.decider;
        let (side, why) = decider.side(score);
        let reason = Reason { why, confidence: score, threshold: decider.threshold() };
        match self.policy.raise.over(score) {
            Some(raised) if side == Side::Small => {
                let threshold = raised.least.map(|least| least as f32).or(reason.threshold);
                (Side::Large, Reason { why: raised.why(), threshold, ..reason })
            }
            _ => (side, reason),
        }
    }

    /// The small model was asked, and what it says decides: *after*, and *before* over its own
    /// embedding.
    async fn cascade(self: Arc<Self>, request: Request, small: Pending, reply: Reply) {
        let first = small.answer().await;
        if reply.is_cancelled() {
            return;
        }
        let (side, reason) = match self.weigh(&request, &first) {
            Some(verdict) => verdict,
            // The request is at fault, and no other model would make it better.
            None => return reply.end(first),
        };
        match side {
            Side::Small => reply.end(first.map(|answer| {
                let answer = self.own(&request, answer, reason);
                self.shadow(&request, &answer);
                answer
            })),
            Side::Large => self.send(request, reason, Some(first), reply).await,
        }
    }

    /// A request as the small model is asked whose answer decides.
    fn scored(&self, request: &Request) -> Request {
        match &self.policy.decider {
            Decider::After(_, score) => scored(self.small.as_ref(), request, *score),
            Decider::Before(_) => request.clone(),
        }
    }

    /// Which side's answer a request gets, from the small model's; `None` where the request itself
    /// is at fault.
    fn weigh(&self, request: &Request, first: &Result<Answer>) -> Option<(Side, Reason)> {
        let decider = &self.policy.decider;
        let score = first.as_ref().ok().and_then(|answer| decider.score(answer));
        let threshold = decider.threshold();
        let reason = |why: String| Reason { why, confidence: score, threshold };
        let answer = match first {
            Err(error) if error.code().kind == Kind::Usage => return None,
            Err(error) => {
                let why = format!("the small model failed: {}", error.what());
                return Some((Side::Large, reason(why)));
            }
            Ok(answer) => answer,
        };
        if answer.invalid.is_some() {
            return Some((Side::Large, reason("the small model's answer is invalid".into())));
        }
        let label = answer.label.as_deref();
        if let Some(hit) = label.and_then(|label| self.policy.fixed.judge_label(request, label)) {
            return Some((hit.to, reason(hit.why)));
        }
        Some(self.side(score))
    }

    /// The small model's answer as it leaves.
    fn own(&self, request: &Request, mut answer: Answer, reason: Reason) -> Answer {
        strip(request, &mut answer);
        answer.route = Some(reason.route(Side::Small, self.small.name()));
        answer
    }

    fn shadow(&self, request: &Request, answer: &Answer) {
        if let Some(shadow) = &self.policy.shadow
            && answer.invalid.is_none()
        {
            shadow.offer(&self.handle, &self.large, || self.policy.for_large(request), answer);
        }
    }
}

#[cfg(test)]
mod tests;
