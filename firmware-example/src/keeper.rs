//! Keeps the broker's records in flash, where they survive a reset.

use embedded_storage::nor_flash::ReadNorFlash;
use goldcrest_core::{Broker, Instant};
use goldcrest_flash::{Error, Place, RECORD_BYTES, Store};

use crate::board::{self, Flash, FlashError};
use crate::faults::Faults;
use crate::shown::Decimal;

/// The buffer for one record.
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

/// Writes the broker's records to flash and reads them back. The caller lends the buffer for a record.
pub(crate) struct Keeper {
    store: Store<'static, Flash>,
}

impl Keeper {
    /// Reads the flash, for a broker with the memory `broker`.
    ///
    /// If the flash can't be used the firmware gives up: a board that can't store messages must not accept any.
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

    /// The time, in milliseconds, from which the clock must go on.
    pub(crate) fn clock(&self) -> u64 {
        self.store.clock().as_millis()
    }

    /// Restores the records to a new broker.
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

    /// Stores the broker's records; to be called after receiving and before transmitting. After a failure the broker transmits
    /// nothing that promises durability, and refuses what would need a record. If nothing could be stored since the start the
    /// firmware gives up: then no client may be told of the restored records either.
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

    /// Erases flash ahead of time, when there is no other work. Returns whether more work for the flash is left.
    pub(crate) fn tidy(&mut self, broker: &mut Broker<'_>, faults: &mut Faults) -> bool {
        if faults.flash > 0 {
            return false;
        }
        match self.store.idle() {
            // Transmitting may have made new records.
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
