//! The log: batches are appended to one area, and live records move to the other area.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::device::{CHUNK, Device};
use crate::format::{
    self, COMMIT_ENTRIES, Crc, ENTRIES, ENTRY, Entry, HEADER, Header, RECORD_BYTES, SHORTEST_RECORD, TRAILER,
};
use crate::place::Area;
use crate::{Error, Key, Place, Slots};

/// Records by key on NOR flash. See the [crate's documentation](crate).
pub struct Log<'p, F> {
    pub(crate) device: Device<F>,
    pub(crate) slots: Slots,
    /// The places of all live records, including those of the batch that is being written.
    pub(crate) places: &'p mut [Place],
    /// The area that counts. New frames are written there too, except during a move.
    pub(crate) current: Area,
    /// The generation of the current area; 0 if there is no current area yet.
    pub(crate) generation: u32,
    /// The generation that the next move will make. Not below the greatest `next` in the current area's entries.
    pub(crate) next: u32,
    /// Where the current area's snapshot ends.
    pub(crate) snapshot_end: u32,
    /// The first entry of the current area that may be written.
    pub(crate) free_entry: u32,
    /// Whether the other area looked erased at the start.
    pub(crate) other_is_blank: bool,
    /// Whether the current area says that the other one is void, so that the other one may be erased.
    is_marked: bool,
    /// Whether the last batch of the current area was written after the start: see [`Log::is_settled`].
    is_settled: bool,
    /// How many sectors of the other area were erased since it last was the current one, and since the start.
    erased: u32,
    /// The place of the next frame.
    at: u32,
    /// How many bytes all live frames take.
    live: u32,
    /// During a move, when all frames go to the other area: how many bytes of live frames are still in the current one.
    staying: Option<u32>,
    /// The checksum of the frames since the last trailer.
    batch: Option<Crc>,
    has_failed: bool,
}

/// What [`Log::open`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many live records there are.
    pub records: u32,
    /// How many batches there are since the last move.
    pub batches: u32,
    /// How many places there are where committed records or deletions cannot be read any more. All other records are served.
    pub damaged: u32,
    /// How many records there are that [`Slots`] has no place for: those of a firmware with larger tables.
    pub unfit: u32,
    /// Whether there was no log: the flash is new, or damaged beyond use.
    pub is_new: bool,
}

impl<'p, F: NorFlash> Log<'p, F> {
    /// Reads the log in `range` of the flash, and writes nothing. Half of the range is one area. Of each area only the part that
    /// 32,768 units can name is used.
    ///
    /// # Errors
    /// [`Error::Geometry`] if the range is not made of whole sectors, is not within the flash, or holds less than two sectors, or
    /// if `places` has fewer entries than `slots` needs. [`Error::Flash`]. Damaged records are no error; [`Found`] counts them.
    pub fn open(
        flash: F,
        range: Range<u32>,
        slots: Slots,
        places: &'p mut [Place],
    ) -> Result<(Self, Found), Error<F::Error>> {
        let device = Device::new(flash, range)?;
        if places.len() < slots.total() {
            return Err(Error::Geometry);
        }
        places.fill(Place::NONE);
        let mut log = Self {
            device,
            slots,
            places,
            current: Area::B,
            generation: 0,
            next: 0,
            snapshot_end: 0,
            free_entry: 0,
            other_is_blank: false,
            is_marked: false,
            is_settled: false,
            erased: 0,
            at: 0,
            live: 0,
            staying: None,
            batch: None,
            has_failed: false,
        };
        let found = log.scan()?;
        for index in 0..log.places.len() {
            log.live += log.stored(index)?.map_or(0, |stored| stored.size);
        }
        Ok((log, found))
    }

    /// Adds to the batch that `record` is the key's record from now on. The record must begin with the CRC-32 of its other bytes,
    /// as sealed records do: that checksum shows damage.
    ///
    /// # Errors
    /// [`Error::Full`]: nothing has changed; after some deletes it may fit. [`Error::Unfit`]: `slots` has no such slot, or
    /// the record has less than 5 or more than 4,095 bytes. [`Error::Flash`], [`Error::Failed`].
    pub fn put(&mut self, key: Key, record: &[u8]) -> Result<(), Error<F::Error>> {
        self.guarded(|log| {
            let index = log.slots.index(key).ok_or(Error::Unfit)?;
            if !(SHORTEST_RECORD..=RECORD_BYTES).contains(&record.len()) {
                return Err(Error::Unfit);
            }
            let former = log.stored(index)?;
            let size = Device::<F>::padded(HEADER + record.len());
            log.make_room(size, former)?;
            let place = Place::new(log.target(), log.at / Device::<F>::UNIT as u32);
            log.write_frame(Header { key, len: record.len() as u16 }, record)?;
            log.replace(index, place, former);
            log.live += size;
            Ok(())
        })
    }

    /// Adds to the batch that the key no longer has a record.
    ///
    /// # Errors
    /// As [`Log::put`]; never [`Error::Full`] for a key that is not put in the same batch.
    pub fn delete(&mut self, key: Key) -> Result<(), Error<F::Error>> {
        self.guarded(|log| {
            let index = log.slots.index(key).ok_or(Error::Unfit)?;
            let Some(former) = log.stored(index)? else { return Ok(()) };
            // During a move, a record that is not copied is gone afterwards. In any other case the delete needs a frame.
            if log.staying.is_none() || former.area == log.target() {
                log.make_room(Device::<F>::UNIT as u32, Some(former))?;
            }
            if log.staying.is_none() || former.area == log.target() {
                log.write_frame(Header { key, len: 0 }, &[])?;
            }
            log.replace(index, Place::NONE, Some(former));
            Ok(())
        })
    }

    /// Ends the batch. When this returns `Ok`, all puts and deletes since the last commit survive a power cut. If the power fails
    /// earlier, all of them survive or none does.
    ///
    /// # Errors
    /// [`Error::Flash`], [`Error::Failed`].
    pub fn commit(&mut self) -> Result<(), Error<F::Error>> {
        self.guarded(|log| {
            if !log.is_settled && log.staying.is_none() {
                log.begin_move()?;
            }
            if log.staying.is_some() {
                return log.commit_move();
            }
            if let Some(batch) = log.batch.take() {
                let trailer = format::trailer(log.generation, log.at, batch.value());
                log.device.write_padded(log.current, log.at, &trailer)?;
                log.at += Device::<F>::padded(TRAILER);
            }
            Ok(())
        })
    }

    /// Whether a batch was committed since the log was opened. Before that, no client may be told of records that were read: the
    /// power may have failed while the last word of the log was written, and that word may read differently the next time. An
    /// empty [`Log::commit`] makes the records safe.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Reads the first live record that `cursor` has not passed into `out`, and returns its key and length. Records come by kinds
    /// and slots ascending. Begin with a `cursor` of 0.
    ///
    /// # Errors
    /// [`Error::Small`] with the length if `out` is too short; `cursor` stays as it is then. [`Error::Flash`].
    pub fn next_record(&mut self, cursor: &mut usize, out: &mut [u8]) -> Result<Option<(Key, usize)>, Error<F::Error>> {
        loop {
            if *cursor >= self.places.len() {
                return Ok(None);
            }
            let record = self.read(*cursor, out)?;
            *cursor += 1;
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    /// Reads the key's record into `out`. Returns its length; `None` if there is no record.
    ///
    /// # Errors
    /// As [`Log::next_record`].
    pub fn get(&mut self, key: Key, out: &mut [u8]) -> Result<Option<usize>, Error<F::Error>> {
        let Some(index) = self.slots.index(key) else { return Ok(None) };
        Ok(self.read(index, out)?.map(|(_, len)| len))
    }

    /// By how many bytes the live records may still grow. Each record counts with 4 bytes more, and with its padding.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.live as usize)
    }

    /// How many bytes all live records may have.
    pub fn capacity(&self) -> usize {
        self.device.len.saturating_sub(Device::<F>::DATA) as usize
    }

    /// Erases a sector ahead of the next move, which would otherwise erase them all at once. Returns `true` if there are more to
    /// erase. Call it when there is nothing else to do.
    ///
    /// # Errors
    /// [`Error::Flash`], [`Error::Failed`].
    pub fn idle(&mut self) -> Result<bool, Error<F::Error>> {
        self.guarded(|log| {
            if !log.is_settled || log.staying.is_some() || log.erased >= log.device.sectors() {
                return Ok(false);
            }
            log.erase_next()?;
            Ok(log.erased < log.device.sectors())
        })
    }

    /// The flash.
    pub fn flash(&self) -> &F {
        self.device.flash()
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.device.into_flash()
    }

    /// Runs an operation. After the flash has failed once, every operation fails until the log is opened again.
    fn guarded<T>(&mut self, verb: impl FnOnce(&mut Self) -> Result<T, Error<F::Error>>) -> Result<T, Error<F::Error>> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let result = verb(self);
        self.has_failed = matches!(result, Err(Error::Flash(_)));
        result
    }

    /// The area to which frames are written now.
    fn target(&self) -> Area {
        if self.staying.is_some() { self.current.other() } else { self.current }
    }

    /// The live frame of a key. Its header cannot be read any more if it was damaged since the start.
    fn stored(&mut self, index: usize) -> Result<Option<Stored>, Error<F::Error>> {
        let Some((area, unit)) = self.places.get(index).copied().and_then(Place::get) else { return Ok(None) };
        let at = unit * Device::<F>::UNIT as u32;
        let header = Header::from_bytes(self.device.read_array(area, at)?);
        let header = header.filter(|header| self.slots.index(header.key) == Some(index));
        let size = header.map_or(0, |header| Device::<F>::padded(HEADER + usize::from(header.len)));
        Ok(Some(Stored { area, at, header, size }))
    }

    fn read(&mut self, index: usize, out: &mut [u8]) -> Result<Option<(Key, usize)>, Error<F::Error>> {
        let Some(Stored { area, at, header: Some(header), .. }) = self.stored(index)? else { return Ok(None) };
        let len = usize::from(header.len);
        let mut out = out.get_mut(..len).ok_or(Error::Small(len))?;
        self.device.pieces(area, at, HEADER, (HEADER + len) as u32, |_, piece| {
            let (to, rest) = core::mem::take(&mut out).split_at_mut_checked(piece.len()).unwrap_or_default();
            to.copy_from_slice(piece);
            out = rest;
            Ok(())
        })?;
        Ok(Some((header.key, len)))
    }

    /// Sets the place of a key's live frame; [`Place::NONE`] if the key has none any more.
    fn replace(&mut self, index: usize, place: Place, former: Option<Stored>) {
        if let Some(former) = former {
            self.live = self.live.saturating_sub(former.size);
            if former.area == self.current {
                self.staying = self.staying.map(|staying| staying.saturating_sub(former.size));
            }
        }
        if let Some(entry) = self.places.get_mut(index) {
            *entry = place;
        }
    }

    /// Makes room for a frame of `size`, which replaces `former`, and for the frames that must follow in any case: a trailer, or
    /// all frames that still have to move from the current area.
    fn make_room(&mut self, size: u32, former: Option<Stored>) -> Result<(), Error<F::Error>> {
        if self.staying.is_none() {
            if self.is_settled && self.at + size + Device::<F>::padded(TRAILER) <= self.device.len {
                return Ok(());
            }
            let replaced = former.map_or(0, |former| former.size);
            if Device::<F>::DATA + size + self.live > self.device.len + replaced {
                return Err(Error::Full);
            }
            return self.begin_move();
        }
        let replaced = former.filter(|former| former.area == self.current).map_or(0, |former| former.size);
        if self.at + size + self.staying.unwrap_or(0) > self.device.len + replaced {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// Writes a frame. The first unit is written alone: while that unit is not whole, no byte of the record is in flash that
    /// might look like another frame.
    fn write_frame(&mut self, header: Header, record: &[u8]) -> Result<(), Error<F::Error>> {
        let unit = Device::<F>::UNIT;
        let mut first = [0xFF; CHUNK];
        let beginning = header.to_bytes().into_iter().chain(record.iter().copied());
        first.iter_mut().take(unit).zip(beginning).for_each(|(to, from)| *to = from);
        self.program(first.get(..unit).unwrap_or(&[]))?;

        let rest = record.get(unit - HEADER..).unwrap_or(&[]);
        let (whole, tail) = rest.split_at_checked(rest.len() / unit * unit).unwrap_or((rest, &[]));
        if !whole.is_empty() {
            self.program(whole)?;
        }
        if !tail.is_empty() {
            let mut last = [0xFF; CHUNK];
            last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
            self.program(last.get(..unit).unwrap_or(&[]))?;
        }
        Ok(())
    }

    fn program(&mut self, units: &[u8]) -> Result<(), Error<F::Error>> {
        self.device.write(self.target(), self.at, units)?;
        self.at += units.len() as u32;
        self.batch = Some(self.batch.unwrap_or(Crc::NEW).with(units));
        Ok(())
    }

    fn begin_move(&mut self) -> Result<(), Error<F::Error>> {
        while self.erased < self.device.sectors() {
            self.erase_next()?;
        }
        self.at = Device::<F>::DATA;
        self.staying = Some(self.live);
        Ok(())
    }

    fn erase_next(&mut self) -> Result<(), Error<F::Error>> {
        if !self.is_marked {
            self.mark()?;
        }
        self.device.erase(self.current.other(), self.erased)?;
        self.erased += 1;
        Ok(())
    }

    /// Writes another entry to the current area before the other area is erased. The power may have failed while the current
    /// area's last entry was written, or while the other area was being erased. With the new entry the current area is certainly
    /// valid, and the other is void even if it looks valid. No entry is needed if the other area is blank: then the current area
    /// has been valid since its last entry was written, or nothing was ever committed.
    fn mark(&mut self) -> Result<(), Error<F::Error>> {
        // If no entry is free, there were so many power cuts here that the entries before are enough.
        if self.free_entry < ENTRIES {
            self.next = self.next.max(self.generation).saturating_add(1);
            if self.generation > 0 && !self.other_is_blank {
                let entry = Entry { generation: self.generation, next: self.next, end: self.snapshot_end };
                self.write_entry(self.current, self.free_entry, entry)?;
                self.free_entry += 1;
            }
        }
        self.is_marked = true;
        Ok(())
    }

    fn write_entry(&mut self, area: Area, index: u32, entry: Entry) -> Result<(), Error<F::Error>> {
        self.device.write_padded(area, index * Device::<F>::padded(ENTRY), &entry.to_bytes())
    }

    /// Copies the frames that are still in the current area, and makes the target the current area.
    fn commit_move(&mut self) -> Result<(), Error<F::Error>> {
        let target = self.target();
        for index in 0..self.places.len() {
            let Some(stored) = self.stored(index)?.filter(|stored| stored.area == self.current) else { continue };
            let place = match stored.header {
                Some(_) => Place::new(target, self.at / Device::<F>::UNIT as u32),
                None => Place::NONE,
            };
            self.copy(stored)?;
            if let Some(entry) = self.places.get_mut(index) {
                *entry = place;
            }
        }
        let entry = Entry { generation: self.next, next: 0, end: self.at };
        for index in 0..COMMIT_ENTRIES {
            self.write_entry(target, index, entry)?;
        }

        self.current = target;
        self.generation = self.next;
        self.next = 0;
        self.snapshot_end = self.at;
        self.free_entry = COMMIT_ENTRIES;
        self.other_is_blank = false;
        self.is_marked = false;
        self.is_settled = true;
        self.erased = 0;
        self.staying = None;
        self.batch = None;
        Ok(())
    }

    fn copy(&mut self, stored: Stored) -> Result<(), Error<F::Error>> {
        let (target, to) = (self.target(), &mut self.at);
        self.device.pieces(stored.area, stored.at, 0, stored.size, |device, piece| {
            device.write(target, *to, piece)?;
            *to += piece.len() as u32;
            Ok(())
        })
    }
}

/// A live frame.
#[derive(Clone, Copy)]
struct Stored {
    area: Area,
    at: u32,
    header: Option<Header>,
    /// The size in bytes, with padding; 0 if the header cannot be read.
    size: u32,
}
