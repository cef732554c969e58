//! The broker's records in the log.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;
use goldcrest_core::record::{self, Kind, OVERHEAD};
use goldcrest_core::{Broker, Entries, Instant, Limits, Memory, Polled, Restored};

use crate::format::Crc;
use crate::{Error, Found, Key, Log, Place, Slots};

/// The key of the time until which the clock has run, so that the clock goes on there after a restart. The core has no such kind.
const CLOCK: (u8, u32) = (14, 0);
const CLOCK_BYTES: usize = 12;
/// How far the recorded time is ahead of the clock, in milliseconds: many batches in a row then need no new record of the time.
const AHEAD_MILLIS: u64 = 1_000;
/// While something is stored, the time is recorded at least this often.
const NOTE_MILLIS: u64 = 60_000;

/// How long the buffer for [`Store::persist`] and [`Store::restore`] must be with [`Limits::FIRMWARE`], in bytes.
pub const RECORD_BYTES: usize = Limits::FIRMWARE.packet_bytes as usize + OVERHEAD;

/// How many places a store needs for a broker with this memory. For [`Resources`](goldcrest_core::Resources) the number is known
/// at compile time.
pub const fn places(entries: &Entries) -> usize {
    // The slots of the journal, the counters, and the clock.
    entries.marks + 2
}

/// The store of a durable broker on NOR flash.
///
/// 1. [`Store::open`], before the memory is handed to the broker; start the clock at [`Store::clock`].
/// 2. [`Store::restore`] fills the new broker.
/// 3. [`Store::persist`] after everything that was received in a turn of the loop, and before anything is transmitted.
/// 4. [`Store::idle`] when there is nothing else to do.
// The methods are never inlined, so that their buffers are on the stack only while they run.
pub struct Store<'p, F> {
    log: Log<'p, F>,
    clock: Instant,
    /// With less room than this the store is full.
    reserve: usize,
    has_failed: bool,
}

impl<'p, F: NorFlash> Store<'p, F> {
    /// Reads the log in `range` of the flash, as [`Log::open`] does. `memory` is the memory that the broker will have; [`places`]
    /// tells how many places there must be.
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

    /// The time at which the broker's clock must go on. The time without power is not counted. If another clock runs meanwhile,
    /// the caller adds the time that it shows.
    pub fn clock(&self) -> Instant {
        self.clock
    }

    /// Passes all records to a broker that has no connections yet, and ends its restoring.
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
            // A record that the core cannot open is the clock's, or was written by a newer version.
            if let Ok(record) = record::open(buffer.get(..len).unwrap_or(&[])) {
                // The broker counts the records that it leaves out.
                let _ = broker.restore(record);
            }
        }
        Ok(broker.finish_restore(now))
    }

    /// Records what has changed, and lets the broker transmit the packets that waited for these records. Tells the broker whether
    /// there is room for more; with less than a quarter of an area the store counts as full.
    ///
    /// # Errors
    /// After any error nothing is stored any more before the next start, and the broker acknowledges nothing that it would have
    /// to remember. [`Error::Full`]: the records between two calls needed more than the last quarter of an area.
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

    /// As [`Log::is_settled`]: if the first [`Store::persist`] failed, the broker must not tell any client of restored records.
    pub fn is_settled(&self) -> bool {
        self.log.is_settled()
    }

    /// By how many bytes the records may still grow.
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

    /// Whether a batch has to be written although nothing has changed: before the first client is told anything, and from time to
    /// time for the clock.
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

/// The slots that the broker's records have, and the slot of the clock.
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
