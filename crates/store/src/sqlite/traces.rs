//! Traces in a SQLite file of their own, so that their volume never burdens the registry.

use super::connection::{Durability, Sqlite, moment, signed, unsigned};
use super::schema;
use crate::{TraceFilter, TraceRow, Traces};
use rusqlite::{Connection, Row, params};
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
}

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
    };
    Ok((unsigned(row, 0)?, trace))
}

fn count(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row("SELECT COUNT(*) FROM traces", [], |row| unsigned(row, 0))
}

impl Traces for SqliteTraces {
    fn append(&self, rows: &[TraceRow]) -> Result<()> {
        self.0.write("write traces", |transaction| {
            let mut position = transaction.query_row(
                "SELECT COALESCE(MAX(position), 0) FROM traces",
                [],
                |row| unsigned(row, 0),
            )?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO traces (position, id, at, task, version, text, text_hash, label,
                     confidence, scores, latency_ms, prompt_tokens, completion_tokens, status, route)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
                ])?;
            }
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
                    "SELECT position, id, at, task, version, text, text_hash, label, confidence,
                         scores, latency_ms, prompt_tokens, completion_tokens, status, route
                     FROM traces WHERE {CONDITION} AND position > ?5
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
            Ok(removed as u64)
        })
    }

    fn check(&self) -> Result<Vec<String>> {
        self.0.integrity()
    }
}
