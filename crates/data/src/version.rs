//! Writing datasets: rows as JSON Lines, folders that are whole or absent.

use crate::codes;
use crate::example::{Dataset, Example};
use crate::read::{Format, ReadOptions};
use serde_json::{Map, Value};
use sprat_task::{Error, Result, write};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes rows as JSON Lines with the columns `text`, `label`, `group` and the extra ones, which
/// [`read_rows`] reads back to the same digest.
///
/// # Errors
/// [`codes::WRITE`].
pub fn write_rows(path: &Path, rows: &[Example]) -> Result<()> {
    let written = write::atomically(path, |file| {
        for row in rows {
            serde_json::to_writer(&mut *file, &object(row))?;
            file.write_all(b"\n")?;
        }
        Ok(())
    });
    written.map_err(|why| failed(path, &why))
}

/// Reads a file of [`write_rows`]; a file without rows is an empty dataset.
///
/// # Errors
/// As [`crate::read`].
pub fn read_rows(path: &Path) -> Result<Dataset> {
    if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Ok(Dataset::new(Vec::new(), path));
    }
    let options = ReadOptions {
        format: Some(Format::Jsonl),
        text: TEXT.into(),
        label: Some(LABEL.into()),
        group: Some(GROUP.into()),
        max_cell_bytes: usize::MAX,
        max_record_bytes: usize::MAX,
        ..ReadOptions::default()
    };
    let data = crate::read(path, &options)?;
    if !data.examples.iter().any(|row| row.extra.keys().any(|name| reserved(name))) {
        return Ok(data);
    }
    let mut examples = data.examples;
    for row in &mut examples {
        let plain = |name: String| match name.strip_suffix('_') {
            Some(plain) if reserved(&name) => plain.to_owned(),
            _ => name,
        };
        let extra = std::mem::take(&mut row.extra);
        row.extra = extra.into_iter().map(|(name, cell)| (plain(name), cell)).collect();
    }
    Ok(Dataset::new(examples, path))
}

/// Whether an extra column's name is one of ours, or one of ours made different by underscores.
fn reserved(name: &str) -> bool {
    [TEXT, LABEL, GROUP].contains(&name.trim_end_matches('_'))
}

const TEXT: &str = "text";
const LABEL: &str = "label";
const GROUP: &str = "group";

fn object(row: &Example) -> Map<String, Value> {
    let value = |cell: &Option<String>| cell.clone().map_or(Value::Null, Value::String);
    let mut object = Map::new();
    object.insert(TEXT.into(), row.text.clone().into());
    object.insert(LABEL.into(), value(&row.label));
    object.insert(GROUP.into(), value(&row.group));
    for (name, cell) in &row.extra {
        // An extra column may bear one of our names when the settings name other columns.
        let name = if reserved(name) { format!("{name}_") } else { name.clone() };
        object.insert(name, cell.clone().into());
    }
    object
}

/// Makes a folder under a temporary name, lets `fill` write into it, and renames it into place.
///
/// # Errors
/// [`codes::EXISTS`] when the folder is there already, [`codes::WRITE`], or what `fill` says.
pub(crate) fn new_folder(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.exists() {
        return Err(Error::new(&codes::EXISTS, "the folder exists already").file(folder));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let made = (|| {
        fs::create_dir_all(&temporary).map_err(|why| failed(&temporary, &why))?;
        fill(&temporary)?;
        fs::rename(&temporary, folder).map_err(|why| failed(folder, &why))?;
        match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => fs::File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(|why| failed(parent, &why)),
            None => Ok(()),
        }
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    made
}

pub(crate) fn failed(path: &Path, why: &io::Error) -> Error {
    Error::io(&codes::WRITE, "write the file", path, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_to_the_same_digest_whatever_their_columns_are_called() {
        let names = ["text", "text_", "label", "group__", "lang"];
        let extra = names.map(|name| (name.to_owned(), format!("cell of {name}"))).into();
        let text = "a \"b\"\n\u{1}c".to_owned();
        let row = Example { text, label: Some("x".into()), extra, ..Example::default() };
        let data = Dataset::new(vec![row, Example::default()], "here");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_rows(&path, &data.examples).unwrap();
        assert_eq!(read_rows(&path).unwrap().digest, data.digest);
        write_rows(&path, &[]).unwrap();
        assert!(read_rows(&path).unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_could_not_be_filled_is_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v1");
        let full = |inside: &Path| {
            write_rows(&inside.join("a"), &[])?;
            Err(Error::new(&codes::WRITE, "no space"))
        };
        assert!(new_folder(&path, full).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
