//! Loops over one row: normalization and softmax. Sums run over 16 lanes that are added up in a
//! fixed order, so that every instruction set with FMA gives the same bits.

#[cfg(target_arch = "x86_64")]
use super::cpu::{Level, level};
use super::elementwise::{each_level, exp, fma};

const LANES: usize = 16;

/// Joins lanes pairwise, the upper half to the lower, until one is left.
#[inline(always)]
pub(crate) fn join_lanes<T: Copy, const N: usize>(
    mut lanes: [T; N],
    join: impl Fn(T, T) -> T,
) -> T {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = join(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Folds a row into 16 lanes with `step`, then the lanes pairwise with `join`.
#[inline(always)]
fn fold(
    row: &[f32],
    start: f32,
    step: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = step(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, *x);
    }
    join_lanes(lanes, join)
}

/// Folds two rows of one length into 16 lanes of sums.
#[inline(always)]
fn fold2(a: &[f32], b: &[f32], step: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks_a, rest_a) = a.as_chunks::<LANES>();
    let (chunks_b, rest_b) = b.as_chunks::<LANES>();
    for (x, y) in chunks_a.iter().zip(chunks_b) {
        for i in 0..LANES {
            lanes[i] = step(lanes[i], x[i], y[i]);
        }
    }
    for (i, (x, y)) in rest_a.iter().zip(rest_b).enumerate() {
        lanes[i] = step(lanes[i], *x, *y);
    }
    join_lanes(lanes, |a, b| a + b)
}

#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    fold2(a, b, |sum, x, y| fma::<FMA>(x, y, sum))
}

#[inline(always)]
fn normalize_body<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    y: &mut [f32],
) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = fold(x, 0.0, |sum, x| sum + x, |a, b| a + b) / count;
    let square = |sum: f32, x: f32| fma::<FMA>(x - mean, x - mean, sum);
    let variance = fold(x, 0.0, square, |a, b| a + b) / count;
    let rstd = 1.0 / (variance + eps).sqrt();
    for (y, ((x, g), b)) in y.iter_mut().zip(x.iter().zip(gamma).zip(beta)) {
        *y = fma::<FMA>((x - mean) * rstd, *g, *b);
    }
    (mean, rstd)
}

#[inline(always)]
fn normalize_backward_body<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    (mean, rstd): (f32, f32),
    dy: &mut [f32],
) {
    // With g = dy·γ and x̂ = (x − mean)·rstd: dx = rstd·(g − mean(g) − x̂·mean(g·x̂)).
    for (d, g) in dy.iter_mut().zip(gamma) {
        *d *= g;
    }
    let count = x.len() as f32;
    let sum = fold(dy, 0.0, |sum, d| sum + d, |a, b| a + b) / count;
    let product = fold2(dy, x, |sum, d, x| fma::<FMA>(d, (x - mean) * rstd, sum)) / count;
    for (d, x) in dy.iter_mut().zip(x) {
        *d = rstd * (*d - sum - (x - mean) * rstd * product);
    }
}

#[inline(always)]
fn inverse_rms<const FMA: bool>(x: &[f32], eps: f32) -> f32 {
    let square = fold(x, 0.0, |sum, x| fma::<FMA>(x, x, sum), |a, b| a + b);
    1.0 / (square / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn rms_body<const FMA: bool>(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32]) -> f32 {
    let inverse = inverse_rms::<FMA>(x, eps);
    for (y, (x, g)) in y.iter_mut().zip(x.iter().zip(gamma)) {
        *y = x * inverse * g;
    }
    inverse
}

#[inline(always)]
fn rms_in_place_body<const FMA: bool>(x: &mut [f32], gamma: &[f32], eps: f32) -> f32 {
    let inverse = inverse_rms::<FMA>(x, eps);
    for (x, g) in x.iter_mut().zip(gamma) {
        *x = *x * inverse * g;
    }
    inverse
}

#[inline(always)]
fn rms_backward_body<const FMA: bool>(x: &[f32], gamma: &[f32], inverse: f32, dy: &mut [f32]) {
    // With g = dy·γ and r the inverse: dx = r·(g − x·r²·mean(g·x)).
    for (d, g) in dy.iter_mut().zip(gamma) {
        *d *= g;
    }
    let product = fold2(dy, x, |sum, d, x| fma::<FMA>(d, x, sum)) / x.len() as f32;
    let factor = product * inverse * inverse;
    for (d, x) in dy.iter_mut().zip(x) {
        *d = inverse * (*d - x * factor);
    }
}

#[inline(always)]
fn softmax_body<const FMA: bool>(row: &mut [f32], scale: f32) {
    let n = row.len().max(1);
    softmax_rows::<FMA>(row, n, scale, false);
}

/// Softmax of rows of `n`. The exponentials are taken in one loop over all rows, so that short
/// rows fill whole vectors.
#[inline(always)]
fn softmax_rows<const FMA: bool>(scores: &mut [f32], n: usize, scale: f32, causal: bool) {
    let seen = |i: usize| if causal { i + 1 } else { n };
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for (i, row) in scores.chunks_exact_mut(n).enumerate() {
        let max = fold(&row[..seen(i)], f32::NEG_INFINITY, larger, larger);
        for x in row.iter_mut() {
            *x = (*x - max) * scale;
        }
    }
    for x in scores.iter_mut() {
        *x = exp::<FMA>(*x);
    }
    for (i, row) in scores.chunks_exact_mut(n).enumerate() {
        let (row, masked) = row.split_at_mut(seen(i));
        let inverse = 1.0 / fold(row, 0.0, |sum, x| sum + x, |a, b| a + b);
        for x in row.iter_mut() {
            *x *= inverse;
        }
        masked.fill(0.0);
    }
}

#[inline(always)]
fn softmax_square_body<const FMA: bool>(scores: &mut [f32], n: usize, scale: f32, causal: bool) {
    softmax_rows::<FMA>(scores, n, scale, causal);
}

#[inline(always)]
fn softmax_square_backward_body<const FMA: bool>(p: &[f32], dp: &mut [f32], n: usize, scale: f32) {
    for (p, dp) in p.chunks_exact(n).zip(dp.chunks_exact_mut(n)) {
        softmax_backward_body::<FMA>(p, dp, scale);
    }
}

#[inline(always)]
fn softmax_backward_body<const FMA: bool>(p: &[f32], dp: &mut [f32], scale: f32) {
    let inner = fold2(p, dp, |sum, p, d| fma::<FMA>(p, d, sum));
    for (d, p) in dp.iter_mut().zip(p) {
        *d = p * (*d - inner) * scale;
    }
}

each_level! {
    /// `Σ a·b`.
    dot(a: &[f32], b: &[f32]) -> f32 = dot_body
}
each_level! {
    /// `y = (x − mean)/√(variance + eps)·γ + β`; gives mean and `1/√(variance + eps)`.
    normalize(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, y: &mut [f32]) -> (f32, f32)
        = normalize_body
}
each_level! {
    /// The gradient of [`normalize`] for `x`, in place of that for `y`.
    normalize_backward(x: &[f32], gamma: &[f32], moments: (f32, f32), dy: &mut [f32])
        = normalize_backward_body
}
each_level! {
    /// `y = x/√(mean(x²) + eps)·γ`; gives `1/√(mean(x²) + eps)`.
    rms(x: &[f32], gamma: &[f32], eps: f32, y: &mut [f32]) -> f32 = rms_body
}
each_level! {
    /// [`rms`] in place.
    rms_in_place(x: &mut [f32], gamma: &[f32], eps: f32) -> f32 = rms_in_place_body
}
each_level! {
    /// The gradient of [`rms`] for `x`, in place of that for `y`.
    rms_backward(x: &[f32], gamma: &[f32], inverse: f32, dy: &mut [f32]) = rms_backward_body
}
each_level! {
    /// `row = softmax(scale·row)`, for a positive scale.
    softmax(row: &mut [f32], scale: f32) = softmax_body
}
#[inline(always)]
fn sum_exp_body<const FMA: bool>(row: &[f32], max: f32) -> f32 {
    fold(row, 0.0, |sum, x| sum + exp::<FMA>(x - max), |a, b| a + b)
}

#[inline(always)]
fn greatest_body<const FMA: bool>(row: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    fold(row, f32::NEG_INFINITY, larger, larger)
}

#[inline(always)]
fn exp_and_sum_body<const FMA: bool>(row: &mut [f32], max: f32) -> f32 {
    for x in row.iter_mut() {
        *x = exp::<FMA>(*x - max);
    }
    fold(row, 0.0, |sum, x| sum + x, |a, b| a + b)
}

#[inline(always)]
fn scale_body<const FMA: bool>(row: &mut [f32], factor: f32) {
    row.iter_mut().for_each(|x| *x *= factor);
}

each_level! {
    /// `Σ e^(x − max)`.
    sum_exp(row: &[f32], max: f32) -> f32 = sum_exp_body
}
each_level! {
    /// The greatest element; what is no number does not count.
    greatest(row: &[f32]) -> f32 = greatest_body
}
each_level! {
    /// `x = e^(x − max)`; gives their sum, the bits of [`sum_exp`].
    exp_and_sum(row: &mut [f32], max: f32) -> f32 = exp_and_sum_body
}
each_level! {
    /// `x = factor·x`.
    scale(row: &mut [f32], factor: f32) = scale_body
}
each_level! {
    /// [`softmax`] of each row of a square of scores, over the first `i + 1` of row `i` when
    /// causal; the others become 0.
    softmax_square(scores: &mut [f32], n: usize, scale: f32, causal: bool) = softmax_square_body
}
each_level! {
    /// Turns the gradient for `p = softmax(scale·s)`, row by row, into that for `s`.
    softmax_square_backward(p: &[f32], dp: &mut [f32], n: usize, scale: f32)
        = softmax_square_backward_body
}

#[inline(always)]
fn adamw_body<const FMA: bool>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    [beta1, beta2, eps, rate, root, keep]: [f32; 6],
) {
    for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
        *m = fma::<FMA>(beta1, *m, (1.0 - beta1) * g);
        *v = fma::<FMA>(beta2, *v, (1.0 - beta2) * g * g);
        *p = *p * keep - rate * *m / fma::<FMA>(v.sqrt(), root, eps);
    }
}

each_level! {
    /// One AdamW step; constants: `β₁, β₂, ε, rate/(1−β₁ᵗ), 1/√(1−β₂ᵗ), 1 − rate·decay`.
    adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], constants: [f32; 6])
        = adamw_body
}
