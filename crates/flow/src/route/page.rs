//! What people see of a fit.

use super::document::FitReport;
use super::fit::{FitRecord, more_needed};
use super::judged::JudgeReport;
use super::report::TARGET;
use super::serving::Subject;
use sprat_eval::Interval;
use sprat_report::chart::{Axis, Lines, Series, Unit};
use sprat_report::number::{count, fixed, percent, usd};
use sprat_report::{Figure, Page, Table, Tone};
use sprat_route::Failure;
use sprat_task::settings::RoutePolicy;

/// How the threshold is found, and whose idea it is.
const PROCEDURE: &str = "Graded requests are split at random, by groups, into a fit part, a \
     calibration part and a sealed part. A family of thresholds comes from the fit part's scores \
     alone. On the calibration part each is tested by an exact binomial test (Clopper and Pearson \
     1934), strictest first, in a fixed sequence with several starts that share delta (Wiens 2003): \
     Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052). The loosest threshold that passed \
     is taken; the sealed part then looks at it once.";

/// The page of a fit.
pub(super) fn of(subject: &Subject, record: &FitRecord) -> Page {
    let report = &record.report;
    let subtitle = format!("{}, on {}", subject.name, report.data);
    let mut page = Page::new("Route").subtitle(subtitle);
    page = match &record.route {
        Some(route) => {
            let bound = record.options.bound;
            let text = format!(
                "of the requests that the small model keeps, at most {} fail, with probability {}",
                percent(bound.alpha),
                percent(1.0 - bound.delta)
            );
            let page = page.verdict(Tone::Good, text).figures(figures(record));
            page.facts([
                ("decides", decides(route)),
                ("a failure is", failure(record)),
                ("threshold", threshold(route.fit.threshold)),
                ("sealed test", sealed(route)),
            ])
        }
        None => {
            let bound = record.options.bound;
            let mut text = format!(
                "refused: no threshold could be shown to keep failures at {} or below with \
                 probability {}",
                percent(bound.alpha),
                percent(1.0 - bound.delta)
            );
            if let Some(more) = more_needed(record) {
                text += &format!("; about {} more graded requests would do", count(more));
            }
            page.verdict(Tone::Bad, text)
        }
    };
    if let Some(head) = &record.head {
        let better = head.loss < head.constant_loss;
        let text = format!(
            "difficulty head: cross-validated loss {} nats, a constant guess {}{}",
            fixed(head.loss, 4),
            fixed(head.constant_loss, 4),
            if better { "" } else { ": the requests' text carries no signal" }
        );
        page = page.verdict(if better { Tone::Plain } else { Tone::Warn }, text);
    }
    page = page.section("Quality and cost").table(table(record));
    if let Some(curve) = &report.curve {
        page = page.chart(chart(report, record.route.is_some())).paragraph(needed(curve));
    }
    page.section("How it was found")
        .paragraph(PROCEDURE)
        .facts(rows(report))
        .list(report.caveats.clone())
}

fn figures(record: &FitRecord) -> Vec<Figure> {
    let report = &record.report;
    let ends = |of: &Interval| format!("{} to {}", percent(of.low), percent(of.high));
    let mut figures = vec![
        Figure::new(
            percent(report.share_large.estimate),
            "of the requests go to the large model",
            ends(&report.share_large),
        ),
        Figure::new(
            percent(report.quality.estimate),
            "are answered right by the two together",
            ends(&report.quality),
        ),
    ];
    if let Some(cost) = report.usd_per_1000.2 {
        figures.push(Figure::new(usd(cost), "for 1,000 requests", ""));
    }
    figures
}

fn decides(route: &super::FittedRoute) -> String {
    match route.policy {
        RoutePolicy::After => {
            let score = route.score.name();
            format!("after the small model has answered, by its confidence (`{score}`)")
        }
        RoutePolicy::Before => "before a model is asked, by an embedding of the request".into(),
    }
}

fn failure(record: &FitRecord) -> String {
    if let Some(judge) = &record.report.judge {
        return format!("a kept answer that the judge finds worse than {}", judge.against);
    }
    match record.options.failure {
        Failure::Wrong => "a kept answer that is wrong",
        Failure::Regret => "a kept answer that is wrong where the large model is right",
    }
    .to_owned()
}

fn threshold(threshold: Option<f64>) -> String {
    threshold.map_or_else(|| "none: everything is kept".into(), |least| fixed(least, 4))
}

fn sealed(route: &super::FittedRoute) -> String {
    let sealed = &route.fit.sealed;
    format!(
        "{} of {} requests kept, of which {} fail",
        count(sealed.kept),
        count(sealed.rows),
        sealed.failures.percent()
    )
}

fn rows(report: &FitReport) -> Vec<(&'static str, String)> {
    let rows = report.rows;
    let all = [
        ("graded requests", rows.graded),
        ("left out: private, they never leave", rows.private),
        ("left out: the model was tuned on their text", rows.trained_on),
        ("left out: without a right answer", rows.without_target),
        ("without a valid answer of the small model", rows.unanswered),
    ];
    let shown = all.into_iter().enumerate().filter(|(at, (_, n))| *at == 0 || *n > 0);
    let mut facts: Vec<(&str, String)> = shown.map(|(_, (name, n))| (name, count(n))).collect();
    let large = report.large.clone().unwrap_or_else(|| "not asked".into());
    facts.push(("large model", large));
    facts.extend(report.judge.iter().flat_map(JudgeReport::facts));
    facts
}

fn table(record: &FitRecord) -> Table {
    let report = &record.report;
    let headers = ["who answers", "share large", "right", "USD per 1,000"];
    let caption = format!("On {} graded requests that trained nothing", count(report.measured_on));
    let mut table = Table::new(caption, &headers).numeric(&[1, 2, 3]);
    let cost = |cost: Option<f64>| cost.map_or_else(|| "–".into(), usd);
    let (small, large, together) = report.usd_per_1000;
    let name = if report.large.is_some() { "always large" } else { "always large (assumed)" };
    if let Some(curve) = &report.curve {
        table.push(["always small".into(), percent(0.0), curve.small.percent(), cost(small)]);
        table.push([name.into(), percent(1.0), curve.large.percent(), cost(large)]);
    }
    if record.route.is_some() {
        let share = percent(report.share_large.estimate);
        let quality = report.quality.percent();
        table.push(["this route".into(), share.clone(), quality, cost(together)]);
        let (random, oracle) = report.same_share;
        table.push(["as many at random".into(), share.clone(), percent(random), cost(together)]);
        table.push(["as many, all-knowing".into(), share, percent(oracle), cost(together)]);
    }
    table
}

fn chart(report: &FitReport, chosen: bool) -> Lines {
    let points = |of: &dyn Fn(&sprat_route::curve::Point) -> f64| -> Vec<(f64, f64)> {
        let curve = report.curve.iter().flat_map(|curve| &curve.points);
        curve.map(|point| (point.share_large, of(point))).collect()
    };
    let series = |name: &str, points| Series { name: name.into(), points };
    Lines {
        title: "Quality against the share of large calls".into(),
        x: Axis::new("share of requests that go to the large model", Unit::Percent),
        y: Axis::new("answered right", Unit::Percent),
        series: vec![
            series("this score", points(&|point| point.quality)),
            series("at random", points(&|point| point.random)),
            series("all-knowing", points(&|point| point.oracle)),
        ],
        marked: chosen
            .then(|| (report.share_large.estimate, report.quality.estimate, "chosen".to_owned())),
    }
}

fn needed(curve: &sprat_route::curve::Curve) -> String {
    let share = |share: Option<f64>| share.map_or_else(|| "not reached".into(), percent);
    format!(
        "{} of the large model's accuracy takes {} of large calls by this score, {} at random, {} \
         with perfect knowledge.",
        percent(TARGET),
        curve.needed.as_ref().map_or_else(|| "not reached".into(), Interval::percent),
        share(curve.needed_random),
        share(curve.needed_oracle),
    )
}
