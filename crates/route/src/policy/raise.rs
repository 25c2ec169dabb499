//! *Raise*: for a time more requests go to the large models than the threshold says, because an
//! alarm said that the small model meets requests that it was not fitted for.
//!
//! It only takes from the small model what a score left to it. What is private and what a fixed
//! rule decides stays as it is, and budgets hold as ever.

use serde::{Deserialize, Serialize};
use sprat_task::Timestamp;
use std::sync::{Arc, PoisonError, RwLock};

/// A threshold that an alarm raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// The alarm's number.
    pub alarm: u64,
    /// The test that raised it.
    pub test: String,
    /// The share of the requests that is to go to the large models.
    pub share: f64,
    /// The least score that is still kept; `None`: none is.
    pub least: Option<f64>,
    /// Since when.
    pub at: Timestamp,
    /// Until when; `None`: until it is taken back.
    pub until: Option<Timestamp>,
}

impl Raised {
    /// Whether it takes a request of this score from the small model; one without a score goes
    /// with those that are least sure.
    fn takes(&self, score: Option<f32>) -> bool {
        match (self.least, score) {
            (Some(least), Some(score)) => score.is_nan() || score < least as f32,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether its time has not run out.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Why a request that it takes goes to a large model.
    pub fn why(&self) -> String {
        let Raised { alarm, test, least, .. } = self;
        match least {
            Some(_) => format!("not sure enough since alarm {alarm} ({test}) raised the threshold"),
            None => format!("alarm {alarm} ({test}) sends all requests to the large model"),
        }
    }
}

/// What a route's threshold is raised to now, if it is; may change while requests go on.
#[derive(Debug, Default)]
pub struct Raise(RwLock<Option<Arc<Raised>>>);

impl Raise {
    /// Raises the threshold, or takes it back; says whether that changed anything.
    pub fn set(&self, raised: Option<Raised>) -> bool {
        let mut present = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = present.as_deref() != raised.as_ref();
        *present = raised.map(Arc::new);
        changed
    }

    /// What holds now.
    pub fn get(&self) -> Option<Arc<Raised>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What takes a request of this score from the small model, if anything.
    pub(crate) fn over(&self, score: Option<f32>) -> Option<Arc<Raised>> {
        self.get().filter(|raised| raised.takes(score))
    }
}
