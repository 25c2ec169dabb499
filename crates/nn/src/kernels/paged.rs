//! Products of a few queries with keys and values that lie in pages.
//!
//! A score is one sum over a head's columns in rising order. Values are summed a page at a time,
//! tokens in rising order from zero, and the pages' sums are added up in rising order. So results
//! depend neither on how many queries are computed together nor on the instruction set, if it has
//! FMA.

#[cfg(target_arch = "x86_64")]
use super::cpu::{Level, level};
use super::elementwise::{each_level, fma};
use super::tile::LANES;

/// Tokens of a page.
pub(crate) const PAGE: usize = 32;

/// One head's keys and values of a sequence.
#[derive(Clone, Copy)]
pub(crate) struct Pages<'a> {
    pub(crate) data: &'a [f32],
    /// Where the pages begin in `data`, in the order of positions: keys `[width, PAGE]`, then
    /// values `[PAGE, width]`, whose rows are padded to whole vectors.
    pub(crate) starts: &'a [usize],
    pub(crate) width: usize,
    /// Tokens of the last page that are there, at least 1.
    pub(crate) last: usize,
}

/// Rows of a left operand, `step` apart.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) step: usize,
    pub(crate) count: usize,
}

impl Pages<'_> {
    /// Columns of scores: those of all pages.
    pub(crate) fn columns(&self) -> usize {
        self.starts.len() * PAGE
    }

    fn padded(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// The keys and values of page `at`, and how many tokens it has.
    fn page(&self, at: usize) -> (&[f32], usize) {
        let tokens = if at + 1 == self.starts.len() { self.last } else { PAGE };
        let floats = PAGE * (self.width + self.padded());
        (&self.data[self.starts[at]..self.starts[at] + floats], tokens)
    }
}

impl Rows<'_> {
    /// Whether all rows have so many elements.
    fn reach(&self, width: usize) -> bool {
        self.count == 0 || (self.count - 1) * self.step + width <= self.data.len()
    }
}

/// `scores[i, t] = queries[i] · keys[t]` into `scores` `[queries, pages.columns()]`. What is
/// written beyond the last token means nothing.
pub(crate) fn scores(queries: Rows<'_>, pages: Pages<'_>, scores: &mut [f32]) {
    assert!(queries.reach(pages.width), "queries as wide as keys");
    assert!(scores.len() >= queries.count * pages.columns(), "room for all scores");
    assert!((1..=PAGE).contains(&pages.last), "tokens of a page");
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: the assertions above; `level` found the instructions.
        return unsafe { avx512::scores(queries, pages, scores.as_mut_ptr()) };
    }
    scores_any(queries, pages, scores);
}

/// `out[i] = Σ_t weights[i, t] · values[t]` for `weights` `[count, pages.columns()]`, into rows
/// of `width`, `out_step` apart.
///
/// # Safety
/// `out` is good for these rows, and nobody else touches them.
pub(crate) unsafe fn sums(weights: Rows<'_>, pages: Pages<'_>, out: *mut f32, out_step: usize) {
    assert!(weights.reach(pages.columns()), "a weight for every token");
    assert!((1..=PAGE).contains(&pages.last), "tokens of a page");
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx512 {
        // SAFETY: the assertions above and the caller's promise; `level` found the instructions.
        return unsafe { avx512::sums(weights, pages, out, out_step) };
    }
    for i in 0..weights.count {
        // SAFETY: the caller's promise.
        let out = unsafe { std::slice::from_raw_parts_mut(out.add(i * out_step), pages.width) };
        sums_any(&weights.data[i * weights.step..], pages, out);
    }
}

#[inline(always)]
fn scores_body<const FMA: bool>(queries: Rows<'_>, pages: Pages<'_>, scores: &mut [f32]) {
    let columns = pages.columns();
    for at in 0..pages.starts.len() {
        let keys = pages.page(at).0[..pages.width * PAGE].as_chunks::<PAGE>().0;
        for i in 0..queries.count {
            let query = &queries.data[i * queries.step..][..pages.width];
            let mut sums = [0f32; PAGE];
            for (q, keys) in query.iter().zip(keys) {
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum = fma::<FMA>(*q, *key, *sum);
                }
            }
            scores[i * columns + at * PAGE..][..PAGE].copy_from_slice(&sums);
        }
    }
}

#[inline(always)]
fn sums_body<const FMA: bool>(weights: &[f32], pages: Pages<'_>, out: &mut [f32]) {
    for at in 0..pages.starts.len() {
        let (page, tokens) = pages.page(at);
        let values = page[pages.width * PAGE..].chunks_exact(pages.padded());
        let weights = &weights[at * PAGE..][..tokens];
        for (vector, out) in out.chunks_mut(LANES).enumerate() {
            let mut sums = [0f32; LANES];
            for (weight, values) in weights.iter().zip(values.clone()) {
                let values = &values[vector * LANES..][..LANES];
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = fma::<FMA>(*weight, *value, *sum);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if at == 0 { sum } else { *out + sum };
            }
        }
    }
}

each_level! {
    /// [`scores`] on any processor.
    scores_any(queries: Rows<'_>, pages: Pages<'_>, scores: &mut [f32]) = scores_body
}
each_level! {
    /// One row of [`sums`] on any processor.
    sums_any(weights: &[f32], pages: Pages<'_>, out: &mut [f32]) = sums_body
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    #![expect(
        clippy::needless_range_loop,
        reason = "rows and vectors are counted by constants, so that sums stay in registers"
    )]

    use super::{LANES, PAGE, Pages, Rows};
    use core::arch::x86_64::*;

    /// Most rows that are computed together.
    const ROWS: usize = 8;

    /// Calls `$name::<rows, vectors>` for the constants that fit.
    macro_rules! dispatch {
        ($name:ident, $rows:expr, $vectors:expr, $args:tt) => {
            match ($rows, $vectors) {
                (1, 1) => $name::<1, 1>$args,
                (1, 2) => $name::<1, 2>$args,
                (1, _) => $name::<1, 4>$args,
                (2, 1) => $name::<2, 1>$args,
                (2, 2) => $name::<2, 2>$args,
                (2, _) => $name::<2, 4>$args,
                (3, 1) => $name::<3, 1>$args,
                (3, 2) => $name::<3, 2>$args,
                (3, _) => $name::<3, 4>$args,
                (4, 1) => $name::<4, 1>$args,
                (4, 2) => $name::<4, 2>$args,
                (4, _) => $name::<4, 4>$args,
                (5, 1) => $name::<5, 1>$args,
                (5, _) => $name::<5, 2>$args,
                (6, 1) => $name::<6, 1>$args,
                (6, _) => $name::<6, 2>$args,
                (7, 1) => $name::<7, 1>$args,
                (7, _) => $name::<7, 2>$args,
                (_, 1) => $name::<8, 1>$args,
                (_, _) => $name::<8, 2>$args,
            }
        };
    }

    /// # Safety
    /// As [`super::scores`] asserts, on a processor with AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn scores(queries: Rows<'_>, pages: Pages<'_>, scores: *mut f32) {
        let columns = pages.columns();
        for at in 0..pages.starts.len() {
            let (keys, tokens) = pages.page(at);
            let (keys, vectors) = (keys.as_ptr(), tokens.div_ceil(LANES));
            for first in (0..queries.count).step_by(ROWS) {
                let rows = ROWS.min(queries.count - first);
                // SAFETY: rows of the queries and of the scores, as asserted by the caller.
                unsafe {
                    let query = queries.data.as_ptr().add(first * queries.step);
                    let to = scores.add(first * columns + at * PAGE);
                    let shape = (pages.width, queries.step, columns);
                    dispatch!(products, rows, vectors, (query, keys, to, shape));
                }
            }
        }
    }

    /// `M` queries by `V` vectors of one page's keys.
    #[target_feature(enable = "avx512f")]
    unsafe fn products<const M: usize, const V: usize>(
        query: *const f32,
        keys: *const f32,
        to: *mut f32,
        (width, step, columns): (usize, usize, usize),
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            for d in 0..width {
                let mut key = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    key[v] = _mm512_loadu_ps(keys.add(d * PAGE + v * LANES));
                }
                for i in 0..M {
                    let q = _mm512_set1_ps(*query.add(i * step + d));
                    for v in 0..V {
                        sums[i][v] = _mm512_fmadd_ps(q, key[v], sums[i][v]);
                    }
                }
            }
            for i in 0..M {
                for v in 0..V {
                    _mm512_storeu_ps(to.add(i * columns + v * LANES), sums[i][v]);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::sums`] asserts and demands, on a processor with AVX-512 F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn sums(weights: Rows<'_>, pages: Pages<'_>, out: *mut f32, step: usize) {
        let (width, padded) = (pages.width, pages.padded());
        for at in 0..pages.starts.len() {
            let (page, tokens) = pages.page(at);
            for first in (0..weights.count).step_by(ROWS) {
                let rows = ROWS.min(weights.count - first);
                let mut vector = 0;
                while vector * LANES < width {
                    let vectors = match (rows, padded / LANES - vector) {
                        (..=4, 4..) => 4,
                        (_, 2..) => 2,
                        _ => 1,
                    };
                    // SAFETY: rows of the weights, columns of the page's values, and rows of the
                    // result, by the caller's assertions and promise.
                    unsafe {
                        let part = Part {
                            weights: weights.data.as_ptr().add(first * weights.step + at * PAGE),
                            weights_step: weights.step,
                            values: page.as_ptr().add(width * PAGE + vector * LANES),
                            values_step: padded,
                            tokens,
                            out: out.add(first * step + vector * LANES),
                            out_step: step,
                            last: (width - vector * LANES).min(vectors * LANES),
                            begins: at == 0,
                        };
                        dispatch!(weighted, rows, vectors, (&part));
                    }
                    vector += vectors;
                }
            }
        }
    }

    /// A few rows and vectors of one page's sum.
    struct Part {
        weights: *const f32,
        weights_step: usize,
        values: *const f32,
        values_step: usize,
        tokens: usize,
        out: *mut f32,
        out_step: usize,
        /// Columns that exist.
        last: usize,
        /// Whether the sum is the first.
        begins: bool,
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn weighted<const M: usize, const V: usize>(part: &Part) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            let (mut values, mut weights) = (part.values, part.weights);
            for _ in 0..part.tokens {
                let mut value = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    value[v] = _mm512_loadu_ps(values.add(v * LANES));
                }
                for i in 0..M {
                    let weight = _mm512_set1_ps(*weights.add(i * part.weights_step));
                    for v in 0..V {
                        sums[i][v] = _mm512_fmadd_ps(weight, value[v], sums[i][v]);
                    }
                }
                values = values.wrapping_add(part.values_step);
                weights = weights.wrapping_add(1);
            }
            for v in 0..V {
                let lanes = part.last.saturating_sub(v * LANES).min(LANES);
                let mask = ((1u32 << lanes) - 1) as u16;
                for i in 0..M {
                    let out = part.out.add(i * part.out_step + v * LANES);
                    let mut sum = sums[i][v];
                    if !part.begins {
                        sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), sum);
                    }
                    _mm512_mask_storeu_ps(out, mask, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradient_check::matrix;

    #[test]
    fn products_are_those_of_the_definition_and_the_same_bits_everywhere() {
        for (count, width, pages, last) in [
            (1usize, 64usize, 3, 32usize),
            (3, 64, 2, 17),
            (7, 80, 1, 1),
            (9, 5, 3, 16),
            (32, 128, 2, 31),
        ] {
            let padded = width.next_multiple_of(LANES);
            let floats = PAGE * (width + padded);
            let data = matrix(4, floats, 1).data;
            let starts: Vec<usize> = [3, 0, 2][..pages].iter().map(|page| page * floats).collect();
            let pages = Pages { data: &data, starts: &starts, width, last };
            let (columns, tokens) = (pages.columns(), pages.columns() - PAGE + last);
            let key = |t: usize, d: usize| data[starts[t / PAGE] + d * PAGE + t % PAGE];
            let value =
                |t: usize, d: usize| data[starts[t / PAGE] + width * PAGE + t % PAGE * padded + d];
            let (queries, weights) = (matrix(count, width + 3, 2), matrix(count, columns, 3));
            let rows = Rows { data: &queries.data, step: width + 3, count };
            let weighing = Rows { data: &weights.data, step: columns, count };

            let mut products = [vec![0.0; count * columns], vec![0.0; count * columns]];
            scores(rows, pages, &mut products[0]);
            scores_any(rows, pages, &mut products[1]);
            // A row is two columns longer than the sums: what is there must stay.
            let mut results = [vec![7.0; count * (width + 2)], vec![7.0; count * (width + 2)]];
            // SAFETY: rows of `width + 2`.
            unsafe { sums(weighing, pages, results[0].as_mut_ptr(), width + 2) };
            for (i, out) in results[1].chunks_exact_mut(width + 2).enumerate() {
                sums_any(weights.row(i), pages, &mut out[..width]);
            }
            for i in 0..count {
                for t in 0..tokens {
                    let want: f64 = (0..width)
                        .map(|d| f64::from(queries.row(i)[d]) * f64::from(key(t, d)))
                        .sum();
                    let [got, other] = products.each_ref().map(|all| all[i * columns + t]);
                    assert!(
                        (f64::from(got) - want).abs() < 1e-5 && got == other,
                        "score ({i}, {t})"
                    );
                }
                for d in 0..width {
                    let want: f64 = (0..tokens)
                        .map(|t| f64::from(weights.row(i)[t]) * f64::from(value(t, d)))
                        .sum();
                    let [got, other] = results.each_ref().map(|all| all[i * (width + 2) + d]);
                    assert!((f64::from(got) - want).abs() < 1e-5 && got == other, "sum ({i}, {d})");
                }
                assert_eq!(results[0][i * (width + 2) + width..][..2], [7.0; 2]);
            }
        }
    }
}
