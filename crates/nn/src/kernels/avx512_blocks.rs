//! Strips of weights in blocks for AVX-512 with VNNI: up to 8 rows by 16 columns.

#![expect(
    clippy::needless_range_loop,
    reason = "rows are counted by constants, so that the sums stay in registers"
)]

use super::blocks::{Shape, Strip, StripFn, row_of, strip_table};
use core::arch::x86_64::*;

/// The functions by the number of rows.
pub(super) fn strips(shape: Shape) -> fn(usize) -> StripFn {
    strip_table!(strip, shape)
}

/// # Safety
/// As [`StripFn`], on a processor with AVX-512 F and VNNI.
#[target_feature(enable = "avx512f,avx512vnni,f16c")]
unsafe fn strip<
    const M: usize,
    const FOUR: bool,
    const HALF_BLOCK: bool,
    const HALF_SCALES: bool,
>(
    t: &Strip,
) {
    let block = if HALF_BLOCK { 16 } else { 32 };
    let lines = if FOUR { block / 8 } else { block / 4 };
    // SAFETY: the caller's promise about everything the tile points to.
    unsafe {
        let nibbles = _mm512_set1_epi8(0x0F);
        let mut sums = [_mm512_setzero_ps(); M];
        let mut w = t.b;
        for b in 0..t.blocks {
            let mut acc = [_mm512_setzero_si512(); M];
            let mut of_row = [(0f32, 0i32); M];
            for i in 0..M {
                of_row[i] = row_of::<HALF_BLOCK>(t, i, b);
                acc[i] = _mm512_set1_epi32(-t.offset * of_row[i].1);
            }
            let a = t.a.add(b * block);
            for line in 0..lines {
                let weights = _mm512_loadu_si512(w.cast());
                w = w.add(64);
                if FOUR {
                    let low = _mm512_and_si512(weights, nibbles);
                    let high = _mm512_and_si512(_mm512_srli_epi16(weights, 4), nibbles);
                    for i in 0..M {
                        let a = a.add(i * t.a_row + line * 8).cast::<i32>();
                        let first = _mm512_set1_epi32(a.read_unaligned());
                        let second = _mm512_set1_epi32(a.add(1).read_unaligned());
                        acc[i] = _mm512_dpbusd_epi32(acc[i], low, first);
                        acc[i] = _mm512_dpbusd_epi32(acc[i], high, second);
                    }
                } else {
                    for i in 0..M {
                        let a = a.add(i * t.a_row + line * 4).cast::<i32>();
                        let four = _mm512_set1_epi32(a.read_unaligned());
                        acc[i] = _mm512_dpbusd_epi32(acc[i], weights, four);
                    }
                }
            }
            let scales = if HALF_SCALES {
                _mm512_cvtph_ps(_mm256_loadu_si256(t.scales.add(b * 32).cast()))
            } else {
                _mm512_loadu_ps(t.scales.add(b * 64).cast())
            };
            for i in 0..M {
                let scale = _mm512_mul_ps(scales, _mm512_set1_ps(of_row[i].0));
                sums[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[i]), scale, sums[i]);
            }
            if !t.minimums.is_null() {
                let least = _mm512_loadu_ps(t.minimums.add(b * 16));
                for i in 0..M {
                    let factor = _mm512_set1_ps(of_row[i].0 * of_row[i].1 as f32);
                    sums[i] = _mm512_fmadd_ps(least, factor, sums[i]);
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
