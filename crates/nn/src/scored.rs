//! Causal attention for training decoders: grouped queries (Ainslie et al. 2023), a scale of its
//! own, sliding windows, and the soft cap of Gemma 2. The same sums as [`crate::PagedCache`]
//! computes for inference, over ragged batches and with a backward pass.
//!
//! No probabilities are kept: backward computes them again, a block of queries at a time (Dao et
//! al. 2022), so that memory grows with the tokens and not with their square.

use crate::attention::Heads;
use crate::kernels::f32::{Finish, Left, Panels, Right, multiply_here};
use crate::kernels::tile::LANES;
use crate::kernels::{elementwise, rows};
use crate::linear::rows_or_packed;
use crate::threads::{SharedMut, run};
use crate::{Activation, Mat, Scoring};
use std::cell::RefCell;
use std::ops::Range;

/// Queries whose scores are computed at once.
const QUERIES: usize = 64;

/// Causal attention without weights of its own. Its input `qkv` `[tokens, heads.columns()]` holds
/// all query heads, then all key heads, then all value heads; its output is
/// `[tokens, query heads · width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredAttention {
    /// The cut into heads.
    pub heads: Heads,
    /// How scores become weights.
    pub scoring: Scoring,
}

/// Where one sequence's queries, keys and values of one head are in `qkv`.
#[derive(Clone, Copy)]
struct Place {
    query: usize,
    key: usize,
    value: usize,
}

/// The positions that a block of queries sees, and how wide its rows of scores are: whole vectors.
#[derive(Clone)]
struct Seen {
    positions: Range<usize>,
    columns: usize,
}

/// A thread's working memory.
#[derive(Default)]
struct Scratch {
    /// Keys and values of one head, transposed: what the heads of a group share.
    keys: Transposed,
    values: Transposed,
    panels: Panels,
    /// Probabilities of a block of queries, `[block, seen.columns]`.
    p: Vec<f32>,
    /// The gradient for the scores.
    ds: Vec<f32>,
    /// Hyperbolic tangents of the scores, where they are capped.
    tanh: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One head's rows of a sequence, as the columns of a right operand.
#[derive(Default)]
struct Transposed {
    data: Vec<f32>,
    width: usize,
    step: usize,
}

impl Transposed {
    /// Transposes the first `width` numbers of `count` rows, `cols` apart.
    fn set(&mut self, from: &[f32], cols: usize, count: usize, width: usize) {
        // Any range of columns may be rounded up to whole vectors.
        let step = count.next_multiple_of(LANES) + LANES;
        (self.width, self.step) = (width, step);
        self.data.resize(width * step, 0.0);
        // Beyond the last row there must be numbers: what was there may be none.
        for out in self.data.chunks_exact_mut(step) {
            out[count..].fill(0.0);
        }
        for first in (0..count).step_by(LANES) {
            let rows = first..(first + LANES).min(count);
            for (d, out) in self.data.chunks_exact_mut(step).enumerate() {
                for (out, row) in out[rows.clone()].iter_mut().zip(rows.clone()) {
                    *out = from[row * cols + d];
                }
            }
        }
    }

    /// The columns of what a block sees.
    fn right(&self, seen: &Seen) -> Right<'_> {
        let data = &self.data[seen.positions.start..];
        Right::Rows { data, step: self.step, k: self.width, n: seen.columns }
    }
}

impl ScoredAttention {
    /// Attends within each of the sequences that `bounds` (`n + 1` offsets) marks off.
    pub fn forward(&self, qkv: &Mat, bounds: &[usize]) -> Mat {
        let mut out = Mat::default();
        self.forward_into(qkv, bounds, &mut out);
        out
    }

    /// [`Self::forward`] into a matrix whose memory is reused.
    pub fn forward_into(&self, qkv: &Mat, bounds: &[usize], out: &mut Mat) {
        self.check(qkv, bounds);
        let Heads { query, key_value, width } = self.heads;
        out.reshape(qkv.rows, query * width);
        let target = SharedMut(out.data.as_mut_ptr());
        let group = query / key_value;
        run((bounds.len() - 1) * key_value, |task| {
            let (from, n) = sequence(bounds, task / key_value);
            let shared = task % key_value;
            SCRATCH.with_borrow_mut(|scratch| {
                let place = self.place(from, shared * group);
                scratch.keys.set(&qkv.data[place.key..], qkv.cols, n, width);
                for head in shared * group..(shared + 1) * group {
                    let place = self.place(from, head);
                    for block in blocks(n) {
                        let seen = self.probabilities(qkv, place, block.clone(), scratch);
                        let Scratch { panels, p, .. } = &mut *scratch;
                        let left = Left { data: p, row: seen.columns, step: 1 };
                        let (start, count) = (seen.positions.start, seen.positions.len());
                        let values = &qkv.data[place.value + start * qkv.cols..];
                        let right = rows_or_packed(values, qkv.cols, count, width, panels);
                        let first = (from + block.start) * query * width + head * width;
                        let (out, step) = (target.get().wrapping_add(first), query * width);
                        let finish = Finish::REPLACE;
                        // SAFETY: this head's columns of these rows: this task's alone.
                        unsafe { multiply_here(block.len(), left, right, out, step, finish) };
                    }
                }
            });
        });
    }

    /// The gradient for `qkv` from that for the output.
    pub fn backward(&self, qkv: &Mat, bounds: &[usize], dout: &Mat) -> Mat {
        let mut dqkv = Mat::default();
        self.backward_into(qkv, bounds, dout, &mut dqkv);
        dqkv
    }

    /// [`Self::backward`] into a matrix whose memory is reused.
    pub fn backward_into(&self, qkv: &Mat, bounds: &[usize], dout: &Mat, dqkv: &mut Mat) {
        self.check(qkv, bounds);
        let Heads { query, key_value, width } = self.heads;
        assert_eq!((dout.rows, dout.cols), (qkv.rows, query * width), "shape of the gradient");
        dqkv.reshape(qkv.rows, qkv.cols);
        dqkv.clear();
        let target = SharedMut(dqkv.data.as_mut_ptr());
        let group = query / key_value;
        // Queries that share a key add to one gradient: they are one task.
        run((bounds.len() - 1) * key_value, |task| {
            let (from, n) = sequence(bounds, task / key_value);
            let shared = task % key_value;
            SCRATCH.with_borrow_mut(|scratch| {
                let place = self.place(from, shared * group);
                scratch.keys.set(&qkv.data[place.key..], qkv.cols, n, width);
                scratch.values.set(&qkv.data[place.value..], qkv.cols, n, width);
                for head in shared * group..(shared + 1) * group {
                    let place = self.place(from, head);
                    let dout = &dout.data[from * query * width + head * width..];
                    for block in blocks(n) {
                        // SAFETY: the columns of one group of heads in this sequence's rows: this
                        // task's alone.
                        unsafe {
                            self.backward_block(qkv, place, block, dout, target.get(), scratch);
                        }
                    }
                }
            });
        });
    }

    /// Adds to the gradients of one block of queries and of the keys and values that it sees.
    /// `dout` begins at the head's column of the sequence's first row; `scratch` has its keys and
    /// values.
    ///
    /// # Safety
    /// `dqkv` has the shape of `qkv`, and nobody else touches the places of this head.
    unsafe fn backward_block(
        &self,
        qkv: &Mat,
        place: Place,
        block: Range<usize>,
        dout: &[f32],
        dqkv: *mut f32,
        scratch: &mut Scratch,
    ) {
        let Heads { query, width, .. } = self.heads;
        let (cols, count, out_cols) = (qkv.cols, block.len(), query * width);
        let seen = self.probabilities(qkv, place, block.clone(), scratch);
        let Scratch { values, panels, p, ds, tanh, .. } = scratch;
        let dout = &dout[block.start * out_cols..];
        let (first, tokens, columns) = (seen.positions.start, seen.positions.len(), seen.columns);
        let at = |first: usize, row: usize| first + row * cols;
        // A product that is added to rows of dqkv, `to` on, `rows` of them.
        let mut add = |rows: usize, left: Left<'_>, right: (&[f32], usize, usize), to: usize| {
            let (data, step, k) = right;
            let right = rows_or_packed(data, step, k, width, panels);
            // SAFETY: the caller's promise.
            unsafe { multiply_here(rows, left, right, dqkv.wrapping_add(to), cols, Finish::ADD) };
        };
        // dV += Pᵀ·dO
        let left = Left { data: p, row: 1, step: columns };
        add(tokens, left, (dout, out_cols, count), at(place.value, first));
        // dP = dO·Vᵀ
        ds.resize(count * columns, 0.0);
        let left = Left { data: dout, row: out_cols, step: 1 };
        let (right, to) = (values.right(&seen), ds.as_mut_ptr());
        // SAFETY: `ds` has room for the scores' gradient.
        unsafe { multiply_here(count, left, right, to, columns, Finish::REPLACE) };
        // d softmax(scale·s), or d softmax(cap·tanh(scale/cap·s)). Where p is 0 it is 0.
        rows::softmax_square_backward(p, ds, columns, self.scoring.scale);
        if self.scoring.soft_cap.is_some() {
            for (d, t) in ds.iter_mut().zip(tanh.iter()) {
                *d *= 1.0 - t * t;
            }
        }
        // dQ += dS·K, dK += dSᵀ·Q
        let (query, key) = (at(place.query, block.start), at(place.key, first));
        let left = Left { data: ds, row: columns, step: 1 };
        add(count, left, (&qkv.data[key..], cols, tokens), query);
        let left = Left { data: ds, row: 1, step: columns };
        add(tokens, left, (&qkv.data[query..], cols, count), key);
    }

    /// The probabilities of a block of queries, into `scratch.p`, and what the block sees;
    /// `scratch.keys` are those of the sequence.
    fn probabilities(
        &self,
        qkv: &Mat,
        place: Place,
        block: Range<usize>,
        scratch: &mut Scratch,
    ) -> Seen {
        let Scoring { scale, window, soft_cap } = self.scoring;
        let (cols, count) = (qkv.cols, block.len());
        let lowest = |i: usize| window.map_or(0, |window| (i + 1).saturating_sub(window));
        let positions = lowest(block.start)..block.end;
        let columns = positions.len().next_multiple_of(LANES);
        let seen = Seen { positions, columns };
        let Scratch { keys, p, tanh, .. } = scratch;
        p.resize(count * columns, 0.0);
        let queries = &qkv.data[place.query + block.start * cols..];
        let left = Left { data: queries, row: cols, step: 1 };
        let (right, to) = (keys.right(&seen), p.as_mut_ptr());
        // SAFETY: `p` has room for the scores.
        unsafe { multiply_here(count, left, right, to, columns, Finish::REPLACE) };
        if let Some(cap) = soft_cap {
            p.iter_mut().for_each(|x| *x *= scale / cap);
            elementwise::activate(Activation::Tanh, p);
            tanh.clear();
            tanh.extend_from_slice(p);
        }
        for (i, row) in p.chunks_exact_mut(columns).enumerate() {
            let own = block.start + i;
            let inside = lowest(own) - seen.positions.start..own + 1 - seen.positions.start;
            row[..inside.start].fill(0.0);
            row[inside.end..].fill(0.0);
            rows::softmax(&mut row[inside], soft_cap.unwrap_or(scale));
        }
        seen
    }

    fn place(&self, from: usize, head: usize) -> Place {
        let Heads { query, key_value, width } = self.heads;
        let group = head / (query / key_value);
        let row = from * self.heads.columns();
        Place {
            query: row + head * width,
            key: row + (query + group) * width,
            value: row + (query + key_value + group) * width,
        }
    }

    fn check(&self, qkv: &Mat, bounds: &[usize]) {
        assert_eq!(qkv.cols, self.heads.columns(), "columns of queries, keys and values");
        assert!(self.heads.query.is_multiple_of(self.heads.key_value), "whole groups of heads");
        assert!(bounds.windows(2).all(|w| w[0] <= w[1]), "rising bounds");
        assert_eq!(bounds.first(), Some(&0), "bounds begin at 0");
        assert_eq!(bounds.last(), Some(&qkv.rows), "bounds end at the last token");
    }
}

/// First row and length of a sequence.
fn sequence(bounds: &[usize], at: usize) -> (usize, usize) {
    (bounds[at], bounds[at + 1] - bounds[at])
}

fn blocks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(QUERIES).map(move |from| from..(from + QUERIES).min(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::{check, matrix, weigh};
    use crate::threads::set_threads;
    use crate::{PAGE, PagedCache, Span};

    const GROUPED: Heads = Heads { query: 4, key_value: 2, width: 3 };
    const WIDE: Heads = Heads { query: 2, key_value: 1, width: 16 };
    const BOUNDS: [usize; 5] = [0, 3, 3, 4, 9];

    fn scorings() -> [Scoring; 4] {
        let plain = Scoring { scale: 0.6, window: None, soft_cap: None };
        [
            plain,
            Scoring { window: Some(3), ..plain },
            Scoring { soft_cap: Some(0.8), ..plain },
            Scoring { window: Some(2), soft_cap: Some(0.5), ..plain },
        ]
    }

    #[test]
    fn training_attends_as_inference_does() {
        for (heads, scoring) in [GROUPED, WIDE].into_iter().zip(scorings().into_iter().cycle()) {
            for scoring in [scoring, Scoring { window: Some(70), ..scoring }] {
                let (qkv, bounds) = (matrix(150, heads.columns(), 1), [0, 133, 150]);
                let got = ScoredAttention { heads, scoring }.forward(&qkv, &bounds);
                let mut cache = PagedCache::new(heads, 1, 150 / PAGE + 2);
                let spans = [
                    Span { rows: 0..133, position: 0, pages: &[4, 2, 0, 1, 3] },
                    Span { rows: 133..150, position: 0, pages: &[5] },
                ];
                let mut want = Mat::default();
                cache.write(0, &qkv, &spans);
                cache.attend(0, &qkv, &spans, scoring, &mut want);
                let close = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-6;
                assert!(got.data.iter().zip(&want.data).all(close), "{heads:?} {scoring:?}");
            }
        }
    }

    #[test]
    fn scored_gradients_agree_with_differences() {
        for heads in [GROUPED, WIDE] {
            for scoring in scorings() {
                let attention = ScoredAttention { heads, scoring };
                let qkv = matrix(9, heads.columns(), 2);
                let weight = matrix(9, heads.query * heads.width, 3);
                let dqkv = attention.backward(&qkv, &BOUNDS, &weight);
                check("qkv", &qkv.data, &dqkv.data, |data| {
                    let qkv = Mat::new(9, heads.columns(), data.to_vec());
                    weigh(&attention.forward(&qkv, &BOUNDS), &weight)
                });
            }
        }
    }

    /// Beyond one block of queries: along a random direction, since there are too many numbers
    /// for each by itself.
    #[test]
    fn long_sequences_have_the_right_gradient_whatever_the_threads() {
        let heads = Heads { query: 2, key_value: 1, width: 4 };
        for window in [None, Some(40)] {
            let scoring = Scoring { scale: 0.7, window, soft_cap: Some(2.0) };
            let attention = ScoredAttention { heads, scoring };
            let (qkv, weight) = (matrix(140, heads.columns(), 5), matrix(140, 8, 6));
            let direction = matrix(140, heads.columns(), 7);
            set_threads(1);
            let dqkv = attention.backward(&qkv, &[0, 140], &weight);
            set_threads(3);
            assert_eq!(attention.backward(&qkv, &[0, 140], &weight), dqkv);
            let moved = |by: f32| {
                let mut qkv = qkv.clone();
                qkv.data.iter_mut().zip(&direction.data).for_each(|(x, d)| *x += by * d);
                weigh(&attention.forward(&qkv, &[0, 140]), &weight)
            };
            let h = 1.0 / 256.0;
            let want = (moved(h) - moved(-h)) / f64::from(2.0 * h);
            let got = weigh(&dqkv, &direction);
            assert!((got - want).abs() < 2e-3 * (1.0 + want.abs()), "{got} is not {want}");
        }
    }
}
