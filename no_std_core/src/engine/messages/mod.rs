//! Stored Application Messages and their deliveries: a body is kept once, every queue only refers to it.

use crate::codec::QoS;
use crate::durable::record::{Identifiers, Kind};
use crate::engine::router::{Group, SHARED, Subscription};
use crate::engine::sessions::Session;
use crate::mem::{Blob, Bytes, Fifo, Handle, Pool, links};
use crate::seam::journal::Journal;
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
    /// How many of these are durable, and, as [`KEPT`], whether it is the retained one of its topic.
    pub(crate) durable: u32,
    /// As it was published; what a subscriber gets may be lower.
    pub(crate) qos: QoS,
    pub(crate) flags: u8,
    /// When its Message Expiry Interval ends; [`Instant::NEVER`] without one.
    pub(crate) expires: Instant,
    /// Its place among all messages that were handed out.
    pub(crate) order: u64,
    /// Orders the retained messages of one topic among sibling brokers. Of a message that a sibling's group gave us it is the place among
    /// that sibling's messages.
    #[cfg(feature = "alloc")]
    pub(crate) stamp: u64,
}

/// In [`Message::durable`]: one of the references is a retained entry, and durable.
const KEPT: u32 = 1 << 31;

impl Message {
    /// What fills unused memory.
    pub const EMPTY: Self = Self {
        body: Blob::EMPTY,
        topic_len: 0,
        properties_len: 0,
        references: 0,
        durable: 0,
        qos: QoS::AtMostOnce,
        flags: 0,
        expires: Instant::from_millis(0),
        order: 0,
        #[cfg(feature = "alloc")]
        stamp: 0,
    };

    /// The RETAIN flag of the PUBLISH it came in.
    pub(crate) const RETAIN: u8 = 1;
    /// The body is in the store alone.
    #[cfg(feature = "alloc")]
    pub(crate) const AWAY: u8 = 2;
    /// The body was asked for.
    #[cfg(feature = "alloc")]
    pub(crate) const ASKED: u8 = 4;
    /// A record of it is in a batch that is not safe yet.
    #[cfg(feature = "alloc")]
    pub(crate) const RECORDING: u8 = 8;
    /// The body is in memory, counts towards the budget and may be given up.
    #[cfg(feature = "alloc")]
    pub(crate) const COUNTED: u8 = 16;
    /// The body is needed at any time.
    #[cfg(feature = "alloc")]
    pub(crate) const PINNED: u8 = 32;
    /// The body is in the store alone, and can't be read there.
    #[cfg(feature = "alloc")]
    pub(crate) const LOST: u8 = 64;

    /// Whether it has to survive a restart.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable != 0
    }

    /// The RETAIN flag of the PUBLISH it came in.
    pub(crate) fn retain(&self) -> bool {
        self.flags & Self::RETAIN != 0
    }

    /// The flags of one that is made new.
    pub(crate) fn flags_of(retain: bool) -> u8 {
        if retain { Self::RETAIN } else { 0 }
    }

    /// Whether it has to survive as the retained message of its topic.
    pub(crate) fn is_kept(&self) -> bool {
        self.durable & KEPT != 0
    }

    pub(crate) fn payload_len(&self) -> u32 {
        (self.body.len() as u32).saturating_sub(u32::from(self.topic_len)).saturating_sub(self.properties_len)
    }

    /// Whole seconds left of the Message Expiry Interval, rounded up so that a live message never shows 0
    /// `[MQTT-3.3.2-6]`.
    pub(crate) fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        if self.expires == Instant::NEVER {
            return None;
        }
        Some(secs_in(self.expires.millis_since(now)))
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

/// `millis` in seconds, rounded up; `u32::MAX` where that is too much.
///
/// By hand, as on paper: 64 bits by 64 bits would bring a routine of 900 bytes to a machine that divides 32 by 32.
fn secs_in(millis: u64) -> u32 {
    const PER_SECOND: u32 = 1000;
    let Ok(high) = u32::try_from(millis >> 16) else { return u32::MAX };
    let low = (high % PER_SECOND) << 16 | (millis & 0xFFFF) as u32;
    match u16::try_from(high / PER_SECOND) {
        Ok(high) => (u32::from(high) << 16).saturating_add(low.div_ceil(PER_SECOND)),
        Err(_) => u32::MAX,
    }
}

impl Default for Message {
    fn default() -> Self {
        Self { expires: Instant::NEVER, ..Self::EMPTY }
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
    /// By the flags: the group it came through, the subscription here to a group that a sibling owns, or else further
    /// Subscription Identifiers of other subscriptions that match, a chain of deliveries without message. What came
    /// through a shared subscription has one identifier only.
    pub(crate) beside: Option<Handle<()>>,
    /// Of a durable one: whose it is, a Session's or, by the flags, a group's.
    pub(crate) owner: Option<Handle<()>>,
    /// Of a durable one: the batch it must not be transmitted before; 0: none.
    pub(crate) batch: u32,
    /// 0 for QoS 0, and until it is to be transmitted soon.
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
        beside: None,
        owner: None,
        batch: 0,
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

    const GROUP: u8 = 16;
    const FOREIGN: u8 = 32;
    /// It has to survive a restart.
    pub(crate) const DURABLE: u8 = 64;
    const OF_GROUP: u8 = 128;

    /// Whether it came through a shared subscription.
    pub(crate) fn is_shared(&self) -> bool {
        self.is(Self::GROUP | Self::FOREIGN)
    }

    /// How often it holds its message, see [`Messages`].
    #[inline]
    fn holds(&self) -> u32 {
        if cfg!(feature = "alloc") && self.is_shared() { 2 } else { 1 }
    }

    /// The shared subscription it came through: back to its group if this Session does not take it.
    pub(crate) fn group(&self) -> Option<Handle<Group>> {
        self.beside.filter(|_| SHARED && self.is(Self::GROUP)).map(Handle::cast)
    }

    /// Came through a group that a sibling owns: this is the subscription here.
    pub(crate) fn foreign(&self) -> Option<Handle<Subscription>> {
        self.beside.filter(|_| cfg!(feature = "alloc") && self.is(Self::FOREIGN)).map(Handle::cast)
    }

    /// It came through this group.
    pub(crate) fn set_group(&mut self, group: Handle<Group>) {
        self.beside = Some(group.cast());
        self.set(Self::GROUP, true);
    }

    /// It came through a group that a sibling owns.
    #[cfg(feature = "alloc")]
    pub(crate) fn set_foreign(&mut self, subscription: Handle<Subscription>) {
        self.beside = Some(subscription.cast());
        self.set(Self::FOREIGN, true);
    }

    /// It came through no shared subscription any more.
    fn forget_share(&mut self) {
        self.beside = self.beside.filter(|_| !self.is_shared());
        self.set(Self::GROUP | Self::FOREIGN, false);
    }

    fn more(&self) -> Option<Handle<Self>> {
        self.beside.filter(|_| !self.is_shared()).map(Handle::cast)
    }

    /// Of a durable one: whose it is.
    pub(crate) fn owner(&self) -> Option<Owner> {
        let owner = self.owner?;
        Some(if self.is(Self::OF_GROUP) { Owner::Group(owner.cast()) } else { Owner::Session(owner.cast()) })
    }

    /// It belongs to that one.
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.set(Self::OF_GROUP, matches!(owner, Owner::Group(_)));
        self.owner = Some(match owner {
            Owner::Session(session) => session.cast(),
            Owner::Group(group) => group.cast(),
        });
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

const _: () = assert!(size_of::<crate::mem::PoolSlot<Delivery>>() == 32);

/// In whose queue a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Session(Handle<Session>),
    Group(Handle<Group>),
}

impl Default for Delivery {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Delivery: next);

/// All stored messages, their deliveries, and the bytes they and all other texts stand in.
///
/// Invariant: a message's `references` is the number of deliveries, retained entries and Wills that hold it, and `durable` the
/// number of those among them that have to survive a restart. With the feature `alloc` deliveries through shared
/// subscriptions, and what is on its way to siblings, hold it twice: somebody may need its body at any time, so it stays
/// in memory.
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
    #[cfg(feature = "alloc")]
    pub(crate) bodies: crate::paging::residency::Bodies,
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
            #[cfg(feature = "alloc")]
            bodies: crate::paging::residency::Bodies::default(),
        }
    }

    /// Whether a published message with a body of `len` bytes leaves the reserve untouched.
    #[inline]
    fn has_room(&self, len: usize) -> bool {
        let rest = self.bytes.limit().saturating_sub(self.bytes.used());
        self.pool.available() > self.reserved && rest >= self.reserved_bytes.saturating_add(len)
    }

    /// Whether half of the places for messages, and half of those for deliveries, are free.
    #[cfg(feature = "alloc")]
    pub(crate) fn is_half_free(&self) -> bool {
        self.pool.len() < self.pool.limit() / 2 && self.deliveries.len() < self.deliveries.limit() / 2
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
        self.pool.insert(Message { body, references: 0, durable: 0, ..draft })
    }

    /// As [`Messages::store`], with a body that siblings hold too.
    #[cfg(feature = "alloc")]
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

    #[cfg(feature = "alloc")]
    pub(crate) fn set_stamp(&mut self, handle: Handle<Message>, stamp: u64) {
        self.pool[handle].stamp = stamp;
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
    #[cfg(feature = "alloc")]
    pub(crate) fn forget_retain(&mut self, handle: Handle<Message>) {
        self.pool[handle].flags &= !Message::RETAIN;
        self.note_message(handle);
    }

    /// Whether the message of a delivery has expired.
    #[cfg(feature = "alloc")]
    pub(crate) fn has_expired(&self, delivery: Handle<Delivery>, now: Instant) -> bool {
        self.deliveries[delivery].message.is_some_and(|message| self.pool[message].has_expired(now))
    }

    #[inline]
    pub(crate) fn hold(&mut self, handle: Handle<Message>) {
        self.hold_times(handle, 1);
    }

    #[inline]
    fn hold_times(&mut self, handle: Handle<Message>, times: u32) {
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
            #[cfg(feature = "alloc")]
            if message.flags & (Message::AWAY | Message::COUNTED) != 0 {
                self.forget_body(&message);
            }
            self.bytes.release(message.body);
        }
    }

    /// A delivery of `message`, which it holds; `None` if there is no memory.
    #[inline]
    pub(crate) fn deliver(&mut self, delivery: Delivery) -> Option<Handle<Delivery>> {
        let handle = self.deliveries.insert(delivery)?;
        if let Some(message) = delivery.message {
            self.hold_times(message, delivery.holds());
        }
        Some(handle)
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
        #[cfg(feature = "alloc")]
        let held_twice = entry.message.filter(|_| entry.is_shared());
        entry.forget_share();
        self.note(handle);
        #[cfg(feature = "alloc")]
        if let Some(message) = held_twice {
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

    /// A delivery has changed in a way that has to survive, if it has to at all. One of QoS 2 waits until that is safe.
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

    /// Puts a message back into its slot after a restart, held by nobody.
    pub(crate) fn restore(&mut self, slot: usize, draft: Message, body: &[u8]) -> Option<Handle<Message>> {
        let body = self.bytes.store(&[body])?;
        match self.pool.restore(slot, Message { body, references: 0, durable: 0, ..draft }) {
            Some(handle) => {
                #[cfg(feature = "alloc")]
                self.count_restored(handle);
                Some(handle)
            }
            None => {
                self.bytes.release(body);
                None
            }
        }
    }

    /// Puts a delivery back into its slot, with the identifiers behind its first one, which wait there in their own form until
    /// all slots of deliveries are known. It is durable, holds its message, and is in no list.
    pub(crate) fn restore_delivery(
        &mut self,
        slot: usize,
        delivery: Delivery,
        owner: Owner,
        identifiers: Identifiers<'_>,
    ) -> Option<Handle<Delivery>> {
        let handle = self.deliveries.restore(slot, delivery)?;
        if let Some(message) = delivery.message {
            self.hold_times(message, delivery.holds());
            #[cfg(feature = "alloc")]
            if delivery.is_shared() {
                self.want(message);
            }
        }
        // Before the identifiers, which wait where it leaves its mark.
        self.make_durable(handle, owner);
        let mut rest = identifiers;
        self.deliveries[handle].identifier = rest.next().unwrap_or(0);
        if !delivery.is_shared()
            && !rest.0.is_empty()
            && let Some(text) = self.bytes.store(&[rest.0])
        {
            let entry = &mut self.deliveries[handle];
            (entry.beside, entry.batch) = text.into_parts();
            entry.set(Delivery::OUTSTANDING, true);
        }
        Some(handle)
    }

    /// Sorts deliveries by the places of their messages among all messages.
    pub(crate) fn sort_by_order(&mut self, queue: &mut Fifo<Delivery>) {
        let pool = &self.pool;
        queue.sort_by_key(&mut self.deliveries, &|deliveries, delivery| {
            deliveries[delivery].message.map_or(0, |message| pool[message].order)
        });
    }

    /// All slots are known: the identifiers get theirs.
    pub(crate) fn end_restoring(&mut self) {
        self.pool.end_restoring();
        self.deliveries.end_restoring();
        for slot in 0..self.deliveries.slots() {
            let handle = Handle::from_index(slot);
            if !self.deliveries.is_live(handle) || !self.deliveries[handle].is(Delivery::OUTSTANDING) {
                continue;
            }
            let entry = &mut self.deliveries[handle];
            entry.set(Delivery::OUTSTANDING, false);
            let text = Blob::from_parts((entry.beside.take(), core::mem::take(&mut entry.batch)));
            // A few at once, because they stand in the memory that grows meanwhile.
            let (mut at, mut piece, mut last) = (0, [0; 64], handle);
            while at < text.len() {
                let len = self.bytes.copy(text, at, &mut piece);
                let mut some = Identifiers(piece.get(..len).unwrap_or(&[]));
                let Some(identifier) = some.next() else { break };
                at += len - some.0.len();
                let extra = Delivery { identifier, ..Delivery::default() };
                if identifier != 0
                    && let Some(extra) = self.deliveries.insert(extra)
                {
                    self.deliveries[last].beside = Some(extra.cast());
                    last = extra;
                }
            }
            self.bytes.release(text);
        }
    }

    /// Whether a delivery has to wait until a batch is safe.
    #[inline]
    pub(crate) fn must_wait(&self, handle: Handle<Delivery>) -> bool {
        self.journal.is_unsafe(self.deliveries[handle].batch)
    }

    /// One of those that hold the message is durable. It holds it besides.
    pub(crate) fn hold_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        if message.durable == 0 {
            self.journal.mark_with_body(Kind::Message, handle.index(), message.body.len());
        }
        message.durable = message.durable.saturating_add(1);
    }

    /// It holds it no more, or is not durable any more.
    pub(crate) fn release_durably(&mut self, handle: Handle<Message>) {
        let message = &mut self.pool[handle];
        message.durable = message.durable.saturating_sub(1);
        if message.durable == 0 {
            self.journal.mark(Kind::Message, handle.index());
        }
    }

    /// The message is, or is not any more, the retained one of its topic, and that has to survive.
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
        #[cfg(feature = "alloc")]
        let is_shared = delivery.is_shared();
        let (message, mut more) = (delivery.message.take(), delivery.more());
        if more.is_some() {
            delivery.beside = None;
        }
        if let Some(message) = message {
            if is_durable {
                self.release_durably(message);
            }
            #[cfg(feature = "alloc")]
            if is_shared {
                self.release(message);
            }
            self.release(message);
        }
        while let Some(extra) = more {
            more = self.deliveries.remove(extra).more();
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
        let beside = self.deliveries[handle].beside;
        if let Some(extra) = self.deliveries.insert(Delivery { identifier, beside, ..Delivery::default() }) {
            self.deliveries[handle].beside = Some(extra.cast());
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
        // It is not, if the body is on disk: the topics that are looked for have theirs in memory.
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
        self.next = delivery.more();
        (delivery.identifier != 0).then_some(delivery.identifier)
    }
}

#[cfg(test)]
mod tests {
    use super::secs_in;

    #[test]
    fn seconds_are_rounded_up_and_end_where_32_bits_do() {
        let most = u64::from(u32::MAX) * 1000;
        for near in [0, 1000, 65_536, 1 << 32, most, 1 << 48, u64::MAX - 2000] {
            for millis in near.saturating_sub(2000)..near + 2000 {
                let seconds = u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX);
                assert_eq!(secs_in(millis), seconds, "{millis}");
            }
        }
    }
}
