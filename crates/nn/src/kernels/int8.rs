//! Products of 8-bit integers: weights signed and symmetric per column, activations unsigned with
//! a scale and zero point per row, found as they come. `x ≈ (q − zero)·scale`, so
//! `Σ x·w ≈ scale_i·scale_j·(Σ q·w − zero_i·Σ w)`: the zero point is paid back through the column
//! sums of the weights.

use super::cpu::{Level, level};
use super::elementwise::{each_level, fma};
use super::f32::Finish;
use super::tile::{Kernel, LANES, Product, Scales, Tile, pack, packed_place, tiles};
use crate::threads::{SharedMut, run_chunks};
use std::cell::RefCell;

/// A packed right operand `[k, n]` of bytes with a scale per column.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    data: Vec<u32>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Panels {
    /// Packs columns of `k` bytes each, one after another in `values`, with their scales.
    pub(crate) fn pack(k: usize, values: &[i8], scales: Vec<f32>) -> Self {
        let n = scales.len();
        let mut data = Vec::new();
        pack(k, n, 4, |kk, j| u32::from(values[j * k + kk] as u8), &mut data);
        let sums = (0..n)
            .map(|j| values[j * k..(j + 1) * k].iter().map(|v| i32::from(*v)).sum())
            .collect();
        Panels { k, n, data, scales, sums }
    }

    /// Element `(k, j)` as it is multiplied.
    pub(crate) fn get(&self, k: usize, j: usize) -> f32 {
        f32::from(self.byte(k, j)) * self.scales[j]
    }

    /// The byte of element `(k, j)`.
    pub(crate) fn byte(&self, k: usize, j: usize) -> i8 {
        let (index, shift) = packed_place(self.k, self.n, 4, (k, j));
        (self.data[index] >> shift) as u8 as i8
    }

    /// The scale of each column, `[n]`.
    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Bytes of the packed operand.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * 4 + self.n * 8
    }
}

#[inline(always)]
fn quantize_body<const FMA: bool>(x: &[f32], bytes: &mut [u8]) -> (f32, i32) {
    const WIDE: usize = 16;
    let (mut low, mut high) = ([0.0f32; WIDE], [0.0f32; WIDE]);
    let (chunks, rest) = x.as_chunks::<WIDE>();
    for chunk in chunks {
        for i in 0..WIDE {
            low[i] = if chunk[i] < low[i] { chunk[i] } else { low[i] };
            high[i] = if chunk[i] > high[i] { chunk[i] } else { high[i] };
        }
    }
    let low = low.iter().chain(rest).fold(0f32, |m, x| if *x < m { *x } else { m });
    let high = high.iter().chain(rest).fold(0f32, |m, x| if *x > m { *x } else { m });
    let scale = (high - low) / 255.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let zero = (-low * inverse).round_ties_even();
    // 1.5·2²³ + zero: the sum's low bits are the nearest integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    let offset = ROUND + zero;
    for (byte, x) in bytes.iter_mut().zip(x) {
        let bits = fma::<FMA>(*x, inverse, offset).to_bits() as i32 - ROUND.to_bits() as i32;
        *byte = bits.clamp(0, 255) as u8;
    }
    (scale, zero as i32)
}

each_level! {
    /// Quantizes a row to `[0, 255]`; gives its scale and zero point. The range always holds 0.
    quantize(x: &[f32], bytes: &mut [u8]) -> (f32, i32) = quantize_body
}

/// Quantized rows, reused from product to product.
#[derive(Default)]
struct Rows {
    bytes: Vec<u32>,
    scales: Vec<f32>,
    zeros: Vec<i32>,
}

thread_local! {
    static LEFT: RefCell<Rows> = RefCell::default();
}

/// Views 32-bit groups as bytes.
fn as_bytes(groups: &mut [u32]) -> &mut [u8] {
    // SAFETY: any bits are valid bytes, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts_mut(groups.as_mut_ptr().cast(), groups.len() * 4) }
}

/// `target = finish(left · right)`, `left` `[m, k]` row-major, on all threads. `alpha` and
/// `accumulate` of `finish` are not used: integer layers are for inference.
pub(crate) fn multiply(
    m: usize,
    left: &[f32],
    right: &Panels,
    target: &mut [f32],
    finish: Finish<'_>,
) {
    multiply_at(level(), m, left, right, target, finish);
}

/// [`multiply`] with the instructions of a level that the processor has.
fn multiply_at(
    at: Level,
    m: usize,
    left: &[f32],
    right: &Panels,
    target: &mut [f32],
    finish: Finish<'_>,
) {
    let (k, n) = (right.k, right.n);
    assert!(left.len() == m * k && target.len() == m * n, "operands in bounds");
    assert!(finish.bias.is_none_or(|b| b.len() >= n), "a bias for each column");
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    LEFT.with_borrow_mut(|rows| {
        let groups = k.div_ceil(4);
        rows.bytes.resize(m * groups, 0);
        rows.scales.resize(m, 0.0);
        rows.zeros.resize(m, 0);
        let scales = SharedMut(rows.scales.as_mut_ptr());
        let zeros = SharedMut(rows.zeros.as_mut_ptr());
        const ROWS: usize = 16;
        let quantize_rows = |index: usize, piece: &mut [u32]| {
            for (i, groups) in piece.chunks_exact_mut(groups).enumerate() {
                let row = index * ROWS + i;
                let (scale, zero) = quantize(&left[row * k..(row + 1) * k], as_bytes(groups));
                // SAFETY: `row` is under `m`, and this piece's alone.
                unsafe {
                    *scales.get().add(row) = scale;
                    *zeros.get().add(row) = zero;
                }
            }
        };
        if m * k < 65_536 {
            quantize_rows(0, &mut rows.bytes);
        } else {
            run_chunks(&mut rows.bytes, groups * ROWS, quantize_rows);
        }
        let whole = Tile {
            k: groups,
            a: rows.bytes.as_ptr(),
            a_row: groups,
            a_step: 1,
            b: right.data.as_ptr(),
            b_step: 0,
            sums: std::ptr::null_mut(),
            begins: true,
            ends: true,
            c: target.as_mut_ptr(),
            c_row: n,
            last: LANES,
            bias: finish.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            alpha: 1.0,
            accumulate: false,
            scales: Scales {
                row: rows.scales.as_ptr(),
                zero: rows.zeros.as_ptr(),
                column: right.scales.as_ptr(),
                sum: right.sums.as_ptr(),
            },
        };
        let product = Product { whole, m, n, packed: true, activation: finish.activation };
        // SAFETY: the assertions above; the packed operand is padded by `pack`.
        unsafe { product.compute(tiles(Kernel::Int8, at), false) };
    });
}

#[cfg(test)]
mod tests {
    use super::super::cpu::levels;
    use super::*;
    use crate::gradient_check::matrix;

    #[test]
    fn every_instruction_set_gives_the_same_integers() {
        for (m, k, n) in [(13, 301, 70), (1, 2, 1), (65, 600, 48)] {
            let x = matrix(m, k, 1);
            // Extremes included: they would overflow 16-bit sums of pairs.
            let bytes: Vec<i8> = matrix(n, k, 2)
                .data
                .iter()
                .map(|v| (v * 200.0).clamp(-127.0, 127.0) as i8)
                .collect();
            let panels = Panels::pack(k, &bytes, vec![1.0; n]);
            for level in levels() {
                let mut y = vec![0.0; m * n];
                multiply_at(level, m, &x.data, &panels, &mut y, Finish::REPLACE);
                for i in 0..m {
                    let mut row = vec![0u8; k];
                    let (scale, zero) = quantize(x.row(i), &mut row);
                    for j in 0..n {
                        let column = &bytes[j * k..(j + 1) * k];
                        let products = row.iter().zip(column);
                        let sum: i32 =
                            products.map(|(q, w)| (i32::from(*q) - zero) * i32::from(*w)).sum();
                        assert_eq!(y[i * n + j], sum as f32 * scale, "{level:?} ({i}, {j})");
                    }
                }
            }
        }
    }

    #[test]
    fn rows_keep_zero_exactly_and_the_rest_within_half_a_step() {
        for shift in [-2.0, -0.7, 0.0, 3.0] {
            let mut x: Vec<f32> = matrix(1, 100, 4).data.iter().map(|v| v + shift).collect();
            x[50] = 0.0;
            let mut bytes = vec![0u8; 100];
            let (scale, zero) = quantize(&x, &mut bytes);
            let restored = |q: u8| (i32::from(q) - zero) as f32 * scale;
            assert_eq!(restored(bytes[50]), 0.0);
            // At the ends of the range the rounding of the zero point adds up to half a step.
            assert!(x.iter().zip(&bytes).all(|(x, q)| (x - restored(*q)).abs() <= 1.001 * scale));
        }
    }
}
