//! The rows of the registry and the traits that keep them. Bodies are opaque text.

use serde::{Deserialize, Serialize};
use sprat_task::{Digest, Result, Timestamp};
use std::collections::BTreeSet;

/// A stored version; never changed after it was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRow {
    /// The task that it belongs to.
    pub task: String,
    /// Its number within the task, from 1.
    pub number: u32,
    /// The digest of its content.
    pub digest: Digest,
    /// The digest of the version that it came from; that one may live in another store.
    pub parent: Option<Digest>,
    /// When it was added.
    pub created: Timestamp,
    /// What it is, in the words of the crate above.
    pub body: String,
}

/// What is needed to add a version.
#[derive(Clone, Copy, Debug)]
pub struct NewVersion<'a> {
    /// The task that it belongs to.
    pub task: &'a str,
    /// The digest of its content.
    pub digest: Digest,
    /// The digest of the version that it came from.
    pub parent: Option<Digest>,
    /// When it is added.
    pub created: Timestamp,
    /// What it is.
    pub body: &'a str,
    /// The blobs that it needs; they count as used from now on.
    pub blobs: &'a BTreeSet<Digest>,
}

/// The outcome of adding a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The version as stored.
    pub row: VersionRow,
    /// Whether it is new; if not, the same content was there already and nothing changed.
    pub new: bool,
}

/// Keeps versions.
pub trait Versions {
    /// Adds a version under the task's next number, together with its list of blobs: all or
    /// nothing. The same content in the same task is one version, however often it is added.
    ///
    /// # Errors
    /// The backend's.
    fn add_version(&self, new: &NewVersion<'_>) -> Result<Added>;

    /// One version by number.
    ///
    /// # Errors
    /// The backend's.
    fn version(&self, task: &str, number: u32) -> Result<Option<VersionRow>>;

    /// The versions of one task, or of all, ordered by task and number.
    ///
    /// # Errors
    /// The backend's.
    fn versions(&self, task: Option<&str>) -> Result<Vec<VersionRow>>;

    /// The versions of a task whose digest begins with `prefix` (lower-case hexadecimal digits).
    ///
    /// # Errors
    /// The backend's.
    fn versions_by_digest(&self, task: &str, prefix: &str) -> Result<Vec<VersionRow>>;

    /// The blobs that a version needs; empty where there is no such version.
    ///
    /// # Errors
    /// The backend's.
    fn blobs_of(&self, task: &str, number: u32) -> Result<BTreeSet<Digest>>;

    /// The blobs that any version needs.
    ///
    /// # Errors
    /// The backend's.
    fn used_blobs(&self) -> Result<BTreeSet<Digest>>;
}

/// Where an alias stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// The task that it belongs to.
    pub task: String,
    /// Its name.
    pub name: String,
    /// The version number it points to.
    pub version: u32,
    /// How often it has moved; the token of the compare-and-swap.
    pub revision: u64,
    /// When it last moved.
    pub moved: Timestamp,
}

/// One move of an alias, kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveRow {
    /// The task.
    pub task: String,
    /// The alias.
    pub alias: String,
    /// The alias's revision after this move, from 1 without gaps.
    pub revision: u64,
    /// The version number it pointed to before; none for the first move.
    pub from: Option<u32>,
    /// The version number it has pointed to since.
    pub to: u32,
    /// What kind of move it was, in the words of the crate above.
    pub kind: String,
    /// Who moved it.
    pub who: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// A wanted move of an alias.
#[derive(Clone, Copy, Debug)]
pub struct NewAliasMove<'a> {
    /// The task.
    pub task: &'a str,
    /// The alias.
    pub alias: &'a str,
    /// The revision that the caller has seen: 0 for an alias that is not set yet.
    pub expected: u64,
    /// The version number to point to; it must exist.
    pub to: u32,
    /// What kind of move it is.
    pub kind: &'a str,
    /// Who moves it.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
    /// When.
    pub at: Timestamp,
}

/// Keeps aliases and their history.
pub trait Aliases {
    /// Where an alias stands.
    ///
    /// # Errors
    /// The backend's.
    fn alias(&self, task: &str, name: &str) -> Result<Option<AliasRow>>;

    /// The aliases of one task, or of all, ordered by task and name.
    ///
    /// # Errors
    /// The backend's.
    fn aliases(&self, task: Option<&str>) -> Result<Vec<AliasRow>>;

    /// Moves an alias and records the move, in one step: compare and swap. `None` when the alias
    /// is not at the expected revision any more; nothing has changed then.
    ///
    /// # Errors
    /// The backend's; among them a version that does not exist.
    fn move_alias(&self, wanted: &NewAliasMove<'_>) -> Result<Option<MoveRow>>;

    /// The moves of the task's aliases, or of one of them, oldest first.
    ///
    /// # Errors
    /// The backend's.
    fn moves(&self, task: &str, alias: Option<&str>) -> Result<Vec<MoveRow>>;
}

/// A finished step: the same step on the same inputs need not run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// The step's name.
    pub step: String,
    /// The digest of everything that went in.
    pub inputs: Digest,
    /// The digest of what came out.
    pub outputs: Digest,
    /// What the step said, as JSON text.
    pub summary: String,
    /// When it finished.
    pub at: Timestamp,
}

/// Keeps finished steps.
pub trait Steps {
    /// The outcome of a step on these inputs, if it has run.
    ///
    /// # Errors
    /// The backend's.
    fn step(&self, step: &str, inputs: &Digest) -> Result<Option<StepRow>>;

    /// Records an outcome; an earlier one on the same inputs is replaced.
    ///
    /// # Errors
    /// The backend's.
    fn put_step(&self, row: &StepRow) -> Result<()>;

    /// Forgets an outcome; says whether there was one.
    ///
    /// # Errors
    /// The backend's.
    fn forget_step(&self, step: &str, inputs: &Digest) -> Result<bool>;

    /// All outcomes, oldest first.
    ///
    /// # Errors
    /// The backend's.
    fn steps(&self) -> Result<Vec<StepRow>>;
}

/// One opening of a sealed test part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpeningRow {
    /// The how-manieth entry of the log, from 1.
    pub id: u64,
    /// The task.
    pub task: String,
    /// The digest of the split whose test part was opened.
    pub split: Digest,
    /// What for.
    pub purpose: String,
    /// Who opened it.
    pub who: String,
    /// When.
    pub at: Timestamp,
}

/// What is needed to record an opening.
#[derive(Clone, Copy, Debug)]
pub struct NewOpening<'a> {
    /// The task.
    pub task: &'a str,
    /// The digest of the split whose test part is opened.
    pub split: Digest,
    /// What for.
    pub purpose: &'a str,
    /// Who opens it.
    pub who: &'a str,
    /// When.
    pub at: Timestamp,
}

/// A labelled event of a task's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// The how-manieth entry of the log, from 1.
    pub id: u64,
    /// The task.
    pub task: String,
    /// What kind of event, in the words of the crate above.
    pub label: String,
    /// The event, as JSON text.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// Keeps what happened, in order; nothing is ever removed.
pub trait Journal {
    /// Records an opening of a sealed test part.
    ///
    /// # Errors
    /// The backend's.
    fn add_opening(&self, new: &NewOpening<'_>) -> Result<OpeningRow>;

    /// The openings of one task, or of all, oldest first.
    ///
    /// # Errors
    /// The backend's.
    fn openings(&self, task: Option<&str>) -> Result<Vec<OpeningRow>>;

    /// Records an event.
    ///
    /// # Errors
    /// The backend's.
    fn add_event(&self, task: &str, label: &str, body: &str, at: Timestamp) -> Result<EventRow>;

    /// The events of a task, or those with one label, oldest first.
    ///
    /// # Errors
    /// The backend's.
    fn events(&self, task: &str, label: Option<&str>) -> Result<Vec<EventRow>>;
}

/// Everything that a registry needs of its database.
pub trait Rows: Versions + Aliases + Steps + Journal + Send + Sync {
    /// Lets the database check itself; each line names one thing that is broken.
    ///
    /// # Errors
    /// The backend's.
    fn check(&self) -> Result<Vec<String>>;
}
