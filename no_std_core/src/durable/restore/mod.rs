//! Records taken back after a restart.

use crate::codec::QoS;
use crate::durable::record::{self, Kind, Receiver, Record, Through, Value};
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Message, Owner};
use crate::engine::neighbours::Siblings;
use crate::engine::router::{Retained, RetainedCursor, SubscriptionOptions};
use crate::engine::sessions::{Session, StoredWill};
use crate::mem::Handle;
use crate::seam::authorize::Principal;
use crate::seam::counters::Dropped;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// Why [`Broker::restore`](crate::Broker::restore) left a record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The broker has clients already.
    TooLate,
    /// There is no memory for it, its slot is taken or beyond the table, or nothing is durable here.
    NoRoom,
    /// There is the same already.
    Duplicate,
    /// It refers to something that is not there, or says what can't be.
    Invalid,
}

impl core::fmt::Display for Unfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLate => "the broker has clients already",
            Self::NoRoom => "there is no room for it",
            Self::Duplicate => "there is one already",
            Self::Invalid => "it refers to nothing, or says what can't be",
        })
    }
}

impl core::error::Error for Unfit {}

/// What [`Broker::restored`](crate::Broker::restored) has, and what it had to drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions.
    pub sessions: u32,
    /// Subscriptions of these.
    pub subscriptions: u32,
    /// Retained messages.
    pub retained: u32,
    /// Messages on their way, those in flight included.
    pub deliveries: u32,
    /// Records that were left out, by [`Broker::restore`](crate::Broker::restore) or because they refer to nothing.
    pub dropped: u32,
}

impl Engine<'_> {
    pub(crate) fn take_back(&mut self, record: Record<'_>) -> Result<(), Unfit> {
        if self.generations > 0 {
            return Err(Unfit::TooLate);
        }
        let Record::Put(key, value) = record else {
            return Ok(());
        };
        let slot = key.slot as usize;
        if !self.messages.journal.is_on() || !self.messages.journal.mark_stored(key.kind, slot) {
            self.left_out = self.left_out.saturating_add(1);
            return Err(Unfit::NoRoom);
        }
        self.messages.journal.pause(true);
        let taken = match value {
            Value::Session(value) => self.restore_session(slot, &value),
            Value::Group(value) => self.restore_group(slot, value.filter),
            Value::Subscription(value) => self.restore_subscription(slot, &value),
            Value::Message(value) => self.restore_message(slot, &value),
            Value::Retained => self.restore_retained(Handle::from_index(slot)),
            Value::Delivery(value) => self.restore_delivery(slot, &value),
            Value::Receipt(value) => self.restore_receipt(slot, value),
            Value::Counters(value) => {
                self.counters.dropped = Dropped::of(value.dropped);
                Ok(())
            }
            #[cfg(feature = "alloc")]
            Value::Transit(value) => {
                if self.restore_transit(slot, &value) {
                    Ok(())
                } else {
                    Err(Unfit::Invalid)
                }
            }
            #[cfg(feature = "alloc")]
            Value::Sibling(value) => {
                let restored = self.mesh.restore_progress(slot, value.taken, value.sent);
                if restored { Ok(()) } else { Err(Unfit::Invalid) }
            }
        };
        self.messages.journal.pause(false);
        if taken.is_err() {
            self.messages.journal.mark(key.kind, slot);
            self.left_out = self.left_out.saturating_add(1);
        }
        taken
    }

    pub(crate) fn end_restoring(&mut self, now: Instant) -> Restored {
        self.sessions.end_restoring();
        self.router.end_restoring();
        self.receipts.end_restoring();
        // What is taken back needs no marks; what is dropped does.
        self.messages.journal.pause(true);
        self.messages.end_restoring();
        #[cfg(feature = "alloc")]
        self.messages.forget_expected();
        self.hold_wills();
        self.messages.journal.pause(false);
        self.queue_restored();
        self.drop_unheld();
        if self.config.shard.siblings() == 0 {
            self.end_empty_groups();
        }
        self.begin_replays();
        #[cfg(feature = "alloc")]
        self.greet_siblings();
        self.resume_absences(now);
        // Nobody knows under which rules that was subscribed.
        self.begin_rules();
        let counters = self.counters();
        Restored {
            sessions: counters.sessions,
            subscriptions: counters.subscriptions,
            retained: counters.retained,
            deliveries: counters.deliveries,
            dropped: core::mem::take(&mut self.left_out),
        }
    }

    fn restore_session(&mut self, slot: usize, value: &record::Session<'_>) -> Result<(), Unfit> {
        let text = value.client_id.as_bytes();
        if text.is_empty() || text.len() > usize::from(u16::MAX) {
            return Err(Unfit::Invalid);
        }
        let hash = self.hasher.hash_bytes(text);
        if self.find_session(hash, text).is_some() {
            return Err(Unfit::Duplicate);
        }
        let client_id = self.messages.bytes.store(&[text]).ok_or(Unfit::NoRoom)?;
        let Some(session) = self.sessions.restore_empty(slot) else {
            self.messages.bytes.release(client_id);
            return Err(Unfit::Duplicate);
        };
        let entry = &mut self.sessions[session];
        entry.begin(hash, client_id, Principal(value.principal));
        entry.is_durable = true;
        entry.expiry_secs = value.expiry_secs;
        entry.ends = value.ends;
        entry.will = value.will.map(|will| StoredWill {
            message: Handle::from_index(will.message as usize),
            delay_secs: will.delay_secs,
            due: will.due,
            expiry_secs: will.expiry_secs.map_or(u64::MAX, u64::from),
        });
        if value.dropped.iter().any(|count| *count > 0) {
            let lost = entry.lost.make();
            lost.dropped = Dropped::of(value.dropped);
            #[cfg(feature = "alloc")]
            {
                lost.last_packet_id = value.last_packet_id.0;
                entry.outbound.restore_last_packet_id(value.last_packet_id.0);
            }
        }
        self.session_was_made(session);
        self.session_index.insert(&mut self.sessions, session);
        Ok(())
    }

    fn restore_group(&mut self, slot: usize, filter: &str) -> Result<(), Unfit> {
        let filter = TopicFilter::new(filter).map_err(|_| Unfit::Invalid)?;
        if self.router.restore_group(slot, filter) { Ok(()) } else { Err(Unfit::NoRoom) }
    }

    fn restore_subscription(&mut self, slot: usize, value: &record::Subscription<'_>) -> Result<(), Unfit> {
        let filter = TopicFilter::new(value.filter).map_err(|_| Unfit::Invalid)?;
        let session = self.restored_session(value.session)?;
        if value.qos > 2 || value.identifier >= 1 << 28 || (value.no_local && filter.share_name().is_some()) {
            return Err(Unfit::Invalid);
        }
        let options = SubscriptionOptions {
            qos: value.qos,
            no_local: value.no_local,
            retain_as_published: value.retain_as_published,
        };
        let subscriber = self.subscriber_of(session);
        #[cfg(feature = "alloc")]
        let owned_text = self.foreign_filter(filter);
        #[cfg(feature = "alloc")]
        let kept_filter = owned_text.as_deref().map_or(filter, TopicFilter::new_checked);
        #[cfg(not(feature = "alloc"))]
        let kept_filter = filter;
        let restored = self.router.restore_subscription(slot, kept_filter, subscriber, options, value.identifier);
        let subscription = restored.ok_or(Unfit::NoRoom)?.handle;
        self.sessions[session].subscriptions += 1;
        if value.replaying && filter.share_name().is_none() {
            // It starts over, once it is known what is retained. Without memory for it there is none.
            self.insert_replay(session, subscription, filter, RetainedCursor::START);
        }
        Ok(())
    }

    fn restore_message(&mut self, slot: usize, value: &record::Message<'_>) -> Result<(), Unfit> {
        let topic = value.body.get(..usize::from(value.topic_len)).and_then(|topic| core::str::from_utf8(topic).ok());
        let is_topic = topic.is_some_and(|topic| TopicName::new(topic).is_ok());
        let properties_end = u64::from(value.topic_len) + u64::from(value.properties_len);
        let is_counted = value.order <= u64::MAX / 2;
        if !is_topic || !is_counted || properties_end > value.body.len() as u64 || value.qos > 2 {
            return Err(Unfit::Invalid);
        }
        let draft = Message {
            topic_len: value.topic_len,
            properties_len: value.properties_len,
            qos: QoS::from_bits(value.qos).unwrap_or_default(),
            flags: Message::flags_of(value.retain),
            expires: value.expires,
            order: value.order,
            #[cfg(feature = "alloc")]
            stamp: value.stamp,
            ..Message::default()
        };
        #[cfg(feature = "alloc")]
        let restored = self.restore_body(slot, draft, value.body);
        #[cfg(not(feature = "alloc"))]
        let restored = self.messages.restore(slot, draft, value.body);
        restored.ok_or(Unfit::NoRoom)?;
        self.routed = self.routed.max(value.order);
        #[cfg(feature = "alloc")]
        self.mesh.see(value.stamp);
        Ok(())
    }

    /// Of two for one topic the later one stays.
    fn restore_retained(&mut self, message: Handle<Message>) -> Result<(), Unfit> {
        let entry = self.messages.live(message).filter(|message| !message.is_kept()).ok_or(Unfit::Invalid)?;
        let order = entry.order;
        if entry.payload_len() == 0 {
            return self.restore_tombstone(message);
        }
        let kept = self.with_topic(message, |broker, topic| {
            let other = broker.router.retained_at(topic).map(|Retained(other)| other.cast());
            if other.is_some_and(|other| broker.messages.get(other).order > order) {
                return Err(Unfit::Duplicate);
            }
            broker.router.retain(topic, Retained(message.cast())).map_err(|_| Unfit::NoRoom)?;
            broker.messages.hold(message);
            broker.messages.set_kept(message, true);
            broker.expect_expiry(message);
            if let Some(other) = other {
                broker.messages.journal.pause(false);
                broker.messages.set_kept(other, false);
                broker.messages.release(other);
                broker.left_out = broker.left_out.saturating_add(1);
            }
            Ok(())
        });
        kept.unwrap_or(Err(Unfit::NoRoom))
    }

    /// Without payload it is the sign that one was removed, for siblings.
    fn restore_tombstone(&mut self, message: Handle<Message>) -> Result<(), Unfit> {
        #[cfg(feature = "alloc")]
        if self.mesh.has_siblings() {
            self.with_topic(message, |broker, topic| broker.keep_tombstone(topic, message)).ok_or(Unfit::Invalid)?;
            self.messages.set_kept(message, true);
            return Ok(());
        }
        let _ = message;
        Err(Unfit::Invalid)
    }

    fn restore_delivery(&mut self, slot: usize, value: &record::Delivery<'_>) -> Result<(), Unfit> {
        let owner = match value.to {
            Receiver::Session(session) => Owner::Session(self.restored_session(session)?),
            Receiver::Group(group) => {
                let group = Handle::from_index(group as usize);
                let waits = self.router.is_live_group(group) && value.packet_id == 0;
                Owner::Group(Some(group).filter(|_| waits).ok_or(Unfit::Invalid)?)
            }
        };
        let qos = QoS::from_bits(value.qos).filter(|qos| *qos > QoS::AtMostOnce).ok_or(Unfit::Invalid)?;
        let message = value.message.filter(|_| !value.received).map(|message| Handle::from_index(message as usize));
        let is_there = match message {
            Some(message) => self.messages.live(message).is_some(),
            None => value.received && value.packet_id != 0 && qos == QoS::ExactlyOnce,
        };
        if !is_there {
            return Err(Unfit::Invalid);
        }
        let mut delivery = Delivery { message, packet_id: value.packet_id, qos, ..Delivery::default() };
        delivery.set(Delivery::RETAIN, value.retain);
        delivery.set(Delivery::RECEIVED, value.received);
        match (value.through, owner) {
            (_, Owner::Group(group)) => delivery.set_group(group),
            (Through::Group(group), Owner::Session(session)) => {
                let group = Handle::from_index(group as usize);
                if self.router.is_member(group, self.subscriber_of(session)) {
                    delivery.set_group(group);
                }
            }
            #[cfg(feature = "alloc")]
            (Through::Foreign(subscription), Owner::Session(session)) => {
                let subscription = Handle::from_index(subscription as usize);
                if self.router.holds(subscription, self.subscriber_of(session)) {
                    delivery.set_foreign(subscription);
                }
            }
            _ => {}
        }
        let restored = self.messages.restore_delivery(slot, delivery, owner, value.identifiers);
        restored.map(|_| ()).ok_or(Unfit::NoRoom)
    }

    fn restore_receipt(&mut self, slot: usize, value: record::Receipt) -> Result<(), Unfit> {
        let session = self.restored_session(value.session)?;
        if value.packet_id == 0 {
            return Err(Unfit::Invalid);
        }
        let inbound = &mut self.sessions[session].inbound;
        let restored = self.receipts.restore(slot, session, inbound, value.packet_id);
        if restored { Ok(()) } else { Err(Unfit::NoRoom) }
    }

    fn restored_session(&self, slot: u32) -> Result<Handle<Session>, Unfit> {
        let session = Handle::from_index(slot as usize);
        if self.sessions.is_live(session) { Ok(session) } else { Err(Unfit::Invalid) }
    }

    fn hold_wills(&mut self) {
        for slot in 0..self.sessions.slots() {
            let session = Handle::from_index(slot);
            if !self.sessions.is_live(session) {
                continue;
            }
            let Some(will) = self.sessions[session].will else { continue };
            if self.messages.live(will.message).is_some() {
                self.sessions[session].will_is_recorded = true;
                self.messages.hold(will.message);
                self.messages.hold_durably(will.message);
            } else {
                self.sessions[session].will = None;
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }

    /// Each delivery goes to its queue or in flight, and these get their order.
    fn queue_restored(&mut self) {
        for slot in 0..self.messages.deliveries.slots() {
            let delivery = Handle::from_index(slot);
            if !self.messages.deliveries.is_live(delivery) {
                continue;
            }
            match self.messages.deliveries[delivery].owner() {
                Some(Owner::Session(session)) => {
                    self.sessions[session].outbound.restore(&mut self.messages, delivery);
                }
                Some(Owner::Group(group)) => self.restore_to_group(group, delivery),
                None => {}
            }
        }
        for slot in 0..self.sessions.slots() {
            let session = Handle::from_index(slot);
            if !self.sessions.is_live(session) {
                continue;
            }
            let mut twice = self.sessions[session].outbound.end_restoring(&mut self.messages);
            while let Some(delivery) = twice.pop_front(&mut self.messages.deliveries) {
                self.messages.end_delivery(delivery);
                self.left_out = self.left_out.saturating_add(1);
            }
        }
        self.sort_group_queues();
    }

    fn drop_unheld(&mut self) {
        for slot in 0..self.messages.slots() {
            let message = Handle::from_index(slot);
            if self.messages.live(message).is_some_and(|message| !message.is_durable()) {
                self.messages.journal.mark(Kind::Message, slot);
                self.messages.discard_unheld(message);
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }

    fn begin_replays(&mut self) {
        for slot in 0..self.replays.slots() {
            let replay = Handle::from_index(slot);
            if self.replays.is_live(replay) {
                self.replays[replay].begun = self.routed;
                self.advance(replay);
            }
        }
    }
}
