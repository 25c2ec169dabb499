//! Who computes: a small pool of parking workers.
//!
//! A parallel region is `tasks` independent pieces of work, cut by shape; whoever is free takes
//! the next. The calling thread works too and waits only for pieces that somebody has begun.
//! Workers spin for some microseconds between regions (a forward pass is a chain of short ones)
//! and then park.
//!
//! On a machine that others use too, the operating system puts a worker aside in the middle of a
//! piece, for milliseconds. The caller then sleeps, which lets the system move the worker to the
//! core that has become free; and because more of the kind is to be expected, it computes alone
//! for a while (`ALONE`). So a process loses about the share of the machine that others take.
//!
//! One region runs at a time: a region begun inside another, or beside one of another thread, is
//! done by its caller alone. That keeps servers with many request threads from waiting for one
//! another, and changes no result.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker looks for the next region before it parks.
const SPIN: Duration = Duration::from_micros(40);

/// How long the caller looks for the end of a piece that a worker has begun before it sleeps:
/// longer than pieces take.
const PATIENCE: Duration = Duration::from_micros(150);
/// After it slept, the caller computes alone for so many times as long as it had waited, …
const ALONE: u32 = 4;
/// … but no longer than this.
const ALONE_AT_MOST: Duration = Duration::from_millis(40);

/// Sets how many threads compute, the calling one included; at least 1. Results never depend
/// on it.
pub fn set_threads(count: usize) {
    WANTED.store(count.max(1), Ordering::Relaxed);
}

/// How many threads compute; as many as the process may use at once, until [`set_threads`].
pub fn threads() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => {
            let found = std::thread::available_parallelism().map_or(1, usize::from);
            set_threads(found);
            found
        }
        count => count,
    }
}

static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Bit of [`Pool::gate`] that says a region is open; the bits below count workers inside.
const OPEN: u64 = 1 << 31;
/// One region in [`Pool::gate`]: the bits above [`OPEN`] number the regions.
const REGION: u64 = 1 << 32;

struct Pool {
    /// Region number, open bit, and count of workers inside, in one word, so that a worker can
    /// neither enter a closed region nor the caller leave while one is inside.
    gate: AtomicU64,
    /// The open region's work; written only while the gate is closed and empty.
    work: AtomicPtr<Work>,
    panicked: AtomicBool,
    /// Workers that may enter: index below this.
    allowed: AtomicUsize,
    /// Held by the thread whose region runs.
    owned: Mutex<Owned>,
    /// Whether the caller sleeps until the gate is empty.
    waiting: AtomicBool,
    done: Condvar,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

/// What belongs to whose region runs.
struct Owned {
    /// Workers that were started.
    started: usize,
    /// Until when regions are not shared.
    alone_until: Option<Instant>,
}

static POOL: Pool = Pool {
    gate: AtomicU64::new(0),
    work: AtomicPtr::new(std::ptr::null_mut()),
    panicked: AtomicBool::new(false),
    allowed: AtomicUsize::new(0),
    owned: Mutex::new(Owned { started: 0, alone_until: None }),
    waiting: AtomicBool::new(false),
    done: Condvar::new(),
    sleepers: AtomicUsize::new(0),
    sleep: Mutex::new(()),
    wake: Condvar::new(),
};

struct Work {
    /// Calls the closure behind `data` with a task's number.
    call: unsafe fn(*const (), usize),
    data: *const (),
    tasks: usize,
    next: AtomicUsize,
}

impl Work {
    fn take_all(&self) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                break;
            }
            // SAFETY: `data` is the closure that `call` was made for; `run` keeps it alive until
            // the gate is closed and empty.
            unsafe { (self.call)(self.data, task) };
        }
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `task(0)`, …, `task(tasks - 1)`, each exactly once, in any order, on up to [`threads`]
/// threads, and returns when all are done.
///
/// # Panics
/// If a task panics.
pub fn run<F: Fn(usize) + Sync>(tasks: usize, task: F) {
    let helpers = threads().min(tasks).saturating_sub(1);
    if helpers > 0 && !INSIDE.get() {
        // A poisoned lock only says that an earlier region panicked; the state is sound.
        let guard = match POOL.owned.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        let shared = |owned: &Owned| owned.alone_until.is_none_or(|until| Instant::now() >= until);
        if let Some(guard) = guard.filter(|owned| shared(owned)) {
            return region(guard, helpers, tasks, &task);
        }
    }
    (0..tasks).for_each(task);
}

fn region<F: Fn(usize) + Sync>(
    mut owned: MutexGuard<'_, Owned>,
    helpers: usize,
    tasks: usize,
    task: &F,
) {
    unsafe fn call<F: Fn(usize)>(data: *const (), task: usize) {
        // SAFETY: `data` points to the `F` that `region` borrows.
        unsafe { (*data.cast::<F>())(task) }
    }
    while owned.started < helpers {
        let index = owned.started;
        let spawned =
            std::thread::Builder::new().name(format!("nn-{index}")).spawn(move || worker(index));
        if spawned.is_err() {
            break; // fewer hands, same result
        }
        owned.started += 1;
    }
    let work = Work {
        call: call::<F>,
        data: std::ptr::from_ref(task).cast(),
        tasks,
        next: AtomicUsize::new(0),
    };
    POOL.allowed.store(helpers, Ordering::Relaxed);
    POOL.work.store((&raw const work).cast_mut(), Ordering::Relaxed);
    let before = POOL.gate.load(Ordering::Relaxed);
    POOL.gate.store((before & !(OPEN | (OPEN - 1))).wrapping_add(REGION) | OPEN, Ordering::SeqCst);
    if POOL.sleepers.load(Ordering::SeqCst) > 0 {
        // Taking the lock makes sure that whoever counts as a sleeper really waits.
        drop(POOL.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        POOL.wake.notify_all();
    }
    INSIDE.set(true);
    let own = catch_unwind(AssertUnwindSafe(|| work.take_all()));
    INSIDE.set(false);
    POOL.gate.fetch_and(!OPEN, Ordering::AcqRel);
    let waited = wait_for_workers();
    owned.alone_until = waited.map(|waited| Instant::now() + (waited * ALONE).min(ALONE_AT_MOST));
    let theirs = POOL.panicked.swap(false, Ordering::Relaxed);
    drop(owned);
    match own {
        Err(payload) => std::panic::resume_unwind(payload),
        Ok(()) => assert!(!theirs, "a task of a parallel region panicked"),
    }
}

/// Waits until nobody is inside the gate: spins for [`PATIENCE`], then sleeps. Says how long it
/// took if it slept.
fn wait_for_workers() -> Option<Duration> {
    let inside = || POOL.gate.load(Ordering::SeqCst) & (OPEN - 1) != 0;
    if !inside() {
        return None;
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        for _ in 0..64 {
            if !inside() {
                return None;
            }
            std::hint::spin_loop();
        }
    }
    POOL.waiting.store(true, Ordering::SeqCst);
    let mut guard = POOL.sleep.lock().unwrap_or_else(PoisonError::into_inner);
    while inside() {
        guard = POOL.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    POOL.waiting.store(false, Ordering::SeqCst);
    Some(begun.elapsed())
}

fn worker(index: usize) {
    INSIDE.set(true);
    let mut seen = 0;
    loop {
        let gate = wait_for_region(seen);
        seen = gate / REGION;
        if index >= POOL.allowed.load(Ordering::Relaxed) {
            continue;
        }
        let mut gate = gate;
        // Enter, unless the region has closed meanwhile or another has begun.
        let entered = loop {
            if gate & OPEN == 0 || gate / REGION != seen {
                break false;
            }
            match POOL.gate.compare_exchange_weak(
                gate,
                gate + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => break true,
                Err(now) => gate = now,
            }
        };
        if entered {
            // SAFETY: inside the gate, `work` is that of the open region and stays alive until
            // this worker has left.
            let work = unsafe { &*POOL.work.load(Ordering::Relaxed) };
            if catch_unwind(AssertUnwindSafe(|| work.take_all())).is_err() {
                POOL.panicked.store(true, Ordering::Relaxed);
            }
            POOL.gate.fetch_sub(1, Ordering::SeqCst);
            if POOL.waiting.load(Ordering::SeqCst) {
                // Taking the lock makes sure that the caller looks at the gate again or waits.
                drop(POOL.sleep.lock().unwrap_or_else(PoisonError::into_inner));
                POOL.done.notify_all();
            }
        }
    }
}

/// Waits for an open region other than `seen`: spins for [`SPIN`], then parks. Gives the gate.
fn wait_for_region(seen: u64) -> u64 {
    let fresh = |gate: u64| gate / REGION != seen && gate & OPEN != 0;
    let begun = Instant::now();
    loop {
        for _ in 0..64 {
            let gate = POOL.gate.load(Ordering::Acquire);
            if fresh(gate) {
                return gate;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() > SPIN {
            break;
        }
    }
    let mut guard = POOL.sleep.lock().unwrap_or_else(PoisonError::into_inner);
    POOL.sleepers.fetch_add(1, Ordering::SeqCst);
    let gate = loop {
        let gate = POOL.gate.load(Ordering::SeqCst);
        if fresh(gate) {
            break gate;
        }
        guard = POOL.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
    };
    POOL.sleepers.fetch_sub(1, Ordering::SeqCst);
    gate
}

/// Cuts `data` into pieces of `chunk` elements (the last may be shorter) and runs
/// `task(number, piece)` for each.
pub fn run_chunks<T: Send, F: Fn(usize, &mut [T]) + Sync>(data: &mut [T], chunk: usize, task: F) {
    let (length, base) = (data.len(), SharedMut(data.as_mut_ptr()));
    run(length.div_ceil(chunk.max(1)), |index| {
        let start = index * chunk;
        // SAFETY: pieces lie inside `data` and do not overlap; every number comes once.
        let piece = unsafe {
            std::slice::from_raw_parts_mut(base.get().add(start), chunk.min(length - start))
        };
        task(index, piece);
    });
}

/// A pointer that tasks share to write *disjoint* places through.
pub(crate) struct SharedMut<T>(pub(crate) *mut T);

// SAFETY: only a pointer; who writes through it keeps the places disjoint.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(crate) fn get(&self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_exactly_once_also_when_threads_and_regions_nest() {
        set_threads(3);
        let callers: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(|| {
                    for tasks in 0..200 {
                        let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                        run(tasks, |i| {
                            run(3, |_| {
                                counts[i].fetch_add(1, Ordering::Relaxed);
                            });
                        });
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 3));
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
        let result = catch_unwind(|| run(8, |i| assert!(i != 5)));
        assert!(result.is_err());
        let sum = AtomicUsize::new(0);
        run(10, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn chunks_cover_the_slice() {
        let mut data = vec![0usize; 103];
        run_chunks(&mut data, 10, |index, piece| piece.fill(index + 1));
        assert!(data.iter().enumerate().all(|(i, v)| *v == i / 10 + 1));
    }
}
