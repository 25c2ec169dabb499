//! What runs have in common, whatever is trained: a folder with a lock, checkpoints, a model that
//! is put in its place whole, and a record; and before it, where the recipe has a budget, a
//! search.

use crate::codes::STORAGE;
use crate::learner::Measure;
use crate::lock::Lock;
use crate::recipe::Recipe;
use crate::record::{self, Record};
use crate::run::MODEL_FOLDER;
use crate::search;
use crate::state::Checkpoints;
use sprat_task::{Digest, Error, Progress, Result};
use std::path::Path;

/// How and where a run goes.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) recipe: &'a Recipe,
    /// The run folder; it is made if missing.
    pub(crate) folder: &'a Path,
    /// Where things that runs may share are kept.
    pub(crate) cache: &'a Path,
    pub(crate) progress: &'a dyn Progress,
}

/// Bounds of a run that are not part of its recipe.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Training ends after so many seconds: for trials of a search.
    pub(crate) seconds: Option<f64>,
}

/// What the common machinery has prepared for one run.
pub(crate) struct Prepared<'a> {
    /// The digest of everything that decides the result.
    pub(crate) run: Digest,
    pub(crate) checkpoints: &'a Checkpoints,
    /// The folder for the model; it is put in its place when it is whole.
    pub(crate) model: &'a Path,
    pub(crate) limits: &'a Limits,
}

/// Something to be trained, with its data.
pub(crate) trait Work {
    /// What validation measures.
    type Measure: Measure;
    /// The record of a finished run.
    type Record: Record<Measure = Self::Measure>;

    /// Whether it can be trained at all.
    ///
    /// # Errors
    /// What is wrong with data or recipe.
    fn check(&self) -> Result<()>;

    /// The digest of everything that decides the result.
    fn digest(&self, recipe: &Recipe) -> Digest;

    /// Trains, and writes the model.
    ///
    /// # Errors
    /// As [`crate::train`].
    fn run(&self, frame: &Frame<'_>, prepared: &Prepared<'_>) -> Result<Self::Record>;

    /// Whether a folder holds a whole model.
    fn is_model(&self, folder: &Path) -> bool;
}

/// Trains with the recipe as it is.
pub(crate) fn train<W: Work>(work: &W, frame: &Frame<'_>) -> Result<W::Record> {
    work.check()?;
    let _lock = Lock::take(frame.folder)?;
    train_in(work, frame, &Limits::default())
}

/// Trains; where the recipe has a budget, a search comes first.
pub(crate) fn tune<W: Work>(work: &W, frame: &Frame<'_>) -> Result<W::Record> {
    work.check()?;
    let _lock = Lock::take(frame.folder)?;
    let Some(budget) = frame.recipe.budget else {
        return train_in(work, frame, &Limits::default());
    };
    let (recipe, found) = search::search_in(work, frame, budget.0)?;
    let last = Frame { recipe: &recipe, ..*frame };
    let mut record = match finished(work, &last) {
        Some(record) => record,
        None => match search::finished_trial(work, &last, &found) {
            Some((trial, record)) => adopt(&trial, frame.folder, record)?,
            None => train_in(work, &last, &Limits::default())?,
        },
    };
    let kept = record.search_mut();
    if kept.is_none() {
        *kept = Some(found);
        record::write(&record, frame.folder)?;
    }
    search::remove_trials(frame.folder);
    Ok(record)
}

/// The finished run of this very work in its folder.
fn finished<W: Work>(work: &W, frame: &Frame<'_>) -> Option<W::Record> {
    let record: W::Record = record::read(frame.folder)?;
    let whole = work.is_model(&frame.folder.join(MODEL_FOLDER));
    (whole && record.run() == work.digest(frame.recipe)).then_some(record)
}

/// Moves a trial's model to where the final run's would be.
fn adopt<R: Record>(trial: &Path, folder: &Path, record: R) -> Result<R> {
    replace_folder(&trial.join(MODEL_FOLDER), &folder.join(MODEL_FOLDER))?;
    record::write(&record, folder)?;
    Ok(record)
}

/// Puts a folder in the place of another.
fn replace_folder(from: &Path, to: &Path) -> Result<()> {
    let moved = (|| {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        std::fs::rename(from, to)
    })();
    moved.map_err(|error| Error::io(&STORAGE, "put the model in its place", to, &error))
}

/// [`train`] in a folder whose lock is held.
pub(crate) fn train_in<W: Work>(work: &W, frame: &Frame<'_>, limits: &Limits) -> Result<W::Record> {
    if let Some(record) = finished(work, frame) {
        return Ok(record);
    }
    let run = work.digest(frame.recipe);
    let checkpoints = Checkpoints::new(frame.folder, run);
    std::fs::create_dir_all(frame.folder)
        .map_err(|error| Error::io(&STORAGE, "make the run folder", frame.folder, &error))?;
    // From here on the folder belongs to this run; the record of an earlier one would lie.
    checkpoints.claim()?;
    let _ = std::fs::remove_file(frame.folder.join(record::FILE));
    let fresh = frame.folder.join(format!("{MODEL_FOLDER}.new"));
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)
            .map_err(|error| Error::io(&STORAGE, "clear the folder", &fresh, &error))?;
    }
    let prepared = Prepared { run, checkpoints: &checkpoints, model: &fresh, limits };
    let record = work.run(frame, &prepared)?;
    replace_folder(&fresh, &frame.folder.join(MODEL_FOLDER))?;
    record::write(&record, frame.folder)?;
    checkpoints.remove();
    Ok(record)
}
