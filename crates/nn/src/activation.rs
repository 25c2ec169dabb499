//! Activation functions with forward and backward.

use crate::kernels::elementwise;
use crate::{Mat, threads};

/// An element-wise activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` (Hendrycks and Gimpel 2016), within 10⁻⁶; "gelu" in model files.
    GeluErf,
    /// The tanh approximation of GELU; "gelu_new", "gelu_pytorch_tanh" and the like.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x·σ(x)`, also called swish.
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Elements in a piece of parallel work.
const CHUNK: usize = 8_192;

impl Activation {
    /// Replaces every element by its activation.
    pub fn apply(self, data: &mut [f32]) {
        elementwise::activate(self, data);
    }

    /// `y = f(x)`, on all threads.
    pub fn forward(self, x: &Mat) -> Mat {
        let mut y = x.clone();
        threads::run_chunks(&mut y.data, CHUNK, |_, piece| self.apply(piece));
        y
    }

    /// `dx = dy · f'(x)`, in place on `dy`; `x` is what went into [`Self::forward`].
    pub fn backward(self, x: &Mat, dy: &mut Mat) {
        assert_eq!((x.rows, x.cols), (dy.rows, dy.cols), "shapes of an activation's gradient");
        threads::run_chunks(&mut dy.data, CHUNK, |index, piece| {
            let from = index * CHUNK;
            elementwise::activate_backward(self, &x.data[from..from + piece.len()], piece);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 5] = [
        Activation::GeluErf,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Tanh,
    ];

    /// The definitions in `f64`; erf by Abramowitz and Stegun 7.1.5 (its power series) and, far
    /// out, the continued fraction 7.1.14 of erfc.
    fn exact(f: Activation, x: f64) -> f64 {
        fn erf(x: f64) -> f64 {
            if x.abs() < 3.0 {
                let (mut term, mut sum) = (x, x);
                for n in 1..80 {
                    term *= -x * x / f64::from(n);
                    sum += term / f64::from(2 * n + 1);
                }
                sum * 2.0 / std::f64::consts::PI.sqrt()
            } else {
                let a = x.abs();
                let mut fraction = a;
                for n in (1..60).rev() {
                    fraction = a + f64::from(n) / 2.0 / fraction;
                }
                (1.0 - (-a * a).exp() / fraction / std::f64::consts::PI.sqrt()) * x.signum()
            }
        }
        match f {
            Activation::GeluErf => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Relu => x.max(0.0),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    #[test]
    fn activations_agree_with_their_definitions_in_f64() {
        let inputs: Vec<f32> = (-4000..4001).map(|i| i as f32 * 0.005).collect();
        for f in ALL {
            let mut got = inputs.clone();
            f.apply(&mut got);
            for (x, y) in inputs.iter().zip(&got) {
                let want = exact(f, f64::from(*x));
                let error = (f64::from(*y) - want).abs();
                assert!(error <= 1e-6 + 1e-6 * want.abs(), "{f:?}({x}) = {y}, not {want}");
            }
        }
    }

    #[test]
    fn extreme_inputs_stay_finite_and_nan_stays_visible() {
        for f in ALL {
            let mut data = vec![1e30f32, -1e30, 100.0, -100.0, 0.0];
            f.apply(&mut data);
            assert!(data.iter().all(|v| v.is_finite()), "{f:?}: {data:?}");
            let mut nan = vec![f32::NAN; 17];
            f.apply(&mut nan);
            if f != Activation::Relu {
                assert!(nan.iter().all(|v| v.is_nan()), "{f:?}");
            }
        }
    }

    #[test]
    fn derivatives_agree_with_differences_of_the_definition() {
        let inputs: Vec<f32> = (-600..601).map(|i| i as f32 * 0.011 + 0.0003).collect();
        let x = Mat::new(1, inputs.len(), inputs);
        for f in ALL {
            let mut dy = Mat::new(1, x.cols, vec![2.0; x.cols]);
            f.backward(&x, &mut dy);
            for (x, dx) in x.data.iter().zip(&dy.data) {
                let (x, h) = (f64::from(*x), 1e-5);
                let want = (exact(f, x + h) - exact(f, x - h)) / h;
                assert!((f64::from(*dx) - want).abs() < 4e-6, "{f:?}'({x}) = {dx}, not {want}");
            }
        }
    }
}
