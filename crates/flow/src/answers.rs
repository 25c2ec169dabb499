//! From a model's probabilities to answers that `eval` can compare: everything in the order of
//! the task's labels.

use sprat_data::Dataset;
use sprat_eval::{Answers, NO_ANSWER};
use sprat_task::Result;

/// The rows that candidates are measured on.
pub(crate) struct Questions {
    /// The texts.
    pub(crate) texts: Vec<String>,
    /// The index of each text's label.
    pub(crate) gold: Vec<usize>,
    /// The labels.
    pub(crate) labels: Vec<String>,
    /// Which rows of the dataset these are.
    rows: Vec<usize>,
}

impl Questions {
    /// The rows of a dataset that have one of the labels.
    pub(crate) fn of(data: &Dataset, labels: &[String]) -> Self {
        let mut questions = Questions {
            texts: Vec::new(),
            gold: Vec::new(),
            labels: labels.to_vec(),
            rows: Vec::new(),
        };
        for (at, row) in data.examples.iter().enumerate() {
            let index = row.label.as_ref().and_then(|label| labels.binary_search(label).ok());
            if let Some(index) = index {
                questions.texts.push(row.text.clone());
                questions.gold.push(index);
                questions.rows.push(at);
            }
        }
        questions
    }

    /// At most so many of the rows, evenly spaced over all of them.
    pub(crate) fn at_most(self, most: Option<usize>) -> Self {
        let all = self.texts.len();
        let Some(most) = most.filter(|most| *most < all) else { return self };
        let kept: Vec<usize> = (0..most).map(|at| at * all / most).collect();
        Questions {
            texts: kept.iter().map(|at| self.texts[*at].clone()).collect(),
            gold: kept.iter().map(|at| self.gold[*at]).collect(),
            labels: self.labels,
            rows: kept.iter().map(|at| self.rows[*at]).collect(),
        }
    }

    /// The values of a column on these rows; empty where a row has none.
    pub(crate) fn column(&self, data: &Dataset, name: &str) -> Vec<String> {
        let value = |row: &usize| data.examples[*row].extra.get(name).cloned().unwrap_or_default();
        self.rows.iter().map(value).collect()
    }
}

/// A candidate's answers, owned.
pub(crate) struct Given {
    /// The index of the answered label, or [`NO_ANSWER`].
    pub(crate) predicted: Vec<usize>,
    /// The probability of each label, where the candidate gives them.
    pub(crate) probabilities: Option<Vec<Vec<f32>>>,
}

impl Given {
    /// The answers of a model with its `own` labels. Labels that it does not know have
    /// probability 0.
    pub(crate) fn of(own: &[String], rows: &[Vec<f32>], labels: &[String]) -> Self {
        let place: Vec<Option<usize>> =
            own.iter().map(|label| labels.binary_search(label).ok()).collect();
        let reorder = |row: &Vec<f32>| {
            let mut out = vec![0.0; labels.len()];
            for (p, place) in row.iter().zip(&place) {
                if let Some(place) = place {
                    out[*place] = *p;
                }
            }
            out
        };
        let probabilities: Vec<Vec<f32>> = rows.iter().map(reorder).collect();
        let predicted = rows
            .iter()
            .map(|row| best(row).and_then(|at| place[at]).unwrap_or(NO_ANSWER))
            .collect();
        // A model with labels of its own does not give a distribution over these.
        let whole = place.iter().all(Option::is_some);
        Given { predicted, probabilities: whole.then_some(probabilities) }
    }

    /// The answers to the questions.
    pub(crate) fn answers<'a>(&'a self, questions: &'a Questions) -> Result<Answers<'a>> {
        Answers::new(
            &questions.labels,
            &questions.gold,
            &self.predicted,
            self.probabilities.as_deref(),
        )
    }
}

/// The first highest value's index.
fn best(row: &[f32]) -> Option<usize> {
    let higher = |best: Option<usize>, at: usize| match best {
        Some(best) if row[best] >= row[at] => Some(best),
        _ => Some(at),
    };
    (0..row.len()).fold(None, higher)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_string()).collect()
    }

    #[test]
    fn answers_follow_the_tasks_labels_whatever_the_models_order() {
        let rows = [vec![0.7, 0.3], vec![0.2, 0.8]];
        let given = Given::of(&labels(&["c", "a"]), &rows, &labels(&["a", "b", "c"]));
        assert_eq!(given.predicted, [2, 0]);
        assert_eq!(given.probabilities.unwrap()[0], [0.3, 0.0, 0.7]);
    }

    #[test]
    fn a_label_outside_the_task_is_no_answer() {
        let given = Given::of(&labels(&["a", "old"]), &[vec![0.1, 0.9]], &labels(&["a", "b"]));
        assert_eq!(given.predicted, [NO_ANSWER]);
        assert!(given.probabilities.is_none());
    }
}
