//! What survives a reset: the broker's records, in flash.

use embedded_storage::nor_flash::ReadNorFlash;
use goldcrest_core::{Broker, Instant};
use goldcrest_flash::{Error, Place, RECORD_BYTES, Store};

use crate::board::{self, Flash, FlashError};
use crate::faults::Faults;
use crate::shown::Decimal;

/// What a record passes through on its way, in bytes.
pub(crate) type Buffer = [u8; board::SPARE];
const _: () = assert!(size_of::<Buffer>() >= RECORD_BYTES, "a record does not fit");

/// The memory of a [`Keeper`].
pub(crate) struct Memory<const PLACES: usize> {
    places: [Place; PLACES],
}

impl<const PLACES: usize> Memory<PLACES> {
    pub(crate) const fn new() -> Self {
        Self { places: [Place::NONE; PLACES] }
    }
}

/// Keeps what the broker must not forget. A record passes through a buffer that is lent while that lasts.
pub(crate) struct Keeper {
    store: Store<'static, Flash>,
}

impl Keeper {
    /// Reads the flash, for a broker in the memory `broker`.
    ///
    /// Without flash it gives up: a board that cannot keep anything shall not take anything.
    #[inline(never)]
    pub(crate) fn open<const PLACES: usize>(
        broker: &goldcrest_core::Memory<'_>,
        memory: &'static mut Memory<PLACES>,
    ) -> Self {
        let flash = Flash::open().unwrap_or_else(|error| fail(Error::Flash(error)));
        let whole = 0..flash.capacity() as u32;
        let opened = Store::open(flash, whole, broker, &mut memory.places);
        let (store, found) = opened.unwrap_or_else(|error| fail(error));
        if found.damaged > 0 {
            board::say(format_args!("flash: {} damaged places, the rest is served", Decimal(found.damaged)));
        }
        Self { store }
    }

    /// Where the clock goes on, in milliseconds.
    pub(crate) fn clock(&self) -> u64 {
        self.store.clock().as_millis()
    }

    /// Fills a broker that has just been made.
    #[inline(never)]
    pub(crate) fn restore(&mut self, now: Instant, broker: &mut Broker<'_>, buffer: &mut Buffer) {
        let restored = self.store.restore(now, broker, buffer).unwrap_or_else(|error| fail(error));
        board::say(format_args!(
            "flash: {} Sessions, {} subscriptions, {} retained messages, {} on their way",
            Decimal(restored.sessions),
            Decimal(restored.subscriptions),
            Decimal(restored.retained),
            Decimal(restored.deliveries)
        ));
    }

    /// Between receiving and transmitting. After a failure nothing that promises durability is transmitted any more, and
    /// what would need it is refused. If nothing could be stored since the start it gives up: then nobody may be told either of
    /// what was read.
    #[inline(never)]
    pub(crate) fn persist(&mut self, now: Instant, broker: &mut Broker<'_>, buffer: &mut Buffer, faults: &mut Faults) {
        if faults.flash > 0 {
            return;
        }
        match self.store.persist(now, broker, buffer) {
            Err(error) if !self.store.is_settled() => fail(error),
            Err(_) => fall_silent(broker, faults),
            Ok(()) => {}
        }
    }

    /// Erases a little ahead, when there is nothing else to do. Whether there is more to do for the flash.
    pub(crate) fn tidy(&mut self, broker: &mut Broker<'_>, faults: &mut Faults) -> bool {
        if faults.flash > 0 {
            return false;
        }
        match self.store.idle() {
            // What was transmitted may have changed something.
            Ok(has_more) => has_more || broker.has_records(),
            Err(_) => {
                fall_silent(broker, faults);
                false
            }
        }
    }
}

fn fall_silent(broker: &mut Broker<'_>, faults: &mut Faults) {
    faults.flash = 1;
    broker.set_store_full(true);
}

fn fail(error: Error<FlashError>) -> ! {
    board::give_up(format_args!("the flash cannot be used: {error}"));
}
