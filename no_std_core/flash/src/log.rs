//! The log: batches appended to one area, and moves of what lives to the other.

use core::ops::Range;

use embedded_storage::nor_flash::NorFlash;

use crate::device::{Area, CHUNK, Device};
use crate::format::{
    self, COMMIT_ENTRIES, Crc, ENTRIES, ENTRY, Entry, HEADER, Header, RECORD_BYTES, SHORTEST_RECORD, TRAILER,
};
use crate::{Error, Found, Key, Place, Slots};

/// Records by key on NOR flash. See the [crate's documentation](crate).
pub struct Log<'p, F> {
    pub(crate) device: Device<F>,
    pub(crate) slots: Slots,
    /// Of all live records, those of the batch that is being written too.
    pub(crate) places: &'p mut [Place],
    /// The area that counts. New frames go there too, unless there is a move.
    pub(crate) current: Area,
    /// Of the current area; 0 if there is none yet.
    pub(crate) generation: u32,
    /// The one that the next move will make. At most what the current area's entries say.
    pub(crate) next: u32,
    /// Where the current area's snapshot ends.
    pub(crate) snapshot_end: u32,
    /// The first entry of the current area that may be written.
    pub(crate) free_entry: u32,
    /// The other area looked erased at the start.
    pub(crate) other_is_blank: bool,
    /// The current area says that the other one is void, so that may be erased.
    is_marked: bool,
    /// Nothing that was written before the start is the last of its area: see [`Log::settle`].
    is_settled: bool,
    /// Sectors of the other area that were erased since it was the current one, and since the start.
    erased: u32,
    /// Where the next frame goes.
    at: u32,
    /// Bytes of all live frames.
    live: u32,
    /// While everything goes to the other area: bytes of live frames that are still in the current one.
    staying: Option<u32>,
    /// Of the frames since the last trailer.
    batch: Option<Crc>,
    has_failed: bool,
}

impl<'p, F: NorFlash> Log<'p, F> {
    /// Reads what `range` of the flash holds, and writes nothing. Half of the range is one area; of each, only what 32,768
    /// units can name is used.
    ///
    /// # Errors
    /// [`Error::Geometry`] if the range is not made of sectors, is not within the flash, or holds less than two sectors, or
    /// if `places` are fewer than `slots` has. [`Error::Flash`]. Damaged records are no error, [`Found`] counts them.
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

    /// Adds to the batch that `record` is the key's from now on. It must begin with the CRC-32 of its rest, as sealed records
    /// do: that is how damage to it is noticed.
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

    /// Adds to the batch that the key has no record any more.
    ///
    /// # Errors
    /// As [`Log::put`]; never [`Error::Full`] for a key that is not put in the same batch.
    pub fn delete(&mut self, key: Key) -> Result<(), Error<F::Error>> {
        self.guarded(|log| {
            let index = log.slots.index(key).ok_or(Error::Unfit)?;
            let Some(former) = log.stored(index)? else { return Ok(()) };
            // What is not copied is gone after a move. Anything else needs a frame.
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

    /// Ends the batch. When this returns `Ok`, all that was put and deleted since the last time survives a power cut; if the
    /// power goes before, all of it may or none of it.
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

    /// Whether a batch was committed since the log was opened. Before that, what was read may not be told to anybody: the
    /// power may have gone while its last word was written, which may then read differently the next time. An empty
    /// [`Log::commit`] makes it safe.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The first live record that `cursor` has not passed, in `out`, with its length; they come by kinds and slots
    /// ascending. Begin with `&mut 0`.
    ///
    /// # Errors
    /// [`Error::Small`] with the length if `out` is too short, which passes nothing. [`Error::Flash`].
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

    /// The key's record, in `out`; how long it is.
    ///
    /// # Errors
    /// As [`Log::next_record`].
    pub fn get(&mut self, key: Key, out: &mut [u8]) -> Result<Option<usize>, Error<F::Error>> {
        let Some(index) = self.slots.index(key) else { return Ok(None) };
        Ok(self.read(index, out)?.map(|(_, len)| len))
    }

    /// How many bytes the live records may still grow by, with 4 bytes (and padding) for each.
    pub fn room(&self) -> usize {
        self.capacity().saturating_sub(self.live as usize)
    }

    /// How many bytes live records may have.
    pub fn capacity(&self) -> usize {
        self.device.len.saturating_sub(Device::<F>::DATA) as usize
    }

    /// Erases a sector ahead of the next move, which else erases them all at once. `true` if there is more to do. Call it
    /// when there is nothing else to do.
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

    /// After the flash has failed once, nothing is believed until the log is opened again.
    fn guarded<T>(&mut self, verb: impl FnOnce(&mut Self) -> Result<T, Error<F::Error>>) -> Result<T, Error<F::Error>> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let result = verb(self);
        self.has_failed = matches!(result, Err(Error::Flash(_)));
        result
    }

    /// Where frames go now.
    fn target(&self) -> Area {
        if self.staying.is_some() { self.current.other() } else { self.current }
    }

    /// The live frame of a place. Its header cannot be read any more if it was damaged since the start.
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

    /// The frame of a place is another one now, or none.
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

    /// Sees to it that a frame of `size` fits, which replaces `former`, and then what follows in any case: a trailer, or all
    /// that stays in the current area.
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

    /// The first unit goes alone: while it is not whole, nothing of the record is there that might look like something else.
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

    /// Before the other area is erased the current one gets another entry. The power may have gone while its last one was
    /// written, or while the erasing of the other had begun: now the current one is certainly valid, and the other is void
    /// even if it looks valid. There is no need if nothing is there that could: then the current one is valid since its last
    /// entry was written, or nothing was ever committed.
    fn mark(&mut self) -> Result<(), Error<F::Error>> {
        // Without a free entry there were so many power cuts here that the ones before will do.
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

    /// Copies what has stayed, and makes the target the current area.
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
    /// With padding; 0 without a header.
    size: u32,
}
