//! What large models may cost: money and tokens per hour and per day.

use crate::codes;
use crate::ledger::{Ledger, Row};
use sprat_infer::Usage;
use sprat_task::{Error, Result, Timestamp};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// A budget. What an answer costs is known when it is there, so a request is charged with an
/// estimate on the safe side when it leaves ([`Budget::charge`]), and with what it took when that
/// is known. It counts for the hour and the day in which it left. The budget lives in memory; with
/// [`Budget::kept`] also in a file, and outlives a restart.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    books: Arc<Mutex<Books>>,
    ledger: Option<Ledger>,
}

/// What was spent, and how much of it the file holds.
#[derive(Debug)]
pub(crate) struct Books {
    windows: [Window; 2],
    filed: [Window; 2],
}

impl Books {
    fn new() -> Self {
        let windows = [Window::new(HOUR), Window::new(DAY)];
        Books { windows, filed: windows }
    }

    /// Adds to what the file says what is not in it yet; gives what it is to say. The expenses of
    /// other processes become part of the windows.
    pub(crate) fn merge(&mut self, file: &[Row]) -> Vec<Row> {
        for (window, filed) in self.windows.iter_mut().zip(&mut self.filed) {
            let before = match filed.number == window.number {
                true => filed.spent,
                false => Spent::default(),
            };
            let row = file.iter().find(|row| row.window_ms == window.length);
            let others = row.filter(|row| row.number == window.number).map(Row::spent);
            let others = others.unwrap_or_default();
            *filed = Window { spent: others, ..*window };
            // What was charged and then settled for less has made it fewer.
            window.spent.usd = (others.usd + window.spent.usd - before.usd).max(0.0);
            let tokens = others.tokens.saturating_add(window.spent.tokens);
            window.spent.tokens = tokens.saturating_sub(before.tokens);
        }
        self.windows.iter().map(Row::from).collect()
    }

    /// The file says this now.
    pub(crate) fn settle(&mut self, rows: &[Row]) {
        for filed in &mut self.filed {
            let row = rows.iter().find(|row| row.window_ms == filed.length);
            if let Some(row) = row.filter(|row| row.number == filed.number) {
                filed.spent = row.spent();
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) length: u64,
    pub(crate) number: u64,
    pub(crate) spent: Spent,
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
        Budget { limits, books: Arc::new(Mutex::new(Books::new())), ledger: None }
    }

    /// A budget whose expenses are kept in a file, and go on from what it says. The file is written
    /// [`crate::LEDGER_EVERY`] after an expense and at the end, off the path of requests: a process
    /// that is killed loses no more than the expenses of that time. Processes that keep the same
    /// file share the budget; each learns of the others' expenses when it writes its own.
    ///
    /// # Errors
    /// [`codes::LEDGER`] when the file cannot be read or is no such file.
    pub fn kept(limits: Limits, path: &Path, now: Timestamp) -> Result<Self> {
        let mut budget = Budget::new(limits);
        {
            let rows = Ledger::read(path)?;
            let mut books = budget.lock();
            for window in &mut books.windows {
                window.at(now);
                // A file from the future was written by a clock that was wrong: what was spent
                // counts, but not for as long as that clock said.
                let row = rows.iter().find(|row| row.window_ms == window.length);
                if let Some(row) = row.filter(|row| row.number >= window.number) {
                    window.spent = row.spent();
                }
            }
            let filed = books.windows.map(|window| {
                let same =
                    |row: &&Row| (row.window_ms, row.number) == (window.length, window.number);
                let spent = rows.iter().find(same).map(Row::spent).unwrap_or_default();
                Window { spent, ..window }
            });
            books.filed = filed;
        }
        budget.ledger = Some(Ledger::start(path, Arc::clone(&budget.books))?);
        Ok(budget)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        // What a panic left half-done is one window's sum, at worst.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Charges a request that leaves now with what it may take. It stays charged with that until
    /// more is known of it: [`Charge::becomes`].
    pub fn charge(&self, now: Timestamp, usage: Usage) -> Charge<'_> {
        let mut books = self.lock();
        books.windows.iter_mut().for_each(|window| window.at(now));
        let windows = books.windows.map(|window| window.number);
        drop(books);
        let mut charge = Charge { budget: self, windows, usage: Usage::default() };
        charge.becomes(usage);
        charge
    }

    /// What was spent in this hour and this day.
    pub fn spent(&self, now: Timestamp) -> [Spent; 2] {
        let mut books = self.lock();
        books.windows.iter_mut().for_each(|window| window.at(now));
        books.windows.map(|window| window.spent)
    }
}

/// What a request on its way is charged with.
#[derive(Debug)]
#[must_use]
pub struct Charge<'a> {
    budget: &'a Budget,
    /// The hour and the day in which it left.
    windows: [u64; 2],
    usage: Usage,
}

impl Charge<'_> {
    /// It took this, as far as is known now, instead of what it is charged with.
    pub fn becomes(&mut self, usage: Usage) {
        let before = std::mem::replace(&mut self.usage, usage);
        let mut books = self.budget.lock();
        for (window, number) in books.windows.iter_mut().zip(self.windows) {
            if window.number == number {
                window.spent.usd = (window.spent.usd + usage.usd - before.usd).max(0.0);
                let tokens = window.spent.tokens.saturating_add(usage.tokens);
                window.spent.tokens = tokens.saturating_sub(before.tokens);
            }
        }
        drop(books);
        if let Some(ledger) = &self.budget.ledger {
            ledger.changed();
        }
    }

    /// It took nothing.
    pub fn waive(&mut self) {
        self.becomes(Usage::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(usd: f64, tokens: u64) -> Usage {
        Usage { usd, tokens }
    }

    impl Budget {
        fn spend(&self, now: Timestamp, usage: Usage) {
            let _ = self.charge(now, usage);
        }
    }

    #[test]
    fn a_spent_hour_ends_with_the_hour_and_a_spent_day_with_the_day() {
        let hour = Limit { usd: Some(1.0), tokens: None };
        let day = Limit { usd: None, tokens: Some(100) };
        let budget = Budget::new(Limits { hour, day });
        let start = Timestamp(1_000 * DAY);
        budget.spend(start, cost(0.6, 10));
        budget.check(start).unwrap();
        budget.spend(start, cost(0.6, 10));
        let error = budget.check(start).unwrap_err();
        assert!(error.reason().unwrap().contains("this hour"), "{error:?}");
        let next = Timestamp(start.0 + HOUR);
        budget.check(next).unwrap();
        budget.spend(next, cost(0.0, 80));
        assert!(budget.check(next).unwrap_err().reason().unwrap().contains("this day"));
        budget.check(Timestamp(start.0 + DAY)).unwrap();
    }

    #[test]
    fn a_clock_that_jumps_back_gives_nothing_back() {
        let limits = Limits { hour: Limit { usd: Some(1.0), tokens: None }, day: Limit::default() };
        let budget = Budget::new(limits);
        let now = Timestamp(50 * DAY);
        budget.spend(now, cost(2.0, 0));
        assert!(budget.check(Timestamp(3 * DAY)).is_err());
        assert!(budget.check(Timestamp(0)).is_err());
    }

    #[test]
    fn a_request_counts_as_estimated_until_it_is_settled() {
        let hour = Limit { usd: None, tokens: Some(100) };
        let budget = Budget::new(Limits { hour, day: Limit::default() });
        let now = Timestamp(50 * DAY);
        let mut first = budget.charge(now, cost(0.5, 100));
        assert!(budget.check(now).is_err(), "what is on its way counts");
        first.becomes(cost(0.1, 20));
        budget.check(now).unwrap();
        budget.charge(now, cost(9.0, 900)).waive();
        let mut lost = budget.charge(now, cost(0.0, 30));
        lost.becomes(cost(0.0, 50));
        let _ = lost;
        assert_eq!(budget.spent(now)[0].tokens, 70, "what is not settled stays");
        assert!((budget.spent(now)[1].usd - 0.1).abs() < 1e-12);
        // It counts for the hour in which it left.
        let next = Timestamp(now.0 + HOUR);
        budget.check(next).unwrap();
        first.becomes(cost(0.2, 40));
        let [hour, day] = budget.spent(next);
        assert_eq!((hour, day.tokens), (Spent::default(), 90));
    }

    #[test]
    fn a_charge_that_is_settled_for_less_is_fewer_in_the_file_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent.json");
        let now = Timestamp(50 * DAY);
        let budget = Budget::kept(Limits::default(), &path, now).unwrap();
        let mut charge = budget.charge(now, cost(1.0, 1000));
        // The file says the estimate.
        let mut filed = Vec::new();
        while filed.is_empty() {
            std::thread::yield_now();
            filed = Ledger::read(&path).unwrap();
        }
        assert_eq!(filed[0].spent(), Spent { usd: 1.0, tokens: 1000 });
        charge.becomes(cost(0.25, 12));
        let settled = [Spent { usd: 0.25, tokens: 12 }; 2];
        assert_eq!(budget.spent(now), settled);
        drop(budget);
        let budget = Budget::kept(Limits::default(), &path, now).unwrap();
        assert_eq!(budget.spent(now), settled);
    }

    #[test]
    fn what_was_spent_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent.json");
        let limits = Limits { hour: Limit { usd: Some(1.0), tokens: None }, day: Limit::default() };
        let now = Timestamp(50 * DAY);
        let budget = Budget::kept(limits, &path, now).unwrap();
        budget.spend(now, cost(0.75, 10));
        budget.spend(now, cost(0.75, 10));
        drop(budget);
        let budget = Budget::kept(limits, &path, now).unwrap();
        assert_eq!(budget.check(now).unwrap_err().code(), &codes::BUDGET);
        assert_eq!(budget.spent(now), [Spent { usd: 1.5, tokens: 20 }; 2]);
        // The next hour is a new one, the day is the same.
        let next = Timestamp(now.0 + HOUR);
        drop(budget);
        let budget = Budget::kept(limits, &path, next).unwrap();
        assert_eq!(budget.spent(next), [Spent::default(), Spent { usd: 1.5, tokens: 20 }]);
        budget.check(next).unwrap();
        drop(budget);
        // A clock that was years ahead must not close the budget for years.
        Budget::kept(limits, &path, Timestamp(20_000 * DAY))
            .unwrap()
            .spend(Timestamp(20_000 * DAY), cost(2.0, 0));
        let budget = Budget::kept(limits, &path, next).unwrap();
        assert!(budget.check(next).is_err(), "it was spent");
        budget.check(Timestamp(next.0 + HOUR)).unwrap();
    }

    #[test]
    fn two_processes_with_one_file_share_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent.json");
        let now = Timestamp(50 * DAY);
        let open = || Budget::kept(Limits::default(), &path, now).unwrap();
        let (one, two) = (open(), open());
        one.spend(now, cost(1.0, 10));
        one.spend(now, cost(1.0, 10));
        drop(one);
        two.spend(now, cost(1.0, 1));
        drop(two);
        assert_eq!(open().spent(now), [Spent { usd: 3.0, tokens: 21 }; 2]);
        assert_eq!(open().spent(now), [Spent { usd: 3.0, tokens: 21 }; 2], "reading adds nothing");
    }

    #[test]
    fn a_damaged_file_is_named_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spent.json");
        for text in ["", "{", "{\"schema\":\"sprat.spent/9\",\"windows\":[]}", "[]"] {
            std::fs::write(&path, text).unwrap();
            let error = Budget::kept(Limits::default(), &path, Timestamp(1)).unwrap_err();
            assert_eq!(error.code(), &codes::LEDGER, "{text}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
