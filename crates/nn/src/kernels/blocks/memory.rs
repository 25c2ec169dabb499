//! Memory that is read from beginning to end at every token: in huge pages where the system has
//! them, because small ones cost bandwidth: on a virtual machine a heap of huge pages read 1.4 times as
//! fast (`docs/benchmarks.md`).

/// Bytes of a huge page on x86-64 and on 64-bit Arm with pages of 4 KiB.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;
/// Bytes from which it is worth asking.
#[cfg(target_os = "linux")]
const LARGE: usize = 64 << 10;

/// A vector of `count` times `value`.
pub(super) fn filled<T: Copy>(value: T, count: usize) -> Vec<T> {
    let mut memory: Vec<T> = Vec::with_capacity(count);
    // Before the memory is touched: pages that are there already stay as small as they are.
    advise(memory.as_ptr().cast(), count * size_of::<T>());
    memory.resize(count, value);
    memory
}

#[cfg(target_os = "linux")]
fn advise(start: *const u8, bytes: usize) {
    unsafe extern "C" {
        fn madvise(start: *mut std::ffi::c_void, bytes: usize, advice: i32) -> i32;
    }
    const MADV_HUGEPAGE: i32 = 14;
    if bytes < LARGE {
        return;
    }
    // The whole pages around it: neighbours on the heap belong to the same layers.
    let from = start.addr() / HUGE * HUGE;
    let length = (start.addr() + bytes).next_multiple_of(HUGE) - from;
    // SAFETY: a hint, which changes no contents; what is not mapped is left out, and that it fails
    // does not matter.
    unsafe { madvise(start.with_addr(from).cast_mut().cast(), length, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *const u8, _: usize) {}
