//! The machine's arithmetic ceiling, measured: every core runs fused multiply-adds on registers,
//! with nothing to load or store.

use std::hint::black_box;
use std::time::Instant;

/// Accumulators: more than the latency of a fused multiply-add times its throughput needs.
const CHAINS: usize = 12;
const ROUNDS: u64 = 4_000_000;

/// The highest rate of `f32` floating-point operations per second that `threads` threads reach
/// together (a fused multiply-add counts as two); the best of three tries.
pub fn f32_flops(threads: usize) -> f64 {
    best(threads, f32_kernel)
}

/// The same for products of bfloat16 pairs summed in `f32`; `None` where the processor has no
/// instruction for it.
pub fn bf16_flops(threads: usize) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the feature was just detected.
        return Some(best(threads, |rounds| unsafe { bf16_avx512(rounds) }));
    }
    let _ = threads;
    None
}

/// Products of 8-bit integers, summed in 32 bits, a second; where the processor has no
/// instruction for it, those of [`f32_flops`] (two operations each).
pub fn int8_macs(threads: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: the feature was just detected.
        return best(threads, |rounds| unsafe { int8_avx512(rounds) });
    }
    f32_flops(threads) / 2.0
}

/// Runs `kernel`, which returns how many operations it did, on every thread at once.
fn best(threads: usize, kernel: impl Fn(u64) -> f64 + Sync) -> f64 {
    kernel(ROUNDS / 20);
    let once = || {
        let began = Instant::now();
        let done: f64 = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|_| scope.spawn(|| kernel(black_box(ROUNDS)))).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
        });
        done / began.elapsed().as_secs_f64()
    };
    (0..3).map(|_| once()).fold(0.0, f64::max)
}

fn f32_kernel(rounds: u64) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the feature was just detected.
        return unsafe { f32_avx512(rounds) };
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
        // SAFETY: the features were just detected.
        return unsafe { f32_avx2(rounds) };
    }
    f32_plain(rounds)
}

fn f32_plain(rounds: u64) -> f64 {
    let mut sums = [[0.0f32; 4]; CHAINS];
    let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
    for _ in 0..rounds {
        for sum in sums.iter_mut().flatten() {
            *sum = *sum * a + b;
        }
    }
    black_box(sums);
    (rounds as usize * CHAINS * 4 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn f32_avx512(rounds: u64) -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps, _mm512_setzero_ps};
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
    let mut sums = [_mm512_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    (rounds as usize * CHAINS * 16 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn f32_avx2(rounds: u64) -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps};
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let mut sums = [_mm256_setzero_ps(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    black_box(sums);
    (rounds as usize * CHAINS * 8 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f")]
fn bf16_avx512(rounds: u64) -> f64 {
    use std::arch::x86_64::{_mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_set1_ps};
    let small = _mm512_set1_ps(black_box(0.001));
    let pairs = _mm512_cvtne2ps_pbh(small, small);
    let mut sums = [_mm512_set1_ps(0.0); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
        }
    }
    black_box(sums);
    // 16 sums of 2 products each.
    (rounds as usize * CHAINS * 16 * 2 * 2) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512vnni,avx512f")]
fn int8_avx512(rounds: u64) -> f64 {
    use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_set1_epi8, _mm512_setzero_si512};
    let ones = _mm512_set1_epi8(black_box(1));
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, ones, ones);
        }
    }
    black_box(sums);
    // 16 sums of 4 products each.
    (rounds as usize * CHAINS * 16 * 4) as f64
}
