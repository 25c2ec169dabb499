//! The plan of a matrix product: tiles of a few rows by up to three vectors of 16 columns, and
//! how they are laid over the result and shared out to threads.
//!
//! Every element of the result is one sum over `k` in rising order inside one tile, so neither the
//! cut into tiles nor the threads change its bits.

use super::cpu::Level;
use crate::Activation;
use crate::kernels::elementwise;
use crate::threads::{SharedMut, run};
use std::ops::Range;

/// Columns of a vector.
pub(crate) const LANES: usize = 16;
/// Vectors of a panel: what a packed right operand is cut into.
const VECTORS: usize = 3;
/// Columns of a full panel.
pub(crate) const PANEL: usize = LANES * VECTORS;
/// Rows of a piece of parallel work. At 1,536 inputs a piece's `f32` rows and its panel together
/// stay within 1 MiB of second-level cache.
const ROWS: usize = 64;
/// Groups of `k` that are multiplied at a time: their part of a panel stays in first-level cache
/// while it meets all rows of a piece.
const DEPTH: usize = 128;
/// Vector instructions under which handing out work costs more than it saves: some 3 µs.
const SMALL: usize = 10_000;

/// What a tile computes. Pointers and strides are in units of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Groups along `k`.
    pub(crate) k: usize,
    /// Left operand: group `(i, k)` at `a + i·a_row + k·a_step`.
    pub(crate) a: *const u32,
    pub(crate) a_row: usize,
    pub(crate) a_step: usize,
    /// Right operand: the vectors of group `k` at `b + k·b_step`.
    pub(crate) b: *const u32,
    pub(crate) b_step: usize,
    /// Sums so far, rows [`PANEL`] apart: read unless `begins`, and written unless `ends`.
    pub(crate) sums: *mut u32,
    /// Whether this is the first part of `k`.
    pub(crate) begins: bool,
    /// Whether this is the last part of `k`: the result is written.
    pub(crate) ends: bool,
    /// Result: row `i` at `c + i·c_row`.
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// Columns of the last vector that exist.
    pub(crate) last: usize,
    /// Per column; null where there is none.
    pub(crate) bias: *const f32,
    /// Multiplies the sums (floats only).
    pub(crate) alpha: f32,
    /// Adds to the result instead of replacing it.
    pub(crate) accumulate: bool,
    /// Integers only: what turns sums into floats.
    pub(crate) scales: Scales,
}

/// How integer sums become floats: `(sum − zero_i·sum_j) · scale_i · scale_j`.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    /// Scale of each left row.
    pub(crate) row: *const f32,
    /// Zero point of each left row.
    pub(crate) zero: *const i32,
    /// Scale of each column.
    pub(crate) column: *const f32,
    /// Sum of each column's weights.
    pub(crate) sum: *const i32,
}

impl Scales {
    /// For products of floats.
    pub(crate) const NONE: Scales = Scales {
        row: std::ptr::null(),
        zero: std::ptr::null(),
        column: std::ptr::null(),
        sum: std::ptr::null(),
    };
}

// SAFETY: a tile is a description; those who run it keep the places it writes disjoint.
unsafe impl Send for Tile {}
// SAFETY: as above.
unsafe impl Sync for Tile {}

/// Computes one tile.
///
/// # Safety
/// Everything the tile points to is there, and nobody else writes its part of the result.
pub(crate) type TileFn = unsafe fn(&Tile);

/// The tiles of one kernel.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    /// Most rows of a tile.
    pub(crate) rows: usize,
    /// Most vectors of a tile.
    pub(crate) vectors: usize,
    /// The function for so many rows and vectors.
    pub(crate) get: fn(usize, usize) -> TileFn,
}

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    F32,
    Bf16,
    Int8,
}

/// The tiles of a kernel at a level of the processor.
pub(crate) fn tiles(kernel: Kernel, level: Level) -> Tiles {
    #[cfg(target_arch = "x86_64")]
    {
        use super::avx512;
        match kernel {
            Kernel::F32 if level >= Level::Avx512 => return avx512::F32,
            Kernel::Int8 if level >= Level::Vnni => return avx512::INT8,
            Kernel::Bf16 if level >= Level::Bf16 => return avx512::BF16,
            _ => {}
        }
        if level >= Level::Avx2 {
            return super::portable::avx2(kernel);
        }
    }
    let _ = level;
    super::portable::any(kernel)
}

/// A whole product: a [`Tile`] that stands for all of it, and its extent.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) whole: Tile,
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// Whether `b` is packed into panels; otherwise its rows are `b_step` apart and `n` is a
    /// multiple of [`LANES`].
    pub(crate) packed: bool,
    pub(crate) activation: Option<Activation>,
}

impl Product {
    /// Computes it on all threads, or, when `here`, on this one.
    ///
    /// # Safety
    /// Everything that the tile points to must be there for `m` rows and `n` columns, packed
    /// operands padded to whole vectors; nobody else may touch the result.
    pub(crate) unsafe fn compute(&self, tiles: Tiles, here: bool) {
        let panels = self.n.div_ceil(PANEL);
        let blocks = self.m.div_ceil(ROWS);
        let piece = |task: usize| {
            // SAFETY: the caller's promise; pieces are disjoint blocks of the result.
            unsafe { self.piece(tiles, task / blocks, task % blocks) }
        };
        if here || self.m * self.n * self.whole.k < SMALL * LANES {
            (0..panels * blocks).for_each(piece);
        } else {
            run(panels * blocks, piece);
        }
    }

    /// Rows `block` of columns `panel`.
    unsafe fn piece(&self, tiles: Tiles, panel: usize, block: usize) {
        let (first, last) = (block * ROWS, (block * ROWS + ROWS).min(self.m));
        let columns = PANEL.min(self.n - panel * PANEL);
        let vectors = columns.div_ceil(LANES);
        let t = &self.whole;
        let (b, b_step) = if self.packed {
            (t.b.wrapping_add(panel * PANEL * t.k), vectors * LANES)
        } else {
            (t.b.wrapping_add(panel * PANEL), t.b_step)
        };
        let mut sums = [std::mem::MaybeUninit::<u32>::uninit(); ROWS * PANEL];
        let mut from = 0;
        loop {
            let depth = DEPTH.min(t.k - from);
            let part = Tile {
                k: depth,
                a: t.a.wrapping_add(first * t.a_row + from * t.a_step),
                b: b.wrapping_add(from * b_step),
                b_step,
                sums: sums.as_mut_ptr().cast(),
                begins: from == 0,
                ends: from + depth == t.k,
                c: t.c.wrapping_add(first * t.c_row),
                ..*t
            };
            // SAFETY: the part lies inside the product, and `sums` has room for the piece.
            unsafe { self.part(tiles, &part, panel, first..last) };
            from += depth;
            if from >= t.k {
                break;
            }
        }
        if let Some(f) = self.activation {
            let c = SharedMut(t.c);
            for i in first..last {
                // SAFETY: this piece's part of row `i`.
                let row = unsafe {
                    let start = c.get().add(i * t.c_row + panel * PANEL);
                    std::slice::from_raw_parts_mut(start, columns)
                };
                elementwise::activate(f, row);
            }
        }
    }

    /// The tiles of one part of `k` over one piece, whose operands and result `part` points to.
    unsafe fn part(&self, tiles: Tiles, part: &Tile, panel: usize, rows: Range<usize>) {
        let vectors = PANEL.min(self.n - panel * PANEL).div_ceil(LANES);
        let at = |p: *const f32, by: usize| if p.is_null() { p } else { p.wrapping_add(by) };
        for v in (0..vectors).step_by(tiles.vectors) {
            let wide = tiles.vectors.min(vectors - v);
            let column = panel * PANEL + v * LANES;
            for i in (0..rows.len()).step_by(tiles.rows) {
                let high = tiles.rows.min(rows.len() - i);
                let scales = &part.scales;
                let tile = Tile {
                    a: part.a.wrapping_add(i * part.a_row),
                    b: part.b.wrapping_add(v * LANES),
                    sums: part.sums.wrapping_add(i * PANEL + v * LANES),
                    c: part.c.wrapping_add(i * part.c_row + column),
                    last: LANES.min(self.n - column - (wide - 1) * LANES),
                    bias: at(part.bias, column),
                    scales: Scales {
                        row: at(scales.row, rows.start + i),
                        zero: scales.zero.wrapping_add(rows.start + i),
                        column: at(scales.column, column),
                        sum: scales.sum.wrapping_add(column),
                    },
                    ..*part
                };
                // SAFETY: the tile lies inside the product.
                unsafe { (tiles.get)(high, wide)(&tile) };
            }
        }
    }
}

/// Packs a right operand `[k, n]` whose element `(k, j)` is `read(k, j)` into panels of groups of
/// `per` elements along `k`: in each panel, for each group, for each column, the group's 32 bits.
/// Columns and `k` are padded with zeros to whole vectors and groups.
#[inline]
pub(crate) fn pack(
    k: usize,
    n: usize,
    per: usize,
    read: impl Fn(usize, usize) -> u32,
    data: &mut Vec<u32>,
) {
    let groups = k.div_ceil(per);
    data.clear();
    data.resize(groups * n.next_multiple_of(LANES), 0);
    let bits = 32 / per;
    let mut start = 0;
    for first in (0..n).step_by(PANEL) {
        let columns = PANEL.min(n - first);
        let width = columns.next_multiple_of(LANES);
        for j in 0..columns {
            for kk in 0..k {
                let (group, place) = (kk / per, kk % per);
                data[start + group * width + j] |= read(kk, first + j) << (place * bits);
            }
        }
        start += groups * width;
    }
}

/// Where [`pack`] puts element `(k, j)`: its group's index and the shift inside it.
pub(crate) fn packed_place(k: usize, n: usize, per: usize, at: (usize, usize)) -> (usize, usize) {
    let first = at.1 / PANEL * PANEL;
    let width = PANEL.min(n - first).next_multiple_of(LANES);
    let index = first * k.div_ceil(per) + at.0 / per * width + (at.1 - first);
    (index, at.0 % per * (32 / per))
}
