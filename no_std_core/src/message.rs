//! A stored Application Message: kept once, referred to by every queue that holds it.

use crate::codec::QoS;
use crate::storage::{Blob, Bytes, Handle, Linked, Pool};
use crate::time::Instant;

/// An Application Message in the pool. Its body is one blob: topic, then the wire bytes of the properties that are
/// forwarded unchanged, then the payload.
#[derive(Clone, Copy, Debug, Default)]
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
}

impl Message {
    pub(crate) fn payload_len(&self) -> u32 {
        self.body.len().saturating_sub(u32::from(self.topic_len)).saturating_sub(self.properties_len)
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

/// One message on its way to one Session, or to the group of a shared subscription.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery {
    next: Option<Handle<Delivery>>,
    /// `None` once the receiver has the message and only the handshake of QoS 2 is left.
    pub(crate) message: Option<Handle<Message>>,
    /// 0 where the subscription has no Subscription Identifier.
    pub(crate) identifier: u32,
    /// 0 until it is first transmitted, and for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) qos: QoS,
    pub(crate) flags: DeliveryFlags,
}

/// What else there is to say of a [`Delivery`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeliveryFlags {
    /// The RETAIN flag the subscriber gets.
    pub(crate) retain: bool,
    /// It came through a shared subscription: never merged with the Session's other subscriptions.
    pub(crate) shared: bool,
    /// Not a message but one more Subscription Identifier of the delivery before it.
    pub(crate) more: bool,
    /// PUBREC has come: PUBREL is what is sent again `[MQTT-4.3.3-5]`.
    pub(crate) received: bool,
}

impl Linked for Delivery {
    fn next(&self) -> Option<Handle<Self>> {
        self.next
    }

    fn set_next(&mut self, next: Option<Handle<Self>>) {
        self.next = next;
    }
}

/// The pool of Application Messages with the bytes they stand in.
pub(crate) struct Messages<'m> {
    pool: Pool<'m, Message>,
}

impl<'m> Messages<'m> {
    pub(crate) fn new(pool: Pool<'m, Message>) -> Self {
        Self { pool }
    }

    /// Stores a message with no reference yet: follow with [`Messages::hold`] or [`Messages::discard_unheld`].
    pub(crate) fn store(&mut self, bytes: &mut Bytes<'m>, draft: Message, parts: &[&[u8]]) -> Option<Handle<Message>> {
        if self.pool.is_full() {
            return None;
        }
        let body = bytes.store(parts)?;
        self.insert(bytes, Message { body, references: 0, ..draft })
    }

    /// As [`Messages::store`] for a body that is in memory already.
    pub(crate) fn insert(&mut self, bytes: &mut Bytes<'m>, message: Message) -> Option<Handle<Message>> {
        let stored = self.pool.insert(message);
        if stored.is_none() {
            bytes.release(message.body);
        }
        stored
    }

    pub(crate) fn get(&self, handle: Handle<Message>) -> &Message {
        &self.pool[handle]
    }

    pub(crate) fn hold(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_add(1);
    }

    /// Takes one reference away; the last one gives the memory back.
    pub(crate) fn release(&mut self, bytes: &mut Bytes<'m>, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.references = message.references.saturating_sub(1);
        self.discard_unheld(bytes, handle);
    }

    /// Gives the memory back if nothing refers to the message.
    pub(crate) fn discard_unheld(&mut self, bytes: &mut Bytes<'m>, handle: Handle<Message>) {
        if self.pool[handle].references == 0 {
            let message = self.pool.remove(handle);
            bytes.release(message.body);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pool.len()
    }
}
