//! Writing a version as an archive.

use super::{FORMAT, KIND, MANIFEST, Manifest, blob_name};
use crate::{Origin, Registry, Version, codes};
use sprat_task::{Digest, Error, Interrupt, Progress, Result};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tar::{EntryType, Header};

/// The unit in which tar pads.
const BLOCK: u64 = 512;

impl Registry {
    /// Writes a version with all its files into one archive; gives its size in bytes. The file is
    /// whole or absent.
    ///
    /// # Errors
    /// [`codes::EXPORT`], the store's for missing or damaged blobs, or an interruption.
    pub fn export(
        &self,
        version: &Version,
        to: &Path,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<u64> {
        let manifest = Manifest {
            kind: KIND.to_owned(),
            format: FORMAT,
            digest: version.digest,
            parent: version.parent,
            who: version.who.clone(),
            note: version.note.clone(),
            origin: Origin { number: version.number, created: version.created },
            content: version.content.clone(),
        };
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other);
        // The writer below can only fail with an I/O error; ours is kept here meanwhile.
        let mut failed = None;
        let mut size = 0;
        let written = sprat_task::write::atomically(to, |file| {
            let mut out = Counting { to: file, bytes: 0 };
            entry(&mut out, MANIFEST, &manifest?)?;
            let files = version.content.artefact.0.values();
            let blobs: BTreeMap<Digest, u64> =
                files.map(|file| (file.digest, file.bytes)).collect();
            progress.start("export", Some(version.content.artefact.bytes()), "bytes");
            for (digest, bytes) in blobs {
                let copied = interrupt.check().and_then(|()| {
                    header(&mut out, &blob_name(&digest), bytes)
                        .map_err(|why| Error::io(&codes::EXPORT, "write the archive", to, &why))?;
                    self.blobs.copy(&digest, &mut out)
                });
                match copied {
                    Ok(copied) if copied == bytes => pad(&mut out, bytes)?,
                    Ok(_) => return Err(io::Error::other("a blob has another size than its file")),
                    Err(why) => {
                        failed = Some(why);
                        return Err(io::Error::other("stopped"));
                    }
                }
                progress.advance(bytes);
            }
            out.write_all(&[0; 2 * BLOCK as usize])?;
            size = out.bytes;
            Ok(())
        });
        progress.finish();
        match (failed, written) {
            (Some(why), _) => Err(why),
            (None, Err(why)) => Err(Error::io(&codes::EXPORT, "write the archive", to, &why)),
            (None, Ok(())) => Ok(size),
        }
    }
}

/// Counts what passes.
struct Counting<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn header(out: &mut impl Write, name: &str, bytes: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn pad(out: &mut impl Write, bytes: u64) -> io::Result<()> {
    let rest = (BLOCK - bytes % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..rest as usize])
}

pub(super) fn entry(out: &mut impl Write, name: &str, content: &[u8]) -> io::Result<()> {
    header(out, name, content.len() as u64)?;
    out.write_all(content)?;
    pad(out, content.len() as u64)
}
