//! Tiles for AVX-512 with VNNI: up to 12 rows by 16 columns, sums in registers.

#![expect(
    clippy::needless_range_loop,
    reason = "rows are counted by constants, so that the sums stay in registers"
)]

use super::strip::{Shape, Strip, StripFn, by_shape};
use core::arch::x86_64::*;
use half::f16;

/// How far ahead weights are fetched, in bytes: about what arrives while memory answers.
const AHEAD: usize = 1536;

/// The function for so many rows.
pub(super) fn strip_fn(shape: Shape, rows: usize) -> StripFn {
    match rows {
        1 => by_shape!(shape, strip, 1),
        2 => by_shape!(shape, strip, 2),
        3 => by_shape!(shape, strip, 3),
        4 => by_shape!(shape, strip, 4),
        5 => by_shape!(shape, strip, 5),
        6 => by_shape!(shape, strip, 6),
        7 => by_shape!(shape, strip, 7),
        8 => by_shape!(shape, strip, 8),
        9 => by_shape!(shape, strip, 9),
        10 => by_shape!(shape, strip, 10),
        11 => by_shape!(shape, strip, 11),
        _ => by_shape!(shape, strip, 12),
    }
}

/// # Safety
/// As [`StripFn`], on a processor with AVX-512 F and VNNI, with `M` rows.
#[target_feature(enable = "avx512f,avx512vnni,f16c")]
unsafe fn strip<const M: usize, const FOUR: bool, const HALF_BLOCK: bool, const STEPS: bool>(
    t: &Strip,
) {
    let block = if HALF_BLOCK { 16 } else { 32 };
    let parts = 32 / block;
    let lines = if FOUR { block / 8 } else { block / 4 };
    let per_unit = if STEPS { 8 } else { 1 };
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        let nibbles = _mm512_set1_epi8(0x0F);
        let mut sums = [_mm512_setzero_ps(); M];
        let (mut w, mut starts, mut steps) = (t.b, t.a_starts, t.steps);
        for unit in 0..t.blocks / per_unit {
            let units = halves(t.units, unit);
            for b in unit * per_unit..(unit + 1) * per_unit {
                let a_scales = t.a_scales.add(b * M);
                for part in 0..parts {
                    let a = t.a.add(b * M * 32 + part * block);
                    let mut acc = [_mm512_setzero_si512(); M];
                    for i in 0..M {
                        acc[i] = _mm512_set1_epi32(*starts.add(i));
                    }
                    starts = starts.add(M);
                    for line in 0..lines {
                        let weights = _mm512_loadu_si512(w.cast());
                        if M == 1 {
                            _mm_prefetch::<_MM_HINT_T0>(w.wrapping_add(AHEAD).cast());
                        }
                        w = w.add(64);
                        if FOUR {
                            let low = _mm512_and_si512(weights, nibbles);
                            let high = _mm512_and_si512(_mm512_srli_epi32(weights, 4), nibbles);
                            for i in 0..M {
                                let a = a.add(i * 32 + line * 8);
                                acc[i] = _mm512_dpbusd_epi32(acc[i], low, four(a));
                                acc[i] = _mm512_dpbusd_epi32(acc[i], high, four(a.add(4)));
                            }
                        } else {
                            for i in 0..M {
                                let a = four(a.add(i * 32 + line * 4));
                                acc[i] = _mm512_dpbusd_epi32(acc[i], weights, a);
                            }
                        }
                    }
                    let mut scales = units;
                    if STEPS {
                        scales = _mm512_mul_ps(units, bytes(steps));
                        steps = steps.add(16);
                    }
                    for i in 0..M {
                        let scale = _mm512_mul_ps(scales, _mm512_set1_ps(*a_scales.add(i)));
                        sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i]), scale, sums[i]);
                    }
                }
                if !t.a_factors.is_null() {
                    let mut least = halves(t.minimum_units, unit);
                    if STEPS {
                        least = _mm512_mul_ps(least, bytes(t.minimum_steps.add(b * 16)));
                    }
                    for i in 0..M {
                        let factor = _mm512_set1_ps(*t.a_factors.add(b * M + i));
                        sums[i] = _mm512_fmadd_ps(least, factor, sums[i]);
                    }
                }
            }
        }
        let mask = (0xFFFFu32 >> (16 - t.last)) as u16;
        for i in 0..M {
            let c = t.c.add(i * t.c_row);
            let mut value = sums[i];
            if !t.bias.is_null() {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, t.bias));
            }
            if t.accumulate {
                value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, c));
            }
            _mm512_mask_storeu_ps(c, mask, value);
        }
    }
}

/// Four activations, for every column.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn four(a: *const i8) -> __m512i {
    // SAFETY: the caller's: they are there.
    unsafe { _mm512_set1_epi32(a.cast::<i32>().read_unaligned()) }
}

/// Sixteen numbers in half precision, the `at`-th such.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
unsafe fn halves(from: *const f16, at: usize) -> __m512 {
    // SAFETY: the caller's: they are there.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.add(at * 16).cast())) }
}

/// Sixteen signed bytes.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes(from: *const i8) -> __m512 {
    // SAFETY: the caller's: they are there.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
}
