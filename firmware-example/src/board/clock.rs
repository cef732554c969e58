//! Monotonic time from SysTick, which interrupts once a millisecond.

use core::cell::Cell;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use critical_section::Mutex;

use super::CORE_HZ;

const CYCLES_PER_MILLI: u32 = CORE_HZ / 1000;

static MILLIS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Measures the time since the start.
pub(crate) struct Clock(());

impl Clock {
    pub(super) fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(CYCLES_PER_MILLI - 1);
        timer.clear_current();
        timer.enable_interrupt();
        timer.enable_counter();
        Self(())
    }

    /// Sets the clock to `millis`, unless it is ahead already.
    pub(crate) fn go_on(&self, millis: u64) {
        critical_section::with(|cs| {
            let now = MILLIS.borrow(cs);
            now.set(now.get().max(millis));
        });
    }

    /// Milliseconds since the start, or since the time set by [`Clock::go_on`]. Never runs backwards.
    pub(crate) fn millis(&self) -> u64 {
        critical_section::with(|cs| MILLIS.borrow(cs).get())
    }

    /// A number that depends on the processor cycle in which this is called.
    pub(crate) fn jitter(&self) -> u64 {
        (self.millis() << 24) | u64::from(SYST::get_current())
    }
}

#[cortex_m_rt::exception]
fn SysTick() {
    critical_section::with(|cs| {
        let millis = MILLIS.borrow(cs);
        millis.set(millis.get() + 1);
    });
}
