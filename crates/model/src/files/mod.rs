//! Weight files: safetensors and GGUF, read by memory map and written whole.

mod convert;
pub mod gguf;
mod map;
mod read;
mod tensor_file;
mod write;

pub use gguf::{Gguf, GgufTensor, GgufWriter, check_gguf};
pub use read::{Tensor, Weights};
pub use tensor_file::{HEADER_LIMIT, TensorFile, check_header};
pub use write::{TensorData, TensorWriter};

pub(crate) use read::{json_file, text_file};
