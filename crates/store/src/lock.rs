//! A lock between processes that ends with the process that holds it, however it ends.

use crate::codes;
use sprat_task::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// An advisory lock on a file, released when dropped or when the process dies (also by `kill -9`).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for a lock that many may hold at once.
    ///
    /// # Errors
    /// [`codes::FILE`] when the lock file cannot be made or locked.
    pub fn shared(path: &Path) -> Result<Lock> {
        let file = open(path)?;
        file.lock_shared().map_err(|why| Error::io(&codes::FILE, "take the lock", path, &why))?;
        Ok(Lock { _file: file })
    }

    /// Waits for a lock that excludes all others.
    ///
    /// # Errors
    /// [`codes::FILE`] when the lock file cannot be made or locked.
    pub fn exclusive(path: &Path) -> Result<Lock> {
        let file = open(path)?;
        file.lock().map_err(|why| Error::io(&codes::FILE, "take the lock", path, &why))?;
        Ok(Lock { _file: file })
    }

    /// The exclusive lock if nobody holds it now; never waits.
    ///
    /// # Errors
    /// [`codes::FILE`] when the lock file cannot be made or locked.
    pub fn try_exclusive(path: &Path) -> Result<Option<Lock>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(why)) => {
                Err(Error::io(&codes::FILE, "take the lock", path, &why))
            }
        }
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|why| Error::io(&codes::FILE, "make the folder", folder, &why))?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|why| Error::io(&codes::FILE, "open the lock file", path, &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_readers_share_and_an_exclusive_lock_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gc.lock");
        let first = Lock::shared(&path).unwrap();
        let second = Lock::shared(&path).unwrap();
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        drop((first, second));
        let alone = Lock::try_exclusive(&path).unwrap();
        assert!(alone.is_some() && Lock::try_exclusive(&path).unwrap().is_none());
    }
}
