//! The stack, and how much of it was ever used.
//!
//! `memory.x` puts the stack at the very bottom of RAM, and cortex-m-rt fills it with a fixed value before `main`. Words that
//! still have this value were never used. A stack that overflows leaves the RAM, which is a hard fault.

use core::arch::asm;
use core::fmt;

use cortex_m_rt::STACK_PAINT_VALUE;

use crate::shown::Address;

unsafe extern "C" {
    // A symbol from `memory.x`.
    pub(super) static _stack_start: u32;
    static _stack_end: u32;
}

/// The lowest address of the stack.
pub(super) fn bottom() -> usize {
    (&raw const _stack_end).addr()
}

/// The size of the stack in bytes.
pub(crate) fn size() -> usize {
    (&raw const _stack_start).addr() - bottom()
}

/// The most bytes of the stack that were in use at any time since the start.
pub(crate) fn most_used() -> usize {
    let bottom = &raw const _stack_end;
    let words = size() / size_of::<u32>();
    // SAFETY: the whole stack is memory. Below the stack pointer only interrupts write meanwhile, and a word that they change
    // reads as used or as unused.
    let is_painted = |word: &usize| unsafe { bottom.add(*word).read_volatile() } == STACK_PAINT_VALUE;
    let untouched = (0..words).take_while(is_painted).count();
    (words - untouched) * size_of::<u32>()
}

/// The calls that have not returned, the innermost first. `Display` writes the address of each.
pub(super) struct Calls {
    frame: *const [usize; 2],
}

impl Calls {
    /// The present calls, beginning with that of the function that calls `here`.
    #[inline(always)]
    pub(super) fn here() -> Self {
        // Rust keeps frame pointers on these machines: R7 points to the frame pointer of the caller, followed by the return
        // address.
        let frame;
        // SAFETY: the instruction only reads a register.
        unsafe { asm!("mov {}, r7", out(reg) frame, options(nomem, nostack, preserves_flags)) };
        Self { frame }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 16;
        /// The distance from the return address, whose bit 0 is set for Thumb, back to the call.
        const BACK: usize = 3;
        let mut frame = self.frame;
        for _ in 0..MOST {
            if !frame.is_aligned() || frame.addr() < bottom() || frame.wrapping_add(1).addr() > bottom() + size() {
                break;
            }
            // SAFETY: the whole stack is memory.
            let [next, behind] = unsafe { frame.read_volatile() };
            write!(f, " {}", Address(behind.wrapping_sub(BACK) as u32))?;
            frame = core::ptr::with_exposed_provenance(next);
        }
        Ok(())
    }
}
