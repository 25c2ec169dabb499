//! The requests that are replayed: traces of before any alarm, or labelled rows that the promoted
//! model answers, as they are and changed.

use super::CalibrateOptions;
use crate::{Project, codes};
use sprat_data::ReadOptions;
use sprat_model::Classifier;
use sprat_monitor::{Observation, Sketcher, TraceFilter, WatchState, shifts, unsketch};
use sprat_task::random::{ChaCha8Rng, stream};
use sprat_task::{Error, Result};

/// Texts that are changed and answered anew, for each kind of change.
const CHANGED: usize = 400;
/// The most traces that are replayed: the newest ones.
const MOST: usize = 100_000;

/// One request as the watch sees it, and the label that its domain goes by.
#[derive(Clone, Default)]
pub(super) struct Row {
    pub(super) text: Option<String>,
    pub(super) embedding: Option<Vec<f32>>,
    pub(super) length: Option<f64>,
    pub(super) label: Option<String>,
    pub(super) confidence: Option<f64>,
    pub(super) valid: Option<bool>,
    pub(super) refused: Option<bool>,
    pub(super) latency_ms: Option<f64>,
    pub(super) cost: Option<f64>,
    pub(super) domain: Option<String>,
}

impl Row {
    pub(super) fn seen(&self) -> Observation<'_> {
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

/// The clean rows in their order, and where they come from.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) source: String,
    /// Whether the order is that of real requests.
    pub(super) ordered: bool,
}

impl Project {
    pub(super) fn clean_rows(
        &self,
        options: &CalibrateOptions,
        model: Option<&Classifier>,
    ) -> Result<Rows> {
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
    pub(super) fn shifted(
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
