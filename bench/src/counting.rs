//! An allocator that counts, for benches and tests of what a request costs in memory traffic.
//!
//! To be named as the binary's `#[global_allocator]`. It counts this thread's allocations only, so
//! that the evidence's and criterion's other threads do not disturb.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with counts.
pub struct Counting;

/// Allocations, reallocations included, and the bytes asked for by this thread so far.
#[must_use]
pub fn counts() -> (u64, u64) {
    (ALLOCATIONS.get(), BYTES.get())
}

fn count(bytes: usize) {
    // A thread that is ending has no counters any more, and nobody reads them.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    let _ = BYTES.try_with(|count| count.set(count.get() + bytes as u64));
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting
// neither allocates (the cells are constant-initialised and have no destructor) nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
