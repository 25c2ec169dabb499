//! Keys and values of earlier tokens, in pages, and attention over them (the paged layout of Kwon
//! et al. 2023).
//!
//! A page holds [`PAGE`] tokens of one sequence in all layers. Inside it keys lie transposed, so
//! that queries times keys needs no packing. Sums run over a sequence's positions in rising
//! order and are cut at page bounds alone: what a token attends to does not depend on how its
//! sequence was cut into chunks, nor on what else is in the batch.

use crate::attention::Heads;
use crate::kernels::paged::{self, Pages, Rows};
use crate::kernels::{elementwise, rows};
use crate::threads::{SharedMut, run};
use crate::{Activation, Mat, memory};
use std::cell::RefCell;
use std::ops::Range;

/// Tokens of a page.
pub const PAGE: usize = paged::PAGE;
/// Columns of a vector, to which values are padded.
const LANES: usize = 16;
/// Queries whose scores are computed at once.
const QUERIES: usize = 32;
/// Multiply-adds under which handing out work costs more than it saves.
const SMALL: usize = 100_000;
/// Numbers under which one thread keeps them.
const FEW: usize = 8_192;

/// The keys and values of many sequences; which pages a sequence has is the caller's to know.
#[derive(Debug)]
pub struct PagedCache {
    heads: Heads,
    layers: usize,
    pages: usize,
    data: Vec<f32>,
}

/// One sequence's part of a batch.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// Its rows in the batch.
    pub rows: Range<usize>,
    /// The position of the first of them; all before it are in the cache.
    pub position: usize,
    /// Its pages, in the order of positions; they reach to the last row's position.
    pub pages: &'a [u32],
}

/// How scores become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Multiplies the products of queries and keys.
    pub scale: f32,
    /// Only so many positions are seen, the token's own included.
    pub window: Option<usize>,
    /// `cap·tanh(score/cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
}

impl PagedCache {
    /// A cache of `pages` pages. Its memory is taken from the system only as pages are used.
    pub fn new(heads: Heads, layers: usize, pages: usize) -> Self {
        let data = vec![0.0; pages * Self::page_floats(heads, layers)];
        memory::advise_slice(&data);
        PagedCache { heads, layers, pages, data }
    }

    /// Bytes of one page.
    pub fn page_bytes(heads: Heads, layers: usize) -> usize {
        Self::page_floats(heads, layers) * 4
    }

    fn page_floats(heads: Heads, layers: usize) -> usize {
        layers * heads.key_value * Self::head_floats(heads)
    }

    /// Keys and values of one head in one layer.
    fn head_floats(heads: Heads) -> usize {
        PAGE * (heads.width + heads.width.next_multiple_of(LANES))
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.data.len() * 4
    }

    fn at(&self, page: u32, layer: usize, head: usize) -> usize {
        let page = page as usize;
        assert!(page < self.pages && layer < self.layers, "a page of this cache");
        ((page * self.layers + layer) * self.heads.key_value + head) * Self::head_floats(self.heads)
    }

    /// Keeps keys and values of the rows of `qkv` `[tokens, heads.columns()]` that `spans` cover.
    pub fn write(&mut self, layer: usize, qkv: &Mat, spans: &[Span<'_>]) {
        assert_eq!(qkv.cols, self.heads.columns(), "columns of queries, keys and values");
        let Heads { query, key_value, width } = self.heads;
        let padded = width.next_multiple_of(LANES);
        let rows: usize = spans.iter().map(|span| span.rows.len()).sum();
        // Whatever pages the spans name, heads lie apart.
        let places: Vec<usize> = spans
            .iter()
            .flat_map(|span| {
                let positions = span.position..span.position + span.rows.len();
                positions.map(|position| {
                    self.at(span.pages[position / PAGE], layer, 0) * PAGE + position % PAGE
                })
            })
            .collect();
        let data = SharedMut(self.data.as_mut_ptr());
        let floats = Self::head_floats(self.heads);
        let keep = |head: usize| {
            let own = spans.iter().flat_map(|span| span.rows.clone());
            for (row, place) in own.zip(&places) {
                let (at, slot) = (place / PAGE + head * floats, place % PAGE);
                let from = |part: usize| (query + part * key_value + head) * width;
                // SAFETY: this head's part of a page, which `at` found in the cache, and which is
                // this task's alone.
                let (keys, values) = unsafe {
                    std::slice::from_raw_parts_mut(data.get().add(at), floats)
                        .split_at_mut(width * PAGE)
                };
                let source = &qkv.row(row)[from(0)..from(0) + width];
                for (key, x) in keys[slot..].iter_mut().step_by(PAGE).zip(source) {
                    *key = *x;
                }
                let target = &mut values[slot * padded..slot * padded + width];
                target.copy_from_slice(&qkv.row(row)[from(1)..from(1) + width]);
            }
        };
        if rows * key_value * width < FEW {
            (0..key_value).for_each(keep);
        } else {
            run(key_value, keep);
        }
    }

    /// Copies a page, to let two sequences go on from a common beginning.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        let (from, to) = (self.at(from, 0, 0), self.at(to, 0, 0));
        self.data.copy_within(from..from + Self::page_floats(self.heads, self.layers), to);
    }

    /// Attends causally from the queries of `qkv`, whose keys and values [`Self::write`] has kept,
    /// into `out` `[tokens, query heads · width]`, whose memory is reused.
    pub fn attend(
        &self,
        layer: usize,
        qkv: &Mat,
        spans: &[Span<'_>],
        scoring: Scoring,
        out: &mut Mat,
    ) {
        let Heads { query, key_value, width } = self.heads;
        assert_eq!(qkv.cols, self.heads.columns(), "columns of queries, keys and values");
        out.reshape(qkv.rows, query * width);
        let pieces: Vec<(usize, Range<usize>)> = spans
            .iter()
            .enumerate()
            .flat_map(|(at, span)| {
                assert!(span.rows.end <= qkv.rows, "rows of the batch");
                let end = span.rows.end;
                let starts = span.rows.clone().step_by(QUERIES);
                starts.map(move |from| (at, from..(from + QUERIES).min(end)))
            })
            .collect();
        let products: usize = spans
            .iter()
            .map(|span| span.rows.len() * (span.position + span.rows.len()) * 2 * query * width)
            .sum();
        let target = SharedMut(out.data.as_mut_ptr());
        let attend = |task: usize| {
            let (span, rows) = &pieces[task / key_value];
            let (span, head) = (&spans[*span], task % key_value);
            let group = query / key_value;
            let first = span.position + rows.start - span.rows.start;
            // One token: the queries that share a key are the rows of one product.
            let one = rows.len() == 1;
            let (parts, count) = if one { (1, group) } else { (group, rows.len()) };
            let (step, out_step) = if one { (width, width) } else { (qkv.cols, query * width) };
            for part in 0..parts {
                let column = (head * group + part) * width;
                let data = &qkv.data[rows.start * qkv.cols + column..];
                let seen = Seen { first, rows: rows.len(), scoring };
                let out = target.get().wrapping_add(rows.start * query * width + column);
                // SAFETY: heads of this group in these rows: this task's alone.
                unsafe {
                    let queries = Rows { data, step, count };
                    self.attend_piece((layer, head), span, seen, queries, (out, out_step));
                }
            }
        };
        let tasks = pieces.len() * key_value;
        if products < SMALL { (0..tasks).for_each(attend) } else { run(tasks, attend) }
    }

    /// # Safety
    /// `out` must be good for the head's columns of `queries.count` rows, which nobody else
    /// touches.
    unsafe fn attend_piece(
        &self,
        (layer, head): (usize, usize),
        span: &Span<'_>,
        seen: Seen,
        queries: Rows<'_>,
        (out, out_step): (*mut f32, usize),
    ) {
        let Scoring { scale, soft_cap, .. } = seen.scoring;
        let (first_page, last) = (seen.of(0).start / PAGE, seen.first + seen.rows - 1);
        SCRATCH.with_borrow_mut(|(scores, starts)| {
            starts.clear();
            let pages = &span.pages[first_page..last / PAGE + 1];
            starts.extend(pages.iter().map(|page| self.at(*page, layer, head)));
            let pages =
                Pages { data: &self.data, starts, width: self.heads.width, last: last % PAGE + 1 };
            let columns = pages.columns();
            scores.resize(queries.count * columns, 0.0);
            paged::scores(queries, pages, scores);
            let begins = first_page * PAGE;
            for (i, row) in scores.chunks_exact_mut(columns).enumerate() {
                let seen = seen.of(i);
                let seen = seen.start - begins..seen.end - begins;
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
                let row = &mut row[seen];
                match soft_cap {
                    None => rows::softmax(row, scale),
                    Some(cap) => {
                        row.iter_mut().for_each(|x| *x *= scale / cap);
                        elementwise::activate(Activation::Tanh, row);
                        rows::softmax(row, cap);
                    }
                }
            }
            let weights = Rows { data: scores, step: columns, count: queries.count };
            // SAFETY: the caller's promise.
            unsafe { paged::sums(weights, pages, out, out_step) };
        });
    }
}

/// Which positions the queries of a piece see.
#[derive(Clone, Copy)]
struct Seen {
    /// The position of the piece's first row.
    first: usize,
    /// Its rows; with one, all queries are of it.
    rows: usize,
    scoring: Scoring,
}

impl Seen {
    /// What query `i` sees.
    fn of(self, i: usize) -> Range<usize> {
        let own = if self.rows == 1 { self.first } else { self.first + i };
        let lowest = self.scoring.window.map_or(0, |window| (own + 1).saturating_sub(window));
        lowest..own + 1
    }
}

thread_local! {
    static SCRATCH: RefCell<(Vec<f32>, Vec<usize>)> = RefCell::default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attention;
    use crate::gradient_check::matrix;

    const PLAIN: Scoring = Scoring { scale: 0.25, window: None, soft_cap: None };

    /// The definition, in f64, over one sequence.
    fn plain(heads: Heads, qkv: &Mat, scoring: Scoring) -> Mat {
        let Heads { query, key_value, width } = heads;
        let mut out = Mat::zeros(qkv.rows, query * width);
        for (i, head) in (0..qkv.rows).flat_map(|i| (0..query).map(move |h| (i, h))) {
            let group = head * key_value / query;
            let part = |row: usize, at: usize, d: usize| f64::from(qkv.row(row)[at * width + d]);
            let low = scoring.window.map_or(0, |window| (i + 1).saturating_sub(window));
            let score = |j: usize| {
                let dot: f64 =
                    (0..width).map(|d| part(i, head, d) * part(j, query + group, d)).sum();
                let score = dot * f64::from(scoring.scale);
                let capped = |cap: f32| f64::from(cap) * (score / f64::from(cap)).tanh();
                scoring.soft_cap.map_or(score, capped).exp()
            };
            let total: f64 = (low..=i).map(score).sum();
            for d in 0..width {
                let value = |j: usize| score(j) * part(j, query + key_value + group, d);
                out.row_mut(i)[head * width + d] =
                    ((low..=i).map(value).sum::<f64>() / total) as f32;
            }
        }
        out
    }

    /// Runs a sequence through the cache in chunks.
    fn chunked(heads: Heads, qkv: &Mat, scoring: Scoring, chunks: &[usize]) -> Mat {
        let mut cache = PagedCache::new(heads, 2, 9);
        // Stale numbers must not leak into a sequence.
        cache.data.fill(f32::NAN);
        let pages = [7, 2, 5, 0];
        let mut out = Mat::zeros(0, 0);
        let (mut data, mut from) = (Vec::new(), 0);
        for &chunk in chunks {
            let rows = qkv.data[from * qkv.cols..(from + chunk) * qkv.cols].to_vec();
            let part = Mat::new(chunk, qkv.cols, rows);
            let spans = [Span { rows: 0..chunk, position: from, pages: &pages }];
            cache.write(1, &part, &spans);
            cache.attend(1, &part, &spans, scoring, &mut out);
            data.extend_from_slice(&out.data);
            from += chunk;
        }
        Mat::new(from, heads.query * heads.width, data)
    }

    #[test]
    fn attention_over_pages_agrees_with_its_definition_however_it_is_cut() {
        for heads in [
            Heads { query: 4, key_value: 2, width: 16 },
            Heads { query: 3, key_value: 1, width: 5 },
        ] {
            for (window, soft_cap) in [(None, None), (Some(40), None), (Some(3), Some(0.5))] {
                let scoring = Scoring { window, soft_cap, ..PLAIN };
                let qkv = matrix(101, heads.columns(), 1);
                let want = plain(heads, &qkv, scoring);
                let whole = chunked(heads, &qkv, scoring, &[101]);
                let close = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-6;
                assert!(whole.data.iter().zip(&want.data).all(close), "{heads:?} {scoring:?}");
                for chunks in [&[1, 30, 40, 30][..], &[64, 1, 1, 35], &[100, 1]] {
                    let cut = chunked(heads, &qkv, scoring, chunks);
                    if window.is_none() {
                        assert_eq!(cut, whole, "{chunks:?}");
                    }
                    assert!(cut.data.iter().zip(&whole.data).all(close), "{chunks:?}");
                }
            }
        }
    }

    #[test]
    fn sequences_of_a_batch_do_not_see_each_other() {
        let heads = Heads { query: 2, key_value: 1, width: 16 };
        let qkv = matrix(40, heads.columns(), 2);
        let mut cache = PagedCache::new(heads, 1, 4);
        let spans = [
            Span { rows: 0..33, position: 0, pages: &[3, 1] },
            Span { rows: 33..40, position: 0, pages: &[0] },
        ];
        let mut out = Mat::default();
        cache.write(0, &qkv, &spans);
        cache.attend(0, &qkv, &spans, PLAIN, &mut out);
        let attention = Attention { heads, causal: true };
        let want = attention.forward(&qkv, &[0, 33, 40]);
        assert!(out.data.iter().zip(&want.data).all(|(a, b)| (a - b).abs() < 2e-6));
        cache.copy_page(0, 2);
        let again = [Span { rows: 33..40, position: 0, pages: &[2] }];
        let mut copied = Mat::default();
        cache.attend(0, &qkv, &again, PLAIN, &mut copied);
        assert_eq!(copied.row(39), out.row(39));
    }
}
