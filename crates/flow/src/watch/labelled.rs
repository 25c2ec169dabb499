//! The labelling queue: a few traces drawn where a label tells the most, and what their labels say
//! of the accuracy.
//!
//! A draw is made once over the traces since the last one and kept, with the probability of each
//! trace, which the unbiased estimate needs. The queue is in random order, so that what is labelled
//! at any moment is a random part of the draw.

use crate::project::{read_json_if_any, write_json};
use crate::{Project, codes};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sprat_eval::normal_quantile;
use sprat_monitor::quality::{
    Candidate, Gold, labelled_accuracy_of, mean_confidence, worth_labelling,
};
use sprat_monitor::{Alarm, TraceFilter, TraceRow};
use sprat_registry::Version;
use sprat_task::{Error, Result, Timestamp, random};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

const SCHEMA: &str = "sprat.draw/1";
/// The fewest labels that say something of the accuracy.
const FEWEST: u64 = 20;
/// The most traces that a draw is made from: the newest ones.
const MOST: usize = 50_000;
/// The confidence of the comparison with the release. It is made when the labels have doubled, so
/// that looking often does not make false alarms frequent.
const SURE: f64 = 0.99;

/// The traces that were drawn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Draw {
    schema: String,
    /// The version whose answers are labelled.
    pub(crate) version: String,
    /// When it was made.
    at: Timestamp,
    /// The position of the newest trace that could be drawn.
    to: u64,
    /// How many traces could be drawn.
    candidates: u64,
    /// Their mean confidence.
    predicted: f64,
    /// Those that were, in the order in which they are asked for.
    asked: Vec<Drawn>,
    /// Positions of those that nobody could label.
    skipped: BTreeSet<u64>,
    /// At how many labels the next comparison is made.
    next: u64,
    /// Whether the last comparison found the accuracy below the release's.
    below: bool,
}

/// A trace that was drawn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drawn {
    /// Its position.
    pub(crate) trace: u64,
    /// Its identifier, for feedback.
    pub(crate) id: String,
    /// The probability with which it was drawn.
    probability: f64,
    /// The confidence that the estimate goes by, where the model gave one.
    confidence: Option<f64>,
}

/// What labelled answers say of the accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelled {
    /// The estimate over all traces of the draw; none below 20 labels.
    pub estimate: Option<f64>,
    /// The lower end of its 95 % interval.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// Labels.
    pub n: u64,
    /// Traces that were drawn.
    pub asked: u64,
    /// Traces that nobody could label.
    pub skipped: u64,
    /// Traces that the estimate is about.
    pub candidates: u64,
    /// The release's accuracy on its sealed test.
    pub release: Option<f64>,
    /// Whether it is below the release's, at 99 % confidence.
    pub below: bool,
}

impl Labelled {
    /// The alarm that it is, where the accuracy is below the release's.
    pub(crate) fn alarm(&self, version: &str) -> Option<Alarm> {
        let (estimate, high, release) = (self.estimate?, self.high?, self.release?);
        self.below.then(|| Alarm {
            test: "accuracy".into(),
            version: version.to_owned(),
            evidence: release - estimate,
            threshold: high - estimate,
            what: format!(
                "{} labelled answers put the accuracy at {}, below the release's {}",
                self.n,
                sprat_report::number::percent(estimate),
                sprat_report::number::percent(release),
            ),
            ..Alarm::default()
        })
    }
}

/// A trace that is to be labelled.
pub struct Asked {
    /// Its identifier, for feedback.
    pub id: String,
    /// Its row.
    pub row: TraceRow,
    /// Why it was drawn, in words.
    pub why: String,
}

impl Project {
    fn draw_file(&self) -> PathBuf {
        self.watch_folder().join("draw.json")
    }

    pub(crate) fn draw(&self) -> Result<Option<Draw>> {
        let file = self.draw_file();
        let Some(draw) = read_json_if_any::<Draw>(&file)? else { return Ok(None) };
        if draw.schema != SCHEMA {
            let what = "the draw for labelling was written by another version of Sprat";
            return Err(Error::new(&codes::READ, what).file(&file));
        }
        Ok(Some(draw))
    }

    fn keep_draw(&self, draw: &Draw) -> Result<()> {
        write_json(&self.draw_file(), draw)
    }

    /// Draws about `budget` traces of the watched version for labelling, from those since the last
    /// draw.
    ///
    /// # Errors
    /// `SPRAT-WATCH-NOTHING`, `SPRAT-WATCH-NO-TEXTS`, `SPRAT-WATCH-FEW`, the store's.
    pub fn draw_labels(&self, budget: usize) -> Result<()> {
        let _lock = self.watch_lock()?;
        let log = self.traces()?;
        let (version, _) = self.watched(&log)?;
        let before = self.draw()?.filter(|draw| draw.version == version);
        let filter = TraceFilter {
            version: Some(version.clone()),
            after: before.map_or(0, |draw| draw.to),
            ..TraceFilter::default()
        };
        let (mut answers, mut rows) = (0u64, VecDeque::new());
        log.each_at(&filter, |position, row| {
            self.interrupt.check()?;
            let answered = row.label.is_some() || !row.scores.is_empty();
            answers += u64::from(answered);
            if answered && row.text.is_some() {
                rows.push_back((position, row.id, row.confidence));
                if rows.len() > MOST {
                    rows.pop_front();
                }
            }
            Ok(())
        })?;
        if rows.is_empty() {
            return Err(if answers > 0 {
                Error::new(&codes::NO_TEXTS, "no trace to draw from holds its text")
            } else {
                Error::new(&codes::WATCH_FEW, "there is no answered request since the last draw")
            });
        }
        let candidates: Vec<Candidate> = rows
            .iter()
            .enumerate()
            .map(|(id, row)| Candidate { id: id as u64, confidence: row.2.unwrap_or(f64::NAN) })
            .collect();
        let to = rows.back().map_or(0, |row| row.0);
        let mut asked: Vec<Drawn> = worth_labelling(&candidates, budget, to)
            .into_iter()
            .filter_map(|drawn| {
                let (trace, id, confidence) = rows.get(drawn.id as usize)?.clone();
                Some(Drawn { trace, id, probability: drawn.probability, confidence })
            })
            .collect();
        asked.shuffle(&mut random::stream(to, "watch queue"));
        self.keep_draw(&Draw {
            schema: SCHEMA.into(),
            version,
            at: self.clock.now(),
            to,
            candidates: candidates.len() as u64,
            predicted: mean_confidence(&candidates),
            asked,
            skipped: BTreeSet::new(),
            next: FEWEST,
            below: false,
        })
    }

    /// The verdicts on the traces of a draw, by position; the last word counts.
    fn verdicts(&self, draw: &Draw) -> Result<BTreeMap<u64, bool>> {
        let wanted: BTreeSet<u64> = draw.asked.iter().map(|drawn| drawn.trace).collect();
        let mut verdicts = BTreeMap::new();
        self.feedback()?.each(|feedback, _| {
            if wanted.contains(&feedback.trace) {
                verdicts.insert(feedback.trace, feedback.good);
            }
            Ok(())
        })?;
        Ok(verdicts)
    }

    /// What is to be labelled, `limit` at most; traces that are gone are passed over.
    ///
    /// # Errors
    /// The store's.
    pub fn label_queue(&self, limit: usize) -> Result<Vec<Asked>> {
        let Some(draw) = self.draw()? else { return Ok(Vec::new()) };
        let verdicts = self.verdicts(&draw)?;
        let log = self.traces()?;
        let mut queue = Vec::new();
        for drawn in &draw.asked {
            if queue.len() >= limit {
                break;
            }
            if verdicts.contains_key(&drawn.trace) || draw.skipped.contains(&drawn.trace) {
                continue;
            }
            let Some(row) = log.at(drawn.trace)? else { continue };
            let why = match drawn.confidence {
                Some(sure) if sure >= 0.9 => "the model is sure: is it right to be?",
                Some(_) => "the model is not sure",
                None => "the model does not say how sure it is",
            };
            let why = format!("{why} (drawn with probability {:.3})", drawn.probability);
            queue.push(Asked { id: drawn.id.clone(), row, why });
        }
        Ok(queue)
    }

    /// Passes over a trace that nobody can label.
    ///
    /// # Errors
    /// Those of the draw's file.
    pub fn skip_label(&self, id: &str) -> Result<()> {
        let _lock = self.watch_lock()?;
        let Some(mut draw) = self.draw()? else { return Ok(()) };
        let found = draw.asked.iter().find(|drawn| drawn.id == id).map(|drawn| drawn.trace);
        if let Some(trace) = found {
            draw.skipped.insert(trace);
            self.keep_draw(&draw)?;
        }
        Ok(())
    }

    /// The task's labels, as the watched version knows them; empty for a model that writes.
    ///
    /// # Errors
    /// Those of the registry.
    pub fn label_names(&self) -> Result<Vec<String>> {
        let Some(version) = self.current()? else { return Ok(Vec::new()) };
        let classes = &version.content.metrics["test"]["per_class"];
        let name = |class: &Value| class["label"].as_str().map(str::to_owned);
        let named: Vec<String> =
            classes.as_array().into_iter().flatten().filter_map(name).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let folder = self.registry.checkout(&version)?;
        Ok(sprat_model::Manifest::read(&folder).map(|manifest| manifest.labels).unwrap_or_default())
    }

    /// What labelled answers say of the accuracy; none without a draw over this version. Compares
    /// with the release whenever the labels have doubled.
    ///
    /// # Errors
    /// Those of the draw's file and the store's.
    pub(crate) fn labelled(&self, version: Option<&Version>) -> Result<Option<Labelled>> {
        let Some(mut draw) = self.draw()? else { return Ok(None) };
        if version.is_some_and(|version| version.to_string() != draw.version) {
            return Ok(None);
        }
        let verdicts = self.verdicts(&draw)?;
        let (labels, asked) = (verdicts.len() as u64, draw.asked.len() as u64);
        // Those without a label are missing at random: the queue's order is.
        let share = labels as f64 / asked.max(1) as f64;
        let gold: Vec<Gold> = draw
            .asked
            .iter()
            .filter_map(|drawn| {
                let right = *verdicts.get(&drawn.trace)?;
                let probability = drawn.probability * share;
                let confidence = drawn.confidence.unwrap_or(f64::NAN);
                Some(Gold { confidence, probability, right })
            })
            .collect();
        let found = (labels >= FEWEST)
            .then(|| labelled_accuracy_of(draw.candidates, draw.predicted, &gold))
            .flatten();
        let test = version.map(|version| &version.content.metrics["test"]["accuracy"]);
        let figure = |name: &str| test.and_then(|test| test[name].as_f64());
        let release = figure("estimate");
        let complete = labels + draw.skipped.len() as u64 >= asked;
        if let (Some(found), Some(release)) = (found, release)
            && (labels >= draw.next || complete && draw.next < u64::MAX)
        {
            // Both figures have their errors.
            let theirs = release - figure("low").unwrap_or(release);
            let ours = found.high - found.estimate;
            let widen = normal_quantile(0.5 + SURE / 2.0) / normal_quantile(0.975);
            let half = (ours * ours + theirs * theirs).sqrt() * widen;
            draw.below = release - found.estimate > half;
            draw.next = if complete { u64::MAX } else { labels * 2 };
            self.keep_draw(&draw)?;
        }
        Ok(Some(Labelled {
            estimate: found.map(|found| found.estimate),
            low: found.map(|found| found.low),
            high: found.map(|found| found.high),
            n: labels,
            asked,
            skipped: draw.skipped.len() as u64,
            candidates: draw.candidates,
            release,
            below: draw.below,
        }))
    }

    /// The queue as the API gives it; makes the first draw where there is none.
    ///
    /// # Errors
    /// Those of [`Project::draw_labels`] and [`Project::label_queue`].
    pub fn label_document(&self, limit: usize) -> Result<Value> {
        let version = self.current()?.map(|version| version.to_string());
        if self.draw()?.is_none_or(|draw| version.is_some_and(|version| version != draw.version)) {
            self.draw_labels(self.settings.watch.label_budget)?;
        }
        let queue: Vec<Value> = self
            .label_queue(limit)?
            .into_iter()
            .map(|asked| {
                json!({ "id": asked.id, "text": asked.row.text, "label": asked.row.label,
                    "confidence": asked.row.confidence, "scores": asked.row.scores,
                    "at": asked.row.at, "why": asked.why })
            })
            .collect();
        Ok(json!({ "schema": "sprat.labels/1", "labels": self.label_names()?, "queue": queue }))
    }
}
