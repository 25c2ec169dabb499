//! Do the stated probabilities mean what they say?

use crate::answers::Answers;
use crate::bootstrap;
use crate::interval::{Interval, LEVEL, wilson};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// Answers of similar stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Mean stated confidence.
    pub confidence: f64,
    /// Share of right answers (Wilson).
    pub accuracy: Interval,
    /// Answers in the bin.
    pub count: u64,
}

/// How well calibrated a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Expected calibration error over 15 bins of equal width (Guo et al., "On calibration of
    /// modern neural networks", 2017, equation 3).
    pub ece: f64,
    /// The error that a perfectly calibrated model with these confidences stays below in 95 of
    /// 100 samples of this size (consistency resampling: Bröcker and Smith, "Increasing the
    /// reliability of reliability diagrams", 2007). An `ece` below it shows no miscalibration.
    pub ece_by_chance: f64,
    /// The same error over 15 bins of equal counts (Nixon et al., "Measuring calibration in deep
    /// learning", 2019).
    pub ece_adaptive: f64,
    /// Mean over rows of the sum over classes of squared errors, 0 to 2 (Brier, "Verification of
    /// forecasts expressed in terms of probability", 1950).
    pub brier: Interval,
    /// Mean negative logarithm of the true class's probability, in nats; probabilities below
    /// 1e-12 count as 1e-12.
    pub log_loss: Interval,
    /// Mean stated confidence.
    pub confidence: f64,
    /// The bins of equal width that hold answers.
    pub bins: Vec<CalibrationBin>,
}

/// Measures calibration; `None` when the answers carry no probabilities.
pub fn calibration(answers: &Answers<'_>, seed: u64) -> Option<Calibration> {
    let rows = answers.probabilities()?;
    let confidence = confidences(answers)?;
    let right = answers.right();
    let n = confidence.len() as f64;
    let widths: Vec<usize> = confidence.iter().map(|&c| width_bin(c)).collect();
    let mut ranked: Vec<usize> = (0..confidence.len()).collect();
    ranked.sort_by(|&a, &b| confidence[a].total_cmp(&confidence[b]));
    let mut counts = vec![0; confidence.len()];
    for (rank, &row) in ranked.iter().enumerate() {
        counts[row] = rank * BINS / confidence.len();
    }
    let brier: Vec<f64> = rows
        .iter()
        .zip(answers.gold())
        .map(|(row, &gold)| {
            let error = |(class, &p): (usize, &f32)| {
                (f64::from(p) - f64::from(u8::from(class == gold))).powi(2)
            };
            row.iter().enumerate().map(error).sum()
        })
        .collect();
    let losses: Vec<f64> = rows
        .iter()
        .zip(answers.gold())
        .map(|(row, &gold)| -f64::from(row[gold]).clamp(1e-12, 1.0).ln())
        .collect();
    Some(Calibration {
        ece: error(&confidence, &right, &widths),
        ece_by_chance: by_chance(&confidence, &widths, seed),
        ece_adaptive: error(&confidence, &right, &counts),
        brier: bootstrap::mean(&brier, seed, "eval brier", LEVEL),
        log_loss: bootstrap::mean(&losses, seed, "eval log loss", LEVEL),
        confidence: confidence.iter().sum::<f64>() / n,
        bins: bins(&confidence, &right, &widths),
    })
}

/// The probability behind each answer: that of the answered class, or the greatest one where
/// the answer names no class.
pub(crate) fn confidences(answers: &Answers<'_>) -> Option<Vec<f64>> {
    let rows = answers.probabilities()?;
    let of = |(row, &predicted): (&Vec<f32>, &usize)| {
        let greatest = || row.iter().copied().fold(0.0, f32::max);
        f64::from(row.get(predicted).copied().unwrap_or_else(greatest)).min(1.0)
    };
    Some(rows.iter().zip(answers.predicted()).map(of).collect())
}

/// Bin `m` holds confidences in `(m / BINS, (m + 1) / BINS]`.
fn width_bin(confidence: f64) -> usize {
    ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1
}

fn error(confidence: &[f64], right: &[bool], bin: &[usize]) -> f64 {
    let mut gap = [0.0; BINS];
    for ((&confidence, &right), &bin) in confidence.iter().zip(right).zip(bin) {
        gap[bin] += confidence - f64::from(u8::from(right));
    }
    gap.iter().map(|gap| gap.abs()).sum::<f64>() / confidence.len().max(1) as f64
}

fn by_chance(confidence: &[f64], bin: &[usize], seed: u64) -> f64 {
    let mut rng = sprat_task::random::stream(seed, "eval calibration by chance");
    let mut right = vec![false; confidence.len()];
    let mut errors: Vec<f64> = (0..400)
        .map(|_| {
            for (right, &confidence) in right.iter_mut().zip(confidence) {
                *right = rng.random::<f64>() < confidence;
            }
            error(confidence, &right, bin)
        })
        .collect();
    errors.sort_by(f64::total_cmp);
    bootstrap::quantile(&errors, LEVEL).unwrap_or(0.0)
}

fn bins(confidence: &[f64], right: &[bool], bin: &[usize]) -> Vec<CalibrationBin> {
    (0..BINS)
        .filter_map(|wanted| {
            let (mut sum, mut hits, mut count) = (0.0, 0, 0);
            for ((&confidence, &right), &bin) in confidence.iter().zip(right).zip(bin) {
                if bin == wanted {
                    sum += confidence;
                    hits += u64::from(right);
                    count += 1;
                }
            }
            (count > 0).then(|| CalibrationBin {
                confidence: sum / count as f64,
                accuracy: wilson(hits, count, LEVEL),
                count,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<String>, Vec<usize>, Vec<usize>, Vec<Vec<f32>>) {
        let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let rows = [
            [0.7, 0.2, 0.1],
            [0.1, 0.8, 0.1],
            [0.3, 0.3, 0.4],
            [0.55, 0.25, 0.2],
            [0.05, 0.05, 0.9],
            [0.2, 0.5, 0.3],
        ];
        let predicted = vec![0, 1, 2, 0, 2, 1];
        (labels, vec![0, 1, 0, 0, 2, 2], predicted, rows.map(|row| row.to_vec()).to_vec())
    }

    #[test]
    fn scores_agree_with_scikit_learn() {
        // scikit-learn 1.9.1: brier_score_loss(y, p, scale_by_half=False) and log_loss(y, p);
        // the calibration error by NumPy 2.4.6, bins = ceil(confidence * 15) - 1.
        let (labels, gold, predicted, rows) = sample();
        let answers = Answers::new(&labels, &gold, &predicted, Some(&rows)).unwrap();
        let found = calibration(&answers, 1).unwrap();
        assert!((found.brier.estimate - 0.340000000000).abs() < 1e-6, "{:?}", found.brier);
        assert!((found.log_loss.estimate - 0.615160270053).abs() < 1e-6);
        assert!((found.ece - 0.325000000000).abs() < 1e-6, "{}", found.ece);
        assert_eq!(found.bins.iter().map(|bin| bin.count).sum::<u64>(), 6);
    }

    #[test]
    fn a_calibrated_model_is_not_accused_and_an_overconfident_one_is() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let mut rng = sprat_task::random::stream(2, "t");
        let (mut gold, mut honest, mut boasting) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3000 {
            let p: f64 = rng.random_range(0.5..0.95);
            gold.push(usize::from(rng.random::<f64>() >= p));
            honest.push(vec![p as f32, 1.0 - p as f32]);
            boasting.push(vec![0.99, 0.01]);
        }
        let predicted = vec![0; 3000];
        let measure = |rows: &[Vec<f32>]| {
            let answers = Answers::new(&labels, &gold, &predicted, Some(rows)).unwrap();
            calibration(&answers, 1).unwrap()
        };
        let (fair, proud) = (measure(&honest), measure(&boasting));
        assert!(fair.ece <= fair.ece_by_chance, "{} {}", fair.ece, fair.ece_by_chance);
        assert!(fair.ece_adaptive < 0.05);
        assert!(proud.ece > 3.0 * proud.ece_by_chance && proud.ece > 0.2);
        assert!(proud.log_loss.low > fair.log_loss.high);
    }
}
