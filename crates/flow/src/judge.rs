//! What the base model contributes to the data gate: the length of texts in tokens, and an opinion
//! on every row's label.

use crate::Project;
use crate::neighbours::{self, Votes};
use sprat_data::{FromModel, LengthLimit, Parts, Probabilities};
use sprat_model::Encoder;
use sprat_task::Result;

/// The base model as the gate sees it; without one the gate uses its own linear model, and its
/// report says that lengths were not looked at.
pub(crate) struct Judge<'a> {
    encoder: Option<&'a Encoder>,
    votes: Option<Votes>,
}

impl<'a> Judge<'a> {
    /// Reads the rows of the parts once.
    ///
    /// # Errors
    /// Those of the encoder; an interruption.
    pub(crate) fn new(
        project: &Project,
        encoder: Option<&'a Encoder>,
        parts: &Parts<'_>,
    ) -> Result<Self> {
        let votes = match encoder {
            Some(encoder) => neighbours::votes(encoder, parts, &project.interrupt)?,
            None => None,
        };
        Ok(Judge { encoder, votes })
    }

    /// How many tokens a text has, also beyond what the model reads; 0 where it can't be read.
    pub(crate) fn length(&self) -> impl Fn(&str) -> usize + Sync {
        let encoder = self.encoder;
        move |text: &str| {
            let tokens = encoder.map(|encoder| encoder.tokenizer().encode(text));
            tokens.and_then(Result::ok).map_or(0, |tokens| tokens.ids.len() + tokens.cut)
        }
    }

    /// The same for the gate.
    pub(crate) fn contribution<'b>(
        &'b self,
        length: &'b (dyn Fn(&str) -> usize + Sync),
    ) -> FromModel<'b> {
        FromModel {
            limit: self.encoder.map(|encoder| LengthLimit {
                length,
                max_tokens: encoder.tokenizer().max_tokens(),
            }),
            probabilities: self
                .votes
                .as_ref()
                .map(|votes| Probabilities { labels: votes.labels.clone(), values: &votes.values }),
        }
    }
}
