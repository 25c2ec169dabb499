//! The header of a GGUF file, checked against the file it stands in.

use super::cursor::Cursor;
use super::{
    ALIGNMENT, ALIGNMENT_LIMIT, DIMENSION_LIMIT, ENTRY_LIMIT, KEY_LIMIT, MAGIC, Metadata,
    NAME_LIMIT, TENSOR_LIMIT, Value, formats,
};
use crate::codes;
use sprat_nn::BlockFormat;
use sprat_task::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;

/// What a header says, checked: every tensor lies inside the file, none overlap, and each has as
/// many bytes as its shape and format say.
#[derive(Debug)]
pub struct Header {
    version: u32,
    pub(super) metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
}

impl Header {
    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the header's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor by name.
    pub fn find(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(*self.index.get(name)?)
    }
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique in the file.
    pub name: String,
    /// Its dimensions, rows first and columns last, as everywhere here; GGUF itself lists them
    /// the other way round. At most [`DIMENSION_LIMIT`].
    pub shape: Vec<usize>,
    /// Its number format.
    pub format: BlockFormat,
    /// Its bytes, counted from the file's beginning.
    pub range: Range<usize>,
}

/// A tensor's description as it stands in the file.
struct Described {
    info: TensorInfo,
    /// Counted from the beginning of the data.
    offset: u64,
    size: usize,
    /// Where the description stands, for messages.
    at: usize,
}

/// Checks a GGUF header against the whole file it stands in. Never panics, and never allocates
/// more than a small multiple of the header's own size.
///
/// # Errors
/// `SPRAT-MODEL-GGUF` with the byte and what is wrong there; `SPRAT-MODEL-GGUF-VERSION` for other
/// versions, big-endian files and parts of a split one; `SPRAT-MODEL-GGUF-FORMAT` for tensors of
/// other formats than [`BlockFormat`].
pub fn check_gguf(file: &[u8]) -> Result<Header> {
    let mut cursor = Cursor::new(file);
    let version = version(&mut cursor)?;
    // A description takes at least a name's length, number of dimensions, type and offset; an
    // entry a key's length, a type and a byte.
    let tensor_count = cursor.count(8 + 4 + 4 + 8, TENSOR_LIMIT, "the number of tensors")?;
    let entry_count = cursor.count(8 + 4 + 1, ENTRY_LIMIT, "the number of metadata entries")?;
    let mut metadata = Metadata::default();
    for _ in 0..entry_count {
        let at = cursor.at();
        let key = cursor.text(KEY_LIMIT, "a key")?;
        let value = Value::read(&mut cursor).map_err(|error| error.field(shown(key)))?;
        if key.is_empty() || !metadata.insert(key, value) {
            let why = format!("the key {} stands there twice or is empty", in_quotes(key));
            return Err(cursor.damaged(why).byte(at as u64));
        }
    }
    whole(&metadata)?;
    let alignment = alignment(&metadata)?;
    let mut described = Vec::with_capacity(tensor_count);
    for _ in 0..tensor_count {
        described.push(describe(&mut cursor)?);
    }
    let data = (cursor.at() as u64).next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(tensor_count);
    let mut index = HashMap::with_capacity(tensor_count);
    for tensor in described {
        let info = place(tensor, data, alignment, file.len())?;
        if index.insert(info.name.clone(), tensors.len()).is_some() {
            let why = format!("tensor {} stands there twice", in_quotes(&info.name));
            return Err(cursor.damaged(why));
        }
        tensors.push(info);
    }
    apart(&tensors)?;
    Ok(Header { version, metadata, tensors, index })
}

/// Reads the beginning of a file as far as its version.
fn version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic = cursor.array::<4>("the mark `GGUF`")?;
    if &magic != MAGIC {
        return Err(Error::new(&codes::GGUF, "this is no GGUF file")
            .byte(0)
            .why(format!("it begins with `{}`, not with `GGUF`", magic.escape_ascii())));
    }
    let unsupported = |why: String| {
        Err(Error::new(&codes::GGUF_VERSION, "unsupported GGUF file").byte(4).why(why))
    };
    match cursor.u32("the version")? {
        version @ 2..=3 => Ok(version),
        1 => unsupported("version 1, of August 2023, counted with 32 bits".to_owned()),
        version if (1..=0xFF).contains(&version.swap_bytes()) => unsupported(format!(
            "it is a big-endian file (of version {}); only little-endian ones are read",
            version.swap_bytes()
        )),
        version => unsupported(format!("its version is {version}; 2 and 3 are known")),
    }
}

/// Refuses parts of a split model, which lack tensors.
fn whole(metadata: &Metadata) -> Result<()> {
    match metadata.optional("split.count", Metadata::number)? {
        None | Some(..=1) => Ok(()),
        Some(count) => Err(Error::new(&codes::GGUF_VERSION, "unsupported GGUF file")
            .field("split.count")
            .why(format!("it is one of {count} parts"))
            .help("Merge the parts with `llama-gguf-split --merge`.")),
    }
}

/// Which multiples tensors begin at, in bytes.
fn alignment(metadata: &Metadata) -> Result<u64> {
    let key = "general.alignment";
    match metadata.get(key) {
        None => Ok(u64::from(ALIGNMENT)),
        Some(Value::U32(value @ 8..=ALIGNMENT_LIMIT)) if value.is_power_of_two() => {
            Ok(u64::from(*value))
        }
        Some(other) => {
            let found = match other {
                Value::U32(value) => value.to_string(),
                other => other.kind().to_owned(),
            };
            Err(Error::new(&codes::GGUF, "damaged GGUF file").field(key).why(format!(
                "it is {found}; it may be a power of two from 8 to {ALIGNMENT_LIMIT}, an unsigned \
                 32-bit integer"
            )))
        }
    }
}

/// Reads the description of a tensor.
fn describe(cursor: &mut Cursor<'_>) -> Result<Described> {
    let at = cursor.at();
    let name = cursor.text(NAME_LIMIT, "a tensor's name")?;
    let quoted = in_quotes(name);
    // The place of all errors here is where the description begins.
    let damaged = |cursor: &Cursor<'_>, why: String| cursor.damaged(why).byte(at as u64);
    let dimensions = cursor.u32("a tensor's number of dimensions")? as usize;
    if dimensions > DIMENSION_LIMIT {
        let why =
            format!("tensor {quoted} has {dimensions} dimensions; at most {DIMENSION_LIMIT} exist");
        return Err(damaged(cursor, why));
    }
    let mut shape = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        let size = cursor.u64("a tensor's dimension")?;
        shape.push(usize::try_from(size).unwrap_or(usize::MAX));
    }
    let id = cursor.u32("a tensor's format")?;
    let format = formats::by_id(id, name).map_err(|error| error.byte(at as u64))?;
    let offset = cursor.u64("a tensor's offset")?;
    let columns = shape.first().copied().unwrap_or(1);
    if !columns.is_multiple_of(format.elements()) {
        let why = format!(
            "tensor {quoted} has rows of {columns}, which is no multiple of the {} of {format}",
            format.elements()
        );
        return Err(damaged(cursor, why));
    }
    shape.reverse();
    if shape.contains(&0) {
        return Err(damaged(cursor, format!("tensor {quoted} of shape {shape:?} has no weights")));
    }
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let Some(size) = elements.and_then(|elements| format.bytes_for(elements)) else {
        let why = format!("tensor {quoted} of shape {shape:?} is larger than any file");
        return Err(damaged(cursor, why));
    };
    let info = TensorInfo { name: name.to_owned(), shape, format, range: 0..0 };
    Ok(Described { info, offset, size, at })
}

/// Finds a tensor's bytes in a file of `length` bytes whose data begin at `data`.
fn place(tensor: Described, data: u64, alignment: u64, length: usize) -> Result<TensorInfo> {
    let Described { mut info, offset, size, at } = tensor;
    let damaged =
        |why: String| Err(Error::new(&codes::GGUF, "damaged GGUF file").byte(at as u64).why(why));
    let quoted = in_quotes(&info.name);
    if !offset.is_multiple_of(alignment) {
        return damaged(format!(
            "tensor {quoted} begins at {offset}, which is no multiple of the alignment {alignment}"
        ));
    }
    let start = data.checked_add(offset).and_then(|start| usize::try_from(start).ok());
    let range = start.and_then(|start| Some(start..start.checked_add(size)?));
    match range.filter(|range| range.end <= length) {
        Some(range) => {
            info.range = range;
            Ok(info)
        }
        None => damaged(format!(
            "tensor {quoted} takes {size} bytes from byte {offset} of the data, but the data end \
             after {}",
            (length as u64).saturating_sub(data)
        )),
    }
}

/// Checks that no two tensors share bytes.
fn apart(tensors: &[TensorInfo]) -> Result<()> {
    let mut order: Vec<&TensorInfo> =
        tensors.iter().filter(|tensor| !tensor.range.is_empty()).collect();
    order.sort_by_key(|tensor| tensor.range.start);
    for pair in order.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            let [a, b] = [in_quotes(&pair[0].name), in_quotes(&pair[1].name)];
            return Err(Error::new(&codes::GGUF, "damaged GGUF file")
                .byte(pair[1].range.start as u64)
                .why(format!("tensors {a} and {b} overlap")));
        }
    }
    Ok(())
}

/// A name from a file for a message: cut when long, control characters escaped.
fn shown(name: &str) -> String {
    const MOST: usize = 80;
    let more = if name.chars().nth(MOST).is_some() { "…" } else { "" };
    let shown: String = name.chars().take(MOST).flat_map(char::escape_debug).collect();
    shown + more
}

/// [`shown`], in quotes.
pub(super) fn in_quotes(name: &str) -> String {
    format!("`{}`", shown(name))
}
