//! The tables below `[route]`: fixed rules, and shares of other versions.

use super::section::section;
use serde::{Deserialize, Serialize};

/// When a route decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutePolicy {
    /// After the small model has answered, by its confidence.
    After,
    /// Before a model is asked, by the request.
    Before,
}

impl RoutePolicy {
    /// The word of the settings.
    pub fn name(self) -> &'static str {
        match self {
            RoutePolicy::After => "after",
            RoutePolicy::Before => "before",
        }
    }
}

/// How sure a small model is of its answer: what a route with `after` goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteScore {
    /// A label's calibrated probability; of a written answer the geometric mean of its tokens'
    /// probabilities.
    #[default]
    MeanProbability,
    /// By how much the tokens of an answer are more likely than the next best ones, on average.
    Margin,
    /// The same of the token of which the model is least sure.
    LeastMargin,
}

impl RouteScore {
    /// The word of the settings.
    pub fn name(self) -> &'static str {
        match self {
            RouteScore::MeanProbability => "mean_probability",
            RouteScore::Margin => "margin",
            RouteScore::LeastMargin => "least_margin",
        }
    }
}

/// What counts as a failure of a request that the small model kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteFailure {
    /// Its answer is wrong.
    Wrong,
    /// Its answer is wrong, and the large model's would have been right.
    Regret,
}

/// A side that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteTo {
    /// The small model.
    Small,
    /// The large ones.
    Large,
}

/// What makes requests of a split belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sticky {
    /// The `user` of the request; where it has none, the conversation.
    User,
    /// The client's key; where it has none, the conversation.
    Client,
    /// How the conversation begins.
    Conversation,
}

section! {
    /// A fixed rule. The first one whose conditions all hold decides, whatever a score says; only
    /// private requests stand above it.
    RouteRule ["route.rules"] {
        /// Who answers: `small` or `large`.
        to: RouteTo = RouteTo::Small,
        /// A regular expression that is found in what the user wrote.
        text: Option<String> = None,
        /// What the user wrote has at least so many characters.
        min_chars: Option<usize> = None,
        /// What the user wrote has at most so many characters.
        max_chars: Option<usize> = None,
        /// The small model's label; with `policy = "after"` only.
        label: Option<String> = None,
        /// The word in the header `x-sprat-tag`.
        tag: Option<String> = None,
        /// The name of the client's API key.
        client: Option<String> = None,
    }
}

section! {
    /// Another version of the task's model that gets a share of the requests: a canary, or one side
    /// of an A/B test.
    RouteSplit ["route.split"] {
        /// The version: `v4`, `task@canary`, or another reference of a release.
        version: String = String::new(),
        /// Its share of the requests, from 0 to 1.
        share: f64 = 0.0,
    }
}
