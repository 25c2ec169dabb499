//! One tile of the product: the rows of a panel by 16 columns, in portable code.

use crate::kernels::elementwise::fma;
use crate::kernels::tile::LANES;
use half::f16;

/// A tile.
#[derive(Clone, Copy)]
pub(super) struct Strip {
    /// Rows, as many as the panel has.
    pub(super) rows: usize,
    /// Blocks of 32 inputs.
    pub(super) blocks: usize,
    /// The panel of rows.
    pub(super) a: *const i8,
    pub(super) a_scales: *const f32,
    pub(super) a_starts: *const i32,
    /// Of the minimums; null without.
    pub(super) a_factors: *const f32,
    /// The strip of weights.
    pub(super) b: *const u8,
    pub(super) units: *const f16,
    /// Null where the shape has none.
    pub(super) steps: *const i8,
    pub(super) minimum_units: *const f16,
    pub(super) minimum_steps: *const i8,
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

/// What distinguishes the instances of a kernel: the layouts of the block formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) four_bits: bool,
    pub(super) half_block: bool,
    pub(super) steps: bool,
}

/// Picks the instance of `$name<…, FOUR, HALF_BLOCK, STEPS>` for a shape.
macro_rules! by_shape {
    ($shape:expr, $name:ident $(, $rows:literal)?) => {{
        let Shape { four_bits, half_block, steps } = $shape;
        match (four_bits, half_block, steps) {
            (true, _, false) => $name::<$($rows,)? true, false, false>,
            (true, _, true) => $name::<$($rows,)? true, false, true>,
            (false, false, false) => $name::<$($rows,)? false, false, false>,
            (false, false, true) => $name::<$($rows,)? false, false, true>,
            // Half blocks come with steps: `Panels::pack` sees to it.
            (false, true, _) => $name::<$($rows,)? false, true, true>,
        }
    }};
}
pub(super) use by_shape;

#[inline(always)]
unsafe fn strip_body<
    const FOUR: bool,
    const HALF_BLOCK: bool,
    const STEPS: bool,
    const FMA: bool,
>(
    t: &Strip,
) {
    let block = if HALF_BLOCK { 16 } else { 32 };
    let parts = 32 / block;
    let per_line = if FOUR { 2 } else { 1 };
    let lines = block / 4 / per_line;
    for i in 0..t.rows {
        let mut sums = [0f32; LANES];
        // SAFETY: the caller's promise about everything the tile points to.
        unsafe {
            for b in 0..t.blocks * parts {
                let whole = b / parts * t.rows + i;
                let a = t.a.add(whole * 32 + b % parts * block);
                let a_scale = *t.a_scales.add(whole);
                let mut acc = [*t.a_starts.add(b * t.rows + i); LANES];
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
                let scales = factors::<STEPS>(t.units, t.steps, b, 256 / block);
                for lane in 0..LANES {
                    sums[lane] = fma::<FMA>(acc[lane] as f32, scales[lane] * a_scale, sums[lane]);
                }
                if !t.a_factors.is_null() {
                    let least = factors::<STEPS>(t.minimum_units, t.minimum_steps, b, 256 / block);
                    let factor = *t.a_factors.add(whole);
                    for lane in 0..LANES {
                        sums[lane] = fma::<FMA>(least[lane], factor, sums[lane]);
                    }
                }
            }
            for (lane, sum) in sums.iter().enumerate().take(t.last) {
                let c = &mut *t.c.add(i * t.c_row + lane);
                let value = if t.bias.is_null() { *sum } else { *sum + *t.bias.add(lane) };
                *c = if t.accumulate { value + *c } else { value };
            }
        }
    }
}

/// The scales or minimums of block `b` of a strip.
///
/// # Safety
/// They are there.
#[inline(always)]
unsafe fn factors<const STEPS: bool>(
    units: *const f16,
    steps: *const i8,
    b: usize,
    per_unit: usize,
) -> [f32; LANES] {
    // SAFETY: the caller's promise.
    unsafe {
        if !STEPS {
            return (*units.cast::<[f16; LANES]>().add(b)).map(f16::to_f32);
        }
        let units = (*units.cast::<[f16; LANES]>().add(b / per_unit)).map(f16::to_f32);
        let steps = *steps.cast::<[i8; LANES]>().add(b);
        std::array::from_fn(|lane| units[lane] * f32::from(steps[lane]))
    }
}

/// # Safety
/// As [`StripFn`].
unsafe fn any_strip<const FOUR: bool, const HALF: bool, const STEPS: bool>(t: &Strip) {
    // SAFETY: the caller's promise.
    unsafe { strip_body::<FOUR, HALF, STEPS, false>(t) }
}

/// # Safety
/// As [`StripFn`], on a processor with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2_strip<const FOUR: bool, const HALF: bool, const STEPS: bool>(t: &Strip) {
    // SAFETY: the caller's promise.
    unsafe { strip_body::<FOUR, HALF, STEPS, true>(t) }
}

/// The function for any processor, of any number of rows.
pub(super) fn any(shape: Shape) -> StripFn {
    by_shape!(shape, any_strip)
}

/// The same for processors with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(super) fn avx2(shape: Shape) -> StripFn {
    by_shape!(shape, avx2_strip)
}
