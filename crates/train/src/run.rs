//! A run from its inputs to a classifier in a folder.

use crate::codes::{DATA, STORAGE};
use crate::encoder::{self, Tuned};
use crate::history::Best;
use crate::lock::Lock;
use crate::recipe::{self, Recipe};
use crate::record::{self, Outcome};
use crate::state::Checkpoints;
use crate::{fit, memory, search};
use sprat_model::BaseModel;
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::path::Path;

/// The folder in the run folder that holds the classifier.
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
        Digest::of_json(&serde_json::json!({
            "base": self.base_model.digest,
            "train": recipe::data_digest(self.train, self.labels),
            "valid": recipe::data_digest(self.valid, self.labels),
            "recipe": recipe::digest(self.recipe),
        }))
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

/// Bounds of a run that are not part of its recipe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Training ends after so many seconds: for trials of a search.
    pub(crate) seconds: Option<f64>,
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
    job.check()?;
    let _lock = Lock::take(job.folder)?;
    train_in(job, &Limits::default()).map(|(outcome, _)| outcome)
}

/// Trains a classifier; where the recipe has a budget, [`search`](crate::search()) finds the
/// learning rate and the rank first.
///
/// # Errors
/// Those of [`train`] and of the search.
pub fn tune(job: &Job<'_>) -> Result<Outcome> {
    job.check()?;
    let _lock = Lock::take(job.folder)?;
    let Some(budget) = job.recipe.budget else {
        return train_in(job, &Limits::default()).map(|(outcome, _)| outcome);
    };
    let (recipe, found) = search::search_in(job, budget.0)?;
    let final_job = Job { recipe: &recipe, ..*job };
    let mut outcome = match finished(&final_job) {
        Some(outcome) => outcome,
        None => match search::finished_trial(job, &recipe, &found) {
            Some((trial, outcome)) => adopt(&trial, job.folder, outcome)?,
            None => train_in(&final_job, &Limits::default())?.0,
        },
    };
    if outcome.search.is_none() {
        outcome.search = Some(found);
        outcome.write(job.folder)?;
    }
    search::remove_trials(job.folder);
    Ok(outcome)
}

/// The finished run of this very job in its folder.
fn finished(job: &Job<'_>) -> Option<Outcome> {
    let outcome = Outcome::read(job.folder)?;
    let whole = job.folder.join(MODEL_FOLDER).join(sprat_model::MANIFEST).exists();
    (whole && outcome.run == job.digest()).then_some(outcome)
}

/// Moves a trial's classifier to where the final run's would be.
fn adopt(trial: &Path, folder: &Path, outcome: Outcome) -> Result<Outcome> {
    replace_folder(&trial.join(MODEL_FOLDER), &folder.join(MODEL_FOLDER))?;
    outcome.write(folder)?;
    Ok(outcome)
}

/// Puts a folder in the place of another.
fn replace_folder(from: &Path, to: &Path) -> Result<()> {
    let moved = (|| {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        std::fs::rename(from, to)
    })();
    moved.map_err(|error| Error::io(&STORAGE, "put the classifier in its place", to, &error))
}

/// [`train`] in a folder whose lock is held.
pub(crate) fn train_in(job: &Job<'_>, limits: &Limits) -> Result<(Outcome, bool)> {
    if let Some(outcome) = finished(job) {
        let cut = outcome.cut;
        return Ok((outcome, cut));
    }
    let recipe = recipe::resolve(job.recipe);
    let run = job.digest();
    let checkpoints = Checkpoints::new(job.folder, run);
    std::fs::create_dir_all(job.folder)
        .map_err(|error| Error::io(&STORAGE, "make the run folder", job.folder, &error))?;
    // From here on the folder belongs to this run; the record of an earlier one would lie.
    checkpoints.claim()?;
    let _ = std::fs::remove_file(job.folder.join(record::FILE));

    let prepared = encoder::prepare(job, &recipe)?;
    let mut notes = prepared.notes();
    let frozen_head = prepared.head.metrics;
    let mut tuned = Tuned::new(job, &recipe, prepared)?;
    let fitted = match recipe.method {
        sprat_task::settings::Method::Head => fit::Fitted::nothing(frozen_head),
        _ => {
            let (lengths, gold) = (tuned.lengths(), tuned.gold());
            let plan = fit::Plan {
                recipe: &recipe,
                rate: recipe.learning_rate.unwrap_or_default(),
                lengths: &lengths,
                gold: &gold,
                classes: job.labels.len(),
                checkpoints: &checkpoints,
                progress: job.progress,
                interrupt: job.interrupt,
                seconds: limits.seconds,
            };
            fit::fit(&mut tuned, &plan, &mut notes)?
        }
    };
    let (trainable, total) = tuned.parameters_count();
    let fresh = job.folder.join(format!("{MODEL_FOLDER}.new"));
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)
            .map_err(|error| Error::io(&STORAGE, "clear the folder", &fresh, &error))?;
    }
    let validation = tuned.finish(job, &fresh)?;
    replace_folder(&fresh, &job.folder.join(MODEL_FOLDER))?;
    let Best { step: best_step, .. } = fitted.best;
    let outcome = Outcome {
        schema: record::SCHEMA.to_owned(),
        run,
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
    };
    outcome.write(job.folder)?;
    checkpoints.remove();
    Ok((outcome, fitted.cut))
}
