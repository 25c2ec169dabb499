//! Files that are either whole or absent.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file under a temporary name in the same folder, syncs it, and renames it into place:
/// whoever looks sees the old content or the whole new one, also after a crash. Missing parent
/// folders are made.
///
/// # Errors
/// What `fill` or the file system says; the temporary file is then removed.
pub fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut writer = BufWriter::new(File::create(&temporary)?);
        fill(&mut writer)?;
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself lasts only once the folder is on disk.
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// [`atomically`] for bytes that are already there.
///
/// # Errors
/// What the file system says.
pub fn bytes(path: &Path, content: &[u8]) -> io::Result<()> {
    atomically(path, |file| file.write_all(content))
}
