//! *After*: the cascade. The small model answers, its confidence decides.
//!
//! Calibration is the small model's matter (a tuned classifier's probabilities are calibrated) or
//! the fit's (isotonic regression); here a confidence is only compared with a threshold.

use crate::RouteFit;
use sprat_infer::{Answer, Generator, Request};
use std::sync::Arc;

/// Which answers of the small model are kept, by its confidence from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// Those with at least this confidence.
    Above(f32),
    /// Those that a fitted route keeps; its scores are confidences.
    Fitted(Arc<RouteFit>),
    /// All of them, for this reason.
    All(String),
}

impl Keep {
    /// Whether an answer of this confidence is kept.
    pub fn keeps(&self, confidence: f32) -> bool {
        match self {
            Keep::Above(least) => confidence >= *least,
            Keep::Fitted(fit) => fit.decide(f64::from(confidence)).keep,
            Keep::All(_) => true,
        }
    }

    /// The least confidence that is kept, where there is one.
    pub fn threshold(&self) -> Option<f32> {
        match self {
            Keep::Above(least) => Some(*least),
            Keep::Fitted(fit) => fit.threshold.map(|least| least as f32),
            Keep::All(_) => None,
        }
    }

    /// Why an answer is kept.
    pub(crate) fn why(&self) -> String {
        match self {
            Keep::Above(_) | Keep::Fitted(_) => "sure enough".into(),
            Keep::All(why) => why.clone(),
        }
    }
}

/// How sure a model is of its answer: the calibrated probability of a label; of a written answer
/// the geometric mean of its tokens' probabilities. `None` where it does not say.
pub fn confidence(answer: &Answer) -> Option<f32> {
    if answer.confidence.is_some() || answer.tokens.is_empty() {
        return answer.confidence;
    }
    let sum: f64 = answer.tokens.iter().map(|token| f64::from(token.logprob)).sum();
    Some((sum / answer.tokens.len() as f64).exp() as f32)
}

/// A request as a small model is asked for its confidence.
pub fn scored(small: &dyn Generator, request: &Request) -> Request {
    let mut asked = request.clone();
    if small.labels().is_empty() && asked.logprobs.is_none() {
        asked.logprobs = Some(0);
    }
    asked
}
