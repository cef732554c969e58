//! Lists through the entries of a pool.
//!
//! The links are fields of the entry. If a type is in several lists at once, a marker type tells them apart: `links!(Linked<ByNode>
//! for Subscription: next)`, and the list is a `List<Subscription, ByNode>`.

use core::fmt;
use core::marker::PhantomData;

use super::{Handle, Pool, one_more};

/// An entry that can be in a list; `L` names the list if the entry can be in more than one.
pub(crate) trait Linked<L = ()>: Sized {
    /// The entry behind this one.
    fn next(&self) -> Option<Handle<Self>>;
    /// Changes the entry behind this one.
    fn set_next(&mut self, next: Option<Handle<Self>>);
}

/// An entry that can be removed from the middle of a list in O(1).
pub(crate) trait DoublyLinked<L = ()>: Linked<L> {
    /// The entry before this one. For the first entry this is the last one. Only the list reads and writes this link.
    fn prev(&self) -> Option<Handle<Self>>;
    /// Changes the entry before this one.
    fn set_prev(&mut self, prev: Option<Handle<Self>>);
}

/// The key by which the entries of a [`Fifo`] are sorted. It is no type parameter: sorting is rare, and its code need not exist for
/// each key.
pub(crate) type SortKey<'k, T> = &'k dyn Fn(&Pool<'_, T>, Handle<T>) -> u64;

/// A singly linked queue. An entry is in at most one list of its kind.
pub(crate) struct Fifo<T, L = ()> {
    head: Option<Handle<T>>,
    tail: Option<Handle<T>>,
    len: u32,
    kind: PhantomData<fn() -> L>,
}

impl<T, L> Fifo<T, L> {
    /// An empty queue.
    pub(crate) const EMPTY: Self = Self { head: None, tail: None, len: 0, kind: PhantomData };

    /// The first entry.
    pub(crate) const fn front(&self) -> Option<Handle<T>> {
        self.head
    }

    /// The last entry.
    pub(crate) const fn back(&self) -> Option<Handle<T>> {
        self.tail
    }

    /// The number of entries.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no entry.
    pub(crate) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }
}

impl<T: Linked<L> + Default, L> Fifo<T, L> {
    /// Adds `handle` at the end.
    pub(crate) fn push_back(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        pool[handle].set_next(None);
        match self.tail {
            Some(tail) => pool[tail].set_next(Some(handle)),
            None => self.head = Some(handle),
        }
        self.tail = Some(handle);
        self.len = one_more(self.len);
    }

    /// Removes the first entry from the queue; it stays in the pool.
    pub(crate) fn pop_front(&mut self, pool: &mut Pool<'_, T>) -> Option<Handle<T>> {
        let handle = self.head?;
        self.unlink_after(pool, None, handle);
        Some(handle)
    }

    /// Removes `handle` from the queue. `prev` is the entry before it; `None` if `handle` is the first.
    pub(crate) fn unlink_after(&mut self, pool: &mut Pool<'_, T>, prev: Option<Handle<T>>, handle: Handle<T>) {
        let next = pool[handle].next();
        pool[handle].set_next(None);
        match prev {
            Some(prev) => {
                debug_assert_eq!(pool[prev].next(), Some(handle));
                pool[prev].set_next(next);
            }
            None => {
                debug_assert_eq!(self.head, Some(handle));
                self.head = next;
            }
        }
        if self.tail == Some(handle) {
            self.tail = prev;
        }
        self.len = self.len.saturating_sub(1);
    }

    /// Adds all of `other` at the end of `self`, in O(1). Afterwards `other` is empty.
    pub(crate) fn append(&mut self, pool: &mut Pool<'_, T>, other: &mut Self) {
        let other = core::mem::take(other);
        match self.tail {
            None => *self = other,
            Some(tail) if !other.is_empty() => {
                pool[tail].set_next(other.head);
                self.tail = other.tail;
                self.len = self.len.saturating_add(other.len);
            }
            Some(_) => {}
        }
    }

    /// Sorts by `key`, the smallest first. Entries with equal keys keep their order.
    ///
    /// This is a merge sort that begins with runs of entries that are in order already, so it is linear if all are.
    pub(crate) fn sort_by_key(&mut self, pool: &mut Pool<'_, T>, key: SortKey<'_, T>) {
        // `places[n]` is empty, or a run that was merged from up to 2^n runs. Later places have earlier entries.
        let mut places = [Self::EMPTY; 32];
        loop {
            let mut run = self.take_run(pool, key);
            if run.is_empty() {
                break;
            }
            for place in &mut places {
                if place.is_empty() {
                    *place = core::mem::take(&mut run);
                    break;
                }
                run = Self::merge(pool, core::mem::take(place), run, key);
            }
            // There can't be more than 2^32 runs.
            debug_assert!(run.is_empty());
        }
        for place in places {
            let later = core::mem::take(self);
            *self = Self::merge(pool, place, later, key);
        }
    }

    /// Removes entries from the front as long as they are in order, and returns them.
    fn take_run(&mut self, pool: &mut Pool<'_, T>, key: SortKey<'_, T>) -> Self {
        let mut run = Self::EMPTY;
        while let Some(front) = self.head {
            if run.tail.is_some_and(|last| key(pool, last) > key(pool, front)) {
                break;
            }
            self.pop_front(pool);
            run.push_back(pool, front);
        }
        run
    }

    fn merge(pool: &mut Pool<'_, T>, mut first: Self, mut second: Self, key: SortKey<'_, T>) -> Self {
        let mut merged = Self::EMPTY;
        while let (Some(one), Some(two)) = (first.head, second.head) {
            let from = if key(pool, two) < key(pool, one) { &mut second } else { &mut first };
            if let Some(least) = from.pop_front(pool) {
                merged.push_back(pool, least);
            }
        }
        merged.append(pool, &mut first);
        merged.append(pool, &mut second);
        merged
    }

    /// The entries from the first to the last.
    pub(crate) fn iter<'a>(&self, pool: &'a Pool<'_, T>) -> impl Iterator<Item = Handle<T>> + use<'a, T, L> {
        core::iter::successors(self.head, |handle| pool[*handle].next())
    }
}

/// A doubly linked list of four bytes.
///
/// The list knows only its first entry. The `prev` of the first entry is the last one, so access to both ends and any removal take
/// O(1).
pub(crate) struct List<T, L = ()> {
    head: Option<Handle<T>>,
    kind: PhantomData<fn() -> L>,
}

impl<T, L> List<T, L> {
    /// An empty list.
    pub(crate) const EMPTY: Self = Self { head: None, kind: PhantomData };

    /// The first entry.
    #[inline(always)]
    pub(crate) const fn front(&self) -> Option<Handle<T>> {
        self.head
    }

    /// Whether there is no entry.
    #[inline(always)]
    pub(crate) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }
}

impl<T: DoublyLinked<L> + Default, L> List<T, L> {
    /// Adds `handle` at the end.
    pub(crate) fn push_back(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        pool[handle].set_next(None);
        match self.head {
            Some(head) => {
                let last = pool[head].prev().unwrap_or(head);
                pool[last].set_next(Some(handle));
                pool[handle].set_prev(Some(last));
                pool[head].set_prev(Some(handle));
            }
            None => {
                pool[handle].set_prev(Some(handle));
                self.head = Some(handle);
            }
        }
    }

    /// Adds `handle` at the front.
    pub(crate) fn push_front(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        match self.head {
            Some(head) => {
                let last = pool[head].prev();
                pool[handle].set_prev(last);
                pool[handle].set_next(Some(head));
                pool[head].set_prev(Some(handle));
                self.head = Some(handle);
            }
            None => self.push_back(pool, handle),
        }
    }

    /// Removes `handle`, which must be in this list; it stays in the pool.
    pub(crate) fn unlink(&mut self, pool: &mut Pool<'_, T>, handle: Handle<T>) {
        let (prev, next) = (pool[handle].prev(), pool[handle].next());
        pool[handle].set_prev(None);
        pool[handle].set_next(None);
        if self.head == Some(handle) {
            self.head = next;
        } else if let Some(prev) = prev {
            pool[prev].set_next(next);
        }
        // The entry behind gets the `prev` of this one. If this was the last entry, the first entry gets it.
        if let Some(behind) = next.or(self.head) {
            pool[behind].set_prev(prev);
        }
    }

    /// The entries from the first to the last.
    pub(crate) fn iter<'a>(&self, pool: &'a Pool<'_, T>) -> impl Iterator<Item = Handle<T>> + use<'a, T, L> {
        core::iter::successors(self.head, |handle| pool[*handle].next())
    }
}

// Not derived, because a derived impl would require the same trait of `T` and `L`.
impl<T, L> Clone for Fifo<T, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, L> Copy for Fifo<T, L> {}

impl<T, L> Default for Fifo<T, L> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T, L> fmt::Debug for Fifo<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fifo({:?}..={:?}, {})", self.head, self.tail, self.len)
    }
}

impl<T, L> Clone for List<T, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, L> Copy for List<T, L> {}

impl<T, L> Default for List<T, L> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<T, L> fmt::Debug for List<T, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "List({:?}..)", self.head)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec::Vec;

    use super::super::testing::{Random, with_slots};
    use super::*;

    #[derive(Clone, Default)]
    struct Item {
        next: Option<Handle<Item>>,
        prev: Option<Handle<Item>>,
    }

    impl Fifo<Item> {
        fn push_front(&mut self, pool: &mut Pool<'_, Item>, handle: Handle<Item>) {
            let mut rest = core::mem::replace(self, Self::EMPTY);
            self.push_back(pool, handle);
            self.append(pool, &mut rest);
        }
    }

    links!(Linked for Item: next);
    links!(DoublyLinked for Item: prev);

    #[test]
    fn a_fifo_behaves_like_a_deque() {
        with_slots(40, |slots| {
            let mut pool = Pool::<Item>::new(slots);
            let mut random = Random::new(2);
            let mut fifos = [Fifo::<Item>::default(); 2];
            let mut models = [VecDeque::new(), VecDeque::new()];
            for _ in 0..20_000 {
                let which = random.below(2);
                let (fifo, model) = (&mut fifos[which], &mut models[which]);
                match random.below(9) {
                    0..=2 => {
                        if let Some(handle) = pool.insert(Item::default()) {
                            fifo.push_back(&mut pool, handle);
                            model.push_back(handle);
                        }
                    }
                    3 => {
                        if let Some(handle) = pool.insert(Item::default()) {
                            fifo.push_front(&mut pool, handle);
                            model.push_front(handle);
                        }
                    }
                    4 | 5 => {
                        let popped = fifo.pop_front(&mut pool);
                        assert_eq!(popped, model.pop_front());
                        popped.map(|handle| pool.remove(handle));
                    }
                    6 | 7 if !model.is_empty() => {
                        let at = random.below(model.len());
                        let prev = at.checked_sub(1).map(|before| model[before]);
                        let handle = model.remove(at).unwrap();
                        fifo.unlink_after(&mut pool, prev, handle);
                        pool.remove(handle);
                    }
                    _ => {
                        let [first, second] = &mut fifos;
                        first.append(&mut pool, second);
                        let moved = core::mem::take(&mut models[1]);
                        models[0].extend(moved);
                    }
                }
                for (fifo, model) in fifos.iter().zip(&models) {
                    assert_eq!(fifo.len(), model.len());
                    assert_eq!(fifo.is_empty(), model.is_empty());
                    assert_eq!((fifo.front(), fifo.back()), (model.front().copied(), model.back().copied()));
                    assert!(fifo.iter(&pool).eq(model.iter().copied()));
                }
            }
        });
    }

    #[test]
    fn a_fifo_is_sorted_and_equal_entries_keep_their_order() {
        with_slots(300, |slots| {
            let mut pool = Pool::<Item>::new(slots);
            let mut random = Random::new(4);
            for len in (0..20).chain([63, 64, 65, 300]) {
                let keys: Vec<usize> = (0..300).map(|_| random.below(len + 1)).collect();
                let mut fifo = Fifo::<Item>::default();
                let handles: Vec<_> = (0..len).map(|_| pool.insert(Item::default()).unwrap()).collect();
                handles.iter().for_each(|handle| fifo.push_back(&mut pool, *handle));
                fifo.sort_by_key(&mut pool, &|_, handle| keys[handle.index()] as u64);
                let mut model = handles.clone();
                model.sort_by_key(|handle| keys[handle.index()]);
                assert_eq!((fifo.front(), fifo.back()), (model.first().copied(), model.last().copied()));
                assert_eq!((fifo.len(), fifo.iter(&pool).collect::<Vec<_>>()), (len, model));
                for handle in handles {
                    pool.remove(handle);
                }
            }
        });
    }

    #[test]
    fn any_entry_can_be_removed_from_a_list() {
        with_slots(20, |slots| {
            let mut pool = Pool::<Item>::new(slots);
            let mut random = Random::new(3);
            let mut list = List::<Item>::default();
            let mut model = Vec::new();
            for _ in 0..20_000 {
                match random.below(4) {
                    0 | 1 if !model.is_empty() => {
                        let handle = model.remove(random.below(model.len()));
                        list.unlink(&mut pool, handle);
                        pool.remove(handle);
                    }
                    2 => {
                        if let Some(handle) = pool.insert(Item::default()) {
                            list.push_front(&mut pool, handle);
                            model.insert(0, handle);
                        }
                    }
                    _ => {
                        if let Some(handle) = pool.insert(Item::default()) {
                            list.push_back(&mut pool, handle);
                            model.push(handle);
                        }
                    }
                }
                assert_eq!(list.front(), model.first().copied());
                assert!(list.iter(&pool).eq(model.iter().copied()));
            }
        });
        assert_eq!(size_of::<List<Item>>(), 4);
    }
}
