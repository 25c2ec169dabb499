//! The head on frozen embeddings: multinomial logistic regression, solved to its optimum.

use crate::learner::Measure;
use crate::metrics::Metrics;
use sprat_nn::{CrossEntropy, Format, Linear, Mat, lbfgs, threads};
use sprat_task::{Interrupt, Progress, Result};

/// The strengths of regularization that are tried, strong to weak: the weight of half the squared
/// norm of the weights beside the mean loss. scikit-learn's `C` is one over this times the number
/// of examples.
const STRENGTHS: [f64; 8] = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6];
const ITERATIONS: usize = 150;
/// Steps that improve the loss by less than this share change no prediction worth having.
const TOLERANCE: f64 = 1e-5;
/// Examples in a piece of parallel work.
const PIECE: usize = 512;

/// Examples as embeddings with their classes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labelled<'a> {
    /// `[n, hidden]`.
    pub(crate) embeddings: &'a Mat,
    /// `[n]`.
    pub(crate) gold: &'a [usize],
}

/// A fitted head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// `[classes, hidden]`.
    pub(crate) weight: Mat,
    /// `[classes]`.
    pub(crate) bias: Vec<f32>,
    /// Its validation.
    pub(crate) metrics: Metrics,
}

/// Fits a head for each strength of regularization, each from the one before, and returns the one
/// with the best validation. Convex, so neither a seed nor a learning rate has a say.
pub(crate) fn fit(
    train: Labelled<'_>,
    valid: Labelled<'_>,
    loss: &CrossEntropy,
    classes: usize,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Head> {
    progress.start("fitting the head", Some(STRENGTHS.len() as u64), "strengths");
    let result = path(train, valid, loss, classes, progress, interrupt);
    progress.finish();
    result
}

fn path(
    train: Labelled<'_>,
    valid: Labelled<'_>,
    loss: &CrossEntropy,
    classes: usize,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Head> {
    let hidden = train.embeddings.cols;
    let mut point = vec![0.0; classes * (hidden + 1)];
    let mut best: Option<Head> = None;
    for strength in STRENGTHS {
        point = lbfgs::minimize(point, ITERATIONS, TOLERANCE, |point, gradient| {
            interrupt.check()?;
            Ok(objective(point, gradient, train, loss, strength))
        })?;
        let (weight, bias) = split(&point, classes, hidden);
        let logits =
            Linear::new(weight.clone(), Some(bias.clone()), Format::F32).forward(valid.embeddings);
        let metrics = Metrics::of(&logits.data, valid.gold, classes);
        let better = best.as_ref().is_none_or(|best| metrics.better_than(&best.metrics));
        if better {
            best = Some(Head { weight, bias, metrics });
        }
        progress.advance(1);
        progress.note(&format!("validation accuracy {:.4}", metrics.accuracy));
        // Weaker regularization only follows the training part closer from here on.
        if best.as_ref().is_some_and(|best| metrics.brier > 1.02 * best.metrics.brier) {
            break;
        }
    }
    // The list of strengths is not empty, and the first fit is better than none.
    Ok(best.unwrap_or_else(|| {
        let (weight, bias) = split(&point, classes, hidden);
        let metrics = Metrics::of(&[], &[], classes);
        Head { weight, bias, metrics }
    }))
}

fn split(point: &[f64], classes: usize, hidden: usize) -> (Mat, Vec<f32>) {
    let single: Vec<f32> = point.iter().map(|&value| value as f32).collect();
    let (weight, bias) = single.split_at(classes * hidden);
    (Mat::new(classes, hidden, weight.to_vec()), bias.to_vec())
}

/// The mean loss plus `strength / 2 · |W|²`, and its gradient. The products are computed in
/// `f32`, the sums in `f64`.
fn objective(
    point: &[f64],
    gradient: &mut [f64],
    train: Labelled<'_>,
    loss: &CrossEntropy,
    strength: f64,
) -> f64 {
    let hidden = train.embeddings.cols;
    let classes = point.len() / (hidden + 1);
    let (weight, bias) = split(point, classes, hidden);
    let logits = Linear::new(weight, Some(bias), Format::F32).forward(train.embeddings);
    let (mut value, slopes) = entropy(&logits, train.gold, loss);
    let mut dweight = Mat::zeros(classes, hidden);
    let mut dbias = vec![0.0; classes];
    Linear::backward_weight(train.embeddings, &slopes, &mut dweight, Some(&mut dbias));
    let (along_weight, along_bias) = gradient.split_at_mut(classes * hidden);
    for ((slope, from_loss), at) in along_weight.iter_mut().zip(&dweight.data).zip(point) {
        *slope = f64::from(*from_loss) + strength * at;
        value += 0.5 * strength * at * at;
    }
    for (slope, from_loss) in along_bias.iter_mut().zip(&dbias) {
        *slope = f64::from(*from_loss);
    }
    value
}

/// The loss over all examples and its gradient for the logits, on all threads: in pieces of fixed
/// size, each weighted by its share of the whole, added up in order.
fn entropy(logits: &Mat, gold: &[usize], loss: &CrossEntropy) -> (f64, Mat) {
    let classes = logits.cols;
    let weight = |class: &usize| loss.weights.as_ref().map_or(1.0, |all| f64::from(all[*class]));
    let total: f64 = gold.iter().map(weight).sum();
    let pieces = logits.data.chunks(PIECE * classes).zip(gold.chunks(PIECE));
    let mut pieces: Vec<(Mat, &[usize], f64)> = pieces
        .map(|(rows, gold)| (Mat::new(gold.len(), classes, rows.to_vec()), gold, 0.0))
        .collect();
    threads::run_chunks(&mut pieces, 1, |_, pieces| {
        for (rows, gold, value) in pieces {
            let share = gold.iter().map(weight).sum::<f64>() / total;
            let (mean, slopes) = loss.forward_backward(rows, gold);
            *value = mean * share;
            *rows = slopes;
            rows.data.iter_mut().for_each(|slope| *slope *= share as f32);
        }
    });
    let value = pieces.iter().map(|(_, _, value)| value).sum();
    let slopes = pieces.into_iter().flat_map(|(rows, _, _)| rows.data).collect();
    (value, Mat::new(logits.rows, classes, slopes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use sprat_task::Quiet;

    fn clouds(n: usize, seed: u64) -> (Mat, Vec<usize>) {
        let mut random = sprat_task::random::stream(seed, "clouds");
        let gold: Vec<usize> = (0..n).map(|at| at % 3).collect();
        let data = gold.iter().flat_map(|&class| {
            let mut row = [0.0f32; 4];
            row.iter_mut().for_each(|x| *x = random.random_range(-0.7..0.7));
            row[class] += 1.0;
            row
        });
        (Mat::new(n, 4, data.collect()), gold)
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_objective() {
        let (embeddings, gold) = clouds(30, 1);
        let train = Labelled { embeddings: &embeddings, gold: &gold };
        let loss = CrossEntropy { smoothing: 0.1, weights: Some(vec![0.5, 1.0, 2.0]) };
        let point: Vec<f64> = (0..15).map(|at| f64::from(at % 5) * 0.3 - 0.5).collect();
        let mut gradient = vec![0.0; 15];
        objective(&point, &mut gradient, train, &loss, 0.01);
        for at in 0..15 {
            let value = |by: f64| {
                let mut moved = point.clone();
                moved[at] += by;
                objective(&moved, &mut [0.0; 15], train, &loss, 0.01)
            };
            // The products are single precision: a wide step, and its tolerance.
            let slope = (value(0.02) - value(-0.02)) / 0.04;
            assert!((slope - gradient[at]).abs() < 2e-4, "{at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn separable_clouds_are_separated() {
        let ((train, train_gold), (valid, valid_gold)) = (clouds(300, 1), clouds(150, 2));
        let loss = CrossEntropy::default();
        let head = fit(
            Labelled { embeddings: &train, gold: &train_gold },
            Labelled { embeddings: &valid, gold: &valid_gold },
            &loss,
            3,
            &Quiet,
            &Interrupt::default(),
        );
        let accuracy = head.unwrap().metrics.accuracy;
        assert!(accuracy > 0.85, "{accuracy}");
    }
}
