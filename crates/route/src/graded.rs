//! Requests whose answers were graded.

use serde::{Deserialize, Serialize};

/// What counts as a failure of a request that the small model kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// The small model's answer is wrong.
    Wrong,
    /// The small model's answer is wrong and the large one's would have been right: only then
    /// would asking the large model have helped.
    Regret,
}

/// A graded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graded {
    /// Whether the small model answered right; where nothing else grades, whether it agreed with
    /// the large one.
    pub small: bool,
    /// Whether the large model answered right, where that is known.
    pub large: Option<bool>,
    /// Requests of one group (the same text, one conversation) never stand in different parts.
    pub group: Option<u64>,
}

impl Graded {
    /// Whether keeping this request fails; `None` where that takes a grade that is missing.
    pub fn fails(&self, failure: Failure) -> Option<bool> {
        match failure {
            Failure::Wrong => Some(!self.small),
            Failure::Regret if self.small => Some(false),
            Failure::Regret => self.large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_large_model_would_have_got_right_is_regretted() {
        let graded = |small, large| Graded { small, large, group: None };
        assert_eq!(graded(false, Some(false)).fails(Failure::Wrong), Some(true));
        assert_eq!(graded(false, Some(false)).fails(Failure::Regret), Some(false));
        assert_eq!(graded(false, Some(true)).fails(Failure::Regret), Some(true));
        assert_eq!(graded(true, None).fails(Failure::Regret), Some(false));
        assert_eq!(graded(false, None).fails(Failure::Regret), None);
    }
}
