//! A small model with large ones behind it, as one generator.

mod explain;

pub use explain::{Explained, Step};

use crate::policy::after::{Keep, scored, strip};
use crate::policy::before::{Before, embed};
use crate::policy::{Decider, Policy, Side};
use crate::{Upstreams, codes};
use sprat_infer::{
    Answer, Asking, Event, Generator, Load, Pending, PendingEmbedding, Reply, Request, Route,
    codes as infer, network, reply,
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
        let work = match self.desk.begin(request)? {
            Begun::Kept(pending) => return Ok(pending),
            Begun::Open(work) => work,
        };
        let (reply, pending) = reply();
        let desk = Arc::clone(&self.desk);
        self.desk.handle.spawn(async move {
            // Nobody who has gone is worked for: what is under way is broken off.
            let answer = tokio::select! {
                answer = desk.finish(*work, Some(&reply)) => answer,
                () = reply.cancelled() => return,
            };
            reply.end(answer);
        });
        Ok(pending)
    }

    fn ask(&self, request: Request) -> Result<Asking> {
        let desk = Arc::clone(&self.desk);
        Ok(match self.desk.begin(request)? {
            Begun::Kept(pending) => Box::pin(pending.answer()),
            Begun::Open(work) => Box::pin(async move { desk.finish(*work, None).await }),
        })
    }
}

/// A request that the route has taken.
enum Begun {
    /// The small model has it, and nothing is left to be decided.
    Kept(Pending),
    /// More is to be done.
    Open(Box<Work>),
}

/// What is to be done with a request.
enum Work {
    /// A large model gets it.
    Send(Request, Reason),
    /// Its embedding decides.
    Judge(Request, Option<PendingEmbedding>),
    /// The small model's answer decides.
    Cascade(Request, Pending),
}

impl Desk {
    /// Takes a request; waits for nothing.
    fn begin(self: &Arc<Self>, request: Request) -> Result<Begun> {
        if let Some(private) = self.policy.private.judge(&request) {
            return self.keep(request, Reason::fixed(private.to_string()), false).map(Begun::Kept);
        }
        let work = match (self.policy.fixed.judge(&request), &self.policy.decider) {
            (Some(hit), _) if hit.to == Side::Small => {
                return self.keep(request, Reason::fixed(hit.why), true).map(Begun::Kept);
            }
            (Some(hit), _) => Work::Send(request, Reason::fixed(hit.why)),
            (None, Decider::Before(Before { encoder: Some(encoder), .. })) => {
                let embedding = embed(encoder.as_ref(), &request)?;
                Work::Judge(request, embedding)
            }
            (None, _) => {
                // A full queue stays the client's matter: overload must not become the large model's
                // bill.
                let small = self.small.submit(self.scored(&request))?;
                Work::Cascade(request, small)
            }
        };
        Ok(Begun::Open(Box::new(work)))
    }

    /// The answer to a request. `pieces`: where they go, if anywhere.
    async fn finish(self: &Arc<Self>, work: Work, pieces: Option<&Reply>) -> Result<Answer> {
        match work {
            Work::Send(request, reason) => self.send(request, reason, None, pieces).await,
            Work::Judge(request, embedding) => self.judge(request, embedding, pieces).await,
            Work::Cascade(request, small) => self.cascade(request, small, pieces).await,
        }
    }

    /// The small model's answer as it comes, with the reason why it is its; `shadow`: a large one
    /// may be asked about it afterwards.
    fn keep(self: &Arc<Self>, request: Request, reason: Reason, shadow: bool) -> Result<Pending> {
        let asked = (shadow && self.policy.shadow.is_some()).then(|| request.clone());
        let desk = Arc::clone(self);
        Ok(self.small.submit(request)?.written_by(Route::SMALL).then(move |answer| {
            let confidence = reason.confidence.or(answer.confidence);
            let reason = Reason { confidence, ..reason };
            answer.route = Some(reason.route(Side::Small, desk.small.name()));
            if let Some(asked) = asked {
                desk.shadow(&asked, answer);
            }
        }))
    }

    /// The same later, when the small model's queue may be full for a moment.
    async fn keep_soon(
        self: &Arc<Self>,
        request: Request,
        reason: Reason,
        shadow: bool,
        pieces: Option<&Reply>,
    ) -> Result<Answer> {
        let deadline = request.deadline;
        let mut pending = loop {
            let (desk, asked, because) = (Arc::clone(self), request.clone(), reason.clone());
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
                Err(error) => return Err(error),
            }
        };
        let Some(pieces) = pieces else { return pending.answer().await };
        loop {
            match pending.next().await {
                Some(Event::Done(answer)) => return Ok(*answer),
                Some(Event::Failed(error)) => return Err(error),
                Some(piece) => {
                    let _ = pieces.send(piece);
                }
                // Says what an engine that ended without a word is.
                None => return pending.answer().await,
            }
        }
    }

    /// A large model's answer; where there is none, what the settings say. `first`: what the small
    /// model said, where it was asked already.
    async fn send(
        self: &Arc<Self>,
        request: Request,
        reason: Reason,
        first: Option<Result<Answer>>,
        pieces: Option<&Reply>,
    ) -> Result<Answer> {
        let asked = self.large.relay(&self.policy.for_large(&request), pieces).await;
        let error = match asked {
            Ok((mut answer, model)) => {
                // What was asked has one embedding, whoever answers: drift is seen by it.
                answer.embedding = first.and_then(Result::ok).and_then(|first| first.embedding);
                answer.route = Some(reason.route(Side::Large, model));
                return Ok(answer);
            }
            Err(error) if self.is_final(&error) => return Err(error),
            Err(error) => error,
        };
        let reason = Reason { why: format!("{}, but {}", reason.why, error.what()), ..reason };
        match first {
            None => self.keep_soon(request, reason, false, pieces).await,
            Some(Ok(answer)) if answer.invalid.is_none() => Ok(self.own(&request, answer, reason)),
            Some(Ok(_)) => Err(error),
            // The reason lies with the small model then; it is the one that was asked for.
            Some(Err(first)) => Err(first),
        }
    }

    /// Whether an error of the large models is the answer: nobody can go on where one broke off.
    fn is_final(&self, error: &Error) -> bool {
        *error.code() == codes::BROKEN_OFF || self.policy.when_large_fails == WhenLargeFails::Error
    }

    /// *Before*, over an encoder of its own: the score of the request's embedding decides, and no
    /// model has been asked yet.
    async fn judge(
        self: &Arc<Self>,
        request: Request,
        embedding: Option<PendingEmbedding>,
        pieces: Option<&Reply>,
    ) -> Result<Answer> {
        let score = match (embedding, &self.policy.decider) {
            (Some(embedding), Decider::Before(before)) => {
                Some(before.score(&embedding.vector().await?.vector))
            }
            _ => None,
        };
        match self.side(score) {
            (Side::Small, reason) => self.keep_soon(request, reason, true, pieces).await,
            (Side::Large, reason) => self.send(request, reason, None, pieces).await,
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
    async fn cascade(
        self: &Arc<Self>,
        request: Request,
        small: Pending,
        pieces: Option<&Reply>,
    ) -> Result<Answer> {
        let first = small.answer().await;
        let Some((side, reason)) = self.weigh(&request, &first) else {
            // The request is at fault, and no other model would make it better.
            return first;
        };
        match side {
            Side::Small => first.map(|answer| {
                let answer = self.own(&request, answer, reason);
                self.shadow(&request, &answer);
                answer
            }),
            Side::Large => self.send(request, reason, Some(first), pieces).await,
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
