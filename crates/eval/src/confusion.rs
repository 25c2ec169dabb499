//! The confusion matrix and what follows from it.

use crate::answers::Answers;
use crate::bootstrap;
use crate::interval::{Interval, LEVEL, wilson};
use serde::{Deserialize, Serialize};

/// Counts of true class against answered class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Names of the classes.
    pub labels: Vec<String>,
    /// `counts[gold * classes + predicted]`.
    pub counts: Vec<u64>,
    /// Per true class: answers that were none of the classes.
    pub unanswered: Vec<u64>,
}

/// How well one class is recognised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// The class.
    pub label: String,
    /// Rows of this class.
    pub support: u64,
    /// Answers that name this class.
    pub predicted: u64,
    /// Share of the answers that are right (Wilson); `None` if the class was never answered.
    pub precision: Option<Interval>,
    /// Share of the rows that are recognised (Wilson); `None` without rows.
    pub recall: Option<Interval>,
    /// Harmonic mean of both (bootstrap); `None` if the class neither occurs nor is answered.
    pub f1: Option<Interval>,
}

/// What F1 needs, per class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    right: Vec<u64>,
    predicted: Vec<u64>,
    support: Vec<u64>,
}

impl Tally {
    fn zeros(classes: usize) -> Self {
        Tally { right: vec![0; classes], predicted: vec![0; classes], support: vec![0; classes] }
    }

    /// Counts each row as often as `counts` says.
    pub(crate) fn weighted(answers: &Answers<'_>, counts: &[u32]) -> Self {
        let mut tally = Tally::zeros(answers.labels().len());
        tally.fill(answers, counts);
        tally
    }

    fn fill(&mut self, answers: &Answers<'_>, counts: &[u32]) {
        for part in [&mut self.right, &mut self.predicted, &mut self.support] {
            part.fill(0);
        }
        for ((&gold, &predicted), &count) in
            answers.gold().iter().zip(answers.predicted()).zip(counts)
        {
            let count = u64::from(count);
            self.support[gold] += count;
            if let Some(sum) = self.predicted.get_mut(predicted) {
                *sum += count;
            }
            if gold == predicted {
                self.right[gold] += count;
            }
        }
    }

    fn f1(&self, class: usize) -> Option<f64> {
        let both = self.predicted[class] + self.support[class];
        (both > 0).then(|| 2.0 * self.right[class] as f64 / both as f64)
    }

    /// Mean F1 over the classes that occur or are answered.
    pub(crate) fn macro_f1(&self) -> f64 {
        let (mut sum, mut classes) = (0.0, 0u32);
        for f1 in (0..self.right.len()).filter_map(|class| self.f1(class)) {
            sum += f1;
            classes += 1;
        }
        if classes == 0 { 0.0 } else { sum / f64::from(classes) }
    }
}

impl Confusion {
    /// Counts the answers.
    pub fn of(answers: &Answers<'_>) -> Self {
        let classes = answers.labels().len();
        let mut confusion = Confusion {
            labels: answers.labels().to_vec(),
            counts: vec![0; classes * classes],
            unanswered: vec![0; classes],
        };
        for (&gold, &predicted) in answers.gold().iter().zip(answers.predicted()) {
            if predicted < classes {
                confusion.counts[gold * classes + predicted] += 1;
            } else {
                confusion.unanswered[gold] += 1;
            }
        }
        confusion
    }

    /// How often `gold` was answered with `predicted`.
    pub fn at(&self, gold: usize, predicted: usize) -> u64 {
        self.counts.get(gold * self.labels.len() + predicted).copied().unwrap_or(0)
    }

    /// Rows in all.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.unanswered.iter().sum::<u64>()
    }

    /// Right answers.
    pub fn right(&self) -> u64 {
        (0..self.labels.len()).map(|class| self.at(class, class)).sum()
    }

    /// Share of right answers with Wilson's interval.
    pub fn accuracy(&self) -> Interval {
        wilson(self.right(), self.total(), LEVEL)
    }

    /// F1 over all decisions pooled. With one answer per row it equals accuracy; answers that
    /// name no class are missed decisions but not wrong ones, which makes the difference.
    pub fn micro_f1(&self) -> f64 {
        let right = self.right() as f64;
        let answered = self.counts.iter().sum::<u64>() as f64;
        let both = answered + self.total() as f64;
        if both > 0.0 { 2.0 * right / both } else { 0.0 }
    }
}

/// Macro-F1 with its BCa interval, and every class's scores, from one set of resamples.
pub(crate) fn f1_scores(
    answers: &Answers<'_>,
    resamples: usize,
    seed: u64,
) -> (Interval, Vec<ClassScore>) {
    let classes = answers.labels().len();
    let all = Tally::weighted(answers, &vec![1; answers.rows()]);
    let mut tally = Tally::zeros(classes);
    let mut macro_f1 = Vec::with_capacity(resamples);
    let mut by_class: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples); classes];
    bootstrap::resample(answers.rows(), resamples, seed, "eval f1", |counts| {
        tally.fill(answers, counts);
        macro_f1.push(tally.macro_f1());
        for (class, replicates) in by_class.iter_mut().enumerate() {
            replicates.extend(tally.f1(class));
        }
    });
    let mut left_out = Vec::new();
    bootstrap::jackknife(answers.rows(), |counts| {
        tally.fill(answers, counts);
        left_out.push(tally.macro_f1());
    });
    let overall = bootstrap::bca(all.macro_f1(), &macro_f1, &left_out, LEVEL);
    let scores = (0..classes)
        .map(|class| {
            let (right, predicted, support) =
                (all.right[class], all.predicted[class], all.support[class]);
            ClassScore {
                label: answers.labels()[class].clone(),
                support,
                predicted,
                precision: (predicted > 0).then(|| wilson(right, predicted, LEVEL)),
                recall: (support > 0).then(|| wilson(right, support, LEVEL)),
                f1: all.f1(class).map(|f1| bootstrap::percentile(f1, &by_class[class], LEVEL)),
            }
        })
        .collect();
    (overall, scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::NO_ANSWER;

    fn labels(n: usize) -> Vec<String> {
        (0..n).map(|at| format!("c{at}")).collect()
    }

    const GOLD: [usize; 12] = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3];
    const PREDICTED: [usize; 12] = [0, 0, 1, 2, 1, 1, 0, 2, 2, 3, 0, 1];

    #[test]
    fn scores_agree_with_scikit_learn() {
        // scikit-learn 1.9.1: accuracy_score, f1_score(average="macro"),
        // precision_recall_fscore_support on the vectors above.
        let labels = labels(4);
        let answers = Answers::new(&labels, &GOLD, &PREDICTED, None).unwrap();
        let confusion = Confusion::of(&answers);
        assert_eq!(confusion.at(0, 2), 1);
        assert!((confusion.accuracy().estimate - 7.0 / 12.0).abs() < 1e-12);
        assert!((confusion.micro_f1() - 7.0 / 12.0).abs() < 1e-12);
        let (overall, scores) = f1_scores(&answers, 500, 1);
        assert!((overall.estimate - 0.592857142857143).abs() < 1e-12, "{overall:?}");
        for (score, (p, r, f)) in scores.iter().zip([
            (0.500000000000000, 0.500000000000000, 0.500000000000000),
            (0.500000000000000, 0.666666666666667, 0.571428571428571),
            (0.666666666666667, 1.000000000000000, 0.800000000000000),
            (1.000000000000000, 0.333333333333333, 0.500000000000000),
        ]) {
            assert!((score.precision.unwrap().estimate - p).abs() < 1e-12);
            assert!((score.recall.unwrap().estimate - r).abs() < 1e-12);
            assert!((score.f1.unwrap().estimate - f).abs() < 1e-12);
        }
    }

    #[test]
    fn absent_classes_and_missing_answers_are_told_apart() {
        let labels = labels(3);
        let answers = Answers::new(&labels, &[0, 0, 1], &[0, NO_ANSWER, 1], None).unwrap();
        let confusion = Confusion::of(&answers);
        assert_eq!((confusion.right(), confusion.total()), (2, 3));
        assert_eq!(confusion.unanswered, [1, 0, 0]);
        assert!((confusion.micro_f1() - 0.8).abs() < 1e-12);
        let (_, scores) = f1_scores(&answers, 100, 1);
        assert!(scores[2].recall.is_none() && scores[2].precision.is_none());
        assert!(scores[2].f1.is_none());
    }

    proptest::proptest! {
        #[test]
        fn intervals_hold_their_estimates(rows in proptest::collection::vec((0usize..4, 0usize..5), 1..60)) {
            let labels = labels(4);
            let (gold, predicted): (Vec<_>, Vec<_>) =
                rows.into_iter().map(|(g, p)| (g, if p == 4 { NO_ANSWER } else { p })).unzip();
            let answers = Answers::new(&labels, &gold, &predicted, None).unwrap();
            let (overall, scores) = f1_scores(&answers, 60, 1);
            for interval in scores.iter().filter_map(|score| score.f1).chain([overall]) {
                proptest::prop_assert!(interval.low <= interval.estimate && interval.estimate <= interval.high);
                proptest::prop_assert!((0.0..=1.0).contains(&interval.low) && interval.high <= 1.0);
            }
        }
    }
}
