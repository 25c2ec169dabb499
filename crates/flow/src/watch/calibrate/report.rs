//! What a calibration says: a page for people, a document for programs.

use super::CalibrateOptions;
use super::replay::{Delay, PATIENCE, Rate, World};
use crate::Done;
use serde_json::json;
use sprat_report::chart::{Axis, Lines, Series, Unit};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::Result;

impl World<'_> {
    pub(super) fn done(
        &self,
        options: &CalibrateOptions,
        rate: &Rate,
        in_order: Option<&Rate>,
        delays: &[Delay],
        notes: Vec<String>,
    ) -> Result<Done> {
        let every = self.project.settings.watch.false_alarm_every;
        // A real stream is what counts, where there is one.
        let judged = in_order.unwrap_or(rate);
        let excess = judged.rate.low * every as f64;
        let caution = match excess > 1.0 {
            true => (judged.rate.estimate * every as f64).ceil(),
            false => self.project.settings.watch.caution,
        };
        let stated = format!("at most 1 in {}", number::count(every));
        let mut facts = vec![
            ("clean requests".to_owned(), self.clean.source.clone()),
            ("history".into(), format!("{} rows fit the tests", self.history)),
            ("stated rate of false alarms".into(), stated.clone()),
            ("measured, in random order".into(), rate.text()),
        ];
        if let Some(in_order) = in_order {
            facts.push(("measured, in the order they came".into(), in_order.text()));
        }
        let page = Page::new("Calibration of the watch").facts(facts);
        let page = if excess > 1.0 {
            page.verdict(
                Tone::Warn,
                format!(
                    "alarms are more frequent than stated ({stated}): these requests are not \
                     exchangeable (days, sessions, retries). `caution = {caution}` under [watch] \
                     makes up for it."
                ),
            )
        } else {
            page.verdict(Tone::Good, format!("the stated rate, {stated}, is not contradicted"))
        };
        let headers = ["shift", "share", "median", "90th percentile", "found", "by"];
        let mut table = Table::new("Requests until the alarm", &headers).numeric(&[1, 2, 3, 4]);
        let shown = |delay: Option<usize>| match delay {
            Some(delay) => number::count(delay as u64),
            None => format!("> {}", number::count(PATIENCE as u64)),
        };
        for delay in delays {
            table.push([
                delay.shift.to_owned(),
                number::percent(delay.share),
                shown(delay.median),
                shown(delay.p90),
                format!("{} of {}", delay.found, delay.rounds),
                delay.by.clone(),
            ]);
        }
        let page = page.table(table).list(notes.clone());
        let file = options
            .html
            .clone()
            .unwrap_or_else(|| self.project.reports().join("watch-calibrate.html"));
        page.clone().chart(chart(delays)).write(&file)?;
        let page = page.paragraph(format!("The same as a page: {}", file.display()));
        let body = json!({
            "source": self.clean.source, "rows": self.clean.rows.len(), "history": self.history,
            "false_alarm_every": every, "clean": rate, "in_order": in_order, "caution": caution,
            "shifts": delays, "notes": notes, "html": file,
        });
        Ok(Done::new("sprat.watch-calibrate/1", body, page))
    }
}

fn chart(delays: &[Delay]) -> Lines {
    let mut series: Vec<Series> = Vec::new();
    for delay in delays {
        let point = (delay.share, delay.median.unwrap_or(PATIENCE) as f64);
        match series.iter_mut().find(|series| series.name == delay.shift) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name: delay.shift.to_owned(), points: vec![point] }),
        }
    }
    Lines {
        title: "Median requests until the alarm".into(),
        x: Axis::new("share of requests that moved", Unit::Percent),
        y: Axis::new("requests", Unit::Count).logarithmic(),
        series,
        marked: None,
    }
}
