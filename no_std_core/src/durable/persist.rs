//! Records of changes, and what may go on once they are safe.

use crate::durable::record::{self, Identifiers, Key, Kind, Receiver, Record, Through, Value};
use crate::engine::Engine;
use crate::engine::messages::{Beside, Delivery, Owner, Residency};
use crate::engine::neighbour_state::Stamp;
use crate::engine::neighbours::bodies::Paged;
use crate::engine::router::{Group, Subscription};
use crate::engine::sessions::Session;
use crate::engine::siblings::{SiblingRecords, TransitParts};
use crate::mem::{Handle, OWNED};
use crate::seam::journal::Batch;

/// The result of [`Broker::poll_record`](crate::Broker::poll_record).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A record was written to the buffer.
    Record {
        /// What the record is about.
        key: Key,
        /// The thing is gone: the record deletes the key.
        delete: bool,
        /// How many bytes of the buffer the record takes.
        len: usize,
    },
    /// The buffer is too short for the next record; this many bytes are enough. Nothing is lost.
    TooSmall(usize),
    /// There is nothing to be recorded.
    Nothing,
}

impl Engine<'_> {
    pub(crate) fn next_record(&mut self, out: &mut [u8]) -> Polled {
        while let Some((kind, slot)) = self.messages.journal.next() {
            let key = Key { kind, slot };
            if kind == Kind::Message && self.messages.is_evicted_at(slot) {
                // The body is in the store alone. A new record could only repeat that body, which does not change.
                self.messages.journal.recorded(kind, slot, true, false);
                continue;
            }
            let mut space = self.take_scratch();
            let sealed = self.seal_present(key, space.as_mut_slice(), out);
            self.scratch = space;
            match sealed {
                Some(Ok(len)) => {
                    self.messages.journal.recorded(kind, slot, true, true);
                    if kind == Kind::Message {
                        let batch = self.messages.journal.under_way();
                        self.messages.message_was_recorded(slot, batch);
                    }
                    return Polled::Record { key, delete: false, len };
                }
                Some(Err(needed)) => return Polled::TooSmall(needed),
                None if self.messages.journal.is_stored(kind, slot) => {
                    let Some(len) = Record::Delete(key).seal(out) else {
                        return Polled::TooSmall(record::OVERHEAD);
                    };
                    self.messages.journal.recorded(kind, slot, false, true);
                    return Polled::Record { key, delete: true, len };
                }
                None => self.messages.journal.recorded(kind, slot, false, false),
            }
        }
        Polled::Nothing
    }

    /// Seals the thing that is in the slot now. Returns the length of the record, or how much space it needs if `out` is too
    /// short; `None` if the slot holds nothing durable. Texts are put together in `space`.
    fn seal_present(&self, key: Key, space: &mut [u8], out: &mut [u8]) -> Option<Result<usize, usize>> {
        let slot = key.slot as usize;
        let (value, text_len) = match key.kind {
            Kind::Session => self.session_value(Handle::from_index(slot), space)?,
            Kind::Group => {
                let group = Handle::from_index(slot);
                if !self.is_durable_group(group) {
                    return None;
                }
                let filter = self.router.filter_of_group(group, space).unwrap_or("");
                (Value::Group(record::GroupRecord { filter }), filter.len())
            }
            Kind::Subscription => self.subscription_value(Handle::from_index(slot), space)?,
            Kind::Message => {
                let message = self.messages.live(Handle::from_index(slot)).filter(|message| message.is_durable())?;
                let value = Value::Message(record::MessageRecord {
                    topic_len: message.topic_len,
                    properties_len: message.properties_len,
                    qos: message.qos.bits(),
                    retain: message.retain(),
                    expires: message.expires,
                    order: message.order,
                    stamp: message.shards.number(),
                    body: &[],
                });
                let mut body = self.messages.bytes.chunks(message.body, 0..message.body.len());
                let sealed = record::seal(key, Some(&value), &mut body, out);
                return Some(sealed.ok_or(record::OVERHEAD.saturating_add(message.body.len())));
            }
            Kind::Retained => {
                self.messages.live(Handle::from_index(slot)).filter(|message| message.is_kept())?;
                (Value::Retained, 0)
            }
            Kind::Delivery => self.delivery_value(Handle::from_index(slot), space)?,
            Kind::Receipt => {
                let receipt = Handle::from_index(slot);
                let receipt = self.receipts.is_live(receipt).then(|| self.receipts.get(receipt))?;
                let session = receipt.session().filter(|session| self.sessions[*session].is_durable)?;
                let session = session.index() as u32;
                (Value::Receipt(record::ReceiptRecord { session, packet_id: receipt.packet_id() }), 0)
            }
            Kind::Counters => (Value::Counters(record::CountersRecord { dropped: self.counters.dropped.counts() }), 0),
            Kind::Transit | Kind::Sibling => self.sibling_value(key)?,
        };
        let sealed = record::seal(key, Some(&value), &mut core::iter::empty(), out);
        Some(sealed.ok_or(record::OVERHEAD.saturating_add(text_len)))
    }

    /// The record of a message to another shard, or of the progress of the messages to and from another shard, and the
    /// length of the text in it.
    fn sibling_value(&self, key: Key) -> Option<(Value<'_>, usize)> {
        let slot = key.slot as usize;
        if key.kind == Kind::Sibling {
            let (taken, sent) = self.progress(slot)?;
            return Some((Value::Sibling(record::SiblingRecord { taken, sent }), 0));
        }
        let TransitParts { sibling, sequence, message, publisher_key, group } = self.transit(slot)?;
        let message = message.index() as u32;
        Some((Value::Transit(record::TransitRecord { sibling, sequence, message, publisher_key, group }), group.len()))
    }

    fn session_value<'a>(&self, handle: Handle<Session>, space: &'a mut [u8]) -> Option<(Value<'a>, usize)> {
        let session = self.sessions.is_live(handle).then(|| &self.sessions[handle])?;
        if !session.is_recorded() {
            return None;
        }
        let len = self.messages.bytes.copy(session.client_id, 0, space);
        let value = Value::Session(record::SessionRecord {
            client_id: core::str::from_utf8(space.get(..len)?).ok()?,
            principal: session.principal.0,
            expiry_secs: session.expiry_secs,
            ends: session.ends,
            will: session.will.filter(|_| session.will_is_recorded).map(|will| record::Will {
                message: will.message.index() as u32,
                delay_secs: will.delay_secs,
                due: will.due,
                expiry_secs: u32::try_from(will.expiry_secs).ok(),
            }),
            dropped: session.lost.get().dropped.counts(),
            last_packet_id: record::Added(session.lost.get().last_packet_id),
        });
        Some((value, len))
    }

    /// Whether the group has to survive a restart: it keeps messages, or has a durable Session as a member.
    fn is_durable_group(&self, group: Handle<Group>) -> bool {
        let is_durable = |member| {
            let session = self.session_of(self.router.subscription(member).subscriber());
            self.sessions[session].is_durable
        };
        self.router.is_live_group(group)
            && (self.router.group(group).tag() != 0 || self.router.members_of(group).any(is_durable))
    }

    fn subscription_value<'a>(&self, handle: Handle<Subscription>, space: &'a mut [u8]) -> Option<(Value<'a>, usize)> {
        let subscription = self.router.live_subscription(handle)?;
        let session = self.session_of(subscription.subscriber());
        let entry = &self.sessions[session];
        if !entry.is_durable {
            return None;
        }
        let options = subscription.options();
        let filter = self.written_filter(handle, space)?;
        let value = Value::Subscription(record::SubscriptionRecord {
            session: session.index() as u32,
            filter,
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            identifier: subscription.identifier(),
            replaying: self.find_replay(session, handle).is_some(),
        });
        Some((value, filter.len()))
    }

    fn delivery_value<'a>(&self, handle: Handle<Delivery>, space: &'a mut [u8]) -> Option<(Value<'a>, usize)> {
        let delivery = self.messages.deliveries.is_live(handle).then(|| &self.messages.deliveries[handle])?;
        let to = match delivery.owner().filter(|_| delivery.is(Delivery::DURABLE))? {
            Owner::Session(session) => Receiver::Session(session.index() as u32),
            Owner::Group(group) => Receiver::Group(group.index() as u32),
        };
        let through = match delivery.beside() {
            Beside::Group(group) => Through::Group(group.index() as u32),
            Beside::GroupElsewhere(subscription) => Through::Foreign(subscription.index() as u32),
            Beside::Nothing | Beside::Identifiers(_) => Through::Nothing,
        };
        let len = Identifiers::write(self.messages.identifiers(handle), space);
        let value = Value::Delivery(record::DeliveryRecord {
            to,
            message: delivery.message.map(|message| message.index() as u32),
            qos: delivery.qos.bits(),
            retain: delivery.is(Delivery::RETAIN),
            received: delivery.is(Delivery::RECEIVED),
            packet_id: delivery.packet_id,
            through,
            identifiers: Identifiers(space.get(..len)?),
        });
        Some((value, len))
    }

    pub(crate) fn mark_all(&mut self) {
        let slots = [
            (Kind::Session, self.sessions.slots()),
            (Kind::Group, self.router.group_slots()),
            (Kind::Subscription, self.router.subscription_slots()),
            (Kind::Message, self.messages.slots()),
            (Kind::Retained, self.messages.slots()),
            (Kind::Delivery, self.messages.deliveries.slots()),
            (Kind::Receipt, self.receipts.slots()),
            (Kind::Transit, self.transit_slots()),
            (Kind::Sibling, if OWNED { usize::from(self.config.shard.count) } else { 0 }),
            (Kind::Counters, 1),
        ];
        for (kind, slots) in slots {
            for slot in 0..slots {
                self.messages.journal.mark(kind, slot);
            }
        }
    }

    /// Notes that `batch` is safe, and names the connections that may transmit something because of it.
    pub(crate) fn on_persisted(&mut self, batch: Batch) {
        self.messages.journal.set_safe(batch);
        self.go_on_after_batch();
    }

    /// Wakes everything that waited for a batch that is safe now.
    pub(crate) fn go_on_after_batch(&mut self) {
        self.batch_is_safe();
        self.bodies_are_safe();
        self.wake_waiting();
    }
}
