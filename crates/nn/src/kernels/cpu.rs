//! What the processor can do, asked once.

use std::sync::atomic::{AtomicU8, Ordering};

/// Instruction sets that kernels exist for, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// What every processor can do.
    Portable = 1,
    /// AVX2 with FMA.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512 = 3,
    /// [`Level::Avx512`] with VNNI (products of 8-bit integers).
    Vnni = 4,
    /// [`Level::Vnni`] with BF16 (products of bfloat16 pairs).
    Bf16 = 5,
}

static FOUND: AtomicU8 = AtomicU8::new(0);

/// The best level of this processor.
pub(crate) fn level() -> Level {
    match FOUND.load(Ordering::Relaxed) {
        1 => Level::Portable,
        2 => Level::Avx2,
        3 => Level::Avx512,
        4 => Level::Vnni,
        5 => Level::Bf16,
        _ => {
            let found = detect();
            FOUND.store(found as u8, Ordering::Relaxed);
            found
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
    let bf16 = vnni && is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512, vnni, bf16) {
        (_, _, _, true) => Level::Bf16,
        (_, _, true, _) => Level::Vnni,
        (_, true, _, _) => Level::Avx512,
        (true, ..) => Level::Avx2,
        _ => Level::Portable,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Portable
}

/// All levels that this processor can run, for tests that compare them.
#[cfg(test)]
pub(crate) fn levels() -> Vec<Level> {
    [Level::Portable, Level::Avx2, Level::Avx512, Level::Vnni, Level::Bf16]
        .into_iter()
        .filter(|l| *l <= level())
        .collect()
}
