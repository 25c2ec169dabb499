//! Traces, counted by minute and by hour: each row is read once, and memory has a bound whatever
//! the traffic.

use super::histogram::Histogram;
use sprat_monitor::TraceRow;
use sprat_task::Timestamp;
use std::collections::BTreeMap;

/// A minute in milliseconds.
pub(crate) const MINUTE: u64 = 60_000;
/// An hour in milliseconds.
pub(crate) const HOUR: u64 = 60 * MINUTE;
/// How far back the hours go.
pub(crate) const HORIZON: u64 = 30 * 24 * HOUR;
/// How far back the minutes go.
pub(crate) const MINUTES: u64 = 24 * HOUR;

/// Different names counted in one cell; what comes beyond is counted under [`REST`].
const NAMES: usize = 256;
/// The name of what has no place of its own.
pub(crate) const REST: &str = "(others)";

/// What happened in a minute or an hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    /// Inputs answered or failed.
    pub(crate) requests: u64,
    /// Those whose status is an error.
    pub(crate) errors: u64,
    /// Those answered by the large side of a route.
    pub(crate) large: u64,
    /// Those answered by the small side of a route.
    pub(crate) small: u64,
    /// What the large side cost, as far as it was recorded, in US dollars.
    pub(crate) large_usd: f64,
    /// Tokens read and written by the large side where it was not.
    pub(crate) large_tokens: (u64, u64),
    /// Tokens read and written by everything else that was answered.
    pub(crate) own_tokens: (u64, u64),
    /// Of those that were answered.
    pub(crate) latency: Histogram,
    /// By label; abstentions and written answers have none.
    pub(crate) labels: BTreeMap<String, u64>,
    /// By version.
    pub(crate) versions: BTreeMap<String, u64>,
    /// By HTTP status.
    pub(crate) statuses: BTreeMap<u16, u64>,
}

fn count(names: &mut BTreeMap<String, u64>, name: &str, amount: u64) {
    if let Some(seen) = names.get_mut(name) {
        *seen += amount;
        return;
    }
    let own = names.len() - usize::from(names.contains_key(REST));
    let name = if own < NAMES { name } else { REST };
    *names.entry(name.to_owned()).or_default() += amount;
}

impl Cell {
    fn add(&mut self, row: &TraceRow) {
        self.requests += 1;
        count(&mut self.versions, &row.version, 1);
        // Rows from outside HTTP have the status 0.
        let failed = row.status >= 400;
        *self.statuses.entry(if row.status == 0 { 200 } else { row.status }).or_default() += 1;
        if failed {
            self.errors += 1;
            return;
        }
        self.latency.add(row.latency_ms);
        if let Some(label) = &row.label {
            count(&mut self.labels, label, 1);
        }
        let large = row.route.as_deref() == Some("large");
        self.large += u64::from(large);
        self.small += u64::from(row.route.as_deref() == Some("small"));
        if let (true, Some(usd)) = (large, row.usd) {
            self.large_usd += usd;
            return;
        }
        let tokens = if large { &mut self.large_tokens } else { &mut self.own_tokens };
        tokens.0 = tokens.0.saturating_add(row.prompt_tokens);
        tokens.1 = tokens.1.saturating_add(row.completion_tokens);
    }

    pub(crate) fn merge(&mut self, other: &Cell) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.large += other.large;
        self.small += other.small;
        self.large_usd += other.large_usd;
        for (mine, more) in
            [(&mut self.large_tokens, other.large_tokens), (&mut self.own_tokens, other.own_tokens)]
        {
            mine.0 = mine.0.saturating_add(more.0);
            mine.1 = mine.1.saturating_add(more.1);
        }
        self.latency.merge(&other.latency);
        for (mine, more) in
            [(&mut self.labels, &other.labels), (&mut self.versions, &other.versions)]
        {
            more.iter().for_each(|(name, amount)| count(mine, name, *amount));
        }
        for (status, amount) in &other.statuses {
            *self.statuses.entry(*status).or_default() += amount;
        }
    }
}

/// The cells of the last day by minute, and of the last thirty days by hour.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    minutes: BTreeMap<u64, Cell>,
    hours: BTreeMap<u64, Cell>,
    /// The position of the last row.
    pub(crate) seen: u64,
}

impl Tally {
    /// Takes rows with their positions.
    pub(crate) fn add(&mut self, rows: &[(u64, TraceRow)]) {
        for (position, row) in rows {
            self.seen = self.seen.max(*position);
            self.minutes.entry(row.at.0 / MINUTE).or_default().add(row);
            self.hours.entry(row.at.0 / HOUR).or_default().add(row);
            // A clock that jumps ahead leaves cells in the future; they count against the bound.
            while self.minutes.len() as u64 > MINUTES / MINUTE + 1 {
                self.minutes.pop_first();
            }
            while self.hours.len() as u64 > HORIZON / HOUR + 1 {
                self.hours.pop_first();
            }
        }
    }

    /// The cells from `since` up to `until`, in parts of `step` milliseconds (whole minutes, or
    /// whole hours over a day), with the moment at which each part begins. Parts without traffic
    /// are there, too.
    pub(crate) fn parts(&self, since: u64, until: Timestamp, step: u64) -> Vec<(u64, Cell)> {
        let step = step.max(MINUTE);
        let (cells, unit) = match until.0.saturating_sub(since) > MINUTES {
            true => (&self.hours, HOUR),
            false => (&self.minutes, MINUTE),
        };
        let first = since / step;
        let mut parts: Vec<(u64, Cell)> =
            (first..=until.0 / step).map(|part| (part * step, Cell::default())).collect();
        for (number, cell) in cells.range(first * step / unit..=until.0 / unit) {
            let part = (number * unit / step).saturating_sub(first) as usize;
            if let Some((_, sum)) = parts.get_mut(part) {
                sum.merge(cell);
            }
        }
        parts
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(at: u64, status: u16, route: Option<&str>, label: &str) -> TraceRow {
        TraceRow {
            id: "r".into(),
            at: Timestamp(at),
            task: "task".into(),
            version: "task@v1".into(),
            text: None,
            text_hash: None,
            label: Some(label.into()).filter(|label: &String| !label.is_empty()),
            confidence: None,
            scores: vec![],
            latency_ms: 10.0,
            prompt_tokens: 100,
            completion_tokens: 2,
            status,
            route: route.map(str::to_owned),
            usd: None,
            valid: None,
            output: None,
            sketch: None,
        }
    }

    #[test]
    fn every_row_is_in_its_minute_and_quiet_minutes_are_there() {
        let mut tally = Tally::default();
        let rows = [
            (1, row(10 * MINUTE, 200, Some("small"), "card")),
            (2, row(10 * MINUTE + 1, 200, Some("large"), "card")),
            (4, row(13 * MINUTE, 504, None, "")),
        ];
        tally.add(&rows);
        assert_eq!(tally.seen, 4);
        let parts = tally.parts(10 * MINUTE, Timestamp(14 * MINUTE), MINUTE);
        let counts: Vec<u64> = parts.iter().map(|(_, cell)| cell.requests).collect();
        assert_eq!(counts, [2, 0, 0, 1, 0]);
        assert_eq!((parts[0].0, parts[0].1.large, parts[0].1.small), (10 * MINUTE, 1, 1));
        assert_eq!(parts[0].1.large_tokens, (100, 2));
        assert_eq!((parts[3].1.errors, parts[3].1.latency.percentile(0.5)), (1, None));
        let parts = tally.parts(10 * MINUTE, Timestamp(14 * MINUTE), 5 * MINUTE);
        assert_eq!(parts.iter().map(|(_, cell)| cell.requests).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn memory_has_a_bound() {
        let mut tally = Tally::default();
        for hour in 0..2000 {
            tally.add(&[(hour, row(hour * HOUR, 200, None, "card"))]);
        }
        assert!(tally.hours.len() <= 721 && tally.minutes.len() <= 1441);
        let many: Vec<_> =
            (0..1000).map(|n| (n, row(0, 200, None, &format!("label {n}")))).collect();
        let mut tally = Tally::default();
        tally.add(&many);
        let cell = &tally.parts(0, Timestamp(0), MINUTE)[0].1;
        assert_eq!(cell.labels.len(), NAMES + 1);
        assert_eq!(cell.labels[REST], 1000 - NAMES as u64);
    }
}
