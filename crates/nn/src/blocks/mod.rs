//! The block number formats of GGML, as data: a row of weights is cut into blocks of neighbours
//! that share a scale, and each weight becomes a small integer.
//!
//! Layouts are those of `ggml-common.h` (<https://github.com/ggml-org/ggml>), the formats that
//! GGUF files hold. Reading is bit-identical to the `gguf` Python package
//! (`gguf.quants.dequantize`); so is writing where that package writes
//! (`tests/golden/blocks.json`). For the K formats, which it does not write, scales come from a
//! weighted least-squares search (`search.rs`).
//!
//! Nothing here depends on the processor: the same row gives the same bytes everywhere.

mod grid;
mod k;
mod legacy;
mod plain;
mod search;

use crate::threads::run_chunks;
use half::{bf16, f16};
use std::fmt;

/// A number format of GGML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockFormat {
    /// 32-bit IEEE floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// bfloat16: the upper half of an `F32`.
    Bf16,
    /// 8-bit integers in blocks of 32 with a scale: 8.5 bits a weight.
    Q8_0,
    /// 4-bit integers in blocks of 32 with a scale: 4.5 bits a weight.
    Q4_0,
    /// 4-bit integers in blocks of 32 with a scale and a minimum: 5 bits a weight.
    Q4_1,
    /// 5-bit integers in blocks of 32 with a scale: 5.5 bits a weight.
    Q5_0,
    /// 5-bit integers in blocks of 32 with a scale and a minimum: 6 bits a weight.
    Q5_1,
    /// 4-bit integers in blocks of 256: eight groups of 32, each with a 6-bit scale and a 6-bit
    /// minimum. 4.5 bits a weight.
    Q4K,
    /// 5-bit integers, otherwise as [`BlockFormat::Q4K`]: 5.5 bits a weight.
    Q5K,
    /// 6-bit integers in blocks of 256: sixteen groups of 16, each with an 8-bit scale. 6.5625
    /// bits a weight.
    Q6K,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [BlockFormat; 11] = [
        BlockFormat::F32,
        BlockFormat::F16,
        BlockFormat::Bf16,
        BlockFormat::Q8_0,
        BlockFormat::Q4_0,
        BlockFormat::Q4_1,
        BlockFormat::Q5_0,
        BlockFormat::Q5_1,
        BlockFormat::Q4K,
        BlockFormat::Q5K,
        BlockFormat::Q6K,
    ];

    /// The name that GGML gives it.
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::F32 => "F32",
            BlockFormat::F16 => "F16",
            BlockFormat::Bf16 => "BF16",
            BlockFormat::Q8_0 => "Q8_0",
            BlockFormat::Q4_0 => "Q4_0",
            BlockFormat::Q4_1 => "Q4_1",
            BlockFormat::Q5_0 => "Q5_0",
            BlockFormat::Q5_1 => "Q5_1",
            BlockFormat::Q4K => "Q4_K",
            BlockFormat::Q5K => "Q5_K",
            BlockFormat::Q6K => "Q6_K",
        }
    }

    /// The format of that name, in capitals or not.
    pub fn by_name(name: &str) -> Option<Self> {
        BlockFormat::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Weights in a block; a row holds a whole number of blocks.
    pub const fn elements(self) -> usize {
        match self {
            BlockFormat::F32 | BlockFormat::F16 | BlockFormat::Bf16 => 1,
            BlockFormat::Q8_0
            | BlockFormat::Q4_0
            | BlockFormat::Q4_1
            | BlockFormat::Q5_0
            | BlockFormat::Q5_1 => legacy::ELEMENTS,
            BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K => k::ELEMENTS,
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        match self {
            BlockFormat::F32 => 4,
            BlockFormat::F16 | BlockFormat::Bf16 => 2,
            BlockFormat::Q8_0 => legacy::Q8_0,
            BlockFormat::Q4_0 => legacy::Q4_0,
            BlockFormat::Q4_1 => legacy::Q4_1,
            BlockFormat::Q5_0 => legacy::Q5_0,
            BlockFormat::Q5_1 => legacy::Q5_1,
            BlockFormat::Q4K => k::Q4_K,
            BlockFormat::Q5K => k::Q5_K,
            BlockFormat::Q6K => k::Q6_K,
        }
    }

    /// Bytes of `elements` weights; nothing when they are not a whole number of blocks, or more
    /// bytes than can be counted.
    pub const fn bytes_for(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.elements()) {
            return None;
        }
        (elements / self.elements()).checked_mul(self.bytes())
    }

    /// This format if rows of `columns` are whole blocks of it; otherwise the next that fits, by
    /// the choice of llama.cpp: for the K formats one of 32 to a block with at least as many bits,
    /// and F16 where nothing else fits.
    pub const fn fitting(self, columns: usize) -> Self {
        if columns.is_multiple_of(self.elements()) {
            return self;
        }
        match self {
            BlockFormat::Q4K => BlockFormat::Q5_0.fitting(columns),
            BlockFormat::Q5K => BlockFormat::Q5_1.fitting(columns),
            BlockFormat::Q6K => BlockFormat::Q8_0.fitting(columns),
            _ => BlockFormat::F16,
        }
    }

    /// Whether weights are small integers that share a scale.
    pub const fn is_quantized(self) -> bool {
        self.elements() > 1
    }

    /// Whether [`Self::quantize`] looks at the importance of columns.
    pub const fn uses_importance(self) -> bool {
        matches!(self, BlockFormat::Q4K | BlockFormat::Q5K | BlockFormat::Q6K)
    }

    /// Restores weights: `out[i]` from the blocks in `bytes`.
    ///
    /// # Panics
    /// If `bytes` does not have [`Self::bytes_for`] `out.len()` bytes.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), self.bytes_for(out.len()), "bytes of {self} blocks");
        match self {
            BlockFormat::F32 => plain::restore_f32(bytes, out),
            BlockFormat::F16 => plain::restore_f16(bytes, out),
            BlockFormat::Bf16 => plain::restore_bf16(bytes, out),
            BlockFormat::Q8_0 => restore(bytes, out, legacy::restore_q8_0),
            BlockFormat::Q4_0 => restore(bytes, out, legacy::restore_q4_0),
            BlockFormat::Q4_1 => restore(bytes, out, legacy::restore_q4_1),
            BlockFormat::Q5_0 => restore(bytes, out, legacy::restore_q5_0),
            BlockFormat::Q5_1 => restore(bytes, out, legacy::restore_q5_1),
            BlockFormat::Q4K => restore(bytes, out, k::restore_q4_k),
            BlockFormat::Q5K => restore(bytes, out, k::restore_q5_k),
            BlockFormat::Q6K => restore(bytes, out, k::restore_q6_k),
        }
    }

    /// Stores a row of weights as blocks.
    ///
    /// `importance`, `[row.len()]`, says how much the error of each column counts, in any unit
    /// (the mean square of what the column is multiplied with, say). Formats that search for
    /// their scales use it ([`Self::uses_importance`]); columns whose importance is negative or
    /// not finite count as 0, and where all of a block are 0 they count alike.
    ///
    /// Finite weights give finite weights back in the quantized formats: a scale beyond the range
    /// of F16 is stored as the largest, because an infinite one would lose its whole block. F16
    /// and BF16 themselves round as IEEE 754 says, to infinity when a weight is too large.
    ///
    /// # Panics
    /// If `row` is not a whole number of blocks, `importance` has another length, or `out` does
    /// not have [`Self::bytes_for`] `row.len()` bytes.
    pub fn quantize(self, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        assert_eq!(Some(out.len()), self.bytes_for(row.len()), "bytes of {self} blocks");
        assert!(importance.is_none_or(|i| i.len() == row.len()), "an importance for each column");
        match self {
            BlockFormat::F32 => plain::store(row, out, f32::to_le_bytes),
            BlockFormat::F16 => plain::store(row, out, |x| f16::from_f32(x).to_le_bytes()),
            BlockFormat::Bf16 => plain::store(row, out, |x| bf16::from_f32(x).to_le_bytes()),
            BlockFormat::Q8_0 => store(row, out, legacy::store_q8_0),
            BlockFormat::Q4_0 => store(row, out, legacy::store_q4_0),
            BlockFormat::Q4_1 => store(row, out, legacy::store_q4_1),
            BlockFormat::Q5_0 => store(row, out, legacy::store_q5_0),
            BlockFormat::Q5_1 => store(row, out, legacy::store_q5_1),
            BlockFormat::Q4K => store_weighted(row, importance, out, k::store_q4_k),
            BlockFormat::Q5K => store_weighted(row, importance, out, k::store_q5_k),
            BlockFormat::Q6K => store_weighted(row, importance, out, k::store_q6_k),
        }
    }

    /// [`Self::quantize`] for each row of `values` `[rows, cols]`, on all threads; `importance`
    /// `[cols]` is that of every row.
    ///
    /// # Panics
    /// As [`Self::quantize`], and if `values` is not a whole number of rows.
    pub fn quantize_rows(
        self,
        cols: usize,
        values: &[f32],
        importance: Option<&[f32]>,
        out: &mut [u8],
    ) {
        if values.is_empty() && out.is_empty() {
            return;
        }
        assert!(cols > 0 && values.len().is_multiple_of(cols), "rows of {cols} columns");
        let width = self.bytes_for(cols);
        assert_eq!(
            width.and_then(|width| width.checked_mul(values.len() / cols)),
            Some(out.len()),
            "bytes of {self} blocks"
        );
        let rows = (PIECE / cols).max(1);
        let width = out.len() / (values.len() / cols);
        run_chunks(out, rows * width, |index, piece| {
            for (at, out) in piece.chunks_exact_mut(width).enumerate() {
                let start = (index * rows + at) * cols;
                self.quantize(&values[start..start + cols], importance, out);
            }
        });
    }

    /// [`Self::dequantize`] on all threads, for whole tensors.
    ///
    /// # Panics
    /// As [`Self::dequantize`].
    pub fn dequantize_all(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), self.bytes_for(out.len()), "bytes of {self} blocks");
        let width = PIECE / self.elements() * self.bytes();
        run_chunks(out, PIECE, |index, piece| {
            let start = index * width;
            let length = piece.len() / self.elements() * self.bytes();
            self.dequantize(&bytes[start..start + length], piece);
        });
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Weights that one task converts; a multiple of every block.
const PIECE: usize = 1 << 16;

/// Restores one block after another.
fn restore<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; B], &mut [f32; N]),
) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (groups, _) = out.as_chunks_mut::<N>();
    blocks.iter().zip(groups).for_each(|(bytes, out)| block(bytes, out));
}

/// Stores one block after another.
fn store<const B: usize, const N: usize>(
    row: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; N], &mut [u8; B]),
) {
    let (groups, _) = row.as_chunks::<N>();
    let (blocks, _) = out.as_chunks_mut::<B>();
    groups.iter().zip(blocks).for_each(|(x, bytes)| block(x, bytes));
}

/// [`store`] with the importance of the block's columns.
fn store_weighted<const B: usize, const N: usize>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
    block: impl Fn(&[f32; N], Option<&[f32; N]>, &mut [u8; B]),
) {
    let Some(importance) = importance else {
        return store(row, out, |x, bytes| block(x, None, bytes));
    };
    let (groups, _) = row.as_chunks::<N>();
    let (weights, _) = importance.as_chunks::<N>();
    let (blocks, _) = out.as_chunks_mut::<B>();
    for ((x, weights), bytes) in groups.iter().zip(weights).zip(blocks) {
        block(x, Some(weights), bytes);
    }
}

/// A scale as a block stores it: rounded to F16, at most the largest finite one.
fn stored(scale: f32) -> f16 {
    let rounded = f16::from_f32(scale);
    match rounded.is_infinite() {
        true if rounded.is_sign_negative() => f16::MIN,
        true => f16::MAX,
        false => rounded,
    }
}

/// `1/scale`, and 0 where that is no finite number: then every weight is stored as 0, which is
/// what such a scale restores anyway.
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

#[cfg(test)]
mod tests;
