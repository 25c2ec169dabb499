//! The first formats of GGML: blocks of 32 with one scale, or a scale and a minimum.
//!
//! A block begins with the scale `d` (F16), then the minimum `m` (F16) where there is one, then
//! for 5-bit formats the fifth bits (32 of them, little-endian, bit `i` is that of weight `i`),
//! then the quants: bytes, or nibbles where byte `j` holds weight `j` below and weight `j + 16`
//! above. A weight is `d·q`, `d·(q − 2ᵇ⁻¹)` or `d·q + m`.
//!
//! Rounding is that of the reference implementation (`quantize_row_q*_ref` in `ggml-quants.c`),
//! as `gguf.quants.quantize` repeats it.

use super::{inverse, stored};
use half::f16;

/// Weights in a block.
pub(super) const ELEMENTS: usize = 32;
/// Bytes of a block: scale, quants.
pub(super) const Q8_0: usize = 2 + 32;
/// Bytes of a block: scale, quants.
pub(super) const Q4_0: usize = 2 + 16;
/// Bytes of a block: scale, minimum, quants.
pub(super) const Q4_1: usize = 2 + 2 + 16;
/// Bytes of a block: scale, fifth bits, quants.
pub(super) const Q5_0: usize = 2 + 4 + 16;
/// Bytes of a block: scale, minimum, fifth bits, quants.
pub(super) const Q5_1: usize = 2 + 2 + 4 + 16;

type Weights = [f32; ELEMENTS];

pub(super) fn restore_q8_0([d0, d1, quants @ ..]: &[u8; Q8_0], out: &mut Weights) {
    let d = number(d0, d1);
    for (out, q) in out.iter_mut().zip(quants) {
        *out = f32::from(q.cast_signed()) * d;
    }
}

pub(super) fn restore_q4_0([d0, d1, quants @ ..]: &[u8; Q4_0], out: &mut Weights) {
    let d = number(d0, d1);
    restore_nibbles(quants, 0, out, |q| d * (q - 8.0));
}

pub(super) fn restore_q4_1([d0, d1, m0, m1, quants @ ..]: &[u8; Q4_1], out: &mut Weights) {
    let (d, m) = (number(d0, d1), number(m0, m1));
    restore_nibbles(quants, 0, out, |q| d * q + m);
}

pub(super) fn restore_q5_0([d0, d1, h0, h1, h2, h3, quants @ ..]: &[u8; Q5_0], out: &mut Weights) {
    let d = number(d0, d1);
    let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
    restore_nibbles(quants, fifth, out, |q| d * (q - 16.0));
}

pub(super) fn restore_q5_1(
    [d0, d1, m0, m1, h0, h1, h2, h3, quants @ ..]: &[u8; Q5_1],
    out: &mut Weights,
) {
    let (d, m) = (number(d0, d1), number(m0, m1));
    let fifth = u32::from_le_bytes([*h0, *h1, *h2, *h3]);
    restore_nibbles(quants, fifth, out, |q| d * q + m);
}

pub(super) fn store_q8_0(x: &Weights, [d0, d1, quants @ ..]: &mut [u8; Q8_0]) {
    let (d, inverse) = step(x.iter().fold(0f32, |most, x| most.max(x.abs())) / 127.0);
    [*d0, *d1] = d;
    for (q, x) in quants.iter_mut().zip(x) {
        // Halves round away from zero.
        *q = ((x * inverse).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    }
}

pub(super) fn store_q4_0(x: &Weights, [d0, d1, quants @ ..]: &mut [u8; Q4_0]) {
    // The extreme weight becomes −8, whatever its sign: the scale may be negative.
    let (d, inverse) = step(extreme(x) / -8.0);
    [*d0, *d1] = d;
    store_nibbles(x, quants, |x| ((x * inverse + 8.5) as u8).min(15));
}

pub(super) fn store_q4_1(x: &Weights, [d0, d1, m0, m1, quants @ ..]: &mut [u8; Q4_1]) {
    let (d, m) = (spread(x, 15.0), lowest(x));
    let ((d, inverse), (m, low)) = (step(d), minimum(m));
    ([*d0, *d1], [*m0, *m1]) = (d, m);
    store_nibbles(x, quants, |x| (((x - low) * inverse + 0.5) as u8).min(15));
}

pub(super) fn store_q5_0(x: &Weights, [d0, d1, h0, h1, h2, h3, quants @ ..]: &mut [u8; Q5_0]) {
    let (d, inverse) = step(extreme(x) / -16.0);
    [*d0, *d1] = d;
    let fifth = store_nibbles(x, quants, |x| ((x * inverse + 16.5) as u8).min(31));
    [*h0, *h1, *h2, *h3] = fifth.to_le_bytes();
}

pub(super) fn store_q5_1(
    x: &Weights,
    [d0, d1, m0, m1, h0, h1, h2, h3, quants @ ..]: &mut [u8; Q5_1],
) {
    let (d, m) = (spread(x, 31.0), lowest(x));
    let ((d, inverse), (m, low)) = (step(d), minimum(m));
    ([*d0, *d1], [*m0, *m1]) = (d, m);
    let fifth = store_nibbles(x, quants, |x| (((x - low) * inverse + 0.5) as u8).min(31));
    [*h0, *h1, *h2, *h3] = fifth.to_le_bytes();
}

/// The F16 number in two bytes.
fn number(low: &u8, high: &u8) -> f32 {
    f16::from_le_bytes([*low, *high]).to_f32()
}

/// Restores both halves of a block from nibbles and fifth bits.
fn restore_nibbles(quants: &[u8; 16], fifth: u32, out: &mut Weights, value: impl Fn(f32) -> f32) {
    let (low, high) = out.split_at_mut(ELEMENTS / 2);
    for (j, ((low, high), byte)) in low.iter_mut().zip(high).zip(quants).enumerate() {
        let bits = |shift: usize| ((fifth >> shift & 1) as u8) << 4;
        *low = value(f32::from(byte & 15 | bits(j)));
        *high = value(f32::from(byte >> 4 | bits(j + ELEMENTS / 2)));
    }
}

/// Stores quants of up to five bits as nibbles; gives the fifth bits.
fn store_nibbles(x: &Weights, quants: &mut [u8; 16], quant: impl Fn(f32) -> u8) -> u32 {
    let (low, high) = x.split_at(ELEMENTS / 2);
    let mut fifth = 0;
    for (j, ((low, high), byte)) in low.iter().zip(high).zip(quants).enumerate() {
        let (low, high) = (quant(*low), quant(*high));
        *byte = low & 15 | high << 4;
        fifth |= u32::from(low >> 4) << j | u32::from(high >> 4) << (j + ELEMENTS / 2);
    }
    fifth
}

/// A scale's bytes, and what weights are multiplied with to become quants.
fn step(d: f32) -> ([u8; 2], f32) {
    let rounded = stored(d);
    // Quants come from the scale before it is rounded, as in the reference, unless it was cut.
    let whole = if f16::from_f32(d).is_infinite() { rounded.to_f32() } else { d };
    (rounded.to_le_bytes(), inverse(whole))
}

/// A minimum's bytes, and what is subtracted from weights.
fn minimum(m: f32) -> ([u8; 2], f32) {
    let rounded = stored(m);
    (rounded.to_le_bytes(), if f16::from_f32(m).is_infinite() { rounded.to_f32() } else { m })
}

/// The first of the weights with the largest magnitude.
fn extreme(x: &Weights) -> f32 {
    x.iter().fold(0f32, |most, x| if x.abs() > most.abs() { *x } else { most })
}

fn lowest(x: &Weights) -> f32 {
    x.iter().fold(f32::INFINITY, |least, x| least.min(*x))
}

/// The range of the weights in `steps` steps.
fn spread(x: &Weights, steps: f32) -> f32 {
    (x.iter().fold(f32::NEG_INFINITY, |most, x| most.max(*x)) - lowest(x)) / steps
}
