//! Traces over a window, in figures.

use super::Prices;
use super::tally::{Cell, HORIZON, HOUR, MINUTE, REST, Tally};
use serde::Serialize;
use sprat_task::Timestamp;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Labels that are listed; the rest is counted together.
const LABELS: usize = 50;

/// A stretch of time up to now, and the length of the parts that its series has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) length: u64,
    pub(crate) step: u64,
}

impl Window {
    /// The windows that can be asked for.
    pub(crate) const NAMES: &str = "15m, 1h, 6h, 24h, 7d, 30d";

    /// The window of a name.
    pub(crate) fn named(name: &str) -> Option<Window> {
        let (length, step) = match name {
            "15m" => (15 * MINUTE, MINUTE),
            "1h" => (HOUR, MINUTE),
            "6h" => (6 * HOUR, 5 * MINUTE),
            "24h" => (24 * HOUR, 15 * MINUTE),
            "7d" => (7 * 24 * HOUR, 2 * HOUR),
            "30d" => (HORIZON, 8 * HOUR),
            _ => return None,
        };
        Some(Window { length, step })
    }
}

/// What the traces of a window say.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Overview {
    /// Always `sprat.overview/1`.
    pub schema: &'static str,
    /// The window's beginning, in milliseconds since 1970 (UTC).
    pub since: u64,
    /// Its end.
    pub until: u64,
    /// The length of the series' parts, in milliseconds.
    pub step_ms: u64,
    /// Whether all traces of the window are counted; the server reads them in portions when it is
    /// first asked.
    pub complete: bool,
    /// Inputs, answered or failed.
    pub requests: u64,
    /// Inputs that failed.
    pub errors: u64,
    /// Of answered inputs.
    pub latency: Latency,
    /// Which side of a route answered.
    pub routes: Routes,
    /// In US dollars.
    pub cost: Costs,
    /// Answers by label, the most frequent first.
    pub labels: Vec<Counted>,
    /// Inputs by version.
    pub versions: Vec<Counted>,
    /// Inputs by HTTP status.
    pub statuses: Vec<Counted>,
    /// The window in parts, the oldest first.
    pub series: Vec<Point>,
}

/// Percentiles of the time from a request's arrival at the model until its answer, in
/// milliseconds, each within 2 %; none without answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Latency {
    /// The median.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
}

impl From<&Cell> for Latency {
    fn from(cell: &Cell) -> Self {
        let at = |share| cell.latency.percentile(share);
        Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) }
    }
}

/// Answers by the side of the route that gave them; all zero without a route.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct Routes {
    /// The small model's.
    pub small: u64,
    /// A large model's.
    pub large: u64,
}

/// What the traffic cost and would have cost.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Costs {
    /// The hosted model whose prices count: the first of the route, else the first candidate with
    /// prices. None: nothing can be said.
    pub priced_by: Option<String>,
    /// What the large side of the route cost: as recorded, else by those prices.
    pub large_usd: Option<f64>,
    /// What everything that was answered here would have cost there, by the small model's count of
    /// tokens and before the cost of this machine.
    pub saved_usd: Option<f64>,
}

/// How often something occurred.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Counted {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// One part of the window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Point {
    /// When it begins, in milliseconds since 1970 (UTC).
    pub at: u64,
    /// Inputs, answered or failed.
    pub requests: u64,
    /// Inputs that failed.
    pub errors: u64,
    /// Answers by a large model.
    pub large: u64,
    /// The median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 95th percentile of the latency in milliseconds.
    pub p95_ms: Option<f64>,
}

/// The figures of a window that ends now.
pub(crate) fn overview(
    tally: &Tally,
    window: Window,
    now: Timestamp,
    prices: Option<&Prices>,
    complete: bool,
) -> Overview {
    // The window begins where a part does, so that no part is cut.
    let since = now.0.saturating_sub(window.length) / window.step * window.step + window.step;
    let parts = tally.parts(since, now, window.step);
    let mut sum = Cell::default();
    let mut series = Vec::with_capacity(parts.len());
    for (at, cell) in &parts {
        sum.merge(cell);
        let Latency { p50_ms, p95_ms, .. } = cell.into();
        let Cell { requests, errors, large, .. } = *cell;
        series.push(Point { at: *at, requests, errors, large, p50_ms, p95_ms });
    }
    let usd = |(read, written): (u64, u64)| prices.map(|prices| prices.usd(read, written));
    Overview {
        schema: "sprat.overview/1",
        since,
        until: now.0,
        step_ms: window.step,
        complete,
        requests: sum.requests,
        errors: sum.errors,
        latency: (&sum).into(),
        routes: Routes { small: sum.small, large: sum.large },
        cost: Costs {
            priced_by: prices.map(|prices| prices.model.clone()),
            large_usd: match usd(sum.large_tokens) {
                Some(rest) => Some(sum.large_usd + rest),
                None => (sum.large_usd > 0.0).then_some(sum.large_usd),
            },
            saved_usd: usd(sum.own_tokens),
        },
        labels: counted(sum.labels, LABELS),
        versions: counted(sum.versions, LABELS),
        statuses: counted(
            sum.statuses.into_iter().map(|(status, count)| (status.to_string(), count)).collect(),
            LABELS,
        ),
        series,
    }
}

/// The most frequent names; ties by name. What is not listed is in the last line.
fn counted(mut names: BTreeMap<String, u64>, most: usize) -> Vec<Counted> {
    let mut rest = names.remove(REST).unwrap_or_default();
    let mut all: Vec<Counted> =
        names.into_iter().map(|(name, count)| Counted { name, count }).collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.count));
    rest += all.iter().skip(most).map(|one| one.count).sum::<u64>();
    all.truncate(most);
    if rest > 0 {
        all.push(Counted { name: REST.to_owned(), count: rest });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tally::tests::row;
    use super::*;

    #[test]
    fn a_window_in_figures() {
        let now = Timestamp(100 * HOUR + 30_000);
        let mut tally = Tally::default();
        tally.add(&[
            (1, row(now.0 - 2 * HOUR, 200, None, "old")),
            (2, row(now.0 - 90_000, 200, Some("small"), "card")),
            (3, row(now.0 - 80_000, 200, Some("small"), "loan")),
            (4, row(now.0 - 70_000, 200, Some("large"), "card")),
            (5, row(now.0 - 10, 429, None, "")),
        ]);
        let prices = Prices { model: "openai:large".into(), input: 10.0, output: 100.0 };
        let window = Window::named("1h").unwrap();
        let seen = overview(&tally, window, now, Some(&prices), true);
        assert_eq!((seen.requests, seen.errors, seen.series.len()), (4, 1, 60));
        assert_eq!(seen.routes, Routes { small: 2, large: 1 });
        // 100 tokens read and 2 written: 0.0012 dollars.
        assert!((seen.cost.large_usd.unwrap() - 0.0012).abs() < 1e-12);
        assert!((seen.cost.saved_usd.unwrap() - 0.0024).abs() < 1e-12);
        assert_eq!(seen.labels[0], Counted { name: "card".into(), count: 2 });
        assert_eq!(seen.statuses.len(), 2);
        assert_eq!(seen.series.iter().map(|point| point.requests).sum::<u64>(), 4);
        let day = overview(&tally, Window::named("24h").unwrap(), now, None, false);
        assert_eq!((day.requests, day.cost.saved_usd, day.complete), (5, None, false));
        assert_eq!(overview(&tally, Window::named("30d").unwrap(), now, None, true).requests, 5);
    }

    #[test]
    fn long_lists_end_in_a_line_for_the_rest() {
        let names = (0..60).map(|n| (format!("n{n:02}"), 60 - n)).collect();
        let listed = counted(names, 50);
        assert_eq!(listed.len(), 51);
        assert_eq!(listed[0], Counted { name: "n00".into(), count: 60 });
        assert_eq!(listed[50], Counted { name: REST.into(), count: (1..=10).sum() });
    }

    #[test]
    fn other_windows_are_not_known() {
        for name in ["", "1", "2h", "1H", "-1h", "99999999999d"] {
            assert_eq!(Window::named(name), None, "{name}");
        }
        for name in Window::NAMES.split(", ") {
            let window = Window::named(name).unwrap();
            assert!(
                window.length / window.step <= 100 && window.length.is_multiple_of(window.step)
            );
        }
    }
}
