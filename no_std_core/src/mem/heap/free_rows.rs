//! The free places of a pool that owns its memory.

use alloc::vec::Vec;

/// Free places in rows of 64: they are taken from one row, the lowest first, until it has none left.
///
/// So what is taken one after the other lies one beside the other, in whatever order the places came back. When a message
/// goes to a thousand subscribers, each of them ends its deliveries at another time; a list of places, the last one first,
/// would scatter the next deliveries over all the memory that was ever used, and each would be a cache miss.
#[derive(Debug, Default)]
pub(in crate::mem) struct FreeRows {
    rows: Vec<Row>,
    /// The number plus one of the first row in the list of those with a free place; 0: there is none.
    first: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// A bit for each free place.
    free: u64,
    /// The number plus one of the next row in the list.
    next: u32,
}

/// Places in a row.
const PLACES: usize = u64::BITS as usize;

/// Bytes that a pool of so many places takes to remember which of them are free.
pub(crate) const fn free_list_bytes(places: usize) -> usize {
    places.div_ceil(PLACES).saturating_mul(size_of::<Row>())
}

impl FreeRows {
    /// Makes room to remember the first `places` places; those that are new are not free. False if the allocator refuses.
    pub(in crate::mem) fn grow_to(&mut self, places: usize) -> bool {
        let rows = places.div_ceil(PLACES);
        if rows > self.rows.len() {
            if self.rows.try_reserve(rows.saturating_sub(self.rows.len())).is_err() {
                return false;
            }
            self.rows.resize(rows, Row::default());
        }
        true
    }

    /// A free place, which is not free any more.
    #[inline]
    pub(in crate::mem) fn take(&mut self) -> Option<usize> {
        let number = self.first.checked_sub(1)? as usize;
        let row = self.rows.get_mut(number)?;
        let place = row.free.trailing_zeros();
        row.free &= row.free.wrapping_sub(1);
        if row.free == 0 {
            self.first = row.next;
        }
        // A row that is there begins within the address space.
        Some(number.wrapping_mul(PLACES) | place as usize)
    }

    /// `place`, which is not free, is free from now on.
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
            // Phases that mostly free alternate with phases that mostly take.
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

    /// Deliveries of a fan-out end subscriber after subscriber; with a list of places those of the next message lay
    /// scattered, and 1,000 subscribers cost twice as much for each as 100.
    #[test]
    fn places_taken_together_lie_together_in_whatever_order_they_came_back() {
        let (messages, subscribers) = (64, 1000);
        let mut free = FreeRows::default();
        assert!(free.grow_to(messages * subscribers));
        for subscriber in 0..subscribers {
            // One that does not read keeps its deliveries.
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
