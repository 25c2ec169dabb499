//! Which examples make up which step: shuffled, bucketed by length, and a function of the seed
//! and the epoch alone, so that a resumed run draws the same batches without stored state.

use rand::seq::SliceRandom;
use sprat_task::random::stream;

/// So many batches are sorted by length together.
const POOL: usize = 16;

/// The batches of one epoch over examples of the given lengths (in tokens): every example once,
/// `size` of them a batch, the last one possibly smaller.
///
/// Examples are shuffled, cut into pools of 16 batches, sorted by length within a pool and cut
/// into batches, whose order is shuffled again. Batches of like lengths keep the attention products
/// of one step alike in size; the pools keep the composition random. Nothing is padded either way.
pub fn epoch(lengths: &[usize], size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let size = size.max(1);
    let mut random = stream(seed, &format!("train/batches/{epoch}"));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.shuffle(&mut random);
    for pool in order.chunks_mut(size * POOL) {
        // A stable sort: equal lengths keep their shuffled order.
        pool.sort_by_key(|&at| lengths[at]);
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
    batches.shuffle(&mut random);
    batches
}

/// Splits a batch into consecutive parts of at most `tokens` tokens each (at least one example a
/// part), so that long texts bound the memory of a step, not its result: gradients add up.
pub(crate) fn parts<'a>(batch: &'a [usize], lengths: &[usize], tokens: usize) -> Vec<&'a [usize]> {
    let mut parts = Vec::new();
    let (mut start, mut sum) = (0, 0);
    for (at, &row) in batch.iter().enumerate() {
        if at > start && sum + lengths[row] > tokens {
            parts.push(&batch[start..at]);
            (start, sum) = (at, 0);
        }
        sum += lengths[row];
    }
    if start < batch.len() {
        parts.push(&batch[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_example_comes_once_an_epoch(
            lengths in prop::collection::vec(1usize..200, 0..300),
            size in 1usize..40,
            seed: u64,
        ) {
            let batches = epoch(&lengths, size, seed, 3);
            let mut all: Vec<usize> = batches.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(batches.iter().all(|batch| !batch.is_empty() && batch.len() <= size));
            prop_assert_eq!(&batches, &epoch(&lengths, size, seed, 3));
        }

        #[test]
        fn parts_are_the_batch_and_stay_under_the_limit(
            lengths in prop::collection::vec(1usize..200, 1..50),
            tokens in 1usize..600,
        ) {
            let batch: Vec<usize> = (0..lengths.len()).rev().collect();
            let parts = parts(&batch, &lengths, tokens);
            prop_assert_eq!(parts.concat(), batch.clone());
            for part in parts {
                let sum: usize = part.iter().map(|&row| lengths[row]).sum();
                prop_assert!(part.len() == 1 || sum <= tokens);
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ_and_batches_are_of_like_length() {
        let lengths: Vec<usize> = (0..512).map(|at| 1 + (at * 7919) % 100).collect();
        assert_ne!(epoch(&lengths, 8, 1, 0), epoch(&lengths, 8, 1, 1));
        assert_ne!(epoch(&lengths, 8, 1, 0), epoch(&lengths, 8, 2, 0));
        let spread = |batch: &Vec<usize>| {
            let of: Vec<usize> = batch.iter().map(|&row| lengths[row]).collect();
            of.iter().max().unwrap() - of.iter().min().unwrap()
        };
        let batches = epoch(&lengths, 8, 1, 0);
        let mean = batches.iter().map(spread).sum::<usize>() / batches.len();
        assert!(mean < 20, "the mean spread of lengths within a batch is {mean}");
    }
}
