//! The machine's memory, measured.

use std::hint::black_box;
use std::time::Instant;

/// Bytes that each thread reads; far beyond the caches.
const BYTES: usize = 192 << 20;

/// The highest rate, in bytes a second, at which `threads` threads together read memory from
/// beginning to end; the best of three tries.
pub fn read_bandwidth(threads: usize) -> f64 {
    let memory: Vec<Vec<u64>> = (0..threads).map(|_| vec![1; BYTES / 8]).collect();
    let once = || {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for part in &memory {
                scope.spawn(|| black_box(sum(part)));
            }
        });
        (threads * BYTES) as f64 / began.elapsed().as_secs_f64()
    };
    (0..3).map(|_| once()).fold(0.0, f64::max)
}

fn sum(words: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just detected.
        return unsafe { sum_avx512(words) };
    }
    sum_plain(words)
}

#[inline(always)]
fn sum_plain(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for words in words.as_chunks::<32>().0 {
        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

/// Written out, because the compiler leaves the sums of [`sum_plain`] in memory.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn sum_avx512(words: &[u64]) -> u64 {
    use std::arch::x86_64::{
        _mm512_add_epi64, _mm512_loadu_si512, _mm512_reduce_add_epi64, _mm512_setzero_si512,
    };
    let mut sums = [_mm512_setzero_si512(); 4];
    for words in words.as_chunks::<32>().0 {
        for (at, sum) in sums.iter_mut().enumerate() {
            // SAFETY: 8 of the 32 words.
            let loaded = unsafe { _mm512_loadu_si512(words.as_ptr().add(8 * at).cast()) };
            *sum = _mm512_add_epi64(*sum, loaded);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(_mm512_reduce_add_epi64(*sum) as u64))
}
