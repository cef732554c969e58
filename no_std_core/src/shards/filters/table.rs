//! The filters of all other shards in three bytes each: a part of a filter's hash, the shard that has it, and whether messages for the
//! filter are recorded there.
//!
//! A shard has to know only that another one may want a message. So no text of a filter is kept, and a message goes to another shard in
//! vain if a filter there has the same part of the hash. The chance of that is the number of all filters, divided by 2 to the power of 32
//! less the bits of a shard's index: 0.2 % for a million filters on eight shards.
//! Two filters of a shard that can't be told apart have two entries, so one is left when the other one ends.
//!
//! The entries stand in rows by the first bits of their hashes, each row in order, and all rows in one piece of memory with the same
//! room for each. Hashes are spread evenly, so the rows are about equally long, and an entry is near the place that its hash tells:
//! a look-up reads one or two lines of the caches. When a row is about to be full, all rows get a sixteenth more room. They are
//! moved from the last to the first, a few with each entry that comes, so no call takes long.

use alloc::vec::Vec;

use crate::config::Shard;
use crate::mem::heap::{Claim, MemoryAccount, MemoryCredit};

/// One entry, with the most significant byte first.
type Packed = [u8; 3];

/// Bits that say which row.
const ROW_BITS: u32 = 9;
const ROWS: usize = 1 << ROW_BITS;
/// Bits of an entry.
const ENTRY_BITS: u32 = 24;
/// Says that messages for the filter are recorded.
const DURABLE: u32 = 1;
/// How many rows are moved when an entry comes, while they are getting more room.
const MOVED_AT_ONCE: usize = 4;
/// Rows get more room when one of them has room for so few entries: while all are moved no row gets more than a few.
const LITTLE_ROOM: usize = 4;
/// A row of so many entries is short.
const SHORT: usize = 8;
/// So many entries are more than fits in the caches of a processor. Tests go the same way with few entries.
const VAST: usize = if cfg!(debug_assertions) { 4 } else { 500_000 };

/// The filters of all other shards, as a multiset of hashes with owners.
#[derive(Debug)]
pub(crate) struct FilterTable {
    /// The rows, one after the other, each with what is left of its room.
    entries: Vec<Packed>,
    /// How many entries each row has; empty before the first entry comes.
    lens: Vec<u32>,
    /// Room of the rows that were moved, in entries.
    room: usize,
    /// Room of the rows before `moved`, which still have to be moved.
    room_before: usize,
    /// The first of the rows that were moved.
    moved: usize,
    len: usize,
    limit: usize,
    /// The lowest bits of an entry, for the index of the shard and the mark.
    owner: u32,
    /// Bytes that were moved since [`FilterTable::take_moved`].
    bytes_moved: usize,
    /// The memory of the rows below a ceiling.
    credit: MemoryCredit,
}

impl FilterTable {
    /// Bytes for each slot: room that is free because rows are not equally long, or were just given more, takes the fourth.
    pub(crate) const BYTES_EACH: usize = size_of::<Packed>() + 1;
    /// Slots for each row that bear no filter: few filters are spread less evenly.
    const FREE_IN_ROW: usize = 32;

    /// The most slots of the table, if each shard has so many filters.
    pub(crate) fn slots(shard: Shard, filters: usize) -> usize {
        match Self::limit(shard, filters) {
            0 => 0,
            limit => limit.saturating_add(ROWS * Self::FREE_IN_ROW),
        }
    }

    fn limit(shard: Shard, filters: usize) -> usize {
        filters.saturating_mul(shard.siblings().saturating_sub(1) as usize)
    }

    /// An empty table with room for so many filters of each other shard.
    pub(in crate::shards) fn new(shard: Shard, filters: usize, account: MemoryAccount) -> Self {
        let index_bits = u32::from(shard.count.saturating_sub(1).max(1)).ilog2().saturating_add(1);
        let owner = 2_u32.wrapping_shl(index_bits).wrapping_sub(1);
        let limit = Self::limit(shard, filters);
        let (entries, lens) = (Vec::new(), Vec::new());
        Self {
            entries,
            lens,
            room: 0,
            room_before: 0,
            moved: 0,
            len: 0,
            limit,
            owner,
            bytes_moved: 0,
            credit: MemoryCredit::of(account),
        }
    }

    /// How many bytes were moved since the last call, in KiB.
    pub(in crate::shards) fn take_moved(&mut self) -> usize {
        core::mem::take(&mut self.bytes_moved) / 1024
    }

    /// Whether there are so many filters that [`FilterTable::look_at`] is worth it.
    #[inline]
    pub(in crate::shards) fn is_vast(&self) -> bool {
        self.len >= VAST
    }

    /// The most entries that can't be told apart, whosever filters they are.
    pub(in crate::shards) fn most_alike(&self) -> usize {
        let mut most = 0;
        for row in 0..ROWS {
            let (mut last, mut alike) = (None, 0_usize);
            for entry in self.row(row).iter().map(|entry| unpack(*entry) | self.owner) {
                alike = if last.replace(entry) == Some(entry) { alike.saturating_add(1) } else { 1 };
                most = most.max(alike);
            }
        }
        most
    }

    /// Adds a filter of another shard. Returns false, and changes nothing, if there is no room.
    pub(in crate::shards) fn insert(&mut self, hash: u32, sibling: u16, is_durable: bool) -> bool {
        if self.len >= self.limit || !self.make_room(row_of(hash)) {
            return false;
        }
        let entry = self.entry(hash, sibling, is_durable);
        let (row, start) = (row_of(hash), self.start_of(row_of(hash)));
        let at = lower_bound(self.row(row), entry);
        let Some(len) = self.lens.get_mut(row) else { return false };
        let end = start.saturating_add(*len as usize);
        let Some(behind) = self.entries.get_mut(start.saturating_add(at)..=end) else { return false };
        if behind.is_empty() {
            return false;
        }
        *len = len.saturating_add(1);
        behind.rotate_right(1);
        if let Some(place) = behind.first_mut() {
            *place = pack(entry);
        }
        self.len = self.len.saturating_add(1);
        true
    }

    /// Removes a filter of another shard. Returns false if it was not there. Of filters that can't be told apart it removes one whose
    /// messages are not recorded, if there is one: so a durable filter that is left has a durable entry.
    pub(in crate::shards) fn remove(&mut self, hash: u32, sibling: u16) -> bool {
        let (row, start) = (row_of(hash), self.start_of(row_of(hash)));
        let plain = self.entry(hash, sibling, false);
        let entries = self.row(row);
        let at = lower_bound(entries, plain);
        if entries.get(at).is_none_or(|found| unpack(*found) | DURABLE != plain | DURABLE) {
            return false;
        }
        let Some(len) = self.lens.get_mut(row) else { return false };
        let end = start.saturating_add(*len as usize);
        let Some(behind) = self.entries.get_mut(start.saturating_add(at)..end) else { return false };
        if behind.is_empty() {
            return false;
        }
        behind.rotate_left(1);
        *len = len.saturating_sub(1);
        self.len = self.len.saturating_sub(1);
        if self.len == 0 {
            // What a million filters took is given back when the last of them goes.
            let Self { limit, owner, .. } = *self;
            let account = self.credit.account().clone();
            *self = Self { limit, owner, ..Self::new(Shard::ONLY, 0, account) };
        }
        true
    }

    /// Makes a filter of another shard durable. It may be durable already.
    pub(in crate::shards) fn make_durable(&mut self, hash: u32, sibling: u16) {
        let row = row_of(hash);
        let (plain, durable) = (self.entry(hash, sibling, false), self.entry(hash, sibling, true));
        // The last of those that are not durable: so the row stays in order.
        let Some(at) = lower_bound(self.row(row), durable).checked_sub(1) else { return };
        let start = self.start_of(row);
        if let Some(found) = self.entries.get_mut(start.saturating_add(at))
            && unpack(*found) == plain
        {
            *found = pack(durable);
        }
    }

    /// Calls `visit` with each shard that may have a filter with this hash, and whether messages for it are recorded there.
    #[inline]
    pub(in crate::shards) fn visit(&self, hash: u32, mut visit: impl FnMut(u16, bool)) {
        let entries = self.row(row_of(hash));
        let first = self.entry(hash, 0, false);
        // A short row is sooner gone through than searched.
        let start = if entries.len() <= SHORT { 0 } else { lower_bound(entries, first) };
        for entry in entries.get(start..).unwrap_or(&[]).iter().map(|entry| unpack(*entry)) {
            // The difference is that of the owners, or greater.
            let beyond = entry.wrapping_sub(first);
            if beyond <= self.owner {
                visit((beyond >> 1) as u16, beyond & DURABLE != 0);
            } else if entry > first {
                break;
            }
        }
    }

    /// Loads the memory where [`FilterTable::visit`] will begin.
    #[inline]
    pub(in crate::shards) fn look_at(&self, hash: u32) {
        let entries = self.row(row_of(hash));
        core::hint::black_box(entries.get(expected_at(entries, self.entry(hash, 0, false))));
    }

    /// The entry for a hash: the bits behind those for the row, as many as there is room for, then the shard and the mark.
    #[inline]
    fn entry(&self, hash: u32, sibling: u16, is_durable: bool) -> u32 {
        let rest = hash.wrapping_shl(ROW_BITS) >> (u32::BITS - ENTRY_BITS);
        rest & !self.owner | u32::from(sibling) << 1 | u32::from(is_durable)
    }

    /// Where a row starts.
    #[inline]
    fn start_of(&self, row: usize) -> usize {
        row.wrapping_mul(self.room_of(row))
    }

    #[inline]
    fn room_of(&self, row: usize) -> usize {
        if row >= self.moved { self.room } else { self.room_before }
    }

    /// The entries of a row.
    #[inline]
    fn row(&self, row: usize) -> &[Packed] {
        let len = self.lens.get(row).copied().unwrap_or(0) as usize;
        let start = self.start_of(row);
        self.entries.get(start..start.wrapping_add(len)).unwrap_or(&[])
    }

    /// Makes sure that a row has room for one more entry.
    fn make_room(&mut self, row: usize) -> bool {
        (0..MOVED_AT_ONCE).for_each(|_| self.move_row());
        let len = self.lens.get(row).copied().unwrap_or(0) as usize;
        if self.moved == 0 && len.saturating_add(LITTLE_ROOM) > self.room {
            self.widen();
        }
        // Seldom: a row has got more entries than expected while others were moved.
        while len >= self.room_of(row) {
            if self.moved > 0 {
                self.move_row();
            } else if !self.widen() {
                return false;
            }
        }
        true
    }

    /// Begins to give all rows more room; false if the allocator or the ceiling on memory refuses. The only place where the table grows.
    fn widen(&mut self) -> bool {
        let room = self.room.saturating_add((self.room / 16).max(LITTLE_ROOM));
        let more = ROWS.saturating_mul(room).saturating_sub(self.entries.len());
        let more_lens = if self.lens.is_empty() { ROWS } else { 0 };
        let bytes = more.saturating_mul(size_of::<Packed>()).saturating_add(more_lens.saturating_mul(size_of::<u32>()));
        // A shard without a place for a filter would get every message from then on: that costs more than the reserve.
        if !self.credit.take(bytes, Claim::Reserved) {
            return false;
        }
        if self.lens.is_empty() {
            if self.lens.try_reserve_exact(ROWS).is_err() {
                return false;
            }
            self.lens.resize(ROWS, 0);
        }
        if self.entries.try_reserve_exact(more).is_err() {
            return false;
        }
        self.entries.resize(ROWS.saturating_mul(room), Packed::default());
        (self.room_before, self.room, self.moved) = (self.room, room, ROWS);
        true
    }

    /// Moves the last row that still has to be moved to its new place. The place ends before the row that was moved last, and begins
    /// no earlier than the old one: so nothing is overwritten.
    fn move_row(&mut self) {
        let Some(row) = self.moved.checked_sub(1) else { return };
        let len = self.lens.get(row).copied().unwrap_or(0) as usize;
        let (from, to) = (row.saturating_mul(self.room_before), row.saturating_mul(self.room));
        let distance = to.saturating_sub(from);
        if let Some(both) = self.entries.get_mut(from..to.saturating_add(len))
            && len <= both.len()
            && distance <= both.len().wrapping_sub(len)
        {
            both.copy_within(..len, distance);
        }
        self.bytes_moved = self.bytes_moved.saturating_add(len.saturating_mul(size_of::<Packed>()));
        self.moved = row;
    }
}

#[inline]
fn row_of(hash: u32) -> usize {
    (hash >> (u32::BITS - ROW_BITS)) as usize
}

#[inline]
fn pack(entry: u32) -> Packed {
    let [_, first, second, third] = entry.to_be_bytes();
    [first, second, third]
}

#[inline]
fn unpack([first, second, third]: Packed) -> u32 {
    u32::from_be_bytes([0, first, second, third])
}

/// Where an entry is to be expected in a row, since hashes are spread evenly.
#[inline]
fn expected_at(row: &[Packed], entry: u32) -> usize {
    ((row.len() as u64).wrapping_mul(entry.into()) >> ENTRY_BITS) as usize
}

/// The place of the first entry that is not less than `entry`: searched from where it is expected, in steps that double.
#[inline]
fn lower_bound(row: &[Packed], entry: u32) -> usize {
    let is_less = |at: usize| row.get(at).is_some_and(|found| unpack(*found) < entry);
    let expected = expected_at(row, entry);
    let mut step = 4;
    // All before `from` are less than the entry, and none from `to` on.
    let (mut from, mut to) = (0, row.len());
    if is_less(expected) {
        from = expected.saturating_add(1);
        loop {
            let next = from.saturating_add(step);
            if !is_less(next) {
                to = next.min(to);
                break;
            }
            from = next.saturating_add(1);
            step = step.saturating_mul(2);
        }
    } else {
        to = expected.min(to);
        while let Some(next) = to.checked_sub(step) {
            if is_less(next) {
                from = next.saturating_add(1);
                break;
            }
            to = next;
            step = step.saturating_mul(2);
        }
    }
    from.saturating_add(row.get(from..to).unwrap_or(&[]).partition_point(|found| unpack(*found) < entry))
}

#[cfg(test)]
mod tests;
