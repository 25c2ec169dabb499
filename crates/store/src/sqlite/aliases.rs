//! Aliases and their moves in SQLite.

use super::connection::{Sqlite, moment, signed, unsigned};
use crate::{AliasRow, Aliases, MoveRow, NewAliasMove};
use rusqlite::{Connection, OptionalExtension, Row};
use sprat_task::Result;

fn alias_row(row: &Row<'_>) -> rusqlite::Result<AliasRow> {
    Ok(AliasRow {
        task: row.get(0)?,
        name: row.get(1)?,
        version: row.get(2)?,
        revision: unsigned(row, 3)?,
        moved: moment(row, 4)?,
    })
}

fn move_row(row: &Row<'_>) -> rusqlite::Result<MoveRow> {
    Ok(MoveRow {
        task: row.get(0)?,
        alias: row.get(1)?,
        revision: unsigned(row, 2)?,
        from: row.get(3)?,
        to: row.get(4)?,
        kind: row.get(5)?,
        who: row.get(6)?,
        why: row.get(7)?,
        at: moment(row, 8)?,
    })
}

fn find(connection: &Connection, task: &str, name: &str) -> rusqlite::Result<Option<AliasRow>> {
    connection
        .prepare_cached(
            "SELECT task, name, version, revision, moved FROM aliases
             WHERE task = ?1 AND name = ?2",
        )?
        .query_row((task, name), alias_row)
        .optional()
}

impl Aliases for Sqlite {
    fn alias(&self, task: &str, name: &str) -> Result<Option<AliasRow>> {
        self.read("read the alias", |connection| find(connection, task, name))
    }

    fn aliases(&self, task: Option<&str>) -> Result<Vec<AliasRow>> {
        self.read("list the aliases", |connection| {
            connection
                .prepare_cached(
                    "SELECT task, name, version, revision, moved FROM aliases
                     WHERE ?1 IS NULL OR task = ?1 ORDER BY task, name",
                )?
                .query_map([task], alias_row)?
                .collect()
        })
    }

    fn move_alias(&self, wanted: &NewAliasMove<'_>) -> Result<Option<MoveRow>> {
        self.write("move the alias", |transaction| {
            let present = find(transaction, wanted.task, wanted.alias)?;
            if present.as_ref().map_or(0, |row| row.revision) != wanted.expected {
                return Ok(None);
            }
            let revision = wanted.expected + 1;
            transaction.execute(
                "INSERT INTO aliases (task, name, version, revision, moved)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (task, name) DO UPDATE SET
                     version = excluded.version,
                     revision = excluded.revision,
                     moved = excluded.moved",
                (wanted.task, wanted.alias, wanted.to, signed(revision), signed(wanted.at.0)),
            )?;
            let row = MoveRow {
                task: wanted.task.to_owned(),
                alias: wanted.alias.to_owned(),
                revision,
                from: present.map(|row| row.version),
                to: wanted.to,
                kind: wanted.kind.to_owned(),
                who: wanted.who.to_owned(),
                why: wanted.why.to_owned(),
                at: wanted.at,
            };
            transaction.execute(
                "INSERT INTO alias_moves
                     (task, alias, revision, from_version, to_version, kind, who, why, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                (
                    &row.task,
                    &row.alias,
                    signed(revision),
                    row.from,
                    row.to,
                    &row.kind,
                    &row.who,
                    &row.why,
                    signed(row.at.0),
                ),
            )?;
            Ok(Some(row))
        })
    }

    fn moves(&self, task: &str, alias: Option<&str>) -> Result<Vec<MoveRow>> {
        self.read("list the alias's moves", |connection| {
            connection
                .prepare_cached(
                    "SELECT task, alias, revision, from_version, to_version, kind, who, why, at
                     FROM alias_moves WHERE task = ?1 AND (?2 IS NULL OR alias = ?2)
                     ORDER BY at, alias, revision",
                )?
                .query_map((task, alias), move_row)?
                .collect()
        })
    }
}
