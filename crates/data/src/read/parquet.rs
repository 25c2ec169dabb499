//! Apache Parquet, row by row.

use super::Sink;
use super::columns::Columns;
use crate::codes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use sprat_task::{Error, Result};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) fn read(file: File, sink: &mut Sink<'_>) -> Result<()> {
    // The decoder asserts where a damaged file surprises it; that must be an error like any other.
    match catch_unwind(AssertUnwindSafe(|| rows(file, sink))) {
        Ok(done) => done,
        Err(_) => Err(sink.error(&codes::FORMAT, "the Parquet file is damaged")),
    }
}

fn rows(file: File, sink: &mut Sink<'_>) -> Result<()> {
    let path = sink.path.clone();
    let failed = |why: ParquetError| {
        let error = Error::new(&codes::FORMAT, "the file could not be read as Parquet");
        error.file(&path).why(why.to_string())
    };
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema();
    let names = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let columns = Columns::resolve(names, 1, sink)?;
    for row in reader.get_row_iter(None).map_err(failed)? {
        let line = sink.examples.len() as u64 + 1;
        let cells = cells(&row.map_err(failed)?, line, sink)?;
        for (name, cell) in columns.names.iter().zip(&cells) {
            sink.fits(cell.as_ref().map_or(0, String::len), line, name)?;
        }
        let cell = |at: usize| cells.get(at).and_then(Option::as_deref);
        sink.push(columns.example(line, cell))?;
    }
    Ok(())
}

fn cells(row: &Row, line: u64, sink: &Sink<'_>) -> Result<Vec<Option<String>>> {
    let cell = |(name, field): (&String, &Field)| match field {
        Field::Null => Ok(None),
        Field::Str(text) => Ok(Some(text.clone())),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(why) => {
                let error = sink.error(&codes::ENCODING, "a cell is not UTF-8").line(line);
                Err(error.byte(why.valid_up_to() as u64).field(name))
            }
        },
        other => Ok(Some(other.to_string())),
    };
    row.get_column_iter().map(cell).collect()
}
