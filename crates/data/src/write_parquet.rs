//! Writing Parquet, group of rows by group of rows.

use crate::codes;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use sprat_task::{Error, Result, write};
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;

/// The cells of a column in a group of rows; missing ones are null.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Numbers.
    Number(Vec<Option<f64>>),
    /// Whole numbers.
    Whole(Vec<Option<i64>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
}

/// Writes a Parquet file, whole or not at all. `next` gives the columns' cells for the next rows, in
/// the order of `names` and always of the same kinds, and none at the end; of an empty table it
/// gives one group without rows.
///
/// # Errors
/// [`codes::WRITE`], or what `next` says.
pub fn write_parquet(
    path: &Path,
    names: &[&str],
    mut next: impl FnMut() -> Result<Option<Vec<Cells>>>,
) -> Result<()> {
    let mut failed = None;
    let written = write::atomically(path, |file| {
        fill(file, names, || match next() {
            Ok(group) => Ok(group),
            Err(error) => {
                failed = Some(error);
                Err(ParquetError::General("the rows ended early".into()))
            }
        })
        .map_err(io::Error::other)
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(why)) => Err(Error::io(&codes::WRITE, "write the file", path, &why)),
    }
}

fn fill(
    file: &mut BufWriter<File>,
    names: &[&str],
    mut next: impl FnMut() -> std::result::Result<Option<Vec<Cells>>, ParquetError>,
) -> std::result::Result<(), ParquetError> {
    let Some(first) = next()? else { return Ok(()) };
    let schema = schema(names, &first)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
    let mut group = Some(first);
    while let Some(columns) = group {
        let mut rows = writer.next_row_group()?;
        let mut columns = columns.into_iter();
        while let Some(mut column) = rows.next_column()? {
            macro_rules! put {
                ($kind:ty, $cells:expr) => {{
                    let levels: Vec<i16> = $cells.iter().map(|c| i16::from(c.is_some())).collect();
                    let values: Vec<_> = $cells.into_iter().flatten().collect();
                    column.typed::<$kind>().write_batch(&values, Some(&levels), None)?;
                }};
            }
            match columns.next() {
                Some(Cells::Text(cells)) => {
                    let bytes = |cell: String| ByteArray::from(cell.into_bytes());
                    let cells: Vec<Option<ByteArray>> =
                        cells.into_iter().map(|cell| cell.map(bytes)).collect();
                    put!(ByteArrayType, cells);
                }
                Some(Cells::Number(cells)) => put!(DoubleType, cells),
                Some(Cells::Whole(cells)) => put!(Int64Type, cells),
                Some(Cells::Flag(cells)) => put!(BoolType, cells),
                None => return Err(ParquetError::General("a column is missing".into())),
            }
            column.close()?;
        }
        rows.close()?;
        group = next()?;
    }
    writer.close().map(drop)
}

fn schema(names: &[&str], first: &[Cells]) -> std::result::Result<Arc<Type>, ParquetError> {
    let field = |(name, cells): (&&str, &Cells)| {
        let (physical, logical) = match cells {
            Cells::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Cells::Number(_) => (Physical::DOUBLE, None),
            Cells::Whole(_) => (Physical::INT64, None),
            Cells::Flag(_) => (Physical::BOOLEAN, None),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let fields = names.iter().zip(first).map(field).collect::<std::result::Result<Vec<_>, _>>()?;
    Type::group_type_builder("rows").with_fields(fields).build().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadOptions;

    #[test]
    fn what_is_written_reads_back_with_its_gaps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let text = |cells: &[Option<&str>]| {
            Cells::Text(cells.iter().map(|cell| cell.map(str::to_owned)).collect())
        };
        let mut groups = vec![
            vec![text(&[Some("c ☂")]), text(&[None]), Cells::Number(vec![None])],
            vec![
                text(&[Some("a"), Some("b")]),
                text(&[Some("x"), Some("y")]),
                Cells::Number(vec![Some(0.5), Some(2.0)]),
            ],
        ];
        write_parquet(&path, &["text", "label", "score"], || Ok(groups.pop())).unwrap();
        let data = crate::read(&path, &ReadOptions::default()).unwrap();
        let seen: Vec<_> =
            data.examples.iter().map(|row| (row.text.as_str(), row.label.as_deref())).collect();
        assert_eq!(seen, [("a", Some("x")), ("b", Some("y")), ("c ☂", None)]);
        assert_eq!(data.examples[0].extra["score"], "0.5");
    }

    #[test]
    fn rows_that_end_early_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.parquet");
        let mut first = true;
        let error = write_parquet(&path, &["n"], || {
            if std::mem::take(&mut first) {
                return Ok(Some(vec![Cells::Whole(vec![Some(1)])]));
            }
            Err(Error::new(&codes::WRITE, "as asked"))
        });
        assert_eq!(error.unwrap_err().what(), "as asked");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
