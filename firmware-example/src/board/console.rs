//! Semihosting: words for whoever runs QEMU. On silicon without a debugger there would have to be another console.

use core::panic::PanicInfo;

use cortex_m_rt::ExceptionFrame;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE};
use cortex_m_semihosting::hprintln;

/// Prints a line.
pub(crate) fn say(line: &str) {
    hprintln!("{}", line);
}

/// Ends QEMU with exit code 1.
fn give_up() -> ! {
    loop {
        debug::exit(EXIT_FAILURE);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    give_up()
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    hprintln!("hard fault at {:#010x}, called from {:#010x}", frame.pc(), frame.lr());
    give_up()
}
