//! Adapters as GGUF files, as llama.cpp loads them (`llama-adapter.cpp`).

use super::config::DecoderConfig;
use super::names;
use super::projection::Projection;
use crate::adapter::Adapter;
use crate::files::GgufWriter;
use sprat_nn::{BlockFormat, Mat};
use sprat_task::Result;
use std::borrow::Cow;
use std::path::Path;

/// Writes an adapter for a decoder of this shape as a GGUF file.
///
/// llama.cpp scales by `adapter.lora.alpha / rank`; other scales are put into alpha. Rows of
/// queries and keys go into the order that the family's files have.
///
/// # Errors
/// `SPRAT-MODEL-WRITE`.
pub fn write_gguf_adapter(
    adapter: &Adapter<Projection>,
    config: &DecoderConfig,
    path: &Path,
) -> Result<()> {
    let mut writer = GgufWriter::new(config.family.architecture);
    writer.set("general.type", "adapter");
    writer.set("adapter.type", "lora");
    writer.set("adapter.lora.alpha", adapter.scale * adapter.rank as f32);
    if !adapter.base.is_empty() {
        writer.set("general.base_model.count", 1u32);
        writer.set("general.base_model.0.name", adapter.base.as_str());
    }
    for pair in &adapter.pairs {
        let name = format!("{}.weight", names::gguf(pair.part.role(), pair.layer));
        let b = match (config.family.interleaved_in_gguf, pair.part) {
            (true, Projection::Query | Projection::Key) => {
                Cow::Owned(interleaved(&pair.b, config.heads.width))
            }
            _ => Cow::Borrowed(&pair.b.data[..]),
        };
        let format = BlockFormat::F32;
        let (a_shape, b_shape) = ([pair.a.rows, pair.a.cols], [pair.b.rows, pair.b.cols]);
        writer.add(&format!("{name}.lora_a"), &a_shape, format, &pair.a.data[..], None)?;
        writer.add(&format!("{name}.lora_b"), &b_shape, format, b, None)?;
    }
    writer.write(path).map(|_| ())
}

/// The rows of heads of `width` rows, the halves of each pair put side by side.
pub(super) fn interleaved(rows: &Mat, width: usize) -> Vec<f32> {
    let mut ordered = Vec::with_capacity(rows.data.len());
    for head in (0..rows.rows).step_by(width) {
        for pair in 0..width / 2 {
            ordered.extend_from_slice(rows.row(head + pair));
            ordered.extend_from_slice(rows.row(head + width / 2 + pair));
        }
    }
    ordered
}
