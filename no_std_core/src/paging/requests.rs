//! Which bodies are requested from the store, and what comes of that.

use super::fetch::Fetch;
use crate::engine::messages::{Delivery, Message, Messages};
use crate::mem::{Handle, Linked};

/// How many bytes are requested ahead for one client.
const AHEAD: usize = 256 << 10;

impl Messages<'_> {
    /// Requests the body of `first`, and those of up to `most` behind it in its list that will be needed soon, as far as
    /// they will find room: what has to be evicted before it is transmitted was read in vain.
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

    /// Gives the delivery behind it.
    fn request_of(&mut self, delivery: Handle<Delivery>) -> Option<Handle<Delivery>> {
        if let Some(message) = self.deliveries[delivery].message {
            self.request(message);
        }
        self.deliveries[delivery].next()
    }

    /// The body is to be fetched, if it is not in memory.
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

    /// The next body that is to be read from the store. Not everything at once: what comes has to find room.
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

    /// The store has answered. The message, if it is still there.
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

    /// The body of a message is in memory again.
    pub(super) fn put_back(&mut self, message: Handle<Message>, body: &[u8]) {
        let Some(body) = self.bytes.store_beyond(body) else { return };
        let entry = &mut self.pool[message];
        entry.body = body;
        entry.flags &= !Message::EVICTED;
        self.paging.evicted = self.paging.evicted.saturating_sub(1);
        self.make_evictable(message);
    }

    /// The body of a message can't be read.
    pub(super) fn mark_unreadable(&mut self, message: Handle<Message>) {
        self.pool[message].flags |= Message::UNREADABLE;
    }
}
