//! A table that grows.

use alloc::vec::Vec;

use super::account::{Claim, MemoryAccount, PAGED, allocated};
use super::free_rows::FreeRows;

/// A vector that grows up to a limit. Its memory is claimed before it is allocated.
#[derive(Debug)]
pub(crate) struct OwnedSlots<T> {
    /// The entries so far; never more than `limit`.
    vec: Vec<T>,
    limit: usize,
    claimed: Claimed,
}

/// The memory that a table has claimed.
#[derive(Debug)]
struct Claimed {
    account: MemoryAccount,
    bytes: usize,
    /// The bytes that an entry takes elsewhere on the heap. They are claimed with its place in the table.
    beside: usize,
    /// The bytes that a place takes in lists and tables elsewhere, which do not shrink with this table.
    lasting: usize,
    /// The most places that the table had: for so many the lasting bytes are claimed.
    most_places: usize,
}

/// The bytes that a pool takes to remember whether a place is free: a quarter of a byte, and three times as much while the pool grows.
const FREE_LIST: usize = 1;
/// A table beyond [`PAGED`] grows by one part in so many.
const GROWTH: usize = 8;
/// A table whose usual growth is refused grows by so many bytes.
const STEP: usize = 4 << 10;

impl<T: Default> OwnedSlots<T> {
    /// An empty table that grows up to `limit` entries.
    pub(in crate::mem) fn new(limit: usize) -> Self {
        let claimed =
            Claimed { account: MemoryAccount::UNBOUNDED, bytes: 0, beside: FREE_LIST, lasting: 0, most_places: 0 };
        Self { vec: Vec::new(), limit, claimed }
    }

    pub(in crate::mem) fn set_account(&mut self, account: MemoryAccount) {
        debug_assert!(self.vec.capacity() == 0, "what is there already was not claimed");
        self.claimed.account = account;
    }

    /// See [`Slots::is_in_share`](crate::mem::Slots).
    pub(in crate::mem) fn is_in_share(&self, holds: usize) -> bool {
        self.claimed.account.is_in_share(holds)
    }

    pub(in crate::mem) fn available_bytes(&self) -> usize {
        self.claimed.account.available()
    }

    pub(in crate::mem) fn add_beside(&mut self, bytes: usize) {
        debug_assert!(self.vec.capacity() == 0, "what is there already was not claimed");
        self.claimed.beside = self.claimed.beside.saturating_add(bytes);
    }

    pub(in crate::mem) fn add_lasting(&mut self, bytes: usize) {
        debug_assert!(self.vec.capacity() == 0, "what is there already was not claimed");
        self.claimed.lasting = self.claimed.lasting.saturating_add(bytes);
    }

    /// The free places of this table: none yet.
    pub(in crate::mem) fn free_rows(&self) -> FreeRows {
        FreeRows::default()
    }

    pub(in crate::mem) fn limit(&self) -> usize {
        self.limit
    }

    /// How many entries there is memory for.
    #[inline(always)]
    pub(in crate::mem) fn places(&self) -> usize {
        self.vec.capacity()
    }

    #[inline(always)]
    pub(in crate::mem) fn as_slice(&self) -> &[T] {
        &self.vec
    }

    #[inline(always)]
    pub(in crate::mem) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.vec
    }

    /// See [`Slots::grow_to`](crate::mem::Slots::grow_to).
    pub(in crate::mem) fn grow_to(&mut self, len: usize) -> bool {
        if len <= self.vec.len() {
            return true;
        }
        if !self.reserve(len, Claim::Ordinary) {
            return false;
        }
        self.vec.resize_with(len, T::default);
        true
    }

    /// Makes sure that there is memory for `len` entries. False, and nothing changed, if that is beyond the limit or refused.
    pub(in crate::mem) fn reserve(&mut self, len: usize, claim: Claim) -> bool {
        if len <= self.vec.capacity() {
            return true;
        }
        len <= self.limit && {
            let (usual, least) = (self.usual(len), self.least(len));
            // A claim from the reserve is for no more than what is needed.
            (claim != Claim::Reserved && self.grow_capacity(usual, claim))
                || ((least < usual || claim == Claim::Reserved) && self.grow_capacity(least.min(usual), claim))
        }
    }

    /// Takes all entries away, and gives their memory back.
    pub(in crate::mem) fn give_back(&mut self) {
        self.vec = Vec::new();
        self.claimed.most_places = 0;
        self.claimed.set(0);
    }

    /// Takes the entries from `len` on away, and gives their memory back, but for an eighth of what is left.
    pub(in crate::mem) fn truncate(&mut self, len: usize) {
        while self.vec.len() > len {
            self.vec.pop();
        }
        self.vec.shrink_to(len.saturating_add(len / GROWTH));
        self.claimed.set(self.bytes_of(self.vec.capacity()));
    }

    /// The bytes that are claimed for so many places.
    fn bytes_of(&self, places: usize) -> usize {
        let beside = places.saturating_mul(self.claimed.beside);
        let lasting = places.max(self.claimed.most_places).saturating_mul(self.claimed.lasting);
        allocated(places.saturating_mul(size_of::<T>())).saturating_add(beside).saturating_add(lasting)
    }

    /// The number of places after the usual growth, where `len` are needed: twice as many places as before, or an eighth more in a large table, and
    /// never more than the limit.
    fn usual(&self, len: usize) -> usize {
        let capacity = self.vec.capacity();
        let is_large = capacity.saturating_mul(size_of::<T>()) >= PAGED;
        let more = if is_large { capacity / GROWTH } else { capacity.max(4) };
        capacity.saturating_add(more).max(len).min(self.limit)
    }

    /// The number of places after the least growth, where `len` are needed.
    fn least(&self, len: usize) -> usize {
        len.saturating_add(STEP.checked_div(size_of::<T>()).unwrap_or(0)).min(self.limit)
    }

    fn grow_capacity(&mut self, capacity: usize, claim: Claim) -> bool {
        let (before, after) = (self.claimed.bytes, self.bytes_of(capacity));
        // While the entries are copied, the memory before the growth is there too.
        let is_copied = self.vec.capacity().saturating_mul(size_of::<T>()) < PAGED;
        let more = if is_copied { after } else { after.saturating_sub(before) };
        if !self.claimed.account.take(more, claim) {
            return false;
        }
        self.claimed.bytes = before.saturating_add(more);
        let has_grown = self.vec.try_reserve_exact(capacity.saturating_sub(self.vec.len())).is_ok();
        self.claimed.set(if has_grown { after } else { before });
        if has_grown {
            self.claimed.most_places = self.claimed.most_places.max(capacity);
        }
        has_grown
    }
}

impl Claimed {
    /// Gives back what is more than `bytes`.
    fn set(&mut self, bytes: usize) {
        self.account.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ceiling::{MemoryCeiling, MemoryUse};
    use super::*;

    #[test]
    fn owned_memory_grows_to_its_limit_and_reserves_no_more() {
        let mut slots = OwnedSlots::<u8>::new(11);
        assert_eq!(slots.as_slice(), []);
        assert!(slots.grow_to(9));
        assert!(slots.grow_to(2), "shorter than it is already");
        assert_eq!(slots.as_slice().len(), 9);
        assert!(slots.grow_to(10) && slots.grow_to(11));
        assert!(!slots.grow_to(12));
        assert_eq!((slots.vec.len(), slots.vec.capacity()), (11, 11));
    }

    #[test]
    fn a_table_claims_the_bytes_that_it_grows_by_and_gives_them_back() {
        let ceiling = MemoryCeiling::new(30 << 20);
        let mut slots = OwnedSlots::<[u64; 8]>::new(usize::MAX);
        slots.set_account(MemoryAccount::under(&ceiling, MemoryUse::Sessions));
        slots.add_beside(10);
        let mut len = 0;
        while slots.grow_to(len + 1) {
            len += 1;
            let (places, taken) = (slots.places(), ceiling.taken(MemoryUse::Sessions));
            assert!((places * 75..=places * 75 + 4096 + 32).contains(&taken), "{places} {taken}");
        }
        // The table has got two thirds of the ceiling, but for a last step.
        assert!(ceiling.taken_in_all() > (20 << 20) - (8 << 10), "{}", ceiling.taken_in_all());
        assert!(ceiling.refused(MemoryUse::Sessions) > 0);
        assert!(slots.reserve(len + 1, Claim::Reserved));
        slots.give_back();
        assert_eq!((slots.places(), ceiling.taken_in_all()), (0, 0));
        assert!(slots.grow_to(5));
        drop(slots);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn a_table_that_is_cut_gives_back_the_memory_of_its_end_and_keeps_the_claim_for_what_lasts() {
        let ceiling = MemoryCeiling::new(30 << 20);
        let mut slots = OwnedSlots::<[u64; 8]>::new(usize::MAX);
        slots.set_account(MemoryAccount::under(&ceiling, MemoryUse::Sessions));
        slots.add_beside(9);
        slots.add_lasting(5);
        assert!(slots.grow_to(100_000));
        let lasting = slots.places() * 5;
        slots.truncate(8_000);
        assert_eq!((slots.as_slice().len(), slots.places()), (8_000, 9_000));
        assert_eq!(ceiling.taken_in_all(), lasting + 9_000 * 10 + allocated(9_000 * 64));
        assert!(slots.grow_to(90_000));
        assert!((90_000 * 74 + lasting..100_000 * 74 + lasting).contains(&ceiling.taken_in_all()));
        drop(slots);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    /// A table that doubles needs three times its size for a moment.
    #[test]
    fn a_large_table_grows_by_an_eighth_and_a_small_table_claims_memory_for_its_copy() {
        let ceiling = MemoryCeiling::new(250 << 10);
        let mut slots = OwnedSlots::<u64>::new(usize::MAX);
        slots.set_account(MemoryAccount::under(&ceiling, MemoryUse::Sessions));
        // The table has 64 KiB. Twice as many, and the 64 KiB while they are copied, are more than two thirds of 250 KiB.
        assert!(slots.grow_to(8 << 10) && slots.reserve(9 << 10, Claim::Ordinary));
        assert!(slots.places() < 16 << 10, "{}", slots.places());
        let mut slots = OwnedSlots::<u64>::new(usize::MAX);
        assert!(slots.grow_to(40_000) && slots.grow_to(40_001));
        assert_eq!(slots.places(), 45_000);
    }
}
