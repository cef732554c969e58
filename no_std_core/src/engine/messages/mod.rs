//! Stored Application Messages and their deliveries: a body is kept once, every queue only refers to it.

#[cfg_attr(not(feature = "alloc"), path = "no_ceiling.rs")]
mod ceiling;
mod delivery;
mod message;
mod residency;

pub use delivery::Delivery;
pub(crate) use delivery::{Beside, Owner, Via};
pub use message::Message;
pub(crate) use residency::Residency;

use ceiling::MessageMemory;
use message::KEPT;

use crate::codec::QoS;
use crate::engine::neighbour_state::{Neighbour, Paging, PagingState, Shards};
use crate::mem::{Bytes, Claim, Fifo, GrowingList, Handle, OWNED, Pool};
use crate::seam::journal::Journal;
use crate::seam::kind::Kind;
use crate::time::Instant;
use crate::topic::TopicName;

/// All stored messages, their deliveries, and the bytes they and all other texts stand in.
///
/// Invariant: a message's `references` is the number of deliveries, retained entries and Wills that hold it, and `durable` the
/// number of those among them that have to survive a restart. In owned memory deliveries through shared subscriptions, and
/// what is on its way to siblings, hold it once more, which pins the body: somebody may need it at any time, so it is not
/// left to the store (`paging/` looks whether `references` and `durable` differ).
///
/// A part of the memory is kept from what is published: when queues have filled everything, their clients can still connect,
/// Wills included, and take what waits for them.
pub(crate) struct Messages<'m> {
    pub(crate) pool: Pool<'m, Message>,
    pub(crate) deliveries: Pool<'m, Delivery>,
    pub(crate) bytes: Bytes<'m>,
    /// The marks on everything durable: here, because whoever changes such a thing has the messages in hand.
    pub(crate) journal: Journal<'m>,
    /// Messages and bytes that only those who connect may take.
    reserved: usize,
    reserved_bytes: usize,
    /// The memory of messages below a ceiling.
    memory: MessageMemory,
    /// What paging knows of their bodies.
    pub(crate) paging: <Paging as PagingState>::OfMessages,
}

/// The reserve is one message and so many bytes for each connection, but no more than an eighth of all.
pub(crate) const RESERVED_BYTES: usize = 120;

impl<'m> Messages<'m> {
    /// Nothing stored, for a broker of so many connections.
    pub(crate) fn new(
        pool: Pool<'m, Message>,
        deliveries: Pool<'m, Delivery>,
        bytes: Bytes<'m>,
        journal: Journal<'m>,
        connections: usize,
    ) -> Self {
        let reserved = connections.min(pool.limit() / 8);
        let reserved_bytes = connections.saturating_mul(RESERVED_BYTES).min(bytes.limit() / 8);
        Self {
            pool,
            deliveries,
            bytes,
            journal,
            reserved,
            reserved_bytes,
            memory: Default::default(),
            paging: Default::default(),
        }
    }

    /// Whether a published message with a body of `len` bytes leaves the reserve untouched.
    #[inline]
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        if OWNED { self.has_memory(len) } else { self.is_within_limits(1, len) }
    }

    /// Whether so many messages, with bodies of `len` bytes together, leave the reserve untouched.
    #[inline]
    fn is_within_limits(&self, messages: usize, len: usize) -> bool {
        let rest = self.bytes.limit().saturating_sub(self.bytes.used());
        self.pool.available() >= self.reserved.saturating_add(messages)
            && rest >= self.reserved_bytes.saturating_add(len)
    }

    /// Whether half of the places for messages, and half of those for deliveries, are free.
    pub(crate) fn is_half_free(&self) -> bool {
        self.pool.len() < self.pool.limit() / 2 && self.deliveries.len() < self.deliveries.limit() / 2
    }

    /// Stores a message whose body is `parts` together, with no reference yet: [`Messages::hold`] it, or
    /// [`Messages::discard_unheld`] at the end. `None` if there is no memory.
    pub(crate) fn store(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if !self.has_room(parts.iter().map(|part| part.len()).sum()) {
            return None;
        }
        self.store_in_room(draft, parts)
    }

    /// The same for a Will, which may take the reserve. Below a ceiling on memory only a short Will may take it.
    pub(crate) fn store_will(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if !self.has_memory_for_will(parts.iter().map(|part| part.len()).sum()) {
            return None;
        }
        self.store_in_room(draft, parts)
    }

    fn store_in_room(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if self.pool.is_full() {
            return None;
        }
        let body = self.bytes.store(parts)?;
        self.pool.insert(Message { body, references: 0, durable: 0, ..draft })
    }

    /// As [`Messages::store`], with a body that siblings hold too.
    pub(crate) fn adopt(&mut self, draft: Message, body: crate::mem::SharedBytes) -> Option<Handle<Message>> {
        if !self.has_room(body.len()) {
            return None;
        }
        let body = self.bytes.adopt(body)?;
        let flags = draft.flags & Message::RETAIN;
        self.pool.insert(Message { body, references: 0, durable: 0, flags, ..draft })
    }

    #[inline]
    pub(crate) fn get(&self, handle: Handle<Message>) -> &Message {
        &self.pool[handle]
    }

    pub(crate) fn live(&self, handle: Handle<Message>) -> Option<&Message> {
        self.pool.is_live(handle).then(|| &self.pool[handle])
    }

    pub(crate) fn len(&self) -> usize {
        self.pool.len()
    }

    pub(crate) fn set_stamp(&mut self, handle: Handle<Message>, stamp: <Shards as Neighbour>::OfMessage) {
        self.pool[handle].shards = stamp;
        self.note_message(handle);
    }

    /// Slots in use or used before.
    pub(crate) fn slots(&self) -> usize {
        self.pool.slots()
    }

    pub(crate) fn set_order(&mut self, handle: Handle<Message>, order: u64) {
        self.pool[handle].order = order;
        self.note_message(handle);
    }

    pub(crate) fn set_expiry(&mut self, handle: Handle<Message>, expires: Instant) {
        self.pool[handle].expires = expires;
        self.note_message(handle);
    }

    /// The message is one without RETAIN from now on.
    pub(crate) fn forget_retain(&mut self, handle: Handle<Message>) {
        self.pool[handle].flags &= !Message::RETAIN;
        self.note_message(handle);
    }

    /// Whether the message of a delivery has expired.
    pub(crate) fn has_expired(&self, delivery: Handle<Delivery>, now: Instant) -> bool {
        self.deliveries[delivery].message.is_some_and(|message| self.pool[message].has_expired(now))
    }

    #[inline]
    pub(crate) fn hold(&mut self, handle: Handle<Message>) {
        self.hold_times(handle, 1);
    }

    #[inline]
    pub(crate) fn hold_times(&mut self, handle: Handle<Message>, times: u32) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_add(times);
    }

    /// Takes one reference away; with the last one the memory is given back.
    #[inline]
    pub(crate) fn release(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_sub(1);
        if message.references == 0 {
            self.discard_unheld(handle);
        }
    }

    /// Gives the memory back if nothing refers to the message.
    pub(crate) fn discard_unheld(&mut self, handle: Handle<Message>) {
        if self.pool[handle].references == 0 {
            let message = self.pool.remove(handle);
            if message.flags & !Message::RETAIN != 0 {
                self.message_has_gone(&message);
            }
            self.bytes.release(message.body);
        }
    }

    /// A delivery of `message`, which it holds; `None` if there is no memory.
    #[inline]
    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Option<Handle<Delivery>> {
        let mut inserted = self.deliveries.insert(delivery);
        if OWNED && inserted.is_none() {
            inserted = self.insert_from_reserve(delivery);
        }
        let handle = inserted?;
        if let Some(message) = delivery.message {
            self.hold_times(message, delivery.holds());
        }
        Some(handle)
    }

    /// Whoever is to get a message has room for it: if need be, it is from the reserve.
    #[cold]
    fn insert_from_reserve(&mut self, delivery: Delivery) -> Option<Handle<Delivery>> {
        let wanted = self.deliveries.len().saturating_add(1);
        if self.deliveries.reserve(wanted, Claim::Reserved) { self.deliveries.insert(delivery) } else { None }
    }

    /// Ends a delivery that is in no list any more.
    pub(crate) fn end_delivery(&mut self, handle: Handle<Delivery>) {
        if self.deliveries[handle].is(Delivery::DURABLE) {
            self.journal.mark(Kind::Delivery, handle.index());
        }
        self.drop_message_of(handle);
        self.deliveries.remove(handle);
    }

    /// A delivery came through no shared subscription any more: it does not go back there.
    pub(crate) fn forget_share(&mut self, handle: Handle<Delivery>) {
        let entry = &mut self.deliveries[handle];
        let pinned = entry.message.filter(|_| entry.pins_body());
        if entry.is_shared() {
            entry.set_beside(Beside::Nothing);
        }
        self.note(handle);
        if let Some(message) = pinned {
            self.release(message);
        }
    }

    /// A delivery has to survive a restart from now on.
    pub(crate) fn make_durable(&mut self, handle: Handle<Delivery>, owner: Owner) {
        let delivery = &mut self.deliveries[handle];
        debug_assert!(!delivery.is(Delivery::DURABLE));
        delivery.set(Delivery::DURABLE, true);
        delivery.set_owner(owner);
        if let Some(message) = delivery.message {
            self.hold_durably(message);
        }
        self.note(handle);
    }

    /// A delivery has changed: if it is durable, the change has to survive. A delivery of QoS 2 waits until the change
    /// is safe.
    #[inline]
    pub(crate) fn note(&mut self, handle: Handle<Delivery>) {
        let delivery = &mut self.deliveries[handle];
        if delivery.is(Delivery::DURABLE) {
            self.journal.mark(Kind::Delivery, handle.index());
            if delivery.qos == QoS::ExactlyOnce {
                delivery.batch = self.journal.gathering();
            }
        }
    }

    /// Sorts deliveries by the places of their messages among all messages.
    pub(crate) fn sort_by_order(&mut self, queue: &mut Fifo<Delivery>) {
        let pool = &self.pool;
        queue.sort_by_key(&mut self.deliveries, &|deliveries, delivery| {
            deliveries[delivery].message.map_or(0, |message| pool[message].order)
        });
    }

    /// Whether a delivery has to wait until a batch is safe.
    #[inline]
    pub(crate) fn must_wait(&self, handle: Handle<Delivery>) -> bool {
        self.journal.is_unsafe(self.deliveries[handle].batch)
    }

    /// A holder of the message is durable. This is counted beside its reference.
    pub(crate) fn hold_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        if message.durable == 0 {
            self.journal.mark_with_body(Kind::Message, handle.index(), message.body.len());
        }
        message.durable = message.durable.saturating_add(1);
    }

    /// A durable holder of the message has gone, or is not durable any more.
    pub(crate) fn release_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.durable = message.durable.saturating_sub(1);
        if message.durable == 0 {
            self.journal.mark(Kind::Message, handle.index());
        }
    }

    /// Notes whether the message has to survive as the retained one of its topic.
    pub(crate) fn set_kept(&mut self, handle: Handle<Message>, kept: bool) {
        let message = &mut self.pool[handle];
        if message.is_kept() == kept {
            return;
        }
        self.journal.mark(Kind::Retained, handle.index());
        message.durable ^= KEPT;
        if message.durable & !KEPT == 0 {
            self.journal.mark_with_body(Kind::Message, handle.index(), message.body.len());
        }
    }

    fn note_message(&mut self, handle: Handle<Message>) {
        if self.pool[handle].is_durable() {
            self.journal.mark(Kind::Message, handle.index());
        }
    }

    /// The receiver has the message; what is left of the delivery is a handshake.
    pub(crate) fn drop_message_of(&mut self, handle: Handle<Delivery>) {
        let delivery = &mut self.deliveries[handle];
        let is_durable = delivery.is(Delivery::DURABLE);
        let pins_body = delivery.pins_body();
        let (message, mut beside) = (delivery.message.take(), delivery.beside());
        if let Beside::Identifiers(_) = beside {
            delivery.set_beside(Beside::Nothing);
        }
        if let Some(message) = message {
            if is_durable {
                self.release_durably(message);
            }
            if pins_body {
                self.release(message);
            }
            self.release(message);
        }
        while let Beside::Identifiers(more) = beside {
            beside = self.deliveries.remove(more).beside();
        }
    }

    /// Adds one more Subscription Identifier to a delivery; without memory for it, it is left out.
    pub(crate) fn add_identifier(&mut self, handle: Handle<Delivery>, identifier: u32) {
        if identifier == 0 {
            return;
        }
        if self.deliveries[handle].identifier == 0 {
            self.deliveries[handle].identifier = identifier;
            return;
        }
        debug_assert!(!self.deliveries[handle].is_shared());
        let mut first = Delivery { identifier, ..Delivery::default() };
        first.set_beside(self.deliveries[handle].beside());
        if let Some(first) = self.deliveries.insert(first) {
            self.deliveries[handle].set_beside(Beside::Identifiers(first));
        }
    }

    /// The Subscription Identifiers of a delivery.
    pub(crate) fn identifiers(&self, handle: Handle<Delivery>) -> SubscriptionIdentifiers<'_, 'm> {
        SubscriptionIdentifiers { deliveries: &self.deliveries, next: Some(handle) }
    }

    /// Bytes of topic, Properties and payload: what a waiting delivery costs.
    pub(crate) fn cost(&self, handle: Handle<Delivery>) -> u32 {
        self.deliveries[handle].message.map_or(0, |message| self.get(message).body.len() as u32)
    }

    /// The topic of a delivery that waits, as bytes in a list that may grow; nothing if it is on disk.
    pub(crate) fn topic_of(&self, delivery: Handle<Delivery>) -> GrowingList<u8> {
        let mut text = GrowingList::default();
        if let Some(message) = self.deliveries[delivery].message {
            let Message { body, topic_len, .. } = *self.get(message);
            self.bytes.chunks(body, 0..usize::from(topic_len)).flatten().for_each(|byte| text.push(*byte));
        }
        text
    }

    pub(crate) fn has_topic(&self, message: Handle<Message>, topic: TopicName<'_>) -> bool {
        let message = self.get(message);
        let mut rest = topic.as_str().as_bytes();
        if usize::from(message.topic_len) != rest.len() {
            return false;
        }
        for chunk in self.bytes.chunks(message.body, 0..usize::from(message.topic_len)) {
            match rest.strip_prefix(chunk) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        // A body on disk has no topic here: topics that are looked for have their bodies in memory.
        rest.is_empty()
    }
}

/// See [`Messages::identifiers`].
#[derive(Clone, Copy)]
pub(crate) struct SubscriptionIdentifiers<'a, 'm> {
    deliveries: &'a Pool<'m, Delivery>,
    pub(crate) next: Option<Handle<Delivery>>,
}

impl Iterator for SubscriptionIdentifiers<'_, '_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let delivery = &self.deliveries[self.next?];
        self.next = if let Beside::Identifiers(more) = delivery.beside() { Some(more) } else { None };
        (delivery.identifier != 0).then_some(delivery.identifier)
    }
}
