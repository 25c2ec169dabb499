//! What a route would do with one request, and why, step by step.

use super::{Desk, Routed};
use crate::policy::before::{Before, embed};
use crate::policy::{Decider, Side};
use serde::Serialize;
use sprat_infer::Request;
use sprat_task::Result;
use sprat_task::settings::RouteScore;

/// One look at a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What was looked at: `private`, `rules`, `before`, `after`, `label rules`, `raised`.
    pub step: &'static str,
    /// What was found, in words.
    pub found: String,
    /// Whether it decided.
    pub decided: bool,
}

/// What a route would do with a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// The looks, in order; the last one decided.
    pub steps: Vec<Step>,
    /// `small` or `large`.
    pub side: &'static str,
    /// Why, in the words of a response.
    pub why: String,
    /// The score: the small model's confidence, or the head's.
    pub score: Option<f32>,
    /// The least score that is kept.
    pub threshold: Option<f32>,
    /// The probability that keeping the request is no failure, as the fit calibrated it.
    pub calibrated: Option<f64>,
    /// The small model's answer, where the policy asks it first.
    pub small_answer: Option<String>,
    /// The large models in the order in which they would be asked.
    pub upstreams: Vec<String>,
}

impl Routed {
    /// Follows a request to its side, by the code that serves; no large model is asked, and
    /// nothing is counted. Waits on this thread.
    ///
    /// # Errors
    /// Those of the small model and the encoder.
    pub fn explain(&self, request: &Request) -> Result<Explained> {
        let desk = self.desk();
        let mut trail = Trail(Vec::new());
        let upstreams = desk.large.names();
        let plain = |trail: Trail, side, why: String| Explained {
            steps: trail.0,
            side: name(side),
            why,
            score: None,
            threshold: None,
            calibrated: None,
            small_answer: None,
            upstreams: upstreams.clone(),
        };
        if let Some(private) = desk.policy.private.judge(request) {
            trail.add("private", private.to_string(), true);
            return Ok(plain(trail, Side::Small, private.to_string()));
        }
        trail.add("private", "nothing that keeps it here".into(), false);
        if let Some(hit) = desk.policy.fixed.judge(request) {
            trail.add("rules", hit.why.clone(), true);
            return Ok(plain(trail, hit.to, hit.why));
        }
        trail.add("rules", "none holds".into(), false);
        let decider = &desk.policy.decider;
        if let Decider::Before(before @ Before { encoder: Some(encoder), .. }) = decider {
            let embedding = match embed(encoder.as_ref(), request)? {
                Some(embedding) => Some(embedding.wait_until(request.deadline)?),
                None => None,
            };
            let score = embedding.map(|embedding| before.score(&embedding.vector));
            let (side, reason) = desk.side(score);
            trail.scored("before", found(decider, score), &reason.why, raised(desk, score));
            let (threshold, calibrated) = (reason.threshold, decider.calibrated(score));
            return Ok(Explained {
                score,
                threshold,
                calibrated,
                ..plain(trail, side, reason.why)
            });
        }
        let first = desk.small.answer(desk.scored(request));
        let Some((side, reason)) = desk.weigh(request, &first) else {
            // The request is at fault: what a client would get.
            return Err(first.err().unwrap_or_else(|| {
                sprat_task::Error::new(&sprat_infer::codes::PANIC, "an answer was lost")
            }));
        };
        let answer = first.ok();
        let score = answer.as_ref().and_then(|answer| decider.score(answer));
        let by_rule = reason.why.starts_with("rule ");
        let step = match decider {
            Decider::After(..) => "after",
            Decider::Before(_) => "before",
        };
        let found = found(decider, score);
        if by_rule {
            trail.add(step, found, false);
            trail.add("label rules", reason.why.clone(), true);
        } else {
            trail.scored(step, found, &reason.why, raised(desk, score));
        }
        Ok(Explained {
            score,
            threshold: reason.threshold,
            calibrated: decider.calibrated(score),
            small_answer: answer.map(|answer| answer.output),
            ..plain(trail, side, reason.why)
        })
    }
}

struct Trail(Vec<Step>);

impl Trail {
    fn add(&mut self, step: &'static str, found: String, decided: bool) {
        self.0.push(Step { step, found, decided });
    }

    /// A look at a score; `raised`: the words of the raise that would take such a request from the
    /// small model. It decided where the reason given is its own.
    fn scored(&mut self, step: &'static str, found: String, why: &str, raised: Option<String>) {
        let raised = raised.filter(|words| words == why);
        self.add(step, found, raised.is_none());
        if let Some(words) = raised {
            self.add("raised", words, true);
        }
    }
}

/// The words of the raise that takes a request of this score from the small model.
fn raised(desk: &Desk, score: Option<f32>) -> Option<String> {
    desk.policy.raise.over(score).map(|raised| raised.why())
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Small => "small",
        Side::Large => "large",
    }
}

/// What a score looked like beside its threshold.
fn found(decider: &Decider, score: Option<f32>) -> String {
    let name = match decider {
        Decider::After(_, RouteScore::MeanProbability) => "confidence",
        Decider::After(_, RouteScore::Margin) => "margin",
        Decider::After(_, RouteScore::LeastMargin) => "least margin",
        Decider::Before(_) => "difficulty score",
    };
    match (score, decider.threshold()) {
        (None, _) => format!("{name} is not given"),
        (Some(score), None) => format!("{name} {score:.4}; everything is kept"),
        (Some(score), Some(least)) => {
            let sign = if score >= least { "at or above" } else { "below" };
            format!("{name} {score:.4} is {sign} {least:.4}")
        }
    }
}
