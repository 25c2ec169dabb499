//! `sprat watch calibrate`: how often the watch cries wolf on the user's own clean requests, and
//! how soon it finds shifts that are planted in them.

use super::shifts;
use crate::{Done, Project, bundle, codes};
use rand::Rng;
use rand::seq::SliceRandom;
use serde::Serialize;
use serde_json::json;
use sprat_data::ReadOptions;
use sprat_eval::{Interval, LEVEL, clopper_pearson};
use sprat_model::Classifier;
use sprat_monitor::{
    Observation, Setup, Sketcher, TraceFilter, Watch, WatchOptions, WatchState, unsketch,
};
use sprat_report::chart::{Axis, Lines, Series, Unit};
use sprat_report::{Page, Table, Tone, number};
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The shares of requests that a planted shift takes.
const SHARES: [f64; 3] = [0.1, 0.25, 0.5];
/// Clean requests before a shift.
const BEFORE: usize = 500;
/// The longest wait for an alarm.
const PATIENCE: usize = 10_000;
/// Texts that are changed and answered anew, for each kind of change.
const CHANGED: usize = 400;
/// The most traces that are replayed: the newest ones.
const MOST: usize = 100_000;
/// The most random orders of the clean rows.
const ORDERS: u64 = 500;
/// The share of rows whose labels are held out as another domain.
const HELD_OUT: f64 = 0.15;

/// What is measured.
#[derive(Clone, Debug)]
pub struct CalibrateOptions {
    /// Labelled rows instead of traces.
    pub data: Option<PathBuf>,
    /// Clean requests: the rows in random order, again in another one until there are so many.
    pub requests: u64,
    /// How often each shift is planted.
    pub rounds: usize,
    /// Where the HTML report goes.
    pub html: Option<PathBuf>,
}

/// One request as the watch sees it, and the label that its domain goes by.
#[derive(Clone, Default)]
struct Row {
    text: Option<String>,
    embedding: Option<Vec<f32>>,
    length: Option<f64>,
    label: Option<String>,
    confidence: Option<f64>,
    valid: Option<bool>,
    refused: Option<bool>,
    latency_ms: Option<f64>,
    cost: Option<f64>,
    domain: Option<String>,
}

impl Row {
    fn seen(&self) -> Observation<'_> {
        Observation {
            embedding: self.embedding.as_deref(),
            text: self.text.as_deref(),
            length: self.length,
            label: self.label.as_deref(),
            confidence: self.confidence,
            valid: self.valid,
            refused: self.refused,
            latency_ms: self.latency_ms,
            cost: self.cost,
        }
    }
}

/// False alarms in clean requests.
#[derive(Clone, Debug, Serialize)]
struct Rate {
    requests: u64,
    alarms: u64,
    /// Alarms per request, with Clopper and Pearson's interval.
    rate: Interval,
    /// The tests that raised them.
    by: BTreeMap<&'static str, u64>,
}

impl Rate {
    fn of(requests: u64, by: BTreeMap<&'static str, u64>) -> Rate {
        let alarms = by.values().sum();
        Rate { requests, alarms, rate: clopper_pearson(alarms, requests, LEVEL), by }
    }

    fn text(&self) -> String {
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
struct Delay {
    shift: &'static str,
    share: f64,
    /// Requests until the alarm; none where it was not found in most rounds.
    median: Option<usize>,
    /// The 90th percentile.
    p90: Option<usize>,
    found: usize,
    rounds: usize,
    by: String,
}

/// The clean rows in their order, and where they come from.
struct Rows {
    rows: Vec<Row>,
    source: String,
    /// Whether the order is that of real requests.
    ordered: bool,
}

impl Project {
    /// Replays clean requests through a watch and plants shifts in them.
    ///
    /// # Errors
    /// `SPRAT-WATCH-NOTHING`, `SPRAT-WATCH-FEW`; those of the data, the traces and the model.
    pub fn watch_calibrate(&self, options: &CalibrateOptions) -> Result<Done> {
        let model = self.watched_classifier()?;
        let clean = self.clean_rows(options, model.as_ref())?;
        let history = (self.settings.watch.history as usize).min(clean.rows.len() / 2);
        let mut notes = Vec::new();
        let world = World {
            project: self,
            shifted: self.shifted(&clean.rows, model.as_ref(), &mut notes)?,
            clean,
            history,
            setup: self.watch_setup()?,
        };
        let rate = world.false_alarms(options.requests)?;
        let in_order = world.in_order();
        let delays = world.delays(options.rounds.max(1), &mut notes)?;
        world.done(options, &rate, in_order.as_ref(), &delays, notes)
    }

    /// The promoted classifier; none where there is none, or it writes.
    fn watched_classifier(&self) -> Result<Option<Classifier>> {
        let Some(version) = self.current()? else { return Ok(None) };
        let folder = self.registry.checkout(&version)?;
        bundle::is_bundle(&folder).then(|| bundle::open(&folder)).transpose()
    }

    fn clean_rows(&self, options: &CalibrateOptions, model: Option<&Classifier>) -> Result<Rows> {
        let few = |rows: usize, from: &str| {
            let what = format!("{rows} rows of {from} are too few: at least 200 are needed");
            Error::new(&codes::WATCH_FEW, what)
        };
        let traced = match options.data {
            Some(_) => Vec::new(),
            None => self.traced_rows()?,
        };
        if traced.len() as u64 >= 2 * self.settings.watch.history.min(1000) {
            let source = format!("{} traces before any alarm", traced.len());
            return Ok(Rows { rows: traced, source, ordered: true });
        }
        let Some(model) = model else {
            return Err(few(traced.len(), "the traces").help(
                "Serve more requests, or promote a classifier to answer labelled rows with.",
            ));
        };
        let (labelled, source) = match &options.data {
            Some(path) => {
                let task = &self.settings.task;
                let read = ReadOptions {
                    text: task.input.clone(),
                    label: Some(task.target.clone()),
                    max_cell_bytes: self.settings.data.max_cell_bytes,
                    ..ReadOptions::default()
                };
                let data = sprat_data::read_interruptibly(path, &read, &self.interrupt)?;
                (data, path.display().to_string())
            }
            None => (self.prepared_unjudged()?.validation, "the validation part".to_owned()),
        };
        let rows: Vec<(String, Option<String>)> =
            labelled.examples.into_iter().map(|row| (row.text, row.label)).collect();
        let rows = answered(model, &rows)?;
        if rows.len() < 200 {
            return Err(few(rows.len(), &source));
        }
        let source = format!("{} rows of {source}, answered by the promoted model", rows.len());
        Ok(Rows { rows, source, ordered: false })
    }

    /// The traces of the watched version, up to its first alarm.
    fn traced_rows(&self) -> Result<Vec<Row>> {
        let log = self.traces()?;
        let Ok((version, _)) = self.watched(&log) else { return Ok(Vec::new()) };
        let state = WatchState::load(&self.watch_state_file())?;
        let alarms = state.iter().flat_map(|state| state.alarms());
        let end = alarms.filter(|a| a.version == version && a.position > 0).map(|a| a.position);
        let end = end.min().unwrap_or(u64::MAX);
        let mut rows = std::collections::VecDeque::new();
        let filter = TraceFilter { version: Some(version), ..TraceFilter::default() };
        log.each_until(&filter, end, |trace| {
            self.interrupt.check()?;
            let embedding = trace.sketch.as_deref().and_then(unsketch);
            let seen = Observation::of(&trace, embedding.as_deref());
            let row = Row {
                length: seen.length,
                confidence: seen.confidence,
                valid: seen.valid,
                refused: seen.refused,
                latency_ms: seen.latency_ms,
                cost: seen.cost,
                domain: trace.label.clone(),
                label: trace.label.clone(),
                text: trace.text.clone(),
                embedding,
            };
            rows.push_back(row);
            if rows.len() > MOST {
                rows.pop_front();
            }
            Ok(())
        })?;
        Ok(rows.into())
    }

    /// Rows whose texts are changed, answered anew.
    fn shifted(
        &self,
        clean: &[Row],
        model: Option<&Classifier>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<(&'static str, Vec<Row>)>> {
        let texts: Vec<(&str, Option<String>)> = clean
            .iter()
            .filter_map(|row| Some((row.text.as_deref()?, row.domain.clone())))
            .collect();
        let (Some(model), false) = (model, texts.is_empty()) else {
            notes.push(
                "no texts or no classifier to answer them: typos and foreign words are not planted"
                    .into(),
            );
            return Ok(Vec::new());
        };
        let mut rng = stream(0, "calibrate texts");
        let step = texts.len().div_ceil(CHANGED);
        let few: Vec<_> = texts.iter().step_by(step).collect();
        let mut shifted = Vec::new();
        let changes: [(&'static str, Change); 2] =
            [("typos", shifts::typos), ("foreign words", shifts::foreign)];
        for (name, change) in changes {
            let rows: Vec<_> =
                few.iter().map(|(text, label)| (change(text, &mut rng), label.clone())).collect();
            shifted.push((name, answered(model, &rows)?));
        }
        Ok(shifted)
    }
}

/// Labelled texts as the watch would see them as requests.
fn answered(model: &Classifier, rows: &[(String, Option<String>)]) -> Result<Vec<Row>> {
    let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let mut sketcher = Sketcher::default();
    let mut out = Vec::with_capacity(rows.len());
    for (chunk, known) in texts.chunks(512).zip(rows.chunks(512)) {
        let tokens = model.encoder().tokenizer().encode_all(chunk)?;
        let embeddings = model.encoder().embed_tokens(&tokens);
        let predictions = model.predict_embedded(&embeddings, &tokens);
        for (at, (prediction, (text, gold))) in predictions.iter().zip(known).enumerate() {
            let (best, confidence) = prediction.best();
            let label = model.labels().get(best).cloned();
            // As a trace keeps it.
            let sketch = sketcher.sketch(embeddings.row(at));
            out.push(Row {
                text: Some(text.clone()),
                embedding: sketch.as_deref().and_then(unsketch),
                length: Some(prediction.tokens as f64),
                domain: gold.clone().or_else(|| label.clone()),
                label,
                confidence: Some(f64::from(confidence)),
                valid: Some(true),
                refused: Some(false),
                ..Row::default()
            });
        }
    }
    Ok(out)
}

/// How a text is changed.
type Change = fn(&str, &mut ChaCha8Rng) -> String;

struct World<'a> {
    project: &'a Project,
    clean: Rows,
    shifted: Vec<(&'static str, Vec<Row>)>,
    history: usize,
    setup: Setup,
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
    fn false_alarms(&self, requests: u64) -> Result<Rate> {
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
    fn in_order(&self) -> Option<Rate> {
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

    fn delays(&self, rounds: usize, notes: &mut Vec<String>) -> Result<Vec<Delay>> {
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

    fn done(
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
