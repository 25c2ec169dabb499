//! Scales by weighted least squares, for groups of weights that share one.
//!
//! Rounding to a grid that just spans a group is not the nearest grid: a slightly finer one that
//! clips the extremes, or a coarser one, often has less error. So some grids around the spanning
//! one are tried. Each assigns integers `q`; given those, the best scale (and offset) has a closed
//! form, the normal equations of `Σ w·(s·q − m − x)²`; and the error of the grid found that way,
//! with integers assigned anew, decides. This is the approach of `make_qkx2_quants` and
//! `make_qx_quants` in llama.cpp (<https://github.com/ggml-org/llama.cpp/pull/1684>), with the
//! second assignment added.
//!
//! Sums run over 16 lanes in a fixed order and no product is fused into a sum, so that every
//! processor finds the same scales.

use super::inverse;
#[cfg(target_arch = "x86_64")]
use crate::kernels::cpu::{Level, level};
use crate::kernels::elementwise::each_level;
use crate::kernels::rows::join_lanes;

const LANES: usize = 16;

/// How far the grids that are tried reach beyond the spanning one, in tenths of a step.
const REACH: i32 = 10;

/// `Σ w·error²` if `x` is stored as `scale·q − offset`, `0 ≤ q ≤ top`.
#[inline(always)]
fn affine_error(x: &[f32; 32], w: &[f32; 32], (scale, offset): (f32, f32), top: f32) -> f32 {
    let inverse = inverse(scale);
    sum(x, w, |x, w| {
        let error = scale * nearest((x + offset) * inverse, 0.0, top) - offset - x;
        [w * error * error]
    })[0]
}

#[inline(always)]
fn affine_body<const FMA: bool>(x: &[f32; 32], w: &[f32; 32], top: f32) -> (f32, f32) {
    // Offsets are stored unsigned: the grid's low end is at most 0.
    let low = x.iter().fold(0f32, |least, x| if *x < least { *x } else { least });
    let high = x.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most });
    let range = high - low;
    let mut best = (range / top, -low);
    if inverse(range) == 0.0 {
        return (0.0, -low); // all weights are the same
    }
    let mut least = affine_error(x, w, best, top);
    let [w1, wx] = sum(x, w, |x, w| [w, w * x]);
    for tenths in -REACH..=REACH {
        let finer = (top + tenths as f32 / 10.0) / range;
        let [wq, wqq, wqx] = sum(x, w, |x, w| {
            let q = nearest((x - low) * finer, 0.0, top);
            [w * q, w * q * q, w * q * x]
        });
        let determinant = w1 * wqq - wq * wq;
        if determinant <= 0.0 {
            continue; // one integer for all: no grid follows from it
        }
        let mut grid = ((w1 * wqx - wx * wq) / determinant, (wq * wqx - wqq * wx) / determinant);
        if grid.1 < 0.0 {
            grid = (wqx / wqq, 0.0);
        }
        let error = affine_error(x, w, grid, top);
        if grid.0 > 0.0 && error < least {
            (least, best) = (error, grid);
        }
    }
    best
}

#[inline(always)]
fn affine_steps_body<const FMA: bool>(
    x: &[f32; 32],
    w: &[f32; 32],
    top: f32,
    unit: (f32, f32),
    near: (u8, u8),
) -> (u8, u8) {
    let error = |(scale, offset): (u8, u8)| {
        affine_error(x, w, (unit.0 * f32::from(scale), unit.1 * f32::from(offset)), top)
    };
    let mut best = near;
    let mut least = error(near);
    for scale in near.0.saturating_sub(1)..=(near.0 + 1).min(63) {
        for offset in near.1.saturating_sub(1)..=(near.1 + 1).min(63) {
            let error = error((scale, offset));
            if error < least {
                (least, best) = (error, (scale, offset));
            }
        }
    }
    best
}

#[inline(always)]
fn affine_quants_body<const FMA: bool>(
    x: &[f32; 32],
    top: f32,
    scale: f32,
    offset: f32,
    quants: &mut [u8; 32],
) {
    let inverse = inverse(scale);
    for (q, x) in quants.iter_mut().zip(x) {
        *q = nearest((x + offset) * inverse, 0.0, top) as u8;
    }
}

/// `Σ w·error²` if `x` is stored as `scale·q`, `−top ≤ q < top`.
#[inline(always)]
fn symmetric_error(x: &[f32; 16], w: &[f32; 16], scale: f32, top: f32) -> f32 {
    let inverse = inverse(scale);
    sum(x, w, |x, w| {
        let error = scale * nearest(x * inverse, -top, top - 1.0) - x;
        [w * error * error]
    })[0]
}

#[inline(always)]
fn symmetric_body<const FMA: bool>(x: &[f32; 16], w: &[f32; 16], top: f32) -> f32 {
    let extreme = x.iter().fold(0f32, |most, x| if x.abs() > most.abs() { *x } else { most });
    if inverse(extreme) == 0.0 {
        return 0.0;
    }
    // The negative side has one integer more, so the extreme goes there.
    let mut best = extreme / -top;
    let mut least = symmetric_error(x, w, best, top);
    for tenths in -REACH..=REACH {
        let finer = (top + tenths as f32 / 10.0) / -extreme;
        let [wqq, wqx] = sum(x, w, |x, w| {
            let q = nearest(x * finer, -top, top - 1.0);
            [w * q * q, w * q * x]
        });
        if wqq <= 0.0 {
            continue;
        }
        let error = symmetric_error(x, w, wqx / wqq, top);
        if error < least {
            (least, best) = (error, wqx / wqq);
        }
    }
    best
}

#[inline(always)]
fn symmetric_steps_body<const FMA: bool>(
    x: &[f32; 16],
    w: &[f32; 16],
    top: f32,
    unit: f32,
    near: i8,
) -> i8 {
    let mut best = near;
    let mut least = symmetric_error(x, w, unit * f32::from(near), top);
    for scale in [near.saturating_sub(1), near.saturating_add(1)] {
        let error = symmetric_error(x, w, unit * f32::from(scale), top);
        if error < least {
            (least, best) = (error, scale);
        }
    }
    best
}

#[inline(always)]
fn symmetric_quants_body<const FMA: bool>(
    x: &[f32; 16],
    top: f32,
    scale: f32,
    quants: &mut [u8; 16],
) {
    let inverse = inverse(scale);
    for (q, x) in quants.iter_mut().zip(x) {
        *q = (nearest(x * inverse, -top, top - 1.0) + top) as u8;
    }
}

each_level! {
    /// The scale and the offset ≥ 0 for which `scale·q − offset`, `q` an integer from 0 to `top`,
    /// is nearest to `x` by the weights `w`.
    affine(x: &[f32; 32], w: &[f32; 32], top: f32) -> (f32, f32) = affine_body
}
each_level! {
    /// The 6-bit scale and offset, in units of `unit`, that suit `x` best of those next to `near`.
    affine_steps(x: &[f32; 32], w: &[f32; 32], top: f32, unit: (f32, f32), near: (u8, u8))
        -> (u8, u8) = affine_steps_body
}
each_level! {
    /// The integers from 0 to `top` for which `scale·q − offset` is nearest to `x`.
    affine_quants(x: &[f32; 32], top: f32, scale: f32, offset: f32, quants: &mut [u8; 32])
        = affine_quants_body
}
each_level! {
    /// The scale for which `scale·q`, `q` an integer from `−top` to `top − 1`, is nearest to `x`
    /// by the weights `w`. It may be negative.
    symmetric(x: &[f32; 16], w: &[f32; 16], top: f32) -> f32 = symmetric_body
}
each_level! {
    /// The 8-bit scale, in units of `unit`, that suits `x` best of those next to `near`.
    symmetric_steps(x: &[f32; 16], w: &[f32; 16], top: f32, unit: f32, near: i8) -> i8
        = symmetric_steps_body
}
each_level! {
    /// The integers `q` for which `scale·(q − top)` is nearest to `x`, from 0 to `2·top − 1`.
    symmetric_quants(x: &[f32; 16], top: f32, scale: f32, quants: &mut [u8; 16])
        = symmetric_quants_body
}

/// The integer nearest to `x` within the limits, which are integers below 2²².
#[inline(always)]
fn nearest(x: f32, low: f32, high: f32) -> f32 {
    // 1.5·2²³: adding and subtracting it rounds to the nearest integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < low { low } else { x };
    let x = if x > high { high } else { x };
    x + ROUND - ROUND
}

/// The sums of `K` terms over a group.
#[inline(always)]
fn sum<const N: usize, const K: usize>(
    x: &[f32; N],
    w: &[f32; N],
    terms: impl Fn(f32, f32) -> [f32; K],
) -> [f32; K] {
    let mut lanes = [[0f32; LANES]; K];
    for (x, w) in x.as_chunks::<LANES>().0.iter().zip(w.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let terms = terms(x[i], w[i]);
            for k in 0..K {
                lanes[k][i] += terms[k];
            }
        }
    }
    lanes.map(|lanes| join_lanes(lanes, |a, b| a + b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::matrix;

    #[test]
    fn every_instruction_set_finds_the_same_scales() {
        for salt in 0..200 {
            let numbers = matrix(4, 32, salt);
            let group = |row: usize| *numbers.row(row).first_chunk::<32>().unwrap();
            let (x, w) = (group(0), group(1).map(f32::abs));
            assert_eq!(affine(&x, &w, 15.0), affine_body::<false>(&x, &w, 15.0));
            let small = |row: usize| *numbers.row(row).first_chunk::<16>().unwrap();
            let (x, w) = (small(2), small(3).map(f32::abs));
            assert_eq!(symmetric(&x, &w, 32.0), symmetric_body::<false>(&x, &w, 32.0));
        }
    }

    #[test]
    fn a_grid_that_fits_exactly_is_found() {
        let x: [f32; 32] = std::array::from_fn(|i| 0.25 * (i % 16) as f32 - 1.5);
        assert_eq!(affine(&x, &[1.0; 32], 15.0), (0.25, 1.5));
        let x: [f32; 16] = std::array::from_fn(|i| 0.125 * (i as f32 - 8.0));
        assert_eq!(symmetric(&x, &[1.0; 16], 8.0).abs(), 0.125);
    }
}
