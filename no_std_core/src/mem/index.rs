//! A hash index over the entries of a pool.

use super::{Handle, OWNED, Pool, Slots, one_less, one_more};

/// With so many entries, they and the subscriptions at them do not fit in the caches of a processor: levels of topics and
/// their subscriptions need some 7 MB then. In tests few entries are enough.
const VAST: u32 = if cfg!(debug_assertions) { 4 } else { 60_000 };

/// An entry that can be in a [`HashIndex`]; `L` names the index if the entry is in more than one.
pub(crate) trait Chained<L = ()>: Sized {
    /// The hash of the entry's key. It must not change while the entry is in the index.
    fn hash(&self) -> u32;
    /// The next entry in the same bucket.
    fn chain(&self) -> Option<Handle<Self>>;
    /// Changes the next entry in the same bucket.
    fn set_chain(&mut self, chain: Option<Handle<Self>>);
}

/// Finds entries by their hash: buckets of chained entries.
///
/// Inserting never fails. Owned buckets grow with the entries, one at a time (linear hashing: each new bucket takes over a
/// share of one older bucket), so the index is never rehashed as a whole. With borrowed buckets, or beyond the limit, the
/// chains grow longer instead. The first bucket is in the index itself, so the index works even without any memory.
#[derive(Debug)]
pub(crate) struct HashIndex<'m, T, L = ()> {
    /// Bucket 0.
    first: Option<Handle<T>>,
    /// Buckets 1 and up.
    rest: Slots<'m, Option<Handle<T>>>,
    /// The number of buckets in use.
    count: u32,
    /// The least power of two that is not less than `count`, minus 1.
    mask: u32,
    /// The number of entries in the index.
    len: u32,
    kind: core::marker::PhantomData<fn() -> L>,
}

impl<'m, T: Chained<L> + Default, L> HashIndex<'m, T, L> {
    /// An empty index whose buckets are `slots`, whatever their contents are.
    // A broker has six indexes; they share this code.
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    pub(crate) fn new(mut slots: Slots<'m, Option<Handle<T>>>) -> Self {
        slots.as_mut_slice().fill(None);
        let mut this = Self { first: None, rest: slots, count: 0, mask: 0, len: 0, kind: core::marker::PhantomData };
        this.set_count(this.rest.as_slice().len().saturating_add(1));
        this
    }

    /// The entry with this hash for which `is_it` is true.
    #[inline]
    pub(crate) fn find(&self, pool: &Pool<'_, T>, hash: u32, is_it: impl FnMut(&T) -> bool) -> Option<Handle<T>> {
        self.find_from(self.first(hash), pool, hash, is_it)
    }

    /// The most entries that a look-up has to pass.
    pub(crate) fn longest_chain(&self, pool: &Pool<'_, T>) -> usize {
        let length = |bucket| core::iter::successors(self.bucket(bucket), |entry| pool[*entry].chain()).count();
        (0..self.count as usize).map(length).max().unwrap_or(0)
    }

    /// Whether there are so many entries that a look-up usually waits for memory. Tables in borrowed memory never have so
    /// many.
    #[inline]
    pub(crate) fn is_vast(&self) -> bool {
        OWNED && self.len >= VAST
    }

    /// The first half of [`find`](Self::find), for a caller that has to find several entries: the first entry of the bucket.
    #[inline]
    pub(crate) fn first(&self, hash: u32) -> Option<Handle<T>> {
        self.bucket(self.bucket_of(hash))
    }

    /// The second half of [`find`](Self::find): the first entry from `first` on for which `is_it` is true.
    #[inline]
    pub(crate) fn find_from(
        &self,
        first: Option<Handle<T>>,
        pool: &Pool<'_, T>,
        hash: u32,
        mut is_it: impl FnMut(&T) -> bool,
    ) -> Option<Handle<T>> {
        let mut next = first;
        while let Some(handle) = next {
            let entry = &pool[handle];
            if entry.hash() == hash && is_it(entry) {
                return Some(handle);
            }
            next = entry.chain();
        }
        None
    }

    /// Adds an entry of the pool to the index. The entry must not be in the index already.
    pub(crate) fn insert(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        if OWNED && self.len >= self.count {
            self.split(pool);
        }
        self.len = one_more(self.len);
        let bucket = self.bucket_of(pool[handle].hash());
        self.push(pool, bucket, handle);
    }

    /// Removes an entry from the index; it stays in the pool.
    pub(crate) fn remove(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        let bucket = self.bucket_of(pool[handle].hash());
        let behind = pool[handle].chain();
        pool[handle].set_chain(None);
        let mut before = None;
        let mut next = self.bucket(bucket);
        while let Some(found) = next {
            if found == handle {
                match before {
                    Some(before) => pool[before].set_chain(behind),
                    None => self.set_bucket(bucket, behind),
                }
                self.len = one_less(self.len);
                return;
            }
            before = next;
            next = pool[found].chain();
        }
        debug_assert!(false, "removed an entry that is not in the index: {handle:?}");
    }

    /// Adds a bucket, if there is memory, and moves a part of the entries of an older bucket to it. Borrowed memory has all
    /// its buckets from the beginning.
    fn split(&mut self, pool: &mut Pool<'_, T>) {
        // `rest` has all buckets but the first, so its length is the index of the new bucket.
        if !self.rest.grow_to(self.count as usize) {
            return;
        }
        let new = self.count as usize;
        self.set_count(new.saturating_add(1));
        let old = new & (self.mask >> 1) as usize;
        let mut next = self.bucket(old);
        self.set_bucket(old, None);
        while let Some(handle) = next {
            next = pool[handle].chain();
            let bucket = self.bucket_of(pool[handle].hash());
            debug_assert!(bucket == old || bucket == new);
            self.push(pool, bucket, handle);
        }
    }

    fn push(&mut self, pool: &mut Pool<'_, T>, bucket: usize, handle: Handle<T>) {
        pool[handle].set_chain(self.bucket(bucket));
        self.set_bucket(bucket, Some(handle));
    }

    fn set_count(&mut self, count: usize) {
        self.count = u32::try_from(count).unwrap_or(u32::MAX);
        self.mask = self.count.checked_next_power_of_two().map_or(u32::MAX, |power| power.saturating_sub(1));
    }

    /// The bucket of a hash: its low bits, or one bit less if there is no such bucket yet.
    #[inline]
    fn bucket_of(&self, hash: u32) -> usize {
        let bucket = hash & self.mask;
        (if bucket < self.count { bucket } else { hash & (self.mask >> 1) }) as usize
    }

    /// The first entry in a bucket.
    #[inline]
    pub(super) fn bucket(&self, bucket: usize) -> Option<Handle<T>> {
        // For bucket 0 the index wraps around to one that `rest` does not have.
        *self.rest.as_slice().get(bucket.wrapping_sub(1)).unwrap_or(&self.first)
    }

    fn set_bucket(&mut self, bucket: usize, head: Option<Handle<T>>) {
        *self.rest.as_mut_slice().get_mut(bucket.wrapping_sub(1)).unwrap_or(&mut self.first) = head;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::{Random, with_slots};
    use super::super::{Hasher, PoolSlot};
    use super::*;

    #[derive(Clone, Default, Debug)]
    struct Item {
        key: u32,
        hash: u32,
        chain: Option<Handle<Item>>,
    }

    links!(Chained for Item: hash, chain);

    fn behaves_like_a_map(index: &mut HashIndex<'_, Item>, hash_of: impl Fn(u32) -> u32) {
        let mut memory = std::vec![PoolSlot::default(); 300];
        let mut pool = Pool::new(Slots::borrowed(&mut memory));
        let mut model = BTreeMap::new();
        let mut random = Random::new(4);
        for _ in 0..20_000 {
            let key = random.below(400) as u32;
            let hash = hash_of(key);
            let found = index.find(&pool, hash, |item| item.key == key);
            assert_eq!(found, model.get(&key).copied());
            match found {
                Some(handle) => {
                    index.remove(&mut pool, handle);
                    pool.remove(handle);
                    model.remove(&key);
                }
                None => {
                    if let Some(handle) = pool.insert(Item { key, hash, chain: None }) {
                        index.insert(&mut pool, handle);
                        model.insert(key, handle);
                    }
                }
            }
            assert_eq!((index.len as usize, index.len == 0), (model.len(), model.is_empty()));
        }
        for handle in model.into_values() {
            index.remove(&mut pool, handle);
        }
        assert_eq!(index.len, 0);
    }

    #[test]
    fn an_index_finds_what_was_inserted_and_nothing_else() {
        let hasher = Hasher::new(5);
        for buckets in [0, 1, 2, 3, 7, 8, 64, 1000] {
            with_slots(buckets, |slots| {
                behaves_like_a_map(&mut HashIndex::new(slots), |key| hasher.combine(0, key));
            });
        }
    }

    #[test]
    fn equal_hashes_are_told_apart_by_their_keys() {
        with_slots(16, |slots| behaves_like_a_map(&mut HashIndex::new(slots), |key| key % 3));
    }

    #[test]
    fn an_index_works_in_memory_that_was_used_before() {
        let mut memory = [Some(Handle::from_index(3)); 8];
        let index = HashIndex::<Item>::new(Slots::borrowed(&mut memory));
        let pool = Pool::new(Slots::EMPTY);
        assert!((0..100).all(|hash| index.find(&pool, hash, |_| true).is_none()));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn owned_buckets_keep_the_chains_short() {
        let hasher = Hasher::new(6);
        let mut pool = Pool::owned(10_000);
        let mut index = HashIndex::<Item>::owned(10_000);
        for key in 0..10_000 {
            let hash = hasher.combine(0, key);
            let handle = pool.insert(Item { key, hash, chain: None }).unwrap();
            index.insert(&mut pool, handle);
        }
        assert!(index.longest_chain(&pool) < 16);
        assert_eq!(index.count, 10_000);
    }
}
