//! Where a model is weaker: quality by the values of a column.

use crate::answers::Answers;
use crate::codes::INPUT;
use crate::interval::{Interval, LEVEL, wilson};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};
use std::collections::BTreeMap;

/// Fewer rows than this say little about a slice.
const SMALL: u64 = 30;
/// More values than this are not slices but names of rows; the largest are kept.
const SHOWN: usize = 50;

/// The rows with one value of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// The value.
    pub value: String,
    /// Its rows.
    pub rows: u64,
    /// Accuracy on them (Wilson).
    pub accuracy: Interval,
    /// Whether there are fewer than 30 rows, too few for a conclusion.
    pub small: bool,
    /// Whether the whole interval lies below the interval of all other rows.
    pub weaker: bool,
}

/// A column's slices, the largest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceColumn {
    /// The column.
    pub column: String,
    /// Its slices; at most 50.
    pub slices: Vec<Slice>,
    /// Values that were left out because there are too many.
    pub left_out: u64,
}

/// Accuracy by the values of a column; `values[i]` belongs to row `i`.
///
/// # Errors
/// [`INPUT`] when there is not one value per row.
pub fn slices(answers: &Answers<'_>, column: &str, values: &[String]) -> Result<SliceColumn> {
    if values.len() != answers.rows() {
        let what = format!("column `{column}`: {} values for {}", values.len(), answers.rows());
        return Err(Error::new(&INPUT, what));
    }
    let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let right = answers.right();
    for (value, right) in values.iter().zip(&right) {
        let group = groups.entry(value).or_default();
        group.0 += u64::from(*right);
        group.1 += 1;
    }
    let (all_right, all) =
        (right.iter().filter(|right| **right).count() as u64, values.len() as u64);
    let mut slices: Vec<Slice> = groups
        .into_iter()
        .map(|(value, (right, rows))| {
            let accuracy = wilson(right, rows, LEVEL);
            let others = wilson(all_right - right, all - rows, LEVEL);
            Slice {
                value: value.to_owned(),
                rows,
                accuracy,
                small: rows < SMALL,
                weaker: all > rows && accuracy.high < others.low,
            }
        })
        .collect();
    slices.sort_by_key(|slice| std::cmp::Reverse(slice.rows));
    let left_out = slices.len().saturating_sub(SHOWN) as u64;
    slices.truncate(SHOWN);
    Ok(SliceColumn { column: column.to_owned(), slices, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_slice_is_found_and_a_small_one_is_not_believed() {
        let labels = ["a".to_owned(), "b".to_owned()];
        let gold = vec![0; 300];
        let predicted: Vec<usize> =
            (0..300).map(|at| usize::from((200..240).contains(&at) || at == 299)).collect();
        let values: Vec<String> = (0..300)
            .map(|at| {
                if at < 200 {
                    "mail"
                } else if at < 298 {
                    "chat"
                } else {
                    "fax"
                }
                .to_owned()
            })
            .collect();
        let answers = Answers::new(&labels, &gold, &predicted, None).unwrap();
        let found = slices(&answers, "channel", &values).unwrap();
        let by = |value: &str| found.slices.iter().find(|slice| slice.value == value).unwrap();
        assert!(by("chat").weaker && !by("chat").small);
        assert!(!by("mail").weaker);
        assert!(by("fax").small && by("fax").rows == 2);
        assert!(slices(&answers, "channel", &values[1..]).is_err());
    }
}
