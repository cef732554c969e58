//! What a store holds, for reading.

use crate::disk::Disk;
use crate::kv::index::{Index, Place};
use crate::log::format::{HEAD, Head, What, body_is_sound, records};
use crate::log::segment::{Segments, State};
use crate::{Key, Stats};
use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The kind of the record that says which [layout](crate::kv::layout) counts. The kinds of all other records are greater.
pub(crate) const LAYOUT_KIND: u8 = 0;
/// The base of the second layout's shard numbers on disk. A store has fewer shards than this number.
pub(crate) const OTHER_BASE: u16 = 1024;
/// The shard number on disk of records that belong to no layout.
pub(crate) const COMMON_SHARD: u16 = 2 * OTHER_BASE;
pub(crate) const LAYOUT_KEY: Key = Key { shard: COMMON_SHARD, kind: LAYOUT_KIND, slot: 0 };

/// The segments and where in them each record stands.
pub(crate) struct Contents {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) segments: Segments,
    pub(crate) index: Index,
    /// The number on disk of the shard with index 0.
    pub(crate) base: u16,
}

impl Contents {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, segments: Segments::default(), index: Index::default(), base: 0 }
    }

    /// The latest record of `key` stands at `place` from now on. Returns the segment that holds nothing live any more because of
    /// this.
    pub(crate) fn set(&mut self, key: Key, place: Place) -> Option<u32> {
        let before = self.index.set(key, place);
        self.segments.get_mut(place.segment).live += u64::from(place.size);
        before.and_then(|before| self.forget(before))
    }

    /// Forgets `key`. Returns the segment that holds nothing live any more because of this.
    pub(crate) fn remove(&mut self, key: Key) -> Option<u32> {
        self.index.remove(key).and_then(|before| self.forget(before))
    }

    fn forget(&mut self, place: Place) -> Option<u32> {
        let segment = self.segments.get_mut(place.segment);
        segment.live -= u64::from(place.size);
        (segment.live == 0).then_some(place.segment)
    }

    /// Reads the record of `key` into `out`, and replaces what `out` holds. False if there is no such record.
    pub(crate) fn fetch(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool> {
        self.fetch_on_disk(self.on_disk(key), out)
    }

    /// The base of the layout that counts and its number of shards; `None` if the layout was never changed.
    pub(crate) fn layout(&self) -> Option<(u16, u16)> {
        let mut bytes = Vec::new();
        let is_there = self.fetch_on_disk(LAYOUT_KEY, &mut bytes).ok()?;
        let [a, b, c, d] = *bytes.first_chunk().filter(|_| is_there)?;
        Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    }

    /// As [`Contents::fetch`], with the key as it is on disk.
    pub(crate) fn fetch_on_disk(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        let Some(place) = self.index.get(key).filter(|place| !place.is_tombstone()) else { return Ok(false) };
        out.resize(place.size as usize, 0);
        let file = &self.segments.get(place.segment).file;
        let filled = file.read_all_at(out, place.offset.into())?;
        let Some((_, head, body)) = records(&out[..filled]).next().filter(|(_, head, _)| head.key == key) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if !body_is_sound(&head, body) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let len = body.len();
        out.drain(..HEAD);
        out.truncate(len);
        Ok(true)
    }

    /// The slots for which a shard has records of `kind`.
    pub(crate) fn slots(&self, shard: u16, kind: u8) -> impl Iterator<Item = u32> {
        let places = self.index.places(self.shard_on_disk(shard), kind);
        places.filter(|(_, place)| !place.is_tombstone()).map(|(key, _)| key.slot)
    }

    /// Passes all records of a shard to `visit`, kinds ascending, until `visit` breaks off.
    pub(crate) fn each<B>(
        &self,
        shard: u16,
        mut visit: impl FnMut(Key, &[u8]) -> ControlFlow<B>,
    ) -> io::Result<ControlFlow<B>> {
        // Records are read in the order in which they stand in the log, through a window that only moves forward: each kind reads
        // the log at most once.
        const WINDOW: usize = 1 << 18;
        let mut window = Vec::new();
        let mut places: Vec<(Key, Place)> = Vec::new();
        let shard_on_disk = self.shard_on_disk(shard);
        for (kind, segments) in (LAYOUT_KIND + 1..=u8::MAX)
            .flat_map(|kind| self.parts(shard_on_disk, kind).into_iter().map(move |part| (kind, part)))
        {
            places.clear();
            let is_live = |(_, place): &(Key, Place)| segments.contains(&place.segment) && !place.is_tombstone();
            places.extend(self.index.places(shard_on_disk, kind).filter(is_live));
            places.sort_unstable_by_key(|(_, place)| (place.segment, place.offset));
            let (mut segment, mut start) = (u32::MAX, 0);
            window.clear();
            for (key, place) in places.drain(..) {
                let (offset, size) = (place.offset as usize, place.size as usize);
                if segment != place.segment || offset + size > start + window.len() {
                    (segment, start) = (place.segment, offset);
                    let source = self.segments.get(segment);
                    let rest = usize::try_from(source.end).unwrap_or(usize::MAX).saturating_sub(offset);
                    window.resize(WINDOW.min(rest).max(size), 0);
                    let filled = source.file.read_all_at(&mut window, offset as u64)?;
                    window.truncate(filled);
                }
                let bytes = window.get(offset - start..offset - start + size).unwrap_or_default();
                let (Some(Head { what: What::Put { len, .. }, .. }), true) = (Head::decode(bytes), bytes.len() == size)
                else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                if let ControlFlow::Break(value) = visit(Key { shard, ..key }, &bytes[HEAD..HEAD + len as usize]) {
                    return Ok(ControlFlow::Break(value));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ranges of segments, each with a small part of the records of a kind: a list of all records would take more memory than the
    /// index.
    fn parts(&self, shard: u16, kind: u8) -> Vec<Range<u32>> {
        const PARTS: usize = 16;
        let mut counts: Vec<usize> = Vec::new();
        for (_, place) in self.index.places(shard, kind).filter(|(_, place)| !place.is_tombstone()) {
            let segment = place.segment as usize;
            if counts.len() <= segment {
                counts.resize(segment + 1, 0);
            }
            counts[segment] += 1;
        }
        let most = counts.iter().sum::<usize>() / PARTS;
        let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
        for (segment, count) in (0..).zip(&counts) {
            sum += count;
            if sum > most {
                parts.push(start..segment + 1);
                (start, sum) = (segment + 1, 0);
            }
        }
        if sum > 0 {
            parts.push(start..counts.len() as u32);
        }
        parts
    }

    /// Renames the file of a segment.
    pub(crate) fn rename(&mut self, segment: u32, name: String) -> io::Result<()> {
        let segment = self.segments.get_mut(segment);
        self.disk.rename(&segment.name, &name)?;
        segment.name = name;
        Ok(())
    }

    /// The key that the record of `key` has on disk.
    pub(crate) fn on_disk(&self, key: Key) -> Key {
        Key { shard: self.shard_on_disk(key.shard), ..key }
    }

    fn shard_on_disk(&self, shard: u16) -> u16 {
        if shard == COMMON_SHARD { shard } else { self.base + shard }
    }

    pub(crate) fn live_by_kind(&self) -> BTreeMap<u8, u64> {
        let counts = (LAYOUT_KIND + 1..=u8::MAX).map(|kind| (kind, self.index.live(kind)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats { records: self.live_by_kind(), ..Stats::default() };
        for (_, segment) in self.segments.iter() {
            stats.segments += 1;
            stats.bytes += segment.header.len;
            stats.live_bytes += segment.live;
            match segment.state {
                State::Prepared => stats.prepared += 1,
                State::Dead | State::Free | State::Leaving | State::Dying => stats.dead += 1,
                State::Active | State::Sealed => {}
            }
        }
        stats
    }
}
