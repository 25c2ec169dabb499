//! How GGUF numbers the formats of tensors (`enum ggml_type`).

use super::header::in_quotes;
use crate::codes;
use sprat_nn::BlockFormat;
use sprat_task::{Error, Result};

/// The formats that are read and written.
const SUPPORTED: [(u32, BlockFormat); 11] = [
    (0, BlockFormat::F32),
    (1, BlockFormat::F16),
    (30, BlockFormat::Bf16),
    (8, BlockFormat::Q8_0),
    (2, BlockFormat::Q4_0),
    (3, BlockFormat::Q4_1),
    (6, BlockFormat::Q5_0),
    (7, BlockFormat::Q5_1),
    (12, BlockFormat::Q4K),
    (13, BlockFormat::Q5K),
    (14, BlockFormat::Q6K),
];

/// The names of the others, so that an error can say what a file holds.
const OTHERS: [(u32, &str); 22] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

/// The number of a format.
pub(super) fn id(format: BlockFormat) -> u32 {
    SUPPORTED.iter().find(|(_, known)| *known == format).map_or(u32::MAX, |(id, _)| *id)
}

/// The format of that number.
///
/// # Errors
/// `SPRAT-MODEL-GGUF-FORMAT`, naming the format, the tensor and what is supported.
pub(super) fn by_id(id: u32, tensor: &str) -> Result<BlockFormat> {
    if let Some((_, format)) = SUPPORTED.iter().find(|(known, _)| *known == id) {
        return Ok(*format);
    }
    let name = match OTHERS.iter().find(|(known, _)| *known == id) {
        Some((_, name)) => format!("of format {name}"),
        None => format!("of the unknown format {id}"),
    };
    let supported: Vec<&str> = BlockFormat::ALL.iter().map(|format| format.name()).collect();
    Err(Error::new(&codes::GGUF_FORMAT, format!("tensor {} is {name}", in_quotes(tensor)))
        .why(format!("supported are {}", supported.join(", "))))
}
