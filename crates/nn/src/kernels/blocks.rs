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

mod restore;

pub(crate) use restore::multiply_transposed;

use super::cpu::{Level, level};
use super::elementwise::{each_level, fma};
use super::f32::Finish;
use super::tile::LANES;
use crate::kernels::elementwise;
use crate::threads::{SharedMut, run, run_chunks, threads};
use half::f16;
use std::cell::RefCell;

/// Activations that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Most rows of a tile.
const ROWS: usize = 8;
/// Rows of a piece of parallel work.
const PIECE: usize = 64;
/// Bytes of weights that are worth handing to another thread.
const TASK_BYTES: usize = 16 << 10;
/// Multiply-adds under which handing out work costs more than it saves.
const SMALL: usize = 200_000;

/// How the integers of a weight lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// 4 or 8.
    pub(crate) bits: usize,
    /// Weights that share a scale: 32 or 16.
    pub(crate) block: usize,
    /// Subtracted from every integer.
    pub(crate) offset: i32,
    /// Whether blocks have minimums.
    pub(crate) minimums: bool,
}

/// One block of a column: `w = scale·(q − offset) + minimum`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// The integers, as many as the layout's block has.
    pub(crate) q: [u8; BLOCK],
    pub(crate) scale: f32,
    pub(crate) minimum: f32,
}

/// 64 bytes that begin on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Scales in half precision where that loses nothing.
#[derive(Clone, Debug)]
enum Scales {
    Half(Vec<f16>),
    Single(Vec<f32>),
}

/// A packed right operand `[k, n]`.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    layout: Layout,
    data: Vec<Line>,
    /// Of each block of each strip, 16.
    scales: Scales,
    /// As the scales; empty without.
    minimums: Vec<f32>,
}

impl Panels {
    /// Packs the operand whose column `j` has the blocks `block(j, 0)`, `block(j, 1)`, ….
    pub(crate) fn pack(
        k: usize,
        n: usize,
        layout: Layout,
        block: impl Fn(usize, usize) -> Block,
    ) -> Self {
        assert!(k.is_multiple_of(BLOCK), "whole blocks of inputs");
        assert!(layout.bits == 8 || layout.block == BLOCK, "half blocks of bytes only");
        let (blocks, strips) = (k / layout.block, n.div_ceil(LANES));
        let lines = layout.lines();
        let mut data = vec![Line([0; 64]); strips * blocks * lines];
        let mut scales = vec![0.0; strips * blocks * LANES];
        let mut minimums = vec![0.0; if layout.minimums { scales.len() } else { 0 }];
        for j in 0..n {
            let (strip, lane) = (j / LANES, j % LANES);
            for b in 0..blocks {
                let Block { q, scale, minimum } = block(j, b);
                let at = strip * blocks + b;
                scales[at * LANES + lane] = scale;
                if layout.minimums {
                    minimums[at * LANES + lane] = minimum;
                }
                for (kk, q) in q[..layout.block].iter().enumerate() {
                    let (line, byte, shift) = layout.place(kk, lane);
                    data[at * lines + line].0[byte] |= q << shift;
                }
            }
        }
        let half = || scales.iter().map(|s| f16::from_f32(*s));
        let exact = half().zip(&scales).all(|(h, s)| h.to_f32().to_bits() == s.to_bits());
        let scales = if exact { Scales::Half(half().collect()) } else { Scales::Single(scales) };
        Panels { k, n, layout, data, scales, minimums }
    }

    /// Element `(k, j)` as it is multiplied.
    pub(crate) fn get(&self, k: usize, j: usize) -> f32 {
        let Layout { block, offset, bits, minimums } = self.layout;
        let (strip, lane) = (j / LANES, j % LANES);
        let at = strip * (self.k / block) + k / block;
        let (line, byte, shift) = self.layout.place(k % block, lane);
        let mask = if bits == 4 { 0x0F } else { 0xFF };
        let q = self.data[at * self.layout.lines() + line].0[byte] >> shift & mask;
        let value = (i32::from(q) - offset) as f32 * self.scale(at * LANES + lane);
        if minimums { value + self.minimums[at * LANES + lane] } else { value }
    }

    fn scale(&self, at: usize) -> f32 {
        match &self.scales {
            Scales::Half(scales) => scales[at].to_f32(),
            Scales::Single(scales) => scales[at],
        }
    }

    /// Bytes of the packed operand.
    pub(crate) fn bytes(&self) -> usize {
        let scales = match &self.scales {
            Scales::Half(scales) => scales.len() * 2,
            Scales::Single(scales) => scales.len() * 4,
        };
        self.data.len() * 64 + scales + self.minimums.len() * 4
    }
}

impl Layout {
    /// Vectors of 64 bytes in a block of a strip.
    fn lines(self) -> usize {
        LANES * self.block * self.bits / 8 / 64
    }

    /// Line, byte and shift of element `k` of a block in a lane.
    fn place(self, k: usize, lane: usize) -> (usize, usize, usize) {
        let (group, byte) = (k / 4, lane * 4 + k % 4);
        if self.bits == 4 { (group / 2, byte, group % 2 * 4) } else { (group, byte, 0) }
    }
}

/// Quantized rows of the left operand.
#[derive(Default)]
struct Rows {
    bytes: Vec<i8>,
    /// Of each block of 32.
    scales: Vec<f32>,
    /// Sums of the bytes of each half block of 16.
    sums: Vec<i32>,
}

thread_local! {
    static LEFT: RefCell<Rows> = RefCell::default();
}

#[inline(always)]
fn quantize_body<const FMA: bool>(
    x: &[f32],
    bytes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    // 1.5·2²³: the sum's low bits are the nearest integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    let blocks = x.as_chunks::<BLOCK>().0.iter().zip(bytes.as_chunks_mut::<BLOCK>().0);
    for ((x, bytes), (scale, sums)) in
        blocks.zip(scales.iter_mut().zip(sums.as_chunks_mut::<2>().0))
    {
        let mut largest = [0.0f32; 16];
        for (i, x) in x.iter().enumerate() {
            let x = x.abs();
            largest[i % 16] = if x > largest[i % 16] { x } else { largest[i % 16] };
        }
        let largest = largest.iter().fold(0f32, |m, x| if *x > m { *x } else { m });
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for (byte, x) in bytes.iter_mut().zip(x) {
            let bits = fma::<FMA>(*x, inverse, ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            *byte = bits as i8;
        }
        for (sum, half) in sums.iter_mut().zip(bytes.as_chunks::<16>().0) {
            *sum = half.iter().map(|b| i32::from(*b)).sum();
        }
    }
}

each_level! {
    /// Quantizes a row to signed bytes, 32 to a scale; gives the sums of each 16 bytes too.
    quantize(x: &[f32], bytes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) = quantize_body
}

/// A tile: up to [`ROWS`] rows by one strip.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    /// Blocks of weights.
    pub(super) blocks: usize,
    /// Rows of bytes, `a_row` apart.
    pub(super) a: *const i8,
    pub(super) a_row: usize,
    /// Scales of the rows' blocks, `s_row` apart; sums of half blocks, twice as far.
    pub(super) row_scales: *const f32,
    pub(super) row_sums: *const i32,
    pub(super) s_row: usize,
    pub(super) b: *const u8,
    /// `f16` or `f32`.
    pub(super) scales: *const u8,
    /// Null without.
    pub(super) minimums: *const f32,
    pub(super) offset: i32,
    pub(super) c: *mut f32,
    pub(super) c_row: usize,
    /// Columns that exist.
    pub(super) last: usize,
    /// Null without.
    pub(super) bias: *const f32,
    pub(super) accumulate: bool,
}

/// Computes a tile.
///
/// # Safety
/// Everything the tile points to is there, and nobody else writes its part of the result.
pub(super) type StripFn = unsafe fn(&Strip);

/// What distinguishes the instances of a kernel.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) four_bits: bool,
    pub(super) half_block: bool,
    pub(super) half_scales: bool,
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
        quantize_rows(m, k, left, rows);
        let layout = right.layout;
        let (blocks, strips) = (k / layout.block, n.div_ceil(LANES));
        let shape = Shape {
            four_bits: layout.bits == 4,
            half_block: layout.block == 16,
            half_scales: matches!(right.scales, Scales::Half(_)),
        };
        let get = strip_fn(at, shape);
        let scale_bytes = if shape.half_scales { 2 } else { 4 };
        let scales: *const u8 = match &right.scales {
            Scales::Half(scales) => scales.as_ptr().cast(),
            Scales::Single(scales) => scales.as_ptr().cast(),
        };
        let whole = Strip {
            blocks,
            a: rows.bytes.as_ptr(),
            a_row: k,
            row_scales: rows.scales.as_ptr(),
            row_sums: rows.sums.as_ptr(),
            s_row: k / BLOCK,
            b: right.data.as_ptr().cast(),
            scales,
            minimums: std::ptr::null(),
            offset: layout.offset,
            c: std::ptr::null_mut(),
            c_row: n,
            last: LANES,
            bias: std::ptr::null(),
            accumulate: finish.accumulate,
        };
        let whole = Shared(whole);
        let out = SharedMut(target.as_mut_ptr());
        let strip_bytes = blocks * layout.lines() * 64;
        let strip = |strip: usize, first: usize, last: usize| {
            let whole = whole.get();
            let column = strip * LANES;
            let block = strip * blocks;
            for i in (first..last).step_by(ROWS) {
                let high = ROWS.min(last - i);
                let tile = Strip {
                    a: whole.a.wrapping_add(i * k),
                    row_scales: whole.row_scales.wrapping_add(i * whole.s_row),
                    row_sums: whole.row_sums.wrapping_add(i * whole.s_row * 2),
                    b: whole.b.wrapping_add(strip * strip_bytes),
                    scales: whole.scales.wrapping_add(block * LANES * scale_bytes),
                    minimums: if layout.minimums {
                        right.minimums.as_ptr().wrapping_add(block * LANES)
                    } else {
                        std::ptr::null()
                    },
                    c: out.get().wrapping_add(i * n + column),
                    last: LANES.min(n - column),
                    bias: finish.bias.map_or(std::ptr::null(), |b| b[column..].as_ptr()),
                    ..*whole
                };
                // SAFETY: the tile lies inside the operands, checked above, and inside this
                // task's rows and columns of the result.
                unsafe { get(high)(&tile) };
                if let Some(f) = finish.activation {
                    for row in i..i + high {
                        // SAFETY: this task's part of the row.
                        let row = unsafe {
                            let start = out.get().add(row * n + column);
                            std::slice::from_raw_parts_mut(start, tile.last)
                        };
                        elementwise::activate(f, row);
                    }
                }
            }
        };
        if m * k * n < SMALL {
            (0..strips).for_each(|s| strip(s, 0, m));
            return;
        }
        // Few rows: tasks of a cut of the columns that keeps all threads busy to the end.
        let per = (TASK_BYTES.div_ceil(strip_bytes)).min(strips.div_ceil(4 * threads())).max(1);
        let (cuts, pieces) = (strips.div_ceil(per), m.div_ceil(PIECE));
        run(cuts * pieces, |task| {
            let (cut, piece) = (task / pieces, task % pieces);
            let (first, last) = (piece * PIECE, (piece * PIECE + PIECE).min(m));
            (cut * per..((cut + 1) * per).min(strips)).for_each(|s| strip(s, first, last));
        });
    });
}

/// A description that tasks share to read.
struct Shared(Strip);

impl Shared {
    fn get(&self) -> &Strip {
        &self.0
    }
}

// SAFETY: only a description; tasks read what it points to, and write disjoint places.
unsafe impl Sync for Shared {}

fn quantize_rows(m: usize, k: usize, left: &[f32], rows: &mut Rows) {
    let blocks = k / BLOCK;
    rows.bytes.resize(m * k, 0);
    rows.scales.resize(m * blocks, 0.0);
    rows.sums.resize(m * blocks * 2, 0);
    let scales = SharedMut(rows.scales.as_mut_ptr());
    let sums = SharedMut(rows.sums.as_mut_ptr());
    const AT_ONCE: usize = 16;
    let task = |index: usize, piece: &mut [i8]| {
        for (i, bytes) in piece.chunks_exact_mut(k).enumerate() {
            let row = index * AT_ONCE + i;
            // SAFETY: `row` is under `m`, and this piece's alone.
            let (scales, sums) = unsafe {
                (
                    std::slice::from_raw_parts_mut(scales.get().add(row * blocks), blocks),
                    std::slice::from_raw_parts_mut(sums.get().add(row * blocks * 2), blocks * 2),
                )
            };
            quantize(&left[row * k..(row + 1) * k], bytes, scales, sums);
        }
    };
    if m * k < 65_536 {
        // One piece may hold more rows than `AT_ONCE`: rows count on from its index, 0.
        task(0, &mut rows.bytes);
    } else {
        run_chunks(&mut rows.bytes, k * AT_ONCE, task);
    }
}

/// The functions of a kernel by the number of rows, from 1 to [`ROWS`].
fn strip_fn(at: Level, shape: Shape) -> fn(usize) -> StripFn {
    #[cfg(target_arch = "x86_64")]
    {
        if at >= Level::Vnni {
            return super::avx512_blocks::strips(shape);
        }
        if at >= Level::Avx2 {
            return avx2_strips(shape);
        }
    }
    let _ = at;
    any_strips(shape)
}

/// A table of the instances of a strip function for 1 to 8 rows and each shape that a format has.
macro_rules! strip_table {
    ($name:ident, $shape:expr) => {{
        macro_rules! by_rows {
            ($four:literal, $half_block:literal, $half_scales:literal) => {{
                fn get(rows: usize) -> StripFn {
                    match rows {
                        1 => $name::<1, $four, $half_block, $half_scales>,
                        2 => $name::<2, $four, $half_block, $half_scales>,
                        3 => $name::<3, $four, $half_block, $half_scales>,
                        4 => $name::<4, $four, $half_block, $half_scales>,
                        5 => $name::<5, $four, $half_block, $half_scales>,
                        6 => $name::<6, $four, $half_block, $half_scales>,
                        7 => $name::<7, $four, $half_block, $half_scales>,
                        _ => $name::<8, $four, $half_block, $half_scales>,
                    }
                }
                get
            }};
        }
        let Shape { four_bits, half_block, half_scales } = $shape;
        match (four_bits, half_block, half_scales) {
            // Four bits go with whole blocks only: `Panels::pack` sees to it.
            (true, _, true) => by_rows!(true, false, true),
            (true, _, false) => by_rows!(true, false, false),
            (false, false, true) => by_rows!(false, false, true),
            (false, false, false) => by_rows!(false, false, false),
            (false, true, true) => by_rows!(false, true, true),
            (false, true, false) => by_rows!(false, true, false),
        }
    }};
}
pub(super) use strip_table;

#[inline(always)]
unsafe fn strip_body<
    const M: usize,
    const FOUR: bool,
    const HALF_BLOCK: bool,
    const HALF_SCALES: bool,
    const FMA: bool,
>(
    t: &Strip,
) {
    let block = if HALF_BLOCK { 16 } else { 32 };
    let per_line = if FOUR { 2 } else { 1 };
    let lines = block / 4 / per_line;
    let mut sums = [[0f32; LANES]; M];
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        for b in 0..t.blocks {
            let scales: [f32; LANES] = if HALF_SCALES {
                (*t.scales.cast::<[f16; LANES]>().add(b)).map(f16::to_f32)
            } else {
                *t.scales.cast::<[f32; LANES]>().add(b)
            };
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = t.a.add(i * t.a_row + b * block);
                let (a_scale, a_sum) = row_of::<HALF_BLOCK>(t, i, b);
                let mut acc = [-t.offset * a_sum; LANES];
                for line in 0..lines {
                    let w = &*t.b.add((b * lines + line) * 64).cast::<[u8; 64]>();
                    for part in 0..per_line {
                        let a = a.add((line * per_line + part) * 4);
                        let a = [0, 1, 2, 3].map(|x| i32::from(*a.add(x)));
                        for (lane, sum) in acc.iter_mut().enumerate() {
                            for x in 0..4 {
                                let byte = w[lane * 4 + x];
                                let q = if !FOUR {
                                    byte
                                } else if part == 0 {
                                    byte & 0x0F
                                } else {
                                    byte >> 4
                                };
                                *sum += i32::from(q) * a[x];
                            }
                        }
                    }
                }
                for lane in 0..LANES {
                    sums[lane] = fma::<FMA>(acc[lane] as f32, scales[lane] * a_scale, sums[lane]);
                }
                if !t.minimums.is_null() {
                    let least = &*t.minimums.add(b * LANES).cast::<[f32; LANES]>();
                    let factor = a_scale * a_sum as f32;
                    for lane in 0..LANES {
                        sums[lane] = fma::<FMA>(least[lane], factor, sums[lane]);
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (lane, sum) in sums.iter().enumerate().take(t.last) {
                let c = &mut *t.c.add(i * t.c_row + lane);
                let value = if t.bias.is_null() { *sum } else { *sum + *t.bias.add(lane) };
                *c = if t.accumulate { value + *c } else { value };
            }
        }
    }
}

/// Scale and sum of the bytes of row `i` under block `b` of weights.
#[inline(always)]
pub(super) unsafe fn row_of<const HALF_BLOCK: bool>(t: &Strip, i: usize, b: usize) -> (f32, i32) {
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        let sums = t.row_sums.add(i * t.s_row * 2);
        if HALF_BLOCK {
            (*t.row_scales.add(i * t.s_row + b / 2), *sums.add(b))
        } else {
            (*t.row_scales.add(i * t.s_row + b), *sums.add(2 * b) + *sums.add(2 * b + 1))
        }
    }
}

/// # Safety
/// As [`StripFn`].
unsafe fn any_strip<const M: usize, const FOUR: bool, const HB: bool, const HS: bool>(t: &Strip) {
    // SAFETY: the caller's promise.
    unsafe { strip_body::<M, FOUR, HB, HS, false>(t) }
}

/// # Safety
/// As [`StripFn`], on a processor with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_strip<const M: usize, const FOUR: bool, const HB: bool, const HS: bool>(t: &Strip) {
    // SAFETY: the caller's promise.
    unsafe { strip_body::<M, FOUR, HB, HS, true>(t) }
}

fn any_strips(shape: Shape) -> fn(usize) -> StripFn {
    strip_table!(any_strip, shape)
}

#[cfg(target_arch = "x86_64")]
fn avx2_strips(shape: Shape) -> fn(usize) -> StripFn {
    strip_table!(avx2_strip, shape)
}

#[cfg(test)]
mod tests {
    use super::super::cpu::levels;
    use super::*;
    use crate::gradient_check::matrix;

    const LAYOUTS: [Layout; 5] = [
        Layout { bits: 4, block: 32, offset: 8, minimums: false },
        Layout { bits: 4, block: 32, offset: 0, minimums: true },
        Layout { bits: 8, block: 32, offset: 128, minimums: false },
        Layout { bits: 8, block: 16, offset: 32, minimums: false },
        Layout { bits: 8, block: 32, offset: 0, minimums: true },
    ];

    /// Reproducible blocks; `exact` chooses scales that half precision holds.
    fn panels(k: usize, n: usize, layout: Layout, exact: bool) -> Panels {
        let numbers = matrix(n, k + 2 * k / layout.block, 7);
        let most = if layout.bits == 4 { 15.0 } else { 255.0 };
        Panels::pack(k, n, layout, |j, b| {
            let row = numbers.row(j);
            let mut q = [0; BLOCK];
            for (q, x) in q.iter_mut().zip(&row[b * layout.block..(b + 1) * layout.block]) {
                *q = ((x + 1.0) / 2.0 * most).round() as u8;
            }
            let of = |at: usize| {
                let x = row[k + 2 * b + at] * 0.01;
                if exact { f16::from_f32(x).to_f32() } else { x }
            };
            Block { q, scale: of(0), minimum: of(1) }
        })
    }

    #[test]
    fn every_instruction_set_multiplies_what_the_blocks_hold() {
        for layout in LAYOUTS {
            for (m, k, n, exact) in
                [(1, 32, 1, true), (3, 64, 33, false), (8, 96, 16, true), (70, 256, 112, false)]
            {
                let (x, panels) = (matrix(m, k, 3), panels(k, n, layout, exact));
                assert_eq!(matches!(panels.scales, Scales::Half(_)), exact);
                let (bias, start) = (matrix(1, n, 4).data, matrix(m, n, 5));
                let mut rows = Rows::default();
                quantize_rows(m, k, &x.data, &mut rows);
                let mut results = Vec::new();
                for level in levels() {
                    let mut y = start.data.clone();
                    let finish = Finish { bias: Some(&bias), accumulate: true, ..Finish::REPLACE };
                    multiply_at(level, m, &x.data, &panels, &mut y, finish);
                    for (at, y) in y.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let exact: f64 = (0..k)
                            .map(|kk| {
                                let q = f64::from(rows.bytes[i * k + kk]);
                                let scale = rows.scales[i * (k / BLOCK) + kk / BLOCK];
                                q * f64::from(scale) * f64::from(panels.get(kk, j))
                            })
                            .sum();
                        let want = exact + f64::from(bias[j]) + f64::from(start.data[at]);
                        let error = (f64::from(*y) - want).abs();
                        assert!(error < 1e-4, "{layout:?} {level:?} ({i}, {j}): {y}, not {want}");
                    }
                    results.push(y);
                }
                // Without FMA the sums round once more.
                let fused = &results[1..];
                assert!(fused.iter().all(|y| y == &fused[0]), "{layout:?}");
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_their_company() {
        let (k, n) = (128, 160);
        let (x, panels) = (matrix(90, k, 3), panels(k, n, LAYOUTS[0], true));
        let mut all = vec![0.0; 90 * n];
        multiply(90, &x.data, &panels, &mut all, Finish::REPLACE);
        for i in [0, 7, 63, 64, 89] {
            let mut one = vec![0.0; n];
            multiply(1, x.row(i), &panels, &mut one, Finish::REPLACE);
            assert_eq!(one, all[i * n..(i + 1) * n]);
        }
    }

    #[test]
    fn rows_are_kept_within_half_a_step() {
        let x = matrix(5, 96, 9);
        let mut rows = Rows::default();
        quantize_rows(5, 96, &x.data, &mut rows);
        for (at, x) in x.data.iter().enumerate() {
            let kept = f32::from(rows.bytes[at]) * rows.scales[at / 32];
            assert!((x - kept).abs() <= rows.scales[at / 32] * 0.501);
        }
        for (sum, bytes) in rows.sums.iter().zip(rows.bytes.chunks(16)) {
            assert_eq!(*sum, bytes.iter().map(|b| i32::from(*b)).sum::<i32>());
        }
    }
}
