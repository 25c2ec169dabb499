//! A decoder's output in training: logits and losses of the rows that count, a few at a time, so
//! that a large vocabulary does not cost memory.

use super::batch::{TokenBatch, TokenExample};
use super::importance::Observer;
use super::weights::DecoderWeights;
use super::{Decoder, DecoderAdapter, Step, StepMemory};
use sprat_nn::{Activation, Linear, Mat, PAGE, Span, TokenLoss, token_cross_entropy, token_losses};
use std::ops::Range;

/// Logits that are in memory at once: 64 MiB of them. The cut decides in which order sums are
/// taken, so it is part of a run's result.
const LOGITS: usize = 1 << 24;

/// The losses of some tokens together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenSum {
    /// `Σ −ln p` of the right tokens, in nats.
    pub loss: f64,
    /// Tokens that carry loss.
    pub tokens: usize,
    /// Those of them that had the highest logit.
    pub hits: usize,
}

impl TokenSum {
    /// Adds another sum.
    pub fn add(&mut self, other: TokenSum) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.hits += other.hits;
    }

    fn count(&mut self, losses: &[TokenLoss]) {
        for token in losses {
            self.loss += token.loss;
            self.tokens += 1;
            self.hits += usize::from(token.hit);
        }
    }
}

impl Decoder {
    /// The losses of examples as they are served: through the cache, and with the adapter beside
    /// the weights. So many tokens are read at once at most, or one example.
    ///
    /// # Panics
    /// If an id is not in the vocabulary.
    pub fn measure(
        &self,
        examples: &[TokenExample],
        adapter: Option<&DecoderAdapter>,
        tokens: usize,
    ) -> TokenSum {
        let mut sum = TokenSum::default();
        for batch in batches(examples, tokens) {
            let states = self.read_batch(&batch, adapter, &mut |_, _, _| {});
            sum.add(self.losses(&batch, &states));
        }
        sum
    }

    /// The states after the last layer of a batch that is read as it is served. The inputs of each
    /// product are shown to `observe`.
    pub(crate) fn read_batch(
        &self,
        batch: &TokenBatch,
        adapter: Option<&DecoderAdapter>,
        observe: &mut Observer<'_>,
    ) -> Mat {
        let bounds = batch.bounds.windows(2).map(|w| w[0]..w[1]);
        let mut pages = 0..;
        let owned: Vec<(Range<usize>, Vec<u32>)> = bounds
            .map(|rows| {
                let own = pages.by_ref().take(rows.len().div_ceil(PAGE)).collect();
                (rows, own)
            })
            .collect();
        let spans: Vec<Span<'_>> = owned
            .iter()
            .map(|(rows, pages)| Span { rows: rows.clone(), position: 0, pages })
            .collect();
        let adapters = vec![adapter; spans.len()];
        let step = Step { ids: &batch.ids, spans: &spans, adapters: &adapters, ..Step::default() };
        let mut cache = self.cache(pages.start as usize);
        let mut memory = StepMemory::default();
        self.read_step(&step, &mut cache, observe, &mut memory);
        memory.states
    }

    /// The losses of the tokens that count, from the states after the last layer.
    pub(crate) fn losses(&self, batch: &TokenBatch, states: &Mat) -> TokenSum {
        let mut sum = TokenSum::default();
        let mut memory = (Mat::default(), Mat::default());
        for rows in self.pieces(batch) {
            let chosen = chosen(states, &batch.rows[rows.clone()]);
            let (normed, _) = self.norm.forward(&chosen);
            self.logits(&normed, &mut memory);
            sum.count(&token_losses(&mut memory.0, &batch.targets[rows]));
        }
        sum
    }

    /// [`Self::losses`], and the gradient of `weight · Σ loss`: for the states, which it replaces,
    /// and added to that of norm and output, where it is wanted.
    pub(crate) fn losses_backward(
        &self,
        batch: &TokenBatch,
        states: &mut Mat,
        weight: f32,
        mut full: Option<&mut DecoderWeights>,
    ) -> TokenSum {
        let mut sum = TokenSum::default();
        let mut memory = (Mat::default(), Mat::default());
        let mut dstates = Mat::zeros(states.rows, states.cols);
        for rows in self.pieces(batch) {
            let chosen = chosen(states, &batch.rows[rows.clone()]);
            let (normed, tape) = self.norm.forward(&chosen);
            self.logits(&normed, &mut memory);
            let (logits, part) = (&mut memory.0, &mut memory.1);
            let capped = self.config.logit_cap.map(|cap| (cap, logits.clone()));
            sum.count(&token_cross_entropy(logits, &batch.targets[rows.clone()], weight));
            if let Some((cap, capped)) = capped {
                // d cap·tanh(z/cap) = 1 − (logit/cap)²
                for (d, z) in logits.data.iter_mut().zip(&capped.data) {
                    *d *= 1.0 - (z / cap) * (z / cap);
                }
            }
            let mut dnormed = Mat::default();
            self.output.backward_input_into(logits, &mut dnormed, part);
            let mut dgamma = None;
            if let Some(full) = &mut full {
                let table = full.output.as_mut().unwrap_or(&mut full.embedding);
                Linear::backward_weight(&normed, logits, table, None);
                dgamma = Some(&mut full.norm[..]);
            }
            self.norm.backward(&chosen, &tape, &mut dnormed, dgamma);
            for (from, &to) in batch.rows[rows].iter().enumerate() {
                dstates.row_mut(to).copy_from_slice(dnormed.row(from));
            }
        }
        *states = dstates;
        sum
    }

    /// The rows that count, cut into pieces.
    fn pieces(&self, batch: &TokenBatch) -> impl Iterator<Item = Range<usize>> + use<> {
        let (most, count) = ((LOGITS / self.config.vocabulary).max(1), batch.rows.len());
        (0..count).step_by(most).map(move |from| from..(from + most).min(count))
    }

    /// Logits of normalized states, into the first of the two matrices.
    pub(crate) fn logits(&self, normed: &Mat, (logits, part): &mut (Mat, Mat)) {
        self.output.forward_into(normed, logits, part);
        if let Some(cap) = self.config.logit_cap {
            logits.data.iter_mut().for_each(|x| *x /= cap);
            Activation::Tanh.apply(&mut logits.data);
            logits.data.iter_mut().for_each(|x| *x *= cap);
        }
    }
}

/// Examples of similar length together, so many tokens at once at most, or one example.
pub(crate) fn batches(
    examples: &[TokenExample],
    tokens: usize,
) -> impl Iterator<Item = TokenBatch> {
    let lengths: Vec<usize> = examples.iter().map(TokenExample::read).collect();
    let groups = crate::by_length(&lengths, tokens).into_iter();
    groups.map(|group| TokenBatch::new(group.iter().map(|&at| &examples[at])))
}

/// Some rows of the states.
pub(crate) fn chosen(states: &Mat, rows: &[usize]) -> Mat {
    let mut chosen = Mat::default();
    choose(states, rows, &mut chosen);
    chosen
}

/// [`chosen`] into a matrix whose memory is reused.
pub(crate) fn choose(states: &Mat, rows: &[usize], chosen: &mut Mat) {
    chosen.reshape(rows.len(), states.cols);
    for (to, &from) in rows.iter().enumerate() {
        chosen.row_mut(to).copy_from_slice(states.row(from));
    }
}
