//! Whose turn it is among several of different weights.

use std::sync::{Mutex, PoisonError};

/// Orders and weights. Within the lowest order whose members are ready, the turn goes round by
/// "smooth weighted round-robin" (Sysoev, nginx 1.3.1, 2012): each turn adds every weight to its
/// owner's credit, the highest credit takes the turn and pays the sum of all weights. Any row of
/// turns thus holds shares as near to the weights as whole turns allow, and never a burst.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Order and weight of each, and the credits.
    all: Vec<(usize, i64)>,
    /// All places, those of a lower order and a higher weight first.
    ranked: Vec<usize>,
    credit: Mutex<Vec<i64>>,
}

impl Turns {
    pub(crate) fn new(all: impl Iterator<Item = (usize, u32)>) -> Self {
        let all: Vec<(usize, i64)> =
            all.map(|(order, weight)| (order, i64::from(weight.max(1)))).collect();
        let mut ranked: Vec<usize> = (0..all.len()).collect();
        ranked.sort_by_key(|&at| (all[at].0, -all[at].1));
        let credit = Mutex::new(vec![0; all.len()]);
        Turns { all, ranked, credit }
    }

    /// In which order all are to be asked now: the one whose turn it is, then those that stand in
    /// for it. `ready`: who may take a turn; the others follow in their places all the same.
    pub(crate) fn next(&self, ready: impl Fn(usize) -> bool) -> std::vec::IntoIter<usize> {
        let mut list = self.ranked.clone();
        if let Some(first) = self.turn(ready) {
            let from = list.iter().position(|&at| at == first).unwrap_or_default();
            // Those before it of a lower order are not ready: they keep their places.
            let order = self.all[first].0;
            let to = list.iter().position(|&at| self.all[at].0 == order).unwrap_or_default();
            list[to..=from].rotate_right(1);
        }
        list.into_iter()
    }

    fn turn(&self, ready: impl Fn(usize) -> bool) -> Option<usize> {
        if self.all.len() == 1 {
            return None;
        }
        let order = self.ranked.iter().copied().find(|&at| ready(at)).map(|at| self.all[at].0)?;
        let members: Vec<usize> =
            (0..self.all.len()).filter(|&at| self.all[at].0 == order && ready(at)).collect();
        // A lost addition would shift one turn, no more.
        let mut credit = self.credit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = 0;
        for &at in &members {
            credit[at] += self.all[at].1;
            sum += self.all[at].1;
        }
        // The first of equals.
        let first = members.iter().copied().max_by_key(|&at| (credit[at], usize::MAX - at))?;
        credit[first] -= sum;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(turns: &Turns, count: usize, ready: impl Fn(usize) -> bool + Copy) -> Vec<Vec<usize>> {
        (0..count).map(|_| turns.next(ready).collect()).collect()
    }

    #[test]
    fn shares_follow_the_weights_without_bursts() {
        let turns = Turns::new([(0, 5), (0, 1), (0, 1)].into_iter());
        let firsts: Vec<usize> = rows(&turns, 7, |_| true).iter().map(|row| row[0]).collect();
        // The example of nginx's own description.
        assert_eq!(firsts, [0, 0, 1, 0, 2, 0, 0]);
        for row in rows(&turns, 20, |_| true) {
            let mut all = row.clone();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2], "each is asked at most once");
        }
    }

    #[test]
    fn a_higher_order_waits_until_the_lower_one_is_not_ready() {
        let turns = Turns::new([(1, 1), (0, 1), (1, 3)].into_iter());
        assert_eq!(rows(&turns, 2, |_| true), [[1, 2, 0], [1, 2, 0]]);
        let without = rows(&turns, 4, |at| at != 1);
        assert_eq!(without, [[1, 2, 0], [1, 0, 2], [1, 2, 0], [1, 2, 0]]);
        assert_eq!(rows(&turns, 1, |_| false), [[1, 2, 0]]);
    }
}
