//! The search for a learning rate and a rank, within a budget of time.

use crate::codes::{DIVERGED, SEARCH, STORAGE};
use crate::learner::Measure;
use crate::metrics::Metrics;
use crate::recipe::{Recipe, digest};
use crate::record::{self, Record};
use crate::run::Job;
use crate::strategy::{self, Settings, Trial};
use crate::work::{Frame, Limits, Work, train_in};
use serde::{Deserialize, Serialize};
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE: &str = "search.json";
const TRIALS: &str = "trials";

/// What a search tried and chose. A budget of time makes the number of trials depend on the
/// machine; the settings chosen are therefore part of the record, and reproducing a run trains
/// with them instead of searching again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found<M = Metrics> {
    /// The digest of the run that the search began from: recipe, data, base model.
    pub run: Digest,
    /// Seconds that the search was given.
    pub budget_seconds: f64,
    /// Every trial, in order.
    pub trials: Vec<Trial<M>>,
    /// The learning rate and rank for the final run; `None` while the search goes on.
    pub chosen: Option<Settings>,
    /// Whether the budget ended the search before its plan was done.
    pub cut: bool,
}

/// Searches for the settings of the final run and returns the recipe with them, and the record.
///
/// Finished trials are kept in the run folder: a search that was killed goes on with the trial it
/// was in. A trial that would overrun the budget is ended early; the first one is always made.
///
/// # Errors
/// `SPRAT-TRAIN-SEARCH` when no trial gave a usable result; those of [`crate::train`].
pub fn search(job: &Job<'_>, budget: Duration) -> Result<(Recipe, Found)> {
    job.check()?;
    let _lock = crate::lock::Lock::take(job.folder)?;
    search_in(job, &job.frame(), budget)
}

/// [`search`] in a folder whose lock is held.
pub(crate) fn search_in<W: Work>(
    work: &W,
    frame: &Frame<'_>,
    budget: Duration,
) -> Result<(Recipe, Found<W::Measure>)> {
    let run = work.digest(frame.recipe);
    let path = frame.folder.join(FILE);
    let kept = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let fresh = || Found {
        run,
        budget_seconds: budget.as_secs_f64(),
        trials: Vec::new(),
        chosen: None,
        cut: false,
    };
    // The record of another search, or a torn one, is of no use to this one.
    let mut found = kept.filter(|kept: &Found<W::Measure>| kept.run == run).unwrap_or_else(fresh);
    if found.chosen.is_none() || found.budget_seconds != budget.as_secs_f64() {
        found.budget_seconds = budget.as_secs_f64();
        continue_search(work, frame, &mut found, &path)?;
    }
    let chosen = found.chosen.map(|settings| Recipe {
        // The final run has the recipe's length, whatever the length of the best trial.
        epochs: frame.recipe.epochs,
        ..strategy::with(frame.recipe, &settings)
    });
    Ok((chosen.unwrap_or_else(|| frame.recipe.clone()), found))
}

fn continue_search<W: Work>(
    work: &W,
    frame: &Frame<'_>,
    found: &mut Found<W::Measure>,
    path: &Path,
) -> Result<()> {
    found.cut = false;
    while let Some(settings) = strategy::next(frame.recipe, &found.trials) {
        let spent: f64 = found.trials.iter().map(|trial| trial.seconds).sum();
        let left = found.budget_seconds - spent;
        if !found.trials.is_empty() && left < expected(&settings, &found.trials) * WORTHWHILE {
            found.cut = true;
            break;
        }
        frame.progress.note(&format!(
            "trial {}: learning rate {:.1e}, rank {}",
            found.trials.len() + 1,
            settings.learning_rate,
            settings.rank
        ));
        let trial = run_trial(work, frame, settings, left.max(0.0))?;
        found.trials.push(trial);
        save(found, path)?;
    }
    found.chosen = strategy::chosen(frame.recipe, &found.trials).map(|trial| trial.settings);
    if found.chosen.is_none() && !found.trials.is_empty() {
        let why = format!("{} trials diverged", found.trials.len());
        return Err(Error::new(&SEARCH, "the search found no settings that work").why(why));
    }
    save(found, path)
}

/// A trial is begun only if this share of the time it will need is left.
const WORTHWHILE: f64 = 0.7;

/// How long a trial will take, from the seconds an epoch of the others took.
fn expected<M>(settings: &Settings, trials: &[Trial<M>]) -> f64 {
    let (seconds, epochs) = trials
        .iter()
        .filter(|trial| !trial.cut && trial.metrics.is_some())
        .fold((0.0, 0.0), |sum, trial| (sum.0 + trial.seconds, sum.1 + trial.settings.epochs));
    if epochs > 0.0 { seconds / epochs * settings.epochs } else { 0.0 }
}

fn run_trial<W: Work>(
    work: &W,
    frame: &Frame<'_>,
    settings: Settings,
    seconds: f64,
) -> Result<Trial<W::Measure>> {
    let recipe = strategy::with(frame.recipe, &settings);
    let folder = trial_folder(frame.folder, &recipe);
    let began = Instant::now();
    let trial = Frame { recipe: &recipe, folder: &folder, ..*frame };
    match train_in(work, &trial, &Limits { seconds: Some(seconds) }) {
        Ok(record) => {
            // A trial that a kill cut in two has its earlier part in the record only.
            let seconds = record.seconds().max(began.elapsed().as_secs_f64());
            let (metrics, cut) = (Some(record.validation()), record.cut());
            Ok(Trial { settings, metrics, seconds, cut })
        }
        Err(error) if error.code() == &DIVERGED => {
            let seconds = began.elapsed().as_secs_f64();
            Ok(Trial { settings, metrics: None, seconds, cut: false })
        }
        Err(error) => Err(error),
    }
}

fn trial_folder(folder: &Path, recipe: &Recipe) -> PathBuf {
    folder.join(TRIALS).join(digest(recipe).short())
}

/// The finished run of a trial that had the whole length of `recipe`: the final run would only
/// repeat it.
pub(crate) fn finished_trial<W: Work>(
    work: &W,
    frame: &Frame<'_>,
    found: &Found<W::Measure>,
) -> Option<(PathBuf, W::Record)> {
    let recipe = frame.recipe;
    let whole = |trial: &&Trial<W::Measure>| {
        let settings = trial.settings;
        !trial.cut
            && settings.epochs == recipe.epochs
            && Some(settings.learning_rate) == recipe.learning_rate
            && settings.rank == recipe.rank
    };
    found.trials.iter().find(whole)?;
    let folder = trial_folder(frame.folder, recipe);
    let record: W::Record = record::read(&folder)?;
    (record.run() == work.digest(recipe)).then_some((folder, record))
}

/// Removes the trials' folders; their results stay in the record.
pub(crate) fn remove_trials(folder: &Path) {
    // What is left over costs space, nothing else.
    let _ = std::fs::remove_dir_all(folder.join(TRIALS));
}

fn save<M: Measure>(found: &Found<M>, path: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(found).map_err(std::io::Error::from);
    text.and_then(|text| sprat_task::write::bytes(path, &text))
        .map_err(|error| Error::io(&STORAGE, "keep the trials of the search", path, &error))
}
