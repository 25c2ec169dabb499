//! Tiles in plain Rust: 4 rows by one vector of 16 columns, which the compiler turns into vector
//! instructions; compiled once for AVX2 with FMA and once for any processor.

use super::tile::{Kernel, LANES, PANEL, Tile, TileFn, Tiles};

/// One step of a sum: 32 bits of the left and of the right operand.
trait Step {
    type Sum: Copy + Default;
    fn step<const FMA: bool>(sum: Self::Sum, a: u32, b: u32) -> Self::Sum;
    /// The sum as a float; `column` and `row` are those of the tile.
    unsafe fn value<const FMA: bool>(t: &Tile, sum: Self::Sum, row: usize, column: usize) -> f32;
}

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
unsafe fn bias(t: &Tile, column: usize) -> f32 {
    // SAFETY: where there is a bias there is one for each column.
    if t.bias.is_null() { 0.0 } else { unsafe { *t.bias.add(column) } }
}

struct F32;
impl Step for F32 {
    type Sum = f32;
    #[inline(always)]
    fn step<const FMA: bool>(sum: f32, a: u32, b: u32) -> f32 {
        fma::<FMA>(f32::from_bits(a), f32::from_bits(b), sum)
    }
    #[inline(always)]
    unsafe fn value<const FMA: bool>(t: &Tile, sum: f32, _: usize, column: usize) -> f32 {
        // SAFETY: the column is inside the tile.
        fma::<FMA>(sum, t.alpha, unsafe { bias(t, column) })
    }
}

struct Bf16;
impl Step for Bf16 {
    type Sum = f32;
    /// VDPBF16PS adds the product of the upper halves first, then that of the lower ones.
    #[inline(always)]
    fn step<const FMA: bool>(sum: f32, a: u32, b: u32) -> f32 {
        let high = |x: u32| f32::from_bits(x & 0xFFFF_0000);
        let low = |x: u32| f32::from_bits(x << 16);
        fma::<FMA>(low(a), low(b), fma::<FMA>(high(a), high(b), sum))
    }
    #[inline(always)]
    unsafe fn value<const FMA: bool>(t: &Tile, sum: f32, _: usize, column: usize) -> f32 {
        // SAFETY: the column is inside the tile.
        fma::<FMA>(sum, t.alpha, unsafe { bias(t, column) })
    }
}

struct Int8;
impl Step for Int8 {
    type Sum = i32;
    #[inline(always)]
    fn step<const FMA: bool>(sum: i32, a: u32, b: u32) -> i32 {
        // Pairs of 16-bit products, as VPMADDWD forms them: exact, unlike VPMADDUBSW.
        let even = |x: u32| ((x & 0xFF) as i32, ((x >> 16) & 0xFF) as i32);
        let (a0, a2) = even(a);
        let (a1, a3) = even(a >> 8);
        let signed = |x: u32, shift: u32| ((x << (24 - shift)) as i32) >> 24;
        sum + a0 * signed(b, 0) + a1 * signed(b, 8) + a2 * signed(b, 16) + a3 * signed(b, 24)
    }
    #[inline(always)]
    unsafe fn value<const FMA: bool>(t: &Tile, sum: i32, row: usize, column: usize) -> f32 {
        // SAFETY: row and column are inside the tile.
        unsafe {
            let offset = *t.scales.zero.add(row) * *t.scales.sum.add(column);
            let value = (sum - offset) as f32 * *t.scales.row.add(row);
            fma::<FMA>(value, *t.scales.column.add(column), bias(t, column))
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Step, const M: usize, const FMA: bool>(t: &Tile) {
    let mut acc = [[S::Sum::default(); LANES]; M];
    // SAFETY: the caller's promise about everything the tile points to; sums take 32 bits.
    unsafe {
        let kept = |i: usize| t.sums.wrapping_add(i * PANEL).cast::<[S::Sum; LANES]>();
        if !t.begins {
            for (i, row) in acc.iter_mut().enumerate() {
                *row = *kept(i);
            }
        }
        for k in 0..t.k {
            let b = &*t.b.add(k * t.b_step).cast::<[u32; LANES]>();
            for (i, row) in acc.iter_mut().enumerate() {
                let a = *t.a.add(i * t.a_row + k * t.a_step);
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = S::step::<FMA>(*sum, a, *b);
                }
            }
        }
        if !t.ends {
            for (i, row) in acc.iter().enumerate() {
                *kept(i) = *row;
            }
            return;
        }
        for (i, row) in acc.iter().enumerate() {
            for (j, sum) in row.iter().enumerate().take(t.last) {
                let c = &mut *t.c.add(i * t.c_row + j);
                let value = S::value::<FMA>(t, *sum, i, j);
                *c = if t.accumulate { value + *c } else { value };
            }
        }
    }
}

/// # Safety
/// As [`TileFn`].
unsafe fn any_tile<S: Step, const M: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<S, M, false>(t) }
}

/// # Safety
/// As [`TileFn`], on a processor with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_tile<S: Step, const M: usize>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<S, M, true>(t) }
}

macro_rules! table {
    ($name:ident, $step:ty) => {{
        fn get(rows: usize, _: usize) -> TileFn {
            match rows {
                1 => $name::<$step, 1>,
                2 => $name::<$step, 2>,
                3 => $name::<$step, 3>,
                _ => $name::<$step, 4>,
            }
        }
        Tiles { rows: 4, vectors: 1, get }
    }};
}

/// Tiles for any processor.
pub(super) fn any(kernel: Kernel) -> Tiles {
    match kernel {
        Kernel::F32 => table!(any_tile, F32),
        Kernel::Bf16 => table!(any_tile, Bf16),
        Kernel::Int8 => table!(any_tile, Int8),
    }
}

/// Tiles for a processor with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(super) fn avx2(kernel: Kernel) -> Tiles {
    match kernel {
        Kernel::F32 => table!(avx2_tile, F32),
        Kernel::Bf16 => table!(avx2_tile, Bf16),
        Kernel::Int8 => table!(avx2_tile, Int8),
    }
}
