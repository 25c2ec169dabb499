//! The benchmark's page.

use super::{or_dash, place_name};
use crate::bench::{Bench, Place, Scored};
use crate::paired::Comparison;
use sprat_report::chart::Bin;
use sprat_report::chart::{
    Axis, Bar, Bars, Confusion, Lines, Point, Reliability, Scatter, Series, Unit,
};
use sprat_report::number::{
    bytes, count, fixed, interval, millis, p_value, percent, significant, usd,
};
use sprat_report::{Cell, Figure, Page, Table, Tone};

/// More classes than this are cut to the weakest ones, in tables and charts.
const CLASSES_SHOWN: usize = 30;

impl Bench {
    /// The report: candidates with intervals, paired tests, latency and cost, and for the best
    /// local candidate its classes, confusions, calibration and slices.
    pub fn page(&self) -> Page {
        let mut page = Page::new(format!("Benchmark: {}", self.task))
            .subtitle(format!("{} rows of {}", count(self.rows), self.data))
            .footer(format!(
                "Intervals are 95% (Wilson for shares, BCa bootstrap for macro-F1, order \
                 statistics for latency). Seed {}. Machine: {}.",
                self.seed, self.machine
            ));
        if let Some(best) = self.best() {
            page = page.figures(headline(best)).verdict(Tone::Plain, self.summary(best));
        }
        page = page.section("Candidates").table(self.quality_table()).table(self.cost_table());
        let picture = self.scatter();
        if picture.points.len() > 1 {
            page = page.chart(picture);
        }
        if !self.comparisons.is_empty() {
            page = page.section("Paired tests").table(self.tests_table());
        }
        match self.closer_look() {
            Some(one) => details(page, one),
            None => page,
        }
    }

    /// The candidate that is shown in detail: the best local one, because it is the one that can
    /// be improved; the best of all where none is local.
    fn closer_look(&self) -> Option<&Scored> {
        let local = self.candidates.iter().filter(|one| one.place == Place::Local);
        let better = |a: &&Scored, b: &&Scored| a.accuracy.estimate.total_cmp(&b.accuracy.estimate);
        local.max_by(better).or_else(|| self.best())
    }

    fn summary(&self, best: &Scored) -> String {
        let level = 0.05;
        let unlike: Vec<&Comparison> =
            self.comparisons.iter().filter(|found| found.adjusted_p < level).collect();
        if self.comparisons.is_empty() {
            return format!("Only {} was measured.", best.name);
        }
        let alike = self.comparisons.len() - unlike.len();
        let mut text = format!("{} has the best accuracy. ", best.name);
        text += &match (alike, unlike.len()) {
            (0, _) => {
                format!("Every other candidate differs from {} significantly.", self.reference)
            }
            (_, 0) => format!(
                "No other candidate differs from {} significantly: these rows cannot tell them \
                 apart.",
                self.reference
            ),
            (alike, unlike) => format!(
                "Of the others, {unlike} {} from {} significantly, {alike} cannot be told apart \
                 from it on these rows.",
                if unlike == 1 { "differs" } else { "differ" },
                self.reference
            ),
        };
        text
    }

    fn quality_table(&self) -> Table {
        let mut table = Table::new(
            "Quality",
            &["candidate", "where", "accuracy", "macro-F1", "calibration error", "no answer"],
        )
        .numeric(&[2, 3, 4, 5])
        .note(
            "Calibration error: expected calibration error over 15 bins, in brackets what a \
               perfectly calibrated model would stay below by chance.",
        );
        let best = self.best().map(|scored| scored.name.as_str());
        for one in &self.candidates {
            let top = best == Some(one.name.as_str());
            let name = Cell::toned(if top { Tone::Strong } else { Tone::Plain }, &one.name);
            let calibration = or_dash(one.calibration.as_ref(), |c| {
                format!("{} ({})", percent(c.ece), percent(c.ece_by_chance))
            });
            table.push([
                name,
                place_name(one.place).into(),
                one.accuracy.percent().into(),
                one.macro_f1.percent().into(),
                calibration.into(),
                count(one.unanswered).into(),
            ]);
        }
        table
    }

    fn cost_table(&self) -> Table {
        let headers = [
            "candidate",
            "p50",
            "p95",
            "p99",
            "requests/s",
            "peak memory",
            "size",
            "USD per 1,000 requests",
        ];
        let mut table = Table::new("Latency at one client, memory and cost", &headers)
            .numeric(&[1, 2, 3, 4, 5, 6, 7]);
        for one in &self.candidates {
            let time = |pick: fn(&crate::latency::Latency) -> f64| {
                or_dash(one.latency.as_ref(), |latency| millis(pick(latency)))
            };
            table.push([
                one.name.clone(),
                time(|latency| latency.p50.ms),
                or_dash(one.latency.as_ref(), |latency| latency.p95.text()),
                time(|latency| latency.p99.ms),
                or_dash(one.requests_per_s, significant),
                or_dash(one.memory_bytes, bytes),
                or_dash(one.size_bytes, bytes),
                or_dash(one.usd_per_1000, usd),
            ]);
        }
        table
    }

    fn scatter(&self) -> Scatter {
        let hosted = self.candidates.iter().any(|one| one.place == Place::Hosted);
        let points: Vec<Point> = self
            .candidates
            .iter()
            .filter_map(|one| {
                let p95 = one.latency?.p95;
                Some(Point {
                    label: one.name.clone(),
                    group: usize::from(one.place == Place::Hosted),
                    x: p95.ms,
                    x_interval: p95.low.zip(p95.high),
                    y: one.accuracy.estimate,
                    y_interval: Some((one.accuracy.low, one.accuracy.high)),
                    size: one.usd_per_1000,
                    chosen: false,
                })
            })
            .collect();
        let priced = points.iter().any(|point| point.size.is_some());
        Scatter {
            title: "Quality, latency and cost".to_owned(),
            x: Axis::new("latency, 95th percentile", Unit::Millis).logarithmic(),
            y: Axis::new("accuracy", Unit::Percent),
            size: priced.then(|| Axis::new("USD per 1,000 requests", Unit::Usd)),
            groups: if hosted { vec!["local".into(), "hosted".into()] } else { Vec::new() },
            points,
            front: Vec::new(),
            guides: Vec::new(),
        }
    }

    fn tests_table(&self) -> Table {
        let caption = format!("Every candidate against {}, on the same rows", self.reference);
        let mut table = Table::new(
            caption,
            &[
                "candidate",
                "only it right",
                "only reference right",
                "accuracy difference",
                "macro-F1 difference",
                "p",
                "p adjusted",
                "conclusion",
            ],
        )
        .numeric(&[1, 2, 3, 4, 5, 6])
        .note(
            "p: McNemar's mid-p; adjusted for the number of candidates by Holm's method. \
               Intervals: Tango's score interval, paired bootstrap.",
        );
        for found in &self.comparisons {
            let conclusion = match (found.adjusted_p < 0.05, found.accuracy.estimate < 0.0) {
                (true, true) => Cell::toned(Tone::Bad, "worse"),
                (true, false) => Cell::toned(Tone::Good, "better"),
                _ => Cell::toned(Tone::Dim, "no difference shown"),
            };
            table.push([
                found.candidate.clone().into(),
                count(found.candidate_only).into(),
                count(found.reference_only).into(),
                found.accuracy.points().into(),
                found.macro_f1.points().into(),
                p_value(found.mcnemar.mid_p).into(),
                p_value(found.adjusted_p).into(),
                conclusion,
            ]);
        }
        table
    }
}

fn headline(best: &Scored) -> Vec<Figure> {
    let range =
        |i: &crate::interval::Interval| format!("{} to {}", percent(i.low), percent(i.high));
    let mut figures = vec![
        Figure::new(percent(best.accuracy.estimate), "accuracy", range(&best.accuracy)),
        Figure::new(percent(best.macro_f1.estimate), "macro-F1", range(&best.macro_f1)),
    ];
    if let Some(latency) = &best.latency {
        let detail = format!("{} requests", count(latency.requests));
        let value = millis(latency.p95.ms);
        figures.push(Figure::new(value, "p95 latency", detail));
    }
    if let Some(cost) = best.usd_per_1000 {
        figures.push(Figure::new(usd(cost), "per 1,000 requests", ""));
    }
    figures
}

fn details(page: Page, one: &Scored) -> Page {
    let mut page = page.section(format!("Classes: {}", one.name)).table(class_table(one));
    page = page.chart(Confusion {
        title: "Which class was taken for which".to_owned(),
        labels: one.confusion.labels.clone(),
        counts: one.confusion.counts.clone(),
    });
    if let Some(found) = &one.calibration {
        page = page
            .section(format!("Calibration: {}", one.name))
            .verdict(
                if found.ece <= found.ece_by_chance { Tone::Good } else { Tone::Warn },
                if found.ece <= found.ece_by_chance {
                    format!(
                        "Calibration error {}: no more than a perfectly calibrated model shows by \
                         chance ({}).",
                        percent(found.ece),
                        percent(found.ece_by_chance)
                    )
                } else {
                    let way =
                        if found.confidence > one.accuracy.estimate { "over" } else { "under" };
                    format!(
                        "Calibration error {}, where chance explains up to {}: the model is {way}\
                         confident (mean confidence {}, accuracy {}).",
                        percent(found.ece),
                        percent(found.ece_by_chance),
                        percent(found.confidence),
                        percent(one.accuracy.estimate)
                    )
                },
            )
            .facts([
                ("error over bins of equal counts", percent(found.ece_adaptive)),
                (
                    "Brier score",
                    interval(found.brier.estimate, found.brier.low, found.brier.high, 3),
                ),
                (
                    "log loss, nats",
                    interval(found.log_loss.estimate, found.log_loss.low, found.log_loss.high, 3),
                ),
                ("area under risk and coverage", or_dash(one.selective_area, |a| fixed(a, 4))),
            ])
            .chart(reliability(one))
            .chart(risk(one));
    }
    if !one.slices.is_empty() {
        page = page.section(format!("Slices: {}", one.name));
        for column in &one.slices {
            page = page.chart(slice_chart(column));
            if column.left_out > 0 {
                let more = count(column.left_out);
                page = page.paragraph(format!("{more} rarer values are not shown."));
            }
        }
    }
    page
}

fn class_table(one: &Scored) -> Table {
    let mut classes: Vec<_> = one.classes.iter().collect();
    let mut caption = "Per class".to_owned();
    if classes.len() > CLASSES_SHOWN {
        let f1 = |score: &&crate::ClassScore| score.f1.map_or(2.0, |f1| f1.estimate);
        classes.sort_by(|a, b| f1(a).total_cmp(&f1(b)));
        caption = format!("The {CLASSES_SHOWN} weakest of {} classes", classes.len());
        classes.truncate(CLASSES_SHOWN);
    }
    let mut table =
        Table::new(caption, &["class", "rows", "precision", "recall", "F1"]).numeric(&[1, 2, 3, 4]);
    for class in classes {
        let share = |i: Option<crate::Interval>| or_dash(i, |i| i.percent());
        let row = [
            class.label.clone(),
            count(class.support),
            share(class.precision),
            share(class.recall),
            share(class.f1),
        ];
        table.push(row);
    }
    table
}

fn reliability(one: &Scored) -> Reliability {
    let bins = one.calibration.iter().flat_map(|found| &found.bins);
    Reliability {
        title: "Stated confidence against observed accuracy".to_owned(),
        bins: bins
            .map(|bin| Bin {
                confidence: bin.confidence,
                accuracy: bin.accuracy.estimate,
                interval: (bin.accuracy.low, bin.accuracy.high),
                count: bin.count,
            })
            .collect(),
    }
}

fn risk(one: &Scored) -> Lines {
    let points = one.selective.iter().map(|at| (at.coverage, at.risk.estimate)).collect();
    let upper = one.selective.iter().map(|at| (at.coverage, at.risk.high)).collect();
    Lines {
        title: "Wrong answers when the least confident ones are withheld".to_owned(),
        x: Axis::new("share of requests answered", Unit::Percent),
        y: Axis::new("share of wrong answers", Unit::Percent),
        series: vec![
            Series { name: "observed".into(), points },
            Series { name: "upper bound (95%)".into(), points: upper },
        ],
        marked: None,
    }
}

fn slice_chart(column: &crate::SliceColumn) -> Bars {
    let bars = column
        .slices
        .iter()
        .map(|slice| {
            let mut note = format!("n={}", count(slice.rows));
            if slice.small {
                note += ", too few to conclude";
            } else if slice.weaker {
                note += ", weaker than the rest";
            }
            Bar {
                label: slice.value.clone(),
                value: slice.accuracy.estimate,
                interval: Some((slice.accuracy.low, slice.accuracy.high)),
                note,
                tone: match (slice.small, slice.weaker) {
                    (true, _) => Tone::Dim,
                    (_, true) => Tone::Warn,
                    _ => Tone::Plain,
                },
            }
        })
        .collect();
    Bars {
        title: format!("Accuracy by {}", column.column),
        x: Axis::new("accuracy", Unit::Percent),
        bars,
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::tests::{CANDIDATES, example};
    use sprat_report::Terminal;

    #[test]
    fn the_report_shows_every_part_on_terminal_and_in_html() {
        let page = example(600, 12, &CANDIDATES).page();
        let text = page.text(&Terminal::plain(100));
        for part in ["Quality", "McNemar", "Calibration", "Accuracy by channel", "gpt-large", "p95"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let html = page.render().unwrap();
        assert_eq!(html.matches("<figure>").count(), 5);
        crate::show::tests::keep("bench", &html, &text);
    }

    #[test]
    fn seventy_seven_classes_stay_readable() {
        let page = example(3080, 77, &CANDIDATES[..2]).page();
        let text = page.text(&Terminal::plain(80));
        assert!(text.contains("30 weakest of 77 classes"));
        crate::show::tests::keep("bench77", &page.render().unwrap(), &text);
    }
}
