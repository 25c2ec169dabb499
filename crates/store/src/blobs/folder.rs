//! Blobs as read-only files in a folder: `ab/cd/abcd…` (two levels, so that no folder grows large).
//!
//! A blob is written under a temporary name in `tmp/`, synced, and renamed into place: whoever
//! looks sees it whole or not at all, also after a crash.

use super::{BlobInfo, Blobs, Tee};
use crate::codes;
use sprat_task::{Clock, Code, Digest, Error, Result, Timestamp};
use std::fs::{self, File, FileTimes};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The folder of temporary files inside the blobs' folder.
const TEMPORARY: &str = "tmp";

/// A folder of blobs.
pub struct FolderBlobs {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    writes: AtomicU64,
}

impl FolderBlobs {
    /// Opens a folder, making it as needed. The clock stamps what is put.
    ///
    /// # Errors
    /// [`codes::FILE`] when the folder cannot be made.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<FolderBlobs> {
        let temporary = folder.join(TEMPORARY);
        fs::create_dir_all(&temporary)
            .map_err(|why| failure("make the folder", &temporary, &why))?;
        Ok(FolderBlobs { folder: folder.to_path_buf(), clock, writes: AtomicU64::new(0) })
    }

    /// Where a blob lies, or would lie.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.join(&name[..2]).join(&name[2..4]).join(name)
    }

    fn put_into(&self, content: &mut dyn Read, temporary: &Path) -> io::Result<(Digest, u64)> {
        let file = File::create(temporary)?;
        let (digest, bytes) = Digest::of_reader(&mut Tee { from: content, to: &file })?;
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now().0);
        file.set_times(FileTimes::new().set_modified(now))?;
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
        file.sync_all()?;
        let path = self.path(&digest);
        let parent = path.parent().unwrap_or(&self.folder);
        let fresh = !parent.exists();
        fs::create_dir_all(parent)?;
        fs::rename(temporary, &path)?;
        // The rename lasts only once the folders on the way are on disk.
        sync_folder(parent)?;
        if fresh {
            sync_folder(parent.parent().unwrap_or(&self.folder))?;
            sync_folder(&self.folder)?;
        }
        Ok((digest, bytes))
    }

    /// The files in `tmp/` and whatever stands where a blob should but is none.
    fn stray(&self) -> Result<Vec<(PathBuf, fs::Metadata)>> {
        let mut stray = Vec::new();
        self.walk(|path, metadata, blob| {
            if blob.is_none() {
                stray.push((path, metadata));
            }
        })?;
        Ok(stray)
    }

    /// Calls `visit` with every file and, where its name and place are right, its digest.
    fn walk(&self, mut visit: impl FnMut(PathBuf, fs::Metadata, Option<Digest>)) -> Result<()> {
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for (path, metadata) in entries(&folder)? {
                if metadata.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let digest = name.parse::<Digest>().ok();
                let blob = digest.filter(|digest| metadata.is_file() && self.path(digest) == path);
                visit(path, metadata, blob);
            }
        }
        Ok(())
    }
}

impl Blobs for FolderBlobs {
    fn put(&self, content: &mut dyn Read) -> Result<(Digest, u64)> {
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        // The address of the counter tells several handles in one process apart.
        let handle = std::ptr::from_ref(&self.writes).addr();
        let name = format!("{}-{handle:x}-{count}.tmp", std::process::id());
        let temporary = self.folder.join(TEMPORARY).join(name);
        let result = self.put_into(content, &temporary);
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result.map_err(|why| failure("store a blob", &temporary, &why))
    }

    fn has(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        path.try_exists().map_err(|why| failure("look for a blob", &path, &why))
    }

    fn copy(&self, digest: &Digest, to: &mut dyn Write) -> Result<u64> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|why| match why.kind() {
            ErrorKind::NotFound => {
                Error::new(&codes::MISSING, format!("blob {digest} is not in the store"))
                    .file(&path)
            }
            _ => failure("open a blob", &path, &why),
        })?;
        let (found, bytes) = Digest::of_reader(&mut Tee { from: &mut file, to })
            .map_err(|why| failure("copy a blob", &path, &why))?;
        if found != *digest {
            return Err(Error::new(&codes::DAMAGED, format!("blob {digest} is damaged"))
                .file(&path)
                .why(format!("its {bytes} bytes have the digest {found}")));
        }
        Ok(bytes)
    }

    fn list(&self) -> Result<Vec<BlobInfo>> {
        let mut blobs = Vec::new();
        self.walk(|_, metadata, blob| {
            if let Some(digest) = blob {
                blobs.push(BlobInfo { digest, bytes: metadata.len(), put: modified(&metadata) });
            }
        })?;
        blobs.sort();
        Ok(blobs)
    }

    fn remove(&self, digest: &Digest) -> Result<bool> {
        remove(&self.path(digest))
    }

    fn leftovers(&self) -> Result<Vec<(String, u64)>> {
        let mut found: Vec<(String, u64)> = self
            .stray()?
            .into_iter()
            .map(|(path, metadata)| (path.display().to_string(), metadata.len()))
            .collect();
        found.sort();
        Ok(found)
    }

    fn remove_leftovers(&self, grace: Duration) -> Result<u64> {
        let now = self.clock.now().0;
        let mut removed = 0;
        for (path, metadata) in self.stray()? {
            let age = now.saturating_sub(modified(&metadata).0);
            if u128::from(age) >= grace.as_millis() && remove(&path)? {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A folder's entries; what vanishes meanwhile is left out.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, fs::Metadata)>> {
    let listing = match fs::read_dir(folder) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|why| failure("list the folder", folder, &why))?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|why| failure("list the folder", folder, &why))?;
        match entry.metadata() {
            Ok(metadata) => found.push((entry.path(), metadata)),
            Err(why) if why.kind() == ErrorKind::NotFound => {}
            Err(why) => return Err(failure("look at the file", &entry.path(), &why)),
        }
    }
    Ok(found)
}

fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(false),
        Err(why) => Err(failure("remove the file", path, &why)),
    }
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Timestamp(since.unwrap_or_default().as_millis() as u64)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(()) // Folders cannot be opened for syncing there.
}

fn failure(doing: &str, path: &Path, why: &io::Error) -> Error {
    let full = matches!(
        why.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    );
    let code: &'static Code = if full { &codes::FULL } else { &codes::FILE };
    Error::io(code, doing, path, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprat_task::FakeClock;

    fn open(folder: &Path) -> FolderBlobs {
        FolderBlobs::open(folder, Arc::new(FakeClock::new(Timestamp(1_000_000)))).unwrap()
    }

    #[test]
    fn a_blob_is_a_read_only_file_two_folders_down() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let digest = blobs.put_bytes(b"weights").unwrap();
        let name = digest.to_string();
        let path = folder.path().join(&name[..2]).join(&name[2..4]).join(&name);
        assert_eq!(fs::read(&path).unwrap(), b"weights");
        assert!(fs::metadata(&path).unwrap().permissions().readonly());
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_putting_the_content_again_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = open(folder.path());
        let digest = blobs.put_bytes(b"weights").unwrap();
        fs::remove_file(blobs.path(&digest)).unwrap();
        fs::write(blobs.path(&digest), b"weighty").unwrap();
        assert_eq!(blobs.get(&digest).unwrap_err().code().id, "SPRAT-STORE-DAMAGED");
        blobs.put_bytes(b"weights").unwrap();
        assert_eq!(blobs.get(&digest).unwrap(), b"weights");
    }

    #[test]
    fn what_a_dead_writer_left_is_named_and_removed_after_the_grace() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::new(sprat_task::SystemClock.now()));
        let blobs = FolderBlobs::open(folder.path(), clock).unwrap();
        let digest = blobs.put_bytes(b"whole").unwrap();
        fs::write(folder.path().join("tmp/1-0-0.tmp"), b"half").unwrap();
        assert_eq!(blobs.leftovers().unwrap().len(), 1);
        assert_eq!(blobs.remove_leftovers(Duration::from_secs(3600)).unwrap(), 0);
        assert_eq!(blobs.remove_leftovers(Duration::ZERO).unwrap(), 1);
        assert!(blobs.leftovers().unwrap().is_empty() && blobs.has(&digest).unwrap());
    }
}
