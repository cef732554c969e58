//! The heap of the tests, which counts what brokers take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// What brokers of this thread have taken from the heap and not given back.
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    /// Whether a broker is at work.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The system's heap; it counts what brokers take, as common allocators round it up.
struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count(size: usize, sign: isize) {
    if INSIDE.get() {
        TAKEN.set(TAKEN.get() + sign * (size + 8).next_multiple_of(16) as isize);
    }
}

// SAFETY: every call goes to the system's allocator as it came; the counters have no destructor and take nothing themselves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does `work`, of a broker, and counts what it takes and gives back.
pub(crate) fn inside<R>(work: impl FnOnce() -> R) -> R {
    INSIDE.set(true);
    let result = work();
    INSIDE.set(false);
    result
}

/// The bytes that brokers of this thread have taken from the heap and not given back.
pub(crate) fn taken() -> isize {
    TAKEN.get()
}
