//! Which bodies are evicted: those that the store is sure to have, the one that has been in memory for longest first.
//!
//! In place of an evicted body its message has only the length. The message stays durable to its end, and so its record stays. A
//! holder of the message that is not durable pins the body in memory.

use super::bodies::Bodies;
use crate::engine::messages::{Message, Messages};
use crate::mem::{Blob, Handle};
use crate::seam::journal::Batch;
use crate::seam::kind::Kind;

/// The most bodies passed over because they can't be evicted just now. Then eviction is left for the next time.
const PASSED_OVER: usize = 64;

impl Bodies {
    pub(super) fn discount(&mut self, message: &Message) {
        debug_assert!(self.count > 0 && self.bytes >= message.weight(), "what is discounted was counted");
        self.bytes = self.bytes.saturating_sub(message.weight());
        self.count = self.count.saturating_sub(1);
    }
}

impl Messages<'_> {
    /// Notes that a record of the message is in the batch that is being gathered.
    pub(super) fn note_recording(&mut self, message: Handle<Message>, batch: Batch) {
        let entry = &mut self.pool[message];
        // A Will has no place in the order yet, and is needed when it is published.
        if self.paging.budget == 0 || entry.order == 0 {
            return;
        }
        if entry.has(Message::RECORDING) {
            // With two batches under way, the broker would have to know when the later one is safe. So the body stays in memory.
            entry.flags |= Message::PINNED;
        }
        entry.flags |= Message::RECORDING;
        let name = entry.name(message.index());
        self.paging.recording.push_back((batch, name));
    }

    /// Notes that some batches are safe. The bodies in them may be evicted.
    pub(super) fn note_safe_bodies(&mut self) {
        while let Some((batch, name)) = self.paging.recording.front().copied() {
            if self.journal.is_unsafe(batch.0) {
                return;
            }
            self.paging.recording.pop_front();
            if let Some(message) = self.named(name) {
                self.pool[message].flags &= !Message::RECORDING;
                self.make_evictable(message);
            }
        }
    }

    /// Keeps the body in memory from now on, whatever the budget says.
    pub(super) fn pin(&mut self, message: Handle<Message>) {
        self.pool[message].flags |= Message::PINNED;
    }

    /// The next body to evict, if the evictable bodies exceed the budget.
    pub(super) fn next_to_evict(&mut self) -> Option<Handle<Message>> {
        let mut passed_over: usize = 0;
        while self.paging.bytes > self.budget_in_force() && passed_over < PASSED_OVER {
            let name = self.paging.evictable.pop_front()?;
            let named = self.named(name).filter(|message| self.pool[*message].has(Message::EVICTABLE));
            let Some(message) = named else { continue };
            if self.pool[message].has(Message::PINNED) {
                self.discount(message);
                continue;
            }
            if self.is_idle(message) {
                return Some(message);
            }
            self.paging.evictable.push_back(name);
            passed_over = passed_over.saturating_add(1);
        }
        None
    }

    /// What evictable bodies may take now: less than configured as the memory gets short.
    pub(super) fn budget_in_force(&self) -> usize {
        let free = self.bytes.account().map_or(usize::MAX, crate::mem::heap::MemoryAccount::free);
        self.paging.budget.min(free / 4)
    }

    /// Whether only durable deliveries hold the message, and its latest record is safe.
    fn is_idle(&self, message: Handle<Message>) -> bool {
        let entry = &self.pool[message];
        let is_safe = !entry.has(Message::RECORDING) && self.journal.is_clean(Kind::Message, message.index() as u32);
        is_safe && entry.references == entry.durable
    }

    /// Evicts the body of a message that [`Self::next_to_evict`] returned, unless the body is pinned.
    pub(super) fn evict_unless_pinned(&mut self, message: Handle<Message>) {
        self.discount(message);
        let entry = &mut self.pool[message];
        if entry.has(Message::PINNED) {
            return;
        }
        entry.flags |= Message::EVICTED;
        let body = entry.body;
        entry.body = body.absent();
        self.paging.evicted = self.paging.evicted.saturating_add(1);
        self.bytes.release(body);
    }

    /// Counts the body as evictable from now on.
    pub(super) fn make_evictable(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.has(Message::EVICTABLE) {
            return;
        }
        entry.flags |= Message::EVICTABLE;
        let (name, weight) = (entry.name(message.index()), entry.weight());
        self.paging.bytes = self.paging.bytes.saturating_add(weight);
        self.paging.count = self.paging.count.saturating_add(1);
        self.paging.evictable.push_back(name);
        if self.paging.evictable.len() > self.paging.count.saturating_mul(2).saturating_add(PASSED_OVER) {
            let (pool, evictable) = (&self.pool, &mut self.paging.evictable);
            evictable.retain(|name| {
                let message = Handle::from_index(name.slot as usize);
                pool.is_live(message) && pool[message].name(message.index()) == *name
            });
        }
    }

    fn discount(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.has(Message::EVICTABLE) {
            entry.flags &= !Message::EVICTABLE;
            let message = *entry;
            self.paging.discount(&message);
        }
    }

    // ---- restoring

    /// Says that the messages in these slots, and no others, are retained. Slots beyond the table are left out: a damaged record
    /// may name any slot, and a message in such a slot cannot be restored.
    pub(crate) fn expect_retained(&mut self, slots: impl Iterator<Item = u32>) {
        let limit = self.pool.limit();
        let bits = self.paging.retained.get_or_insert_default();
        for slot in slots.filter(|slot| (*slot as usize) < limit) {
            let (word, bit) = (slot as usize / 64, slot % 64);
            if bits.len() <= word {
                bits.resize(word.saturating_add(1), 0);
            }
            if let Some(word) = bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
    }

    /// Whether a body is left in the store when its message is restored.
    pub(super) fn stays_in_store(&self, slot: usize, draft: &Message) -> bool {
        let is_in = |bits: &alloc::vec::Vec<u64>| bits.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 != 0);
        let may_be_retained = draft.retain() && self.paging.retained.as_ref().is_none_or(is_in);
        let is_needed = may_be_retained || draft.order == 0;
        self.paging.budget > 0 && self.paging.bytes >= self.budget_in_force() && !is_needed
    }

    /// Puts a message back into its slot, with a body of `len` bytes that stays in the store.
    pub(super) fn restore_evicted(&mut self, slot: usize, draft: Message, len: usize) -> Option<Handle<Message>> {
        let body = Blob::absent_of(u32::try_from(len).ok()?);
        let flags = draft.flags | Message::EVICTED;
        let message = self.pool.restore(slot, Message { body, references: 0, durable: 0, flags, ..draft })?;
        self.paging.evicted = self.paging.evicted.saturating_add(1);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use crate::{AllowAll, Broker, Capacity, Config, Memory};

    #[test]
    fn retained_slots_beyond_the_table_take_no_memory() {
        let config = Config::gateway(1);
        let mut broker =
            Broker::new(Memory::owned(&Capacity::GATEWAY, &config.limits, config.shard), config, &AllowAll);
        let limit = broker.engine.messages.pool.limit();
        let beyond = u32::try_from(limit).unwrap();
        broker.expect_retained([1, beyond - 1, beyond, u32::MAX].into_iter());
        let bits = broker.engine.messages.paging.retained.as_ref().unwrap();
        assert_eq!(bits.len(), limit.div_ceil(64));
        assert_eq!(bits.iter().map(|word| word.count_ones()).sum::<u32>(), 2);
    }
}
