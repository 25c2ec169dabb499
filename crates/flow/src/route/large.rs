//! The large model's answers on graded requests, kept so that each request is asked once.

use crate::project::{read_json_if_any, write_json};
use crate::writer::ask;
use crate::{Project, codes};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sprat_infer::remote::Remote;
use sprat_infer::{Answer, Constraint, Request};
use sprat_task::settings::Candidate;
use sprat_task::{Digest, Error, Kind, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

const SCHEMA: &str = "sprat.large-answers/1";
/// Answers between two writes: so many may be asked for again after a kill.
const BATCH: usize = 64;

/// One answer of the large model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LargeAnswer {
    /// What it said; for labels the label.
    pub(crate) output: String,
    /// It does not satisfy what was asked for, and would not have been used.
    pub(crate) invalid: bool,
    /// What it cost, in US dollars.
    pub(crate) usd: Option<f64>,
}

impl LargeAnswer {
    fn of(answer: Answer) -> Self {
        LargeAnswer {
            output: answer.label.unwrap_or(answer.output),
            invalid: answer.invalid.is_some(),
            usd: answer.usd,
        }
    }
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Kept {
    schema: String,
    /// By the digests of the texts.
    answers: BTreeMap<String, LargeAnswer>,
}

/// A large model that remembers.
pub(crate) struct Large<'a> {
    project: &'a Project,
    pub(crate) candidate: &'a Candidate,
    constraint: Option<Constraint>,
    file: PathBuf,
    kept: Kept,
}

impl<'a> Large<'a> {
    /// Opens the answers that are there; those to another question are in another file.
    ///
    /// # Errors
    /// Those of the settings, and of reading the file.
    pub(crate) fn open(
        project: &'a Project,
        candidate: &'a Candidate,
        labels: &[String],
    ) -> Result<Self> {
        let constraint = project.large_constraint(labels)?;
        let form = match &constraint {
            Some(Constraint::Labels(labels)) => json!(labels),
            Some(Constraint::JsonSchema(schema)) => schema.clone(),
            _ => json!(null),
        };
        let question = Digest::of_json(&json!([
            candidate.model,
            candidate.base_url,
            project.settings.task.instruction,
            form,
        ]));
        let file = project.state.join("routes").join(format!("large-{}.json", question.short()));
        let nothing = || Kept { schema: SCHEMA.to_owned(), answers: BTreeMap::new() };
        let kept = read_json_if_any(&file)?.unwrap_or_else(nothing);
        if kept.schema != SCHEMA {
            let what = format!("the answers have the unknown form `{}`", kept.schema);
            return Err(Error::new(&codes::READ, what).file(&file));
        }
        Ok(Large { project, candidate, constraint, file, kept })
    }

    /// The answers to texts; `None` for a text that got none. What is new is asked, many at once,
    /// with the route's time limit and retries, and kept.
    ///
    /// # Errors
    /// An interruption; the first reason where nothing at all was answered; `SPRAT-FLOW-WRITE`.
    pub(crate) fn answers(&mut self, texts: &[&str]) -> Result<Vec<Option<LargeAnswer>>> {
        let keys: Vec<String> =
            texts.iter().map(|text| Digest::of(text.as_bytes()).to_string()).collect();
        let mut missing: Vec<(&String, &str)> = keys.iter().zip(texts.iter().copied()).collect();
        missing.retain(|(key, _)| !self.kept.answers.contains_key(*key));
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            self.ask(&missing)?;
        }
        Ok(keys.iter().map(|key| self.kept.answers.get(key).cloned()).collect())
    }

    fn ask(&mut self, missing: &[(&String, &str)]) -> Result<()> {
        let folder = self.project.state.join("routes");
        std::fs::create_dir_all(&folder)
            .map_err(|why| Error::io(&codes::WRITE, "make a folder", &folder, &why))?;
        let remote = Remote::open(self.project.large_settings(self.candidate)?)?;
        let progress = self.project.progress.as_ref();
        progress.start("asking the large model", Some(missing.len() as u64), "requests");
        let (mut refused, mut answered) = (None, 0);
        for batch in missing.chunks(BATCH) {
            let requests = batch.iter().map(|(_, text)| Request {
                constraint: self.constraint.clone(),
                ..Request::text(*text)
            });
            let mut came: Vec<Result<Answer>> = Vec::new();
            let ended = ask(&remote, requests, &self.project.interrupt, |answer| came.push(answer));
            for ((key, _), answer) in batch.iter().zip(came) {
                match answer {
                    Ok(answer) => {
                        answered += 1;
                        self.kept.answers.insert((*key).clone(), LargeAnswer::of(answer));
                    }
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            write_json(&self.file, &self.kept)?;
            progress.advance(batch.len() as u64);
            ended?;
            // An endpoint that is not there is not asked a thousand times.
            if answered == 0 {
                break;
            }
        }
        progress.finish();
        match refused {
            Some(error) if answered == 0 => Err(error),
            Some(error) if error.code().kind == Kind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}
