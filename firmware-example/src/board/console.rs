//! Semihosting: prints lines on the terminal of QEMU. On silicon without a debugger there would have to be another console.

use core::fmt::Arguments;
use core::panic::PanicInfo;

use cortex_m_rt::ExceptionFrame;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE};
use cortex_m_semihosting::hprintln;

use super::stack;
use crate::shown::Address;

/// Prints a line. The processor stops meanwhile, so nothing that happens often may be printed.
pub(crate) fn say(line: Arguments<'_>) {
    hprintln!("goldcrest: {}", line);
}

/// Prints a last line and ends QEMU with exit code 1.
pub(crate) fn give_up(why: Arguments<'_>) -> ! {
    say(why);
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

/// Prints the addresses of the calls, which `addr2line` turns into lines of the source. The texts and locations in `PanicInfo`
/// would take 10 KB of flash, most of them for panics that can't happen.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    give_up(format_args!("panicked, in the calls at{}", stack::Calls::here()))
}

/// A hard fault may come from a stack that has overflowed, with no room for another call: the handler begins again at the top of
/// the stack.
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
    // SAFETY: the hardware has put the frame onto the stack, which had room for it, and the frame is read before any other call.
    let (pc, lr) = unsafe { ((*frame).pc(), (*frame).lr()) };
    give_up(format_args!("hard fault at {}, called from {}", Address(pc), Address(lr)));
}
