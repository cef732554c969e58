//! Watchdog timer 0: the first time it runs out it interrupts, and says why; the second time it resets the board.

use core::cell::Cell;

use critical_section::{CriticalSection, Mutex};

use super::register::Register;
use super::{CORE_HZ, console};
use crate::shown::Words;

pub(super) const INTERRUPT: u16 = 18;

/// Run Mode Clock Gating Control 0: the watchdog.
// SAFETY: the LM3S6965's data sheet has these there.
const CLOCK_GATES: Register = unsafe { Register::at(0x400F_E100) };
const CLOCK: u32 = 1 << 3;
const LOAD: Register = unsafe { Register::at(0x4000_0000) };
const CONTROL: Register = unsafe { Register::at(0x4000_0008) };
const INTERRUPT_CLEAR: Register = unsafe { Register::at(0x4000_000C) };

const INTERRUPT_ON: u32 = 1 << 0;
const RESET_ON: u32 = 1 << 1;

/// Time without food after which it warns; after as much again it resets.
const PERIOD_SECONDS: u32 = 2;

/// Whose progress the watchdog waits for, for the words it says at the end.
static AWAITED: Mutex<Cell<&'static str>> = Mutex::new(Cell::new(""));

/// The watchdog.
pub(crate) struct Watchdog(());

impl Watchdog {
    pub(super) fn new() -> Self {
        Self(())
    }

    /// From now on it must be fed. Nothing but a reset stops it.
    pub(crate) fn start(&mut self) {
        CLOCK_GATES.write(CLOCK_GATES.read() | CLOCK);
        LOAD.write(CORE_HZ * PERIOD_SECONDS);
        CONTROL.write(INTERRUPT_ON | RESET_ON);
        super::unmask(INTERRUPT);
    }

    /// Puts the end off by the whole period.
    pub(crate) fn feed(&mut self) {
        INTERRUPT_CLEAR.write(1);
        // It may have warned.
        super::unmask(INTERRUPT);
    }

    /// It was not fed for want of this one's progress.
    pub(crate) fn blame(&mut self, task: &'static str) {
        critical_section::with(|cs| AWAITED.borrow(cs).set(task));
    }
}

/// It warns. While the interrupt is not cleared the next time-out resets.
pub(super) fn on_interrupt(cs: CriticalSection<'_>) {
    cortex_m::peripheral::NVIC::mask(super::Interrupt(INTERRUPT));
    console::say(format_args!("watchdog: no progress of {}", Words(AWAITED.borrow(cs).get())));
}
