//! Multi-head attention over ragged batches (Vaswani et al. 2017, eq. 1), with grouped queries
//! (Ainslie et al. 2023): `softmax(Q·Kᵀ/√d)·V` per sequence and head.

use crate::kernels::f32::{Finish, Left, Panels, Right, multiply_here};
use crate::kernels::rows;
use crate::linear::rows_or_packed;
use crate::threads::{SharedMut, run};
use crate::{Dropout, Mat};
use std::cell::RefCell;

/// How the columns of queries, keys and values are cut into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of the queries.
    pub query: usize,
    /// Heads of keys and values; divides `query`.
    pub key_value: usize,
    /// Columns of a head.
    pub width: usize,
}

impl Heads {
    /// Columns of queries, keys and values side by side: the `qkv` of [`Attention`].
    pub fn columns(&self) -> usize {
        (self.query + 2 * self.key_value) * self.width
    }

    fn head(&self, part: Part, index: usize) -> usize {
        let before = match part {
            Part::Query => 0,
            Part::Key => self.query,
            Part::Value => self.query + self.key_value,
        };
        (before + index) * self.width
    }
}

#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

/// Attention without weights of its own. Its input `qkv` `[tokens, heads.columns()]` holds, in
/// each row, all query heads, then all key heads, then all value heads: what one fused linear
/// layer puts out. Its output is `[tokens, query heads · width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// The cut into heads.
    pub heads: Heads,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
}

/// What [`Attention::backward`] needs besides the input: all probabilities, before dropout.
#[derive(Clone, Debug, Default)]
pub struct AttentionTape {
    /// `[query head][token][token]` of each sequence, one after another.
    probabilities: Vec<f32>,
}

impl Attention {
    /// Attends within each of the sequences that `bounds` (`n + 1` offsets) marks off.
    pub fn forward(&self, qkv: &Mat, bounds: &[usize]) -> Mat {
        let mut out = Mat::default();
        self.forward_into(qkv, bounds, &mut out);
        out
    }

    /// [`Self::forward`] into a matrix whose memory is reused.
    pub fn forward_into(&self, qkv: &Mat, bounds: &[usize], out: &mut Mat) {
        self.attend(qkv, bounds, None, None, out);
    }

    /// [`Self::forward`] for training, with dropout on the probabilities.
    pub fn forward_tape(
        &self,
        qkv: &Mat,
        bounds: &[usize],
        dropout: Option<Dropout>,
    ) -> (Mat, AttentionTape) {
        let mut out = Mat::default();
        let squares: usize = bounds.windows(2).map(|w| (w[1] - w[0]).pow(2)).sum();
        let mut tape = AttentionTape { probabilities: vec![0.0; squares * self.heads.query] };
        self.attend(qkv, bounds, dropout, Some(&mut tape), &mut out);
        (out, tape)
    }

    fn check(&self, qkv: &Mat, bounds: &[usize]) {
        assert_eq!(qkv.cols, self.heads.columns(), "columns of queries, keys and values");
        assert!(self.heads.query.is_multiple_of(self.heads.key_value), "whole groups of heads");
        assert!(bounds.windows(2).all(|w| w[0] <= w[1]), "rising bounds");
        assert_eq!(bounds.first(), Some(&0), "bounds begin at 0");
        assert_eq!(bounds.last(), Some(&qkv.rows), "bounds end at the last token");
    }

    fn attend(
        &self,
        qkv: &Mat,
        bounds: &[usize],
        dropout: Option<Dropout>,
        tape: Option<&mut AttentionTape>,
        out: &mut Mat,
    ) {
        self.check(qkv, bounds);
        let Heads { query, key_value, width } = self.heads;
        out.reshape(qkv.rows, query * width);
        let starts = squares_before(bounds, query);
        let kept = tape.map(|t| SharedMut(t.probabilities.as_mut_ptr()));
        let target = SharedMut(out.data.as_mut_ptr());
        let scale = 1.0 / (width as f32).sqrt();
        let cols = qkv.cols;
        run((bounds.len() - 1) * query, |task| {
            let (sequence, head) = (task / query, task % query);
            let (from, n) = (bounds[sequence], bounds[sequence + 1] - bounds[sequence]);
            if n == 0 {
                return;
            }
            let group = head / (query / key_value);
            let part = |part, index| &qkv.data[from * cols + self.heads.head(part, index)..];
            let (q, k) = (part(Part::Query, head), part(Part::Key, group));
            let v = part(Part::Value, group);
            let first = starts[sequence] + head * n * n;
            with_scratch(|panels, p, _| {
                p.resize(n * n, 0.0);
                panels.pack_columns(width, n, |j| &k[j * cols..]);
                let left = Left { data: q, row: cols, step: 1 };
                let right = Right::Packed(panels);
                // SAFETY: `p` has room for the scores.
                unsafe { multiply_here(n, left, right, p.as_mut_ptr(), n, Finish::REPLACE) };
                rows::softmax_square(p, n, scale, self.causal);
                if let Some(kept) = &kept {
                    // SAFETY: the probabilities of this sequence and head: this task's alone.
                    let kept =
                        unsafe { std::slice::from_raw_parts_mut(kept.get().add(first), n * n) };
                    kept.copy_from_slice(p);
                }
                if let Some(dropout) = dropout {
                    dropout.apply(p, first);
                }
                let left = Left { data: p, row: n, step: 1 };
                let right = rows_or_packed(v, cols, n, width, panels);
                let out = target.get().wrapping_add(from * query * width + head * width);
                // SAFETY: this head's columns of this sequence's rows: this task's alone.
                unsafe { multiply_here(n, left, right, out, query * width, Finish::REPLACE) };
            });
        });
    }

    /// The gradient for `qkv` from that for the output; `qkv`, `bounds` and `dropout` are those
    /// of [`Self::forward_tape`].
    pub fn backward(
        &self,
        qkv: &Mat,
        bounds: &[usize],
        dropout: Option<Dropout>,
        tape: &AttentionTape,
        dout: &Mat,
    ) -> Mat {
        self.check(qkv, bounds);
        let Heads { query, key_value, width } = self.heads;
        assert_eq!((dout.rows, dout.cols), (qkv.rows, query * width), "shape of the gradient");
        let starts = squares_before(bounds, query);
        let mut dqkv = Mat::zeros(qkv.rows, qkv.cols);
        let target = SharedMut(dqkv.data.as_mut_ptr());
        let scale = 1.0 / (width as f32).sqrt();
        let (per_group, cols) = (query / key_value, qkv.cols);
        run((bounds.len() - 1) * key_value, |task| {
            let (sequence, group) = (task / key_value, task % key_value);
            let (from, n) = (bounds[sequence], bounds[sequence + 1] - bounds[sequence]);
            if n == 0 {
                return;
            }
            let part = |part, index| from * cols + self.heads.head(part, index);
            let (k, v) = (part(Part::Key, group), part(Part::Value, group));
            for head in group * per_group..(group + 1) * per_group {
                let q = part(Part::Query, head);
                let dout = &dout.data[from * query * width + head * width..];
                let first = starts[sequence] + head * n * n;
                let p = &tape.probabilities[first..first + n * n];
                with_scratch(|panels, ds, dropped| {
                    // Left operand times rows of width `width`, added to a part of dqkv.
                    let mut add = |left: Left<'_>, right: &[f32], step, to: usize| {
                        let right = rows_or_packed(right, step, n, width, panels);
                        let to = target.get().wrapping_add(to);
                        // SAFETY: a head's columns of this sequence's rows; of one group of
                        // heads, whose task this is.
                        unsafe { multiply_here(n, left, right, to, cols, Finish::ADD) };
                    };
                    // dV += Pᵀ·dO, with P as dropout left it.
                    dropped.clear();
                    dropped.extend_from_slice(p);
                    if let Some(dropout) = dropout {
                        dropout.apply(dropped, first);
                    }
                    add(Left { data: dropped, row: 1, step: n }, dout, query * width, v);
                    // dP = dO·Vᵀ
                    ds.resize(n * n, 0.0);
                    panels.pack_columns(width, n, |j| &qkv.data[v + j * cols..]);
                    let left = Left { data: dout, row: query * width, step: 1 };
                    let right = Right::Packed(panels);
                    // SAFETY: `ds` has room for the scores' gradient.
                    unsafe { multiply_here(n, left, right, ds.as_mut_ptr(), n, Finish::REPLACE) };
                    if let Some(dropout) = dropout {
                        dropout.apply(ds, first);
                    }
                    rows::softmax_square_backward(p, ds, n, scale);
                    // dQ += dS·K, dK += dSᵀ·Q
                    let mut add = |left: Left<'_>, right: &[f32], to: usize| {
                        let right = rows_or_packed(right, cols, n, width, panels);
                        let to = target.get().wrapping_add(to);
                        // SAFETY: as above.
                        unsafe { multiply_here(n, left, right, to, cols, Finish::ADD) };
                    };
                    add(Left { data: ds, row: n, step: 1 }, &qkv.data[k..], q);
                    add(Left { data: ds, row: 1, step: n }, &qkv.data[q..], k);
                });
            }
        });
        dqkv
    }
}

thread_local! {
    static SCRATCH: RefCell<(Panels, Vec<f32>, Vec<f32>)> = RefCell::default();
}

/// Lends a thread's working memory: packed keys or values, and two squares of scores.
fn with_scratch<R>(work: impl FnOnce(&mut Panels, &mut Vec<f32>, &mut Vec<f32>) -> R) -> R {
    SCRATCH.with_borrow_mut(|(panels, a, b)| work(panels, a, b))
}

/// Where the probabilities of each sequence begin.
fn squares_before(bounds: &[usize], heads: usize) -> Vec<usize> {
    let mut sum = 0;
    bounds
        .windows(2)
        .map(|w| {
            let start = sum;
            sum += (w[1] - w[0]).pow(2) * heads;
            start
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};

    const GROUPED: Heads = Heads { query: 4, key_value: 2, width: 3 };
    const WIDE: Heads = Heads { query: 2, key_value: 2, width: 16 };
    const BOUNDS: [usize; 5] = [0, 3, 3, 4, 9];

    /// The definition, in f64, one query at a time.
    fn plain(attention: Attention, qkv: &Mat, bounds: &[usize]) -> Mat {
        let Heads { query, key_value, width } = attention.heads;
        let mut out = Mat::zeros(qkv.rows, query * width);
        for w in bounds.windows(2) {
            for (i, h) in (w[0]..w[1]).flat_map(|i| (0..query).map(move |h| (i, h))) {
                let group = h * key_value / query;
                let part =
                    |row: usize, at: usize, d: usize| f64::from(qkv.row(row)[at * width + d]);
                let seen = w[0]..if attention.causal { i + 1 } else { w[1] };
                let scores: Vec<f64> = seen
                    .clone()
                    .map(|j| (0..width).map(|d| part(i, h, d) * part(j, query + group, d)).sum())
                    .map(|s: f64| (s / (width as f64).sqrt()).exp())
                    .collect();
                let total: f64 = scores.iter().sum();
                for d in 0..width {
                    let sum: f64 = seen
                        .clone()
                        .zip(&scores)
                        .map(|(j, p)| p / total * part(j, query + key_value + group, d))
                        .sum();
                    out.row_mut(i)[h * width + d] = sum as f32;
                }
            }
        }
        out
    }

    #[test]
    fn attention_agrees_with_its_definition() {
        let long: Vec<usize> = vec![0, 70, 87, 88];
        for (heads, bounds) in [(GROUPED, &BOUNDS[..]), (WIDE, &BOUNDS), (WIDE, &long)] {
            for causal in [false, true] {
                let attention = Attention { heads, causal };
                let qkv = matrix(bounds[bounds.len() - 1], heads.columns(), 1);
                let (got, want) = (attention.forward(&qkv, bounds), plain(attention, &qkv, bounds));
                let close = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-6;
                assert!(got.data.iter().zip(&want.data).all(close), "{attention:?}");
            }
        }
    }

    #[test]
    fn attention_gradients_agree_with_differences() {
        for (heads, causal, dropout) in [
            (GROUPED, false, None),
            (GROUPED, true, None),
            (WIDE, false, None),
            (GROUPED, false, Some(Dropout::new(0.4, 5, 6, 7))),
        ] {
            let attention = Attention { heads, causal };
            let qkv = matrix(9, heads.columns(), 2);
            let weight = matrix(9, heads.query * heads.width, 3);
            let (_, tape) = attention.forward_tape(&qkv, &BOUNDS, dropout);
            let dqkv = attention.backward(&qkv, &BOUNDS, dropout, &tape, &weight);
            check("qkv", &qkv.data, &dqkv.data, |data| {
                let qkv = Mat::new(9, heads.columns(), data.to_vec());
                weigh(&attention.forward_tape(&qkv, &BOUNDS, dropout).0, &weight)
            });
        }
    }
}
