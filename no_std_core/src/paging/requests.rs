//! Which bodies are requested from the store, and how the answers are used.

use super::fetch::Fetch;
use crate::engine::messages::{Delivery, Message, Messages};
use crate::mem::{Handle, Linked};

/// How many bytes are requested ahead for one client.
const AHEAD: usize = 256 << 10;

impl Messages<'_> {
    /// Requests the body of `first`, and the bodies of up to `most` deliveries behind it in its list that will be needed soon, as
    /// far as they will find room. A body that has to be evicted before it is transmitted would be read in vain.
    pub(super) fn request_ahead(&mut self, first: Handle<Delivery>, most: u16) {
        let mut at = self.request_of(first);
        let start = self.paging.expected;
        for _ in 0..most {
            let expected = self.paging.expected;
            let has_room = expected < self.budget_in_force() / 2 && expected.saturating_sub(start) < AHEAD;
            let Some(delivery) = at.filter(|_| has_room) else { return };
            at = self.request_of(delivery);
        }
    }

    /// Requests the body of the delivery. Returns the delivery behind it.
    fn request_of(&mut self, delivery: Handle<Delivery>) -> Option<Handle<Delivery>> {
        if let Some(message) = self.deliveries[delivery].message {
            self.request(message);
        }
        self.deliveries[delivery].next()
    }

    /// Requests the body, if it is in the store alone and not requested yet.
    pub(super) fn request(&mut self, message: Handle<Message>) {
        let entry = &mut self.pool[message];
        if entry.is_fetchable() && !entry.has(Message::REQUESTED) {
            entry.flags |= Message::REQUESTED;
            let weight = entry.weight();
            let name = entry.name(message.index());
            self.paging.requests.push_back(Fetch { name, weight: weight as u32 });
            self.paging.expected = self.paging.expected.saturating_add(weight);
        }
    }

    /// The next body that is to be read from the store. Bodies are not all fetched at once, because each has to find room.
    pub(crate) fn next_fetch(&mut self) -> Option<Fetch> {
        loop {
            let fetch = *self.paging.requests.front()?;
            let weight = fetch.weight as usize;
            let is_there = self.named(fetch.name).is_some();
            let requested = self.paging.requested.saturating_add(weight);
            if is_there && self.paging.requested > 0 && requested > self.budget_in_force() / 2 {
                return None;
            }
            self.paging.requests.pop_front();
            if is_there {
                self.paging.requested = requested;
                return Some(fetch);
            }
            self.paging.expected = self.paging.expected.saturating_sub(weight);
        }
    }

    /// Notes that the store has answered. Returns the message, if it still exists.
    pub(super) fn take_answer(&mut self, fetch: Fetch) -> Option<Handle<Message>> {
        self.paging.requested = self.paging.requested.saturating_sub(fetch.weight as usize);
        self.paging.expected = self.paging.expected.saturating_sub(fetch.weight as usize);
        let message = self.named(fetch.name)?;
        let entry = &mut self.pool[message];
        if !entry.is_fetchable() || !entry.has(Message::REQUESTED) {
            return None;
        }
        entry.flags &= !Message::REQUESTED;
        self.paging.has_arrived = true;
        Some(message)
    }

    /// Puts the body of a message back into memory.
    pub(super) fn put_back(&mut self, message: Handle<Message>, body: &[u8]) {
        let Some(body) = self.bytes.store_beyond(body) else { return };
        let entry = &mut self.pool[message];
        entry.body = body;
        entry.flags &= !Message::EVICTED;
        self.paging.evicted = self.paging.evicted.saturating_sub(1);
        self.make_evictable(message);
    }

    /// Notes that the store can't read the body of a message.
    pub(super) fn mark_unreadable(&mut self, message: Handle<Message>) {
        self.pool[message].flags |= Message::UNREADABLE;
    }
}
