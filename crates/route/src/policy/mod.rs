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
use sprat_infer::{Constraint, Request};
use sprat_task::settings::WhenLargeFails;
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
    /// The small model answers, and its confidence decides.
    After(Keep),
    /// The request decides, before a model is asked.
    Before(Before),
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
