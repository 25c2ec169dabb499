//! Openings and events in SQLite.

use super::connection::{self, Sqlite, moment, signed, unsigned};
use crate::{EventRow, Journal, NewOpening, OpeningRow};
use rusqlite::Row;
use sprat_task::{Result, Timestamp};

fn opening_row(row: &Row<'_>) -> rusqlite::Result<OpeningRow> {
    Ok(OpeningRow {
        id: unsigned(row, 0)?,
        task: row.get(1)?,
        split: connection::digest(row, 2)?,
        purpose: row.get(3)?,
        who: row.get(4)?,
        at: moment(row, 5)?,
    })
}

fn event_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: unsigned(row, 0)?,
        task: row.get(1)?,
        label: row.get(2)?,
        body: row.get(3)?,
        at: moment(row, 4)?,
    })
}

impl Journal for Sqlite {
    fn add_opening(&self, new: &NewOpening<'_>) -> Result<OpeningRow> {
        self.write("record the opening of the test part", |transaction| {
            let id = transaction.query_row(
                "SELECT COALESCE(MAX(id), 0) + 1 FROM openings",
                [],
                |row| unsigned(row, 0),
            )?;
            let row = OpeningRow {
                id,
                task: new.task.to_owned(),
                split: new.split,
                purpose: new.purpose.to_owned(),
                who: new.who.to_owned(),
                at: new.at,
            };
            transaction.execute(
                "INSERT INTO openings (id, task, split, purpose, who, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    signed(id),
                    new.task,
                    new.split.to_string(),
                    new.purpose,
                    new.who,
                    signed(new.at.0),
                ),
            )?;
            Ok(row)
        })
    }

    fn openings(&self, task: Option<&str>) -> Result<Vec<OpeningRow>> {
        self.read("list the openings of the test part", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, task, split, purpose, who, at FROM openings
                     WHERE ?1 IS NULL OR task = ?1 ORDER BY id",
                )?
                .query_map([task], opening_row)?
                .collect()
        })
    }

    fn add_event(&self, task: &str, label: &str, body: &str, at: Timestamp) -> Result<EventRow> {
        self.write("record the event", |transaction| {
            let id = transaction.query_row(
                "SELECT COALESCE(MAX(id), 0) + 1 FROM events",
                [],
                |row| unsigned(row, 0),
            )?;
            transaction.execute(
                "INSERT INTO events (id, task, label, body, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                (signed(id), task, label, body, signed(at.0)),
            )?;
            Ok(EventRow { id, task: task.into(), label: label.into(), body: body.into(), at })
        })
    }

    fn events(&self, task: &str, label: Option<&str>) -> Result<Vec<EventRow>> {
        self.read("list the events", |connection| {
            connection
                .prepare_cached(
                    "SELECT id, task, label, body, at FROM events
                     WHERE task = ?1 AND (?2 IS NULL OR label = ?2) ORDER BY id",
                )?
                .query_map((task, label), event_row)?
                .collect()
        })
    }
}
