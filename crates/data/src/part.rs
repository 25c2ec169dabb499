//! The parts of a dataset: train, validation, test.

use crate::example::{Dataset, Example};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a row is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Weights are fitted on it.
    Train,
    /// Settings are chosen on it.
    Validation,
    /// The one honest measure; sealed.
    Test,
}

impl Part {
    /// All parts in their order.
    pub const ALL: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// The part's name in reports and files.
    pub const fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The parts that the gate looks at together.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The rows to train on.
    pub train: &'a Dataset,
    /// The rows to choose settings on.
    pub validation: Option<&'a Dataset>,
    /// The rows to measure on.
    pub test: Option<&'a Dataset>,
}

impl<'a> Parts<'a> {
    /// A single, not yet split dataset.
    pub fn whole(train: &'a Dataset) -> Self {
        Parts { train, validation: None, test: None }
    }

    /// The parts that are there, in order.
    pub fn present(&self) -> impl Iterator<Item = (Part, &'a Dataset)> + use<'a> {
        [
            (Part::Train, Some(self.train)),
            (Part::Validation, self.validation),
            (Part::Test, self.test),
        ]
        .into_iter()
        .filter_map(|(part, data)| Some((part, data?)))
    }

    /// All rows of all parts, in order; a row's place in this vector is its id in the gate.
    pub(crate) fn rows(&self) -> Vec<(Part, &'a Example)> {
        let total = self.present().map(|(_, data)| data.len()).sum();
        let mut rows = Vec::with_capacity(total);
        for (part, data) in self.present() {
            rows.extend(data.examples.iter().map(|example| (part, example)));
        }
        rows
    }
}
