//! Tiles for AVX-512: 8 rows by 3 vectors, 24 sums in registers.

#![expect(
    clippy::needless_range_loop,
    reason = "rows and vectors are counted by constants, so that the sums stay in registers"
)]

use super::tile::{LANES, PANEL, Tile, TileFn, Tiles};
use core::arch::x86_64::*;

/// A table of the instances of a tile function for 1 to 8 rows and 1 to 3 vectors.
macro_rules! table {
    ($name:ident) => {{
        fn get(rows: usize, vectors: usize) -> TileFn {
            match (rows, vectors) {
                (1, 1) => $name::<1, 1>,
                (1, 2) => $name::<1, 2>,
                (1, _) => $name::<1, 3>,
                (2, 1) => $name::<2, 1>,
                (2, 2) => $name::<2, 2>,
                (2, _) => $name::<2, 3>,
                (3, 1) => $name::<3, 1>,
                (3, 2) => $name::<3, 2>,
                (3, _) => $name::<3, 3>,
                (4, 1) => $name::<4, 1>,
                (4, 2) => $name::<4, 2>,
                (4, _) => $name::<4, 3>,
                (5, 1) => $name::<5, 1>,
                (5, 2) => $name::<5, 2>,
                (5, _) => $name::<5, 3>,
                (6, 1) => $name::<6, 1>,
                (6, 2) => $name::<6, 2>,
                (6, _) => $name::<6, 3>,
                (7, 1) => $name::<7, 1>,
                (7, 2) => $name::<7, 2>,
                (7, _) => $name::<7, 3>,
                (_, 1) => $name::<8, 1>,
                (_, 2) => $name::<8, 2>,
                (_, _) => $name::<8, 3>,
            }
        }
        Tiles { rows: 8, vectors: 3, get }
    }};
}

/// Products of `f32`; needs AVX-512 F.
pub(super) const F32: Tiles = table!(tile_f32);
/// Products of bfloat16 pairs; needs AVX-512 F and BF16.
pub(super) const BF16: Tiles = table!(tile_bf16);
/// Products of four unsigned by four signed bytes; needs AVX-512 F and VNNI.
pub(super) const INT8: Tiles = table!(tile_int8);

/// The loop over `k`: `acc += a·b` for every row and vector.
macro_rules! accumulate {
    ($t:ident, $zero:expr, $load:ident, $store:ident, |$c:ident, $a:ident, $b:ident| $step:expr) => {{
        let mut acc = [[$zero; V]; M];
        if !$t.begins {
            for i in 0..M {
                for v in 0..V {
                    acc[i][v] = $load($t.sums.add(i * PANEL + v * LANES).cast());
                }
            }
        }
        let mut b_at = $t.b;
        let mut a_at = $t.a;
        for _ in 0..$t.k {
            let mut bs = [_mm512_setzero_si512(); V];
            for v in 0..V {
                bs[v] = _mm512_loadu_si512(b_at.add(v * LANES).cast());
            }
            for i in 0..M {
                let $a = _mm512_set1_epi32(a_at.add(i * $t.a_row).cast::<i32>().read_unaligned());
                for v in 0..V {
                    let ($c, $b) = (acc[i][v], bs[v]);
                    acc[i][v] = $step;
                }
            }
            b_at = b_at.wrapping_add($t.b_step);
            a_at = a_at.wrapping_add($t.a_step);
        }
        if !$t.ends {
            for i in 0..M {
                for v in 0..V {
                    $store($t.sums.add(i * PANEL + v * LANES).cast(), acc[i][v]);
                }
            }
            return;
        }
        acc
    }};
}

/// The lanes of vector `v` that exist.
#[inline(always)]
fn lanes<const V: usize>(t: &Tile, v: usize) -> __mmask16 {
    if v + 1 == V { (0xFFFFu32 >> (LANES - t.last)) as u16 } else { 0xFFFF }
}

/// Writes float sums: `alpha·sum + bias`, replacing or adding.
macro_rules! finish_floats {
    ($t:ident, $acc:ident) => {
        let alpha = _mm512_set1_ps($t.alpha);
        for v in 0..V {
            let mask = lanes::<V>($t, v);
            let bias = if $t.bias.is_null() {
                _mm512_setzero_ps()
            } else {
                _mm512_maskz_loadu_ps(mask, $t.bias.add(v * LANES))
            };
            for i in 0..M {
                let c = $t.c.add(i * $t.c_row + v * LANES);
                let mut value = _mm512_fmadd_ps($acc[i][v], alpha, bias);
                if $t.accumulate {
                    value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
                }
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    };
}

/// # Safety
/// As [`TileFn`], on a processor with AVX-512 F.
#[target_feature(enable = "avx512f")]
unsafe fn tile_f32<const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        let acc =
            accumulate!(t, _mm512_setzero_ps(), _mm512_loadu_ps, _mm512_storeu_ps, |c, a, b| {
                _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), c)
            });
        finish_floats!(t, acc);
    }
}

/// # Safety
/// As [`TileFn`], on a processor with AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile_bf16<const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise; `__m512i` and `__m512bh` are the same 512 bits.
    unsafe {
        let acc =
            accumulate!(t, _mm512_setzero_ps(), _mm512_loadu_ps, _mm512_storeu_ps, |c, a, b| {
                _mm512_dpbf16_ps(
                    c,
                    core::mem::transmute::<__m512i, __m512bh>(a),
                    core::mem::transmute::<__m512i, __m512bh>(b),
                )
            });
        finish_floats!(t, acc);
    }
}

/// # Safety
/// As [`TileFn`], on a processor with AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile_int8<const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        let acc = accumulate!(
            t,
            _mm512_setzero_si512(),
            _mm512_loadu_si512,
            _mm512_storeu_si512,
            |c, a, b| _mm512_dpbusd_epi32(c, a, b)
        );
        for v in 0..V {
            let mask = lanes::<V>(t, v);
            let bias = if t.bias.is_null() {
                _mm512_setzero_ps()
            } else {
                _mm512_maskz_loadu_ps(mask, t.bias.add(v * LANES))
            };
            let sums = _mm512_maskz_loadu_epi32(mask, t.scales.sum.add(v * LANES));
            let scales = _mm512_maskz_loadu_ps(mask, t.scales.column.add(v * LANES));
            for i in 0..M {
                let offset = _mm512_mullo_epi32(sums, _mm512_set1_epi32(*t.scales.zero.add(i)));
                let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(acc[i][v], offset));
                let sum = _mm512_mul_ps(sum, _mm512_set1_ps(*t.scales.row.add(i)));
                let value = _mm512_fmadd_ps(sum, scales, bias);
                _mm512_mask_storeu_ps(t.c.add(i * t.c_row + v * LANES), mask, value);
            }
        }
    }
}
