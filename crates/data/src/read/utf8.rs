//! A stream of text: bytes are checked as they arrive, whatever chunk they come in.

use crate::codes;
use sprat_task::{Error, Result};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads a file as checked UTF-8 text, in chunks; a byte order mark at the start is dropped.
pub(super) struct TextChunks<R> {
    reader: R,
    path: PathBuf,
    buffer: Vec<u8>,
    /// End of the text given out last; what follows is the start of a torn character.
    given: usize,
    filled: usize,
    /// Byte offset in the file of `buffer[0]`.
    offset: u64,
    /// Line of `buffer[0]`, from 1.
    line: u64,
}

impl<R: Read> TextChunks<R> {
    pub(super) fn new(reader: R, path: &Path) -> Self {
        let buffer = vec![0; 1 << 16];
        let path = path.to_path_buf();
        TextChunks { reader, path, buffer, given: 0, filled: 0, offset: 0, line: 1 }
    }

    /// The next piece of text, or none at the end.
    ///
    /// # Errors
    /// [`codes::ENCODING`] with line and byte, [`codes::OPEN`] when reading fails.
    pub(super) fn next(&mut self) -> Result<Option<&str>> {
        self.line += self.buffer[..self.given].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset += self.given as u64;
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        loop {
            let read = self.reader.read(&mut self.buffer[self.filled..]);
            let read = match read {
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other.map_err(|why| {
                    Error::io(&codes::OPEN, "read the data file", &self.path, &why)
                })?,
            };
            if read == 0 {
                return if self.filled == 0 { Ok(None) } else { Err(self.not_utf8(0)) };
            }
            self.filled += read;
            // The first chunk must be long enough to see a byte order mark.
            if self.offset == 0
                && self.filled < 3
                && self.buffer[..self.filled].starts_with(b"\xEF")
            {
                continue;
            }
            let valid = match std::str::from_utf8(&self.buffer[..self.filled]) {
                Ok(_) => self.filled,
                Err(why) if why.error_len().is_some() => {
                    return Err(self.not_utf8(why.valid_up_to()));
                }
                Err(why) => why.valid_up_to(),
            };
            if valid == 0 {
                continue;
            }
            self.given = valid;
            let text = std::str::from_utf8(&self.buffer[..valid]).unwrap_or_default();
            let first = self.offset == 0;
            return Ok(Some(if first { text.trim_start_matches('\u{feff}') } else { text }));
        }
    }

    fn not_utf8(&self, at: usize) -> Error {
        let before = &self.buffer[..at];
        let newlines = before.iter().filter(|byte| **byte == b'\n').count() as u64;
        let byte = self.buffer[at];
        let utf16 = self.offset == 0 && at == 0 && matches!(byte, 0xFE | 0xFF);
        let why = if utf16 {
            "the file begins with a byte order mark of UTF-16".to_owned()
        } else {
            format!("byte 0x{byte:02X} does not belong to any UTF-8 character here")
        };
        let error = Error::new(&codes::ENCODING, "the file is not UTF-8").file(&self.path);
        error.line(self.line + newlines).byte(self.offset + at as u64).why(why)
    }
}
