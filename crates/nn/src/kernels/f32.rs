//! Products of `f32` matrices.

use super::cpu::level;
use super::tile::{Kernel, LANES, PANEL, Product, Scales, Tile, packed_place, tiles};
use crate::Activation;

/// The left operand: element `(i, k)` is `data[i * row + k * step]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) step: usize,
}

/// A packed right operand `[k, n]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    data: Vec<u32>,
}

impl Panels {
    /// Packs the operand whose column `j` is the first `k` elements of `column(j)`, into the same
    /// memory.
    pub(crate) fn pack_columns<'a>(
        &mut self,
        k: usize,
        n: usize,
        column: impl Fn(usize) -> &'a [f32],
    ) {
        self.reshape(k, n);
        for (first, panel, width) in panels(&mut self.data, k, n) {
            for j in 0..width.min(n - first) {
                for (group, x) in panel.chunks_exact_mut(width).zip(&column(first + j)[..k]) {
                    group[j] = x.to_bits();
                }
            }
        }
    }

    /// Packs the operand whose row `k` is the first `n` elements of `row(k)`, into the same
    /// memory.
    pub(crate) fn pack_rows<'a>(&mut self, k: usize, n: usize, row: impl Fn(usize) -> &'a [f32]) {
        self.reshape(k, n);
        for (first, panel, width) in panels(&mut self.data, k, n) {
            for (kk, group) in panel.chunks_exact_mut(width).enumerate() {
                let source = &row(kk)[first..n.min(first + width)];
                group.iter_mut().zip(source).for_each(|(bits, x)| *bits = x.to_bits());
            }
        }
    }

    fn reshape(&mut self, k: usize, n: usize) {
        (self.k, self.n) = (k, n);
        let padded = k * n.next_multiple_of(LANES);
        if !n.is_multiple_of(LANES) {
            self.data.clear(); // the padding must be zero
        }
        self.data.resize(padded, 0);
    }

    /// Element `(k, j)`.
    pub(crate) fn get(&self, k: usize, j: usize) -> f32 {
        f32::from_bits(self.data[packed_place(self.k, self.n, 1, (k, j)).0])
    }

    /// Bytes of the packed operand.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * 4
    }
}

/// The panels of packed data: first column, data and width in whole vectors.
fn panels(
    data: &mut [u32],
    k: usize,
    n: usize,
) -> impl Iterator<Item = (usize, &mut [u32], usize)> {
    data.chunks_mut((k * PANEL).max(1)).enumerate().map(move |(index, panel)| {
        let first = index * PANEL;
        (first, panel, PANEL.min(n - first).next_multiple_of(LANES))
    })
}

/// The right operand, `[k, n]`.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// Packed beforehand.
    Packed(&'a Panels),
    /// Row-major as it stands, rows `step` apart; `n` must be a multiple of 16.
    Rows { data: &'a [f32], step: usize, k: usize, n: usize },
}

impl Right<'_> {
    fn columns(&self) -> usize {
        match self {
            Right::Packed(panels) => panels.n,
            Right::Rows { n, .. } => *n,
        }
    }
}

/// What happens to a product on its way into the target.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Added to every row.
    pub(crate) bias: Option<&'a [f32]>,
    /// Multiplies the product.
    pub(crate) alpha: f32,
    /// Adds to what the target holds instead of replacing it.
    pub(crate) accumulate: bool,
    /// Applied last.
    pub(crate) activation: Option<Activation>,
}

impl Finish<'_> {
    pub(crate) const REPLACE: Finish<'static> =
        Finish { bias: None, alpha: 1.0, accumulate: false, activation: None };
    pub(crate) const ADD: Finish<'static> =
        Finish { bias: None, alpha: 1.0, accumulate: true, activation: None };
}

/// `target[i * ld + j] = finish(Σ_k left(i, k) · right(k, j))` for `m` rows, on all threads.
pub(crate) fn multiply(
    m: usize,
    left: Left<'_>,
    right: Right<'_>,
    target: &mut [f32],
    ld: usize,
    finish: Finish<'_>,
) {
    let n = right.columns();
    assert!(m == 0 || ((m - 1) * ld + n <= target.len() && ld >= n), "a target in bounds");
    // SAFETY: `target` is borrowed and has room for the result.
    unsafe { product(m, left, right, target.as_mut_ptr(), ld, finish, false) };
}

/// [`multiply`] on this thread alone, into a place that other threads may write around.
///
/// # Safety
/// `target` must be good for `n` elements at each of `m` rows, `ld` apart, which nobody else
/// touches meanwhile.
pub(crate) unsafe fn multiply_here(
    m: usize,
    left: Left<'_>,
    right: Right<'_>,
    target: *mut f32,
    ld: usize,
    finish: Finish<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe { product(m, left, right, target, ld, finish, true) };
}

/// # Safety
/// As [`multiply_here`].
unsafe fn product(
    m: usize,
    left: Left<'_>,
    right: Right<'_>,
    target: *mut f32,
    ld: usize,
    finish: Finish<'_>,
    here: bool,
) {
    let (b, b_step, k, n, packed) = match right {
        Right::Packed(p) => (p.data.as_ptr(), 0, p.k, p.n, true),
        Right::Rows { data, step, k, n } => {
            assert!(n.is_multiple_of(LANES), "unpacked columns in whole vectors");
            assert!(k == 0 || (k - 1) * step + n <= data.len(), "a right operand in bounds");
            (data.as_ptr().cast(), step, k, n, false)
        }
    };
    if m == 0 || n == 0 {
        return;
    }
    let reach = (m - 1) * left.row + k.saturating_sub(1) * left.step;
    assert!(k == 0 || reach < left.data.len(), "a left operand in bounds");
    assert!(finish.bias.is_none_or(|b| b.len() >= n), "a bias for each column");
    let whole = Tile {
        k,
        a: left.data.as_ptr().cast(),
        a_row: left.row,
        a_step: left.step,
        b,
        b_step,
        sums: std::ptr::null_mut(),
        begins: true,
        ends: true,
        c: target,
        c_row: ld,
        last: 0,
        bias: finish.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        alpha: finish.alpha,
        accumulate: finish.accumulate,
        scales: Scales::NONE,
    };
    let product = Product { whole, m, n, packed, activation: finish.activation };
    // SAFETY: the assertions above and the caller's promise; packed operands are padded.
    unsafe { product.compute(tiles(Kernel::F32, level()), here) };
}

#[cfg(test)]
mod tests {
    use super::super::cpu::levels;
    use super::*;

    /// Small numbers in steps of 1/64: products and sums of them are exact in `f32`.
    pub(crate) fn exact_values(count: usize, salt: u32) -> Vec<f32> {
        let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(12_345);
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 24) as f32 - 128.0) / 64.0
            })
            .collect()
    }

    #[test]
    fn products_are_exact_at_every_edge() {
        for (m, k, n) in
            [(1, 1, 1), (8, 5, 48), (9, 33, 49), (13, 16, 16), (67, 40, 112), (3, 0, 20), (0, 4, 5)]
        {
            let (a, b) = (exact_values(m * k, 1), exact_values(k * n, 2));
            let bias = exact_values(n, 3);
            let start = exact_values(m * (n + 3), 4);
            let mut panels = Panels::default();
            panels.pack_rows(k, n, |x| &b[x * n..]);
            let mut rights = vec![Right::Packed(&panels)];
            if n % 16 == 0 {
                rights.push(Right::Rows { data: &b, step: n, k, n });
            }
            for (right, accumulate) in rights.iter().flat_map(|r| [(r, false), (r, true)]) {
                let finish = Finish { bias: Some(&bias), alpha: 0.5, accumulate, activation: None };
                let mut got = start.clone();
                multiply(m, Left { data: &a, row: k, step: 1 }, *right, &mut got, n + 3, finish);
                for i in 0..m {
                    for j in 0..n + 3 {
                        let old = start[i * (n + 3) + j];
                        let sum: f32 = match j < n {
                            true => (0..k).map(|x| a[i * k + x] * b[x * n + j]).sum(),
                            false => 0.0,
                        };
                        let want = match (j < n, accumulate) {
                            (false, _) => old,
                            (true, true) => 0.5 * sum + bias[j] + old,
                            (true, false) => 0.5 * sum + bias[j],
                        };
                        assert_eq!(got[i * (n + 3) + j], want, "({i}, {j}) of {m}×{k}×{n}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_left_operand_may_be_transposed() {
        let (m, k, n) = (19, 23, 32);
        let (a, b) = (exact_values(m * k, 5), exact_values(k * n, 6));
        let mut got = vec![0.0; m * n];
        let right = Right::Rows { data: &b, step: n, k, n };
        multiply(m, Left { data: &a, row: 1, step: m }, right, &mut got, n, Finish::ADD);
        for (at, got) in got.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let want: f32 = (0..k).map(|x| a[x * m + i] * b[x * n + j]).sum();
            assert_eq!(*got, want);
        }
    }

    #[test]
    fn every_instruction_set_with_fma_gives_the_same_bits() {
        let (m, k, n) = (11, 70, 50);
        let a: Vec<f32> = exact_values(m * k, 7).iter().map(|x| (x * 1.37).sin()).collect();
        let b: Vec<f32> = exact_values(k * n, 8).iter().map(|x| (x * 0.77).cos()).collect();
        let mut panels = Panels::default();
        panels.pack_rows(k, n, |x| &b[x * n..]);
        let mut results = Vec::new();
        for level in levels() {
            let mut c = vec![0.0f32; m * n];
            let whole = Tile {
                k,
                a: a.as_ptr().cast(),
                a_row: k,
                a_step: 1,
                b: panels.data.as_ptr(),
                b_step: 0,
                sums: std::ptr::null_mut(),
                begins: true,
                ends: true,
                c: c.as_mut_ptr(),
                c_row: n,
                last: 0,
                bias: std::ptr::null(),
                alpha: 1.0,
                accumulate: false,
                scales: Scales::NONE,
            };
            let product = Product { whole, m, n, packed: true, activation: None };
            // SAFETY: operands and result have these sizes.
            unsafe { product.compute(tiles(Kernel::F32, level), false) };
            results.push(c);
        }
        for c in &results[1..] {
            assert_eq!(c, &results[results.len() - 1]);
            assert!(c.iter().zip(&results[0]).all(|(x, y)| (x - y).abs() < 1e-4));
        }
    }
}
