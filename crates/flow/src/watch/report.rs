//! What a look says: the document for programs, the page for people, the figures for metrics.

use super::Look;
use crate::{Done, Project, codes};
use serde_json::{Value, json};
use sprat_monitor::{Alarm, Phase, TestVerdict};
use sprat_report::chart::{Axis, Lines, Series, Unit};
use sprat_report::{Cell, Page, Table, Tone, number};
use sprat_task::{Error, Result};
use std::path::Path;

impl Look {
    /// The document `sprat.watch/1`.
    pub fn document(&self, project: &Project) -> Value {
        let state = &self.state;
        let watch = &project.settings.watch;
        json!({
            "schema": "sprat.watch/1",
            "state": state.phase(),
            "version": state.version(),
            "requests": state.learned() + state.tested(),
            "learned": state.learned(),
            "tested": state.tested(),
            "history": watch.history,
            "false_alarm_every": watch.false_alarm_every,
            "tests": state.tests(),
            "alarms": state.alarms(),
            "accuracy": state.accuracy(),
            "labelled": self.labelled,
            "canary": self.canary.as_ref().map(|canary| {
                let mut body = json!(canary);
                body["what"] = json!(canary.sentence());
                body["stands"] = json!(canary.goes_on());
                body
            }),
            "notes": self.notes,
        })
    }

    /// Why a command ends with 3: an alarm stands, or was raised by this look.
    pub fn refusal(&self) -> Option<Error> {
        let standing: Vec<String> = self
            .state
            .standing_alarms()
            .map(|alarm| format!("{}: {}", alarm.test, alarm.what))
            .collect();
        let what = format!("{} alarm(s) stand", standing.len());
        (!standing.is_empty())
            .then(|| Error::new(&codes::WATCH_ALARM, what).why(standing.join("; ")))
    }

    /// The page; with `charts` the course of the evidence too.
    pub fn page(&self, project: &Project, charts: bool) -> Page {
        let state = &self.state;
        let history = state.setup().history;
        let page = Page::new(format!("Watch of {}", state.version())).subtitle(format!(
            "{} requests fit the tests, {} were tested; at most one false alarm in {} clean \
             requests, all tests together",
            number::count(state.learned()),
            number::count(state.tested()),
            number::count(project.settings.watch.false_alarm_every),
        ));
        let page = match state.phase() {
            Phase::Learning => page.verdict(
                Tone::Warn,
                format!("learning: {} of {history} requests", state.learned()),
            ),
            Phase::Quiet => page.verdict(Tone::Good, "quiet"),
            Phase::Alarm => page.verdict(Tone::Bad, "an alarm stands"),
        };
        let page = match &self.canary {
            Some(canary) if canary.goes_on() => page.verdict(Tone::Plain, canary.sentence()),
            Some(canary) => page.verdict(Tone::Warn, canary.sentence()),
            None => page,
        };
        let mut page = page.list(self.notes.clone());
        let tests = state.tests();
        if !tests.is_empty() {
            let headers = ["test", "standing", "evidence", "threshold", "why"];
            let mut table = Table::new("Tests", &headers).numeric(&[2, 3]);
            for test in &tests {
                let tone = match test.standing {
                    TestVerdict::Quiet => Tone::Good,
                    TestVerdict::Alarm => Tone::Bad,
                    TestVerdict::Blind => Tone::Warn,
                };
                let evidence = match test.standing {
                    TestVerdict::Blind => "–".into(),
                    _ => number::significant(test.evidence),
                };
                table.push([
                    Cell::from(test.name),
                    Cell::toned(tone, test.standing.name()),
                    Cell::from(evidence),
                    Cell::from(number::significant(test.threshold)),
                    Cell::from(test.why.clone()),
                ]);
            }
            page = page.table(table);
        }
        page = self.accuracy(page);
        if !state.alarms().is_empty() {
            page = page.table(alarms(state.alarms()));
        }
        if charts {
            page = page.section("Evidence over time").paragraph(
                "The greatest evidence of each run of requests. A test raises its alarm at the \
                 threshold and begins anew; in clean traffic the evidence goes up and down without \
                 reaching it.",
            );
            for test in tests.iter().filter(|test| !test.series.is_empty()) {
                let end = test.series.last().map_or(0, |point| point.0);
                let begin = test.series.first().map_or(0, |point| point.0);
                let points = |at: &(u64, f64)| (at.0 as f64, at.1.max(0.1));
                page = page.chart(Lines {
                    title: format!("{}: {}", test.name, test.standing.name()),
                    x: Axis::new("request", Unit::Count),
                    y: Axis::new("evidence", Unit::Number).logarithmic(),
                    series: vec![
                        Series {
                            name: test.name.to_owned(),
                            points: test.series.iter().map(points).collect(),
                        },
                        Series {
                            name: "threshold".into(),
                            points: vec![
                                (begin as f64, test.threshold),
                                (end as f64, test.threshold),
                            ],
                        },
                    ],
                    marked: None,
                });
            }
        }
        page
    }

    fn accuracy(&self, page: Page) -> Page {
        let mut facts: Vec<(String, String)> = Vec::new();
        if let Some(found) = self.state.accuracy() {
            let text = number::percent_interval(found.estimate, found.low, found.high);
            facts
                .push(("accuracy without labels".into(), format!("{text} ({} requests)", found.n)));
            facts.push(("by another rule".into(), number::percent(found.by_threshold)));
            facts.push(("how".into(), found.method.to_owned()));
        }
        if let Some(found) = &self.labelled {
            let text = match (found.estimate, found.low, found.high) {
                (Some(at), Some(low), Some(high)) => number::percent_interval(at, low, high),
                _ => "too few labels".into(),
            };
            let text = format!("{text} ({} of {} labelled)", found.n, found.asked);
            facts.push(("accuracy by labels".into(), text));
            if let Some(release) = found.release {
                facts.push(("accuracy at release".into(), number::percent(release)));
            }
        }
        if facts.is_empty() { page } else { page.facts(facts) }
    }

    /// Writes the report and gives what the command shows.
    ///
    /// # Errors
    /// Those of writing the report.
    pub fn done(&self, project: &Project, html: Option<&Path>) -> Result<Done> {
        let file = html.map_or_else(|| project.reports().join("watch.html"), Path::to_path_buf);
        self.page(project, true).write(&file)?;
        let mut body = self.document(project);
        body["raised"] = json!(self.raised.iter().map(|alarm| alarm.id).collect::<Vec<_>>());
        body["html"] = json!(file);
        let page = self
            .page(project, false)
            .paragraph(format!("The same as a page, with charts: {}", file.display()));
        Ok(Done::new("sprat.watch/1", body, page).refused_by(self.refusal()))
    }
}

/// The alarms with what was done, the latest last.
fn alarms(all: &[Alarm]) -> Table {
    const SHOWN: usize = 20;
    let headers = ["alarm", "test", "version", "standing", "evidence", "what", "actions"];
    let mut table = Table::new("Alarms", &headers).numeric(&[4]);
    for alarm in all.iter().skip(all.len().saturating_sub(SHOWN)) {
        let acts: Vec<String> = alarm
            .actions
            .iter()
            .map(|act| format!("{} {}: {}", act.action, act.outcome.name(), act.detail))
            .collect();
        let again = match alarm.repeats {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        table.push([
            alarm.id.to_string(),
            alarm.test.clone(),
            alarm.version.clone(),
            if alarm.standing { "yes" } else { "acknowledged" }.to_owned(),
            number::significant(alarm.evidence),
            format!("{}{again}", alarm.what),
            acts.join("; "),
        ]);
    }
    table
}

impl Project {
    /// `sprat watch log`: all alarms, actions and acknowledgements, from the journal.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn watch_log(&self) -> Result<Done> {
        let labels =
            ["watch-alarm", "watch-action", "watch-acknowledged", "watch-lowered", "watch-canary"];
        let events = self.registry.events(self.task(), None)?.into_iter();
        let events: Vec<_> =
            events.filter(|event| labels.contains(&event.label.as_str())).collect();
        let mut table = Table::new("Journal of the watch", &["when", "what", "evidence"]);
        for event in &events {
            let text = |name: &str| event.body[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| event.body[name].as_f64().unwrap_or_default();
            let (what, evidence) = match event.label.as_str() {
                "watch-alarm" => (
                    format!("alarm {}: {} of {}", number("id"), text("test"), text("version")),
                    format!(
                        "{} against {}; {}",
                        number::significant(number("evidence")),
                        number::significant(number("threshold")),
                        text("what")
                    ),
                ),
                "watch-action" => (
                    format!("alarm {}: {} {}", number("alarm"), text("action"), text("outcome")),
                    text("detail"),
                ),
                "watch-canary" => {
                    (format!("canary {}: {}", text("version"), text("what")), text("why"))
                }
                "watch-lowered" => (
                    format!("route of {} lowered by {}", text("version"), text("who")),
                    text("why"),
                ),
                _ => (format!("acknowledged by {}", text("who")), text("why")),
            };
            table.push([event.at.to_rfc3339(), what, evidence]);
        }
        let page = Page::new(format!("Watch log of {}", self.task())).table(table);
        Ok(Done::new("sprat.watch-log/1", json!({ "events": events }), page))
    }
}
