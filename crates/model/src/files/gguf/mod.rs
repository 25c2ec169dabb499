//! GGUF files: a whole model in one file, its settings and vocabulary as metadata, its tensors in
//! the block formats of GGML.
//!
//! The format (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>): `GGUF`, version,
//! number of tensors and of metadata entries, the entries (key, type, value), a description of
//! each tensor (name, dimensions, type, offset), padding, then the data. Versions 2 and 3 are
//! read, little-endian; version 3 is written.
//!
//! Files come from strangers. What one claims is checked against its size and against the limits
//! below before anything is believed or allocated.

mod cursor;
mod formats;
mod header;
mod metadata;
mod open;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use header::{Header, TensorInfo, check_gguf};
pub use metadata::Metadata;
pub use open::{Gguf, GgufTensor};
pub use value::{Array, Value};
pub use write::GgufWriter;

/// No header (metadata and tensor descriptions) may be longer than this, in bytes. The largest
/// vocabularies take some tens of millions.
pub const HEADER_LIMIT: usize = 100_000_000;

/// No file may have more metadata entries than this.
pub const ENTRY_LIMIT: u64 = 1 << 16;

/// No key may be longer than this, in bytes; the format's own limit.
pub const KEY_LIMIT: usize = (1 << 16) - 1;

/// No array of the metadata may have more elements than this.
pub const ARRAY_LIMIT: u64 = 1 << 24;

/// No file may have more tensors than this.
pub const TENSOR_LIMIT: u64 = 1 << 16;

/// No tensor's name may be longer than this, in bytes: what llama.cpp reads (`GGML_MAX_NAME`,
/// less its closing zero).
pub const NAME_LIMIT: usize = 63;

/// No tensor may have more dimensions than this (`GGML_MAX_DIMS`).
pub const DIMENSION_LIMIT: usize = 4;

/// No alignment may be larger than this, in bytes.
pub const ALIGNMENT_LIMIT: u32 = 1 << 16;

/// Tensors begin at multiples of this, in bytes, unless `general.alignment` says otherwise.
const ALIGNMENT: u32 = 32;

/// The version that is written.
const VERSION: u32 = 3;

const MAGIC: &[u8; 4] = b"GGUF";
