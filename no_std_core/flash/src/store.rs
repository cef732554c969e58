//! The broker's records in the log.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use goldcrest_core::record::{self, Kind, OVERHEAD};
use goldcrest_core::{Broker, Entries, Instant, Limits, Memory, Polled, Restored};

use crate::format::Crc;
use crate::{Error, Found, Key, Log, Place, Slots};

/// The time until which the clock has run, so that it goes on there after a restart. The core knows no such kind.
const CLOCK: (u8, u32) = (14, 0);
const CLOCK_BYTES: usize = 12;
/// The time is noted so far ahead: then many batches need no note of their own.
const AHEAD_MILLIS: u64 = 1_000;
/// It is noted at least so often while something is stored.
const NOTE_MILLIS: u64 = 60_000;

/// How long the buffer for [`Store::persist`] and [`Store::restore`] must be with [`Limits::FIRMWARE`], in bytes.
pub const RECORD_BYTES: usize = Limits::FIRMWARE.packet_bytes as usize + OVERHEAD;

/// How many places a store needs for a broker with such memory; of [`Resources`](goldcrest_core::Resources) it is known at
/// compile time.
pub const fn places(entries: &Entries) -> usize {
    // Those of the journal, the counters, and the clock.
    entries.marks + 2
}

/// What a broker must not forget, on NOR flash.
///
/// 1. [`Store::open`], before the memory is handed to the broker; start the clock at [`Store::clock`].
/// 2. [`Store::restore`] fills the new broker.
/// 3. [`Store::persist`] after all that was received in a turn of the loop, and before anything is transmitted.
/// 4. [`Store::idle`] when there is nothing else to do.
// The verbs are never inlined: their buffers shall be on the stack only while they run.
pub struct Store<'p, F> {
    log: Log<'p, F>,
    clock: Instant,
    /// Less room than this is full.
    reserve: usize,
    has_failed: bool,
}

impl<'p, F: NorFlash> Store<'p, F> {
    /// Reads what `range` of the flash holds, as [`Log::open`] does. `memory` is the memory that the broker will have,
    /// see [`places`] for how many there must be.
    ///
    /// # Errors
    /// As [`Log::open`].
    #[inline(never)]
    pub fn open(
        flash: F,
        range: Range<u32>,
        memory: &Memory<'_>,
        places: &'p mut [Place],
    ) -> Result<(Self, Found), Error<F::Error>> {
        let (mut log, found) = Log::open(flash, range, slots(memory), places)?;
        let reserve = log.capacity() / 4;
        let clock = match Key::new(CLOCK.0, CLOCK.1) {
            Some(key) => read_clock(&mut log, key)?,
            None => 0,
        };
        Ok((Self { log, clock: Instant::from_millis(clock), reserve, has_failed: false }, found))
    }

    /// Where the broker's clock must go on. The time without power is not counted: who has a clock that runs meanwhile adds
    /// what it says.
    pub fn clock(&self) -> Instant {
        self.clock
    }

    /// Hands all records to a broker that has no connections yet, and ends its restoring.
    ///
    /// # Errors
    /// [`Error::Small`]: the buffer is shorter than a record; [`RECORD_BYTES`] are enough. [`Error::Flash`].
    #[inline(never)]
    pub fn restore(
        &mut self,
        now: Instant,
        broker: &mut Broker<'_>,
        buffer: &mut [u8],
    ) -> Result<Restored, Error<F::Error>> {
        let mut cursor = 0;
        while let Some((_, len)) = self.log.next_record(&mut cursor, buffer)? {
            // What is no record of the core is the clock, or was written by a newer version.
            if let Ok(record) = record::open(buffer.get(..len).unwrap_or(&[])) {
                // The broker counts what it leaves out.
                let _ = broker.restore(record);
            }
        }
        Ok(broker.finish_restore(now))
    }

    /// Stores what has changed, and lets the broker transmit what waited for that. Tells the broker whether there is room for
    /// more: less than a quarter of an area is none.
    ///
    /// # Errors
    /// Any error means that nothing is stored any more before the next start, and that the broker confirms nothing that it
    /// would have to remember. [`Error::Full`]: between two calls there came more than fits into the last quarter.
    #[inline(never)]
    pub fn persist(&mut self, now: Instant, broker: &mut Broker<'_>, buffer: &mut [u8]) -> Result<(), Error<F::Error>> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let result = self.store(now, broker, buffer);
        self.has_failed = result.is_err();
        result
    }

    /// As [`Log::idle`].
    ///
    /// # Errors
    /// As [`Log::idle`].
    pub fn idle(&mut self) -> Result<bool, Error<F::Error>> {
        self.log.idle()
    }

    /// As [`Log::is_settled`]: a broker whose first [`Store::persist`] failed may tell nobody what was restored.
    pub fn is_settled(&self) -> bool {
        self.log.is_settled()
    }

    /// How many bytes records may still grow by.
    pub fn room(&self) -> usize {
        self.log.room()
    }

    /// The flash.
    pub fn flash(&self) -> &F {
        self.log.flash()
    }

    fn store(&mut self, now: Instant, broker: &mut Broker<'_>, buffer: &mut [u8]) -> Result<(), Error<F::Error>> {
        if broker.has_records() {
            loop {
                match broker.poll_record(buffer) {
                    Polled::Record { key, delete, len } => {
                        let key = Key::new(key.kind as u8, key.slot).ok_or(Error::Unfit)?;
                        match buffer.get(..len).filter(|_| !delete) {
                            Some(record) => self.log.put(key, record)?,
                            None => self.log.delete(key)?,
                        }
                    }
                    Polled::TooSmall(needed) => return Err(Error::Small(needed)),
                    Polled::Nothing => break,
                }
            }
            if now > self.clock {
                self.note_time(now)?;
            }
            let batch = broker.end_batch();
            self.log.commit()?;
            broker.handle_persisted(batch);
        } else if self.is_due(now, broker) {
            self.note_time(now)?;
            self.log.commit()?;
        }
        broker.set_store_full(self.log.room() < self.reserve);
        Ok(())
    }

    /// Something is to be written although nothing has changed: before the first client can be told anything, and at times
    /// for the clock.
    fn is_due(&self, now: Instant, broker: &Broker<'_>) -> bool {
        if self.log.is_settled() {
            self.log.room() < self.log.capacity() && now > self.clock.plus_millis(NOTE_MILLIS)
        } else {
            broker.counters().connections > 0
        }
    }

    fn note_time(&mut self, now: Instant) -> Result<(), Error<F::Error>> {
        let clock = now.plus_millis(AHEAD_MILLIS);
        let key = Key::new(CLOCK.0, CLOCK.1).ok_or(Error::Unfit)?;
        let time = clock.as_millis().to_le_bytes();
        let mut record = [0; CLOCK_BYTES];
        let sealed = Crc::NEW.with(&time).value().to_le_bytes().into_iter().chain(time);
        record.iter_mut().zip(sealed).for_each(|(to, from)| *to = from);
        self.log.put(key, &record)?;
        self.clock = clock;
        Ok(())
    }
}

/// Which slots the broker's records have, and that of the clock.
fn slots(memory: &Memory<'_>) -> Slots {
    let mut counts = [0; Key::KINDS];
    let mut set = |kind: u8, count: usize| {
        if let Some(entry) = counts.get_mut(usize::from(kind) - 1) {
            *entry = count.min(Key::SLOTS as usize) as u16;
        }
    };
    for (kind, count) in memory.record_slots() {
        set(kind as u8, count);
    }
    set(Kind::Counters as u8, 1);
    set(CLOCK.0, 1);
    Slots::new(counts)
}

fn read_clock<F: NorFlash>(log: &mut Log<'_, F>, key: Key) -> Result<u64, Error<F::Error>> {
    let mut record = [0; CLOCK_BYTES];
    let len = log.get(key, &mut record)?;
    let [_, _, _, _, time @ ..] = record;
    Ok(if len == Some(CLOCK_BYTES) { u64::from_le_bytes(time) } else { 0 })
}
