//! What the broker needs of an LM3S6965 evaluation board, as QEMU models it: three UARTs, a clock, a console.
//!
//! The only place with `unsafe`: registers are addresses here, and handlers are called by the hardware.

mod clock;
mod console;
mod register;
mod uart;

pub(crate) use clock::Clock;
pub(crate) use console::say;
pub(crate) use cortex_m_rt::entry;
pub(crate) use uart::Uart;

use cortex_m::Peripherals;

/// The oscillator that QEMU's model runs from after a reset.
const CORE_HZ: u32 = 12_500_000;

/// The hardware, each part of it once.
pub(crate) struct Board {
    pub(crate) clock: Clock,
    pub(crate) uarts: [Uart; uart::COUNT],
}

impl Board {
    /// Starts the clock and the UARTs. `None` if that was done before.
    pub(crate) fn take() -> Option<Self> {
        let core = Peripherals::take()?;
        Some(Self { clock: Clock::start(core.SYST), uarts: uart::start() })
    }
}

/// Sleeps until something may have happened, for at most a millisecond: the clock's tick ends it too. Returns at once while a
/// UART has bytes that nobody has read.
pub(crate) fn sleep() {
    // With interrupts held back none comes between the look and the sleep; one that is pending ends the sleep all the same.
    critical_section::with(|cs| {
        if !uart::has_received(cs) {
            cortex_m::asm::wfi();
        }
    });
}

/// Interrupts of devices come here by their number, as there is no table with a name for each.
#[cortex_m_rt::exception]
unsafe fn DefaultHandler(number: i16) {
    uart::on_interrupt(number);
}
