//! Stored Application Messages and their deliveries: a body is kept once, every queue only refers to it.

use crate::codec::QoS;
use crate::journal::Journal;
use crate::router::Group;
use crate::storage::{Blob, Bytes, Handle, Linked, Pool};
use crate::time::Instant;
use crate::topic::TopicName;

/// An Application Message in the pool. Its body is one blob: the topic, then the wire bytes of the Properties that are
/// forwarded unchanged, then the payload.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub(crate) body: Blob,
    pub(crate) topic_len: u16,
    pub(crate) properties_len: u32,
    /// How many queues, retained entries and Wills refer to it; it goes when this is 0.
    pub(crate) references: u32,
    /// As it was published; what a subscriber gets may be lower.
    pub(crate) qos: QoS,
    /// The RETAIN flag of the PUBLISH it came in.
    pub(crate) retain: bool,
    /// When its Message Expiry Interval ends; [`Instant::NEVER`] without one.
    pub(crate) expires: Instant,
    /// Its place among all messages that were handed out.
    pub(crate) order: u64,
    /// Orders the retained messages of one topic among sibling brokers.
    #[cfg(feature = "alloc")]
    pub(crate) stamp: u64,
}

impl Message {
    /// What fills unused memory.
    pub const EMPTY: Self = Self {
        body: Blob::EMPTY,
        topic_len: 0,
        properties_len: 0,
        references: 0,
        qos: QoS::AtMostOnce,
        retain: false,
        expires: Instant::NEVER,
        order: 0,
        #[cfg(feature = "alloc")]
        stamp: 0,
    };

    pub(crate) fn payload_len(&self) -> u32 {
        (self.body.len() as u32).saturating_sub(u32::from(self.topic_len)).saturating_sub(self.properties_len)
    }

    /// Whole seconds left of the Message Expiry Interval, rounded up so that a live message never shows 0
    /// `[MQTT-3.3.2-6]`.
    pub(crate) fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        if self.expires == Instant::NEVER {
            return None;
        }
        Some(u32::try_from(self.expires.millis_since(now).div_ceil(1000)).unwrap_or(u32::MAX))
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// One message on its way to one Session, or to the group of a shared subscription.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub(crate) next: Option<Handle<Delivery>>,
    /// `None` once the receiver has the message and only the handshake of QoS 2 is left.
    pub(crate) message: Option<Handle<Message>>,
    /// The Subscription Identifier; 0 where the subscription has none.
    pub(crate) identifier: u32,
    /// Further Subscription Identifiers, of other subscriptions that match: a chain of deliveries without message.
    pub(crate) more: Option<Handle<Delivery>>,
    /// The shared subscription it came through: back to its group if this Session does not take it.
    pub(crate) group: Option<Handle<Group>>,
    /// Came through a group that a sibling owns: this is the subscription here.
    pub(crate) foreign: Option<Handle<crate::router::Subscription>>,
    /// 0 until it is first transmitted, and for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) flags: u8,
}

impl Delivery {
    /// What fills unused memory.
    pub const EMPTY: Self = Self {
        next: None,
        message: None,
        identifier: 0,
        more: None,
        group: None,
        foreign: None,
        packet_id: 0,
        qos: QoS::AtMostOnce,
        flags: 0,
    };

    /// The RETAIN flag the subscriber gets.
    pub(crate) const RETAIN: u8 = 1;
    /// PUBREC has come: PUBREL is what is sent again `[MQTT-4.3.3-5]`.
    pub(crate) const RECEIVED: u8 = 2;
    /// Transmitted on this Network Connection and not completed: it counts towards the client's Receive Maximum.
    pub(crate) const OUTSTANDING: u8 = 4;
    /// Transmitted before: DUP is set when it is sent again `[MQTT-3.3.1-1]`.
    pub(crate) const SENT: u8 = 8;

    /// Whether it came through a shared subscription.
    pub(crate) fn is_shared(&self) -> bool {
        self.group.is_some() || self.foreign.is_some()
    }

    pub(crate) fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8, on: bool) {
        if on {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Linked for Delivery {
    fn next(&self) -> Option<Handle<Self>> {
        self.next
    }

    fn set_next(&mut self, next: Option<Handle<Self>>) {
        self.next = next;
    }
}

/// All stored messages, their deliveries, and the bytes they and all other texts stand in.
///
/// Invariant: a message's `references` is the number of deliveries, retained entries and Wills that hold it.
///
/// A part of the memory is kept from what is published: when queues have filled everything, their clients can still connect,
/// Wills included, and take what waits for them.
pub(crate) struct Messages<'m> {
    pool: Pool<'m, Message>,
    pub(crate) deliveries: Pool<'m, Delivery>,
    pub(crate) bytes: Bytes<'m>,
    /// The marks on everything durable: here, because whoever changes such a thing has the messages in hand.
    pub(crate) journal: Journal<'m>,
    /// Messages and bytes that only those who connect may take.
    reserved: usize,
    reserved_bytes: usize,
}

/// The reserve is one message and so many bytes for each connection, but no more than an eighth of all.
const RESERVED_BYTES: usize = 120;

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
        Self { pool, deliveries, bytes, journal, reserved, reserved_bytes }
    }

    /// Whether a published message with a body of `len` bytes leaves the reserve untouched.
    #[inline]
    fn has_room(&self, len: usize) -> bool {
        let rest = self.bytes.limit().saturating_sub(self.bytes.used());
        self.pool.available() > self.reserved && rest >= self.reserved_bytes.saturating_add(len)
    }

    /// Stores a message whose body is `parts` together, with no reference yet: [`Messages::hold`] it, or
    /// [`Messages::discard_unheld`] at the end. `None` if there is no memory.
    pub(crate) fn store(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if !self.has_room(parts.iter().map(|part| part.len()).sum()) {
            return None;
        }
        self.store_will(draft, parts)
    }

    /// The same from the reserve.
    pub(crate) fn store_will(&mut self, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if self.pool.is_full() {
            return None;
        }
        let body = self.bytes.store(parts)?;
        self.pool.insert(Message { body, references: 0, ..draft })
    }

    /// As [`Messages::store`], with a body that siblings hold too.
    #[cfg(feature = "alloc")]
    pub(crate) fn adopt(&mut self, draft: Message, body: crate::storage::SharedBytes) -> Option<Handle<Message>> {
        if !self.has_room(body.len()) {
            return None;
        }
        let body = self.bytes.adopt(body)?;
        self.pool.insert(Message { body, references: 0, ..draft })
    }

    #[inline]
    pub(crate) fn get(&self, handle: Handle<Message>) -> &Message {
        &self.pool[handle]
    }

    pub(crate) fn len(&self) -> usize {
        self.pool.len()
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn set_stamp(&mut self, handle: Handle<Message>, stamp: u64) {
        self.pool[handle].stamp = stamp;
    }

    /// Slots in use or used before.
    pub(crate) fn slots(&self) -> usize {
        self.pool.slots()
    }

    /// The message in a slot, if its time is over.
    pub(crate) fn expired_at(&self, slot: usize, now: Instant) -> Option<Handle<Message>> {
        let handle = Handle::from_index(slot);
        (self.pool.is_live(handle) && self.pool[handle].has_expired(now)).then_some(handle)
    }

    pub(crate) fn set_order(&mut self, handle: Handle<Message>, order: u64) {
        self.pool[handle].order = order;
    }

    pub(crate) fn set_expiry(&mut self, handle: Handle<Message>, expires: Instant) {
        self.pool[handle].expires = expires;
    }

    #[inline]
    pub(crate) fn hold(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_add(1);
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
            self.bytes.release(message.body);
        }
    }

    /// A delivery of `message`, which it holds; `None` if there is no memory.
    #[inline]
    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Option<Handle<Delivery>> {
        let handle = self.deliveries.insert(delivery)?;
        if let Some(message) = delivery.message {
            self.hold(message);
        }
        Some(handle)
    }

    /// Ends a delivery that is in no list any more.
    pub(crate) fn end_delivery(&mut self, handle: Handle<Delivery>) {
        self.drop_message_of(handle);
        self.deliveries.remove(handle);
    }

    /// The receiver has the message; what is left of the delivery is a handshake.
    pub(crate) fn drop_message_of(&mut self, handle: Handle<Delivery>) {
        let delivery = &mut self.deliveries[handle];
        let (message, mut more) = (delivery.message.take(), delivery.more.take());
        if let Some(message) = message {
            self.release(message);
        }
        while let Some(extra) = more {
            more = self.deliveries.remove(extra).more;
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
        let more = self.deliveries[handle].more;
        if let Some(extra) = self.deliveries.insert(Delivery { identifier, more, ..Delivery::default() }) {
            self.deliveries[handle].more = Some(extra);
        }
    }

    /// The Subscription Identifiers of a delivery.
    pub(crate) fn identifiers(&self, handle: Handle<Delivery>) -> Identifiers<'_, 'm> {
        Identifiers { deliveries: &self.deliveries, next: Some(handle) }
    }

    /// Bytes of topic, Properties and payload: what a waiting delivery costs.
    pub(crate) fn cost(&self, handle: Handle<Delivery>) -> u32 {
        self.deliveries[handle].message.map_or(0, |message| self.get(message).body.len() as u32)
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
        true
    }
}

/// See [`Messages::identifiers`].
#[derive(Clone, Copy)]
pub(crate) struct Identifiers<'a, 'm> {
    deliveries: &'a Pool<'m, Delivery>,
    pub(crate) next: Option<Handle<Delivery>>,
}

impl Iterator for Identifiers<'_, '_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let delivery = &self.deliveries[self.next?];
        self.next = delivery.more;
        (delivery.identifier != 0).then_some(delivery.identifier)
    }
}
