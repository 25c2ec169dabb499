//! The task's data on its way to training: read, split with the test part sealed, checked,
//! cleaned, checked again, picked. One cached step; nothing is changed in place.

use crate::judge::{Judge, Reader};
use crate::step::Stepped;
use crate::writer::AnswerSchema;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_data::{
    AnswerRule, CheckOptions, CleanPolicy, Dataset, Example, FromModel, Given, Parts, ReadOptions,
    Report, Seal, Split, SplitOptions, Status,
};
use sprat_model::{Encoder, Format};
use sprat_task::settings::TaskKind;
use sprat_task::{Digest, Error, Result};
use std::path::{Path, PathBuf};

/// The checks about rows that stand in two parts.
const LEAKAGE: [&str; 3] = ["leakage-exact", "leakage-near", "leakage-group"];
/// Checks that say nothing new after cleaning, and cost most.
const ONCE: [&str; 3] = ["label-errors", "personal-data", "secrets"];

/// Checks that take targets for classes: answers are none.
const ABOUT_CLASSES: &[&str] = &["label-only-in-test", "label-errors", "rare-classes", "imbalance"];
/// The same, and those that expect one right target for a text.
const ABOUT_LABELS: &[&str] =
    &["label-only-in-test", "label-errors", "rare-classes", "imbalance", "conflicting-labels"];

/// The files of the task's data, as read.
pub(crate) struct Source {
    /// The training file.
    pub(crate) train: Dataset,
    /// The files given for the other parts.
    pub(crate) given: Given,
    /// One digest over all of them.
    pub(crate) digest: Digest,
}

impl Source {
    /// The files as they are, for the gate.
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            train: &self.train,
            validation: self.given.validation.as_ref(),
            test: self.given.test.as_ref(),
        }
    }
}

/// What preparing gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DataRecord {
    /// The digest of the data before splitting.
    pub(crate) data: Digest,
    /// One digest over the three parts.
    pub(crate) split: Digest,
    /// Rows of the three parts: training, validation, sealed test.
    pub(crate) rows: [usize; 3],
    /// The labels, sorted.
    pub(crate) labels: Vec<String>,
    /// What the split could not do.
    pub(crate) notes: Vec<String>,
    /// The gate's report on the parts before cleaning.
    pub(crate) report: Report,
    /// Rows removed or changed by cleaning, by check.
    pub(crate) cleaned: Vec<(String, u64)>,
    /// Training rows after cleaning and picking.
    pub(crate) train_rows: usize,
    /// Rows that were picked, where only some are.
    pub(crate) picked: Option<usize>,
    /// Leaked rows that are still there, by waiver.
    pub(crate) leaked: u64,
    /// The checks that still block after cleaning, with the first reason.
    pub(crate) blocking: Vec<String>,
}

/// Data that is ready to train on.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// The digest of the data before splitting.
    pub(crate) data: Digest,
    /// One digest over the three parts.
    pub(crate) split: Digest,
    /// The rows to train on.
    pub(crate) train: Dataset,
    /// The rows to choose on.
    pub(crate) validation: Dataset,
    /// The sealed rows.
    pub(crate) seal: Seal,
    /// Leaked rows that were waived.
    pub(crate) leaked: u64,
    /// The step behind it.
    pub(crate) step: Stepped<DataRecord>,
}

impl Prepared {
    /// The labels, sorted: the order of every model's classes.
    pub(crate) fn labels(&self) -> &[String] {
        &self.step.value.labels
    }

    /// Texts and class numbers of the training part.
    pub(crate) fn train(&self) -> Vec<(String, usize)> {
        labelled(&self.train, self.labels())
    }

    /// Texts and class numbers of the validation part.
    pub(crate) fn validation(&self) -> Vec<(String, usize)> {
        labelled(&self.validation, self.labels())
    }
}

/// Texts and class numbers of rows; rows without a label or with an unknown one are left out.
fn labelled(data: &Dataset, labels: &[String]) -> Vec<(String, usize)> {
    let index = |label: &String| labels.binary_search(label).ok();
    data.examples
        .iter()
        .filter_map(|row| Some((row.text.clone(), row.label.as_ref().and_then(index)?)))
        .collect()
}

impl Project {
    fn read_options(&self) -> ReadOptions {
        let task = &self.settings.task;
        ReadOptions {
            text: task.input.clone(),
            label: Some(task.target.clone()),
            group: task.group.clone(),
            max_cell_bytes: self.settings.data.max_cell_bytes,
            ..ReadOptions::default()
        }
    }

    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// `SPRAT-FLOW-NO-DATA`, and those of the readers.
    pub(crate) fn source(&self) -> Result<Source> {
        let options = self.read_options();
        let schema = self.answer_schema()?;
        let read = |path: &PathBuf| {
            let path = self.settings.resolve(path);
            let data = sprat_data::read_interruptibly(&path, &options, &self.interrupt)?;
            Ok::<_, Error>(match &schema {
                Some(schema) => canonical(data, schema),
                None => data,
            })
        };
        let data = &self.settings.data;
        let train = data.train.as_ref().ok_or_else(|| {
            Error::new(&codes::NO_DATA, "there is no training data").field("data.train")
        })?;
        let train = read(train)?;
        let given = Given {
            validation: data.validation.as_ref().map(read).transpose()?,
            test: data.test.as_ref().map(read).transpose()?,
        };
        let digest_of = |part: &Option<Dataset>| part.as_ref().map(|part| part.digest);
        let digest = Digest::of_json(&json!([
            train.digest,
            digest_of(&given.validation),
            digest_of(&given.test),
        ]));
        Ok(Source { train, given, digest })
    }

    /// A further file of labelled rows, read as the task's own.
    ///
    /// # Errors
    /// Those of the readers.
    pub(crate) fn labelled_file(&self, path: &Path) -> Result<Dataset> {
        sprat_data::read_interruptibly(path, &self.read_options(), &self.interrupt)
    }

    fn split_options(&self) -> SplitOptions {
        let data = &self.settings.data;
        SplitOptions {
            validation: data.validation_share,
            test: data.test_share,
            seed: data.seed,
            // Answers are no classes that every part should have its share of.
            stratify: self.settings.task.kind == TaskKind::Classify,
            ..SplitOptions::default()
        }
    }

    pub(crate) fn check_options(&self) -> CheckOptions {
        let skip = match self.settings.task.kind {
            TaskKind::Classify => &[][..],
            TaskKind::Extract => ABOUT_CLASSES,
            TaskKind::Generate => ABOUT_LABELS,
        };
        CheckOptions {
            waive: self.settings.data.waive.clone(),
            skip: skip.iter().map(|id| (*id).to_owned()).collect(),
            ..CheckOptions::default()
        }
    }

    fn clean_policy(&self) -> CleanPolicy {
        let data = &self.settings.data;
        CleanPolicy {
            // A text may have several good answers.
            conflicts: self.settings.task.kind != TaskKind::Generate,
            label_errors: data.drop_label_errors,
            redact: data.redact,
            ..CleanPolicy::default()
        }
    }

    /// What the base model reads texts with, for the length of rows; none where no local model is
    /// named.
    pub(crate) fn measuring_reader(&self) -> Result<Option<Reader>> {
        let Ok(candidate) = self.base_candidate() else { return Ok(None) };
        let pulled = self.fetched(&candidate.model)?;
        if self.writes()? {
            let task = &self.settings.task;
            return Reader::writer(
                &pulled.dir,
                task.instruction.as_deref(),
                task.max_answer_tokens,
            )
            .map(Some);
        }
        Ok(Some(Reader::Encoder(Box::new(Encoder::open(&pulled.dir, Format::F32)?))))
    }

    /// The data, ready to train on; earlier work on the same data under the same settings is
    /// taken as it is.
    ///
    /// # Errors
    /// Those of reading and splitting, `SPRAT-FLOW-LABELS` for labels that can't be learned, and
    /// `SPRAT-FLOW-DATA-REFUSED` where the gate blocks.
    pub(crate) fn prepared(&self) -> Result<Prepared> {
        let prepared = self.prepared_unjudged()?;
        if prepared.step.value.blocking.is_empty() {
            return Ok(prepared);
        }
        Err(refusal(&prepared.step.value))
    }

    /// [`Project::prepared`] before the gate's verdict.
    ///
    /// # Errors
    /// Those of reading and splitting.
    pub(crate) fn prepared_unjudged(&self) -> Result<Prepared> {
        let source = self.source()?;
        let data = source.digest;
        let (split_options, policy) = (self.split_options(), self.clean_policy());
        let check_options = self.check_options();
        let limit = self.context_limit()?;
        let kind = self.settings.task.kind;
        let schema = self.answer_schema()?;
        let mut inputs = json!({
            "data": data,
            "split": split_options,
            "check": check_options,
            "clean": self.settings.data.clean.then_some(&policy),
            "pick": self.settings.data.pick,
            "base": limit,
        });
        if kind != TaskKind::Classify {
            let task = &self.settings.task;
            inputs["answers"] = json!([
                kind,
                schema.as_ref().map(|schema| &schema.document),
                task.instruction,
                task.max_answer_tokens,
            ]);
        }
        let step = self.steps().run("data", &inputs, |folder| {
            clear(&folder.join("parts"))?;
            clear(&folder.join("clean"))?;
            let Source { train, given, .. } = source;
            let split = sprat_data::split(train, given, &split_options, &self.interrupt)?;
            let labels = match kind {
                TaskKind::Classify => check_labels(&split)?,
                _ => check_answers(&split)?,
            };
            let reader = self.measuring_reader()?;
            let judge = Judge::new(self, reader.as_ref(), &split.parts())?;
            let length = judge.length();
            let rule = schema.as_ref().map(|schema| |answer: &str| schema.fault(answer));
            let mut model = judge.contribution(&length);
            model.answers = rule.as_ref().map(|rule| rule as AnswerRule<'_>);
            let made = self.clean_split(&split, &policy, &check_options, &model, folder)?;
            split.write(&folder.join("parts"), self.clock.as_ref())?;
            let parts = split.parts();
            let digest_of = |part: Option<&Dataset>| part.map(|part| part.digest);
            Ok(DataRecord {
                data,
                split: Digest::of_json(&json!([
                    parts.train.digest,
                    digest_of(parts.validation),
                    split.test_digest(),
                ])),
                rows: [
                    parts.train.len(),
                    parts.validation.map_or(0, Dataset::len),
                    split.test_rows(),
                ],
                labels,
                notes: split.notes.clone(),
                report: made.report,
                cleaned: made.cleaned,
                train_rows: made.train_rows,
                picked: made.picked,
                leaked: made.leaked,
                blocking: made.blocking,
            })
        })?;
        let clean = step.folder.join("clean");
        let parts = step.folder.join("parts");
        let validation = match clean.join("validation.jsonl") {
            file if file.exists() => file,
            _ => parts.join("validation.jsonl"),
        };
        Ok(Prepared {
            data,
            split: step.value.split,
            train: sprat_data::read_rows(&clean.join("data.jsonl"))?,
            validation: sprat_data::read_rows(&validation)?,
            seal: Seal::at(&parts.join("test"))?,
            leaked: step.value.leaked,
            step,
        })
    }

    /// The digest of the base model, which decides the lengths of rows; none without a base.
    fn context_limit(&self) -> Result<Option<Digest>> {
        let Ok(candidate) = self.base_candidate() else { return Ok(None) };
        Ok(Some(self.fetched(&candidate.model)?.digest))
    }

    /// Checks the parts, cleans them, checks what is left, and picks; writes the new version.
    fn clean_split(
        &self,
        split: &Split,
        policy: &CleanPolicy,
        options: &CheckOptions,
        model: &FromModel<'_>,
        folder: &Path,
    ) -> Result<Made> {
        let (progress, interrupt) = (self.progress.as_ref(), &self.interrupt);
        let parts = split.parts();
        let report = sprat_data::check(&parts, options, model, progress, interrupt)?;
        let nothing = CleanPolicy {
            empty: false,
            leaks: false,
            conflicts: false,
            exact_duplicates: false,
            near_duplicates: false,
            label_errors: false,
            redact: false,
        };
        let policy = if self.settings.data.clean { policy } else { &nothing };
        let mut cleaned = sprat_data::clean(&parts, policy, options, model, progress, interrupt)?;
        let after = Parts {
            train: &cleaned.train,
            validation: cleaned.validation.as_ref(),
            test: parts.test,
        };
        let mut again = options.clone();
        again.skip.extend(ONCE.iter().map(|id| (*id).to_string()));
        // The rows are others now: the encoder's opinions are not about them.
        let lengths = FromModel { probabilities: None, ..model.clone() };
        let after = sprat_data::check(&after, &again, &lengths, progress, interrupt)?;
        let leaked = LEAKAGE.iter().filter_map(|id| after.check(id)).map(|check| check.rows).sum();
        let blocking = after
            .checks
            .iter()
            .filter(|check| check.status == Status::Blocked)
            .map(|check| {
                let first = check.findings.first().map_or("", |finding| finding.message.as_str());
                format!("{} ({} rows; {first})", check.id, check.rows)
            })
            .collect();
        let counts = cleaned.manifest.counts.clone().into_iter().collect();
        let mut picked = None;
        if let Some(n) = self.settings.data.pick {
            let kind = self.settings.task.kind;
            let rows =
                if kind == TaskKind::Classify { None } else { Some(unlabelled(&cleaned.train)) };
            let rows = rows.as_ref().unwrap_or(&cleaned.train);
            let few = sprat_data::pick(rows, n, options, &lengths, progress, interrupt)?;
            let kept: std::collections::BTreeSet<u64> =
                few.data.examples.iter().map(|row| row.row).collect();
            let rows = cleaned.train.examples.iter().filter(|row| kept.contains(&row.row));
            cleaned.train = Dataset::new(rows.cloned().collect(), cleaned.train.source.clone());
            picked = Some(cleaned.train.len());
        }
        let train_rows = cleaned.train.len();
        cleaned.write(&folder.join("clean"), self.clock.as_ref())?;
        Ok(Made { report, cleaned: counts, train_rows, picked, leaked, blocking })
    }
}

/// What cleaning gave.
struct Made {
    report: Report,
    cleaned: Vec<(String, u64)>,
    train_rows: usize,
    picked: Option<usize>,
    leaked: u64,
    blocking: Vec<String>,
}

/// The gate's refusal.
pub(crate) fn refusal(record: &DataRecord) -> Error {
    Error::new(&codes::DATA_REFUSED, "the data gate refuses the data")
        .why(record.blocking.join("; "))
}

/// The same rows with their answers as the model is to write them; answers that are none stay for
/// the gate to name.
fn canonical(data: Dataset, schema: &AnswerSchema) -> Dataset {
    let Dataset { mut examples, source, .. } = data;
    for row in &mut examples {
        let Some(answer) = &mut row.label else { continue };
        if schema.fault(answer).is_none() {
            *answer = schema.canonical(answer);
        }
    }
    Dataset::new(examples, source)
}

/// The same rows without their targets: no answer is a class of its own.
fn unlabelled(data: &Dataset) -> Dataset {
    let rows = data.examples.iter().map(|row| Example { label: None, ..row.clone() });
    Dataset::new(rows.collect(), data.source.clone())
}

/// That training and validation part have answers. There are no labels.
fn check_answers(split: &Split) -> Result<Vec<String>> {
    for (part, data) in [("training", &split.train), ("validation", &split.validation)] {
        if data.examples.iter().all(|row| row.label.is_none()) {
            let what = format!("the {part} part has no row with an answer");
            return Err(Error::new(&codes::LABELS, what).file(&data.source));
        }
    }
    Ok(Vec::new())
}

/// The labels of the training part, sorted; at least two, and all that validation has.
fn check_labels(split: &Split) -> Result<Vec<String>> {
    let labels = split.train.labels();
    if labels.len() < 2 {
        let what = format!("the training part has {} label(s)", labels.len());
        return Err(Error::new(&codes::LABELS, what).file(&split.train.source));
    }
    let Some(validation) = split.parts().validation else {
        let what = "there is no validation part: nothing would stop the training early";
        return Err(Error::new(&codes::LABELS, what).field("data.validation_share"));
    };
    match validation.labels().into_iter().find(|label| !labels.contains(label)) {
        None => Ok(labels),
        Some(label) => {
            let what = format!("the label `{label}` stands in validation, but not in training");
            Err(Error::new(&codes::LABELS, what).file(&validation.source))
        }
    }
}

/// Removes what a run left that ended before its result was recorded.
fn clear(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    std::fs::remove_dir_all(folder)
        .map_err(|why| Error::io(&codes::WRITE, "remove an unfinished step", folder, &why))
}
