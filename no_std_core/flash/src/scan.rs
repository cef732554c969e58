//! The scan at the start: finding out what the flash holds.

use embedded_storage::nor_flash::NorFlash;

use crate::device::{CHUNK, Device};
use crate::format::{self, COMMIT_ENTRIES, ENTRIES, ENTRY, Entry, HEADER, Header, TRAILER};
use crate::place::Area;
use crate::{Error, Found, Log, Place};

/// The entries of an area.
#[derive(Clone, Copy)]
struct Row {
    /// An entry with the latest `next`.
    entry: Option<Entry>,
    /// The first entry behind all that were written, and behind the two of the commit in any case. Those two may look erased when
    /// they are not, and the entry written over them would be a different one. (A later entry that looks erased is written again
    /// with the same content.)
    free: u32,
    /// Whether all entries look erased.
    is_blank: bool,
}

/// The trailer of a batch.
struct Trailer {
    at: u32,
    batch: u32,
}

impl<F: NorFlash> Log<'_, F> {
    /// Chooses the area that counts, and finds all live records in it.
    pub(crate) fn scan(&mut self) -> Result<Found, Error<F::Error>> {
        let mut found = Found::default();
        let (a, b) = (self.row(Area::A)?, self.row(Area::B)?);
        let Some((current, entry)) = choose(a.entry, b.entry) else {
            found.is_new = true;
            return Ok(found);
        };
        let (row, other) = if current == Area::A { (a, b) } else { (b, a) };
        self.current = current;
        self.generation = entry.generation;
        self.next = entry.next;
        self.snapshot_end = entry.end;
        self.free_entry = row.free;
        self.other_is_blank = other.is_blank;

        self.take(Device::<F>::DATA, entry.end, &mut found)?;
        let mut start = entry.end;
        while let Some(trailer) = self.find_trailer(start)? {
            let damaged = found.damaged;
            let crc = self.device.crc(current, start, 0, trailer.at - start)?;
            self.take(start, trailer.at, &mut found)?;
            if crc != trailer.batch && found.damaged == damaged {
                found.damaged += 1;
            }
            found.batches += 1;
            start = trailer.at + Device::<F>::padded(TRAILER);
        }
        found.records = self.places.iter().filter(|place| **place != Place::NONE).count() as u32;
        Ok(found)
    }

    fn row(&mut self, area: Area) -> Result<Row, Error<F::Error>> {
        let mut row = Row { entry: None, free: COMMIT_ENTRIES, is_blank: true };
        for index in 0..ENTRIES {
            let bytes: [u8; ENTRY] = self.device.read_array(area, index * Device::<F>::padded(ENTRY))?;
            if bytes != [0xFF; ENTRY] {
                row.free = row.free.max(index + 1);
                row.is_blank = false;
            }
            let ends = Device::<F>::DATA..=self.device.len;
            let entry = Entry::from_bytes(bytes).filter(|entry| entry.generation > 0 && ends.contains(&entry.end));
            row.entry = row.entry.max(entry);
        }
        Ok(row)
    }

    /// The trailer of the batch that begins at `start`. `None` if the batch was never committed, or if there is no batch.
    fn find_trailer(&mut self, start: u32) -> Result<Option<Trailer>, Error<F::Error>> {
        let mut at = start;
        while let Some(header) = Header::from_bytes(self.device.read_array(self.current, at)?) {
            if header.is_trailer() {
                break;
            }
            at += Device::<F>::padded(HEADER + usize::from(header.len));
        }
        // The trailer is here if all is well. If not, this is the end of the log, or a damaged batch whose trailer is further on.
        while at < self.device.len {
            let chunk: [u8; CHUNK] = self.device.read_array(self.current, at)?;
            let bytes: [u8; TRAILER] = self.device.read_array(self.current, at)?;
            if let Some(batch) = format::read_trailer(self.generation, at, bytes) {
                return Ok(Some(Trailer { at, batch }));
            }
            at += if chunk == [0xFF; CHUNK] { CHUNK as u32 } else { Device::<F>::UNIT as u32 };
        }
        Ok(None)
    }

    /// Reads all frames from `at` to `end`. A record counts only if its own checksum is right. Behind a header that cannot be
    /// read, reading goes on at the next record whose checksum is right.
    fn take(&mut self, mut at: u32, end: u32, found: &mut Found) -> Result<(), Error<F::Error>> {
        let mut is_lost = false;
        while at < end {
            let header = Header::from_bytes(self.device.read_array(self.current, at)?);
            let size = header.map_or(0, |header| Device::<F>::padded(HEADER + usize::from(header.len)));
            let whole = header.filter(|header| !header.is_trailer() && size <= end - at);
            let is_good = match whole {
                Some(header) if header.len > 0 => self.is_sound(at, header)?,
                Some(_) => !is_lost,
                None => false,
            };
            if !is_good && !is_lost {
                found.damaged += 1;
            }
            match whole {
                Some(header) if is_good || !is_lost => {
                    is_lost = false;
                    let place = Place::new(self.current, at / Device::<F>::UNIT as u32);
                    // A record that cannot be read has replaced the key's earlier one all the same.
                    let place = if is_good && header.len > 0 { place } else { Place::NONE };
                    match self.slots.index(header.key).and_then(|index| self.places.get_mut(index)) {
                        Some(entry) => *entry = place,
                        None => found.unfit += u32::from(place != Place::NONE),
                    }
                    at += size;
                }
                _ => {
                    is_lost = true;
                    at += Device::<F>::UNIT as u32;
                }
            }
        }
        Ok(())
    }

    /// Whether a record's first 4 bytes are the CRC-32 of the others.
    fn is_sound(&mut self, at: u32, header: Header) -> Result<bool, Error<F::Error>> {
        let crc = self.device.crc(self.current, at, HEADER + 4, HEADER as u32 + u32::from(header.len))?;
        let [_, _, _, _, a, b, c, d] = self.device.read_array(self.current, at)?;
        Ok(crc == u32::from_le_bytes([a, b, c, d]))
    }
}

/// The later entry with its area; the earlier one if that says that the other area is void.
fn choose(a: Option<Entry>, b: Option<Entry>) -> Option<(Area, Entry)> {
    match (a, b) {
        (Some(a), Some(b)) if a.generation < b.generation && b.generation < a.next => Some((Area::A, a)),
        (Some(a), Some(b)) if b.generation < a.generation && a.generation >= b.next => Some((Area::A, a)),
        (Some(a), None) => Some((Area::A, a)),
        (_, b) => b.map(|b| (Area::B, b)),
    }
}
