//! Semihosting: words for whoever runs QEMU. On silicon without a debugger there would have to be another console.

use core::fmt::Arguments;
use core::panic::PanicInfo;

use cortex_m_rt::ExceptionFrame;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE};
use cortex_m_semihosting::hprintln;

use super::stack;
use crate::shown::Address;

/// Prints a line. The core stands still meanwhile: nothing that comes often may be said.
pub(crate) fn say(line: Arguments<'_>) {
    hprintln!("goldcrest: {}", line);
}

/// Says a last word and ends QEMU with exit code 1.
pub(crate) fn give_up(why: Arguments<'_>) -> ! {
    say(why);
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

/// Says where, as addresses that `addr2line` makes lines of. The words and places in `PanicInfo` would take 10 KB of flash, most of
/// them of what can't happen.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    give_up(format_args!("panicked, in the calls at{}", stack::Calls::here()))
}

/// The stack may be what has overflowed, so that nothing more could be pushed: begins anew at its top.
#[unsafe(naked)]
#[unsafe(export_name = "HardFault")]
unsafe extern "C" fn on_hard_fault() {
    core::arch::naked_asm!(
        "mrs r0, MSP",
        "ldr r1, ={top}",
        "msr MSP, r1",
        "b {report}",
        top = sym stack::_stack_start,
        report = sym report_fault,
    );
}

extern "C" fn report_fault(frame: *const ExceptionFrame) -> ! {
    if frame.addr() < stack::bottom() {
        give_up(format_args!("the stack has overflowed"));
    }
    // SAFETY: the hardware has put the frame onto the stack, there was room for it, and it is read before anything else is
    // called.
    let (pc, lr) = unsafe { ((*frame).pc(), (*frame).lr()) };
    give_up(format_args!("hard fault at {}, called from {}", Address(pc), Address(lr)));
}
