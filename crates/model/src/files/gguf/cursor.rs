//! Reading a header from its beginning to its end, never beyond.

use super::HEADER_LIMIT;
use crate::codes;
use sprat_task::{Error, Result};

/// The bytes of a header and how far they have been read.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether the file goes on after `bytes`, which then end at the limit.
    cut: bool,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a file.
    pub(super) fn new(file: &'a [u8]) -> Self {
        let length = file.len().min(HEADER_LIMIT);
        Cursor { bytes: &file[..length], at: 0, cut: length < file.len() }
    }

    /// How many bytes have been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// An error at this place.
    pub(super) fn damaged(&self, why: impl Into<String>) -> Error {
        Error::new(&codes::GGUF, "damaged GGUF file").byte(self.at as u64).why(why)
    }

    /// The next bytes.
    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| left.get(..length)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None if self.cut => Err(self.damaged(format!(
                "{what} takes {length} bytes, which goes beyond the {HEADER_LIMIT} bytes that a \
                 header may have"
            ))),
            None => Err(self
                .damaged(format!("{what} takes {length} bytes, but only {} follow", left.len()))),
        }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    /// A 32-bit number.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A 64-bit number.
    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// How many things follow that take at least `least` bytes each: no more than `limit`, and no
    /// more than fit. The result may be allocated for.
    pub(super) fn count(&mut self, least: usize, limit: u64, what: &str) -> Result<usize> {
        let begun = self.at;
        let count = self.u64(what)?;
        let fits = (self.bytes.len() - self.at) / least.max(1);
        let wrong = if count > limit {
            format!("{what} is {count}; at most {limit} are allowed")
        } else if let Some(count) = usize::try_from(count).ok().filter(|count| *count <= fits) {
            return Ok(count);
        } else {
            format!("{what} is {count}, more than fit into the rest of the file")
        };
        self.at = begun;
        Err(self.damaged(wrong))
    }

    /// A text of at most `limit` bytes with its length before it.
    pub(super) fn text(&mut self, limit: usize, what: &str) -> Result<&'a str> {
        let begun = self.at;
        let length = self.u64(what)?;
        if length > limit as u64 {
            self.at = begun;
            let why = format!("{what} has {length} bytes; at most {limit} are allowed");
            return Err(self.damaged(why));
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|why| {
            self.at = begun;
            self.damaged(format!("{what} is not UTF-8: {why}"))
        })
    }
}
