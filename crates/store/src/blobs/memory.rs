//! Blobs in memory, for tests.

use super::{BlobInfo, Blobs, Tee};
use crate::codes;
use sprat_task::{Clock, Digest, Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Content = BTreeMap<Digest, (Vec<u8>, Timestamp)>;

/// Blobs that last as long as the process.
pub struct MemoryBlobs {
    content: Mutex<Content>,
    clock: Arc<dyn Clock>,
}

impl MemoryBlobs {
    /// An empty store. The clock stamps what is put.
    pub fn new(clock: Arc<dyn Clock>) -> MemoryBlobs {
        MemoryBlobs { content: Mutex::default(), clock }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for MemoryBlobs {
    fn put(&self, content: &mut dyn Read) -> Result<(Digest, u64)> {
        let mut bytes = Vec::new();
        let (digest, size) = Digest::of_reader(&mut Tee { from: content, to: &mut bytes })
            .map_err(|why| {
                Error::new(&codes::FILE, "could not store a blob").why(why.to_string())
            })?;
        self.lock().insert(digest, (bytes, self.clock.now()));
        Ok((digest, size))
    }

    fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.lock().contains_key(digest))
    }

    fn copy(&self, digest: &Digest, to: &mut dyn Write) -> Result<u64> {
        let content = self.lock();
        let Some((bytes, _)) = content.get(digest) else {
            return Err(Error::new(&codes::MISSING, format!("blob {digest} is not in the store")));
        };
        to.write_all(bytes).map_err(|why| {
            Error::new(&codes::FILE, "could not copy a blob").why(why.to_string())
        })?;
        Ok(bytes.len() as u64)
    }

    fn list(&self) -> Result<Vec<BlobInfo>> {
        let info = |(digest, (bytes, put)): (&Digest, &(Vec<u8>, Timestamp))| BlobInfo {
            digest: *digest,
            bytes: bytes.len() as u64,
            put: *put,
        };
        Ok(self.lock().iter().map(info).collect())
    }

    fn remove(&self, digest: &Digest) -> Result<bool> {
        Ok(self.lock().remove(digest).is_some())
    }

    fn leftovers(&self) -> Result<Vec<(String, u64)>> {
        Ok(Vec::new())
    }

    fn remove_leftovers(&self, _: Duration) -> Result<u64> {
        Ok(0)
    }
}
