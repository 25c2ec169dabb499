//! Which settings the search tries next: a pure function of the recipe and the trials so far, so
//! that a search that was killed goes on exactly where it stood.

use crate::learner::Measure;
use crate::metrics::Metrics;
use crate::recipe::{Recipe, resolve};
use serde::{Deserialize, Serialize};
use sprat_task::settings::Method;

/// The settings of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The highest learning rate.
    pub learning_rate: f64,
    /// The adapters' rank; the scale `alpha / rank` stays that of the recipe.
    pub rank: usize,
    /// Passes through the training part; a short trial makes fewer than the recipe.
    pub epochs: f64,
}

/// A trial that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial<M = Metrics> {
    /// What was tried.
    pub settings: Settings,
    /// The best validation of the trial; `None` if it diverged.
    pub metrics: Option<M>,
    /// How long it took.
    pub seconds: f64,
    /// Whether the budget ended it before its steps or patience did.
    pub cut: bool,
}

/// The factor between neighbouring learning rates.
const FACTOR: f64 = 3.0;
/// So many times the search follows the best rate beyond the first three.
const FOLLOW: usize = 2;
/// Short trials have this share of the recipe's epochs.
const SHORT: f64 = 1.0 / 3.0;
/// So many settings are tried at full length.
const FINALISTS: usize = 2;

/// The recipe with a trial's settings.
#[must_use]
pub(crate) fn with(recipe: &Recipe, settings: &Settings) -> Recipe {
    let Settings { learning_rate, rank, epochs } = *settings;
    let alpha = recipe.alpha * rank as f64 / recipe.rank.max(1) as f64;
    Recipe { learning_rate: Some(learning_rate), rank, alpha, epochs, ..recipe.clone() }
}

/// The settings to try after `trials`, or `None` when the search is complete.
///
/// Three stages: short trials over the learning rate, three to begin with and then further in the
/// direction of the best; short trials of half and twice the rank at the best rate; the best two
/// settings at full length. The rate comes first because it matters most (Hu et al. 2021 and
/// Biderman et al. 2024, arXiv:2405.09673, find quality flat in the rank and steep in the rate).
pub(crate) fn next<M: Measure>(recipe: &Recipe, trials: &[Trial<M>]) -> Option<Settings> {
    let recipe = resolve(recipe);
    if recipe.method == Method::Head {
        // The head's only free setting, its regularization, is chosen by every run itself.
        return None;
    }
    let full = recipe.epochs;
    let short = (full * SHORT).max(full.min(1.0));
    let center = recipe.learning_rate?;
    let at = |learning_rate, rank| Settings { learning_rate, rank, epochs: short };
    let tried = |settings: &Settings| trials.iter().any(|trial| trial.settings == *settings);

    let first = [1.0, FACTOR, 1.0 / FACTOR].map(|factor| at(center * factor, recipe.rank));
    if let Some(open) = first.into_iter().find(|settings| !tried(settings)) {
        return Some(open);
    }
    let rates: Vec<&Trial<M>> =
        trials.iter().filter(|trial| same(&trial.settings, short, recipe.rank)).collect();
    let best = best(rates.iter().copied())?.settings.learning_rate;
    let rate = |trial: &Trial<M>| trial.settings.learning_rate;
    if rates.len() < first.len() + FOLLOW {
        if rates.iter().all(|trial| rate(trial) <= best) {
            return Some(at(best * FACTOR, recipe.rank));
        }
        if rates.iter().all(|trial| rate(trial) >= best) {
            return Some(at(best / FACTOR, recipe.rank));
        }
    }
    if recipe.method == Method::Lora {
        let ranks = [recipe.rank / 2, recipe.rank * 2];
        let mut open = ranks.into_iter().filter(|&rank| rank > 0).map(|rank| at(best, rank));
        if let Some(open) = open.find(|settings| !tried(settings)) {
            return Some(open);
        }
    }
    if short == full {
        return None;
    }
    let mut short_ones: Vec<&Trial<M>> =
        trials.iter().filter(|t| t.settings.epochs == short).collect();
    short_ones.retain(|trial| trial.metrics.is_some());
    short_ones.sort_by(|a, b| order(a, b));
    let finalists = short_ones.into_iter().take(FINALISTS);
    let mut finalists = finalists.map(|trial| Settings { epochs: full, ..trial.settings });
    finalists.find(|settings| !tried(settings))
}

/// The settings that won: the best full-length trial, or without one the best short trial.
pub(crate) fn chosen<'a, M: Measure>(
    recipe: &Recipe,
    trials: &'a [Trial<M>],
) -> Option<&'a Trial<M>> {
    let full = |trial: &&Trial<M>| trial.settings.epochs == recipe.epochs && !trial.cut;
    best(trials.iter().filter(full)).or_else(|| best(trials.iter()))
}

fn same(settings: &Settings, epochs: f64, rank: usize) -> bool {
    settings.epochs == epochs && settings.rank == rank
}

fn best<'a, M: Measure + 'a>(trials: impl Iterator<Item = &'a Trial<M>>) -> Option<&'a Trial<M>> {
    trials.filter(|trial| trial.metrics.is_some()).min_by(|a, b| order(a, b))
}

/// Better trials first; the earlier of equals, since sorting and `min_by` are stable.
fn order<M: Measure>(a: &Trial<M>, b: &Trial<M>) -> std::cmp::Ordering {
    let score = |trial: &Trial<M>| trial.metrics.map_or(f64::INFINITY, |found| found.score());
    score(a).total_cmp(&score(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the strategy against a loss that is a function of the settings.
    fn play(recipe: &Recipe, loss: impl Fn(&Settings) -> Option<f64>) -> Vec<Trial> {
        let mut trials = Vec::new();
        while let Some(settings) = next(recipe, &trials) {
            let metrics = loss(&settings).map(|brier| Metrics {
                accuracy: 0.5,
                macro_f1: 0.5,
                loss: brier,
                refined_loss: brier,
                brier,
                temperature: 1.0,
            });
            trials.push(Trial { settings, metrics, seconds: 1.0, cut: false });
            assert!(trials.len() < 20, "the search ends");
        }
        trials
    }

    fn distance(rate: f64, ideal: f64) -> f64 {
        (rate / ideal).ln().abs()
    }

    #[test]
    fn the_search_follows_the_rate_and_then_asks_for_the_rank() {
        let recipe = Recipe { learning_rate: Some(1e-3), ..Recipe::default() };
        let loss = |settings: &Settings| {
            Some(
                distance(settings.learning_rate, 1e-2)
                    + if settings.rank == 32 { 0.0 } else { 0.1 },
            )
        };
        let trials = play(&recipe, loss);
        let best = chosen(&recipe, &trials).unwrap().settings;
        assert!((best.learning_rate - 9e-3).abs() < 1e-9, "{best:?}");
        assert_eq!((best.rank, best.epochs), (32, recipe.epochs));
        assert_eq!(with(&recipe, &best).alpha, 64.0);
        assert_eq!(trials, play(&recipe, loss), "the same losses, the same trials");
    }

    #[test]
    fn diverged_trials_are_passed_over_and_all_diverged_is_no_choice() {
        let recipe = Recipe { learning_rate: Some(1.0), ..Recipe::default() };
        let trials = play(&recipe, |settings| {
            (settings.learning_rate < 0.5).then(|| distance(settings.learning_rate, 1e-1))
        });
        let best = chosen(&recipe, &trials).unwrap().settings.learning_rate;
        assert!((best - 1.0 / 9.0).abs() < 1e-9, "{best}");
        assert_eq!(chosen(&recipe, &play(&recipe, |_| None)), None);
    }

    #[test]
    fn a_head_has_nothing_to_search() {
        let head = Recipe { method: Method::Head, ..Recipe::default() };
        assert_eq!(next::<Metrics>(&head, &[]), None);
    }

    #[test]
    fn a_search_cut_short_chooses_among_what_it_has() {
        let recipe = Recipe { learning_rate: Some(1e-3), ..Recipe::default() };
        let mut trials = play(&recipe, |settings| Some(distance(settings.learning_rate, 3e-3)));
        trials.truncate(2);
        assert_eq!(chosen(&recipe, &trials).unwrap().settings, trials[1].settings);
    }
}
