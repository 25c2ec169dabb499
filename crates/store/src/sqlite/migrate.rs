//! Brings a database file to the schema that this program knows.

use super::connection::failure;
use crate::codes;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use sprat_task::{Error, Result};
use std::path::Path;

/// One step of a schema's history; its version is its position in the list, from 1.
pub(super) struct Migration {
    /// What it brings.
    pub(super) name: &'static str,
    /// The statements.
    pub(super) sql: &'static str,
}

/// Applies the migrations that are missing, each in a transaction of its own.
///
/// # Errors
/// [`codes::NEWER`] when the file has migrations that we do not know; nothing is changed then.
pub(super) fn up(connection: &mut Connection, path: &Path, known: &[Migration]) -> Result<()> {
    let fail = |why: rusqlite::Error| failure("bring the state database up to date", path, &why);
    if version(connection).map_err(fail)? == known.len() as u64 {
        return Ok(());
    }
    loop {
        // Another process may be at the same work: look again under the write lock.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let present = version(&transaction).map_err(fail)?;
        if present > known.len() as u64 {
            return Err(newer(path, present, known.len()));
        }
        let Some(next) = known.get(present as usize) else { return Ok(()) };
        if present == 0 {
            transaction
                .execute_batch(
                    "CREATE TABLE schema_version
                         (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL)",
                )
                .map_err(fail)?;
        }
        transaction.execute_batch(next.sql).map_err(fail)?;
        transaction
            .execute(
                "INSERT INTO schema_version (version, name) VALUES (?1, ?2)",
                (present as i64 + 1, next.name),
            )
            .map_err(fail)?;
        transaction.commit().map_err(fail)?;
    }
}

/// The file's schema version; 0 for a new file.
fn version(connection: &Connection) -> rusqlite::Result<u64> {
    let exists = connection
        .query_row("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'", [], |_| Ok(()))
        .optional()?;
    if exists.is_none() {
        return Ok(0);
    }
    connection.query_row("SELECT COALESCE(MAX(version), 0) FROM schema_version", [], |row| {
        super::connection::unsigned(row, 0)
    })
}

fn newer(path: &Path, present: u64, known: usize) -> Error {
    Error::new(&codes::NEWER, "the state was written by a newer version of Sprat")
        .file(path)
        .why(format!("it has schema version {present}, this program knows up to {known}"))
}

#[cfg(test)]
mod tests {
    use super::super::connection::{Durability, Sqlite};
    use super::super::schema::{REGISTRY, TRACES};
    use super::*;
    use crate::{Aliases, Journal, Versions};

    /// A file as the program at schema version `version` left it, with a row in each table.
    fn old_file(path: &Path, version: usize) {
        drop(Sqlite::with(path, &REGISTRY[..version], Durability::Full).unwrap());
        let connection = Connection::open(path).unwrap();
        let digest = "ab".repeat(32);
        if version >= 1 {
            connection
                .execute_batch(&format!(
                    "INSERT INTO versions VALUES ('intent', 1, '{digest}', NULL, 5, 'body');
                     INSERT INTO version_blobs VALUES ('intent', 1, '{digest}');
                     INSERT INTO aliases VALUES ('intent', 'production', 1, 1, 6);
                     INSERT INTO alias_moves VALUES
                         ('intent', 'production', 1, NULL, 1, 'promote', 'ann', 'first', 6);"
                ))
                .unwrap();
        }
        if version >= 2 {
            connection
                .execute_batch(&format!(
                    "INSERT INTO steps VALUES ('tune', '{digest}', '{digest}', '{{}}', 7);
                     INSERT INTO openings VALUES (1, 'intent', '{digest}', 'release', 'ann', 8);
                     INSERT INTO events VALUES (1, 'intent', 'alarm', '{{}}', 9);"
                ))
                .unwrap();
        }
    }

    #[test]
    fn every_older_file_is_upgraded_and_keeps_its_rows() {
        for version in 0..=REGISTRY.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("registry.sqlite");
            old_file(&path, version);
            let store = Sqlite::open(&path).unwrap();
            assert_eq!(store.versions(None).unwrap().len(), usize::from(version >= 1));
            assert_eq!(store.moves("intent", None).unwrap().len(), usize::from(version >= 1));
            assert_eq!(store.events("intent", None).unwrap().len(), usize::from(version >= 2));
            assert_eq!(store.openings(None).unwrap().len(), usize::from(version >= 2));
            let connection = Connection::open(&path).unwrap();
            assert_eq!(super::version(&connection).unwrap(), REGISTRY.len() as u64);
        }
    }

    #[test]
    fn traces_of_every_older_file_are_kept_and_positions_go_on() {
        use crate::{TraceFilter, Traces, sqlite::SqliteTraces};
        for version in 1..=TRACES.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("traces.sqlite");
            drop(Sqlite::with(&path, &TRACES[..version], Durability::Process).unwrap());
            let connection = Connection::open(&path).unwrap();
            connection
                .execute_batch(
                    "INSERT INTO traces (position, id, at, task, version, text, scores,
                         latency_ms, prompt_tokens, completion_tokens, status)
                     VALUES (41, 'req-1', 5, 'intent', 'intent@v1', 'hi', '[]', 2.5, 3, 0, 200);",
                )
                .unwrap();
            if version >= 2 {
                connection.execute_batch("UPDATE trace_positions SET last = 41").unwrap();
            }
            let traces = SqliteTraces::open(&path).unwrap();
            let (position, row) = traces.read(&TraceFilter::default()).unwrap().remove(0);
            assert_eq!((position, row.text.as_deref()), (41, Some("hi")));
            assert_eq!((row.usd, row.valid, row.sketch.clone()), (None, None, None));
            traces.append(&[row]).unwrap();
            assert_eq!(traces.read(&TraceFilter::default()).unwrap()[1].0, 42);
        }
    }

    #[test]
    fn a_newer_file_is_refused_and_left_alone() {
        for (name, known) in [("registry.sqlite", REGISTRY), ("traces.sqlite", TRACES)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            drop(Sqlite::with(&path, known, Durability::Full).unwrap());
            let connection = Connection::open(&path).unwrap();
            connection
                .execute("INSERT INTO schema_version VALUES (999, 'from later')", [])
                .unwrap();
            let error = Sqlite::with(&path, known, Durability::Full).unwrap_err();
            assert_eq!(error.code().id, "SPRAT-STORE-NEWER");
            assert!(error.to_string().contains("999"), "{error}");
            assert_eq!(super::version(&connection).unwrap(), 999);
        }
    }

    #[test]
    fn a_failing_migration_leaves_the_file_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.sqlite");
        drop(Sqlite::with(&path, &REGISTRY[..1], Durability::Full).unwrap());
        let broken = [
            Migration { name: "one", sql: REGISTRY[0].sql },
            Migration {
                name: "two",
                sql: "CREATE TABLE half (x TEXT); SELECT no_such_function();",
            },
        ];
        assert!(Sqlite::with(&path, &broken, Durability::Full).is_err());
        let connection = Connection::open(&path).unwrap();
        assert_eq!(super::version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT * FROM half").is_err());
    }

    #[test]
    fn a_file_that_is_no_database_is_called_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.sqlite");
        std::fs::write(&path, "not a database, and long enough to be looked at".repeat(100))
            .unwrap();
        assert_eq!(Sqlite::open(&path).unwrap_err().code().id, "SPRAT-STORE-DAMAGED");
    }
}
