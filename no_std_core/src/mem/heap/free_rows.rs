//! The free places of a pool that owns its memory.

use alloc::vec::Vec;

use super::patience::Patience;

/// The free places of a pool, in rows of 64. They are taken from one row, the lowest first, until the row has none left.
///
/// So places that are taken one after the other lie side by side, in whatever order they were freed. When a message goes
/// to a thousand subscribers, each of them ends its deliveries at another time. A list with the last freed place first
/// would scatter the next deliveries over all the memory that was ever used, and each would be a cache miss.
#[derive(Debug, Default)]
pub(in crate::mem) struct FreeRows {
    rows: Vec<Row>,
    /// The index plus one of the first row in the list of rows with a free place; 0: there is none.
    first: u32,
    patience: Patience,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// A bit for each free place.
    free: u64,
    /// The index plus one of the next row in the list; 0: there is none.
    next: u32,
}

/// The number of places in a row.
const PLACES: usize = u64::BITS as usize;

/// How many bytes a pool of so many places needs to remember which of them are free.
pub(crate) const fn free_list_bytes(places: usize) -> usize {
    places.div_ceil(PLACES).saturating_mul(size_of::<Row>())
}

impl FreeRows {
    /// Reserves memory for the state of the first `places` places. The new places are not free. False if the allocator
    /// refuses.
    pub(in crate::mem) fn grow_to(&mut self, places: usize) -> bool {
        let rows = places.div_ceil(PLACES);
        if rows > self.rows.len() {
            if self.rows.try_reserve(rows.saturating_sub(self.rows.len())).is_err() {
                return false;
            }
            self.rows.resize(rows, Row::default());
            self.patience.need();
        }
        true
    }

    /// A look at the pool found that it is, or is not, far larger than its contents. Returns whether it may give places back.
    #[inline]
    pub(in crate::mem) fn look(&mut self, is_too_large: bool) -> bool {
        self.patience.look(is_too_large)
    }

    /// The end of the places that stay if free places at the end are given back, at most about `most` of them. `end` is the end of all places.
    pub(in crate::mem) fn end_without_free(&self, end: usize, most: usize) -> usize {
        let least = end.saturating_sub(most);
        let (mut rest, mut end) = (end, end);
        while rest > least {
            let number = rest.saturating_sub(1) / PLACES;
            let Some(row) = self.rows.get(number) else { break };
            let begin = number.saturating_mul(PLACES);
            let used = rest.saturating_sub(begin) as u32;
            // The places of the row beyond the last used one count as free.
            let beyond = u64::MAX.checked_shl(used).unwrap_or(0);
            let taken = PLACES.saturating_sub((row.free | beyond).leading_ones() as usize);
            end = begin.saturating_add(taken);
            if taken > 0 {
                break;
            }
            rest = begin;
        }
        end
    }

    /// No place could be given back, because one of the last places is not free. From now on the lowest rows are used first, so that places at the
    /// end become free in time.
    pub(in crate::mem) fn fill_from_begin(&mut self) {
        self.list_from_lowest();
        self.patience.start_again();
    }

    /// Gives back the places from `end` on, which are free. From now on the lowest rows are used first.
    pub(in crate::mem) fn truncate(&mut self, end: usize) {
        self.rows.truncate(end.div_ceil(PLACES));
        self.rows.shrink_to(self.rows.len());
        if let Some(last) = self.rows.last_mut().filter(|_| !end.is_multiple_of(PLACES)) {
            last.free &= !(u64::MAX << (end % PLACES));
        }
        self.list_from_lowest();
        self.patience.give_back();
    }

    /// Puts the rows with free places into the list in the order of their places.
    fn list_from_lowest(&mut self) {
        self.first = 0;
        for (number, row) in self.rows.iter_mut().enumerate().rev().filter(|(_, row)| row.free != 0) {
            row.next = self.first;
            self.first = (number as u32).saturating_add(1);
        }
    }

    /// Takes a free place, and returns its index.
    #[inline]
    pub(in crate::mem) fn take(&mut self) -> Option<usize> {
        let number = self.first.checked_sub(1)? as usize;
        let row = self.rows.get_mut(number)?;
        let place = row.free.trailing_zeros();
        row.free &= row.free.wrapping_sub(1);
        if row.free == 0 {
            self.first = row.next;
        }
        // The row exists, so this product is an index within the address space.
        Some(number.wrapping_mul(PLACES) | place as usize)
    }

    /// Frees the place with index `place`, which is not free.
    #[inline]
    pub(in crate::mem) fn put(&mut self, place: usize) {
        let number = place / PLACES;
        let Some(row) = self.rows.get_mut(number) else {
            debug_assert!(false, "there is no place {place}");
            return;
        };
        if row.free == 0 {
            row.next = self.first;
            self.first = (number as u32).saturating_add(1);
        }
        row.free |= 1 << (place % PLACES);
    }

    /// Forgets all free places.
    pub(in crate::mem) fn clear(&mut self) {
        self.rows.fill(Row::default());
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;
    use crate::mem::testing::Random;

    #[test]
    fn free_rows_behave_like_a_set() {
        let mut free = FreeRows::default();
        assert!(free.take().is_none() && free.grow_to(500) && free.take().is_none());
        let mut model = BTreeSet::new();
        let mut random = Random::new(5);
        for step in 0..50_000 {
            // Phases that mostly free places alternate with phases that mostly take places.
            let share = if (step / 1000) % 2 == 0 { 70 } else { 30 };
            if random.below(100) < share {
                let place = random.below(500);
                if model.insert(place) {
                    free.put(place);
                }
            } else {
                match free.take() {
                    Some(place) => assert!(model.remove(&place), "a place that was not free was given out"),
                    None => assert!(model.is_empty(), "places were forgotten"),
                }
            }
        }
        free.clear();
        assert_eq!(free.take(), None);
    }

    #[test]
    fn free_places_at_the_end_are_given_back_and_those_that_stay_are_given_out_from_the_lowest_on() {
        let mut random = Random::new(6);
        for _ in 0..300 {
            let end = 1 + random.below(700);
            let mut free = FreeRows::default();
            assert!(free.grow_to(end));
            let mut all: Vec<_> = (0..end).filter(|place| *place < end / 2 || random.below(100) > 2).collect();
            for _ in 0..end {
                let (one, other) = (random.below(all.len()), random.below(all.len()));
                all.swap(one, other);
            }
            all.iter().for_each(|place| free.put(*place));
            let taken = (0..end).rev().find(|place| !all.contains(place));
            let expected = taken.map_or(0, |place| place + 1);
            assert_eq!(free.end_without_free(end, usize::MAX), expected);
            let some = free.end_without_free(end, 100);
            assert!(some >= expected && (some == expected || some <= end.saturating_sub(100)), "{some} of {end}");
            free.truncate(expected);
            assert_eq!(free.rows.len(), expected.div_ceil(PLACES));
            let left: Vec<_> = core::iter::from_fn(|| free.take()).collect();
            all.retain(|place| *place < expected);
            all.sort_unstable();
            assert_eq!(left, all);
        }
    }

    /// The deliveries of a message to many subscribers end one subscriber after the other. A bug of the past: free places
    /// were a list, so the deliveries of the next message lay scattered, and with 1,000 subscribers each cost twice as
    /// much as with 100.
    #[test]
    fn places_taken_one_after_the_other_lie_together_in_whatever_order_they_were_freed() {
        let (messages, subscribers) = (64, 1000);
        let mut free = FreeRows::default();
        assert!(free.grow_to(messages * subscribers));
        for subscriber in 0..subscribers {
            // A subscriber that does not read keeps its deliveries.
            for message in (0..messages).filter(|_| subscriber != 500) {
                free.put(message * subscribers + subscriber);
            }
        }
        let taken: Vec<_> = core::iter::from_fn(|| free.take()).collect();
        assert_eq!(taken.len(), messages * (subscribers - 1));
        let together = taken.windows(2).filter(|pair| (1..3).contains(&pair[1].wrapping_sub(pair[0]))).count();
        assert!(together >= taken.len() - messages * subscribers / PLACES, "{together} of {}", taken.len());
    }
}
