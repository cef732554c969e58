//! Where each record stands. Each slot that was ever used takes 8 bytes; there is no hashing.

use crate::Key;
use crate::log::format::{HEAD, UNIT};
use std::collections::HashMap;

/// Where the latest record of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index in the table of segments.
    pub(crate) segment: u32,
    /// The offset of the record's head in the file.
    pub(crate) offset: u32,
    /// The size of the record with head and padding.
    pub(crate) size: u32,
}

impl Place {
    /// Whether the latest record of the key is a tombstone. A tombstone is kept while an older segment still has a record of the
    /// key.
    pub(crate) fn is_tombstone(&self) -> bool {
        self.size as usize == HEAD
    }
}

/// 20 bits for the segment, 27 for the offset and 17 for the size, the last two in units of 8 bytes. 0 stands for no place, as no
/// size is 0.
type Packed = u64;
const OFFSET_BITS: u32 = 27;
const SIZE_BITS: u32 = 17;
/// The size field of an entry whose size is kept in `Index::big`.
const BIG: u64 = (1 << SIZE_BITS) - 1;

const PAGE: usize = 1024;
type Page = Box<[Packed; PAGE]>;

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The tables by shard and kind.
    tables: Vec<Vec<Table>>,
    /// Sizes that don't fit into an entry: those of records of 1 MiB and more.
    big: HashMap<Key, u32>,
}

#[derive(Debug, Default)]
struct Table {
    pages: Vec<Option<Page>>,
    /// How many records there are, without tombstones.
    live: u64,
}

impl Index {
    pub(crate) fn get(&self, key: Key) -> Option<Place> {
        let table = self.tables.get(usize::from(key.shard))?.get(usize::from(key.kind))?;
        let (page, entry) = split(key.slot);
        let packed = table.pages.get(page)?.as_ref()?[entry];
        self.unpack(key, packed)
    }

    /// Sets the place of `key`. Returns the place that `key` had before.
    pub(crate) fn set(&mut self, key: Key, place: Place) -> Option<Place> {
        let before = self.get(key);
        let size = (place.size as usize / UNIT) as u64;
        if size >= BIG {
            self.big.insert(key, place.size);
        } else if before.is_some_and(|before| before.size as usize / UNIT >= BIG as usize) {
            self.big.remove(&key);
        }
        let offset = (place.offset as usize / UNIT) as u64;
        let packed = u64::from(place.segment) << (OFFSET_BITS + SIZE_BITS) | offset << SIZE_BITS | size.min(BIG);
        let table = self.table(key);
        table.count(before, Some(place));
        let (page, entry) = split(key.slot);
        if table.pages.len() <= page {
            table.pages.resize_with(page + 1, || None);
        }
        table.pages[page].get_or_insert_with(|| Box::new([0; PAGE]))[entry] = packed;
        before
    }

    /// Removes the place of `key`. Returns the place that `key` had before.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Place> {
        let before = self.get(key)?;
        self.big.remove(&key);
        let table = self.table(key);
        table.count(Some(before), None);
        let (page, entry) = split(key.slot);
        if let Some(Some(page)) = table.pages.get_mut(page) {
            page[entry] = 0;
        }
        Some(before)
    }

    /// All places of a kind, tombstones included, with their slots in ascending order.
    pub(crate) fn places(&self, shard: u16, kind: u8) -> impl Iterator<Item = (Key, Place)> {
        let table = self.tables.get(usize::from(shard)).and_then(|tables| tables.get(usize::from(kind)));
        let pages = table.map_or(&[][..], |table| &table.pages[..]).iter().enumerate();
        pages.filter_map(|(index, page)| Some((index, page.as_ref()?))).flat_map(move |(index, page)| {
            page.iter().enumerate().filter_map(move |(entry, &packed)| {
                let key = Key { shard, kind, slot: (index * PAGE + entry) as u32 };
                Some((key, self.unpack(key, packed)?))
            })
        })
    }

    /// How many records of `kind` there are, in all shards.
    pub(crate) fn live(&self, kind: u8) -> u64 {
        self.tables.iter().filter_map(|tables| tables.get(usize::from(kind))).map(|table| table.live).sum()
    }

    fn unpack(&self, key: Key, packed: Packed) -> Option<Place> {
        let size = match packed & BIG {
            0 => return None,
            BIG => *self.big.get(&key)?,
            units => units as u32 * UNIT as u32,
        };
        let offset = (packed >> SIZE_BITS) as u32 & ((1 << OFFSET_BITS) - 1);
        Some(Place { segment: (packed >> (OFFSET_BITS + SIZE_BITS)) as u32, offset: offset * UNIT as u32, size })
    }

    fn table(&mut self, key: Key) -> &mut Table {
        let (shard, kind) = (usize::from(key.shard), usize::from(key.kind));
        if self.tables.len() <= shard {
            self.tables.resize_with(shard + 1, Vec::new);
        }
        let tables = &mut self.tables[shard];
        if tables.len() <= kind {
            tables.resize_with(kind + 1, Table::default);
        }
        &mut tables[kind]
    }
}

impl Table {
    fn count(&mut self, before: Option<Place>, after: Option<Place>) {
        let is_live = |place: Option<Place>| u64::from(place.is_some_and(|place| !place.is_tombstone()));
        self.live = self.live + is_live(after) - is_live(before);
    }
}

fn split(slot: u32) -> (usize, usize) {
    (slot as usize / PAGE, slot as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_returns_the_places_that_were_set() {
        let mut index = Index::default();
        let key = |slot| Key { shard: 3, kind: 4, slot };
        let places = [
            (0, Place { segment: 0, offset: 128, size: 24 }),
            (1, Place { segment: (1 << 20) - 1, offset: (1 << 30) - 8, size: 16 }),
            (1023, Place { segment: 7, offset: 64, size: (1 << 20) - 16 }),
            (1024, Place { segment: 7, offset: 64, size: 1 << 20 }),
            (u32::MAX, Place { segment: 9, offset: 64, size: 500 << 20 }),
        ];
        for (slot, place) in places {
            assert_eq!(index.set(key(slot), place), None);
        }
        for (slot, place) in places {
            assert_eq!(index.get(key(slot)), Some(place));
        }
        assert_eq!(index.places(3, 4).map(|(key, place)| (key.slot, place)).collect::<Vec<_>>(), places);
        assert_eq!((index.live(4), index.live(3)), (4, 0));
        assert_eq!(index.set(key(1024), places[0].1), Some(places[3].1));
        assert_eq!(index.get(key(1024)), Some(places[0].1));
        assert_eq!(index.remove(key(u32::MAX)), Some(places[4].1));
        assert_eq!(index.remove(key(u32::MAX)), None);
        assert_eq!(index.get(Key { shard: 9, kind: 1, slot: 0 }), None);
        assert!(index.big.is_empty());
    }
}
