//! Writing safetensors files: sorted, aligned, whole or absent, the same bytes every time.

use crate::codes;
use half::bf16;
use sprat_task::{Error, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// The values of a tensor to write, in the format they are written in.
#[derive(Debug)]
pub enum TensorData<'a> {
    /// Written as F32.
    F32(Cow<'a, [f32]>),
    /// Rounded to the nearest BF16 (ties to even).
    Bf16(Cow<'a, [f32]>),
    /// Written as I8.
    I8(Cow<'a, [i8]>),
}

impl TensorData<'_> {
    fn dtype(&self) -> &'static str {
        match self {
            TensorData::F32(_) => "F32",
            TensorData::Bf16(_) => "BF16",
            TensorData::I8(_) => "I8",
        }
    }

    fn len(&self) -> usize {
        match self {
            TensorData::F32(values) | TensorData::Bf16(values) => values.len(),
            TensorData::I8(values) => values.len(),
        }
    }

    fn size(&self) -> usize {
        self.len()
            * match self {
                TensorData::F32(_) => 4,
                TensorData::Bf16(_) => 2,
                TensorData::I8(_) => 1,
            }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        // In pieces, so that a large table is not copied as a whole.
        const PIECE: usize = 1 << 16;
        match self {
            TensorData::F32(values) => values.chunks(PIECE).try_for_each(|piece| {
                out.write_all(&piece.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            }),
            TensorData::Bf16(values) => values.chunks(PIECE).try_for_each(|piece| {
                let bytes = piece.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes());
                out.write_all(&bytes.collect::<Vec<u8>>())
            }),
            TensorData::I8(values) => values.chunks(PIECE).try_for_each(|piece| {
                out.write_all(&piece.iter().map(|v| v.cast_unsigned()).collect::<Vec<u8>>())
            }),
        }
    }
}

/// Collects tensors and writes them as one file.
#[derive(Debug, Default)]
pub struct TensorWriter<'a> {
    tensors: BTreeMap<String, (Vec<usize>, TensorData<'a>)>,
    notes: BTreeMap<String, String>,
}

impl<'a> TensorWriter<'a> {
    /// An empty file. It is marked with `format: pt`, which the tools of Hugging Face expect.
    pub fn new() -> Self {
        let notes = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        TensorWriter { tensors: BTreeMap::new(), notes }
    }

    /// Adds a free-form text entry to the header.
    pub fn note(&mut self, key: &str, value: &str) {
        self.notes.insert(key.to_owned(), value.to_owned());
    }

    /// Adds a tensor; a later one replaces an earlier one of the same name.
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE` when shape and number of values disagree.
    pub fn add(&mut self, name: &str, shape: &[usize], data: TensorData<'a>) -> Result<()> {
        if shape.iter().product::<usize>() != data.len() {
            let what = format!("tensor `{name}` of shape {shape:?} has {} values", data.len());
            return Err(Error::new(&codes::SHAPE, what));
        }
        self.tensors.insert(name.to_owned(), (shape.to_vec(), data));
        Ok(())
    }

    /// Writes the file, whole or not at all. Gives its size in bytes.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`.
    pub fn write(&self, path: &Path) -> Result<u64> {
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), serde_json::json!(self.notes));
        let mut at = 0;
        // The widest format first keeps every tensor aligned to its own width.
        let mut order: Vec<_> = self.tensors.iter().collect();
        order.sort_by_key(|(name, (_, data))| (std::cmp::Reverse(width(data)), *name));
        for (name, (shape, data)) in &order {
            let to = at + data.size();
            let entry = serde_json::json!({"dtype": data.dtype(), "shape": shape, "data_offsets": [at, to]});
            header.insert((*name).clone(), entry);
            at = to;
        }
        let mut header = serde_json::Value::Object(header).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        sprat_task::write::atomically(path, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(header.as_bytes())?;
            order.iter().try_for_each(|(_, (_, data))| data.write(out))
        })
        .map_err(|why| Error::io(&codes::WRITE, "write the weights", path, &why))?;
        Ok((8 + header.len() + at) as u64)
    }
}

fn width(data: &TensorData<'_>) -> usize {
    match data {
        TensorData::F32(_) => 4,
        TensorData::Bf16(_) => 2,
        TensorData::I8(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Weights;

    #[test]
    fn what_is_written_is_read_back_in_every_format() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut writer = TensorWriter::new();
        writer.note("sprat", "1");
        writer.add("b", &[3], TensorData::I8(vec![-128, 0, 127].into())).unwrap();
        writer.add("a", &[1, 2], TensorData::F32(vec![1.5, -0.1].into())).unwrap();
        writer.add("c", &[2], TensorData::Bf16(vec![1.0, 3.140_625].into())).unwrap();
        let size = writer.write(&path).unwrap();
        assert_eq!(size, std::fs::metadata(&path).unwrap().len());

        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.names(), ["a", "b", "c"]);
        assert_eq!(weights.note("sprat"), Some("1"));
        assert_eq!(weights.tensor("a").unwrap().f32(&[1, 2]).unwrap(), [1.5, -0.1]);
        assert_eq!(weights.tensor("b").unwrap().i8(&[3]).unwrap(), [-128, 0, 127]);
        assert_eq!(weights.tensor("c").unwrap().f32(&[2]).unwrap(), [1.0, 3.140_625]);
    }

    #[test]
    fn wrong_expectations_name_the_tensor_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut writer = TensorWriter::new();
        assert!(writer.add("x", &[3], TensorData::F32(vec![1.0].into())).is_err());
        writer.add("bytes", &[1], TensorData::I8(vec![1].into())).unwrap();
        writer.add("nan", &[1], TensorData::F32(vec![f32::NAN].into())).unwrap();
        writer.write(&path).unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        for (error, code) in [
            (weights.tensor("none").unwrap_err(), "SPRAT-MODEL-MISSING-TENSOR"),
            (weights.tensor("bytes").unwrap().f32(&[1]).unwrap_err(), "SPRAT-MODEL-DTYPE"),
            (weights.tensor("nan").unwrap().i8(&[1]).unwrap_err(), "SPRAT-MODEL-DTYPE"),
            (weights.tensor("nan").unwrap().f32(&[2]).unwrap_err(), "SPRAT-MODEL-SHAPE"),
            (weights.tensor("nan").unwrap().f32(&[1]).unwrap_err(), "SPRAT-MODEL-VALUES"),
        ] {
            assert_eq!(error.code().id, code);
            assert!(error.to_string().contains("model.safetensors"), "{error}");
            assert!(error.to_string().contains('`'), "{error}");
        }
    }

    #[test]
    fn shards_are_found_through_their_index_and_may_not_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (shard, tensor, value) in [("a.safetensors", "x", 1.0), ("b.safetensors", "y", 2.0)] {
            let mut writer = TensorWriter::new();
            writer.add(tensor, &[1], TensorData::F32(vec![value].into())).unwrap();
            writer.write(&folder.path().join(shard)).unwrap();
        }
        let index = folder.path().join("model.safetensors.index.json");
        let good = r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#;
        std::fs::write(&index, good).unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.tensor("y").unwrap().f32(&[1]).unwrap(), [2.0]);
        std::fs::write(&index, r#"{"weight_map": {"x": "../secret.safetensors"}}"#).unwrap();
        assert_eq!(Weights::open(folder.path()).unwrap_err().code().id, "SPRAT-MODEL-CONFIG");
    }
}
