//! Softmax and cross-entropy.

use crate::Mat;
use crate::kernels::rows;

/// Replaces a row of logits by their softmax.
pub fn softmax(row: &mut [f32]) {
    rows::softmax(row, 1.0);
}

/// Cross-entropy with label smoothing (Szegedy et al. 2016) and class weights, defined as
/// PyTorch's `cross_entropy` with `reduction="mean"`: with `p = softmax(logits)`, weights `w`,
/// smoothing `ε` and `C` classes,
///
/// `loss = Σ_n [(1−ε)·w_y·(−ln p_y) + ε/C·Σ_c w_c·(−ln p_c)] / Σ_n w_y`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// Label smoothing `ε`, in `[0, 1)`.
    pub smoothing: f32,
    /// One weight per class; all 1 when absent.
    pub weights: Option<Vec<f32>>,
}

impl CrossEntropy {
    /// The loss over `logits` `[examples, classes]` with one target class per example, and its
    /// gradient for the logits. Without examples (or weight) both are zero.
    pub fn forward_backward(&self, logits: &Mat, targets: &[usize]) -> (f64, Mat) {
        assert_eq!(logits.rows, targets.len(), "one target per example");
        let classes = logits.cols;
        let weight = |c: usize| self.weights.as_ref().map_or(1.0, |w| w[c]);
        let total: f64 = targets.iter().map(|y| f64::from(weight(*y))).sum();
        let mut gradient = logits.clone();
        if total <= 0.0 {
            gradient.clear();
            return (0.0, gradient);
        }
        let smooth = self.smoothing / classes as f32;
        let mut loss = 0.0;
        for (i, target) in targets.iter().enumerate() {
            let row = gradient.row_mut(i);
            // −ln p_c = ln Σ e^{z−max} − (z_c − max), in f64: exact even where p_c underflows.
            let max = row.iter().fold(f32::NEG_INFINITY, |m, z| m.max(*z));
            let sum: f64 = row.iter().map(|z| f64::from(*z - max).exp()).sum();
            let surprise = |z: f32| sum.ln() - f64::from(z - max);
            let share = |c: usize| {
                weight(c) * (smooth + if c == *target { 1.0 - self.smoothing } else { 0.0 })
            };
            let mut shares = 0.0;
            for (c, z) in row.iter().enumerate() {
                let share = share(c);
                shares += share;
                loss += f64::from(share) * surprise(*z);
            }
            // d/dz_c Σ_k s_k·(−ln p_k) = p_c·Σ_k s_k − s_c.
            for (c, z) in row.iter_mut().enumerate() {
                let p = (-surprise(*z)).exp() as f32;
                *z = (p * shares - share(c)) / total as f32;
            }
        }
        (loss / total, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Mat {
        Mat::new(3, 4, vec![0.5, -1.0, 2.0, 0.1, 1.0, 1.0, -3.0, 0.0, 0.2, 0.3, 0.4, 30.0])
    }

    #[test]
    fn uniform_logits_cost_the_logarithm_of_the_classes() {
        let (loss, gradient) = CrossEntropy::default().forward_backward(&Mat::zeros(2, 4), &[0, 3]);
        assert!((loss - 4f64.ln()).abs() < 1e-6);
        assert_eq!(gradient.row(0), [-0.375, 0.125, 0.125, 0.125]);
    }

    #[test]
    fn the_gradient_agrees_with_differences() {
        for (smoothing, weights) in
            [(0.0, None), (0.1, None), (0.2, Some(vec![1.0, 0.5, 2.0, 3.0]))]
        {
            let f = CrossEntropy { smoothing, weights };
            let targets = [2, 0, 1];
            let (_, gradient) = f.forward_backward(&logits(), &targets);
            for at in 0..12 {
                let moved = |h: f32| {
                    let mut logits = logits();
                    logits.data[at] += h;
                    f.forward_backward(&logits, &targets).0
                };
                let h = 1.0 / 128.0;
                let want = (moved(h) - moved(-h)) / f64::from(2.0 * h);
                assert!((f64::from(gradient.data[at]) - want).abs() < 2e-5, "{at}: {want}");
            }
        }
    }

    #[test]
    fn softmax_sums_to_one_also_for_large_logits() {
        let mut row = vec![1000.0, 999.0, -1000.0];
        softmax(&mut row);
        // e^0 / (1 + e^-1) = 0.731059
        assert!((row[0] - 0.731_059).abs() < 1e-6 && row[2] >= 0.0 && row[2] < 1e-30);
    }
}
