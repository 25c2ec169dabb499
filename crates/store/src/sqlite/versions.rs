//! Versions in SQLite.

use super::connection::{self, Sqlite, signed};
use crate::{Added, NewVersion, VersionRow, Versions};
use rusqlite::{Connection, OptionalExtension, Params, Row};
use sprat_task::{Digest, Result};
use std::collections::BTreeSet;

const COLUMNS: &str = "SELECT task, number, digest, parent, created, body FROM versions";

fn row(row: &Row<'_>) -> rusqlite::Result<VersionRow> {
    Ok(VersionRow {
        task: row.get(0)?,
        number: row.get(1)?,
        digest: connection::digest(row, 2)?,
        parent: connection::optional_digest(row, 3)?,
        created: connection::moment(row, 4)?,
        body: row.get(5)?,
    })
}

fn select(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<VersionRow>> {
    let sql = format!("{COLUMNS} {condition} ORDER BY task, number");
    connection.prepare_cached(&sql)?.query_map(parameters, row)?.collect()
}

fn digests(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
) -> rusqlite::Result<BTreeSet<Digest>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(parameters, |row| connection::digest(row, 0))?.collect()
}

impl Versions for Sqlite {
    fn add_version(&self, new: &NewVersion<'_>) -> Result<Added> {
        let digest = new.digest.to_string();
        self.write("add the version", |transaction| {
            let same = "WHERE task = ?1 AND digest = ?2";
            if let Some(row) = select(transaction, same, (new.task, &digest))?.pop() {
                return Ok(Added { row, new: false });
            }
            let number: u32 = transaction.query_row(
                "SELECT COALESCE(MAX(number), 0) + 1 FROM versions WHERE task = ?1",
                [new.task],
                |row| row.get(0),
            )?;
            transaction.execute(
                "INSERT INTO versions (task, number, digest, parent, created, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    new.task,
                    number,
                    &digest,
                    new.parent.map(|parent| parent.to_string()),
                    signed(new.created.0),
                    new.body,
                ),
            )?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO version_blobs (task, number, digest) VALUES (?1, ?2, ?3)",
            )?;
            for blob in new.blobs {
                insert.execute((new.task, number, blob.to_string()))?;
            }
            let row = VersionRow {
                task: new.task.to_owned(),
                number,
                digest: new.digest,
                parent: new.parent,
                created: new.created,
                body: new.body.to_owned(),
            };
            Ok(Added { row, new: true })
        })
    }

    fn version(&self, task: &str, number: u32) -> Result<Option<VersionRow>> {
        self.read("read the version", |connection| {
            let sql = format!("{COLUMNS} WHERE task = ?1 AND number = ?2");
            connection.prepare_cached(&sql)?.query_row((task, number), row).optional()
        })
    }

    fn versions(&self, task: Option<&str>) -> Result<Vec<VersionRow>> {
        self.read("list the versions", |connection| match task {
            Some(task) => select(connection, "WHERE task = ?1", [task]),
            None => select(connection, "", []),
        })
    }

    fn versions_by_digest(&self, task: &str, prefix: &str) -> Result<Vec<VersionRow>> {
        self.read("look up the version", |connection| {
            // Not LIKE: its treatment of case differs between databases.
            let condition = "WHERE task = ?1 AND SUBSTR(digest, 1, ?2) = ?3";
            select(connection, condition, (task, signed(prefix.chars().count() as u64), prefix))
        })
    }

    fn blobs_of(&self, task: &str, number: u32) -> Result<BTreeSet<Digest>> {
        self.read("list the version's blobs", |connection| {
            let sql = "SELECT digest FROM version_blobs WHERE task = ?1 AND number = ?2";
            digests(connection, sql, (task, number))
        })
    }

    fn used_blobs(&self) -> Result<BTreeSet<Digest>> {
        self.read("list the blobs in use", |connection| {
            digests(connection, "SELECT DISTINCT digest FROM version_blobs", [])
        })
    }
}
