//! The column names of a file, without its rows.

use super::Format;
use crate::codes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value};
use sprat_task::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The longest header or first record that is looked at, in bytes.
const LONGEST: u64 = 1 << 20;

/// The names of a file's columns: its header, or the keys of its first record.
///
/// # Errors
/// [`codes::OPEN`], [`codes::FORMAT`], [`codes::ENCODING`], [`codes::EMPTY`].
pub fn read_columns(path: &Path) -> Result<Vec<String>> {
    let format = Format::of_path(path)?;
    let file = File::open(path)
        .map_err(|why| Error::io(&codes::OPEN, "open the data file", path, &why))?;
    let names = match format {
        Format::Csv => header(file, b',', path)?,
        Format::Tsv => header(file, b'\t', path)?,
        Format::Json | Format::Jsonl | Format::Chat => keys(file, path)?,
        Format::Parquet => {
            let reader = SerializedFileReader::new(file).map_err(|why| unreadable(path, &why))?;
            let schema = reader.metadata().file_metadata().schema();
            schema.get_fields().iter().map(|field| field.name().to_owned()).collect()
        }
    };
    if names.is_empty() {
        return Err(Error::new(&codes::EMPTY, "the file names no columns").file(path));
    }
    Ok(names)
}

fn unreadable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(&codes::FORMAT, "the beginning of the file could not be read")
        .file(path)
        .why(why.to_string())
}

fn header(file: File, delimiter: u8, path: &Path) -> Result<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(file.take(LONGEST));
    let names = reader.byte_headers().map_err(|why| unreadable(path, &why))?;
    names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let name =
                if at == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
            String::from_utf8(name.to_vec()).map_err(|_| {
                Error::new(&codes::ENCODING, "the header is not UTF-8").file(path).line(1)
            })
        })
        .collect()
}

fn keys(file: File, path: &Path) -> Result<Vec<String>> {
    let mut reader = BufReader::new(file.take(LONGEST));
    // An array's bracket, and white space before the first object.
    loop {
        let bytes = reader.fill_buf().map_err(|why| unreadable(path, &why))?;
        match bytes.first() {
            None => return Ok(Vec::new()),
            Some(b'{') => break,
            Some(_) => reader.consume(1),
        }
    }
    let mut objects =
        serde_json::Deserializer::from_reader(reader).into_iter::<Map<String, Value>>();
    match objects.next() {
        Some(Ok(object)) => Ok(object.into_iter().map(|(key, _)| key).collect()),
        Some(Err(why)) => Err(unreadable(path, &why)),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_header_or_the_first_record() {
        let folder = tempfile::tempdir().unwrap();
        let columns = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            read_columns(&path)
        };
        assert_eq!(columns("a.csv", "\u{feff}text,\"la,bel\"\nx,y\n").unwrap(), ["text", "la,bel"]);
        assert_eq!(columns("a.tsv", "text\tlabel\n").unwrap(), ["text", "label"]);
        assert_eq!(columns("a.jsonl", "{\"b\": 1, \"a\": 2}\n{}").unwrap(), ["b", "a"]);
        assert_eq!(columns("a.json", " [ {\"b\": 1} ]").unwrap(), ["b"]);
        assert_eq!(columns("b.jsonl", "nothing").unwrap_err().code(), &codes::EMPTY);
        assert_eq!(columns("a.xls", "x").unwrap_err().code(), &codes::FORMAT);
    }
}
