//! The registry's handle: where everything of it comes together.

use crate::{Version, codes};
use sprat_store::{Blobs, FolderBlobs, Lock, Rows, sqlite::Sqlite};
use sprat_task::{Clock, Digest, Error, Result, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A registry in a state folder. Cheap to clone; several processes may have one open at once.
#[derive(Clone)]
pub struct Registry {
    pub(crate) folder: PathBuf,
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Registry {
    /// Opens the registry of a state folder, making it as needed.
    ///
    /// # Errors
    /// Those of [`Sqlite::open`] and [`FolderBlobs::open`].
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Registry> {
        let rows = Arc::new(Sqlite::open(&folder.join("registry.sqlite"))?);
        let blobs = Arc::new(FolderBlobs::open(&folder.join("blobs"), clock.clone())?);
        Ok(Registry::with(folder, rows, blobs, clock))
    }

    /// A registry over any backends; `folder` holds checkouts and the lock.
    pub fn with(
        folder: &Path,
        rows: Arc<dyn Rows>,
        blobs: Arc<dyn Blobs>,
        clock: Arc<dyn Clock>,
    ) -> Registry {
        Registry { folder: folder.to_path_buf(), rows, blobs, clock }
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the traces of served requests belong.
    pub fn traces_path(&self) -> PathBuf {
        self.folder.join("traces.sqlite")
    }

    /// The blobs, for content that belongs to no version yet (kept by `gc` for its grace period,
    /// or as long as a recorded step names it as its outputs).
    pub fn blobs(&self) -> &dyn Blobs {
        &*self.blobs
    }

    /// The versions of a task, or of all tasks, ordered by task and number.
    ///
    /// # Errors
    /// The store's, and [`codes::DAMAGED`].
    pub fn versions(&self, task: Option<&str>) -> Result<Vec<Version>> {
        self.rows.versions(task)?.into_iter().map(Version::from_row).collect()
    }

    /// One version by its number.
    ///
    /// # Errors
    /// [`codes::UNKNOWN`] when there is none, the store's, and [`codes::DAMAGED`].
    pub fn version(&self, task: &str, number: u32) -> Result<Version> {
        let row = self.rows.version(task, number)?;
        row.map(Version::from_row).unwrap_or_else(|| {
            Err(Error::new(&codes::UNKNOWN, format!("there is no version {task}@v{number}")))
        })
    }

    /// The version with this digest, if it is here.
    ///
    /// # Errors
    /// The store's, and [`codes::DAMAGED`].
    pub fn by_digest(&self, task: &str, digest: &Digest) -> Result<Option<Version>> {
        let mut rows = self.rows.versions_by_digest(task, &digest.to_string())?;
        rows.pop().map(Version::from_row).transpose()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn checkouts(&self) -> PathBuf {
        self.folder.join("checkouts")
    }

    /// Held while blobs are stored that no row names yet, or a checkout is made, so that `gc` does
    /// not take them away.
    pub(crate) fn hold_blobs(&self) -> Result<Lock> {
        Lock::shared(&self.folder.join("gc.lock"))
    }

    /// Held while unused blobs are removed.
    pub(crate) fn hold_all(&self) -> Result<Lock> {
        Lock::exclusive(&self.folder.join("gc.lock"))
    }
}
