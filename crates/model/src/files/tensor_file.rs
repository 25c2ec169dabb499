//! One safetensors file, mapped into memory, its header checked before anything is believed.
//!
//! The format (<https://github.com/huggingface/safetensors>): eight bytes with the header's
//! length (little-endian), a JSON header with name → {dtype, shape, data_offsets}, then the data.

use super::map::map_file;
use crate::codes;
use memmap2::Mmap;
use safetensors::tensor::{Metadata, SafeTensors, TensorInfo};
use sprat_task::{Error, Result};
use std::path::{Path, PathBuf};

/// No header may be longer than this, in bytes; the format's own limit.
pub const HEADER_LIMIT: u64 = 100_000_000;

/// A safetensors file whose header has been checked: every tensor lies inside the file, none
/// overlap, and each has as many bytes as its shape and number format say.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    /// Where the data begins, in bytes from the file's start.
    data: usize,
}

impl TensorFile {
    /// Maps a file and checks its header.
    ///
    /// # Errors
    /// `SPRAT-MODEL-MISSING-FILE`, `SPRAT-MODEL-READ` when it cannot be opened, `SPRAT-MODEL-HEADER` when it is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let (data, metadata) = check_header(&map).map_err(|error| error.file(path))?;
        Ok(TensorFile { path: path.to_path_buf(), map, metadata, data })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names
    }

    /// A tensor's header entry and bytes.
    pub(super) fn find(&self, name: &str) -> Option<(&TensorInfo, &[u8])> {
        let info = self.metadata.info(name)?;
        let (from, to) = info.data_offsets;
        Some((info, self.map.get(self.data + from..self.data + to)?))
    }

    /// The free-form text entries of the header (`__metadata__`).
    pub fn note(&self, key: &str) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(key).map(String::as_str)
    }
}

/// Checks a safetensors header against the whole file it stands in. Gives where the data begins
/// and the parsed header. Never panics and never allocates more than the header's own size.
///
/// # Errors
/// `SPRAT-MODEL-HEADER`, saying what is wrong.
pub fn check_header(file: &[u8]) -> Result<(usize, Metadata)> {
    let damaged = |why: String| Error::new(&codes::HEADER, "damaged safetensors file").why(why);
    let Some(length) = file.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(damaged(format!(
            "the file has {} bytes, fewer than the 8 of the header's length",
            file.len()
        )));
    };
    if length > HEADER_LIMIT {
        return Err(damaged(format!(
            "the header claims {length} bytes; at most {HEADER_LIMIT} are allowed"
        )));
    }
    if length > file.len() as u64 - 8 {
        return Err(damaged(format!(
            "the header claims {length} bytes, but only {} follow",
            file.len() - 8
        )));
    }
    let (length, metadata) =
        SafeTensors::read_metadata(file).map_err(|error| damaged(error.to_string()))?;
    let data = length + 8;
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        if from > to || data.checked_add(to).is_none_or(|end| end > file.len()) {
            return Err(damaged(format!(
                "tensor `{name}` lies at {from}..{to} of {} bytes of data",
                file.len() - data
            )));
        }
    }
    Ok((data, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    }

    fn reason(bytes: &[u8]) -> String {
        let error = check_header(bytes).unwrap_err();
        assert_eq!(error.code().id, "SPRAT-MODEL-HEADER");
        error.to_string()
    }

    #[test]
    fn a_sound_file_is_read() {
        let bytes = file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8]);
        assert_eq!(check_header(&bytes).unwrap().0, bytes.len() - 8);
    }

    #[test]
    fn each_kind_of_damage_has_its_reason() {
        assert!(reason(&[1, 2]).contains("fewer than the 8"));
        assert!(reason(&u64::MAX.to_le_bytes()).contains("at most 100000000"));
        assert!(reason(&[9, 0, 0, 0, 0, 0, 0, 0, b'{']).contains("only 1 follow"));
        assert!(reason(&file("{nonsense", &[])).contains("JSON"));
        let entry = |dtype: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":{offsets}}}}}"#)
        };
        // Cut off, too long, reversed, out of range, with a length that disagrees with the shape,
        // and of an unknown number format.
        for (header, data) in [
            (entry("F32", "[0,8]"), 4),
            (entry("F32", "[0,8]"), 12),
            (entry("F32", "[8,0]"), 8),
            (entry("F32", "[0,18446744073709551615]"), 8),
            (entry("F32", "[0,4]"), 4),
            (entry("X9", "[0,8]"), 8),
        ] {
            reason(&file(&header, &vec![0; data]));
        }
        let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
        reason(&file(huge, &[0; 8]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            header in r#"\{"[a-c]":\{"dtype":"(F32|I8|BF16)","shape":\[[0-9]{0,20}\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\}\}"#,
            tail in 0usize..64,
        ) {
            let _ = check_header(&bytes);
            let _ = check_header(&file(&header, &vec![0; tail]));
        }
    }
}
