//! The gate's settings, and what a model contributes.

use super::checks;
use crate::codes;
use crate::label_errors::{LabelErrorOptions, Probabilities};
use crate::near::NearOptions;
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};
use std::collections::BTreeMap;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Probably harmful; the work goes on.
    Warn,
    /// Makes later numbers worthless; the gate refuses unless the check is waived by name.
    Block,
}

/// The gate's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckOptions {
    /// Checks whose findings are accepted: they are reported and do not block.
    pub waive: Vec<String>,
    /// Checks that are not run.
    pub skip: Vec<String>,
    /// Other severities than the checks' own.
    pub severity: BTreeMap<String, Severity>,
    /// When two texts are near-duplicates.
    pub near: NearOptions,
    /// How label errors are looked for.
    pub label_errors: LabelErrorOptions,
    /// Classes with fewer training rows are rare.
    pub min_class_rows: usize,
    /// The largest class may have so many times the rows of the median class.
    pub max_imbalance: f64,
    /// Findings listed per check; all are counted.
    pub max_findings: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions {
            waive: Vec::new(),
            skip: Vec::new(),
            severity: BTreeMap::new(),
            near: NearOptions::default(),
            label_errors: LabelErrorOptions::default(),
            min_class_rows: 8,
            max_imbalance: 10.0,
            max_findings: 1000,
        }
    }
}

impl CheckOptions {
    pub(crate) fn skips(&self, id: &str) -> bool {
        self.skip.iter().any(|skipped| skipped == id)
    }

    /// # Errors
    /// [`codes::SETTING`] for a check that does not exist or a threshold outside of 0 to 1.
    pub(crate) fn verify(&self) -> Result<()> {
        for (field, id) in self
            .waive
            .iter()
            .map(|id| ("waive", id))
            .chain(self.skip.iter().map(|id| ("skip", id)))
            .chain(self.severity.keys().map(|id| ("severity", id)))
        {
            if !checks().iter().any(|check| check.id() == id) {
                let nearest = checks().iter().map(|check| check.id()).max_by(|a, b| {
                    strsim::jaro_winkler(a, id).total_cmp(&strsim::jaro_winkler(b, id))
                });
                let error = Error::new(&codes::SETTING, format!("there is no check `{id}`"));
                let help = format!("Did you mean `{}`?", nearest.unwrap_or_default());
                return Err(error.field(field).help(help));
            }
        }
        if !(0.0..=1.0).contains(&self.near.threshold) {
            let what = "the threshold of near-duplicates is a similarity from 0 to 1";
            return Err(Error::new(&codes::SETTING, what).field("near.threshold"));
        }
        Ok(())
    }
}

/// Counts a text's tokens.
pub type Length<'a> = &'a (dyn Fn(&str) -> usize + Sync);

/// The model's context and how to measure a text against it.
#[derive(Clone, Copy)]
pub struct LengthLimit<'a> {
    /// Tokens of a text, special tokens included.
    pub length: Length<'a>,
    /// The most tokens that the model reads.
    pub max_tokens: usize,
}

/// What a model contributes to the gate; all of it optional.
#[derive(Clone, Default)]
pub struct FromModel<'a> {
    /// Its context.
    pub limit: Option<LengthLimit<'a>>,
    /// Its out-of-sample probabilities, used instead of the built-in linear model's.
    pub probabilities: Option<Probabilities<'a>>,
    /// What the targets must satisfy, where they are answers and not labels.
    pub answers: Option<AnswerRule<'a>>,
}

/// Says why a target is no answer, if it is none.
pub type AnswerRule<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);
