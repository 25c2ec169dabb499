//! Smaller number formats for trained weights, and their files.
//!
//! A variant is a folder that stands alone: merged weights in `model.safetensors` (the layout is
//! documented at [`sprat_model::write_encoder`]), the encoder's other files, and, for a
//! classifier, its head and manifest. What is opened from it computes in the same format: int8
//! products with int8 weights (one scale an output) and activations quantized a row at a time as
//! they come, bfloat16 products with bfloat16 weights.

pub mod codes;
mod convert;
mod variant;

pub use convert::{shrink_classifier, shrink_encoder};
pub use variant::{Shrunk, Variant, folder_bytes};
