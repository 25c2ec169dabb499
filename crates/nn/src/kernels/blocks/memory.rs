//! Memory that is read from beginning to end at every token: cut from large regions in huge pages,
//! where the system has them. A matrix alone is too small for such pages, and walks through small
//! ones cost bandwidth (`docs/benchmarks.md`).

use crate::memory::{HUGE, advise};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a region; what no page of it has been touched takes no memory.
const REGION: usize = 32 << 20;
/// Pieces begin on a cache line.
const LINE: usize = 64;

/// A slice that lies in a region.
pub(super) struct Piece<T: Copy> {
    start: NonNull<T>,
    count: usize,
    /// Keeps the memory; none where there is nothing to keep.
    _region: Option<Arc<Region>>,
}

/// Memory for many pieces, given back when the last of them is gone.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
}

/// The region that pieces are cut from at present, and where the next one begins.
static PRESENT: Mutex<(Weak<Region>, usize)> = Mutex::new((Weak::new(), 0));

// SAFETY: a region is memory without an owner's thread; pieces hand it out as slices, under the
// rules of references.
unsafe impl Send for Region {}
// SAFETY: as above; the region itself is never written through.
unsafe impl Sync for Region {}
// SAFETY: a piece owns its part of the region alone.
unsafe impl<T: Copy + Send> Send for Piece<T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Copy + Sync> Sync for Piece<T> {}

impl Region {
    fn new(bytes: usize) -> Arc<Region> {
        let Ok(layout) = Layout::from_size_align(bytes.next_multiple_of(HUGE), HUGE) else {
            // More than an address space, which a vector would answer in the same way.
            handle_alloc_error(Layout::new::<u8>())
        };
        // SAFETY: the size is not 0.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        advise(start, layout.size());
        Arc::new(Region { start, layout })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and no piece is left.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

impl<T: Copy> Piece<T> {
    /// `count` times `value`.
    pub(super) fn filled(value: T, count: usize) -> Self {
        let bytes = count.saturating_mul(size_of::<T>()).next_multiple_of(LINE);
        if bytes == 0 {
            return Piece::default();
        }
        let (region, offset) = place(bytes);
        // SAFETY: `place` gave these bytes of the region to this piece alone, on a cache line,
        // which suits every number's alignment.
        let start = unsafe {
            let start = region.start.add(offset).cast::<T>();
            for at in 0..count {
                start.add(at).write(value);
            }
            start
        };
        const { assert!(align_of::<T>() <= LINE) };
        Piece { start, count, _region: Some(region) }
    }
}

/// Bytes for one piece: a region and an offset in it.
fn place(bytes: usize) -> (Arc<Region>, usize) {
    if bytes > REGION / 2 {
        return (Region::new(bytes), 0);
    }
    let mut present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
    let (region, offset) = match (present.0.upgrade(), present.1) {
        (Some(region), used) if used + bytes <= REGION => (region, used),
        _ => (Region::new(REGION), 0),
    };
    *present = (Arc::downgrade(&region), offset + bytes);
    (region, offset)
}

impl<T: Copy> Default for Piece<T> {
    fn default() -> Self {
        Piece { start: NonNull::dangling(), count: 0, _region: None }
    }
}

impl<T: Copy> Deref for Piece<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `count` numbers were written from `start` on, and the region is kept.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl<T: Copy> DerefMut for Piece<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and the piece is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl<T: Copy> Clone for Piece<T> {
    fn clone(&self) -> Self {
        let Some(first) = self.first() else { return Piece::default() };
        let mut other = Piece::filled(*first, self.count);
        other.copy_from_slice(self);
        other
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Piece<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("count", &self.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lie_apart_on_cache_lines_and_outlive_each_other() {
        let first = Piece::filled(7u8, 100);
        let second = Piece::filled(-1i16, 33);
        let copy = first.clone();
        drop(first);
        let third = Piece::filled(3u8, 5000);
        assert!(copy.iter().all(|v| *v == 7) && copy.len() == 100);
        assert!(second.iter().all(|v| *v == -1) && second.len() == 33);
        assert!(third.iter().all(|v| *v == 3));
        for start in [copy.as_ptr().addr(), second.as_ptr().addr(), third.as_ptr().addr()] {
            assert_eq!(start % LINE, 0);
        }
        assert!(Piece::<u8>::default().is_empty());
    }

    #[test]
    fn large_pieces_have_a_region_of_their_own() {
        let large = Piece::filled(1u8, REGION);
        assert_eq!(large.as_ptr().addr() % HUGE, 0);
        assert_eq!(large.iter().map(|v| u64::from(*v)).sum::<u64>(), REGION as u64);
    }
}
