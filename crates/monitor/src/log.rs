//! Reading traces back.

use crate::{Retention, TraceFilter, TraceRow, codes, recorder};
use sprat_store::{Traces, sqlite::SqliteTraces};
use sprat_task::{Error, Interrupt, Result, Timestamp};
use std::io::Write;
use std::path::Path;

/// Rows read at a time when all are wanted.
const PAGE: u64 = 1000;

/// The traces in a file.
pub struct TraceLog(Box<dyn Traces>);

impl TraceLog {
    /// Opens the traces' database, making it as needed.
    ///
    /// # Errors
    /// Those of [`SqliteTraces::open`].
    pub fn open(path: &Path) -> Result<TraceLog> {
        Ok(TraceLog(Box::new(SqliteTraces::open(path)?)))
    }

    /// How many rows match.
    ///
    /// # Errors
    /// The store's.
    pub fn count(&self, filter: &TraceFilter) -> Result<u64> {
        self.0.count(filter)
    }

    /// The rows that match, with their positions, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub fn read(&self, filter: &TraceFilter) -> Result<Vec<(u64, TraceRow)>> {
        self.0.read(filter)
    }

    /// Calls `visit` with every row that matches, oldest first, without holding them all in
    /// memory; says how many they were.
    ///
    /// # Errors
    /// The store's, or the visitor's.
    pub fn each(
        &self,
        filter: &TraceFilter,
        mut visit: impl FnMut(TraceRow) -> Result<()>,
    ) -> Result<u64> {
        self.walk(filter, u64::MAX, |_, row| visit(row))
    }

    /// [`TraceLog::each`] with positions.
    ///
    /// # Errors
    /// The store's, or the visitor's.
    pub fn each_at(
        &self,
        filter: &TraceFilter,
        visit: impl FnMut(u64, TraceRow) -> Result<()>,
    ) -> Result<u64> {
        self.walk(filter, u64::MAX, visit)
    }

    /// [`TraceLog::each`] up to and with a position.
    ///
    /// # Errors
    /// The store's, or the visitor's.
    pub fn each_until(
        &self,
        filter: &TraceFilter,
        last: u64,
        mut visit: impl FnMut(TraceRow) -> Result<()>,
    ) -> Result<u64> {
        self.walk(filter, last, |_, row| visit(row))
    }

    /// All matching rows up to a position, a page at a time.
    fn walk(
        &self,
        filter: &TraceFilter,
        last: u64,
        mut visit: impl FnMut(u64, TraceRow) -> Result<()>,
    ) -> Result<u64> {
        let mut left = filter.limit.unwrap_or(u64::MAX);
        let mut filter = filter.clone();
        let mut seen = 0;
        while left > 0 {
            filter.limit = Some(left.min(PAGE));
            let page = self.read(&filter)?;
            let Some((end, _)) = page.last() else { break };
            filter.after = *end;
            left -= page.len() as u64;
            for (position, row) in page {
                if position > last {
                    return Ok(seen);
                }
                seen += 1;
                visit(position, row)?;
            }
        }
        Ok(seen)
    }

    /// The newest row.
    ///
    /// # Errors
    /// The store's.
    pub fn newest(&self) -> Result<Option<TraceRow>> {
        self.0.newest()
    }

    /// The row at a position.
    ///
    /// # Errors
    /// The store's.
    pub fn at(&self, position: u64) -> Result<Option<TraceRow>> {
        let after = position.saturating_sub(1);
        let filter = TraceFilter { after, limit: Some(1), ..TraceFilter::default() };
        let found = self.read(&filter)?.pop();
        Ok(found.filter(|(at, _)| *at == position).map(|(_, row)| row))
    }

    /// Writes the rows that match as JSON Lines; says how many.
    ///
    /// # Errors
    /// [`codes::EXPORT`], the store's, or an interruption.
    pub fn export(
        &self,
        filter: &TraceFilter,
        to: &mut dyn Write,
        interrupt: &Interrupt,
    ) -> Result<u64> {
        let fail = |why: String| Error::new(&codes::EXPORT, "could not write the traces").why(why);
        let count = self.each(filter, |row| {
            interrupt.check()?;
            let line = serde_json::to_string(&row).map_err(|why| fail(why.to_string()))?;
            writeln!(to, "{line}").map_err(|why| fail(why.to_string()))
        })?;
        to.flush().map_err(|why| fail(why.to_string()))?;
        Ok(count)
    }

    /// Removes what the retention does not allow any more; says how many rows.
    ///
    /// # Errors
    /// The store's.
    pub fn prune(&self, retention: &Retention, now: Timestamp) -> Result<u64> {
        self.0.prune(recorder::horizon(retention, now), retention.rows)
    }

    /// Lets the database check itself; each line names one thing that is broken.
    ///
    /// # Errors
    /// The store's.
    pub fn check(&self) -> Result<Vec<String>> {
        self.0.check()
    }
}
