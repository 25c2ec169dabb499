//! Element-wise loops, written plainly and compiled once per instruction set: the compiler makes
//! the vectors. `mul_add` is a single instruction where it is compiled with FMA; elsewhere the
//! loops use a product and a sum.

#![expect(clippy::excessive_precision, reason = "coefficients stand as their sources print them")]

#[cfg(target_arch = "x86_64")]
use super::cpu::{Level, level};
use crate::Activation;

/// Defines a function whose body is compiled for AVX-512, for AVX2 and for any processor, and
/// chosen at run time. The body may use the constant `FMA`.
macro_rules! each_level {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:ident) => {
        $(#[$doc])*
        pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            match level() {
                // SAFETY: `level` found these instructions.
                l if l >= Level::Avx512 => return unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                Level::Avx2 => return unsafe { avx2($($arg),*) },
                _ => {}
            }
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use each_level;

/// `a·b + c`.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` with a relative error under 2·10⁻⁷: `x = n·ln 2 + r`, a polynomial of degree 6 for
/// `e^r` on `|r| ≤ ln 2 / 2` (coefficients of Cephes' expf), and `n` into the exponent. Under
/// −87 the result is that of −87 (10⁻³⁸), over 88 that of 88. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // 1.5·2²³: adding and subtracting it rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = fma::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -0.693_359_4, clamped);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = 1.987_569_1e-4;
    let p = fma::<FMA>(p, r, 1.398_2e-3);
    let p = fma::<FMA>(p, r, 8.333_452e-3);
    let p = fma::<FMA>(p, r, 4.166_579_6e-2);
    let p = fma::<FMA>(p, r, 1.666_666_5e-1);
    let p = fma::<FMA>(p, r, 0.5);
    let y = fma::<FMA>(p, r * r, r) + 1.0;
    // The low bits of `shifted` are n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    y * power
}

/// `tanh x`: near zero the odd series of Cephes' tanhf, elsewhere `1 − 2/(e^{2|x|} + 1)`.
#[inline(always)]
fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = -5.704_988_7e-3;
    let p = fma::<FMA>(p, z, 2.063_908_9e-2);
    let p = fma::<FMA>(p, z, -5.373_972e-2);
    let p = fma::<FMA>(p, z, 1.333_144_2e-1);
    let p = fma::<FMA>(p, z, -3.333_328_2e-1);
    let near = fma::<FMA>(p * z, x, x);
    let far = (1.0 - 2.0 / (exp::<FMA>(a + a) + 1.0)).copysign(x);
    if a < 0.625 { near } else { far }
}

/// `erf x`, absolute error under 3·10⁻⁷: an odd rational function of degree 13/8 on `[−4, 4]`,
/// beyond which `erf` is ±1 in `f32`. Coefficients as in Eigen's `generic_fast_erf_float`.
#[inline(always)]
fn erf<const FMA: bool>(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let z = x * x;
    let p = -2.726_142_3e-10;
    let p = fma::<FMA>(p, z, 2.770_681_4e-8);
    let p = fma::<FMA>(p, z, -2.101_024e-6);
    let p = fma::<FMA>(p, z, -5.692_506_4e-5);
    let p = fma::<FMA>(p, z, -7.349_906_3e-4);
    let p = fma::<FMA>(p, z, -2.954_599_8e-3);
    let p = fma::<FMA>(p, z, -1.609_603_3e-2);
    let q = -1.456_607_2e-5;
    let q = fma::<FMA>(q, z, -2.133_740_6e-4);
    let q = fma::<FMA>(q, z, -1.682_827e-3);
    let q = fma::<FMA>(q, z, -7.373_329e-3);
    let q = fma::<FMA>(q, z, -1.426_473_9e-2);
    x * p / q
}

/// `Φ(x) = (1 + erf(x/√2))/2`; 0 under −5.6, where it is under 1.1·10⁻⁸ and the rounding of `erf`
/// would be all there is.
#[inline(always)]
fn normal_cdf<const FMA: bool>(x: f32) -> f32 {
    let phi = fma::<FMA>(erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2), 0.5, 0.5);
    if x < -5.6 { 0.0 } else { phi }
}

const SQRT_2_PI: f32 = 0.797_884_6;

#[inline(always)]
fn activation<const FMA: bool, const KIND: u8>(x: f32) -> f32 {
    match KIND {
        0 => x * normal_cdf::<FMA>(x),
        1 => {
            let inner = SQRT_2_PI * fma::<FMA>(0.044_715 * x * x, x, x);
            0.5 * x * (1.0 + tanh::<FMA>(inner))
        }
        2 => {
            if x > 0.0 {
                x
            } else {
                0.0
            }
        }
        3 => x / (1.0 + exp::<FMA>(-x)),
        _ => tanh::<FMA>(x),
    }
}

#[inline(always)]
fn derivative<const FMA: bool, const KIND: u8>(x: f32) -> f32 {
    match KIND {
        0 => {
            // Φ(x) + x·φ(x), φ(x) = e^{−x²/2}/√(2π).
            let gauss = 0.398_942_3 * exp::<FMA>(-0.5 * x * x);
            fma::<FMA>(x, gauss, normal_cdf::<FMA>(x))
        }
        1 => {
            // Far out the slope is 0 or 1; the bound keeps 0·∞ away.
            let x = if x.abs() > 20.0 { 20f32.copysign(x) } else { x };
            let t = tanh::<FMA>(SQRT_2_PI * fma::<FMA>(0.044_715 * x * x, x, x));
            let slope = SQRT_2_PI * fma::<FMA>(3.0 * 0.044_715 * x, x, 1.0);
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope
        }
        2 => f32::from(u8::from(x > 0.0)),
        3 => {
            let s = 1.0 / (1.0 + exp::<FMA>(-x));
            s * fma::<FMA>(x, 1.0 - s, 1.0)
        }
        _ => {
            let t = tanh::<FMA>(x);
            1.0 - t * t
        }
    }
}

#[inline(always)]
fn activate_body<const FMA: bool>(f: Activation, data: &mut [f32]) {
    match f {
        Activation::GeluErf => data.iter_mut().for_each(|x| *x = activation::<FMA, 0>(*x)),
        Activation::GeluTanh => data.iter_mut().for_each(|x| *x = activation::<FMA, 1>(*x)),
        Activation::Relu => data.iter_mut().for_each(|x| *x = activation::<FMA, 2>(*x)),
        Activation::Silu => data.iter_mut().for_each(|x| *x = activation::<FMA, 3>(*x)),
        Activation::Tanh => data.iter_mut().for_each(|x| *x = activation::<FMA, 4>(*x)),
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(f: Activation, x: &[f32], dy: &mut [f32]) {
    let pairs = dy.iter_mut().zip(x);
    match f {
        Activation::GeluErf => pairs.for_each(|(d, x)| *d *= derivative::<FMA, 0>(*x)),
        Activation::GeluTanh => pairs.for_each(|(d, x)| *d *= derivative::<FMA, 1>(*x)),
        Activation::Relu => pairs.for_each(|(d, x)| *d *= derivative::<FMA, 2>(*x)),
        Activation::Silu => pairs.for_each(|(d, x)| *d *= derivative::<FMA, 3>(*x)),
        Activation::Tanh => pairs.for_each(|(d, x)| *d *= derivative::<FMA, 4>(*x)),
    }
}

#[inline(always)]
fn add_body<const FMA: bool>(into: &mut [f32], other: &[f32]) {
    into.iter_mut().zip(other).for_each(|(a, b)| *a += *b);
}

#[inline(always)]
fn multiply_body<const FMA: bool>(into: &mut [f32], other: &[f32]) {
    into.iter_mut().zip(other).for_each(|(a, b)| *a *= *b);
}

/// A 32-bit hash of the index under a 64-bit key: two rounds of Wellons' "lowbias32" finalizer.
#[inline(always)]
fn hash(index: u32, keys: [u32; 2]) -> u32 {
    let mut x = index ^ keys[0];
    for key in [keys[1], 0] {
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x = (x ^ (x >> 16)).wrapping_add(key);
    }
    x
}

#[inline(always)]
fn dropout_body<const FMA: bool>(
    data: &mut [f32],
    first: u32,
    keys: [u32; 2],
    below: u32,
    scale: f32,
) {
    for (i, value) in data.iter_mut().enumerate() {
        let factor = if hash(first.wrapping_add(i as u32), keys) < below { 0.0 } else { scale };
        *value *= factor;
    }
}

each_level! {
    /// `x = f(x)`.
    activate(f: Activation, data: &mut [f32]) = activate_body
}
each_level! {
    /// `dy = dy·f'(x)`.
    activate_backward(f: Activation, x: &[f32], dy: &mut [f32]) = backward_body
}
each_level! {
    /// `into += other`.
    add(into: &mut [f32], other: &[f32]) = add_body
}
each_level! {
    /// `into *= other`, element by element.
    multiply(into: &mut [f32], other: &[f32]) = multiply_body
}
each_level! {
    /// Zeroes the elements whose hash is under `below`, multiplies the others by `scale`.
    dropout(data: &mut [f32], first: u32, keys: [u32; 2], below: u32, scale: f32) = dropout_body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_f64() {
        for i in -8_600..8_701 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 2.5e-7, "exp({x}) = {got:e}, not {want:e}");
            }
        }
    }
}
