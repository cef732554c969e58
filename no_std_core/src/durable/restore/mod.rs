//! Restoring the durable state from records after a restart.

mod deliveries;
mod messages;
mod receipts;

use crate::durable::record::{self, Kind, Record, Value};
use crate::engine::Engine;
use crate::engine::messages::Residency;
use crate::engine::router::SubscriptionOptions;
use crate::engine::sessions::{Session, StoredWill};
use crate::engine::siblings::{SiblingRecords, Siblings, TransitParts};
use crate::mem::{Handle, OWNED, one_more};
use crate::seam::authorize::Principal;
use crate::seam::counters::Dropped;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Why [`Broker::restore`](crate::Broker::restore) left a record out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The broker has clients already.
    TooLate,
    /// There is no memory for the thing, its slot is taken or beyond the table, or the broker is not durable.
    NoRoom,
    /// The broker has the same thing already.
    Duplicate,
    /// The record refers to a thing that does not exist, or has an impossible value.
    Invalid,
}

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLate => "the broker has clients already",
            Self::NoRoom => "there is no room for it",
            Self::Duplicate => "there is one already",
            Self::Invalid => "it refers to nothing, or says what can't be",
        })
    }
}

impl core::error::Error for RestoreError {}

/// What the broker has after [`Broker::finish_restore`](crate::Broker::finish_restore), and how much was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Sessions.
    pub sessions: u32,
    /// Subscriptions of these Sessions.
    pub subscriptions: u32,
    /// Retained messages.
    pub retained: u32,
    /// Deliveries, those in flight included.
    pub deliveries: u32,
    /// Records that [`Broker::restore`](crate::Broker::restore) left out, or that were dropped because they refer to nothing.
    pub dropped: u32,
}

impl Engine<'_> {
    pub(crate) fn take_back(&mut self, record: Record<'_>) -> Result<(), RestoreError> {
        if self.generations > 0 {
            return Err(RestoreError::TooLate);
        }
        let Record::Put(key, value) = record else {
            return Ok(());
        };
        let slot = key.slot as usize;
        if !self.messages.journal.is_on() || !self.messages.journal.mark_stored(key.kind, slot) {
            self.left_out = self.left_out.saturating_add(1);
            return Err(RestoreError::NoRoom);
        }
        self.messages.journal.pause(true);
        self.messages.bytes.set_restoring(true);
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
            Value::Transit(value) => {
                let record::TransitRecord { sibling, sequence, publisher_key, group, .. } = value;
                let message = Handle::from_index(value.message as usize);
                let transit = TransitParts { sibling, sequence, message, publisher_key, group };
                if self.restore_transit(slot, transit) { Ok(()) } else { Err(RestoreError::Invalid) }
            }
            Value::Sibling(value) => {
                let restored = self.restore_progress(slot, value.taken, value.sent);
                if restored { Ok(()) } else { Err(RestoreError::Invalid) }
            }
        };
        self.messages.journal.pause(false);
        self.messages.bytes.set_restoring(false);
        if taken.is_err() {
            self.messages.journal.mark(key.kind, slot);
            self.left_out = self.left_out.saturating_add(1);
        }
        taken
    }

    pub(crate) fn end_restoring(&mut self, now: Instant) -> Restored {
        self.messages.bytes.set_restoring(true);
        self.sessions.end_restoring();
        self.router.end_restoring();
        self.receipts.end_restoring();
        // Things that are restored need no marks; things that are dropped do.
        self.messages.journal.pause(true);
        self.messages.end_restoring();
        self.messages.all_are_restored();
        self.hold_wills();
        self.messages.journal.pause(false);
        self.queue_restored();
        self.drop_unheld();
        if self.config.shard.siblings() == 0 {
            self.end_empty_groups();
        }
        self.begin_replays();
        self.greet_siblings();
        self.resume_absences(now);
        self.messages.bytes.set_restoring(false);
        self.begin_rules_after_restart();
        let counters = self.counters();
        Restored {
            sessions: counters.sessions,
            subscriptions: counters.subscriptions,
            retained: counters.retained,
            deliveries: counters.deliveries,
            dropped: core::mem::take(&mut self.left_out),
        }
    }

    fn restore_session(&mut self, slot: usize, value: &record::SessionRecord<'_>) -> Result<(), RestoreError> {
        let text = value.client_id.as_bytes();
        if text.is_empty() || text.len() > usize::from(u16::MAX) {
            return Err(RestoreError::Invalid);
        }
        let hash = self.hasher.hash_bytes(text);
        if self.find_session(hash, text).is_some() {
            return Err(RestoreError::Duplicate);
        }
        let client_id = self.messages.bytes.store(&[text]).ok_or(RestoreError::NoRoom)?;
        let Some(session) = self.sessions.restore_empty(slot) else {
            self.messages.bytes.release(client_id);
            return Err(RestoreError::Duplicate);
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
            let lost = entry.lost.get_mut();
            lost.dropped = Dropped::of(value.dropped);
            if OWNED {
                lost.last_packet_id = value.last_packet_id.0;
                entry.outbound.restore_last_packet_id(value.last_packet_id.0);
            }
        }
        self.session_was_made(session);
        self.session_index.insert(&mut self.sessions, session);
        Ok(())
    }

    fn restore_group(&mut self, slot: usize, filter: &str) -> Result<(), RestoreError> {
        let filter = TopicFilter::new(filter).map_err(|_| RestoreError::Invalid)?;
        if self.router.restore_group(slot, filter) { Ok(()) } else { Err(RestoreError::NoRoom) }
    }

    fn restore_subscription(
        &mut self,
        slot: usize,
        value: &record::SubscriptionRecord<'_>,
    ) -> Result<(), RestoreError> {
        let filter = TopicFilter::new(value.filter).map_err(|_| RestoreError::Invalid)?;
        let session = self.restored_session(value.session)?;
        if value.qos > 2 || value.identifier >= 1 << 28 || (value.no_local && filter.share_name().is_some()) {
            return Err(RestoreError::Invalid);
        }
        let options = SubscriptionOptions {
            qos: value.qos,
            no_local: value.no_local,
            retain_as_published: value.retain_as_published,
        };
        let subscriber = self.subscriber_of(session);
        let elsewhere = self.kept_filter(filter);
        let kept_filter = elsewhere.as_deref().map_or(filter, TopicFilter::assume_valid);
        let restored = self.router.restore_subscription(slot, kept_filter, subscriber, options, value.identifier);
        let subscription = restored.ok_or(RestoreError::NoRoom)?.handle;
        let entry = &mut self.sessions[session];
        entry.subscriptions = one_more(entry.subscriptions);
        if value.replaying && filter.share_name().is_none() {
            // The replay starts over, once the retained messages are known. Without memory for it there is none.
            self.insert_replay(session, subscription, filter);
        }
        Ok(())
    }

    fn restored_session(&self, slot: u32) -> Result<Handle<Session>, RestoreError> {
        let session = Handle::from_index(slot as usize);
        if self.sessions.is_live(session) { Ok(session) } else { Err(RestoreError::Invalid) }
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

    pub(crate) fn begin_replays(&mut self) {
        for slot in 0..self.replays.slots() {
            let replay = Handle::from_index(slot);
            if self.replays.is_live(replay) {
                self.replays[replay].begun = self.routed;
                self.advance(replay);
            }
        }
    }
}
