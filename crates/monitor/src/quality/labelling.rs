//! A small budget of labels, spent where it tells the most and still without bias.

use rand::Rng;
use serde::{Deserialize, Serialize};
use sprat_eval::{Interval, LEVEL, normal_quantile};
use sprat_task::random::stream;

/// The share of the budget that is spread evenly, whatever the confidence: it bounds the weight
/// of a row, and it is what can find a model that is confidently wrong.
const EVEN: f64 = 0.3;

/// A request that could be labelled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The caller's number for the request.
    pub id: u64,
    /// The calibrated confidence: the predicted chance that the answer is right.
    pub confidence: f64,
}

/// A request that is worth labelling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The request.
    pub id: u64,
    /// The probability with which it was drawn; it must be kept for the estimate.
    pub probability: f64,
}

/// A labelled request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gold {
    /// The confidence that the estimate was made with.
    pub confidence: f64,
    /// The probability with which the request was drawn.
    pub probability: f64,
    /// Whether the answer was right.
    pub right: bool,
}

/// Draws about `budget` requests, each by itself (Poisson sampling), with a probability in
/// proportion to the standard deviation of being right, `√(c(1 − c))` (Neyman's allocation), mixed
/// with an even share. What is drawn depends on the seed and on each request's place.
pub fn worth_labelling(candidates: &[Candidate], budget: usize, seed: u64) -> Vec<Asked> {
    let spread = |candidate: &Candidate| {
        let c = if candidate.confidence.is_nan() { 0.5 } else { candidate.confidence };
        (c.clamp(0.0, 1.0) * (1.0 - c.clamp(0.0, 1.0))).sqrt()
    };
    let total: f64 = candidates.iter().map(spread).sum();
    let n = candidates.len() as f64;
    let mut rng = stream(seed, "watch labelling");
    let mut asked = Vec::new();
    for candidate in candidates {
        let uncertain = if total > 0.0 { spread(candidate) / total } else { 1.0 / n };
        let share = EVEN / n + (1.0 - EVEN) * uncertain;
        let enough = budget >= candidates.len();
        let probability = if enough { 1.0 } else { (budget as f64 * share).min(1.0) };
        if rng.random::<f64>() < probability {
            asked.push(Asked { id: candidate.id, probability });
        }
    }
    asked
}

/// The accuracy over all candidates from the few that were labelled: the mean predicted chance of
/// being right, corrected by the labelled errors of that prediction, each divided by its
/// probability (the difference estimator of survey sampling; with machine predictions
/// Angelopoulos et al., "Prediction-powered inference", 2023, arXiv:2301.09633). Unbiased whatever
/// the confidence is worth, so it also sees concept change. `None` without candidates or labels.
pub fn labelled_accuracy(candidates: &[Candidate], gold: &[Gold]) -> Option<Interval> {
    labelled_accuracy_of(candidates.len() as u64, mean_confidence(candidates), gold)
}

/// The mean predicted chance of being right.
pub fn mean_confidence(candidates: &[Candidate]) -> f64 {
    let sum: f64 = candidates.iter().map(|candidate| known(candidate.confidence)).sum();
    sum / candidates.len().max(1) as f64
}

fn known(confidence: f64) -> f64 {
    if confidence.is_nan() { 0.5 } else { confidence.clamp(0.0, 1.0) }
}

/// [`labelled_accuracy`] over so many candidates, of which only the mean predicted chance of being
/// right was kept.
pub fn labelled_accuracy_of(candidates: u64, predicted: f64, gold: &[Gold]) -> Option<Interval> {
    if candidates == 0 || gold.is_empty() {
        return None;
    }
    let n = candidates as f64;
    let (mut correction, mut variance) = (0.0, 0.0);
    for row in gold {
        let error = f64::from(u8::from(row.right)) - known(row.confidence);
        let probability = row.probability.clamp(1e-9, 1.0);
        correction += error / probability;
        // The Horvitz–Thompson variance of Poisson sampling.
        variance += (1.0 - probability) * (error / probability).powi(2);
    }
    let estimate = predicted + correction / n;
    let half = normal_quantile(0.5 + LEVEL / 2.0) * variance.sqrt() / n;
    let inside = |x: f64| x.clamp(0.0, 1.0);
    Some(Interval::new(inside(estimate), inside(estimate - half), inside(estimate + half), LEVEL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests of which the model is right as often as it says, times `honesty`.
    fn world(honesty: f64, seed: u64) -> (Vec<Candidate>, Vec<bool>) {
        let mut rng = stream(seed, "world");
        (0..4000)
            .map(|id| {
                let confidence = 0.4 + 0.6 * rng.random::<f64>();
                (Candidate { id, confidence }, rng.random::<f64>() < confidence * honesty)
            })
            .unzip()
    }

    fn gold(candidates: &[Candidate], right: &[bool], budget: usize, seed: u64) -> Vec<Gold> {
        let asked = worth_labelling(candidates, budget, seed);
        let label = |asked: &Asked| Gold {
            confidence: candidates[asked.id as usize].confidence,
            probability: asked.probability,
            right: right[asked.id as usize],
        };
        asked.iter().map(label).collect()
    }

    #[test]
    fn the_interval_holds_the_truth_even_when_the_confidence_lies() {
        for honesty in [1.0, 0.5] {
            let (mut held, mut sum) = (0, 0.0);
            for seed in 0..200 {
                let (candidates, right) = world(honesty, seed);
                let truth = right.iter().filter(|right| **right).count() as f64 / 4000.0;
                let gold = gold(&candidates, &right, 200, seed);
                let found = labelled_accuracy(&candidates, &gold).unwrap();
                held += u32::from((found.low..=found.high).contains(&truth));
                sum += found.estimate - truth;
            }
            assert!((180..=199).contains(&held), "{honesty}: {held} of 200");
            assert!((sum / 200.0).abs() < 0.01, "{honesty}: biased by {}", sum / 200.0);
        }
    }

    #[test]
    fn the_budget_is_met_on_average_and_goes_to_the_uncertain() {
        let (candidates, _) = world(1.0, 1);
        let asked = worth_labelling(&candidates, 200, 3);
        assert!((150..250).contains(&asked.len()), "{}", asked.len());
        let mean = asked.iter().map(|a| candidates[a.id as usize].confidence).sum::<f64>()
            / asked.len() as f64;
        assert!(mean < 0.68, "{mean}");
        assert_eq!(asked, worth_labelling(&candidates, 200, 3));
        assert_eq!(worth_labelling(&candidates, 10_000, 3).len(), 4000);
        assert!(worth_labelling(&[], 10, 1).is_empty());
        assert!(labelled_accuracy(&candidates, &[]).is_none());
    }
}
