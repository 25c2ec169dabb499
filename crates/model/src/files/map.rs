//! Opening a weights file as memory.

use crate::codes;
use memmap2::Mmap;
use sprat_task::{Error, Result};
use std::fs::File;
use std::path::Path;

/// Maps a weights file.
///
/// # Errors
/// `SPRAT-MODEL-MISSING-FILE` when it is not there, `SPRAT-MODEL-READ` when it cannot be opened or
/// is no file.
pub(super) fn map_file(path: &Path) -> Result<Mmap> {
    let read = |why: std::io::Error| match why.kind() {
        std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Error::new(&codes::MISSING_FILE, format!("`{name}` is missing")).file(path)
        }
        _ => Error::io(&codes::READ, "open the weights", path, &why),
    };
    let file = File::open(path).map_err(read)?;
    if !file.metadata().map_err(read)?.is_file() {
        return Err(Error::new(&codes::READ, "the weights are not a file").file(path));
    }
    // SAFETY: a map is undefined behaviour only if another process changes the file in
    // place meanwhile. Model files are written whole and renamed into place, never changed.
    unsafe { Mmap::map(&file) }.map_err(read)
}
