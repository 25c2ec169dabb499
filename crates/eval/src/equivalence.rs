//! The equivalence check: after a step that should change no answer, none has changed.

use crate::codes::{EMPTY, INPUT};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};

/// Held-out examples replayed before and after a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Equivalence {
    /// The step: "merge adapter", "write and read back".
    pub step: String,
    /// Replayed examples.
    pub rows: u64,
    /// Examples whose best class changed.
    pub changed: u64,
    /// Greatest difference of any probability.
    pub greatest: f64,
    /// Row (from 1) with the greatest difference.
    pub worst_row: u64,
    /// The difference that is allowed.
    pub tolerance: f64,
}

impl Equivalence {
    /// Whether no best class changed and every probability stayed within the tolerance. A best
    /// class may change only between two classes that the tolerance cannot tell apart, and then
    /// it counts as a change all the same.
    pub fn passed(&self) -> bool {
        self.changed == 0 && self.greatest <= self.tolerance
    }

    /// # Errors
    /// [`crate::codes::EQUIVALENCE`], naming the step and the worst row, when the check failed.
    pub fn require(&self) -> Result<()> {
        if self.passed() {
            return Ok(());
        }
        let what = format!("`{}` changed what the model answers", self.step);
        Err(Error::new(&crate::codes::EQUIVALENCE, what).why(format!(
            "{} of {} best classes changed; the greatest difference of a probability is {:.2e} \
             (row {}), {:.0e} is allowed",
            self.changed, self.rows, self.greatest, self.worst_row, self.tolerance
        )))
    }
}

/// Compares the probabilities of the same rows before and after a step.
///
/// # Errors
/// [`EMPTY`] without rows, [`INPUT`] when shapes differ or a value is not a number.
pub fn equivalence(
    step: &str,
    before: &[Vec<f32>],
    after: &[Vec<f32>],
    tolerance: f64,
) -> Result<Equivalence> {
    if before.is_empty() {
        return Err(Error::new(&EMPTY, format!("`{step}`: no rows to replay")));
    }
    let fits = |(one, other): (&Vec<f32>, &Vec<f32>)| {
        one.len() == other.len() && one.iter().chain(other).all(|p| p.is_finite())
    };
    if before.len() != after.len() || !before.iter().zip(after).all(fits) {
        return Err(Error::new(
            &INPUT,
            format!("`{step}`: outputs of different shape, or not finite"),
        ));
    }
    let best = |row: &[f32]| {
        row.iter()
            .enumerate()
            .fold((0, f32::MIN), |top, (at, &p)| if p > top.1 { (at, p) } else { top })
            .0
    };
    let (mut changed, mut greatest, mut worst_row) = (0, 0.0, 1);
    for (at, (one, other)) in before.iter().zip(after).enumerate() {
        changed += u64::from(best(one) != best(other));
        for (a, b) in one.iter().zip(other) {
            let difference = f64::from((a - b).abs());
            if difference > greatest {
                (greatest, worst_row) = (difference, at as u64 + 1);
            }
        }
    }
    let (step, rows) = (step.to_owned(), before.len() as u64);
    Ok(Equivalence { step, rows, changed, greatest, worst_row, tolerance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_answer_names_the_step_and_the_row() {
        let before = [vec![0.9, 0.1], vec![0.6, 0.4]];
        assert!(equivalence("merge", &before, &before, 0.0).unwrap().passed());
        let after = [vec![0.9, 0.1], vec![0.4, 0.6]];
        let check = equivalence("merge", &before, &after, 1e-4).unwrap();
        assert_eq!((check.changed, check.worst_row), (1, 2));
        let error = check.require().unwrap_err();
        assert!(error.to_string().contains("`merge`") && error.to_string().contains("row 2"));
        assert!(
            equivalence("merge", &before, &[vec![f32::NAN, 0.0], vec![0.5, 0.5]], 1.0).is_err()
        );
        assert!(equivalence("merge", &[], &[], 1.0).is_err());
    }
}
