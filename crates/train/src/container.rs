//! The file format of checkpoints: a JSON header, named arrays of 32-bit floats, and a digest
//! over everything, so that a torn or altered file is never taken for a whole one.
//!
//! Layout: `SPRATCKP`, format version (u32), header length in bytes (u64), the header, all arrays
//! one after the other, the SHA-256 of everything before it. All numbers are little-endian.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"SPRATCKP";
/// The version this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// A header beyond this is not one of ours.
const MAX_HEADER: u64 = 256 << 20;
/// Floats converted at a time.
const CHUNK: usize = 1 << 16;

/// A named array of floats that is written from where it lies.
pub(crate) struct Array<'a> {
    pub(crate) name: String,
    pub(crate) values: &'a [f32],
}

#[derive(Serialize, Deserialize)]
struct Header {
    content: serde_json::Value,
    arrays: Vec<(String, u64)>,
}

/// What a container holds once it is read.
#[derive(Debug)]
pub(crate) struct Content {
    /// The JSON part.
    pub(crate) header: serde_json::Value,
    /// The arrays in the order in which they were written.
    pub(crate) arrays: Vec<(String, Vec<f32>)>,
}

/// Why a file can't be read as a container.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// There is no such file.
    Missing,
    /// It was written by a newer program; the version it has.
    Newer(u32),
    /// It is not whole, and how that shows.
    Damaged(String),
}

/// Writes the file atomically: it is there whole, or not at all.
pub(crate) fn write(
    path: &Path,
    header: &serde_json::Value,
    arrays: &[Array<'_>],
) -> io::Result<()> {
    let sizes = arrays.iter().map(|array| (array.name.clone(), array.values.len() as u64));
    let header = Header { content: header.clone(), arrays: sizes.collect() };
    let header = serde_json::to_vec(&header)?;
    sprat_task::write::atomically(path, |file| {
        let mut hasher = Sha256::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            file.write_all(bytes)
        };
        put(MAGIC)?;
        put(&VERSION.to_le_bytes())?;
        put(&(header.len() as u64).to_le_bytes())?;
        put(&header)?;
        let mut bytes = Vec::with_capacity(CHUNK * 4);
        for chunk in arrays.iter().flat_map(|array| array.values.chunks(CHUNK)) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            put(&bytes)?;
        }
        let digest = hasher.finalize();
        file.write_all(&digest)
    })
}

/// Reads the JSON part alone, without proof that the file is whole.
pub(crate) fn read_header(path: &Path) -> Result<serde_json::Value, Unreadable> {
    open(path).map(|opened| opened.header.content)
}

/// A file whose header is read, and whose arrays come next.
struct Opened {
    reader: Hashing<BufReader<File>>,
    header: Header,
}

fn open(path: &Path) -> Result<Opened, Unreadable> {
    let damaged = |why: &str| Unreadable::Damaged(why.to_owned());
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Damaged(error.to_string()),
    })?;
    let size = file.metadata().map_err(|error| damaged(&error.to_string()))?.len();
    let mut reader =
        Hashing { inner: BufReader::with_capacity(1 << 20, file), hasher: Sha256::new() };
    let torn = |_| damaged("it ends too early");

    let mut start = [0; 20];
    reader.read_exact(&mut start).map_err(torn)?;
    let (magic, rest) = start.split_at(8);
    if magic != MAGIC {
        return Err(damaged("it does not start like a checkpoint"));
    }
    let version = little(&rest[..4]) as u32;
    if version != VERSION {
        return Err(Unreadable::Newer(version));
    }
    let length = little(&rest[4..]);
    if length > MAX_HEADER || length > size {
        return Err(damaged("its header is longer than the file"));
    }
    let mut header = vec![0; length as usize];
    reader.read_exact(&mut header).map_err(torn)?;
    let header: Header =
        serde_json::from_slice(&header).map_err(|error| damaged(&error.to_string()))?;

    // The sizes are checked before anything of that size is allocated.
    let floats = header.arrays.iter().try_fold(0u64, |sum, (_, size)| sum.checked_add(*size));
    let whole = floats.and_then(|floats| floats.checked_mul(4)?.checked_add(20 + length + 32));
    if whole != Some(size) {
        return Err(damaged("its size is not what its header says"));
    }
    Ok(Opened { reader, header })
}

/// Reads a file and proves it whole.
pub(crate) fn read(path: &Path) -> Result<Content, Unreadable> {
    let Opened { mut reader, header } = open(path)?;
    let damaged = |why: &str| Unreadable::Damaged(why.to_owned());
    let torn = |_| damaged("it ends too early");
    let mut arrays = Vec::new();
    let mut bytes = vec![0; CHUNK * 4];
    for (name, size) in header.arrays {
        let mut values = Vec::with_capacity(size as usize);
        while values.len() < size as usize {
            let count = CHUNK.min(size as usize - values.len());
            reader.read_exact(&mut bytes[..count * 4]).map_err(torn)?;
            let (floats, _) = bytes[..count * 4].as_chunks::<4>();
            values.extend(floats.iter().map(|float| f32::from_le_bytes(*float)));
        }
        arrays.push((name, values));
    }
    let mut expected = [0; 32];
    reader.inner.read_exact(&mut expected).map_err(torn)?;
    if reader.hasher.finalize()[..] != expected {
        return Err(damaged("its content does not match its digest"));
    }
    Ok(Content { header: header.content, arrays })
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Hashes what passes through.
struct Hashing<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(path: &Path) -> Vec<u8> {
        let values = [1.5, -0.0, f32::MIN_POSITIVE, f32::NAN];
        let arrays = [
            Array { name: "a".into(), values: &values },
            Array { name: "empty".into(), values: &[] },
        ];
        write(path, &serde_json::json!({"step": 7}), &arrays).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        sample(&path);
        let content = read(&path).unwrap();
        assert_eq!(content.header["step"], 7);
        let bits: Vec<u32> = content.arrays[0].1.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits[..3], [1.5f32.to_bits(), (-0.0f32).to_bits(), 0x0080_0000]);
        assert_eq!(content.arrays[1], ("empty".to_owned(), vec![]));
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let mut bytes = sample(&path);
        bytes[8] = 9;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(read(&path), Err(Unreadable::Newer(9))));
        assert!(matches!(read(&folder.path().join("none")), Err(Unreadable::Missing)));
    }

    proptest! {
        #[test]
        fn no_cut_and_no_flipped_bit_goes_unnoticed(at: prop::sample::Index, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c");
            let whole = sample(&path);
            let at = at.index(whole.len());
            std::fs::write(&path, &whole[..at]).unwrap();
            prop_assert!(read(&path).is_err());
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            std::fs::write(&path, &flipped).unwrap();
            prop_assert!(read(&path).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("c");
            let mut content = if magic { b"SPRATCKP\x01\0\0\0".to_vec() } else { Vec::new() };
            content.extend(bytes);
            std::fs::write(&path, &content).unwrap();
            prop_assert!(read(&path).is_err());
        }
    }
}
