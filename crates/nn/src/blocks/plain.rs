//! Formats without blocks: 32-bit and 16-bit floats, little-endian.

use half::f16;
use half::slice::HalfFloatSliceExt;

pub(super) fn restore_f32(bytes: &[u8], out: &mut [f32]) {
    let (values, _) = bytes.as_chunks::<4>();
    out.iter_mut().zip(values).for_each(|(out, bytes)| *out = f32::from_le_bytes(*bytes));
}

pub(super) fn restore_bf16(bytes: &[u8], out: &mut [f32]) {
    let (values, _) = bytes.as_chunks::<2>();
    for (out, bytes) in out.iter_mut().zip(values) {
        *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}

/// In pieces, because conversion of a slice asks only once which instructions there are, and a
/// file's bytes need not be aligned for one.
pub(super) fn restore_f16(bytes: &[u8], out: &mut [f32]) {
    const PIECE: usize = 256;
    let mut piece = [f16::ZERO; PIECE];
    for (out, bytes) in out.chunks_mut(PIECE).zip(bytes.chunks(2 * PIECE)) {
        let (values, _) = bytes.as_chunks::<2>();
        piece.iter_mut().zip(values).for_each(|(x, bytes)| *x = f16::from_le_bytes(*bytes));
        piece[..out.len()].convert_to_f32_slice(out);
    }
}

/// Stores each value by itself.
pub(super) fn store<const B: usize>(row: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; B]) {
    let (values, _) = out.as_chunks_mut::<B>();
    row.iter().zip(values).for_each(|(x, out)| *out = bytes(*x));
}
