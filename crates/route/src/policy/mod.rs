//! How requests are divided between a small model and large ones, one policy a file.
//!
//! The order is fixed: what is private stays ([`crate::PrivateRules`]); then the fixed rules of
//! whoever runs the server ([`rules`]); then a score, either of the request before any model is
//! asked ([`before`]) or of the small model's answer ([`after`]), whose threshold an alarm may raise
//! for a time ([`raise`]). What a request says can move its score, but no text names a side: there
//! is nothing in here that reads instructions.

pub mod after;
pub mod before;
pub mod raise;
pub mod rules;
pub mod shadow;
pub mod split;

use crate::PrivateRules;
use after::Keep;
use before::Before;
use raise::Raise;
use rules::FixedRules;
use shadow::Shadow;
use sprat_infer::{Answer, Constraint, Request};
use sprat_task::settings::{RouteScore, WhenLargeFails};
use std::sync::Arc;

/// A side of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The small model.
    Small,
    /// The large ones.
    Large,
}

/// What decides where neither privacy nor a fixed rule does.
#[derive(Clone)]
pub enum Decider {
    /// The small model answers, and its confidence, by this score, decides.
    After(Keep, RouteScore),
    /// The request decides, before a model is asked.
    Before(Before),
}

impl Decider {
    /// The score of a small model's answer, where there is one.
    pub(crate) fn score(&self, answer: &Answer) -> Option<f32> {
        match self {
            Decider::After(_, score) => after::confidence(answer, *score),
            Decider::Before(before) => answer.embedding.as_deref().map(|one| before.score(one)),
        }
    }

    /// The least score that is kept, where there is one.
    pub(crate) fn threshold(&self) -> Option<f32> {
        match self {
            Decider::After(keep, _) => keep.threshold(),
            Decider::Before(before) => before.threshold(),
        }
    }

    /// Which side a request of this score goes to, and why.
    pub(crate) fn side(&self, score: Option<f32>) -> (Side, String) {
        let (side, why) = match (self, score) {
            (Decider::After(keep @ Keep::All(_), _), _) => (Side::Small, keep.why()),
            (Decider::After(keep, _), Some(score)) if keep.keeps(score) => {
                (Side::Small, keep.why())
            }
            (Decider::After(..), Some(_)) => (Side::Large, "not sure enough".into()),
            (Decider::After(..), None) => {
                (Side::Large, "the small model does not say how sure it is".into())
            }
            (Decider::Before(before), Some(score)) if before.keeps(score) => {
                (Side::Small, "easy enough".into())
            }
            (Decider::Before(_), Some(_)) => (Side::Large, "too hard".into()),
            (Decider::Before(_), None) => (Side::Large, "there is nothing to judge it by".into()),
        };
        (side, why)
    }

    /// The probability that keeping a request of this score is no failure, as a fit calibrated it.
    pub(crate) fn calibrated(&self, score: Option<f32>) -> Option<f64> {
        let fit = match self {
            Decider::After(Keep::Fitted(fit), _) => fit,
            Decider::Before(before) => &before.fit,
            Decider::After(..) => return None,
        };
        Some(fit.decide(f64::from(score?)).confidence).filter(|one| one.is_finite())
    }
}

/// How requests are divided.
#[derive(Clone)]
pub struct Policy {
    /// Which requests never leave.
    pub private: PrivateRules,
    /// What holds whatever a score says.
    pub fixed: FixedRules,
    /// What decides otherwise.
    pub decider: Decider,
    /// What takes more requests from the small model than `decider` does, while it holds.
    pub raise: Arc<Raise>,
    /// What a large model's answer must satisfy where the request says nothing.
    pub constraint: Option<Constraint>,
    /// Asks the large models about a share of what the small one kept.
    pub shadow: Option<Arc<Shadow>>,
    /// What happens when no large model answers.
    pub when_large_fails: WhenLargeFails,
}

impl Policy {
    /// A request as a hosted model may be asked.
    pub fn for_large(&self, request: &Request) -> Request {
        let mut request = request.clone();
        request.adapter = None;
        if request.constraint.is_none() {
            request.constraint.clone_from(&self.constraint);
        }
        request
    }
}
