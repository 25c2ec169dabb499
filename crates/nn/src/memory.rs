//! Huge pages for memory that is walked through from beginning to end: walks through the table of
//! small ones cost bandwidth, and fetching them one by one costs time (`docs/benchmarks.md`).

use std::ptr::NonNull;

/// Bytes of a huge page on x86-64 and on 64-bit Arm with pages of 4 KiB.
pub(crate) const HUGE: usize = 2 << 20;
/// Bytes of a small page, or more than that.
#[cfg(target_os = "linux")]
const SMALL: usize = 64 << 10;

/// Asks the system for huge pages under memory that nobody has touched yet: pages that are there
/// already stay as small as they are.
#[cfg(target_os = "linux")]
pub(crate) fn advise(start: NonNull<u8>, bytes: usize) {
    unsafe extern "C" {
        fn madvise(start: *mut std::ffi::c_void, bytes: usize, advice: i32) -> i32;
    }
    const MADV_HUGEPAGE: i32 = 14;
    let skipped = start.addr().get().wrapping_neg() % SMALL;
    if bytes < skipped + HUGE {
        return;
    }
    // SAFETY: a hint about memory that is the caller's, which changes no contents; that it fails
    // does not matter.
    unsafe { madvise(start.as_ptr().add(skipped).cast(), bytes - skipped, MADV_HUGEPAGE) };
}

/// Elsewhere the system decides.
#[cfg(not(target_os = "linux"))]
pub(crate) fn advise(_: NonNull<u8>, _: usize) {}

/// [`advise`] for a fresh slice.
pub(crate) fn advise_slice<T>(fresh: &[T]) {
    advise(NonNull::from(fresh).cast(), size_of_val(fresh));
}
