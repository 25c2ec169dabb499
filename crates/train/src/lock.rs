//! One run at a time in a folder.

use crate::codes::{LOCKED, STORAGE};
use sprat_task::{Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// Holds the folder's lock until it is dropped or the process ends, however it ends: the lock is
/// the operating system's, on an open file, so a killed run leaves none behind.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// `LOCKED` when another process or thread holds it; `STORAGE` when the file can't be made.
    pub(crate) fn take(folder: &Path) -> Result<Lock> {
        let path = folder.join(".lock");
        let fail = |error| Error::io(&STORAGE, "lock the run folder", &path, &error);
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&mut file).take(32).read_to_string(&mut holder);
                let who = match holder.trim() {
                    "" => "another process holds its lock".to_owned(),
                    id => format!("process {id} holds its lock"),
                };
                let what = "another training runs in this folder";
                return Err(Error::new(&LOCKED, what).file(folder).why(who));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        // For the message above only; the lock itself does not depend on it.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do while another thread is starting a process: until that one
        // is up, it shares the open file.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_in_the_same_folder_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let error = Lock::take(folder.path()).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-TRAIN-LOCKED");
        assert!(error.reason().unwrap().contains(&std::process::id().to_string()));
        drop(first);
        Lock::take(folder.path()).unwrap();
    }
}
