//! Work over fixed chunks on all cores: the chunks do not depend on the number of threads, so
//! neither do the results.

use sprat_task::{Interrupt, Result};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Calls `work` for every chunk of `0..n` and gives the results in the order of the chunks.
///
/// # Errors
/// [`sprat_task::INTERRUPTED`] when somebody asked to stop between two chunks.
pub(crate) fn map_chunks<T: Send>(
    n: usize,
    chunk: usize,
    interrupt: &Interrupt,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Result<Vec<T>> {
    let chunks = n.div_ceil(chunk);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(chunks);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(chunks));
    let run = || {
        while !interrupt.requested() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= chunks {
                return;
            }
            let result = work(at * chunk..((at + 1) * chunk).min(n));
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, result));
        }
    };
    if threads <= 1 {
        run();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(run);
            }
        });
    }
    interrupt.check()?;
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
