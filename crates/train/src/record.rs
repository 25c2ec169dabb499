//! `run.json`: the record of a finished run.

use crate::codes::STORAGE;
use crate::history::Point;
use crate::learner::Measure;
use crate::metrics::Metrics;
use crate::recipe::Recipe;
use crate::search::Found;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sprat_model::BaseModel;
use sprat_task::{Digest, Error, Result};
use std::path::Path;

/// The version of the record's format.
pub const SCHEMA: &str = "sprat.run/1";
/// The record's file in the run folder.
pub const FILE: &str = "run.json";

/// What a finished run was, and what came out of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// The digest of everything that decides the result: recipe, data, base model.
    pub run: Digest,
    /// The recipe with all gaps filled; training it again on the same data gives the same bits.
    pub recipe: Recipe,
    /// The base model, by reference and digest.
    pub base: BaseModel,
    /// The digest of the training examples and the label list.
    pub train_data: Digest,
    /// The digest of the validation examples and the label list.
    pub valid_data: Digest,
    /// Examples in the training part.
    pub train_examples: usize,
    /// Examples in the validation part.
    pub valid_examples: usize,
    /// The classes, by index.
    pub labels: Vec<String>,
    /// Weights that training changed, the head's included.
    pub trainable_parameters: u64,
    /// All weights, the head's and the adapters' included.
    pub total_parameters: u64,
    /// Optimizer steps done; 0 for a head alone.
    pub steps: u64,
    /// Steps that the recipe foresaw; more than `steps` when patience ran out.
    pub planned_steps: u64,
    /// The step whose weights were kept: the best on the validation part.
    pub best_step: u64,
    /// The validation of the weights that were kept, before calibration.
    pub validation: Metrics,
    /// The validation of a head on frozen embeddings, from which the run began.
    pub frozen_head: Metrics,
    /// The temperature that calibrates the logits, fitted on the validation part.
    pub temperature: f64,
    /// The course of the run.
    pub history: Vec<Point>,
    /// Seconds of training, interruptions not counted.
    pub seconds: f64,
    /// The process's highest resident memory at the end of the run, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The search before the run, if there was one.
    pub search: Option<Found>,
    /// A limit of time ended the run: a trial of a search, which can't be reproduced.
    pub cut: bool,
    /// Things worth knowing, such as a damaged checkpoint that was passed over.
    pub notes: Vec<String>,
}

impl Outcome {
    /// The share of all weights that training changed, 0 to 1.
    pub fn trainable_share(&self) -> f64 {
        self.trainable_parameters as f64 / self.total_parameters.max(1) as f64
    }

    /// The record of the run in a folder, if one has finished there.
    pub fn read(folder: &Path) -> Option<Self> {
        read(folder)
    }

    /// Writes the record into a run folder.
    ///
    /// # Errors
    /// `SPRAT-TRAIN-STORAGE`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write(self, folder)
    }
}

/// The record of a finished run, as the common machinery sees it.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// What validation measured.
    type Measure: Measure;
    /// The version of the record's format.
    const SCHEMA: &'static str;

    /// The version that this record has.
    fn schema(&self) -> &str;
    /// The digest of everything that decided the result.
    fn run(&self) -> Digest;
    /// The validation of what was kept.
    fn validation(&self) -> Self::Measure;
    /// Seconds of training.
    fn seconds(&self) -> f64;
    /// Whether a limit of time ended the run.
    fn cut(&self) -> bool;
    /// The search before the run, to fill in.
    fn search_mut(&mut self) -> &mut Option<Found<Self::Measure>>;
}

/// Implements [`Record`] for a struct that has its parts as fields.
macro_rules! record {
    ($record:ty, $measure:ty, $schema:expr) => {
        impl $crate::record::Record for $record {
            type Measure = $measure;
            const SCHEMA: &'static str = $schema;

            fn schema(&self) -> &str {
                &self.schema
            }
            fn run(&self) -> sprat_task::Digest {
                self.run
            }
            fn validation(&self) -> $measure {
                self.validation
            }
            fn seconds(&self) -> f64 {
                self.seconds
            }
            fn cut(&self) -> bool {
                self.cut
            }
            fn search_mut(&mut self) -> &mut Option<$crate::search::Found<$measure>> {
                &mut self.search
            }
        }
    };
}
pub(crate) use record;

record!(Outcome, Metrics, SCHEMA);

/// The record of the run in a folder, if one of this kind has finished there.
pub(crate) fn read<R: Record>(folder: &Path) -> Option<R> {
    let record: R = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
    (record.schema() == R::SCHEMA).then_some(record)
}

/// Writes a record into a run folder.
///
/// # Errors
/// `STORAGE`.
pub(crate) fn write<R: Record>(record: &R, folder: &Path) -> Result<()> {
    let path = folder.join(FILE);
    let text = serde_json::to_vec_pretty(record).map_err(std::io::Error::from);
    text.and_then(|text| sprat_task::write::bytes(&path, &text))
        .map_err(|error| Error::io(&STORAGE, "write the record of the run", &path, &error))
}
