//! Normalization: layer normalization (Ba, Kiros and Hinton 2016) and vectors of length one.

use crate::kernels::{elementwise, rows};
use crate::threads::SharedMut;
use crate::{Mat, threads};

/// Rows in a piece of parallel work.
const ROWS: usize = 32;

/// `y = (x − mean)/√(variance + eps)·γ + β` over each row.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Scale `γ`, `[width]`.
    pub gamma: Vec<f32>,
    /// Shift `β`, `[width]`.
    pub beta: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// What [`LayerNorm::backward`] needs besides the input: mean and inverse deviation of each row.
#[derive(Clone, Debug, Default)]
pub struct NormTape {
    moments: Vec<(f32, f32)>,
}

impl LayerNorm {
    /// Normalizes `[tokens, width]`.
    pub fn forward(&self, x: &Mat) -> (Mat, NormTape) {
        let mut y = Mat::default();
        let mut tape = NormTape::default();
        y.reshape(x.rows, x.cols);
        tape.moments.resize(x.rows, (0.0, 0.0));
        let (out, moments) = (SharedMut(y.data.as_mut_ptr()), &mut tape.moments);
        threads::run_chunks(moments, ROWS, |index, moments| {
            for (i, moment) in moments.iter_mut().enumerate() {
                let row = index * ROWS + i;
                // SAFETY: row `row` lies inside `y` and belongs to this piece alone.
                let y =
                    unsafe { std::slice::from_raw_parts_mut(out.get().add(row * x.cols), x.cols) };
                *moment = rows::normalize(x.row(row), &self.gamma, &self.beta, self.eps, y);
            }
        });
        (y, tape)
    }

    /// `y = norm(x + y)` in place, for inference: the residual sum and its normalization in one
    /// pass.
    pub fn add_forward(&self, x: &Mat, y: &mut Mat) {
        assert_eq!((x.rows, x.cols), (y.rows, y.cols), "shapes of a residual sum");
        let width = x.cols;
        threads::run_chunks(&mut y.data, ROWS * width.max(1), |index, piece| {
            let mut sum = vec![0.0; width];
            for (i, y) in piece.chunks_exact_mut(width).enumerate() {
                sum.copy_from_slice(y);
                elementwise::add(&mut sum, x.row(index * ROWS + i));
                rows::normalize(&sum, &self.gamma, &self.beta, self.eps, y);
            }
        });
    }

    /// The gradient for `x` `[tokens, width]` from that for `y`, in its place; adds to the
    /// gradients of `γ` and `β`, `[width]` each, where they are wanted.
    pub fn backward(
        &self,
        x: &Mat,
        tape: &NormTape,
        dy: &mut Mat,
        gradients: Option<(&mut [f32], &mut [f32])>,
    ) {
        assert_eq!((x.rows, x.cols), (dy.rows, dy.cols), "shapes of a norm's gradient");
        assert_eq!(tape.moments.len(), x.rows, "the tape of this input");
        if let Some((dgamma, dbeta)) = gradients {
            for (i, (mean, rstd)) in tape.moments.iter().enumerate() {
                elementwise::add(dbeta, dy.row(i));
                for (dg, (d, x)) in dgamma.iter_mut().zip(dy.row(i).iter().zip(x.row(i))) {
                    *dg += d * (x - mean) * rstd;
                }
            }
        }
        let width = x.cols;
        threads::run_chunks(&mut dy.data, ROWS * width.max(1), |index, piece| {
            for (i, dy) in piece.chunks_exact_mut(width).enumerate() {
                let row = index * ROWS + i;
                rows::normalize_backward(x.row(row), &self.gamma, tape.moments[row], dy);
            }
        });
    }
}

/// Divides each row by its Euclidean length (at least `1e-12`, as PyTorch's `normalize` does);
/// gives the lengths, which [`l2_normalize_backward`] needs.
pub fn l2_normalize(x: &mut Mat) -> Vec<f32> {
    let width = x.cols.max(1);
    let mut lengths = vec![0.0; x.rows];
    for (length, row) in lengths.iter_mut().zip(x.data.chunks_exact_mut(width)) {
        *length = rows::dot(row, row).sqrt().max(1e-12);
        let inverse = 1.0 / *length;
        row.iter_mut().for_each(|x| *x *= inverse);
    }
    lengths
}

/// The gradient for the rows before [`l2_normalize`], in place of that after it; `y` is what it
/// made of them: `dx = (dy − y·(y·dy)) / length`.
pub fn l2_normalize_backward(y: &Mat, lengths: &[f32], dy: &mut Mat) {
    assert_eq!((y.rows, y.cols), (dy.rows, dy.cols), "shapes of a norm's gradient");
    let width = y.cols.max(1);
    for (i, (dy, length)) in dy.data.chunks_exact_mut(width).zip(lengths).enumerate() {
        let inner = rows::dot(y.row(i), dy);
        for (d, y) in dy.iter_mut().zip(y.row(i)) {
            *d = (*d - y * inner) / length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    fn norm() -> LayerNorm {
        LayerNorm { gamma: matrix(1, 21, 1).data, beta: matrix(1, 21, 2).data, eps: 1e-5 }
    }

    #[test]
    fn rows_get_mean_zero_and_deviation_one() {
        let plain = LayerNorm { gamma: vec![1.0; 40], beta: vec![0.0; 40], eps: 1e-12 };
        let (y, _) = plain.forward(&matrix(70, 40, 3));
        for i in 0..70 {
            let mean = y.row(i).iter().sum::<f32>() / 40.0;
            let square = y.row(i).iter().map(|x| x * x).sum::<f32>() / 40.0;
            assert!(mean.abs() < 1e-6 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
        }
    }

    #[test]
    fn layer_norm_gradients_agree_with_differences() {
        let (x, weight) = (matrix(3, 21, 4), matrix(3, 21, 5));
        let (_, tape) = norm().forward(&x);
        let (mut dx, mut dgamma, mut dbeta) = (weight.clone(), vec![0.0; 21], vec![0.0; 21]);
        norm().backward(&x, &tape, &mut dx, Some((&mut dgamma, &mut dbeta)));
        check("x", &x.data, &dx.data, |data| {
            weigh(&norm().forward(&Mat::new(3, 21, data.to_vec())).0, &weight)
        });
        check("gamma", &norm().gamma, &dgamma, |gamma| {
            let norm = LayerNorm { gamma: gamma.to_vec(), ..norm() };
            weigh(&norm.forward(&x).0, &weight)
        });
        check("beta", &norm().beta, &dbeta, |beta| {
            let norm = LayerNorm { beta: beta.to_vec(), ..norm() };
            weigh(&norm.forward(&x).0, &weight)
        });
    }

    #[test]
    fn the_fused_residual_sum_gives_the_same_bits() {
        let (x, y) = (matrix(37, 21, 6), matrix(37, 21, 7));
        let mut fused = y.clone();
        norm().add_forward(&x, &mut fused);
        let mut sum = y;
        sum.add(&x);
        assert_eq!(fused, norm().forward(&sum).0);
    }

    #[test]
    fn vectors_of_length_one_and_their_gradient() {
        let (x, weight) = (matrix(4, 7, 8), matrix(4, 7, 9));
        let normalized = |data: &[f32]| {
            let mut y = Mat::new(4, 7, data.to_vec());
            let lengths = l2_normalize(&mut y);
            (y, lengths)
        };
        let (y, lengths) = normalized(&x.data);
        assert!((0..4).all(|i| (rows::dot(y.row(i), y.row(i)) - 1.0).abs() < 1e-6));
        let mut dx = weight.clone();
        l2_normalize_backward(&y, &lengths, &mut dx);
        check("x", &x.data, &dx.data, |data| weigh(&normalized(data).0, &weight));
        let mut zero = Mat::zeros(1, 7);
        l2_normalize(&mut zero);
        assert_eq!(zero, Mat::zeros(1, 7));
    }
}
