//! What validation measures, from the logits alone.

use crate::learner::Measure;
use serde::{Deserialize, Serialize};

/// The measures of one validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of examples whose highest logit is the right class.
    pub accuracy: f64,
    /// Mean over the classes present of the F1 measure.
    pub macro_f1: f64,
    /// Mean negative log-likelihood in nats, as the model stands.
    pub loss: f64,
    /// The same at the best temperature: what is left once over-confidence is calibrated away.
    pub refined_loss: f64,
    /// Brier's score at the best temperature: the mean squared distance of the probabilities from
    /// the right class, 0 to 2. By it checkpoints and trials are compared.
    ///
    /// Berta et al. 2025, arXiv:2501.19195, show that stopping by a calibrated score picks better
    /// models than stopping by the raw loss. It is far less noisy than the accuracy, and unlike
    /// the log-likelihood not governed by the few examples that are confidently wrong (in the
    /// data often the ones with a wrong label).
    pub brier: f64,
    /// The best temperature.
    pub temperature: f64,
}

impl Metrics {
    /// Measures logits `[n, classes]`, row-major, against the right classes `gold` `[n]`.
    pub fn of(logits: &[f32], gold: &[usize], classes: usize) -> Self {
        let temperature = temperature(logits, gold, classes);
        let mut counts = vec![(0u64, 0u64, 0u64); classes];
        let mut right = 0;
        for (row, &class) in logits.chunks_exact(classes).zip(gold) {
            let predicted = highest(row);
            counts[predicted].1 += 1;
            counts[class].2 += 1;
            if predicted == class {
                counts[class].0 += 1;
                right += 1;
            }
        }
        let present = counts.iter().filter(|(_, _, gold)| *gold > 0);
        let f1 =
            present.map(|&(hit, predicted, gold)| 2.0 * hit as f64 / (predicted + gold) as f64);
        let f1: Vec<f64> = f1.collect();
        Metrics {
            accuracy: f64::from(right) / gold.len().max(1) as f64,
            macro_f1: f1.iter().sum::<f64>() / f1.len().max(1) as f64,
            loss: likelihood(logits, gold, classes, 1.0),
            refined_loss: likelihood(logits, gold, classes, temperature),
            brier: brier(logits, gold, classes, temperature),
            temperature,
        }
    }
}

impl Measure for Metrics {
    fn score(&self) -> f64 {
        self.brier
    }

    fn loss(&self) -> f64 {
        self.loss
    }

    fn shown(&self) -> (&'static str, f64) {
        ("accuracy", self.accuracy)
    }
}

/// The index of the highest value; the first of equals, 0 for an empty row.
pub(crate) fn highest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = at;
        }
    }
    best
}

/// Mean negative log-likelihood of `gold` under softmax(logits / temperature), in nats.
pub(crate) fn likelihood(logits: &[f32], gold: &[usize], classes: usize, temperature: f64) -> f64 {
    let mut sum = 0.0;
    for (row, &class) in logits.chunks_exact(classes).zip(gold) {
        let top = row.iter().fold(f32::NEG_INFINITY, |top, &z| top.max(z));
        let total: f64 = row.iter().map(|&z| (f64::from(z - top) / temperature).exp()).sum();
        sum += total.ln() - f64::from(row[class] - top) / temperature;
    }
    sum / gold.len().max(1) as f64
}

/// Mean over examples of Σ_c (p_c − [c is right])² with p = softmax(logits / temperature)
/// (Brier 1950).
fn brier(logits: &[f32], gold: &[usize], classes: usize, temperature: f64) -> f64 {
    let mut sum = 0.0;
    let mut weights = vec![0.0; classes];
    for (row, &class) in logits.chunks_exact(classes).zip(gold) {
        let top = row.iter().fold(f32::NEG_INFINITY, |top, &z| top.max(z));
        for (weight, &z) in weights.iter_mut().zip(row) {
            *weight = (f64::from(z - top) / temperature).exp();
        }
        let total: f64 = weights.iter().sum();
        let squares: f64 = weights.iter().map(|weight| (weight / total).powi(2)).sum();
        sum += squares - 2.0 * weights[class] / total + 1.0;
    }
    sum / gold.len().max(1) as f64
}

/// The temperature that calibrates the logits `[n, classes]` on `gold` `[n]`: it minimizes the
/// negative log-likelihood of softmax(logits / temperature) (Guo et al. 2017, arXiv:1706.04599,
/// section 4.2), between 1/20 and 20.
///
/// The target of an example is its class with probability `1 - 1/(n + 2)`, the rest spread evenly:
/// a prior in the manner of Platt (1999, section 2.2), without which a validation part that is
/// classified without an error would drive the temperature to zero.
pub fn temperature(logits: &[f32], gold: &[usize], classes: usize) -> f64 {
    let rest = 1.0 / (gold.len() as f64 + 2.0);
    // The loss is convex in the inverse temperature; its slope is the mean over examples of
    // E_p[z] - E_target[z], which rises with the inverse temperature.
    let slope = |inverse: f64| {
        let mut sum = 0.0;
        for (row, &class) in logits.chunks_exact(classes).zip(gold) {
            let top = row.iter().fold(f32::NEG_INFINITY, |top, &z| top.max(z));
            let (mut total, mut mean, mut plain) = (0.0, 0.0, 0.0);
            for &z in row {
                let below = f64::from(z - top);
                let weight = (below * inverse).exp();
                total += weight;
                mean += weight * below;
                plain += below;
            }
            let target = (1.0 - rest) * f64::from(row[class] - top) + rest * plain / classes as f64;
            sum += mean / total - target;
        }
        sum
    };
    let (mut low, mut high) = (-(20f64.ln()), 20f64.ln());
    // Bisection over the logarithm of the temperature.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if slope((-middle).exp()) < 0.0 {
            high = middle;
        } else {
            low = middle;
        }
    }
    (0.5 * (low + high)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    /// Logits whose softmax is the true distribution of the drawn class.
    fn calibrated(n: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
        let mut random = sprat_task::random::stream(3, "metrics test");
        let mut gold = Vec::new();
        let mut logits = Vec::new();
        for _ in 0..n {
            let row: Vec<f32> = (0..classes).map(|_| random.random_range(-3.0..3.0)).collect();
            let total: f32 = row.iter().map(|z| z.exp()).sum();
            let mut draw = random.random_range(0.0..total);
            let mut class = classes - 1;
            for (at, z) in row.iter().enumerate() {
                if draw < z.exp() {
                    class = at;
                    break;
                }
                draw -= z.exp();
            }
            logits.extend(row);
            gold.push(class);
        }
        (logits, gold)
    }

    #[test]
    fn temperature_undoes_a_known_over_confidence() {
        let (logits, gold) = calibrated(20_000, 5);
        let loud: Vec<f32> = logits.iter().map(|z| z * 3.0).collect();
        assert!((temperature(&logits, &gold, 5) - 1.0).abs() < 0.03);
        assert!((temperature(&loud, &gold, 5) - 3.0).abs() < 0.09);
        let quiet: Vec<f32> = logits.iter().map(|z| z * 0.25).collect();
        assert!((temperature(&quiet, &gold, 5) - 0.25).abs() < 0.01);
    }

    #[test]
    fn a_part_without_errors_does_not_give_certainty() {
        let logits = [2.0, 0.0, 0.0, 2.0].repeat(5);
        let gold = [0, 1].repeat(5);
        let t = temperature(&logits, &gold, 2);
        let p = 1.0 / (1.0 + (-2.0 / t).exp());
        // The prior's target for 10 examples: 1 - 1/12 + 1/24.
        assert!((p - (1.0 - 1.0 / 24.0)).abs() < 1e-9, "{p}");
    }

    #[test]
    fn no_temperature_beats_the_fitted_one() {
        let (logits, gold) = calibrated(500, 4);
        let loud: Vec<f32> = logits.iter().map(|z| z * 2.0).collect();
        let t = temperature(&loud, &gold, 4);
        let best = likelihood(&loud, &gold, 4, t);
        for other in [0.5, 0.8, 1.25, 2.0] {
            assert!(best <= likelihood(&loud, &gold, 4, t * other));
        }
    }

    #[test]
    fn the_measures_of_a_small_table_are_those_of_pencil_and_paper() {
        // Predicted 0 0 1 2, gold 0 1 1 1: F1 is 2/3, 1/2 (2*1/(1+3)); class 2 is not in gold.
        let logits = [1., 0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 1.];
        let metrics = Metrics::of(&logits, &[0, 1, 1, 1], 3);
        assert_eq!(metrics.accuracy, 0.5);
        assert!((metrics.macro_f1 - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-12);
        let e = std::f64::consts::E;
        let expected = ((e + 2.0) / e).ln() * 0.5 + (e + 2.0).ln() * 0.5;
        assert!((metrics.loss - expected).abs() < 1e-6);
    }

    #[test]
    fn brier_is_nothing_for_certainty_and_two_for_certain_error() {
        let logits = [100.0, 0.0, 0.0];
        assert!(brier(&logits, &[0], 3, 1.0) < 1e-12);
        assert!((brier(&logits, &[1], 3, 1.0) - 2.0).abs() < 1e-12);
        // Uniform over 3: (2/3)² + 2·(1/3)².
        assert!((brier(&[0.0; 3], &[2], 3, 1.0) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_broken_model_is_never_better() {
        let good = Metrics::of(&[1.0, 0.0], &[0], 2);
        let broken = Metrics { brier: f64::NAN, ..good };
        assert!(good.better_than(&broken) && !broken.better_than(&good));
    }
}
