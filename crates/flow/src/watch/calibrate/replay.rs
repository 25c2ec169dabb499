//! Requests through watches: clean ones in random order and in their own, and streams in which a
//! shift is planted.

use super::rows::{Row, Rows};
use crate::Project;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;
use sprat_eval::{Interval, LEVEL, clopper_pearson};
use sprat_monitor::{Observation, Setup, Watch, WatchOptions};
use sprat_report::number;
use sprat_task::Result;
use sprat_task::random::{ChaCha8Rng, stream};
use std::collections::BTreeMap;

/// The shares of requests that a planted shift takes.
const SHARES: [f64; 3] = [0.1, 0.25, 0.5];
/// Clean requests before a shift.
const BEFORE: usize = 500;
/// The longest wait for an alarm.
pub(super) const PATIENCE: usize = 10_000;
/// The most random orders of the clean rows.
const ORDERS: u64 = 500;
/// The share of rows whose labels are held out as another domain.
const HELD_OUT: f64 = 0.15;

/// False alarms in clean requests.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Rate {
    pub(super) requests: u64,
    pub(super) alarms: u64,
    /// Alarms per request, with Clopper and Pearson's interval.
    pub(super) rate: Interval,
    /// The tests that raised them.
    pub(super) by: BTreeMap<&'static str, u64>,
}

impl Rate {
    fn of(requests: u64, by: BTreeMap<&'static str, u64>) -> Rate {
        let alarms = by.values().sum();
        Rate { requests, alarms, rate: clopper_pearson(alarms, requests, LEVEL), by }
    }

    pub(super) fn text(&self) -> String {
        let per = |x: f64| number::significant(x * 100_000.0);
        format!(
            "{} in {} ({} per 100,000, 95% [{}, {}])",
            self.alarms,
            number::count(self.requests),
            per(self.rate.estimate),
            per(self.rate.low),
            per(self.rate.high)
        )
    }
}

/// How soon a shift was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Delay {
    pub(super) shift: &'static str,
    pub(super) share: f64,
    /// Requests until the alarm; none where it was not found in most rounds.
    pub(super) median: Option<usize>,
    /// The 90th percentile.
    pub(super) p90: Option<usize>,
    pub(super) found: usize,
    pub(super) rounds: usize,
    pub(super) by: String,
}

pub(super) struct World<'a> {
    pub(super) project: &'a Project,
    pub(super) clean: Rows,
    pub(super) shifted: Vec<(&'static str, Vec<Row>)>,
    pub(super) history: usize,
    pub(super) setup: Setup,
}

fn draw<'a>(rows: &[&'a Row], rng: &mut ChaCha8Rng) -> &'a Row {
    rows[rng.random_range(0..rows.len())]
}

impl World<'_> {
    fn fit(&self, history: &[&Row]) -> Watch {
        let setup = &self.setup;
        let seen: Vec<Observation<'_>> = history.iter().map(|row| row.seen()).collect();
        let options = WatchOptions {
            tests: setup.tests.clone(),
            false_alarms_per: setup.false_alarm_every,
            caution: setup.caution,
            ..WatchOptions::default()
        };
        Watch::fit(&seen, options)
    }

    /// A random history and the other rows.
    fn parts<'b>(&self, rows: &[&'b Row], rng: &mut ChaCha8Rng) -> (Vec<&'b Row>, Vec<&'b Row>) {
        let mut order = rows.to_vec();
        order.shuffle(rng);
        let live = order.split_off(self.history.min(order.len() / 2));
        (order, live)
    }

    /// Alarms in the rows in random order, each once: what the guarantee is about. Repeated with
    /// other orders until there are so many requests.
    pub(super) fn false_alarms(&self, requests: u64) -> Result<Rate> {
        let rows: Vec<&Row> = self.clean.rows.iter().collect();
        let mut by: BTreeMap<&'static str, u64> = BTreeMap::new();
        let progress = &self.project.progress;
        progress.start("clean requests", Some(requests), "requests");
        let (mut seen, mut order) = (0u64, 0u64);
        while seen < requests && order < ORDERS {
            let mut rng = stream(order, "calibrate clean");
            let (history, live) = self.parts(&rows, &mut rng);
            let mut watch = self.fit(&history);
            self.project.interrupt.check()?;
            let left = usize::try_from(requests - seen).unwrap_or(usize::MAX);
            for row in live.iter().take(left) {
                for alarm in watch.observe(&row.seen()) {
                    *by.entry(alarm.test.name()).or_default() += 1;
                }
            }
            let done = live.len().min(left) as u64;
            progress.advance(done);
            seen += done;
            order += 1;
        }
        progress.finish();
        Ok(Rate::of(seen, by))
    }

    /// Alarms in the requests as they came: days, sessions and retries included, which the guarantee
    /// knows nothing of. None for rows without an order.
    pub(super) fn in_order(&self) -> Option<Rate> {
        if !self.clean.ordered {
            return None;
        }
        let rows: Vec<&Row> = self.clean.rows.iter().collect();
        let (history, live) = rows.split_at(self.history);
        let mut watch = self.fit(history);
        let mut by: BTreeMap<&'static str, u64> = BTreeMap::new();
        for row in live {
            for alarm in watch.observe(&row.seen()) {
                *by.entry(alarm.test.name()).or_default() += 1;
            }
        }
        Some(Rate::of(live.len() as u64, by))
    }

    pub(super) fn delays(&self, rounds: usize, notes: &mut Vec<String>) -> Result<Vec<Delay>> {
        let all: Vec<&Row> = self.clean.rows.iter().collect();
        let mut labels: Vec<&str> = all.iter().filter_map(|row| row.domain.as_deref()).collect();
        labels.sort_unstable();
        labels.dedup();
        let mut kinds: Vec<&'static str> = self.shifted.iter().map(|(name, _)| *name).collect();
        match labels.len() {
            0 | 1 => notes.push("fewer than two labels: no shift of labels is planted".into()),
            2 | 3 => {
                kinds.push("one label");
                notes.push("fewer than four labels: none is held out as another domain".into());
            }
            _ => kinds.extend(["one label", "another domain"]),
        }
        let mut delays = Vec::new();
        let progress = &self.project.progress;
        let total = kinds.len() * SHARES.len() * rounds;
        progress.start("planted shifts", Some(total as u64), "streams");
        for kind in kinds {
            let mut found = vec![Vec::new(); SHARES.len()];
            let mut by = vec![BTreeMap::<&'static str, usize>::new(); SHARES.len()];
            for round in 0..rounds {
                let mut rng = stream(round as u64, "calibrate shifts");
                let held_out = match kind {
                    "another domain" => self.held_out(&labels, &mut rng),
                    _ => Vec::new(),
                };
                let inside = |row: &&&Row| {
                    row.domain.as_deref().is_none_or(|domain| !held_out.contains(&domain))
                };
                let known: Vec<&Row> = all.iter().filter(inside).copied().collect();
                let (history, live) = self.parts(&known, &mut rng);
                let strange: Vec<&Row> = match self.shifted.iter().find(|(name, _)| *name == kind) {
                    Some((_, rows)) => rows.iter().collect(),
                    None if kind == "one label" => {
                        let label = draw(&live, &mut rng).domain.clone();
                        live.iter().filter(|row| row.domain == label).copied().collect()
                    }
                    None => all.iter().filter(|row| !inside(row)).copied().collect(),
                };
                if strange.is_empty() || live.is_empty() {
                    continue;
                }
                let fitted = self.fit(&history);
                for (at, share) in SHARES.iter().enumerate() {
                    self.project.interrupt.check()?;
                    let mut watch = fitted.clone();
                    for row in live.iter().take(BEFORE) {
                        watch.observe(&row.seen());
                    }
                    let mut delay = None;
                    for request in 1..=PATIENCE {
                        let rows = if rng.random::<f64>() < *share { &strange } else { &live };
                        if let Some(alarm) = watch.observe(&draw(rows, &mut rng).seen()).first() {
                            delay = Some(request);
                            *by[at].entry(alarm.test.name()).or_default() += 1;
                            break;
                        }
                    }
                    found[at].push(delay.unwrap_or(PATIENCE + 1));
                    progress.advance(1);
                }
            }
            for (at, share) in SHARES.iter().enumerate() {
                delays.push(delay(kind, *share, &mut found[at], &by[at]));
            }
        }
        progress.finish();
        Ok(delays)
    }

    /// Labels with about 15 % of the rows, at least one and at most half of them.
    fn held_out<'b>(&self, labels: &[&'b str], rng: &mut ChaCha8Rng) -> Vec<&'b str> {
        let mut order = labels.to_vec();
        order.shuffle(rng);
        let rows = |label: &str| {
            self.clean.rows.iter().filter(|row| row.domain.as_deref() == Some(label)).count()
        };
        let (mut held, mut sum) = (Vec::new(), 0);
        for label in order.into_iter().take(labels.len() / 2) {
            held.push(label);
            sum += rows(label);
            if sum as f64 >= HELD_OUT * self.clean.rows.len() as f64 {
                break;
            }
        }
        held
    }
}

fn delay(
    shift: &'static str,
    share: f64,
    found: &mut [usize],
    by: &BTreeMap<&'static str, usize>,
) -> Delay {
    found.sort_unstable();
    let quantile = |share: f64| {
        let last = found.len().checked_sub(1)?;
        let at = found[(last as f64 * share).round() as usize];
        (at <= PATIENCE).then_some(at)
    };
    let mut by: Vec<_> = by.iter().collect();
    by.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let by: Vec<String> = by.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    Delay {
        shift,
        share,
        median: quantile(0.5),
        p90: quantile(0.9),
        found: found.iter().filter(|delay| **delay <= PATIENCE).count(),
        rounds: found.len(),
        by: by.join(", "),
    }
}
