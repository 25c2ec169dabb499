//! The quantized left operand: rows of signed bytes, 32 to a scale, in panels of up to
//! [`TALLEST`] rows. In a panel, rows lie block by block, so that a kernel reads it from beginning
//! to end: 32 bytes of the first row, of the second, …, then the next block.

use super::BLOCK;
use super::panels::Layout;
use crate::kernels::cpu::{Level, level};
use crate::kernels::elementwise::{each_level, fma};
use crate::kernels::rows::join_lanes;
use crate::threads::{SharedMut, run};

/// Most rows of a panel.
pub(super) const TALLEST: usize = 12;
/// Elements under which one thread quantizes all.
const SMALL: usize = 32_768;

/// Quantized rows.
#[derive(Default)]
pub(super) struct Rows {
    /// `[panels][blocks][rows][32]`.
    pub(super) bytes: Vec<i8>,
    /// `[panels][blocks][rows]`, as the following: what the bytes are multiples of.
    pub(super) scales: Vec<f32>,
    /// Where integer sums begin: `−offset·Σ` of the bytes, for each block of the weights.
    pub(super) starts: Vec<i32>,
    /// `scale·Σ` of the bytes, where weights have minimums.
    pub(super) factors: Vec<f32>,
}

/// One panel to write.
pub(crate) struct Panel<'a> {
    height: usize,
    bytes: &'a mut [i8],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    factors: &'a mut [f32],
}

impl Rows {
    /// Quantizes `left` `[m, k]` for weights of that layout.
    pub(super) fn quantize(&mut self, m: usize, k: usize, left: &[f32], layout: Layout) {
        let (blocks, parts) = (k / BLOCK, k / layout.block);
        self.bytes.resize(m * k, 0);
        self.scales.resize(m * blocks, 0.0);
        self.starts.resize(m * parts, 0);
        self.factors.resize(if layout.minimums { m * blocks } else { 0 }, 0.0);
        let bytes = SharedMut(self.bytes.as_mut_ptr());
        let scales = SharedMut(self.scales.as_mut_ptr());
        let starts = SharedMut(self.starts.as_mut_ptr());
        let factors = SharedMut(self.factors.as_mut_ptr());
        let task = |index: usize| {
            let first = index * TALLEST;
            let height = TALLEST.min(m - first);
            // SAFETY: the panel of rows `first..first + height`, which are this task's alone.
            let mut panel = unsafe {
                Panel {
                    height,
                    bytes: part(&bytes, first * k, height * k),
                    scales: part(&scales, first * blocks, height * blocks),
                    starts: part(&starts, first * parts, height * parts),
                    factors: match layout.minimums {
                        true => part(&factors, first * blocks, height * blocks),
                        false => &mut [],
                    },
                }
            };
            for i in 0..height {
                let row = (first + i) * k;
                quantize(&left[row..row + k], i, layout, &mut panel);
            }
        };
        let panels = m.div_ceil(TALLEST);
        if m * k < SMALL { (0..panels).for_each(task) } else { run(panels, task) }
    }
}

/// # Safety
/// The range lies inside of what is shared, and nobody else touches it.
#[expect(clippy::mut_from_ref, reason = "tasks write disjoint parts of what they share")]
unsafe fn part<T>(shared: &SharedMut<T>, from: usize, length: usize) -> &mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(shared.get().add(from), length) }
}

#[inline(always)]
fn quantize_body<const FMA: bool>(x: &[f32], row: usize, layout: Layout, panel: &mut Panel<'_>) {
    let all = panel.bytes.as_chunks_mut::<BLOCK>().0;
    for (b, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (low, high) = x.split_at(BLOCK / 2);
        let greater = |a: f32, b: f32| if a > b { a } else { b };
        let mut largest = [0f32; 16];
        for i in 0..16 {
            largest[i] = greater(low[i].abs(), high[i].abs());
        }
        let largest = join_lanes(largest, greater);
        let scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let at = b * panel.height + row;
        let bytes = &mut all[at];
        let mut halves = [[0i32; 16]; 2];
        for (i, x) in x.iter().enumerate() {
            let q = fma::<FMA>(*x, inverse, ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
            bytes[i] = q as i8;
            halves[i / 16][i % 16] = q;
        }
        let [low, high] = halves.map(|lanes| join_lanes(lanes, |a, b| a + b));
        panel.scales[at] = scale;
        if layout.block == BLOCK {
            panel.starts[at] = -layout.offset * (low + high);
        } else {
            for (half, sum) in [low, high].into_iter().enumerate() {
                panel.starts[(2 * b + half) * panel.height + row] = -layout.offset * sum;
            }
        }
        if layout.minimums {
            panel.factors[at] = scale * (low + high) as f32;
        }
    }
}

each_level! {
    /// [`quantize`] on any processor.
    quantize_any(x: &[f32], row: usize, layout: Layout, panel: &mut Panel<'_>) = quantize_body
}

/// Quantizes a row of the panel.
fn quantize(x: &[f32], row: usize, layout: Layout, panel: &mut Panel<'_>) {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: `level` found the instructions.
        return unsafe { avx512::quantize(x, row, layout, panel) };
    }
    quantize_any(x, row, layout, panel);
}

/// 1.5·2²³: the low bits of a sum with it are the nearest integer, ties to even.
const ROUND: f32 = 12_582_912.0;

/// [`quantize_body`], operation by operation: what the compiler makes of that takes ten times as
/// long, because it joins lanes one by one.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{BLOCK, Layout, Panel, ROUND};
    use core::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn quantize(x: &[f32], row: usize, layout: Layout, panel: &mut Panel<'_>) {
        let all = panel.bytes.as_chunks_mut::<BLOCK>().0;
        for (b, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
            // SAFETY: 32 numbers.
            let (low, high) = unsafe {
                (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(BLOCK / 2)))
            };
            let largest = greatest(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
            let scale = largest / 127.0;
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let inverse = _mm512_set1_ps(inverse);
            let (round, bits) = (_mm512_set1_ps(ROUND), _mm512_set1_epi32(ROUND.to_bits() as i32));
            let nearest = |x: __m512| {
                let shifted = _mm512_castps_si512(_mm512_fmadd_ps(x, inverse, round));
                _mm512_sub_epi32(shifted, bits)
            };
            let (low, high) = (nearest(low), nearest(high));
            let at = b * panel.height + row;
            let bytes = all[at].as_mut_ptr();
            // SAFETY: 32 bytes.
            unsafe {
                _mm_storeu_si128(bytes.cast(), _mm512_cvtepi32_epi8(low));
                _mm_storeu_si128(bytes.add(BLOCK / 2).cast(), _mm512_cvtepi32_epi8(high));
            }
            panel.scales[at] = scale;
            if layout.block == BLOCK {
                let sum = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
                panel.starts[at] = -layout.offset * sum;
                if layout.minimums {
                    panel.factors[at] = scale * sum as f32;
                }
            } else {
                // Half blocks have no minimums.
                for (half, lanes) in [low, high].into_iter().enumerate() {
                    let sum = _mm512_reduce_add_epi32(lanes);
                    panel.starts[(2 * b + half) * panel.height + row] = -layout.offset * sum;
                }
            }
        }
    }

    /// The greatest lane; lanes are joined as in `join_lanes`, which matters for what is no number.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
    fn greatest(lanes: __m512) -> f32 {
        let eight =
            _mm256_max_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps::<1>(lanes));
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::matrix;

    /// Rows quantized by one way, with every kind of layout.
    fn quantized(
        way: fn(&[f32], usize, Layout, &mut Panel<'_>),
        layout: Layout,
        x: &[f32],
    ) -> (Vec<i8>, Vec<f32>, Vec<i32>, Vec<f32>) {
        let (blocks, parts) = (x.len() / BLOCK, x.len() / layout.block);
        let mut all = (vec![0; x.len()], vec![0.0; blocks], vec![0; parts], vec![0.0; blocks]);
        let mut panel = Panel {
            height: 1,
            bytes: &mut all.0,
            scales: &mut all.1,
            starts: &mut all.2,
            factors: &mut all.3,
        };
        way(x, 0, layout, &mut panel);
        all
    }

    #[test]
    fn every_way_of_quantizing_gives_the_same_bits() {
        let mut x = matrix(1, 512, 1).data;
        x[32..64].fill(0.0);
        x[64..96].iter_mut().for_each(|x| *x *= 1e-30);
        x[96..128].iter_mut().for_each(|x| *x *= 1e30);
        let layout =
            |block, minimums| Layout { bits: 8, block, offset: 128, minimums, steps: true };
        for layout in [layout(32, false), layout(32, true), layout(16, false)] {
            assert_eq!(quantized(quantize, layout, &x), quantized(quantize_any, layout, &x));
        }
    }
}
