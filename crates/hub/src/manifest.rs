//! The record of a pulled model: what it is, where it came from, and every file's digest.

use crate::codes::{CACHE, DAMAGED};
use crate::reference::ModelRef;
use serde::{Deserialize, Serialize};
use sprat_task::{Digest, Error, Result};
use std::fs;
use std::path::Path;

/// The version of the manifest's format.
pub(crate) const FORMAT: u32 = 1;

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path inside the model's folder, with `/` between its parts.
    pub path: String,
    /// The SHA-256 of its content.
    pub sha256: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What `manifest.json` beside a pulled model says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The reference that was pulled.
    pub reference: ModelRef,
    /// The digest over all files: see `digest_of`.
    pub digest: Digest,
    /// The hub's commit, or the SHA-256 of the wheel.
    pub resolved: Option<String>,
    /// Where the files came from, for people: an address, a cache, a package.
    pub source: String,
    /// The files, sorted by path.
    pub files: Vec<FileRecord>,
}

/// The digest of a model: of the JSON object that maps each path to its SHA-256. Where the files
/// came from, when, and what they are called outside does not count.
pub(crate) fn digest_of(files: &[FileRecord]) -> Digest {
    let map: serde_json::Map<String, serde_json::Value> =
        files.iter().map(|file| (file.path.clone(), file.sha256.to_string().into())).collect();
    Digest::of_json(&serde_json::Value::Object(map))
}

impl Manifest {
    /// A manifest over `files`, which are sorted here.
    pub(crate) fn new(
        reference: &ModelRef,
        resolved: Option<String>,
        source: String,
        mut files: Vec<FileRecord>,
    ) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let digest = digest_of(&files);
        Self { format: FORMAT, reference: reference.clone(), digest, resolved, source, files }
    }

    /// The size of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads a manifest; `None` where there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&CACHE, "read a model's manifest", path, &error)),
        };
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
            Error::new(&DAMAGED, "a model's manifest cannot be read")
                .file(path)
                .why(error.to_string())
        })?;
        if manifest.format != FORMAT {
            return Err(Error::new(&DAMAGED, "a model's manifest has an unknown format")
                .file(path)
                .why(format!("it says format {}, this version reads {FORMAT}", manifest.format))
                .help(
                    "Use the version of Sprat that wrote it, or remove the folder and pull again.",
                ));
        }
        Ok(Some(manifest))
    }

    /// The manifest as its file's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(&CACHE, "could not write a model's manifest").why(error.to_string())
        })
    }
}
