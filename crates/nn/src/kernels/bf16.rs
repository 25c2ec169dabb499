//! Products of bfloat16 matrices, summed in `f32`.

use super::cpu::{Level, level};
use super::elementwise::each_level;
use super::f32::Finish;
use super::tile::{Kernel, LANES, Product, Scales, Tile, pack, packed_place, tiles};
use crate::threads;
use std::cell::RefCell;

/// A packed right operand `[k, n]` of bfloat16.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    data: Vec<u32>,
}

impl Panels {
    /// Rounds and packs the operand whose element `(k, j)` is `source[k * step + j * column]`.
    pub(crate) fn pack(k: usize, n: usize, source: &[f32], step: usize, column: usize) -> Self {
        let mut data = Vec::new();
        pack(k, n, 2, |k, j| round(source[k * step + j * column]), &mut data);
        Panels { k, n, data }
    }

    /// Element `(k, j)`.
    pub(crate) fn get(&self, k: usize, j: usize) -> f32 {
        let (index, shift) = packed_place(self.k, self.n, 2, (k, j));
        f32::from_bits(self.data[index] >> shift << 16)
    }

    /// Bytes of the packed operand.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * 4
    }
}

/// The bfloat16 nearest to `x`, ties to even, in the low 16 bits; NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
    if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }
}

#[inline(always)]
fn convert_body<const FMA: bool>(x: &[f32], pairs: &mut [u32]) {
    let (twos, rest) = x.as_chunks::<2>();
    for (pair, [low, high]) in pairs.iter_mut().zip(twos) {
        *pair = round(*low) | (round(*high) << 16);
    }
    if let ([last], Some(pair)) = (rest, pairs.last_mut()) {
        *pair = round(*last);
    }
}

each_level! {
    /// Rounds a row to bfloat16 pairs; an odd last element is paired with zero.
    convert(x: &[f32], pairs: &mut [u32]) = convert_body
}

thread_local! {
    /// The left operand as bfloat16, reused from product to product.
    static LEFT: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// `target = finish(left · right)`, `left` `[m, k]` row-major, on all threads.
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
    LEFT.with_borrow_mut(|pairs| {
        let groups = k.div_ceil(2);
        pairs.resize(m * groups, 0);
        const ROWS: usize = 16;
        let chunk = groups * ROWS;
        let rows = |index: usize, piece: &mut [u32]| {
            for (i, pairs) in piece.chunks_exact_mut(groups).enumerate() {
                let row = index * ROWS + i;
                convert(&left[row * k..(row + 1) * k], pairs);
            }
        };
        if m * k < 65_536 {
            rows(0, pairs);
        } else {
            threads::run_chunks(pairs, chunk, rows);
        }
        let whole = Tile {
            k: groups,
            a: pairs.as_ptr(),
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
            alpha: finish.alpha,
            accumulate: finish.accumulate,
            scales: Scales::NONE,
        };
        let product = Product { whole, m, n, packed: true, activation: finish.activation };
        // SAFETY: the assertions above; the packed operand is padded by `pack`.
        unsafe { product.compute(tiles(Kernel::Bf16, at), false) };
    });
}

#[cfg(test)]
mod tests {
    use super::super::cpu::levels;
    use super::*;
    use crate::gradient_check::matrix;

    #[test]
    fn every_instruction_set_multiplies_the_same_bfloat16_numbers() {
        for (m, k, n) in [(13, 301, 70), (1, 2, 1), (65, 520, 48)] {
            let (x, w) = (matrix(m, k, 1), matrix(k, n, 2));
            let panels = Panels::pack(k, n, &w.data, n, 1);
            let kept = |v: f32| f64::from(half::bf16::from_f32(v).to_f32());
            for level in levels() {
                let mut y = vec![0.0; m * n];
                multiply_at(level, m, &x.data, &panels, &mut y, Finish::REPLACE);
                for (at, y) in y.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let want: f64 = (0..k).map(|t| kept(x.row(i)[t]) * kept(w.row(t)[j])).sum();
                    assert!((f64::from(*y) - want).abs() < 2e-5, "{level:?}: {y}, not {want}");
                }
            }
        }
    }

    #[test]
    fn rounding_is_that_of_the_half_crate_also_at_the_edges() {
        let edges = [0.0, -0.0, 1.0, 1.003_906_3, 1.011_718_8, f32::MAX, f32::INFINITY, 1e-40];
        for x in edges.into_iter().chain(matrix(1, 500, 3).data) {
            assert_eq!(round(x), u32::from(half::bf16::from_f32(x).to_bits()), "{x}");
        }
        assert!(half::bf16::from_bits(round(f32::NAN) as u16).is_nan());
    }
}
