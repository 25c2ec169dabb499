//! Ragged batches: the tokens of several texts, one after another.

use crate::tokenizer::Tokens;

/// Tokens of several texts without any padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// All token numbers, `[tokens]`.
    pub ids: Vec<u32>,
    /// Where each text begins, and the end of the last: `texts + 1` offsets.
    pub bounds: Vec<usize>,
}

impl Batch {
    /// Puts texts one after another.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a Tokens>) -> Self {
        let mut batch = Batch { ids: Vec::new(), bounds: vec![0] };
        for text in texts {
            batch.ids.extend_from_slice(&text.ids);
            batch.bounds.push(batch.ids.len());
        }
        batch
    }

    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.bounds.len() - 1
    }
}

/// Cuts texts into batches of similar lengths with at most `most` tokens each (a longer text has
/// a batch of its own). Each batch is a list of indices into `lengths`, shortest texts first.
/// Depends on nothing but the lengths.
pub fn by_length(lengths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&at| (lengths[at], at));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for at in order {
        match batches.last_mut() {
            Some(batch) if lengths[at] <= room => {
                batch.push(at);
                room -= lengths[at];
            }
            _ => {
                batches.push(vec![at]);
                room = most.saturating_sub(lengths[at]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_stand_one_after_another() {
        let tokens = |ids: &[u32]| Tokens { ids: ids.to_vec(), cut: 0 };
        let batch = Batch::new(&[tokens(&[1, 2]), tokens(&[]), tokens(&[3])]);
        assert_eq!((batch.ids, batch.bounds), (vec![1, 2, 3], vec![0, 2, 2, 3]));
    }

    proptest! {
        #[test]
        fn every_text_is_in_one_batch_and_no_batch_is_too_large(
            lengths in proptest::collection::vec(0usize..50, 0..100),
            most in 1usize..100,
        ) {
            let batches = by_length(&lengths, most);
            let mut seen: Vec<usize> = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for batch in batches {
                let total: usize = batch.iter().map(|&at| lengths[at]).sum();
                prop_assert!(total <= most || batch.len() == 1);
            }
        }
    }
}
