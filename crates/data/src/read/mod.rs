//! Readers: a file of any supported format becomes a [`Dataset`]. Files are streamed; only the
//! kept cells stay in memory.

mod chat;
mod columns;
mod delimited;
mod json;
mod names;
mod parquet;
mod utf8;

pub use names::read_columns;

use crate::codes;
use crate::example::{Dataset, Example};
use serde::{Deserialize, Serialize};
use sprat_task::{Error, Interrupt, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// How a file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// Tab-separated values with a header, quoted as CSV is.
    Tsv,
    /// One array of objects.
    Json,
    /// One object a line; lines with `messages` are read as chat fine-tuning records.
    Jsonl,
    /// OpenAI chat fine-tuning records, one `{"messages": [...]}` a line.
    Chat,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that a file name's extension stands for.
    ///
    /// # Errors
    /// [`codes::FORMAT`] when the extension is missing or unknown.
    pub fn of_path(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Ok(match extension.as_str() {
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "json" => Format::Json,
            "jsonl" | "ndjson" => Format::Jsonl,
            "parquet" | "pq" => Format::Parquet,
            _ => {
                let what = format!("the extension `{extension}` names no known data format");
                return Err(Error::new(&codes::FORMAT, what).file(path));
            }
        })
    }
}

/// How a file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// The layout; by default the file's extension decides.
    pub format: Option<Format>,
    /// The column with the input.
    pub text: String,
    /// The column with the target; none for unlabelled data.
    pub label: Option<String>,
    /// The column whose values must stay together in a split.
    pub group: Option<String>,
    /// The other columns to keep; by default all.
    pub extra: Option<Vec<String>>,
    /// Largest cell, in bytes.
    pub max_cell_bytes: usize,
    /// Largest JSON record, in bytes.
    pub max_record_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            text: "text".into(),
            label: Some("label".into()),
            group: None,
            extra: None,
            max_cell_bytes: 1 << 20,
            max_record_bytes: 16 << 20,
        }
    }
}

/// What every reader needs to know, and where its examples go.
pub(crate) struct Sink<'a> {
    path: PathBuf,
    options: &'a ReadOptions,
    interrupt: &'a Interrupt,
    examples: Vec<Example>,
}

impl Sink<'_> {
    fn error(&self, code: &'static sprat_task::Code, what: impl Into<String>) -> Error {
        Error::new(code, what).file(&self.path)
    }

    /// # Errors
    /// [`codes::TOO_LARGE`] when the cell is over the limit.
    fn fits(&self, bytes: usize, line: u64, column: &str) -> Result<()> {
        let limit = self.options.max_cell_bytes;
        if bytes <= limit {
            return Ok(());
        }
        let what = format!("a cell is larger than {limit} bytes");
        Err(self.error(&codes::TOO_LARGE, what).line(line).field(column).help(
            "Look for a torn quote or a wrong delimiter; if the size is meant, raise \
             `max_cell_bytes`.",
        ))
    }

    /// Keeps an example; gives it its row number.
    fn push(&mut self, mut example: Example) -> Result<()> {
        if self.examples.len().is_multiple_of(4096) {
            self.interrupt.check()?;
        }
        example.row = self.examples.len() as u64 + 1;
        self.examples.push(example);
        Ok(())
    }
}

/// Reads a data file.
///
/// # Errors
/// [`codes::OPEN`], [`codes::FORMAT`], [`codes::ENCODING`], [`codes::QUOTE`], [`codes::RAGGED`],
/// [`codes::COLUMN`], [`codes::HEADER`], [`codes::TOO_LARGE`], [`codes::RECORD`],
/// [`codes::EMPTY`], each with the line.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Dataset> {
    read_interruptibly(path, options, &Interrupt::default())
}

/// [`read`], which stops when somebody asks.
///
/// # Errors
/// As [`read`], or [`sprat_task::INTERRUPTED`].
pub fn read_interruptibly(
    path: &Path,
    options: &ReadOptions,
    interrupt: &Interrupt,
) -> Result<Dataset> {
    let format = match options.format {
        Some(format) => format,
        None => Format::of_path(path)?,
    };
    let failed = |why: std::io::Error| Error::io(&codes::OPEN, "open the data file", path, &why);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() == 0 {
        return Err(Error::new(&codes::EMPTY, "the file is empty").file(path));
    }
    let mut sink = Sink { path: path.to_path_buf(), options, interrupt, examples: Vec::new() };
    match format {
        Format::Csv => delimited::read(file, b',', &mut sink)?,
        Format::Tsv => delimited::read(file, b'\t', &mut sink)?,
        Format::Json => json::read(file, json::Layout::Array, &mut sink)?,
        Format::Jsonl => json::read(file, json::Layout::Lines, &mut sink)?,
        Format::Chat => json::read(file, json::Layout::Chat, &mut sink)?,
        Format::Parquet => parquet::read(file, &mut sink)?,
    }
    if sink.examples.is_empty() {
        return Err(Error::new(&codes::EMPTY, "the file holds no rows").file(path));
    }
    let mut examples = sink.examples;
    examples.shrink_to_fit();
    Ok(Dataset::new(examples, path))
}

#[cfg(test)]
mod tests;
