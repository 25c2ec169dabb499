//! Content-addressed bytes: a blob's name is the SHA-256 digest of what it holds.

mod folder;
mod memory;

pub use folder::FolderBlobs;
pub use memory::MemoryBlobs;

use serde::Serialize;
use sprat_task::{Digest, Result, Timestamp};
use std::io::{Read, Write};
use std::time::Duration;

/// What a listing says of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// When it was last put.
    pub put: Timestamp,
}

/// Keeps blobs.
pub trait Blobs: Send + Sync {
    /// Stores what the reader gives: whole or not at all. Putting the same content again renews
    /// its time (see [`BlobInfo::put`]) and mends a damaged copy. Gives digest and size in bytes.
    ///
    /// # Errors
    /// What the reader says, or the backend.
    fn put(&self, content: &mut dyn Read) -> Result<(Digest, u64)>;

    /// Whether the blob is there; says nothing about its soundness.
    ///
    /// # Errors
    /// The backend's.
    fn has(&self, digest: &Digest) -> Result<bool>;

    /// Copies a blob out and gives its size. The content is checked while it passes: after an
    /// error, what was written must not be used.
    ///
    /// # Errors
    /// [`crate::codes::MISSING`], [`crate::codes::DAMAGED`] when the content does not match its
    /// digest, or what the writer says.
    fn copy(&self, digest: &Digest, to: &mut dyn Write) -> Result<u64>;

    /// Every blob, ordered by digest.
    ///
    /// # Errors
    /// The backend's.
    fn list(&self) -> Result<Vec<BlobInfo>>;

    /// Removes a blob; says whether it was there.
    ///
    /// # Errors
    /// The backend's.
    fn remove(&self, digest: &Digest) -> Result<bool>;

    /// What interrupted writers left behind or put in the wrong place: name and size in bytes.
    /// Harmless, but it takes space.
    ///
    /// # Errors
    /// The backend's.
    fn leftovers(&self) -> Result<Vec<(String, u64)>>;

    /// Removes leftovers older than `grace` (a younger one may belong to a running writer); says
    /// how many.
    ///
    /// # Errors
    /// The backend's.
    fn remove_leftovers(&self, grace: Duration) -> Result<u64>;

    /// Stores some bytes.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    fn put_bytes(&self, content: &[u8]) -> Result<Digest> {
        Ok(self.put(&mut &*content)?.0)
    }

    /// A blob's whole content, checked.
    ///
    /// # Errors
    /// As [`Blobs::copy`].
    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.copy(digest, &mut content)?;
        Ok(content)
    }

    /// Reads a blob through and gives its size.
    ///
    /// # Errors
    /// As [`Blobs::copy`].
    fn verify(&self, digest: &Digest) -> Result<u64> {
        self.copy(digest, &mut std::io::sink())
    }
}

/// Hands on what it reads, and writes it down as well.
struct Tee<'a, W: Write> {
    from: &'a mut dyn Read,
    to: W,
}

impl<W: Write> Read for Tee<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}
