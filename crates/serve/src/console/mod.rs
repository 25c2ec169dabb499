//! What the page and the admin API look at: releases, traces and reports, behind one trait, so
//! that the server knows no storage.

mod histogram;
mod overview;
mod tally;

pub use overview::{Costs, Counted, Latency, Overview, Point, Routes};
pub(crate) use overview::{Window, overview};
pub(crate) use tally::{HORIZON, Tally};

use serde_json::Value;
use sprat_monitor::TraceRow;
use sprat_task::{Result, Timestamp};

/// The project behind a server, as far as the page and the admin API need it. Its methods may
/// block: they are called on threads that may.
pub trait Console: Send + Sync {
    /// Traces after a position, none older than `since`, at most `most`, with their positions and
    /// in their order.
    ///
    /// # Errors
    /// The storage's.
    fn traces(&self, after: u64, since: Timestamp, most: u64) -> Result<Vec<(u64, TraceRow)>>;

    /// What a hosted model asks for the tokens that it would read and write, where one with prices
    /// is known.
    fn prices(&self) -> Option<Prices>;

    /// The versions, where the aliases stand, and their moves: the document `sprat.releases/1`.
    ///
    /// # Errors
    /// The storage's.
    fn releases(&self) -> Result<Value>;

    /// One version with its lineage: the document that `sprat show --json` prints.
    ///
    /// # Errors
    /// Not found, and the storage's.
    fn release(&self, reference: &str) -> Result<Value>;

    /// What differs between two versions: the document that `sprat diff --json` prints.
    ///
    /// # Errors
    /// Not found, and the storage's.
    fn diff(&self, from: &str, to: &str) -> Result<Value>;

    /// Points an alias at a version: the document that `sprat promote --json` prints.
    ///
    /// # Errors
    /// Not found, a conflict, and the storage's; nothing has changed then.
    fn promote(&self, version: &str, change: &Change<'_>) -> Result<Value>;

    /// Points an alias back: the document that `sprat rollback --json` prints.
    ///
    /// # Errors
    /// Not found, a conflict, and the storage's; nothing has changed then.
    fn rollback(&self, change: &Change<'_>) -> Result<Value>;

    /// The HTML reports that the steps wrote.
    ///
    /// # Errors
    /// The file system's.
    fn reports(&self) -> Result<Vec<Report>>;

    /// One of them; none where there is no such report. `name` comes from a client.
    ///
    /// # Errors
    /// The file system's.
    fn report(&self, name: &str) -> Result<Option<String>>;
}

impl std::fmt::Debug for dyn Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// A wanted move of an alias.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The alias; without it the one that the settings release to.
    pub alias: Option<&'a str>,
    /// The revision of the alias that the client has seen; the move is refused when it has moved
    /// since.
    pub revision: Option<u64>,
    /// Who wants it: the name of the key.
    pub who: &'a str,
    /// Why.
    pub why: &'a str,
}

/// What a hosted model costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// The model.
    pub model: String,
    /// US dollars for a million tokens read.
    pub input: f64,
    /// US dollars for a million tokens written.
    pub output: f64,
}

impl Prices {
    /// US dollars for so many tokens.
    pub(crate) fn usd(&self, read: u64, written: u64) -> f64 {
        (read as f64 * self.input + written as f64 * self.output) / 1e6
    }
}

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its name, such as `bench`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
}
