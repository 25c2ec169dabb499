//! A run from its inputs to a classifier in a folder.

use crate::codes::DATA;
use crate::encoder::{self, Tuned};
use crate::history::Best;
use crate::metrics::Metrics;
use crate::recipe::{self, Recipe};
use crate::record::{self, Outcome};
use crate::work::{self, Frame, Prepared, Work};
use crate::{fit, memory};
use sprat_model::BaseModel;
use sprat_task::settings::Method;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::path::Path;

/// The folder in the run folder that holds the trained model.
pub const MODEL_FOLDER: &str = "model";

/// What is to be trained, on what, and where.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The folder of the base model.
    pub base: &'a Path,
    /// The base model's reference, for the classifier's manifest, and the digest of its files,
    /// by which runs tell bases apart.
    pub base_model: &'a BaseModel,
    /// The training part: texts with the index of their class.
    pub train: &'a [(String, usize)],
    /// The validation part, which decides when to stop and what to keep.
    pub valid: &'a [(String, usize)],
    /// The classes, by index.
    pub labels: &'a [String],
    /// How to train.
    pub recipe: &'a Recipe,
    /// The run folder; it is made if missing.
    pub folder: &'a Path,
    /// Where embeddings of the frozen base are kept; the run folder if none is given. Runs on
    /// the same texts may share it.
    pub cache: Option<&'a Path>,
    /// Told how far the work is.
    pub progress: &'a dyn Progress,
    /// Looked at in every step.
    pub interrupt: &'a Interrupt,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("base", &self.base).field("folder", &self.folder).finish()
    }
}

impl Job<'_> {
    /// The digest of everything that decides the result: base model, data, labels, recipe.
    pub fn digest(&self) -> Digest {
        let mut all = serde_json::json!({
            "base": self.base_model.digest,
            "train": recipe::data_digest(self.train, self.labels),
            "valid": recipe::data_digest(self.valid, self.labels),
            "recipe": recipe::digest(self.recipe),
        });
        if self.recipe.method == Method::Lora {
            // Adapters were once trained without the base's dropout; such a run is another one.
            all["base_dropout"] = true.into();
        }
        Digest::of_json(&all)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(&DATA, what));
        if self.labels.len() < 2 {
            return wrong(format!("a classifier needs two classes, not {}", self.labels.len()));
        }
        for (name, part) in [("training", self.train), ("validation", self.valid)] {
            if part.is_empty() {
                return wrong(format!("the {name} part is empty"));
            }
            if let Some((_, class)) = part.iter().find(|(_, class)| *class >= self.labels.len()) {
                return wrong(format!("the {name} part has class {class}, which has no label"));
            }
        }
        let mut missing = vec![true; self.labels.len()];
        self.train.iter().for_each(|(_, class)| missing[*class] = false);
        let names = self.labels.iter().zip(&missing).filter(|(_, missing)| **missing);
        let names: Vec<&str> = names.map(|(label, _)| label.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        wrong(format!("the training part has no example of `{}`", names.join("`, `")))
    }
}

/// Trains a classifier with the recipe as it is.
///
/// The classifier is left in [`MODEL_FOLDER`] of the run folder, the record beside it. A run that
/// has finished in this folder is not repeated; one that was stopped or killed goes on.
///
/// # Errors
/// `SPRAT-TRAIN-DATA` for parts that can't be trained on, `SPRAT-TRAIN-LOCKED` when another run
/// is at work in the folder, `SPRAT-TRAIN-OTHER-RUN` when it holds an unfinished run of something
/// else, `SPRAT-TRAIN-DIVERGED`, `SPRAT-TRAIN-CHECKPOINT`, `SPRAT-TRAIN-STORAGE`,
/// `SPRAT-INTERRUPTED` with the state kept, and what opening the model says.
pub fn train(job: &Job<'_>) -> Result<Outcome> {
    work::train(job, &job.frame())
}

/// Trains a classifier; where the recipe has a budget, [`search`](crate::search()) finds the
/// learning rate and the rank first.
///
/// # Errors
/// Those of [`train`] and of the search.
pub fn tune(job: &Job<'_>) -> Result<Outcome> {
    work::tune(job, &job.frame())
}

impl Job<'_> {
    pub(crate) fn frame(&self) -> Frame<'_> {
        Frame {
            recipe: self.recipe,
            folder: self.folder,
            cache: self.cache.unwrap_or(self.folder),
            progress: self.progress,
        }
    }
}

impl Work for Job<'_> {
    type Measure = Metrics;
    type Record = Outcome;

    fn check(&self) -> Result<()> {
        Job::check(self)
    }

    fn digest(&self, recipe: &Recipe) -> Digest {
        Job { recipe, ..*self }.digest()
    }

    fn is_model(&self, folder: &Path) -> bool {
        folder.join(sprat_model::MANIFEST).exists()
    }

    fn run(&self, frame: &Frame<'_>, prepared: &Prepared<'_>) -> Result<Outcome> {
        let Frame { folder, cache, .. } = *frame;
        let job = &Job { recipe: frame.recipe, folder, cache: Some(cache), ..*self };
        let recipe = recipe::resolve(job.recipe);
        let begun = encoder::prepare(job, &recipe)?;
        let mut notes = begun.notes();
        let frozen_head = begun.head.metrics;
        let mut tuned = Tuned::new(job, &recipe, begun)?;
        let fitted = match recipe.method {
            sprat_task::settings::Method::Head => fit::Fitted::nothing(frozen_head),
            _ => {
                let lengths = tuned.lengths();
                let plan = fit::Plan {
                    recipe: &recipe,
                    rate: recipe.learning_rate.unwrap_or_default(),
                    lengths: &lengths,
                    validated: job.valid.len(),
                    checkpoints: prepared.checkpoints,
                    progress: job.progress,
                    interrupt: job.interrupt,
                    seconds: prepared.limits.seconds,
                };
                fit::fit(&mut tuned, &plan, &mut notes)?
            }
        };
        let (trainable, total) = tuned.parameters_count();
        let validation = tuned.finish(job, prepared.model)?;
        let Best { step: best_step, .. } = fitted.best;
        Ok(Outcome {
            schema: record::SCHEMA.to_owned(),
            run: prepared.run,
            base: job.base_model.clone(),
            train_data: recipe::data_digest(job.train, job.labels),
            valid_data: recipe::data_digest(job.valid, job.labels),
            train_examples: job.train.len(),
            valid_examples: job.valid.len(),
            labels: job.labels.to_vec(),
            trainable_parameters: trainable,
            total_parameters: total,
            steps: fitted.steps,
            planned_steps: fitted.planned,
            best_step,
            validation,
            frozen_head,
            temperature: validation.temperature,
            history: fitted.history,
            seconds: fitted.seconds,
            peak_memory_bytes: memory::peak(),
            search: None,
            cut: fitted.cut,
            notes,
            recipe,
        })
    }
}
