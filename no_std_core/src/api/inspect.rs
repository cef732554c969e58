//! Views for operators, in portions: subscriptions, messages that wait for a client, retained messages.
//!
//! Each call shows entries from a position on, until `visit` breaks off or a share of the work is done. It returns the position of the next
//! entry, or `None` after the last one. Entries that come or go between two calls may be shown or not, and may move others by one position.

use super::broker::Broker;
use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::connections::ConnectionId;
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::Retained;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::time::Instant;
use crate::topic::TopicName;
use core::ops::ControlFlow;

/// How many slots of a table one call looks at.
const LOOKED_AT: usize = 1_024;

/// A subscription of a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriptionInfo<'a> {
    /// The Topic Filter, with `$share/` and the ShareName of a shared subscription.
    pub filter: &'a str,
    /// The highest QoS of deliveries to the subscription.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// The Subscription Identifier.
    pub identifier: Option<u32>,
}

/// A stored Application Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageInfo<'a> {
    /// The Topic Name; `None` while the body of the message is in the store alone.
    pub topic: Option<&'a str>,
    /// Bytes of the payload.
    pub payload_len: u32,
    /// The payload as far as it stands in one piece: all of it in owned memory, up to 60 bytes in borrowed memory, nothing where `topic` is `None`.
    pub payload: &'a [u8],
    /// The QoS with which the message was published.
    pub qos: QoS,
    /// The RETAIN flag with which the message was published.
    pub retain: bool,
    /// What is left of the Message Expiry Interval, in seconds.
    pub expiry_secs: Option<u32>,
}

/// A message on its way to a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryInfo<'a> {
    /// The progress of the message.
    pub state: DeliveryState,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// The Packet Identifier, if the delivery has one yet.
    pub packet_id: Option<u16>,
    /// The message; `None` if the client has it, and only the handshake of QoS 2 is left.
    pub message: Option<MessageInfo<'a>>,
}

/// The progress of a message on its way to a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// The message has a Packet Identifier, and is not acknowledged.
    InFlight,
    /// The message waits in the queue.
    Queued,
}

impl Broker<'_> {
    /// The Network Connection of the client with this Client Identifier; `None` if it is not connected.
    pub fn connection_of(&self, client_id: &str) -> Option<ConnectionId> {
        let session = self.engine.session_named(client_id)?;
        Some(self.engine.id_of(self.engine.sessions[session].connection?))
    }

    /// Shows the subscriptions of a Session, from the position `from` on, until `visit` breaks off. Returns the next position; `None` after
    /// the last subscription, and if there is no such Session.
    pub fn visit_subscriptions(
        &mut self,
        client_id: &str,
        from: usize,
        mut visit: impl FnMut(SubscriptionInfo<'_>) -> ControlFlow<()>,
    ) -> Option<usize> {
        let engine = &mut self.engine;
        let session = engine.session_named(client_id)?;
        let mut space = engine.take_scratch();
        let all = engine.router.subscriptions_of(engine.subscriber_of(session));
        let mut behind = None;
        for (place, subscription) in all.enumerate().skip(from) {
            let entry = engine.router.subscription(subscription);
            let options = entry.options();
            let filter = engine.written_filter(subscription, space.as_mut_slice()).unwrap_or("");
            let info = SubscriptionInfo {
                filter,
                qos: QoS::from_bits(options.qos).unwrap_or_default(),
                no_local: options.no_local,
                retain_as_published: options.retain_as_published,
                identifier: Some(entry.identifier()).filter(|identifier| *identifier != 0),
            };
            if visit(info).is_break() {
                behind = Some(place.saturating_add(1));
                break;
            }
        }
        engine.scratch = space;
        behind
    }

    /// Shows the messages on their way to a Session, from the position `from` on, until `visit` breaks off: first those in flight, then
    /// those in the queue, each in order. Returns the next position; `None` after the last message, and if there is no such Session.
    pub fn visit_deliveries(
        &mut self,
        now: Instant,
        client_id: &str,
        from: usize,
        mut visit: impl FnMut(DeliveryInfo<'_>) -> ControlFlow<()>,
    ) -> Option<usize> {
        let engine = &mut self.engine;
        let session = engine.session_named(client_id)?;
        let mut place = from;
        let mut at = engine.delivery_at(session, place);
        while let Some((delivery, state)) = at {
            place = place.saturating_add(1);
            if engine.show_delivery(now, delivery, state, &mut visit).is_break() {
                return Some(place);
            }
            at = engine.delivery_behind(session, delivery, state);
        }
        None
    }

    /// Shows retained messages, from the position `from` on, until `visit` breaks off or 1,024 slots were looked at. Returns the next
    /// position; `None` after the last message. The embedder's own retained messages below `$SYS/` are among them. Each retained message of a
    /// gateway with several shards is kept, and shown, by one of them: [`Shard::owner_of_topic`](crate::Shard::owner_of_topic) tells which.
    pub fn visit_retained(
        &mut self,
        now: Instant,
        from: usize,
        mut visit: impl FnMut(MessageInfo<'_>) -> ControlFlow<()>,
    ) -> Option<usize> {
        let engine = &mut self.engine;
        let slots = engine.messages.slots();
        let end = from.saturating_add(LOOKED_AT).min(slots);
        for slot in from..end {
            let message = Handle::from_index(slot);
            if engine.messages.live(message).is_some() && engine.show_message(now, message, true, &mut visit).is_break()
            {
                return Some(slot.saturating_add(1)).filter(|next| *next < slots);
            }
        }
        Some(end).filter(|next| *next < slots)
    }
}

impl Engine<'_> {
    /// The Session with this Client Identifier, connected or not.
    pub(super) fn session_named(&self, client_id: &str) -> Option<Handle<Session>> {
        let hash = self.hasher.hash_bytes(client_id.as_bytes());
        self.find_session(hash, client_id.as_bytes())
    }

    fn delivery_at(&self, session: Handle<Session>, place: usize) -> Option<(Handle<Delivery>, DeliveryState)> {
        let outbound = &self.sessions[session].outbound;
        let Some(queued) = place.checked_sub(outbound.in_flight()) else {
            let found = outbound.iter_in_flight(&self.messages).nth(place);
            return found.map(|delivery| (delivery, DeliveryState::InFlight));
        };
        let found = outbound.iter(&self.messages).nth(queued);
        found.map(|delivery| (delivery, DeliveryState::Queued))
    }

    /// The delivery behind one that was shown.
    fn delivery_behind(
        &self,
        session: Handle<Session>,
        delivery: Handle<Delivery>,
        state: DeliveryState,
    ) -> Option<(Handle<Delivery>, DeliveryState)> {
        let next = self.messages.deliveries[delivery].next;
        match (next, state) {
            (Some(next), _) => Some((next, state)),
            (None, DeliveryState::InFlight) => {
                let first = self.sessions[session].outbound.iter(&self.messages).next();
                first.map(|first| (first, DeliveryState::Queued))
            }
            (None, DeliveryState::Queued) => None,
        }
    }

    fn show_delivery(
        &mut self,
        now: Instant,
        delivery: Handle<Delivery>,
        state: DeliveryState,
        visit: &mut impl FnMut(DeliveryInfo<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Delivery { message, qos, packet_id, .. } = self.messages.deliveries[delivery];
        let packet_id = Some(packet_id).filter(|packet_id| *packet_id != 0);
        match message {
            None => visit(DeliveryInfo { state, qos, packet_id, message: None }),
            Some(message) => self.show_message(now, message, false, &mut |message| {
                visit(DeliveryInfo { state, qos, packet_id, message: Some(message) })
            }),
        }
    }

    /// Shows a message; with `if_retained` only if it is the retained message of its topic.
    fn show_message(
        &mut self,
        now: Instant,
        message: Handle<Message>,
        if_retained: bool,
        visit: &mut impl FnMut(MessageInfo<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let shown = self.with_topic(message, |engine, topic| {
            let is_retained = || engine.router.retained_at(topic) == Some(Retained(message.cast()));
            if if_retained && !is_retained() {
                return ControlFlow::Continue(());
            }
            visit(engine.message_info(now, message, Some(topic)))
        });
        match shown {
            Some(flow) => flow,
            // The bodies of retained messages are always in memory.
            None if if_retained => ControlFlow::Continue(()),
            None => visit(self.message_info(now, message, None)),
        }
    }

    fn message_info<'a>(
        &'a self,
        now: Instant,
        message: Handle<Message>,
        topic: Option<TopicName<'a>>,
    ) -> MessageInfo<'a> {
        let stored = self.messages.get(message);
        let payload_len = stored.payload_len();
        let start = stored.body.len().saturating_sub(payload_len as usize);
        let mut payload = self.messages.bytes.chunks(stored.body, start..stored.body.len());
        MessageInfo {
            topic: topic.map(TopicName::as_str),
            payload_len,
            payload: payload.next().filter(|_| topic.is_some()).unwrap_or(&[]),
            qos: stored.qos,
            retain: stored.retain(),
            expiry_secs: stored.remaining_expiry(now),
        }
    }
}
