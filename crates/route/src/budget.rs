//! What large models may cost: money and tokens per hour and per day.

use crate::codes;
use sprat_infer::Answer;
use sprat_task::{Error, Result, Timestamp};
use std::sync::{Mutex, PoisonError};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// Bounds of one window; none: without bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Limit {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens read and written.
    pub tokens: Option<u64>,
}

/// The bounds of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Limits {
    /// For each hour of the clock (UTC).
    pub hour: Limit,
    /// For each day of the clock (UTC).
    pub day: Limit,
}

/// What was spent in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spent {
    /// US dollars.
    pub usd: f64,
    /// Tokens read and written.
    pub tokens: u64,
}

/// A budget. What an answer costs is known when it is there, so requests that are on their way
/// when the bound is reached still go over it: at most as many as the upstreams take at once.
/// It lives in memory: a restart begins anew.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    windows: Mutex<[Window; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    length: u64,
    number: u64,
    spent: Spent,
}

impl Window {
    fn new(length: u64) -> Self {
        Window { length, number: 0, spent: Spent::default() }
    }

    /// Begins the window of a moment. A clock that jumps back stays in the window it was in:
    /// nobody gets a budget twice.
    fn at(&mut self, now: Timestamp) {
        let number = now.0 / self.length;
        if number > self.number {
            (self.number, self.spent) = (number, Spent::default());
        }
    }
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(limits: Limits) -> Self {
        Budget { limits, windows: Mutex::new([Window::new(HOUR), Window::new(DAY)]) }
    }

    /// Its bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether a further request may be paid for.
    ///
    /// # Errors
    /// [`codes::BUDGET`], with the bound that is reached.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        let [hour, day] = self.spent(now);
        for (limit, spent, name) in
            [(self.limits.hour, hour, "hour"), (self.limits.day, day, "day")]
        {
            let why = match limit {
                Limit { usd: Some(most), .. } if spent.usd >= most => {
                    format!("{:.4} of {most} US dollars are spent this {name}", spent.usd)
                }
                Limit { tokens: Some(most), .. } if spent.tokens >= most => {
                    format!("{} of {most} tokens are used this {name}", spent.tokens)
                }
                _ => continue,
            };
            let what = "no further request may go to a large model now";
            return Err(Error::new(&codes::BUDGET, what).why(why));
        }
        Ok(())
    }

    /// Takes down what an answer cost.
    pub fn spend(&self, now: Timestamp, answer: &Answer) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        for window in windows.iter_mut() {
            window.at(now);
            window.spent.usd += answer.usd.unwrap_or(0.0).max(0.0);
            let tokens = answer.prompt_tokens.saturating_add(answer.completion_tokens);
            window.spent.tokens = window.spent.tokens.saturating_add(tokens as u64);
        }
    }

    /// What was spent in this hour and this day.
    pub fn spent(&self, now: Timestamp) -> [Spent; 2] {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.iter_mut().for_each(|window| window.at(now));
        windows.map(|window| window.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(usd: f64, tokens: usize) -> Answer {
        Answer { usd: Some(usd), prompt_tokens: tokens, ..Answer::default() }
    }

    #[test]
    fn a_spent_hour_ends_with_the_hour_and_a_spent_day_with_the_day() {
        let hour = Limit { usd: Some(1.0), tokens: None };
        let day = Limit { usd: None, tokens: Some(100) };
        let budget = Budget::new(Limits { hour, day });
        let start = Timestamp(1_000 * DAY);
        budget.spend(start, &cost(0.6, 10));
        budget.check(start).unwrap();
        budget.spend(start, &cost(0.6, 10));
        let error = budget.check(start).unwrap_err();
        assert!(error.reason().unwrap().contains("this hour"), "{error:?}");
        let next = Timestamp(start.0 + HOUR);
        budget.check(next).unwrap();
        budget.spend(next, &cost(0.0, 80));
        assert!(budget.check(next).unwrap_err().reason().unwrap().contains("this day"));
        budget.check(Timestamp(start.0 + DAY)).unwrap();
    }

    #[test]
    fn a_clock_that_jumps_back_gives_nothing_back() {
        let limits = Limits { hour: Limit { usd: Some(1.0), tokens: None }, day: Limit::default() };
        let budget = Budget::new(limits);
        let now = Timestamp(50 * DAY);
        budget.spend(now, &cost(2.0, 0));
        assert!(budget.check(Timestamp(3 * DAY)).is_err());
        assert!(budget.check(Timestamp(0)).is_err());
    }
}
