//! A difficulty head: logistic regression on the embeddings of requests, trained to tell those that
//! the small model gets right.

use crate::parts::groups;
use crate::{Graded, codes};
use serde::{Deserialize, Serialize};
use sprat_nn::lbfgs;
use sprat_task::{Error, Interrupt, Result};

/// The strengths of regularization that are tried, strong to weak: the weight of half the squared
/// norm of the weights beside the mean loss, over standardized features.
const STRENGTHS: [f64; 7] = [3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003];
const FOLDS: usize = 5;
const ITERATIONS: usize = 100;
const TOLERANCE: f64 = 1e-5;

/// A trained head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// One weight per dimension of an embedding.
    pub weights: Vec<f64>,
    /// What is added to their sum.
    pub bias: f64,
    /// The strength of regularization that cross-validation chose.
    pub strength: f64,
    /// The mean loss of rows that the head was not trained on, in nats (cross-validation).
    pub loss: f64,
    /// The same of the constant guess: a head that is no better has found nothing.
    pub constant_loss: f64,
}

/// A head with a score for each row that it was trained on, given by a head that had not seen it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The head.
    pub head: Head,
    /// In the order of the rows.
    pub scores: Vec<f64>,
}

impl Head {
    /// The probability, before calibration, that the small model gets a request right; NaN for an
    /// embedding of another length.
    pub fn score(&self, embedding: &[f32]) -> f64 {
        if embedding.len() != self.weights.len() {
            return f64::NAN;
        }
        let products = self.weights.iter().zip(embedding);
        let sum: f64 = products.map(|(weight, x)| weight * f64::from(*x)).sum();
        logistic(self.bias + sum)
    }

    /// Trains on rows with an embedding each: `good[i]` says whether keeping row `i` was no
    /// failure. The strength of regularization is chosen by cross-validation over groups, and so
    /// are the scores that come back: those of a head on its own training rows promise too much,
    /// and a calibration fitted on them would be wrong.
    ///
    /// # Errors
    /// [`codes::GRADED`] for rows that can't be trained on; an interruption.
    pub fn train(
        rows: &[Graded],
        good: &[bool],
        embeddings: &[&[f32]],
        seed: u64,
        interrupt: &Interrupt,
    ) -> Result<Trained> {
        let width = embeddings.first().map_or(0, |row| row.len());
        let whole = embeddings
            .iter()
            .all(|row| row.len() == width && row.iter().all(|value| value.is_finite()));
        if width == 0 || !whole || rows.len() != good.len() || rows.len() != embeddings.len() {
            let what = "not every graded request has an embedding of the same length";
            return Err(Error::new(&codes::GRADED, what));
        }
        if rows.len() < 2 * FOLDS {
            return Err(Error::new(&codes::GRADED, "there are too few graded requests for a head"));
        }
        let fold = folds(rows, seed);
        let features = Features::of(embeddings);
        let mut scores = vec![vec![0.0; rows.len()]; STRENGTHS.len()];
        for held in 0..FOLDS {
            let inside: Vec<usize> = (0..rows.len()).filter(|at| fold[*at] != held).collect();
            let outside: Vec<usize> = (0..rows.len()).filter(|at| fold[*at] == held).collect();
            let mut point = vec![0.0; width + 1];
            for (strength, scores) in STRENGTHS.iter().zip(&mut scores) {
                interrupt.check()?;
                point = features.fit(&inside, good, point, *strength);
                for &at in &outside {
                    scores[at] = logistic(features.logit(&point, at));
                }
            }
        }
        let losses: Vec<f64> = scores.iter().map(|scores| loss(scores, good)).collect();
        let best = (0..STRENGTHS.len())
            .fold(0, |best, at| if losses[at] < losses[best] { at } else { best });
        let all: Vec<usize> = (0..rows.len()).collect();
        let mut point = vec![0.0; width + 1];
        for strength in &STRENGTHS[..=best] {
            interrupt.check()?;
            point = features.fit(&all, good, point, *strength);
        }
        let share = good.iter().filter(|good| **good).count() as f64 / good.len() as f64;
        let (weights, bias) = features.undo(&point);
        let head = Head {
            weights,
            bias,
            strength: STRENGTHS[best],
            loss: losses[best],
            constant_loss: loss(&vec![share; good.len()], good),
        };
        Ok(Trained { head, scores: scores.swap_remove(best) })
    }
}

/// The fold of each row; those of a group are in one fold.
fn folds(rows: &[Graded], seed: u64) -> Vec<usize> {
    let mut fold = vec![0; rows.len()];
    for (number, group) in groups(rows, seed, "route folds").into_iter().enumerate() {
        for at in group {
            fold[at] = number % FOLDS;
        }
    }
    fold
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The mean negative logarithm of the probability given to what came.
fn loss(scores: &[f64], good: &[bool]) -> f64 {
    let of = |(score, good): (&f64, &bool)| {
        let p = if *good { *score } else { 1.0 - score };
        -p.max(1e-12).ln()
    };
    scores.iter().zip(good).map(of).sum::<f64>() / scores.len().max(1) as f64
}

/// Embeddings with every dimension shifted and scaled to mean 0 and deviation 1.
struct Features {
    width: usize,
    /// `[rows, width]`.
    values: Vec<f64>,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Features {
    fn of(embeddings: &[&[f32]]) -> Self {
        let width = embeddings.first().map_or(0, |row| row.len());
        let rows = embeddings.len().max(1) as f64;
        let mut mean = vec![0.0; width];
        for row in embeddings {
            mean.iter_mut().zip(*row).for_each(|(sum, x)| *sum += f64::from(*x) / rows);
        }
        let mut deviation = vec![0.0; width];
        for row in embeddings {
            for ((sum, x), mean) in deviation.iter_mut().zip(*row).zip(&mean) {
                *sum += (f64::from(*x) - mean).powi(2) / rows;
            }
        }
        // A dimension that never changes says nothing.
        deviation.iter_mut().for_each(|d: &mut f64| *d = if *d > 1e-18 { d.sqrt() } else { 1.0 });
        let scaled = |row: &&[f32]| {
            let values = row.iter().zip(&mean).zip(&deviation);
            values.map(|((x, mean), d)| (f64::from(*x) - mean) / d).collect::<Vec<f64>>()
        };
        let values = embeddings.iter().flat_map(scaled).collect();
        Features { width, values, mean, deviation }
    }

    fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    fn logit(&self, point: &[f64], at: usize) -> f64 {
        let (weights, bias) = point.split_at(self.width);
        bias[0] + weights.iter().zip(self.row(at)).map(|(weight, x)| weight * x).sum::<f64>()
    }

    /// The minimum of the mean loss over some rows plus `strength / 2 · |w|²`, from a start.
    fn fit(&self, rows: &[usize], good: &[bool], start: Vec<f64>, strength: f64) -> Vec<f64> {
        let share = 1.0 / rows.len().max(1) as f64;
        let objective = |point: &[f64], gradient: &mut [f64]| {
            gradient.fill(0.0);
            let mut value = 0.0;
            for &at in rows {
                let logit = self.logit(point, at);
                let good = f64::from(u8::from(good[at]));
                // ln(1 + e^x) - y x, without overflow.
                value += share * (logit.max(0.0) + (-logit.abs()).exp().ln_1p() - good * logit);
                let slope = share * (logistic(logit) - good);
                let (along, bias) = gradient.split_at_mut(self.width);
                along.iter_mut().zip(self.row(at)).for_each(|(g, x)| *g += slope * x);
                bias[0] += slope;
            }
            for (g, weight) in gradient.iter_mut().zip(&point[..self.width]) {
                *g += strength * weight;
                value += 0.5 * strength * weight * weight;
            }
            Ok::<f64, std::convert::Infallible>(value)
        };
        match lbfgs::minimize(start, ITERATIONS, TOLERANCE, objective) {
            Ok(point) => point,
            Err(never) => match never {},
        }
    }

    /// Weights and bias for embeddings as they are.
    fn undo(&self, point: &[f64]) -> (Vec<f64>, f64) {
        let (scaled, bias) = point.split_at(self.width);
        let weights: Vec<f64> = scaled.iter().zip(&self.deviation).map(|(w, d)| w / d).collect();
        let shift: f64 = weights.iter().zip(&self.mean).map(|(w, mean)| w * mean).sum();
        (weights, bias[0] - shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    /// Rows whose difficulty lies in their first dimension, as far as `signal` says.
    fn rows(n: usize, signal: f64) -> (Vec<Graded>, Vec<bool>, Vec<Vec<f32>>) {
        let mut rng = sprat_task::random::stream(3, "head rows");
        let embeddings: Vec<Vec<f32>> =
            (0..n).map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let good: Vec<bool> = embeddings
            .iter()
            .map(|row| rng.random::<f64>() < logistic(signal * f64::from(row[0])))
            .collect();
        let graded = good.iter().map(|&small| Graded { small, large: None, group: None }).collect();
        (graded, good, embeddings)
    }

    fn train(n: usize, signal: f64) -> (Trained, Vec<Vec<f32>>) {
        let (graded, good, embeddings) = rows(n, signal);
        let views: Vec<&[f32]> = embeddings.iter().map(Vec::as_slice).collect();
        let trained = Head::train(&graded, &good, &views, 1, &Interrupt::default()).unwrap();
        (trained, embeddings)
    }

    #[test]
    fn a_head_finds_what_makes_requests_hard_and_only_that() {
        let (trained, embeddings) = train(800, 6.0);
        let head = &trained.head;
        assert!(head.loss < 0.8 * head.constant_loss, "{head:?}");
        let score = |x: f32| head.score(&[x, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(score(0.9) > 0.9 && score(-0.9) < 0.1 && score(0.0) < score(0.1));
        assert!(head.score(&[0.0; 5]).is_nan());
        assert_eq!(trained.scores.len(), embeddings.len());
        let (again, _) = train(800, 6.0);
        assert_eq!(trained, again);
    }

    #[test]
    fn where_nothing_is_to_be_found_nothing_is_claimed() {
        let (trained, _) = train(300, 0.0);
        let head = &trained.head;
        assert!(head.loss > 0.97 * head.constant_loss, "{head:?}");
        assert!((head.strength - STRENGTHS[0]).abs() < 1.0e-9 || head.loss < head.constant_loss);
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_refused() {
        let (graded, good, embeddings) = rows(40, 1.0);
        let mut views: Vec<&[f32]> = embeddings.iter().map(Vec::as_slice).collect();
        let train = |views: &[&[f32]]| {
            Head::train(&graded, &good, views, 1, &Interrupt::default()).unwrap_err().code()
        };
        assert_eq!(train(&views[1..]), &codes::GRADED);
        views[3] = &[1.0];
        assert_eq!(train(&views), &codes::GRADED);
        views[3] = &[f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(train(&views), &codes::GRADED);
        let few = Head::train(&graded[..5], &good[..5], &views[5..10], 1, &Interrupt::default());
        assert_eq!(few.unwrap_err().code(), &codes::GRADED);
    }
}
