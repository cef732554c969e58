//! Stored Application Messages and their deliveries. A body is stored once, and queues refer to it.

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

/// All stored messages, their deliveries, and the bytes of all texts.
///
/// Invariant: a message's `references` is the number of deliveries, retained entries and Wills that refer to it, and `durable`
/// the number of those among them that have to survive a restart. In owned memory, deliveries through shared subscriptions and
/// messages on their way to other shards hold one reference more. This pins the body: it may be needed at any time, so it is
/// not left to the store (`paging/` looks whether `references` and `durable` differ).
///
/// A part of the memory is reserved, and published messages can't use it. So when queues have filled everything else, their
/// clients can still connect, with Wills, and receive their messages.
pub(crate) struct Messages<'m> {
    pub(crate) pool: Pool<'m, Message>,
    pub(crate) deliveries: Pool<'m, Delivery>,
    pub(crate) bytes: Bytes<'m>,
    /// The marks on all durable things. They are here because each function that changes such a thing has the messages at
    /// hand.
    pub(crate) journal: Journal<'m>,
    /// How many messages and bytes only connecting clients may use.
    reserved: usize,
    reserved_bytes: usize,
    /// The memory of messages below a ceiling.
    memory: MessageMemory,
    /// What `paging/` knows of the bodies.
    pub(crate) paging: <Paging as PagingState>::OfMessages,
}

/// The reserve is one message and so many bytes for each connection, but no more than an eighth of all.
pub(crate) const RESERVED_BYTES: usize = 120;
/// In owned memory the reserve is for no more than so many connections.
const MOST_RESERVED: usize = 65_536;

impl<'m> Messages<'m> {
    /// No messages, for a broker of so many connections.
    pub(crate) fn new(
        pool: Pool<'m, Message>,
        deliveries: Pool<'m, Delivery>,
        bytes: Bytes<'m>,
        journal: Journal<'m>,
        connections: usize,
    ) -> Self {
        let connections = if OWNED { connections.min(MOST_RESERVED) } else { connections };
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

    /// Whether so many messages, with bodies of `len` bytes together, leave the reserve untouched.
    #[inline]
    fn is_within_limits(&self, messages: usize, len: usize) -> bool {
        let rest = self.bytes.limit().saturating_sub(self.bytes.used());
        self.pool.available() >= self.reserved.saturating_add(messages)
            && rest >= self.reserved_bytes.saturating_add(len)
    }

    /// Whether half of the slots for messages, and half of those for deliveries, are free.
    pub(crate) fn is_half_free(&self) -> bool {
        self.pool.len() < self.pool.limit() / 2 && self.deliveries.len() < self.deliveries.limit() / 2
    }

    /// Stores a message whose body is `parts` joined together. Nothing refers to it yet: the caller has to call
    /// [`Messages::hold`], or [`Messages::discard_unheld`] at the end. `None` if there is no memory.
    pub(crate) fn store(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if !self.has_room(parts.iter().map(|part| part.len()).sum()) {
            return None;
        }
        self.store_in_room(draft, parts)
    }

    /// As [`Messages::store`], for a Will, which may use the reserve.
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

    /// As [`Messages::store`], with a body that other shards refer to as well.
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

    /// How many slots are used or were used before.
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

    /// Removes the RETAIN flag from a message.
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

    /// Removes one reference. When it was the last one, frees the memory.
    #[inline]
    pub(crate) fn release(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_sub(1);
        if message.references == 0 {
            self.discard_unheld(handle);
        }
    }

    /// Frees the memory of a message to which nothing refers.
    pub(crate) fn discard_unheld(&mut self, handle: Handle<Message>) {
        if self.pool[handle].references == 0 {
            let message = self.pool.remove(handle);
            if message.flags & !Message::RETAIN != 0 {
                self.message_has_gone(&message);
            }
            self.bytes.release(message.body);
        }
    }

    /// Adds a delivery, which holds a reference to its message. `None` if there is no memory.
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

    /// Makes a delivery one that came through no shared subscription, so that it will not go back to the group.
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

    /// Makes a delivery durable: it has to survive a restart.
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

    /// A delivery has changed. If it is durable, marks the change to be recorded; a delivery of QoS 2 waits until the change
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

    /// Sorts deliveries by the sequence numbers of their messages.
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

    /// Counts a durable holder of the message. Its reference is counted separately.
    pub(crate) fn hold_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        if message.durable == 0 {
            self.journal.mark_with_body(Kind::Message, handle.index(), message.body.len());
        }
        message.durable = message.durable.saturating_add(1);
    }

    /// Counts a durable holder of the message less: it is gone, or is not durable any more.
    pub(crate) fn release_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.durable = message.durable.saturating_sub(1);
        if message.durable == 0 {
            self.journal.mark(Kind::Message, handle.index());
        }
    }

    /// Notes whether the message has to survive as the retained message of its topic.
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

    /// The receiver has the message; only a handshake is left of the delivery.
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

    /// Adds one more Subscription Identifier to a delivery. If there is no memory for it, it is left out.
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

    /// The length of topic, Properties and payload: the cost of a waiting delivery.
    pub(crate) fn cost(&self, handle: Handle<Delivery>) -> u32 {
        self.deliveries[handle].message.map_or(0, |message| self.get(message).body.len() as u32)
    }

    /// The topic of a waiting delivery as bytes; empty if the topic is on disk alone.
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
        // The topic of a body on disk is not in memory. Only topics of bodies in memory are searched for.
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
