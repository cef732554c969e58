//! The stack: how much of it was ever used, told from the paint that is left on it.
//!
//! `memory.x` puts the stack at the very bottom of RAM and cortex-m-rt paints it before `main`. What overflows leaves the RAM and
//! faults.

use cortex_m_rt::STACK_PAINT_VALUE;

unsafe extern "C" {
    // From `memory.x`.
    pub(super) static _stack_start: u32;
    static _stack_end: u32;
}

/// Its lowest address.
pub(super) fn bottom() -> usize {
    (&raw const _stack_end).addr()
}

/// Bytes that the stack has.
pub(crate) fn size() -> usize {
    (&raw const _stack_start).addr() - bottom()
}

/// The most bytes of it that were in use at any time since the start.
pub(crate) fn most_used() -> usize {
    let bottom = &raw const _stack_end;
    let words = size() / size_of::<u32>();
    // SAFETY: all of the stack is memory, whose words below the stack pointer nobody writes meanwhile but interrupts, which read
    // as used or as painted.
    let is_painted = |word: &usize| unsafe { bottom.add(*word).read_volatile() } == STACK_PAINT_VALUE;
    let untouched = (0..words).take_while(is_painted).count();
    (words - untouched) * size_of::<u32>()
}
