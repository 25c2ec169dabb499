//! Keyed hashing of texts: equal texts can be seen to be equal, but nobody without the key can
//! find a text by trying candidates.

use crate::codes;
use sha2::{Digest, Sha256};
use sprat_task::{Error, Result};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// The block size of SHA-256, in bytes.
const BLOCK: usize = 64;

/// A secret key for hashing texts.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey(Vec<u8>);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl HashKey {
    /// A key from bytes that the caller keeps secret.
    pub fn new(secret: impl Into<Vec<u8>>) -> HashKey {
        HashKey(secret.into())
    }

    /// The key in a file, readable by its owner alone; made from the system's randomness if the
    /// file is not there. Several processes that start at once get the same key.
    ///
    /// # Errors
    /// [`codes::KEY`] when the file cannot be read or made, or is too short to be a key.
    pub fn load_or_create(path: &Path) -> Result<HashKey> {
        let fail = |doing: &str, why: &std::io::Error| Error::io(&codes::KEY, doing, path, why);
        match fs::read(path) {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                create(path).map_err(|why| fail("make the key file", &why))?;
            }
            Err(why) => return Err(fail("read the key file", &why)),
            Ok(_) => {}
        }
        let secret = fs::read(path).map_err(|why| fail("read the key file", &why))?;
        if secret.len() < 32 {
            let error = Error::new(&codes::KEY, "the key file is too short").file(path);
            return Err(error.why(format!("{} bytes, 32 are expected", secret.len())));
        }
        Ok(HashKey(secret))
    }

    /// HMAC-SHA-256 of a text (RFC 2104), as 64 hexadecimal digits.
    pub fn hash(&self, text: &str) -> String {
        let mut key = [0; BLOCK];
        if self.0.len() > BLOCK {
            key[..32].copy_from_slice(&Sha256::digest(&self.0));
        } else {
            key[..self.0.len()].copy_from_slice(&self.0);
        }
        let inner = Sha256::new().chain_update(key.map(|b| b ^ 0x36)).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(key.map(|b| b ^ 0x5c)).chain_update(inner);
        hex::encode(outer.finalize())
    }
}

/// Writes a new key under a name of its own and links it into place, which only one can do.
fn create(path: &Path) -> std::io::Result<()> {
    let mut secret = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Part of another random draw as the name: no two writers share it.
    let mut name = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut name)?;
    let temporary = path.with_extension(format!("{}.tmp", hex::encode(name)));
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = (|| {
        let mut file = options.open(&temporary)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(why) if why.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let _ = fs::remove_file(&temporary);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // RFC 4231, test cases 2 and 6.
        assert_eq!(
            HashKey::new("Jefe").hash("what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            HashKey::new([0xaa; 131])
                .hash("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn processes_that_start_at_once_get_the_same_key_and_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/trace.key");
        let keys: Vec<HashKey> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| HashKey::load_or_create(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(HashKey::load_or_create(&path).unwrap(), keys[0]);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_short_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.key");
        fs::write(&path, "short").unwrap();
        let error = HashKey::load_or_create(&path).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MONITOR-KEY");
    }
}
