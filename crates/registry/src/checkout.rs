//! Laying out an artefact as a folder: whole or absent.

use crate::{Registry, Tree, Version, codes};
use sprat_task::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells the temporary folders of this process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

impl Registry {
    /// The artefact as a folder in the cache, laid out if it is not there yet. Do not write in it.
    /// What is there is taken as it is if names and sizes fit; `doctor` looks at every byte.
    ///
    /// # Errors
    /// [`codes::CHECKOUT`], or the store's for missing or damaged blobs.
    pub fn checkout(&self, version: &Version) -> Result<PathBuf> {
        let folder = self.checkouts().join(version.digest.to_string());
        let whole = || fits(&folder, &version.content.artefact);
        if whole() {
            return Ok(folder);
        }
        if folder.is_dir() {
            let _alone = self.hold_all()?;
            // While this process waited, another may have put it right.
            if !whole() {
                fs::remove_dir_all(&folder)
                    .map_err(|why| failure("remove the incomplete checkout", &folder, &why))?;
            }
        }
        // What `gc` takes for a dead process's leavings must not be this one's work: it removes
        // file by file, and would go on in the folder after that got its name.
        let _held = self.hold_blobs()?;
        match self.materialise(version, &folder) {
            // Another process was faster.
            Err(_) if whole() => Ok(folder),
            other => other.map(|()| folder),
        }
    }

    /// Lays the artefact out as a new folder.
    ///
    /// # Errors
    /// [`codes::CHECKOUT`] when something stands there already or it cannot be written, or the
    /// store's for missing or damaged blobs. Nothing is left behind then.
    pub fn materialise(&self, version: &Version, to: &Path) -> Result<()> {
        if to.exists() {
            let error = Error::new(&codes::CHECKOUT, "the artefact needs a new folder").file(to);
            return Err(error.why("something stands there already"));
        }
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = parent.join(format!(".{name}.{}-{count}.tmp", std::process::id()));
        let _ = fs::remove_dir_all(&temporary);
        let result = self.fill(&version.content.artefact, &temporary).and_then(|()| {
            // Renaming onto a folder that is not empty fails, so nothing is overwritten.
            fs::rename(&temporary, to).map_err(|why| failure("put the artefact in place", to, &why))
        });
        if result.is_err() {
            let _ = fs::remove_dir_all(&temporary);
        }
        result
    }

    fn fill(&self, tree: &Tree, folder: &Path) -> Result<()> {
        if let Some(fault) = tree.fault() {
            return Err(Error::new(&codes::CHECKOUT, "the artefact cannot be laid out").why(fault));
        }
        for (name, expected) in &tree.0 {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(|why| failure("make the folder", parent, &why))?;
            let file = File::create(&path).map_err(|why| failure("make the file", &path, &why))?;
            let mut writer = BufWriter::with_capacity(1 << 16, file);
            self.blobs.copy(&expected.digest, &mut writer)?;
            writer
                .flush()
                .and_then(|()| writer.get_ref().sync_all())
                .map_err(|why| failure("write the file", &path, &why))?;
        }
        Ok(())
    }
}

/// Whether a folder has the tree's files with the right sizes.
fn fits(folder: &Path, tree: &Tree) -> bool {
    tree.0.iter().all(|(name, file)| {
        fs::metadata(folder.join(name))
            .is_ok_and(|found| found.is_file() && found.len() == file.bytes)
    })
}

fn failure(doing: &str, path: &Path, why: &std::io::Error) -> Error {
    let full = matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    Error::io(if full { &sprat_store::codes::FULL } else { &codes::CHECKOUT }, doing, path, why)
}
