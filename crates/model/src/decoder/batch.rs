//! Examples of token sequences, and ragged batches of them.

use std::ops::Range;

/// A sequence of tokens of which a part is to be learned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TokenExample {
    /// The tokens, special ones included.
    pub ids: Vec<u32>,
    /// The tokens that carry loss: the answer with the token that ends it.
    pub answer: Range<usize>,
}

impl TokenExample {
    /// How many tokens are read: those before the answer's last, which nothing follows.
    pub fn read(&self) -> usize {
        self.answer.end.saturating_sub(1)
    }

    /// How many tokens carry loss.
    pub fn counted(&self) -> usize {
        self.answer.len()
    }
}

/// Examples end to end, each its own sequence.
#[derive(Clone, Debug, Default)]
pub struct TokenBatch {
    pub(crate) ids: Vec<u32>,
    /// `n + 1` offsets.
    pub(crate) bounds: Vec<usize>,
    pub(crate) positions: Vec<u32>,
    /// The rows whose following token carries loss, and that token.
    pub(crate) rows: Vec<usize>,
    pub(crate) targets: Vec<u32>,
}

impl TokenBatch {
    /// Lays examples end to end. The first token of a sequence cannot be learned: nothing
    /// precedes it.
    pub fn new<'a>(examples: impl IntoIterator<Item = &'a TokenExample>) -> Self {
        let mut batch = TokenBatch { bounds: vec![0], ..TokenBatch::default() };
        for example in examples {
            let from = batch.ids.len();
            let read = example.read();
            batch.ids.extend_from_slice(&example.ids[..read]);
            batch.positions.extend(0..read as u32);
            for at in example.answer.start.max(1)..example.answer.end {
                batch.rows.push(from + at - 1);
                batch.targets.push(example.ids[at]);
            }
            batch.bounds.push(batch.ids.len());
        }
        batch
    }

    /// How many tokens are read.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// How many tokens carry loss.
    pub fn counted(&self) -> usize {
        self.targets.len()
    }
}
