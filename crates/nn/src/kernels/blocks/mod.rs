//! Products with weights in blocks: 32 (or 16) weights of a column share a scale and, in some
//! formats, a minimum, `w = scale·q + minimum` with unsigned `q`. Activations are quantized to
//! signed bytes as they come, 32 to a scale, so that
//! `Σ x·w ≈ Σ_blocks scale_x·(scale·Σ (q − offset)·x_q + minimum·Σ x_q)`; an `offset` that all
//! blocks share (8 in Q4_0, 128 in Q8_0) is exact integer arithmetic.
//!
//! Weights lie in strips of 16 columns, and in a strip block after block: for eight (or four)
//! groups of four `k` each, the groups' 32 bits of all 16 columns: one vector register a group.
//! Nibbles hold two groups in a vector. One broadcast of four activations meets one vector.
//!
//! Every element of the result is one sum over the blocks in rising order, with integer sums
//! inside them: neither the number of rows nor the threads change its bits.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod memory;
mod panels;
mod restore;
mod rows;
mod strip;
#[cfg(test)]
mod tests;

pub(crate) use panels::{Block, Factor, Layout, Panels};
pub(crate) use restore::multiply_transposed;

use super::cpu::{Level, level};
use super::elementwise;
use super::f32::Finish;
use super::tile::LANES;
use crate::threads::{SharedMut, run, threads};
use rows::{Rows, TALLEST};
use std::cell::RefCell;
use std::ptr::null;
use strip::{Shape, Strip, StripFn};

/// Activations that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Rows of a piece of parallel work: whole panels.
const PIECE: usize = 8 * TALLEST;
/// Bytes of weights that are worth handing to another thread.
const TASK_BYTES: usize = 16 << 10;
/// Multiply-adds under which handing out work costs more than it saves.
const SMALL: usize = 200_000;

thread_local! {
    static LEFT: RefCell<Rows> = RefCell::default();
}

/// `target = finish(left · right)`, `left` `[m, k]` row-major, on all threads. `alpha` of
/// `finish` is not used.
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
        rows.quantize(m, k, left, right.layout);
        let plan = Plan { at, m, rows, right, target: SharedMut(target.as_mut_ptr()), finish };
        let strips = n.div_ceil(LANES);
        if m * k * n < SMALL {
            return plan.compute(0..strips, 0..m);
        }
        // Few rows: tasks of a cut of the columns that keeps all threads busy to the end.
        let strip_bytes = k / right.layout.block * right.layout.lines() * 64;
        let per = (TASK_BYTES.div_ceil(strip_bytes)).min(strips.div_ceil(4 * threads())).max(1);
        let (cuts, pieces) = (strips.div_ceil(per), m.div_ceil(PIECE));
        run(cuts * pieces, |task| {
            let (cut, piece) = (task / pieces, task % pieces);
            let rows = piece * PIECE..(piece * PIECE + PIECE).min(m);
            plan.compute(cut * per..((cut + 1) * per).min(strips), rows);
        });
    });
}

/// One product, as its tasks see it.
struct Plan<'a> {
    at: Level,
    m: usize,
    rows: &'a Rows,
    right: &'a Panels,
    target: SharedMut<f32>,
    finish: Finish<'a>,
}

impl Plan<'_> {
    /// Computes strips of columns by rows, which begin with a panel; nobody else computes them.
    fn compute(&self, strips: std::ops::Range<usize>, rows: std::ops::Range<usize>) {
        let layout = self.right.layout;
        let shape = Shape {
            four_bits: layout.bits == 4,
            half_block: layout.block != BLOCK,
            steps: layout.steps,
        };
        for strip in strips {
            for first in rows.clone().step_by(TALLEST) {
                let tile = self.tile(strip, first, TALLEST.min(self.m - first));
                // SAFETY: the tile lies inside the operands, checked by `multiply_at`, and inside
                // this task's rows and columns of the result.
                unsafe { strip_fn(self.at, shape, tile.rows)(&tile) };
                let Some(f) = self.finish.activation else { continue };
                for row in 0..tile.rows {
                    // SAFETY: this task's part of the row.
                    let row = unsafe {
                        std::slice::from_raw_parts_mut(tile.c.add(row * tile.c_row), tile.last)
                    };
                    elementwise::activate(f, row);
                }
            }
        }
    }

    /// Rows `first..first + high`, a panel, by a strip of columns.
    fn tile(&self, strip: usize, first: usize, high: usize) -> Strip {
        let (right, rows) = (self.right, self.rows);
        let (layout, k) = (right.layout, right.k);
        let (parts, column) = (k / layout.block, strip * LANES);
        let block = strip * parts;
        let unit = block / layout.blocks_per_unit() * LANES;
        let of = |units: &[half::f16], steps: &[i8]| {
            let steps = if layout.steps { steps[block * LANES..].as_ptr() } else { null() };
            (units[unit..].as_ptr(), steps)
        };
        let (units, steps) = of(&right.scales.units, &right.scales.steps);
        let (minimum_units, minimum_steps, a_factors) = match layout.minimums {
            true => {
                let (units, steps) = of(&right.minimums.units, &right.minimums.steps);
                (units, steps, rows.factors[first * k / BLOCK..].as_ptr())
            }
            false => (null(), null(), null()),
        };
        Strip {
            rows: high,
            blocks: k / BLOCK,
            a: rows.bytes[first * k..].as_ptr(),
            a_scales: rows.scales[first * k / BLOCK..].as_ptr(),
            a_starts: rows.starts[first * parts..].as_ptr(),
            a_factors,
            b: right.data[block * layout.lines()..].as_ptr().cast(),
            units,
            steps,
            minimum_units,
            minimum_steps,
            c: self.target.get().wrapping_add(first * right.n + column),
            c_row: right.n,
            last: LANES.min(right.n - column),
            bias: self.finish.bias.map_or(null(), |b| b[column..].as_ptr()),
            accumulate: self.finish.accumulate,
        }
    }
}

fn strip_fn(at: Level, shape: Shape, rows: usize) -> StripFn {
    #[cfg(target_arch = "x86_64")]
    {
        if at >= Level::Vnni {
            return avx512::strip_fn(shape, rows);
        }
        if at >= Level::Avx2 {
            return strip::avx2(shape);
        }
    }
    let _ = (at, rows);
    strip::any(shape)
}
