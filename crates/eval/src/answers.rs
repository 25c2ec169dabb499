//! The answers of one model beside the truth.

use crate::codes::{EMPTY, INPUT};
use sprat_task::{Error, Result};

/// Stands in `predicted` for an answer that is none of the classes, such as free text from a
/// hosted model: always wrong.
pub const NO_ANSWER: usize = usize::MAX;

/// Answers that fit together; checked once, then used by every metric.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    labels: &'a [String],
    gold: &'a [usize],
    predicted: &'a [usize],
    probabilities: Option<&'a [Vec<f32>]>,
}

impl<'a> Answers<'a> {
    /// Puts answers beside the truth. `gold[i]` and `predicted[i]` are positions in `labels`;
    /// `probabilities[i]` holds one probability per class, adding up to about one.
    ///
    /// # Errors
    /// [`EMPTY`] without rows, [`INPUT`] naming the first row that does not fit.
    pub fn new(
        labels: &'a [String],
        gold: &'a [usize],
        predicted: &'a [usize],
        probabilities: Option<&'a [Vec<f32>]>,
    ) -> Result<Self> {
        if gold.is_empty() {
            return Err(Error::new(&EMPTY, "there are no examples to evaluate on"));
        }
        let wrong = |what: String| Err(Error::new(&INPUT, what));
        if predicted.len() != gold.len() {
            return wrong(format!("{} answers for {} examples", predicted.len(), gold.len()));
        }
        if let Some(row) = gold.iter().position(|&class| class >= labels.len()) {
            return wrong(format!("row {}: the true class {} does not exist", row + 1, gold[row]));
        }
        let known = |class: usize| class < labels.len() || class == NO_ANSWER;
        if let Some(row) = predicted.iter().position(|&class| !known(class)) {
            return wrong(format!("row {}: class {} does not exist", row + 1, predicted[row]));
        }
        if let Some(rows) = probabilities {
            if rows.len() != gold.len() {
                return wrong(format!("{} rows of probabilities for {}", rows.len(), gold.len()));
            }
            let fits = |row: &Vec<f32>| {
                row.len() == labels.len()
                    && row.iter().all(|p| (0.0..=1.0 + 1e-4).contains(p))
                    && (row.iter().sum::<f32>() - 1.0).abs() < 1e-2
            };
            if let Some(row) = rows.iter().position(|row| !fits(row)) {
                return wrong(format!(
                    "row {}: {} probabilities between 0 and 1 that add up to 1 are expected",
                    row + 1,
                    labels.len()
                ));
            }
        }
        Ok(Answers { labels, gold, predicted, probabilities })
    }

    /// Names of the classes.
    pub fn labels(&self) -> &'a [String] {
        self.labels
    }

    /// The true classes.
    pub fn gold(&self) -> &'a [usize] {
        self.gold
    }

    /// The answered classes.
    pub fn predicted(&self) -> &'a [usize] {
        self.predicted
    }

    /// The probabilities behind the answers, where the model gives them.
    pub fn probabilities(&self) -> Option<&'a [Vec<f32>]> {
        self.probabilities
    }

    /// How many rows; at least one.
    pub fn rows(&self) -> usize {
        self.gold.len()
    }

    /// Which answers are right.
    pub fn right(&self) -> Vec<bool> {
        self.gold.iter().zip(self.predicted).map(|(gold, predicted)| gold == predicted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_do_not_fit_are_named() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let says = |gold: &[usize], predicted: &[usize], rows: Option<&[Vec<f32>]>| {
            Answers::new(&labels, gold, predicted, rows).unwrap_err().to_string()
        };
        assert!(says(&[], &[], None).contains("no examples"));
        assert!(says(&[0], &[0, 1], None).contains("2 answers for 1"));
        assert!(says(&[0, 2], &[0, 1], None).contains("row 2"));
        assert!(says(&[0], &[7], None).contains("class 7"));
        assert!(says(&[0], &[0], Some(&[vec![0.5, f32::NAN]])).contains("row 1"));
        assert!(says(&[0], &[0], Some(&[vec![0.5]])).contains("2 probabilities"));
        assert!(says(&[0], &[0], Some(&[vec![0.9, 0.9]])).contains("add up"));
        assert!(Answers::new(&labels, &[0], &[NO_ANSWER], None).is_ok());
    }
}
