//! Writing GGUF files: in the order of what was added, aligned, whole or absent, the same bytes
//! every time.

use super::header::in_quotes;
use super::value::write_text;
use super::{
    ALIGNMENT, ARRAY_LIMIT, DIMENSION_LIMIT, ENTRY_LIMIT, HEADER_LIMIT, KEY_LIMIT, MAGIC, Metadata,
    NAME_LIMIT, TENSOR_LIMIT, VERSION, Value, formats,
};
use crate::codes;
use sprat_nn::BlockFormat;
use sprat_task::{Error, Result};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;

/// The version of the block formats (`GGML_QNT_VERSION`), which files with quantized tensors must
/// name.
const QUANTIZATION_VERSION: u32 = 2;

/// Collects metadata and tensors and writes them as one file.
#[derive(Debug)]
pub struct GgufWriter<'a> {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Entry<'a>>,
}

/// A tensor to write.
#[derive(Debug)]
struct Entry<'a> {
    name: String,
    /// Rows first.
    shape: Vec<usize>,
    format: BlockFormat,
    /// Bytes, without padding.
    size: usize,
    source: Source<'a>,
    importance: Option<Cow<'a, [f32]>>,
}

type Make<'a> = Box<dyn Fn() -> Result<Vec<f32>> + 'a>;

/// Where a tensor's weights come from.
enum Source<'a> {
    Blocks(Cow<'a, [u8]>),
    Weights(Cow<'a, [f32]>),
    Later(Make<'a>),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Blocks(bytes) => write!(f, "Blocks({} bytes)", bytes.len()),
            Source::Weights(weights) => write!(f, "Weights({})", weights.len()),
            Source::Later(_) => f.write_str("Later"),
        }
    }
}

impl<'a> GgufWriter<'a> {
    /// An empty file of a model of that architecture (`general.architecture`).
    pub fn new(architecture: &str) -> Self {
        let entry = ("general.architecture".to_owned(), architecture.into());
        GgufWriter { metadata: vec![entry], tensors: Vec::new() }
    }

    /// Sets an entry of the metadata; a later value replaces an earlier one in its place.
    ///
    /// `general.alignment` is the writer's own matter: it is not taken over. When a tensor is
    /// quantized and `general.quantization_version` is not set, the writer adds it.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        if key == "general.alignment" {
            return;
        }
        match self.metadata.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Sets every entry of another file's metadata.
    pub fn set_all(&mut self, metadata: &Metadata) {
        metadata.iter().for_each(|(key, value)| self.set(key, value.clone()));
    }

    /// Adds a tensor of `shape` (rows first, columns last) that is stored as `format` while it is
    /// written; `importance`, `[columns]`, is that of [`BlockFormat::quantize`].
    ///
    /// # Errors
    /// `SPRAT-MODEL-SHAPE` when shape and numbers of weights or of importances disagree, or rows
    /// are no whole number of blocks; `SPRAT-MODEL-WRITE` when the name is taken or not allowed.
    pub fn add(
        &mut self,
        name: &str,
        shape: &[usize],
        format: BlockFormat,
        weights: impl Into<Cow<'a, [f32]>>,
        importance: Option<Cow<'a, [f32]>>,
    ) -> Result<()> {
        let weights = weights.into();
        expect_count(name, shape, weights.len())?;
        self.push(name, shape, format, Source::Weights(weights), importance)
    }

    /// [`Self::add`] for weights that are made only when they are written, so that one tensor at a
    /// time is in memory.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_later(
        &mut self,
        name: &str,
        shape: &[usize],
        format: BlockFormat,
        make: impl Fn() -> Result<Vec<f32>> + 'a,
        importance: Option<Cow<'a, [f32]>>,
    ) -> Result<()> {
        self.push(name, shape, format, Source::Later(Box::new(make)), importance)
    }

    /// Adds a tensor whose blocks are there already.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_blocks(
        &mut self,
        name: &str,
        shape: &[usize],
        format: BlockFormat,
        blocks: impl Into<Cow<'a, [u8]>>,
    ) -> Result<()> {
        let blocks = blocks.into();
        let expected = size(name, shape, format)?;
        if blocks.len() != expected {
            return Err(Error::new(
                &codes::SHAPE,
                format!(
                    "tensor {} of shape {shape:?} has {} bytes, expected {expected} of {format}",
                    in_quotes(name),
                    blocks.len()
                ),
            ));
        }
        self.push(name, shape, format, Source::Blocks(blocks), None)
    }

    fn push(
        &mut self,
        name: &str,
        shape: &[usize],
        format: BlockFormat,
        source: Source<'a>,
        importance: Option<Cow<'a, [f32]>>,
    ) -> Result<()> {
        let size = size(name, shape, format)?;
        let columns = shape.last().copied().unwrap_or(1);
        if let Some(importance) = importance.as_ref().filter(|i| i.len() != columns) {
            let (name, count) = (in_quotes(name), importance.len());
            let what = format!("tensor {name} of shape {shape:?} has {count} importances");
            return Err(Error::new(&codes::SHAPE, what));
        }
        let refused = |why: String| {
            Err(Error::new(&codes::WRITE, format!("tensor {} cannot be written", in_quotes(name)))
                .why(why))
        };
        if name.is_empty() || name.len() > NAME_LIMIT {
            return refused(format!(
                "its name has {} bytes; GGUF files allow 1 to {NAME_LIMIT}",
                name.len()
            ));
        }
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return refused("there is one of that name already".to_owned());
        }
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.tensors.push(Entry { name, shape, format, size, source, importance });
        Ok(())
    }

    /// Writes the file, whole or not at all. Gives its size in bytes.
    ///
    /// # Errors
    /// `SPRAT-MODEL-WRITE`, also when the metadata are beyond the limits that [`super`] names;
    /// `SPRAT-MODEL-VALUES` when a weight is infinite or not a number; `SPRAT-MODEL-SHAPE` when
    /// weights made later do not fit; otherwise what making them says.
    pub fn write(&self, path: &Path) -> Result<u64> {
        let header = self.header().map_err(|error| error.file(path))?;
        let mut size = header.len() as u64;
        // Errors of sprat's pass through the writing of the file beside it.
        let mut failed = None;
        let written = sprat_task::write::atomically(path, |out| {
            out.write_all(&header)?;
            for tensor in &self.tensors {
                if let Err(error) = tensor.write(out)? {
                    failed = Some(error);
                    return Err(io::Error::other("a tensor could not be made"));
                }
                let padding = padding(tensor.size as u64);
                out.write_all(&vec![0; padding])?;
                size += tensor.size as u64 + padding as u64;
            }
            Ok(())
        });
        match (written, failed) {
            (Ok(()), _) => Ok(size),
            (Err(_), Some(error)) => Err(error.file(path)),
            (Err(why), None) => Err(Error::io(&codes::WRITE, "write the weights", path, &why)),
        }
    }

    /// Everything before the data, padded.
    fn header(&self) -> Result<Vec<u8>> {
        let version_key = "general.quantization_version";
        let quantized = self.tensors.iter().any(|tensor| tensor.format.is_quantized());
        let version = (version_key.to_owned(), Value::U32(QUANTIZATION_VERSION));
        let named = self.metadata.iter().any(|(key, _)| key == version_key);
        let entries: Vec<_> =
            self.metadata.iter().chain((quantized && !named).then_some(&version)).collect();

        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
        for (key, value) in &entries {
            allowed(key, value)?;
            write_text(key, &mut out);
            value.write(&mut out);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            write_text(&tensor.name, &mut out);
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                out.extend_from_slice(&(*size as u64).to_le_bytes());
            }
            out.extend_from_slice(&formats::id(tensor.format).to_le_bytes());
            out.extend_from_slice(&u64::to_le_bytes(offset));
            offset += tensor.size as u64 + padding(tensor.size as u64) as u64;
        }
        if out.len() > HEADER_LIMIT
            || entries.len() as u64 > ENTRY_LIMIT
            || self.tensors.len() as u64 > TENSOR_LIMIT
        {
            return Err(Error::new(&codes::WRITE, "the header is too large").why(format!(
                "{} entries and {} tensors take {} bytes",
                entries.len(),
                self.tensors.len(),
                out.len()
            )));
        }
        out.resize(out.len() + padding(out.len() as u64), 0);
        Ok(out)
    }
}

impl Entry<'_> {
    /// Writes the blocks, in pieces of whole rows.
    fn write(&self, out: &mut impl Write) -> io::Result<Result<()>> {
        let made;
        let weights = match &self.source {
            Source::Blocks(blocks) => return out.write_all(blocks).map(Ok),
            Source::Weights(weights) => weights.as_ref(),
            Source::Later(make) => {
                made = match make() {
                    Ok(made) => made,
                    Err(error) => return Ok(Err(error)),
                };
                if let Err(error) = expect_count(&self.name, &self.shape, made.len()) {
                    return Ok(Err(error));
                }
                made.as_slice()
            }
        };
        if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
            let name = in_quotes(&self.name);
            let what = format!("value {at} of tensor {name} is {}", weights[at]);
            return Ok(Err(Error::new(&codes::VALUES, what)));
        }
        const PIECE: usize = 1 << 20;
        let columns = self.shape.last().copied().unwrap_or(1);
        let row = self.size / (weights.len() / columns);
        let mut blocks = Vec::new();
        for weights in weights.chunks((PIECE / columns).max(1) * columns) {
            blocks.resize(weights.len() / columns * row, 0);
            self.format.quantize_rows(columns, weights, self.importance.as_deref(), &mut blocks);
            out.write_all(&blocks)?;
        }
        Ok(Ok(()))
    }
}

/// Bytes from `length` to the next multiple of the alignment.
fn padding(length: u64) -> usize {
    (length.next_multiple_of(u64::from(ALIGNMENT)) - length) as usize
}

/// Refuses entries that would not be read back.
fn allowed(key: &str, value: &Value) -> Result<()> {
    let why = match value {
        _ if key.is_empty() || key.len() > KEY_LIMIT => {
            format!("its key has {} bytes; GGUF files allow 1 to {KEY_LIMIT}", key.len())
        }
        Value::Array(array) if array.len() as u64 > ARRAY_LIMIT => {
            format!("it has {} elements; at most {ARRAY_LIMIT} are allowed", array.len())
        }
        _ => return Ok(()),
    };
    let what = format!("the entry {} cannot be written", in_quotes(key));
    Err(Error::new(&codes::WRITE, what).why(why))
}

/// Bytes of a tensor.
fn size(name: &str, shape: &[usize], format: BlockFormat) -> Result<usize> {
    let columns = shape.last().copied().unwrap_or(1);
    let whole = columns.is_multiple_of(format.elements());
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let size = elements.filter(|elements| whole && *elements > 0).and_then(|e| format.bytes_for(e));
    let size = size.filter(|_| shape.len() <= DIMENSION_LIMIT);
    size.ok_or_else(|| {
        let name = in_quotes(name);
        Error::new(&codes::SHAPE, format!("tensor {name} of shape {shape:?} cannot be {format}"))
            .why(format!(
                "at most {DIMENSION_LIMIT} dimensions, none of them 0, and rows of a multiple of \
                 {}",
                format.elements()
            ))
    })
}

fn expect_count(name: &str, shape: &[usize], found: usize) -> Result<()> {
    match shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) {
        Some(expected) if expected == found => Ok(()),
        _ => {
            let what = format!("tensor {} of shape {shape:?} has {found} weights", in_quotes(name));
            Err(Error::new(&codes::SHAPE, what))
        }
    }
}
