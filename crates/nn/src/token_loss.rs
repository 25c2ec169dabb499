//! Cross-entropy over a vocabulary: many classes, one row a token, in place.

use crate::Mat;
use crate::kernels::rows;
use crate::threads::{self, SharedMut};

/// The loss of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// `−ln p` of the right token, in nats.
    pub loss: f64,
    /// Whether the right token has the highest logit; of equals the first counts.
    pub hit: bool,
}

/// What of a row is exponentiated at a time: it stays in first-level cache, and its sum in `f32`
/// is near enough.
const PIECE: usize = 4096;

/// The losses of `logits` `[tokens, vocabulary]` for the right tokens, one a row; the logits
/// become the gradient of `weight · Σ loss`.
pub fn token_cross_entropy(logits: &mut Mat, targets: &[u32], weight: f32) -> Vec<TokenLoss> {
    each_row(logits, targets, |row, target, found| {
        let (max, right) = (rows::greatest(row), row[target]);
        let hit = is_first(row, target, max);
        let mut sum = 0.0;
        for piece in row.chunks_mut(PIECE) {
            sum += f64::from(rows::exp_and_sum(piece, max));
        }
        *found = TokenLoss { loss: sum.ln() - f64::from(right - max), hit };
        // weight·(p − 1 of the right one), p = e^(z − max)/Σ.
        rows::scale(row, (f64::from(weight) / sum) as f32);
        row[target] -= weight;
    })
}

/// The losses alone; the logits stay.
pub fn token_losses(logits: &mut Mat, targets: &[u32]) -> Vec<TokenLoss> {
    each_row(logits, targets, |row, target, found| {
        let max = rows::greatest(row);
        let sum: f64 = row.chunks(PIECE).map(|piece| f64::from(rows::sum_exp(piece, max))).sum();
        // Exact even where the probability underflows.
        let loss = sum.ln() - f64::from(row[target] - max);
        *found = TokenLoss { loss, hit: is_first(row, target, max) };
    })
}

/// Whether the element at `target` is the first of the greatest.
fn is_first(row: &[f32], target: usize, max: f32) -> bool {
    row[target] == max && !row[..target].contains(&max)
}

fn each_row(
    logits: &mut Mat,
    targets: &[u32],
    work: impl Fn(&mut [f32], usize, &mut TokenLoss) + Sync,
) -> Vec<TokenLoss> {
    assert_eq!(logits.rows, targets.len(), "one target per row");
    let mut found = vec![TokenLoss::default(); targets.len()];
    let (cols, data) = (logits.cols, SharedMut(logits.data.as_mut_ptr()));
    threads::run_chunks(&mut found, 1, |row, found| {
        // SAFETY: row `row` belongs to this piece alone.
        let logits = unsafe { std::slice::from_raw_parts_mut(data.get().add(row * cols), cols) };
        found.iter_mut().for_each(|found| work(logits, targets[row] as usize, found));
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CrossEntropy;
    use crate::gradient_check::matrix;

    #[test]
    fn losses_and_gradients_are_those_of_the_general_cross_entropy() {
        let mut logits = matrix(5, 9000, 1);
        logits.data.iter_mut().for_each(|z| *z *= 20.0);
        let targets = [3, 8999, 0, 17, 4096];
        let wide: Vec<usize> = targets.iter().map(|t| *t as usize).collect();
        let (mean, gradient) = CrossEntropy::default().forward_backward(&logits, &wide);
        let only = token_losses(&mut logits, &targets);
        let kept = logits.clone();
        let losses = token_cross_entropy(&mut logits, &targets, 1.0 / 5.0);
        assert_eq!(only, losses);
        let sum: f64 = losses.iter().map(|token| token.loss).sum();
        assert!((sum / 5.0 - mean).abs() < 1e-5, "{sum} {mean}");
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(logits.data.iter().zip(&gradient.data).all(close));
        for (row, token) in losses.iter().enumerate() {
            let right = kept.row(row)[wide[row]];
            assert_eq!(token.hit, kept.row(row).iter().all(|z| *z <= right));
        }
    }
}
