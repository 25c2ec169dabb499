//! Traces in a SQLite file of their own, so that their volume never burdens the registry.

use super::connection::{Durability, Sqlite, moment, signed, unsigned};
use super::schema;
use crate::{Feedback, FeedbackRow, NewFeedback, TraceFilter, TraceRow, Traces};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sprat_task::{Result, Timestamp};
use std::path::Path;

/// The traces' database.
#[derive(Debug)]
pub struct SqliteTraces(Sqlite);

impl SqliteTraces {
    /// Opens the traces' database, making or upgrading it as needed.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open(path: &Path) -> Result<SqliteTraces> {
        Ok(SqliteTraces(Sqlite::with(path, schema::TRACES, Durability::Process)?))
    }

    /// The same, but whatever is written through it survives a power failure: for feedback, which
    /// people gave time for.
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open_durable(path: &Path) -> Result<SqliteTraces> {
        Ok(SqliteTraces(Sqlite::with(path, schema::TRACES, Durability::Full)?))
    }
}

/// The columns of a trace, in the order of [`row`].
const COLUMNS: &str =
    "traces.position, id, traces.at, task, version, text, text_hash, traces.label,
     confidence, scores, latency_ms, prompt_tokens, completion_tokens, status, route, usd, valid,
     traces.output, sketch";

const CONDITION: &str = "(?1 IS NULL OR task = ?1) AND (?2 IS NULL OR version = ?2)
     AND (?3 IS NULL OR at >= ?3) AND (?4 IS NULL OR at < ?4)";

fn row(row: &Row<'_>) -> rusqlite::Result<(u64, TraceRow)> {
    let scores: String = row.get(9)?;
    let trace = TraceRow {
        id: row.get(1)?,
        at: moment(row, 2)?,
        task: row.get(3)?,
        version: row.get(4)?,
        text: row.get(5)?,
        text_hash: row.get(6)?,
        label: row.get(7)?,
        confidence: row.get(8)?,
        scores: serde_json::from_str(&scores).map_err(|why| {
            rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Text, Box::new(why))
        })?,
        latency_ms: row.get(10)?,
        prompt_tokens: unsigned(row, 11)?,
        completion_tokens: unsigned(row, 12)?,
        status: row.get(13)?,
        route: row.get(14)?,
        usd: row.get(15)?,
        valid: row.get(16)?,
        output: row.get(17)?,
        sketch: row.get(18)?,
    };
    Ok((unsigned(row, 0)?, trace))
}

fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT COUNT(*) FROM traces", [], |row| unsigned(row, 0))
}

impl Traces for SqliteTraces {
    fn append(&self, rows: &[TraceRow]) -> Result<()> {
        self.0.write("write traces", |transaction| {
            let mut position =
                transaction.query_row("SELECT last FROM trace_positions", [], |row| {
                    unsigned(row, 0)
                })?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO traces (position, id, at, task, version, text, text_hash, label,
                     confidence, scores, latency_ms, prompt_tokens, completion_tokens, status, route,
                     usd, valid, output, sketch)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                     ?18, ?19)",
            )?;
            for row in rows {
                position += 1;
                // JSON has no word for what is not a number.
                let scores: Vec<_> = row.scores.iter().filter(|(_, s)| s.is_finite()).collect();
                let scores = serde_json::to_string(&scores).unwrap_or_else(|_| "[]".into());
                insert.execute(params![
                    signed(position),
                    row.id,
                    signed(row.at.0),
                    row.task,
                    row.version,
                    row.text,
                    row.text_hash,
                    row.label,
                    row.confidence,
                    scores,
                    row.latency_ms,
                    signed(row.prompt_tokens),
                    signed(row.completion_tokens),
                    row.status,
                    row.route,
                    row.usd,
                    row.valid,
                    row.output,
                    row.sketch,
                ])?;
            }
            transaction.execute("UPDATE trace_positions SET last = ?1", [signed(position)])?;
            Ok(())
        })
    }

    fn count(&self, filter: &TraceFilter) -> Result<u64> {
        self.0.read("count traces", |connection| {
            connection
                .prepare_cached(&format!("SELECT COUNT(*) FROM traces WHERE {CONDITION}"))?
                .query_row(
                    (
                        &filter.task,
                        &filter.version,
                        filter.since.map(|at| signed(at.0)),
                        filter.before.map(|at| signed(at.0)),
                    ),
                    |row| unsigned(row, 0),
                )
        })
    }

    fn read(&self, filter: &TraceFilter) -> Result<Vec<(u64, TraceRow)>> {
        self.0.read("read traces", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM traces WHERE {CONDITION} AND position > ?5
                     ORDER BY position LIMIT ?6"
                ))?
                .query_map(
                    (
                        &filter.task,
                        &filter.version,
                        filter.since.map(|at| signed(at.0)),
                        filter.before.map(|at| signed(at.0)),
                        signed(filter.after),
                        signed(filter.limit.unwrap_or(u64::MAX)),
                    ),
                    row,
                )?
                .collect()
        })
    }

    fn newest(&self) -> Result<Option<TraceRow>> {
        self.0.read("read the newest trace", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM traces ORDER BY position DESC LIMIT 1"
                ))?
                .query_row([], row)
                .optional()
                .map(|found| found.map(|(_, row)| row))
        })
    }

    fn prune(&self, before: Option<Timestamp>, keep: Option<u64>) -> Result<u64> {
        self.0.write("remove old traces", |transaction| {
            let mut removed = 0;
            if let Some(before) = before {
                removed +=
                    transaction.execute("DELETE FROM traces WHERE at < ?1", [signed(before.0)])?;
            }
            if let Some(keep) = keep {
                let surplus = count(transaction)?.saturating_sub(keep);
                removed += transaction.execute(
                    "DELETE FROM traces WHERE position IN
                         (SELECT position FROM traces ORDER BY position LIMIT ?1)",
                    [signed(surplus)],
                )?;
            }
            if removed > 0 {
                transaction.execute(
                    "DELETE FROM feedback WHERE trace NOT IN (SELECT position FROM traces)",
                    [],
                )?;
            }
            Ok(removed as u64)
        })
    }

    fn check(&self) -> Result<Vec<String>> {
        self.0.integrity()
    }
}

impl Feedback for SqliteTraces {
    fn find(&self, id: &str) -> Result<Option<(u64, TraceRow)>> {
        self.0.read("find a trace", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM traces WHERE id = ?1 ORDER BY position DESC LIMIT 1"
                ))?
                .query_row([id], row)
                .optional()
        })
    }

    fn give(&self, new: &NewFeedback<'_>) -> Result<Option<bool>> {
        self.0.write("keep the feedback", |transaction| {
            let trace = signed(new.trace);
            let known = transaction
                .query_row("SELECT 1 FROM traces WHERE position = ?1", [trace], |_| Ok(()))
                .optional()?;
            if known.is_none() {
                return Ok(None);
            }
            let said = transaction
                .query_row(
                    "SELECT good, label, output FROM feedback WHERE trace = ?1 AND author = ?2",
                    (trace, new.author),
                    |row| {
                        let good: bool = row.get(0)?;
                        let (label, output): (Option<String>, Option<String>) =
                            (row.get(1)?, row.get(2)?);
                        Ok(good == new.good
                            && label.as_deref() == new.label
                            && output.as_deref() == new.output)
                    },
                )
                .optional()?;
            if said == Some(true) {
                return Ok(Some(false));
            }
            transaction.execute(
                "DELETE FROM feedback WHERE trace = ?1 AND author = ?2",
                (trace, new.author),
            )?;
            // A change gets a new position, so that readers in pages see it.
            transaction.execute("UPDATE trace_positions SET feedback = feedback + 1", [])?;
            transaction.execute(
                "INSERT INTO feedback (position, trace, author, good, label, output, at)
                 SELECT feedback, ?1, ?2, ?3, ?4, ?5, ?6 FROM trace_positions",
                params![trace, new.author, new.good, new.label, new.output, signed(new.at.0)],
            )?;
            Ok(Some(true))
        })
    }

    fn given(&self, after: u64, limit: u64) -> Result<Vec<(FeedbackRow, TraceRow)>> {
        self.0.read("read the feedback", |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS}, feedback.position, author, good, feedback.label,
                         feedback.output, feedback.at
                     FROM feedback JOIN traces ON traces.position = feedback.trace
                     WHERE feedback.position > ?1 ORDER BY feedback.position LIMIT ?2"
                ))?
                .query_map((signed(after), signed(limit)), |found| {
                    let (position, trace) = row(found)?;
                    let feedback = FeedbackRow {
                        position: unsigned(found, 19)?,
                        trace: position,
                        author: found.get(20)?,
                        good: found.get(21)?,
                        label: found.get(22)?,
                        output: found.get(23)?,
                        at: moment(found, 24)?,
                    };
                    Ok((feedback, trace))
                })?
                .collect()
        })
    }
}
