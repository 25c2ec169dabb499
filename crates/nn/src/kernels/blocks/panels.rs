//! The packed right operand: weights as the kernels read them.

use super::BLOCK;
use super::memory::Piece;
use crate::kernels::tile::LANES;
use crate::threads::{SharedMut, run};
use half::f16;

/// Weights that share the unit of their scales, where scales are steps.
const UNIT: usize = 256;

/// How the integers of a weight lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// 4 or 8.
    pub(crate) bits: usize,
    /// Weights that share a scale: 32, or 16 (of 8 bits, with steps, without minimums).
    pub(crate) block: usize,
    /// Subtracted from every integer.
    pub(crate) offset: i32,
    /// Whether blocks have minimums.
    pub(crate) minimums: bool,
    /// Whether scales and minimums are small multiples of a unit of 256 weights.
    pub(crate) steps: bool,
}

/// A scale or minimum: `unit·step`; without steps in the layout, `step` is 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factor {
    pub(crate) unit: f16,
    pub(crate) step: i8,
}

/// One block of a column: `w = scale·(q − offset) + minimum`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// The integers, as many as the layout's block has.
    pub(crate) q: [u8; BLOCK],
    pub(crate) scale: Factor,
    pub(crate) minimum: Factor,
}

/// 64 bytes that begin on a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u8; 64]);

/// Scales or minimums, 16 of each block of each strip.
#[derive(Clone, Debug, Default)]
pub(super) struct Factors {
    /// Of each block, or of each [`UNIT`] weights.
    pub(super) units: Piece<f16>,
    /// Of each block; empty where units are the factors.
    pub(super) steps: Piece<i8>,
}

impl Factors {
    fn zeros(layout: Layout, strips: usize, blocks: usize) -> Self {
        let numbers = strips * blocks * LANES;
        let steps = if layout.steps { numbers } else { 0 };
        Factors {
            units: Piece::filled(f16::ZERO, numbers / layout.blocks_per_unit()),
            steps: Piece::filled(0, steps),
        }
    }

    /// Of block `at` of all strips' blocks, in a lane.
    pub(super) fn get(&self, layout: Layout, at: usize, lane: usize) -> f32 {
        let unit = self.units[at / layout.blocks_per_unit() * LANES + lane].to_f32();
        if layout.steps { unit * f32::from(self.steps[at * LANES + lane]) } else { unit }
    }

    fn bytes(&self) -> usize {
        self.units.len() * 2 + self.steps.len()
    }
}

/// A packed right operand `[k, n]`.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) layout: Layout,
    pub(super) data: Piece<Line>,
    pub(super) scales: Factors,
    /// Empty without.
    pub(super) minimums: Factors,
}

impl Panels {
    /// Packs the operand whose column `j` has the blocks `block(j, 0)`, `block(j, 1)`, …, on all
    /// threads.
    pub(crate) fn pack(
        k: usize,
        n: usize,
        layout: Layout,
        block: impl Fn(usize, usize) -> Block + Sync,
    ) -> Self {
        assert!(k.is_multiple_of(if layout.steps { UNIT } else { BLOCK }), "whole blocks");
        let half = layout.block != BLOCK;
        assert!(
            !half || layout.bits == 8 && layout.steps && !layout.minimums,
            "half blocks of bytes with steps only"
        );
        let (blocks, strips) = (k / layout.block, n.div_ceil(LANES));
        let lines = layout.lines();
        let mut data = Piece::filled(Line([0; 64]), strips * blocks * lines);
        let mut scales = Factors::zeros(layout, strips, blocks);
        let mut minimums = match layout.minimums {
            true => Factors::zeros(layout, strips, blocks),
            false => Factors::default(),
        };
        let to = SharedMut(data.as_mut_ptr());
        let (scale, minimum) = (Writer::new(&mut scales), Writer::new(&mut minimums));
        run(strips, |strip| {
            for j in strip * LANES..((strip + 1) * LANES).min(n) {
                for b in 0..blocks {
                    let (block, at) = (block(j, b), strip * blocks + b);
                    // SAFETY: block `at` lies in this strip, which is this task's alone.
                    let out = unsafe {
                        scale.set(layout, at, j % LANES, block.scale);
                        if layout.minimums {
                            minimum.set(layout, at, j % LANES, block.minimum);
                        }
                        std::slice::from_raw_parts_mut(to.get().add(at * lines), lines)
                    };
                    for (kk, q) in block.q[..layout.block].iter().enumerate() {
                        let (line, byte, shift) = layout.place(kk, j % LANES);
                        out[line].0[byte] |= q << shift;
                    }
                }
            }
        });
        Panels { k, n, layout, data, scales, minimums }
    }

    /// Element `(k, j)` as it is multiplied.
    pub(crate) fn get(&self, k: usize, j: usize) -> f32 {
        let Layout { block, offset, bits, minimums, .. } = self.layout;
        let (strip, lane) = (j / LANES, j % LANES);
        let at = strip * (self.k / block) + k / block;
        let (line, byte, shift) = self.layout.place(k % block, lane);
        let mask = if bits == 4 { 0x0F } else { 0xFF };
        let q = self.data[at * self.layout.lines() + line].0[byte] >> shift & mask;
        let value = (i32::from(q) - offset) as f32 * self.scales.get(self.layout, at, lane);
        if minimums { value + self.minimums.get(self.layout, at, lane) } else { value }
    }

    /// Bytes of the packed operand.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * 64 + self.scales.bytes() + self.minimums.bytes()
    }
}

impl Layout {
    /// Vectors of 64 bytes in a block of a strip.
    pub(super) fn lines(self) -> usize {
        LANES * self.block * self.bits / 8 / 64
    }

    /// Blocks that share a unit.
    pub(super) fn blocks_per_unit(self) -> usize {
        if self.steps { UNIT / self.block } else { 1 }
    }

    /// Line, byte and shift of element `k` of a block in a lane.
    pub(super) fn place(self, k: usize, lane: usize) -> (usize, usize, usize) {
        let (group, byte) = (k / 4, lane * 4 + k % 4);
        if self.bits == 4 { (group / 2, byte, group % 2 * 4) } else { (group, byte, 0) }
    }
}

/// Factors that tasks write, each those of its own strips.
struct Writer {
    units: SharedMut<f16>,
    steps: SharedMut<i8>,
}

impl Writer {
    fn new(factors: &mut Factors) -> Self {
        Writer {
            units: SharedMut(factors.units.as_mut_ptr()),
            steps: SharedMut(factors.steps.as_mut_ptr()),
        }
    }

    /// # Safety
    /// There is a block `at`, and nobody else writes to its strip.
    unsafe fn set(&self, layout: Layout, at: usize, lane: usize, factor: Factor) {
        let unit = at / layout.blocks_per_unit() * LANES + lane;
        // SAFETY: the caller's promise.
        unsafe {
            *self.units.get().add(unit) = factor.unit;
            if layout.steps {
                *self.steps.get().add(at * LANES + lane) = factor.step;
            }
        }
    }
}
