//! The free places of a pool that owns its memory.

use alloc::vec::Vec;

/// Free places in blocks of 64: they are taken from one block, the lowest first, until it has none left.
///
/// So what is taken one after the other lies one beside the other, in whatever order the places came back. When a message
/// goes to a thousand subscribers, each of them ends its deliveries at another time; a list of places, the last one first,
/// would scatter the next deliveries over all the memory that was ever used, and each would be a cache miss.
#[derive(Debug, Default)]
pub(super) struct Vacancies {
    blocks: Vec<Block>,
    /// The number plus one of the first block in the list of those with a free place; 0: there is none.
    first: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// A bit for each free place.
    free: u64,
    /// The number plus one of the next block in the list.
    next: u32,
}

/// Places in a block.
const PLACES: usize = u64::BITS as usize;

/// Bytes that a pool of so many places takes to remember which of them are free.
pub(crate) const fn vacancy_bytes(places: usize) -> usize {
    places.div_ceil(PLACES).saturating_mul(size_of::<Block>())
}

impl Vacancies {
    /// Makes room to remember the first `places` places; those that are new are not free. False if the allocator refuses.
    pub(super) fn grow_to(&mut self, places: usize) -> bool {
        let blocks = places.div_ceil(PLACES);
        if blocks > self.blocks.len() {
            if self.blocks.try_reserve(blocks - self.blocks.len()).is_err() {
                return false;
            }
            self.blocks.resize(blocks, Block::default());
        }
        true
    }

    /// A free place, which is not free any more.
    #[inline]
    pub(super) fn take(&mut self) -> Option<usize> {
        let number = self.first.checked_sub(1)? as usize;
        let block = self.blocks.get_mut(number)?;
        let place = block.free.trailing_zeros();
        block.free &= block.free.wrapping_sub(1);
        if block.free == 0 {
            self.first = block.next;
        }
        Some(number * PLACES + place as usize)
    }

    /// `place`, which is not free, is free from now on.
    #[inline]
    pub(super) fn put(&mut self, place: usize) {
        let number = place / PLACES;
        let Some(block) = self.blocks.get_mut(number) else {
            debug_assert!(false, "there is no place {place}");
            return;
        };
        if block.free == 0 {
            block.next = self.first;
            self.first = number as u32 + 1;
        }
        block.free |= 1 << (place % PLACES);
    }

    /// Forgets all free places.
    pub(super) fn clear(&mut self) {
        self.blocks.fill(Block::default());
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::super::testing::Random;
    use super::*;

    #[test]
    fn it_behaves_like_a_set() {
        let mut vacancies = Vacancies::default();
        assert!(vacancies.take().is_none() && vacancies.grow_to(500) && vacancies.take().is_none());
        let mut model = BTreeSet::new();
        let mut random = Random::new(5);
        for step in 0..50_000 {
            // Phases that mostly free alternate with phases that mostly take.
            let free = if (step / 1000) % 2 == 0 { 70 } else { 30 };
            if random.below(100) < free {
                let place = random.below(500);
                if model.insert(place) {
                    vacancies.put(place);
                }
            } else {
                match vacancies.take() {
                    Some(place) => assert!(model.remove(&place), "a place that was not free was given out"),
                    None => assert!(model.is_empty(), "places were forgotten"),
                }
            }
        }
        vacancies.clear();
        assert_eq!(vacancies.take(), None);
    }

    /// Deliveries of a fan-out end subscriber after subscriber; with a list of places those of the next message lay
    /// scattered, and 1,000 subscribers cost twice as much for each as 100.
    #[test]
    fn what_is_taken_together_lies_together_in_whatever_order_it_came_back() {
        let (messages, subscribers) = (64, 1000);
        let mut vacancies = Vacancies::default();
        assert!(vacancies.grow_to(messages * subscribers));
        for subscriber in 0..subscribers {
            // One that does not read keeps its deliveries.
            for message in (0..messages).filter(|_| subscriber != 500) {
                vacancies.put(message * subscribers + subscriber);
            }
        }
        let taken: Vec<_> = core::iter::from_fn(|| vacancies.take()).collect();
        assert_eq!(taken.len(), messages * (subscribers - 1));
        let together = taken.windows(2).filter(|pair| (1..3).contains(&pair[1].wrapping_sub(pair[0]))).count();
        assert!(together >= taken.len() - messages * subscribers / PLACES, "{together} of {}", taken.len());
    }
}
