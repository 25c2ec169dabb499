//! What abstaining buys: the fewer answers are given, the fewer are wrong.

use crate::answers::Answers;
use crate::calibration::confidences;
use crate::interval::{Interval, LEVEL, wilson};
use serde::{Deserialize, Serialize};

/// Answering only when the confidence is at least `threshold`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selective {
    /// The least confidence that is answered.
    pub threshold: f64,
    /// Share of rows that are answered.
    pub coverage: f64,
    /// Answered rows.
    pub answered: u64,
    /// Share of wrong answers among those given (Wilson).
    pub risk: Interval,
}

/// The risk–coverage curve at about `points` coverages, from few answers to all (El-Yaniv and
/// Wiener, "On the foundations of noise-free selective classification", 2010), and the area under
/// the full curve, lower is better; `None` without probabilities.
pub fn selective(answers: &Answers<'_>, points: usize) -> Option<(Vec<Selective>, f64)> {
    let confidence = confidences(answers)?;
    let right = answers.right();
    let mut order: Vec<usize> = (0..confidence.len()).collect();
    order.sort_by(|&a, &b| confidence[b].total_cmp(&confidence[a]));
    let rows = order.len();
    let mut curve: Vec<Selective> = Vec::new();
    let (mut wrong, mut area) = (0u64, 0.0);
    let mut next = 1;
    for (rank, &row) in order.iter().enumerate() {
        wrong += u64::from(!right[row]);
        let answered = rank + 1;
        area += wrong as f64 / answered as f64;
        // A threshold cannot cut between equal confidences.
        let tied = order.get(answered).is_some_and(|&other| confidence[other] == confidence[row]);
        if !tied && answered * points.max(1) >= next * rows {
            curve.push(Selective {
                threshold: confidence[row],
                coverage: answered as f64 / rows as f64,
                answered: answered as u64,
                risk: wilson(wrong, answered as u64, LEVEL),
            });
            next = answered * points.max(1) / rows + 1;
        }
    }
    Some((curve, area / rows as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstaining_on_the_least_confident_lowers_the_risk() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let gold = vec![0; 10];
        let rows: Vec<Vec<f32>> =
            (0..10).map(|at| 0.95 - at as f32 * 0.04).map(|p| vec![p, 1.0 - p]).collect();
        // The three least confident answers are wrong.
        let predicted: Vec<usize> = (0..10).map(|at| usize::from(at >= 7)).collect();
        let rows: Vec<Vec<f32>> = rows
            .into_iter()
            .zip(&predicted)
            .map(|(row, &p)| if p == 1 { vec![row[1], row[0]] } else { row })
            .collect();
        let answers = Answers::new(&labels, &gold, &predicted, Some(&rows)).unwrap();
        let (curve, area) = selective(&answers, 5).unwrap();
        let coverages: Vec<f64> = curve.iter().map(|point| point.coverage).collect();
        assert_eq!(coverages, [0.2, 0.4, 0.6, 0.8, 1.0]);
        let risks: Vec<f64> = curve.iter().map(|point| point.risk.estimate).collect();
        assert_eq!(risks, [0.0, 0.0, 0.0, 0.125, 0.3]);
        // (1/8 + 2/9 + 3/10) / 10.
        assert!((area - 0.064_722_222).abs() < 1e-6, "{area}");
        assert!(curve.windows(2).all(|pair| pair[0].threshold > pair[1].threshold));
    }

    #[test]
    fn equal_confidences_are_answered_together() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let rows = vec![vec![0.8, 0.2]; 6];
        let answers = Answers::new(&labels, &[0; 6], &[0; 6], Some(&rows)).unwrap();
        let (curve, _) = selective(&answers, 10).unwrap();
        assert_eq!(curve.len(), 1);
        assert_eq!(curve[0].answered, 6);
    }
}
