//! Finished steps in SQLite.

use super::connection::{self, Sqlite, moment, signed};
use crate::{StepRow, Steps};
use rusqlite::{OptionalExtension, Row};
use sprat_task::{Digest, Result};

fn row(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        step: row.get(0)?,
        inputs: connection::digest(row, 1)?,
        outputs: connection::digest(row, 2)?,
        summary: row.get(3)?,
        at: moment(row, 4)?,
    })
}

impl Steps for Sqlite {
    fn step(&self, step: &str, inputs: &Digest) -> Result<Option<StepRow>> {
        self.read("look up the step", |connection| {
            connection
                .prepare_cached(
                    "SELECT step, inputs, outputs, summary, at FROM steps
                     WHERE step = ?1 AND inputs = ?2",
                )?
                .query_row((step, inputs.to_string()), row)
                .optional()
        })
    }

    fn put_step(&self, row: &StepRow) -> Result<()> {
        self.write("record the step", |transaction| {
            transaction.execute(
                "INSERT INTO steps (step, inputs, outputs, summary, at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (step, inputs) DO UPDATE SET
                     outputs = excluded.outputs,
                     summary = excluded.summary,
                     at = excluded.at",
                (
                    &row.step,
                    row.inputs.to_string(),
                    row.outputs.to_string(),
                    &row.summary,
                    signed(row.at.0),
                ),
            )?;
            Ok(())
        })
    }

    fn forget_step(&self, step: &str, inputs: &Digest) -> Result<bool> {
        self.write("forget the step", |transaction| {
            let removed = transaction.execute(
                "DELETE FROM steps WHERE step = ?1 AND inputs = ?2",
                (step, inputs.to_string()),
            )?;
            Ok(removed > 0)
        })
    }

    fn steps(&self) -> Result<Vec<StepRow>> {
        self.read("list the steps", |connection| {
            connection
                .prepare_cached(
                    "SELECT step, inputs, outputs, summary, at FROM steps
                     ORDER BY at, step, inputs",
                )?
                .query_map([], row)?
                .collect()
        })
    }
}
