//! The native memory of this library: its allocator counts.
//!
//! A thread counts for itself, and adds to the sum what has become worth it: a sum that all threads change with each
//! allocation would cost more than the allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes that a thread may have allocated or freed and not yet counted.
const STEP: i64 = 4096;

#[global_allocator]
static COUNTING: Counting = Counting;

static ALLOCATED: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static UNCOUNTED: Cell<i64> = const { Cell::new(0) };
}

struct Counting;

/// Bytes in use by this library, give or take 4 KiB for each thread.
pub(crate) fn allocated() -> u64 {
    u64::try_from(ALLOCATED.load(Ordering::Relaxed)).unwrap_or(0)
}

fn note(change: i64) {
    UNCOUNTED.with(|uncounted| {
        let mut sum = uncounted.get() + change;
        if sum.abs() >= STEP {
            ALLOCATED.fetch_add(sum, Ordering::Relaxed);
            sum = 0;
        }
        uncounted.set(sum);
    });
}

fn size(layout: Layout) -> i64 {
    // Never more than `isize::MAX`.
    layout.size() as i64
}

// Not inlined: in each place that allocates, it would add 190 KB to the library.
//
// SAFETY: all calls go to the system's allocator with the arguments given, whose contract is the same. `note` neither
// allocates nor panics: its thread-local needs no initialisation and no destructor, so it can be reached at any time.
unsafe impl GlobalAlloc for Counting {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(size(layout));
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(size(layout));
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(-size(layout));
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(memory, layout) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size as i64 - size(layout));
        // SAFETY: as the caller guarantees.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_counts_from_its_allocation_until_it_is_freed_whichever_thread_does_it() {
        const SIZE: usize = 100 << 20;
        let grown = |before: u64| allocated().saturating_sub(before);
        let before = allocated();
        let memory = std::thread::spawn(|| vec![1_u8; SIZE]).join().unwrap();
        assert!(grown(before) >= SIZE as u64 - 100_000, "{}", grown(before));
        drop(memory);
        assert!(grown(before) < SIZE as u64 / 2, "{}", grown(before));
    }
}
