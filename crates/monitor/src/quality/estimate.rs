//! The accuracy that the confidence promises.

use serde::{Deserialize, Serialize};
use sprat_eval::{Interval, LEVEL, bootstrap};

/// A calibration row: how confident the model was, and whether it was right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confident {
    /// The confidence, from 0 to 1.
    pub confidence: f64,
    /// Whether the answer was right.
    pub right: bool,
}

/// The accuracy on unlabelled requests, by two rules that fail in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The accuracy of the calibration rows, moved by the difference of the mean confidences
    /// (Guillory et al., "Predicting with confidence on unseen distributions", 2021,
    /// arXiv:2107.03315). Percentile interval over resamples of both samples.
    pub by_difference: Interval,
    /// The share of requests above the confidence that as many calibration rows exceed as are
    /// right (Garg et al., "Leveraging unlabeled data to predict out-of-distribution
    /// performance", 2022, arXiv:2201.04234).
    pub by_threshold: Interval,
    /// Calibration rows.
    pub calibration: u64,
    /// Requests.
    pub requests: u64,
}

/// Estimates the accuracy on requests with these confidences; `None` without calibration rows or
/// without requests. Values that are not numbers are left out.
pub fn estimated_accuracy(
    calibration: &[Confident],
    confidences: &[f64],
    seed: u64,
) -> Option<Estimate> {
    let mut rows: Vec<Confident> =
        calibration.iter().copied().filter(|row| row.confidence.is_finite()).collect();
    rows.sort_by(|a, b| a.confidence.total_cmp(&b.confidence));
    let mut live: Vec<f64> = confidences.iter().copied().filter(|c| c.is_finite()).collect();
    live.sort_by(f64::total_cmp);
    if rows.is_empty() || live.is_empty() {
        return None;
    }
    // Each sample is reduced to what the rules need, resample by resample.
    let mut before = Vec::new();
    bootstrap::resample(rows.len(), bootstrap::RESAMPLES, seed, "watch calibration", |counts| {
        before.push(Before::of(&rows, counts));
    });
    let whole = Before::of(&rows, &vec![1; rows.len()]);
    let ones = vec![1; live.len()];
    let estimates = |before: &Before, counts: &[u32]| {
        let (mut sum, mut above, mut n) = (0.0, 0.0, 0.0);
        for (&confidence, &count) in live.iter().zip(counts) {
            let count = f64::from(count);
            n += count;
            sum += count * confidence;
            above += if confidence >= before.threshold { count } else { 0.0 };
        }
        let difference = before.accuracy + sum / n - before.confidence;
        [difference.clamp(0.0, 1.0), above / n]
    };
    let point = estimates(&whole, &ones);
    let (mut differences, mut thresholds) = (Vec::new(), Vec::new());
    let mut at = 0;
    bootstrap::resample(live.len(), before.len(), seed, "watch requests", |counts| {
        let [difference, threshold] = estimates(&before[at], counts);
        differences.push(difference);
        thresholds.push(threshold);
        at += 1;
    });
    Some(Estimate {
        by_difference: bootstrap::percentile(point[0], &differences, LEVEL),
        by_threshold: bootstrap::percentile(point[1], &thresholds, LEVEL),
        calibration: rows.len() as u64,
        requests: live.len() as u64,
    })
}

/// What both rules need of the calibration rows.
struct Before {
    accuracy: f64,
    confidence: f64,
    threshold: f64,
}

impl Before {
    /// Of rows in the order of their confidence, each counted so often.
    fn of(rows: &[Confident], counts: &[u32]) -> Before {
        let (mut right, mut sum, mut n) = (0, 0.0, 0);
        for (row, &count) in rows.iter().zip(counts) {
            n += count;
            right += count * u32::from(row.right);
            sum += f64::from(count) * row.confidence;
        }
        let (mut below, mut threshold) = (0, f64::INFINITY);
        for (row, &count) in rows.iter().zip(counts) {
            if below + count > n - right {
                threshold = row.confidence;
                break;
            }
            below += count;
        }
        let total = f64::from(n.max(1));
        Before { accuracy: f64::from(right) / total, confidence: sum / total, threshold }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use sprat_task::random::stream;

    /// Calibrated answers whose confidence is about `centre`.
    fn answers(centre: f64, rows: usize, seed: u64) -> Vec<Confident> {
        let mut rng = stream(seed, "answers");
        let mut row = || {
            let confidence = (centre + 0.4 * (rng.random::<f64>() - 0.5)).clamp(0.0, 1.0);
            Confident { confidence, right: rng.random::<f64>() < confidence }
        };
        (0..rows).map(|_| row()).collect()
    }

    #[test]
    fn the_interval_holds_the_accuracy_under_covariate_shift() {
        let mut held = 0;
        for seed in 0..20 {
            let live = answers(0.65, 800, 100 + seed);
            let truth = live.iter().filter(|row| row.right).count() as f64 / 800.0;
            let confidences: Vec<f64> = live.iter().map(|row| row.confidence).collect();
            let before = answers(0.8, 600, seed);
            let found = estimated_accuracy(&before, &confidences, seed).unwrap().by_difference;
            assert!((found.estimate - truth).abs() < 0.06, "{found:?} {truth}");
            held += u32::from((found.low..=found.high).contains(&truth));
        }
        assert!(held >= 16, "{held} of 20");
    }

    #[test]
    fn concept_change_is_not_seen() {
        // The same confidences; every answer is wrong now. The estimate cannot know.
        let before = answers(0.8, 600, 1);
        let live: Vec<f64> = answers(0.8, 600, 2).iter().map(|row| row.confidence).collect();
        let found = estimated_accuracy(&before, &live, 1).unwrap();
        assert!(found.by_difference.low > 0.7 && found.by_threshold.low > 0.7);
    }

    #[test]
    fn extremes_and_nothing_are_answered_or_declined() {
        let right = vec![Confident { confidence: 0.9, right: true }; 20];
        let found = estimated_accuracy(&right, &[0.9; 20], 1).unwrap();
        assert!((found.by_difference.estimate - 1.0).abs() < 1e-12);
        assert_eq!(found.by_threshold.estimate, 1.0);
        let wrong = vec![Confident { confidence: 0.9, right: false }; 20];
        assert_eq!(estimated_accuracy(&wrong, &[0.9; 20], 1).unwrap().by_threshold.estimate, 0.0);
        assert!(estimated_accuracy(&right, &[f64::NAN], 1).is_none());
        assert!(estimated_accuracy(&[], &[0.9], 1).is_none());
    }
}
