//! The next version of the dataset: the training part of before with what traces taught, and the
//! labelled traces that are kept to compare on.

use crate::project::{read_json_if_any, write_json};
use crate::versions::who;
use crate::watch::right_answer;
use crate::writer::AnswerSchema;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_data::{
    CheckOptions, CleanPolicy, Dataset, Example, FromModel, Parts, normalized, read_rows,
    write_rows,
};
use sprat_monitor::TraceFilter;
use sprat_registry::Version;
use sprat_task::settings::{Settings, TaskKind};
use sprat_task::{Digest, Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The fewest labelled traces to compare on.
const FEWEST: usize = 20;

/// The next version of the dataset, as it lies in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Next {
    schema: String,
    /// The version that it is to improve on.
    production: String,
    /// The split of before.
    split: Digest,
    /// Labelled traces in the training part.
    pub(super) labelled: usize,
    /// Answers of the large model in the training part.
    pub(super) large: usize,
    /// Labelled traces that are kept to compare on.
    pub(super) kept: usize,
}

/// What the traces hold for training and for comparing.
#[derive(Default)]
struct Fresh {
    train: Vec<Example>,
    labelled: usize,
    large: usize,
    kept: Vec<Example>,
}

impl Project {
    /// The settings of before over the files of the next dataset.
    pub(super) fn settings_over(&self, folder: &Path) -> Settings {
        let mut settings = self.settings.clone();
        let here = folder.strip_prefix(&self.settings.folder).unwrap_or(folder);
        settings.task.input = "text".into();
        settings.task.target = "label".into();
        settings.task.group = settings.task.group.map(|_| "group".into());
        settings.data.train = Some(here.join("train.jsonl"));
        settings.data.validation = Some(here.join("validation.jsonl"));
        settings.data.test = Some(here.join("test.jsonl"));
        settings
    }

    /// Writes the next dataset version, or finds it written already.
    pub(super) fn next_dataset(&self, production: &Version) -> Result<(Next, PathBuf)> {
        let before = self.prepared()?;
        let fresh = self.fresh(before.labels())?;
        let digest = Digest::of_json(&json!([
            production.digest,
            before.split,
            Dataset::new(fresh.train.clone(), "fresh").digest,
            Dataset::new(fresh.kept.clone(), "kept").digest,
        ]));
        let folder = self.state.join("improve").join(digest.short());
        let manifest = folder.join("dataset.json");
        let next = Next {
            schema: "sprat.dataset/1".into(),
            production: production.to_string(),
            split: before.split,
            labelled: fresh.labelled,
            large: fresh.large,
            kept: fresh.kept.len(),
        };
        if read_json_if_any(&manifest)?.as_ref() == Some(&next) {
            return Ok((next, folder));
        }
        let parts = before.step.folder.join("parts");
        let mut train = read_rows(&parts.join("train.jsonl"))?.examples;
        train.extend(fresh.train);
        write_rows(&folder.join("train.jsonl"), &train)?;
        let validation = read_rows(&parts.join("validation.jsonl"))?;
        write_rows(&folder.join("validation.jsonl"), &validation.examples)?;
        // Through the one door: it is sealed again by the split of the next version.
        let purpose = "carried over into the next dataset version";
        self.registry.record_opening(self.task(), &before.split, purpose, &who())?;
        let test = before.seal.open(purpose, &who(), self.clock.as_ref())?;
        write_rows(&folder.join("test.jsonl"), &test.examples)?;
        write_rows(&folder.join("kept.jsonl"), &fresh.kept)?;
        // Last: a folder with a manifest is whole.
        write_json(&manifest, &next)?;
        Ok((next, folder))
    }

    /// What the traces hold: one example a text; what was said last counts.
    fn fresh(&self, labels: &[String]) -> Result<Fresh> {
        let said = self.said()?;
        let answers =
            Answers { schema: self.answer_schema()?, labels, kind: self.settings.task.kind };
        let (mut gold, mut large) = (BTreeMap::new(), BTreeMap::new());
        let mut texts = 0u64;
        self.traces()?.each_at(&TraceFilter::default(), |position, row| {
            self.interrupt.check()?;
            let Some(text) = row.text.as_deref() else { return Ok(()) };
            texts += 1;
            let example = |answer: &str| Example {
                text: text.to_owned(),
                label: Some(answer.to_owned()),
                ..Example::default()
            };
            match said.get(&position).and_then(|said| said.last()) {
                Some(last) => {
                    // Wrong, and nobody said what is right: no example.
                    let right = right_answer(last, &row).filter(|answer| answers.can_be(answer));
                    if let Some(answer) = right {
                        gold.insert(normalized(text), example(answer));
                    }
                }
                None if row.route.as_deref() == Some("large") => {
                    let answer = row.label.as_deref().or(row.output.as_deref());
                    if let Some(answer) = answer.filter(|answer| answers.known(answer)) {
                        large.insert(normalized(text), example(answer));
                    }
                }
                None => {}
            }
            Ok(())
        })?;
        if texts == 0 {
            return Err(Error::new(&codes::NO_TEXTS, "no trace holds its text"));
        }
        let mut fresh = Fresh::default();
        for (key, example) in &gold {
            large.remove(key);
            // By the text alone, so that a row stays on its side when others come.
            let even = Digest::of(key.as_bytes())
                .to_string()
                .ends_with(|digit: char| digit.to_digit(16).is_some_and(|digit| digit % 2 == 0));
            let label = example.label.as_deref().unwrap_or_default();
            // A label that nobody has trained is learned first and compared on later.
            if even && answers.known(label) {
                fresh.kept.push(example.clone());
            } else {
                fresh.train.push(example.clone());
            }
        }
        // What is nearly the same as a row to compare on would tell the candidate its answer.
        let kept = Dataset::new(fresh.kept.clone(), "kept");
        fresh.train = self.apart(std::mem::take(&mut fresh.train), &kept)?;
        let large = self.apart(large.into_values().collect(), &kept)?;
        (fresh.labelled, fresh.large) = (fresh.train.len(), large.len());
        fresh.train.extend(large);
        if fresh.kept.len() < FEWEST {
            let what = format!(
                "{} labelled traces are too few: about {} are needed, half of them to compare on",
                gold.len(),
                2 * FEWEST
            );
            return Err(Error::new(&codes::WATCH_FEW, what)
                .help("Label more: `sprat label`, or `sprat watch feedback FILE`."));
        }
        Ok(fresh)
    }

    /// The rows without those that are near-duplicates of some others.
    fn apart(&self, rows: Vec<Example>, others: &Dataset) -> Result<Vec<Example>> {
        if rows.is_empty() || others.is_empty() {
            return Ok(rows);
        }
        let only_leaks = CleanPolicy {
            empty: false,
            leaks: true,
            conflicts: false,
            exact_duplicates: false,
            near_duplicates: false,
            label_errors: false,
            redact: false,
        };
        let rows = Dataset::new(rows, "fresh");
        let parts = Parts { train: &rows, validation: None, test: Some(others) };
        let options = CheckOptions::default();
        let (progress, interrupt) = (self.progress.as_ref(), &self.interrupt);
        let model = FromModel::default();
        let cleaned =
            sprat_data::clean(&parts, &only_leaks, &options, &model, progress, interrupt)?;
        Ok(cleaned.train.examples)
    }
}

/// What answers of the task look like.
struct Answers<'a> {
    kind: TaskKind,
    schema: Option<AnswerSchema>,
    labels: &'a [String],
}

impl Answers<'_> {
    /// Whether a person's word can be an answer: any label, a text, JSON that fits the schema.
    fn can_be(&self, answer: &str) -> bool {
        let fits = |schema: &AnswerSchema| schema.fault(answer).is_none();
        !answer.is_empty() && self.schema.as_ref().is_none_or(fits)
    }

    /// The same, of labels only those that were trained.
    fn known(&self, answer: &str) -> bool {
        let trained = || self.labels.binary_search_by(|known| known.as_str().cmp(answer)).is_ok();
        self.can_be(answer) && (self.kind != TaskKind::Classify || trained())
    }
}
