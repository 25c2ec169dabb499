//! Opening a database file and running reads and writes on it.

use super::migrate::{self, Migration};
use super::schema;
use crate::{Rows, codes};
use rusqlite::{Connection, ErrorCode, Row, Transaction, TransactionBehavior};
use sprat_task::{Code, Digest, Error, Result, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a process waits for others before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much a write survives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// A finished write survives a power failure.
    Full,
    /// A finished write survives the death of the process; the last ones may be lost with power.
    Process,
}

/// A database file with an up-to-date schema. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Sqlite {
    /// Opens the registry's database, making or upgrading it as needed.
    ///
    /// # Errors
    /// [`codes::OPEN`], [`codes::NEWER`] for a file of a later schema, [`codes::DAMAGED`] for a
    /// file that is no database.
    pub fn open(path: &Path) -> Result<Sqlite> {
        Sqlite::with(path, schema::REGISTRY, Durability::Full)
    }

    pub(super) fn with(
        path: &Path,
        migrations: &[Migration],
        durability: Durability,
    ) -> Result<Sqlite> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|why| Error::io(&codes::OPEN, "make the state folder", folder, &why))?;
        }
        let mut connection = connect(path, durability)
            .map_err(|why| failure("open the state database", path, &why))?;
        migrate::up(&mut connection, path, migrations)?;
        Ok(Sqlite { path: path.to_path_buf(), connection: Mutex::new(connection) })
    }

    /// The connection. A panic in another thread leaves no transaction open (rolled back when
    /// dropped), so a poisoned lock is as good as a clean one.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a read; `doing` completes "could not …".
    pub(super) fn read<T>(
        &self,
        doing: &str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        run(&self.lock()).map_err(|why| failure(doing, &self.path, &why))
    }

    /// Runs a write in one transaction that takes the write lock at its start, so that what it
    /// reads is still true when it writes. An error rolls everything back.
    pub(super) fn write<T>(
        &self,
        doing: &str,
        run: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut connection = self.lock();
        let result = (|| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = run(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        result.map_err(|why| failure(doing, &self.path, &why))
    }

    /// What SQLite finds broken in the file, in its words.
    pub(super) fn integrity(&self) -> Result<Vec<String>> {
        self.read("check the database", |connection| {
            let lines: Vec<String> = connection
                .prepare("PRAGMA integrity_check")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut broken: Vec<String> = lines.into_iter().filter(|line| line != "ok").collect();
            let mut dangling = connection.prepare("PRAGMA foreign_key_check")?;
            let mut rows = dangling.query([])?;
            while let Some(row) = rows.next()? {
                let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                broken.push(format!("a row of `{table}` names a row of `{parent}` that is gone"));
            }
            Ok(broken)
        })
    }
}

impl Rows for Sqlite {
    fn check(&self) -> Result<Vec<String>> {
        self.integrity()
    }
}

fn connect(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // Switching a new file to the write-ahead log does not wait for others by itself.
    let start = Instant::now();
    loop {
        let switched = connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
        match switched {
            Err(why) if is_busy(&why) && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => break other?,
        }
    }
    let level = if durability == Durability::Full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", level)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

fn is_busy(why: &rusqlite::Error) -> bool {
    matches!(why.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Turns SQLite's words into ours.
pub(super) fn failure(doing: &str, path: &Path, why: &rusqlite::Error) -> Error {
    let code: &'static Code = match why.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => &codes::FULL,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => &codes::BUSY,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => &codes::DAMAGED,
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            &codes::OPEN
        }
        Some(ErrorCode::SystemIoFailure) => &codes::FILE,
        _ if matches!(why, rusqlite::Error::FromSqlConversionFailure(..)) => &codes::DAMAGED,
        _ => &codes::QUERY,
    };
    Error::new(code, format!("could not {doing}")).file(path).why(why.to_string())
}

/// Reads a digest column.
pub(super) fn digest(row: &Row<'_>, at: usize) -> rusqlite::Result<Digest> {
    parse(at, &row.get::<_, String>(at)?)
}

/// Reads a digest column that may be null.
pub(super) fn optional_digest(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Digest>> {
    row.get::<_, Option<String>>(at)?.map(|text| parse(at, &text)).transpose()
}

fn parse(at: usize, text: &str) -> rusqlite::Result<Digest> {
    text.parse().map_err(|why: sprat_task::NotADigest| {
        rusqlite::Error::FromSqlConversionFailure(
            at,
            rusqlite::types::Type::Text,
            format!("{why}, found `{text}`").into(),
        )
    })
}

/// Reads a count or a moment; SQL integers are signed.
pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, value))
}

/// Reads a moment.
pub(super) fn moment(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp(unsigned(row, at)?))
}

/// A count or a moment as a signed SQL integer; beyond 2⁶³ it stands still at the largest.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
