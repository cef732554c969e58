//! The stack: how much of it was ever used, told from the paint that is left on it.
//!
//! `memory.x` puts the stack at the very bottom of RAM and cortex-m-rt paints it before `main`. What overflows leaves the RAM and
//! faults.

use core::arch::asm;
use core::fmt;

use cortex_m_rt::STACK_PAINT_VALUE;

use crate::shown::Address;

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

/// Calls that have not returned, the innermost first. It shows the address of each.
pub(super) struct Calls {
    frame: *const [usize; 2],
}

impl Calls {
    /// That of the function that asks, and those around it.
    #[inline(always)]
    pub(super) fn here() -> Self {
        // Rust has frame pointers on these machines: R7 points to that of the caller, and behind it is where to return to.
        let frame;
        // SAFETY: it changes nothing.
        unsafe { asm!("mov {}, r7", out(reg) frame, options(nomem, nostack, preserves_flags)) };
        Self { frame }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 16;
        /// From where a call returns to, with bit 0 set for Thumb, to the call.
        const BACK: usize = 3;
        let mut frame = self.frame;
        for _ in 0..MOST {
            if !frame.is_aligned() || frame.addr() < bottom() || frame.wrapping_add(1).addr() > bottom() + size() {
                break;
            }
            // SAFETY: all of the stack is memory.
            let [next, behind] = unsafe { frame.read_volatile() };
            write!(f, " {}", Address(behind.wrapping_sub(BACK) as u32))?;
            frame = core::ptr::with_exposed_provenance(next);
        }
        Ok(())
    }
}
