//! Reading a version from an archive that may be broken or hostile.

use super::{FORMAT, KIND, MANIFEST, Manifest, blob_name};
use crate::release::Envelope;
use crate::{Registry, codes, names};
use sprat_task::{Code, Digest, Error, Interrupt, Progress, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use tar::{Archive, EntryType};

/// The outcome of an import.
pub type Imported = crate::Released;

/// How much an archive may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// Bytes of the manifest.
    pub manifest: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 30, files: 10_000, manifest: 16 << 20 }
    }
}

impl Registry {
    /// Adds the version of an archive, under the task's next number here: all or nothing. The
    /// same version imported again is the same.
    ///
    /// # Errors
    /// [`codes::ARCHIVE`], [`codes::ARCHIVE_TOO_LARGE`], the store's, or an interruption. Files
    /// stored until then are removed by `gc` after its grace period.
    pub fn import(
        &self,
        archive: &Path,
        limits: &Limits,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<Imported> {
        let refuse = |why: String| refusal(&codes::ARCHIVE, archive, why);
        let file = File::open(archive)
            .map_err(|why| Error::io(&codes::ARCHIVE, "open the archive", archive, &why))?;
        let mut tar = Archive::new(BufReader::new(file));
        // Raw: tar's own extensions (long names, links, sparse files) are never acted upon, and
        // an entry of such a kind is refused below.
        let torn = |why: std::io::Error| refuse(format!("it is torn or no archive: {why}"));
        let mut entries = tar.entries().map_err(torn)?.raw(true);

        let first =
            entries.next().ok_or_else(|| refuse("it is empty".to_owned()))?.map_err(torn)?;
        if first.path_bytes() != MANIFEST.as_bytes() {
            return Err(refuse(format!("it does not begin with {MANIFEST}")));
        }
        if first.size() > limits.manifest {
            let why =
                format!("its manifest has {} bytes, {} are allowed", first.size(), limits.manifest);
            return Err(refusal(&codes::ARCHIVE_TOO_LARGE, archive, why));
        }
        let mut text = Vec::new();
        first.take(limits.manifest).read_to_end(&mut text).map_err(torn)?;
        let manifest = read_manifest(&text, archive, limits)?;

        let files = manifest.content.artefact.0.values();
        let mut missing: BTreeMap<String, (Digest, u64)> =
            files.map(|file| (blob_name(&file.digest), (file.digest, file.bytes))).collect();
        let _held = self.hold_blobs()?;
        progress.start("import", Some(manifest.content.artefact.bytes()), "bytes");
        for entry in entries {
            interrupt.check()?;
            let mut entry = entry.map_err(torn)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type() != EntryType::Regular {
                return Err(refuse(format!("{name:?} is not a plain file")));
            }
            let Some((digest, bytes)) = missing.remove(&name) else {
                return Err(refuse(format!("{name:?} is not in its manifest, or comes twice")));
            };
            if entry.size() != bytes {
                let why = format!("{name:?} has {} bytes, its manifest says {bytes}", entry.size());
                return Err(refuse(why));
            }
            let (found, read) = self.blobs.put(&mut entry)?;
            if read != bytes {
                return Err(refuse(format!("it ends in the middle of {name:?}")));
            }
            if found != digest {
                return Err(refuse(format!("{name:?} does not match its digest")));
            }
            progress.advance(bytes);
        }
        progress.finish();
        if let Some(name) = missing.keys().next() {
            return Err(refuse(format!("it ends before {name:?}; {} are missing", missing.len())));
        }
        let Manifest { parent, who, note, origin, content, .. } = manifest;
        self.add(content, Envelope { parent, who, note, origin: Some(origin) })
    }
}

fn refusal(code: &'static Code, archive: &Path, why: String) -> Error {
    Error::new(code, "the archive was refused").file(archive).why(why)
}

fn read_manifest(text: &[u8], archive: &Path, limits: &Limits) -> Result<Manifest> {
    let refuse = |why: String| refusal(&codes::ARCHIVE, archive, why);
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|why| refuse(format!("its manifest: {why}")))?;
    if value["kind"] != KIND || value["format"] != FORMAT {
        return Err(refuse(format!(
            "it is of kind {} in format {}; this program reads {KIND} in format {FORMAT}",
            value["kind"], value["format"]
        )));
    }
    let manifest: Manifest =
        serde_json::from_value(value).map_err(|why| refuse(format!("its manifest: {why}")))?;
    let content = &manifest.content;
    if content.digest() != manifest.digest {
        return Err(refuse("its manifest does not match the version's digest".to_owned()));
    }
    names::task(&content.task).map_err(|why| refuse(why.what().to_owned()))?;
    if let Some(fault) = content.artefact.fault() {
        return Err(refuse(fault));
    }
    let (files, bytes) = (content.artefact.0.len(), content.artefact.bytes());
    if files > limits.files || bytes > limits.bytes {
        let why = format!(
            "it holds {files} files with {bytes} bytes; {} files with {} bytes are allowed",
            limits.files, limits.bytes
        );
        return Err(refusal(&codes::ARCHIVE_TOO_LARGE, archive, why));
    }
    Ok(manifest)
}
