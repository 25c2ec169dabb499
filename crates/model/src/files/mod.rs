//! Weight files: safetensors, read by memory map and written whole.

mod convert;
mod read;
mod tensor_file;
mod write;

pub use read::{Tensor, Weights};
pub use tensor_file::{HEADER_LIMIT, TensorFile, check_header};
pub use write::{TensorData, TensorWriter};

pub(crate) use read::{json_file, text_file};
