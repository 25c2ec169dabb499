//! Low-rank adapters (LoRA, Hu et al. 2021): `y += scale · (x·Aᵀ)·Bᵀ`.

use crate::kernels::f32::{self, Finish, Left, Panels, Right};
use crate::linear::rows_or_packed;
use crate::{Dropout, Mat};

/// One adapter. A fresh one has random `a` and zero `b`, and so changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// `A`, `[rank, inputs]`.
    pub a: Mat,
    /// `B`, `[outputs, rank]`.
    pub b: Mat,
    /// `alpha / rank` (or `alpha / √rank`, rank-stabilized).
    pub scale: f32,
}

/// The gradients of an adapter, in the shapes of its matrices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraGrad {
    /// For `A`, `[rank, inputs]`.
    pub a: Mat,
    /// For `B`, `[outputs, rank]`.
    pub b: Mat,
}

/// An adapter and the first column of the linear layer's output that it writes. Fused layers
/// (queries, keys and values in one) have one adapter per part; together they read `x` once.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// The adapter.
    pub lora: &'a Lora,
    /// First column of `y` that it writes.
    pub column: usize,
}

impl Lora {
    /// An adapter's gradients, all zero.
    pub fn zero_gradient(&self) -> LoraGrad {
        LoraGrad {
            a: Mat::zeros(self.a.rows, self.a.cols),
            b: Mat::zeros(self.b.rows, self.b.cols),
        }
    }

    /// The change of weight that the adapter stands for: `scale · B·A`, `[outputs, inputs]`.
    pub fn delta(&self) -> Mat {
        let mut delta = Mat::zeros(self.b.rows, self.a.cols);
        let mut panels = Panels::default();
        let (k, n) = (self.a.rows, self.a.cols);
        let right = rows_or_packed(&self.a.data, n, k, n, &mut panels);
        let left = Left { data: &self.b.data, row: self.b.cols, step: 1 };
        let finish = Finish { alpha: self.scale, ..Finish::REPLACE };
        f32::multiply(self.b.rows, left, right, &mut delta.data, n, finish);
        delta
    }
}

/// Adds what the adapters make of `x` `[tokens, inputs]` to their columns of `y`, and gives the
/// inner values `[tokens, Σ rank]` that [`backward`] needs. All adapters have the same inputs;
/// `dropout` is on their input, one mask for all.
pub fn forward_add(adapters: &[Placed<'_>], x: &Mat, dropout: Option<Dropout>, y: &mut Mat) -> Mat {
    let mut hidden = Mat::default();
    forward_add_into(adapters, x, dropout, y, &mut hidden);
    hidden
}

/// [`forward_add`] with the inner values in a matrix whose memory is reused.
pub fn forward_add_into(
    adapters: &[Placed<'_>],
    x: &Mat,
    dropout: Option<Dropout>,
    y: &mut Mat,
    hidden: &mut Mat,
) {
    let inputs = x.cols;
    for Placed { lora, column } in adapters {
        assert_eq!((lora.a.cols, lora.b.cols), (inputs, lora.a.rows), "shapes of an adapter");
        assert!(column + lora.b.rows <= y.cols && y.rows == x.rows, "place of an adapter");
    }
    let dropped = dropped(x, dropout);
    let x = dropped.as_ref().unwrap_or(x);
    let total = rank_of_all(adapters);
    hidden.reshape(x.rows, total);
    if x.rows == 0 {
        return;
    }
    let mut panels = Panels::default();
    let stacked = Stacked::new(adapters);
    panels.pack_columns(inputs, total, |j| stacked.row(j));
    let left = Left { data: &x.data, row: inputs, step: 1 };
    let right = Right::Packed(&panels);
    f32::multiply(x.rows, left, right, &mut hidden.data, total, Finish::REPLACE);
    let mut first = 0;
    for Placed { lora, column } in adapters {
        let (rank, outputs) = (lora.a.rows, lora.b.rows);
        panels.pack_columns(rank, outputs, |j| lora.b.row(j));
        let left = Left { data: &hidden.data[first..], row: total, step: 1 };
        let finish = Finish { alpha: lora.scale, ..Finish::ADD };
        let cols = y.cols;
        let target = &mut y.data[*column..];
        f32::multiply(x.rows, left, Right::Packed(&panels), target, cols, finish);
        first += rank;
    }
}

fn rank_of_all(adapters: &[Placed<'_>]) -> usize {
    adapters.iter().map(|placed| placed.lora.a.rows).sum()
}

/// The rows of all adapters' `A`, one after another.
struct Stacked<'a>(Vec<&'a [f32]>);

impl<'a> Stacked<'a> {
    fn new(adapters: &[Placed<'a>]) -> Self {
        let rows = adapters.iter().flat_map(|p| (0..p.lora.a.rows).map(|i| p.lora.a.row(i)));
        Stacked(rows.collect())
    }

    fn row(&self, i: usize) -> &'a [f32] {
        self.0[i]
    }
}

/// Adds to the adapters' gradients, and to `dx` `[tokens, inputs]` where it is wanted; `x`,
/// `dropout` and `hidden` are those of [`forward_add`], `dy` `[tokens, outputs]` is the gradient
/// of the whole layer's output.
pub fn backward(
    adapters: &[Placed<'_>],
    x: &Mat,
    dropout: Option<Dropout>,
    hidden: &Mat,
    dy: &Mat,
    gradients: &mut [LoraGrad],
    dx: Option<&mut Mat>,
) {
    assert_eq!(adapters.len(), gradients.len(), "one gradient per adapter");
    if x.rows == 0 {
        return;
    }
    let dropped = dropped(x, dropout);
    let seen = dropped.as_ref().unwrap_or(x);
    let (tokens, inputs, total) = (x.rows, x.cols, rank_of_all(adapters));
    assert_eq!((hidden.rows, hidden.cols), (tokens, total), "inner values of these adapters");
    let mut dhidden = Mat::zeros(tokens, total);
    let (mut panels, mut transposed) = (Panels::default(), Mat::default());
    let mut first = 0;
    for (Placed { lora, column }, gradient) in adapters.iter().zip(gradients.iter_mut()) {
        let (rank, outputs) = (lora.a.rows, lora.b.rows);
        // dhidden = scale · dy · B
        let left = Left { data: &dy.data[*column..], row: dy.cols, step: 1 };
        let right = rows_or_packed(&lora.b.data, rank, outputs, rank, &mut panels);
        let finish = Finish { alpha: lora.scale, ..Finish::REPLACE };
        f32::multiply(tokens, left, right, &mut dhidden.data[first..], total, finish);
        // dBᵀ = scale · hiddenᵀ · dy: this way round `dy`, which is large, is read along its rows.
        let left = Left { data: &hidden.data[first..], row: 1, step: total };
        let right = rows_or_packed(&dy.data[*column..], dy.cols, tokens, outputs, &mut panels);
        let finish = Finish { alpha: lora.scale, ..Finish::REPLACE };
        transposed.reshape(rank, outputs);
        f32::multiply(rank, left, right, &mut transposed.data, outputs, finish);
        for (j, gradient) in gradient.b.data.chunks_exact_mut(rank).enumerate() {
            for (r, gradient) in gradient.iter_mut().enumerate() {
                *gradient += transposed.data[r * outputs + j];
            }
        }
        first += rank;
    }
    // dA += dhiddenᵀ · x, for each adapter's rows.
    let right = rows_or_packed(&seen.data, inputs, tokens, inputs, &mut panels);
    let mut first = 0;
    for (placed, gradient) in adapters.iter().zip(gradients) {
        let left = Left { data: &dhidden.data[first..], row: 1, step: total };
        let rank = placed.lora.a.rows;
        f32::multiply(rank, left, right, &mut gradient.a.data, inputs, Finish::ADD);
        first += rank;
    }
    // dx += mask · (dhidden · A)
    if let Some(dx) = dx {
        let stacked = Stacked::new(adapters);
        panels.pack_rows(total, inputs, |i| stacked.row(i));
        let left = Left { data: &dhidden.data, row: total, step: 1 };
        let right = Right::Packed(&panels);
        if let Some(dropout) = dropout {
            let mut sum = Mat::zeros(tokens, inputs);
            f32::multiply(tokens, left, right, &mut sum.data, inputs, Finish::REPLACE);
            dropout.apply_all(&mut sum.data);
            dx.add(&sum);
        } else {
            assert_eq!((dx.rows, dx.cols), (tokens, inputs), "shape of an input's gradient");
            f32::multiply(tokens, left, right, &mut dx.data, inputs, Finish::ADD);
        }
    }
}

fn dropped(x: &Mat, dropout: Option<Dropout>) -> Option<Mat> {
    dropout.map(|dropout| {
        let mut x = x.clone();
        dropout.apply_all(&mut x.data);
        x
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    fn adapters(rank: usize) -> [Lora; 2] {
        [(5, 1), (16, 2)].map(|(outputs, salt)| Lora {
            a: matrix(rank, 19, salt),
            b: matrix(outputs, rank, salt + 10),
            scale: 0.5 * salt as f32,
        })
    }

    fn placed(adapters: &[Lora; 2]) -> [Placed<'_>; 2] {
        [Placed { lora: &adapters[0], column: 3 }, Placed { lora: &adapters[1], column: 8 }]
    }

    fn output(adapters: &[Lora; 2], x: &Mat, dropout: Option<Dropout>) -> Mat {
        let mut y = matrix(x.rows, 26, 30);
        forward_add(&placed(adapters), x, dropout, &mut y);
        y
    }

    #[test]
    fn an_adapter_adds_its_change_of_weight_to_its_columns() {
        let (adapters, x) = (adapters(3), matrix(9, 19, 20));
        let mut want = matrix(9, 26, 30);
        for Placed { lora, column } in placed(&adapters) {
            let delta = lora.delta();
            for i in 0..9 {
                for j in 0..delta.rows {
                    let sum: f32 = x.row(i).iter().zip(delta.row(j)).map(|(x, d)| x * d).sum();
                    want.row_mut(i)[column + j] += sum;
                }
            }
        }
        let got = output(&adapters, &x, None);
        assert!(got.data.iter().zip(&want.data).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn adapter_gradients_agree_with_differences() {
        for (rank, dropout) in [(3, None), (16, None), (3, Some(Dropout::new(0.3, 1, 2, 3)))] {
            let (adapters, x, weight) = (adapters(rank), matrix(6, 19, 20), matrix(6, 26, 21));
            let mut y = matrix(6, 26, 30);
            let hidden = forward_add(&placed(&adapters), &x, dropout, &mut y);
            let mut gradients = adapters.each_ref().map(Lora::zero_gradient);
            let mut dx = Mat::zeros(6, 19);
            let placed = placed(&adapters);
            backward(&placed, &x, dropout, &hidden, &weight, &mut gradients, Some(&mut dx));
            check("x", &x.data, &dx.data, |data| {
                weigh(&output(&adapters, &Mat::new(6, 19, data.to_vec()), dropout), &weight)
            });
            for which in 0..2 {
                let with = |change: &dyn Fn(&mut Lora)| {
                    let mut moved = adapters.clone();
                    change(&mut moved[which]);
                    weigh(&output(&moved, &x, dropout), &weight)
                };
                check("a", &adapters[which].a.data, &gradients[which].a.data, |data| {
                    with(&|lora| lora.a.data.copy_from_slice(data))
                });
                check("b", &adapters[which].b.data, &gradients[which].b.data, |data| {
                    with(&|lora| lora.b.data.copy_from_slice(data))
                });
            }
        }
    }

    #[test]
    fn no_tokens_are_no_work() {
        let adapters = adapters(4);
        let mut y = Mat::zeros(0, 26);
        let hidden = forward_add(&placed(&adapters), &Mat::zeros(0, 19), None, &mut y);
        assert_eq!((hidden.rows, hidden.cols), (0, 8));
    }
}
