//! A choice among labels: the probability of each as an answer, exactly, as if each were written
//! behind the prompt.
//!
//! What labels begin with is a tree, of which every node is read once, many nodes in one step.
//! Nothing in attention knows of trees. A way to the end of a label has a table of pages of its
//! own, which begins with the prompt's; the keys and values of a token go to the pages of each way
//! that it is on. So a token sees the prompt and its own ancestors, in the order and in the pages
//! in which it would see them as one text, and gets the same bits.

use super::label_tree::{LabelTree, Reached};
use crate::codes;
use crate::sampling::log_sum_exp;
use sprat_model::decoder::{Decoder, DecoderAdapter, Step, StepMemory};
use sprat_nn::{PAGE, PagedCache, Span};
use sprat_task::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// Ways that are computed together, at most: each needs pages of its own.
const WAYS: usize = 128;

/// A choice among labels.
pub(crate) struct Choosing {
    pub(crate) labels: Vec<String>,
    pub(crate) tree: Arc<LabelTree>,
    /// Divides the labels' scores before they become probabilities.
    pub(crate) temperature: f32,
    pub(crate) room: Room,
    /// The logarithm of the probability of each node, and of each label.
    reached: Vec<f64>,
    scores: Vec<f64>,
}

/// Pages for what stands behind a prompt.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// Ways that are computed together.
    ways: usize,
    /// Pages of each.
    each: usize,
}

impl Room {
    /// Room for a tree behind a prompt of so many tokens in a cache of so many pages, of which it
    /// takes half at most, if that is enough for one way. It depends on nothing else: how a tree
    /// is cut must not depend on what else is computed.
    pub(crate) fn new(tree: &LabelTree, prompt: usize, pages: usize) -> Self {
        let deepest = tree.longest().saturating_sub(1);
        let each = (prompt + deepest).div_ceil(PAGE) - prompt / PAGE;
        let left = pages.saturating_sub(prompt.div_ceil(PAGE)).min(pages / 2);
        let most = (left / each.max(1)).clamp(1, WAYS);
        Room { ways: tree.tips().min(most), each }
    }

    pub(crate) fn pages(self) -> usize {
        self.ways * self.each
    }
}

/// What labels are read behind.
pub(crate) struct Prompt<'a> {
    pub(crate) tokens: usize,
    pub(crate) pages: &'a [u32],
    pub(crate) adapter: Option<&'a DecoderAdapter>,
}

/// What reads them.
pub(crate) struct Reader<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) cache: &'a mut PagedCache,
    pub(crate) memory: &'a mut StepMemory,
    /// Tokens of one step, at most.
    pub(crate) tokens: usize,
}

impl Choosing {
    pub(crate) fn new(
        labels: Vec<String>,
        tree: Arc<LabelTree>,
        temperature: f32,
        room: Room,
    ) -> Self {
        let (reached, scores) = (vec![0.0; tree.nodes().len()], vec![0.0; tree.labels()]);
        Choosing { labels, tree, temperature, room, reached, scores }
    }

    /// Notes the logits of what follows the prompt.
    pub(crate) fn note_prompt(&mut self, logits: &[f32]) {
        self.note(0, logits);
    }

    /// Notes the logits of what follows a node.
    fn note(&mut self, at: usize, logits: &[f32]) {
        let here = self.reached[at] - f64::from(log_sum_exp(logits));
        for &(id, reached) in &self.tree.nodes()[at].next {
            let score = here + f64::from(logits[id as usize]);
            match reached {
                Reached::Node(at) => self.reached[at] = score,
                Reached::Label(label) => self.scores[label] = score,
            }
        }
    }

    /// Reads the labels behind their prompt, whose logits are noted; `pages` are as many as
    /// [`Self::room`] says.
    pub(crate) fn read(&mut self, prompt: &Prompt<'_>, pages: &[u32], reader: &mut Reader<'_>) {
        let Room { ways, each } = self.room;
        if each == 0 || ways == 0 {
            return;
        }
        let whole = prompt.tokens / PAGE;
        let mut tables: Vec<Vec<u32>> =
            pages.chunks(each).map(|own| [&prompt.pages[..whole], own].concat()).collect();
        if let Some(&begun) = prompt.pages.get(whole) {
            reader.cache.copy_page(begun, tables[0][whole]);
        }
        let tree = self.tree.clone();
        for pass in tree.passes(reader.tokens, ways) {
            self.read_pass(&pass, prompt, &tables, reader);
            // The next pass goes on from the end of this one: its first node's parent is on the
            // way to this one's last node.
            tables.swap(0, pass.len() - 1);
        }
    }

    fn read_pass(
        &mut self,
        pass: &[Range<usize>],
        prompt: &Prompt<'_>,
        tables: &[Vec<u32>],
        Reader { decoder, cache, memory, .. }: &mut Reader<'_>,
    ) {
        let nodes = self.tree.nodes();
        let (first, end) = (pass[0].start, pass[pass.len() - 1].end);
        let span = |run: &Range<usize>, table: usize| Span {
            rows: run.start - first..run.end - first,
            position: prompt.tokens + nodes[run.start].depth - 1,
            pages: &tables[table],
        };
        let (mut spans, mut kept) = (Vec::new(), Vec::new());
        for (table, chain) in pass.iter().enumerate() {
            spans.push(span(chain, table));
            let way: Vec<Span<'_>> =
                self.tree.way(chain, first).iter().map(|run| span(run, table)).collect();
            // What stands before is in the first table: earlier passes went on there.
            let before = way.last().map_or(0, |top| top.position);
            for page in (prompt.tokens / PAGE..before.div_ceil(PAGE)).filter(|_| table > 0) {
                cache.copy_page(tables[0][page], tables[table][page]);
            }
            kept.extend(way);
        }
        let ids: Vec<u32> = nodes[first..end].iter().map(|node| node.token).collect();
        let wanted: Vec<usize> = (0..ids.len()).collect();
        let adapters = vec![prompt.adapter; spans.len()];
        let step =
            Step { ids: &ids, spans: &spans, kept: &kept, wanted: &wanted, adapters: &adapters };
        let logits = decoder.forward_in(&step, cache, memory);
        for (row, at) in (first..end).enumerate() {
            self.note(at, logits.row(row));
        }
    }

    /// The labels with their probabilities, and the place of the best.
    pub(crate) fn chosen(&self) -> Result<(usize, Vec<(String, f32)>)> {
        let most = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if !most.is_finite() {
            return Err(Error::new(&codes::PANIC, "the model gave no valid probabilities"));
        }
        let temperature = f64::from(self.temperature);
        let weight = |score: &f64| ((score - most) / temperature).exp();
        let total: f64 = self.scores.iter().map(weight).sum();
        let shares = self.scores.iter().map(|score| (weight(score) / total) as f32);
        let scores: Vec<(String, f32)> = self.labels.iter().cloned().zip(shares).collect();
        // The first of equal probabilities wins.
        let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].1.total_cmp(&scores[b].1));
        match best {
            Some(best) => Ok((best, scores)),
            None => Err(Error::new(&codes::PANIC, "there are no labels")),
        }
    }
}
