//! Products with the transposed weight, `dx = dy·W`, for backward: tiles of the weight are
//! restored to floats as they are needed, so that a frozen weight stays in its blocks alone.

use super::Panels;
use crate::kernels::f32::{Finish, Left, Right, multiply_here};
use crate::kernels::tile::LANES;
use crate::threads::{SharedMut, run};
use std::cell::RefCell;

/// Inputs of a tile: two panels of the product. What is cut here are columns of the result.
const INPUTS: usize = 96;
/// Outputs of a tile: with its inputs 96 KiB, which stay in second-level cache. Sums run over
/// them in rising order, a tile at a time.
const OUTPUTS: usize = 256;

thread_local! {
    static TILE: RefCell<Vec<f32>> = RefCell::default();
}

/// `dx += dy·W`, or without `accumulate` `dx = dy·W`: `dy` `[m, outputs]`, `dx` `[m, inputs]`.
pub(crate) fn multiply_transposed(
    m: usize,
    dy: &[f32],
    panels: &Panels,
    dx: &mut [f32],
    accumulate: bool,
) {
    let (inputs, outputs) = (panels.k, panels.n);
    assert!(dy.len() == m * outputs && dx.len() == m * inputs, "shapes of a product");
    if m == 0 {
        return;
    }
    let target = SharedMut(dx.as_mut_ptr());
    run(inputs.div_ceil(INPUTS), |task| {
        let columns = task * INPUTS..((task + 1) * INPUTS).min(inputs);
        TILE.with_borrow_mut(|tile| {
            for first in (0..outputs).step_by(OUTPUTS) {
                let rows = first..(first + OUTPUTS).min(outputs);
                tile.resize(rows.len() * columns.len(), 0.0);
                panels.restore(rows.clone(), columns.clone(), tile);
                let left = Left { data: &dy[first..], row: outputs, step: 1 };
                let right = Right::Rows {
                    data: tile,
                    step: columns.len(),
                    k: rows.len(),
                    n: columns.len(),
                };
                let finish = Finish { accumulate: accumulate || first > 0, ..Finish::REPLACE };
                let to = target.get().wrapping_add(columns.start);
                // SAFETY: these columns of all rows: this task's alone.
                unsafe { multiply_here(m, left, right, to, inputs, finish) };
            }
        });
    });
}

impl Panels {
    /// The weights of outputs `rows` and inputs `columns` (whole vectors of both but for the last
    /// outputs), row-major into `tile`.
    fn restore(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
        tile: &mut [f32],
    ) {
        let width = columns.len();
        let block = self.layout.block;
        for from in rows.clone().step_by(LANES) {
            let lanes = LANES.min(rows.end - from);
            for column in columns.clone().step_by(block) {
                let at = from / LANES * (self.k / block) + column / block;
                for lane in 0..lanes {
                    let begin = (from + lane - rows.start) * width + column - columns.start;
                    self.restore_block(at, lane, &mut tile[begin..begin + block]);
                }
            }
        }
    }

    /// All weights of output `j`, `[inputs]`.
    pub(crate) fn restore_row(&self, j: usize, row: &mut [f32]) {
        let block = self.layout.block;
        let first = j / LANES * (self.k / block);
        for (at, out) in row.chunks_exact_mut(block).enumerate() {
            self.restore_block(first + at, j % LANES, out);
        }
    }

    /// The weights of block `at` of all strips' blocks, in a lane.
    #[inline]
    fn restore_block(&self, at: usize, lane: usize, out: &mut [f32]) {
        let lines = self.layout.lines();
        let data = &self.data[at * lines..(at + 1) * lines];
        let scale = self.scales.get(self.layout, at, lane);
        let minimum = match self.layout.minimums {
            true => self.minimums.get(self.layout, at, lane),
            false => 0.0,
        };
        let value = |q: u8| (i32::from(q) - self.layout.offset) as f32 * scale + minimum;
        for (group, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (line, byte, shift) = self.layout.place(group * 4, lane);
            let mask = if self.layout.bits == 4 { 0x0F } else { 0xFF };
            let bytes = &data[line].0[byte..byte + 4];
            for (out, q) in out.iter_mut().zip(bytes) {
                *out = value(q >> shift & mask);
            }
        }
    }
}
