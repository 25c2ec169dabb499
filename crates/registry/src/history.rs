//! What happened: lineage, the log, finished steps, openings of the test part, events.

use crate::{Move, Opening, Registry, Version};
use serde::Serialize;
use serde_json::Value;
use sprat_store::{NewOpening, StepRow};
use sprat_task::{Digest, Result, Timestamp};
use std::collections::BTreeSet;

/// One step up the lineage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ancestor {
    /// The ancestor's digest.
    pub digest: Digest,
    /// The ancestor, where it is in this registry.
    pub version: Option<Version>,
}

/// A finished step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The digest of everything that went in.
    pub inputs: Digest,
    /// The digest of what came out.
    pub outputs: Digest,
    /// What it said.
    pub summary: Value,
    /// When it finished.
    pub at: Timestamp,
}

/// A labelled event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The how-manieth entry, from 1.
    pub id: u64,
    /// The task.
    pub task: String,
    /// What kind of event.
    pub label: String,
    /// The event itself.
    pub body: Value,
    /// When.
    pub at: Timestamp,
}

/// One line of a task's log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "entry", rename_all = "lowercase")]
pub enum LogEntry {
    /// A version was released or imported.
    Version(Box<Version>),
    /// An alias moved.
    Move(Move),
    /// The sealed test part was opened.
    Opening(Opening),
    /// Something else was recorded.
    Event(Event),
}

impl LogEntry {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            LogEntry::Version(version) => version.created,
            LogEntry::Move(m) => m.at,
            LogEntry::Opening(opening) => opening.at,
            LogEntry::Event(event) => event.at,
        }
    }
}

/// Text of a JSON column; what cannot be read is shown as it is, for the log must go on.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn step(row: StepRow) -> Step {
    let summary = json(&row.summary);
    Step { name: row.step, inputs: row.inputs, outputs: row.outputs, summary, at: row.at }
}

impl Registry {
    /// The ancestors of a version, the nearest first. Ends where a parent is not in this registry.
    ///
    /// # Errors
    /// The store's.
    pub fn lineage(&self, version: &Version) -> Result<Vec<Ancestor>> {
        let mut seen = BTreeSet::from([version.digest]);
        let mut ancestors = Vec::new();
        let mut next = version.parent;
        while let Some(digest) = next {
            if !seen.insert(digest) {
                break;
            }
            let version = self.by_digest(&version.task, &digest)?;
            next = version.as_ref().and_then(|version| version.parent);
            ancestors.push(Ancestor { digest, version });
        }
        Ok(ancestors)
    }

    /// Everything that happened to a task, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn log(&self, task: &str) -> Result<Vec<LogEntry>> {
        let versions = self.versions(Some(task))?;
        let mut log: Vec<LogEntry> =
            versions.into_iter().map(|version| LogEntry::Version(Box::new(version))).collect();
        log.extend(self.openings(Some(task))?.into_iter().map(LogEntry::Opening));
        log.extend(self.moves(task, None)?.into_iter().map(LogEntry::Move));
        log.extend(self.events(task, None)?.into_iter().map(LogEntry::Event));
        log.sort_by_key(LogEntry::at);
        Ok(log)
    }

    /// The outcome of a step on these inputs, if it has run.
    ///
    /// # Errors
    /// The store's.
    pub fn step(&self, name: &str, inputs: &Digest) -> Result<Option<Step>> {
        Ok(self.rows.step(name, inputs)?.map(step))
    }

    /// All finished steps, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn steps(&self) -> Result<Vec<Step>> {
        Ok(self.rows.steps()?.into_iter().map(step).collect())
    }

    /// Records that a step has finished.
    ///
    /// # Errors
    /// The store's.
    pub fn record_step(
        &self,
        name: &str,
        inputs: &Digest,
        outputs: &Digest,
        summary: &Value,
    ) -> Result<()> {
        self.rows.put_step(&StepRow {
            step: name.to_owned(),
            inputs: *inputs,
            outputs: *outputs,
            summary: summary.to_string(),
            at: self.now(),
        })
    }

    /// Forgets a step, so that it runs again; says whether it was known.
    ///
    /// # Errors
    /// The store's.
    pub fn forget_step(&self, name: &str, inputs: &Digest) -> Result<bool> {
        self.rows.forget_step(name, inputs)
    }

    /// Records that the sealed test part of a split is opened. Call it before opening.
    ///
    /// # Errors
    /// The store's; the test part must stay closed then.
    pub fn record_opening(
        &self,
        task: &str,
        split: &Digest,
        purpose: &str,
        who: &str,
    ) -> Result<Opening> {
        self.rows.add_opening(&NewOpening { task, split: *split, purpose, who, at: self.now() })
    }

    /// The openings of a task's test parts, or of all tasks', oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn openings(&self, task: Option<&str>) -> Result<Vec<Opening>> {
        self.rows.openings(task)
    }

    /// Records an event under a label, such as `alarm`.
    ///
    /// # Errors
    /// The store's.
    pub fn record_event(&self, task: &str, label: &str, body: &Value) -> Result<Event> {
        let row = self.rows.add_event(task, label, &body.to_string(), self.now())?;
        Ok(Event { id: row.id, task: row.task, label: row.label, body: body.clone(), at: row.at })
    }

    /// The events of a task, or those with one label, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn events(&self, task: &str, label: Option<&str>) -> Result<Vec<Event>> {
        let rows = self.rows.events(task, label)?.into_iter();
        let event = |row: sprat_store::EventRow| {
            let body = json(&row.body);
            Event { id: row.id, task: row.task, label: row.label, body, at: row.at }
        };
        Ok(rows.map(event).collect())
    }
}
