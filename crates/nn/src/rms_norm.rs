//! Root-mean-square normalization (Zhang and Sennrich 2019): `y = x/√(mean(x²) + eps)·γ`.

use crate::kernels::rows;
use crate::threads::SharedMut;
use crate::{Mat, threads};

/// Rows in a piece of parallel work.
const ROWS: usize = 32;

/// Normalizes each row, or each head of each row, by its root mean square.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// Scale `γ`, `[width]`. Gemma's files hold `γ − 1`; whoever reads them adds 1.
    pub gamma: Vec<f32>,
    /// Added to the mean square.
    pub eps: f32,
}

/// What [`RmsNorm::backward`] needs besides the input: the inverse root mean square of each row.
#[derive(Clone, Debug, Default)]
pub struct RmsTape {
    inverses: Vec<f32>,
}

impl RmsNorm {
    /// Normalizes `[tokens, width]`.
    pub fn forward(&self, x: &Mat) -> (Mat, RmsTape) {
        let (mut y, mut tape) = (Mat::default(), RmsTape::default());
        self.forward_tape(x, &mut y, &mut tape);
        (y, tape)
    }

    /// [`Self::forward`] into a matrix and a tape whose memory is reused.
    pub fn forward_tape(&self, x: &Mat, y: &mut Mat, tape: &mut RmsTape) {
        y.reshape(x.rows, x.cols);
        tape.inverses.resize(x.rows, 0.0);
        let out = SharedMut(y.data.as_mut_ptr());
        threads::run_chunks(&mut tape.inverses, ROWS, |index, inverses| {
            for (i, inverse) in inverses.iter_mut().enumerate() {
                let row = index * ROWS + i;
                // SAFETY: row `row` lies inside `y` and belongs to this piece alone.
                let y =
                    unsafe { std::slice::from_raw_parts_mut(out.get().add(row * x.cols), x.cols) };
                *inverse = rows::rms(x.row(row), &self.gamma, self.eps, y);
            }
        });
    }

    /// [`Self::forward`] into a matrix whose memory is reused, for inference.
    pub fn forward_into(&self, x: &Mat, y: &mut Mat) {
        assert_eq!(x.cols, self.gamma.len(), "width of a norm");
        y.reshape(x.rows, x.cols);
        let width = x.cols;
        threads::run_chunks(&mut y.data, ROWS * width.max(1), |index, piece| {
            for (i, y) in piece.chunks_exact_mut(width).enumerate() {
                rows::rms(x.row(index * ROWS + i), &self.gamma, self.eps, y);
            }
        });
    }

    /// Normalizes `heads` heads of `γ`'s width in each row of `x`, in place, beginning at
    /// `column`: the norm of queries and keys (Henry et al. 2020). Gives the tape of
    /// `[tokens · heads]` rows.
    pub fn heads_in_place(&self, x: &mut Mat, column: usize, heads: usize) -> RmsTape {
        let (width, cols) = (self.gamma.len(), x.cols);
        assert!(column + heads * width <= cols, "heads inside the row");
        let mut inverses = vec![0.0; x.rows * heads];
        let data = SharedMut(x.data.as_mut_ptr());
        threads::run_chunks(&mut inverses, ROWS * heads.max(1), |index, inverses| {
            for (i, inverse) in inverses.iter_mut().enumerate() {
                let at = index * ROWS * heads + i;
                let start = at / heads * cols + column + at % heads * width;
                // SAFETY: a head of a row, which belongs to this piece alone.
                let head = unsafe { std::slice::from_raw_parts_mut(data.get().add(start), width) };
                *inverse = rows::rms_in_place(head, &self.gamma, self.eps);
            }
        });
        RmsTape { inverses }
    }

    /// The gradient for `x` `[tokens, width]` from that for `y`, in its place; adds to the
    /// gradient of `γ` `[width]` where it is wanted. `x` and the tape are those of
    /// [`Self::forward`].
    pub fn backward(&self, x: &Mat, tape: &RmsTape, dy: &mut Mat, dgamma: Option<&mut [f32]>) {
        self.backward_heads(x, tape, dy, (0, 1), dgamma);
    }

    /// [`Self::backward`] for [`Self::heads_in_place`]: `x` is what the heads were before, as a
    /// matrix of the same shape as `dy`; `place` is `(column, heads)`.
    pub fn backward_heads(
        &self,
        x: &Mat,
        tape: &RmsTape,
        dy: &mut Mat,
        (column, heads): (usize, usize),
        dgamma: Option<&mut [f32]>,
    ) {
        let (width, cols) = (self.gamma.len(), x.cols);
        assert_eq!((x.rows, x.cols), (dy.rows, dy.cols), "shapes of a norm's gradient");
        assert_eq!(tape.inverses.len(), x.rows * heads, "the tape of this input");
        assert!(column + heads * width <= cols, "heads inside the row");
        let place = |at: usize| at / heads * cols + column + at % heads * width;
        if let Some(dgamma) = dgamma {
            for (at, inverse) in tape.inverses.iter().enumerate() {
                let part = place(at)..place(at) + width;
                let products = dy.data[part.clone()].iter().zip(&x.data[part]);
                for (dg, (d, x)) in dgamma.iter_mut().zip(products) {
                    *dg += d * x * inverse;
                }
            }
        }
        let data = SharedMut(dy.data.as_mut_ptr());
        let tasks = tape.inverses.len().div_ceil(ROWS);
        threads::run(tasks, |task| {
            for at in task * ROWS..((task + 1) * ROWS).min(tape.inverses.len()) {
                // SAFETY: a head of a row, which belongs to this task alone.
                let dy =
                    unsafe { std::slice::from_raw_parts_mut(data.get().add(place(at)), width) };
                let x = &x.data[place(at)..place(at) + width];
                rows::rms_backward(x, &self.gamma, tape.inverses[at], dy);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    fn norm(width: usize) -> RmsNorm {
        RmsNorm { gamma: matrix(1, width, 1).data, eps: 1e-5 }
    }

    #[test]
    fn rows_agree_with_the_definition_in_f64() {
        let (x, norm) = (matrix(70, 21, 3), norm(21));
        let (y, _) = norm.forward(&x);
        let mut reused = Mat::default();
        norm.forward_into(&x, &mut reused);
        assert_eq!(y, reused);
        for i in 0..70 {
            let square: f64 = x.row(i).iter().map(|x| f64::from(*x).powi(2)).sum();
            let inverse = 1.0 / (square / 21.0 + 1e-5).sqrt();
            for (y, (x, g)) in y.row(i).iter().zip(x.row(i).iter().zip(&norm.gamma)) {
                let want = f64::from(*x) * inverse * f64::from(*g);
                assert!((f64::from(*y) - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn rms_norm_gradients_agree_with_differences() {
        let (x, weight, norm) = (matrix(3, 21, 4), matrix(3, 21, 5), norm(21));
        let (_, tape) = norm.forward(&x);
        let (mut dx, mut dgamma) = (weight.clone(), vec![0.0; 21]);
        norm.backward(&x, &tape, &mut dx, Some(&mut dgamma));
        check("x", &x.data, &dx.data, |data| {
            weigh(&norm.forward(&Mat::new(3, 21, data.to_vec())).0, &weight)
        });
        check("gamma", &norm.gamma, &dgamma, |gamma| {
            let norm = RmsNorm { gamma: gamma.to_vec(), ..norm.clone() };
            weigh(&norm.forward(&x).0, &weight)
        });
    }

    #[test]
    fn heads_are_normalized_one_by_one_and_the_rest_stays() {
        let (x, weight, norm) = (matrix(4, 30, 6), matrix(4, 30, 7), norm(5));
        let forward = |data: &[f32]| {
            let mut y = Mat::new(4, 30, data.to_vec());
            let tape = norm.heads_in_place(&mut y, 10, 3);
            (y, tape)
        };
        let (y, tape) = forward(&x.data);
        for i in 0..4 {
            assert_eq!((&y.row(i)[..10], &y.row(i)[25..]), (&x.row(i)[..10], &x.row(i)[25..]));
            for head in 2..5 {
                let part = Mat::new(1, 5, x.row(i)[head * 5..head * 5 + 5].to_vec());
                assert_eq!(y.row(i)[head * 5..head * 5 + 5], norm.forward(&part).0.data);
            }
        }
        let (mut dx, mut dgamma) = (weight.clone(), vec![0.0; 5]);
        norm.backward_heads(&x, &tape, &mut dx, (10, 3), Some(&mut dgamma));
        check("x", &x.data, &dx.data, |data| weigh(&forward(data).0, &weight));
        check("gamma", &norm.gamma, &dgamma, |gamma| {
            let norm = RmsNorm { gamma: gamma.to_vec(), eps: 1e-5 };
            let mut y = x.clone();
            norm.heads_in_place(&mut y, 10, 3);
            weigh(&y, &weight)
        });
    }
}
