//! Which of two writers a judge prefers, and whether the judge can be believed.
//!
//! A judge that reads two answers favours one place over the other (Zheng et al. 2023, "Judging
//! LLM-as-a-Judge with MT-Bench and Chatbot Arena", arXiv:2306.05685, section 3.3). So each row
//! is shown in both orders, and only what holds in both counts.

use crate::codes::EMPTY;
use crate::interval::{Interval, LEVEL, wilson};
use crate::paired::paired_difference;
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Result};

/// Below this position consistency, verdicts say more about places than about answers.
const BELIEVABLE: f64 = 0.7;

/// Whose answer a judge prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The candidate's.
    Candidate,
    /// The reference's.
    Reference,
    /// Neither.
    Tie,
}

/// What a judge said of one row: for each of the two orders, what it said at each repetition;
/// nothing where it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JudgedRow {
    /// With the candidate's answer first, and with the reference's first.
    pub orders: [Vec<Option<Preference>>; 2],
}

/// What a judge's words about one row come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// The same in both orders.
    Prefers(Preference),
    /// It changes with the order, or from one repetition to the next.
    Inconsistent,
    /// In one of the orders the judge said nothing that could be read.
    Unjudged,
}

/// What a judge said of a candidate's answers against a reference's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Rows with a verdict: wins, ties and losses.
    pub rows: u64,
    /// Rows where the candidate's answer is preferred in both orders.
    pub wins: u64,
    /// The others.
    pub ties: u64,
    /// Rows where the reference's answer is preferred in both orders.
    pub losses: u64,
    /// Ties because both answers are the same; the judge was not asked.
    pub same: u64,
    /// Ties because the verdict changed with the order or from one repetition to the next.
    pub inconsistent: u64,
    /// The share of wins, ties counting half: half of one plus the difference between the shares
    /// of wins and losses (Tango's score interval).
    pub win_rate: Interval,
    /// Of the rows with a verdict that were asked: the share where both orders agree (Wilson).
    pub consistency: Option<Interval>,
    /// Of the questions answered more than once: the share answered the same each time (Wilson).
    pub agreement: Option<Interval>,
    /// Rows without a verdict: in one of the orders the judge said nothing that could be read.
    pub unjudged: u64,
    /// Questions without an answer that could be read.
    pub failed: u64,
}

/// Counts what a judge said of `asked` rows, and of `same` more whose answers are the same.
///
/// # Errors
/// [`EMPTY`] where no row has a verdict.
pub fn judged(asked: &[JudgedRow], same: u64) -> Result<Judged> {
    let (mut wins, mut losses, mut agreed, mut inconsistent, mut unjudged) = (0, 0, 0, 0, 0);
    let (mut repeated, mut alike, mut failed) = (0, 0, 0);
    for row in asked {
        for said in &row.orders {
            let heard: Vec<Preference> = said.iter().flatten().copied().collect();
            failed += (said.len() - heard.len()) as u64;
            repeated += u64::from(heard.len() > 1);
            alike += u64::from(heard.len() > 1 && heard.iter().all(|one| *one == heard[0]));
        }
        match row.verdict() {
            RowVerdict::Prefers(preferred) => {
                agreed += 1;
                wins += u64::from(preferred == Preference::Candidate);
                losses += u64::from(preferred == Preference::Reference);
            }
            RowVerdict::Inconsistent => inconsistent += 1,
            RowVerdict::Unjudged => unjudged += 1,
        }
    }
    let rows = agreed + inconsistent + same;
    if rows == 0 {
        return Err(Error::new(&EMPTY, "the judge gave no verdict on any row"));
    }
    let difference = paired_difference(wins, losses, rows, LEVEL);
    let half = |difference: f64| f64::midpoint(1.0, difference);
    let share = |part: u64, of: u64| (of > 0).then(|| wilson(part, of, LEVEL));
    Ok(Judged {
        rows,
        wins,
        ties: rows - wins - losses,
        losses,
        same,
        inconsistent,
        win_rate: Interval::new(
            half(difference.estimate),
            half(difference.low),
            half(difference.high),
            LEVEL,
        ),
        consistency: share(agreed, agreed + inconsistent),
        agreement: share(alike, repeated),
        unjudged,
        failed,
    })
}

impl JudgedRow {
    /// What both orders agree on.
    pub fn verdict(&self) -> RowVerdict {
        let [one, other] = &self.orders;
        let silent = |said: &[Option<Preference>]| said.iter().all(Option::is_none);
        if silent(one) || silent(other) {
            return RowVerdict::Unjudged;
        }
        match majority(one).filter(|preferred| majority(other) == Some(*preferred)) {
            Some(preferred) => RowVerdict::Prefers(preferred),
            None => RowVerdict::Inconsistent,
        }
    }
}

impl Judged {
    /// Whether the judge's verdicts hold often enough when the answers change places.
    pub fn believable(&self) -> bool {
        self.consistency.is_none_or(|share| share.estimate >= BELIEVABLE)
    }
}

/// What more than half of the repetitions of a question said that were answered.
fn majority(said: &[Option<Preference>]) -> Option<Preference> {
    let heard = said.iter().flatten().count();
    let times = |one: &Preference| said.iter().flatten().filter(|other| *other == one).count();
    said.iter().flatten().find(|one| 2 * times(one) > heard).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Preference::{Candidate, Reference, Tie};

    fn row(one: &[Option<Preference>], other: &[Option<Preference>]) -> JudgedRow {
        JudgedRow { orders: [one.to_vec(), other.to_vec()] }
    }

    /// A row on which the judge says the same in both orders, twice each.
    fn sure(of: Preference) -> JudgedRow {
        row(&[Some(of); 2], &[Some(of); 2])
    }

    #[test]
    fn a_judge_that_favours_the_first_place_decides_nothing() {
        let found =
            judged(&vec![row(&[Some(Candidate); 2], &[Some(Reference); 2]); 10], 0).unwrap();
        assert_eq!((found.wins, found.ties, found.losses, found.inconsistent), (0, 10, 0, 10));
        assert_eq!(found.consistency.unwrap().estimate, 0.0);
        assert_eq!(found.agreement.unwrap().estimate, 1.0);
        assert_eq!(found.win_rate.estimate, 0.5);
        assert!(!found.believable());
    }

    #[test]
    fn ties_count_half_and_wins_have_an_interval() {
        let mut rows = vec![sure(Candidate); 12];
        rows.extend([sure(Reference), sure(Reference), sure(Tie), sure(Tie)]);
        let found = judged(&rows, 4).unwrap();
        assert_eq!((found.rows, found.wins, found.ties, found.losses), (20, 12, 6, 2));
        assert_eq!((found.same, found.inconsistent, found.failed), (4, 0, 0));
        assert!((found.win_rate.estimate - 0.75).abs() < 1e-12);
        assert!(found.win_rate.low > 0.5 && found.win_rate.high < 0.95, "{:?}", found.win_rate);
        assert_eq!(found.consistency.unwrap().estimate, 1.0);
        let all = judged(&vec![sure(Candidate); 5], 0).unwrap().win_rate;
        assert!(all.low < 0.8 && all.high == 1.0, "five rows prove little: {all:?}");
    }

    #[test]
    fn the_majority_of_repetitions_speaks_for_an_order() {
        let (yes, no) = (Some(Candidate), Some(Reference));
        let found = judged(&[row(&[yes, no, yes], &[yes; 3]), row(&[yes, no], &[yes; 2])], 0);
        let found = found.unwrap();
        assert_eq!((found.wins, found.inconsistent), (1, 1), "a split decides nothing");
        assert_eq!(found.agreement.unwrap().estimate, 0.5);
    }

    #[test]
    fn failures_are_counted_and_leave_rows_out() {
        let yes = Some(Candidate);
        let found = judged(&[row(&[yes, None], &[yes; 2]), row(&[yes; 2], &[None; 2])], 0).unwrap();
        assert_eq!((found.rows, found.wins, found.unjudged, found.failed), (1, 1, 1, 3));
        assert_eq!(found.agreement.unwrap().estimate, 1.0, "of the questions answered twice");
        let none = judged(&[row(&[None], &[None])], 0).unwrap_err();
        assert_eq!(none.code(), &EMPTY);
        let once = judged(&[row(&[yes], &[yes])], 0).unwrap();
        assert!(once.agreement.is_none() && once.believable());
        let same = judged(&[], 3).unwrap();
        assert_eq!((same.ties, same.consistency, same.believable()), (3, None, true));
    }
}
