//! What a client is sent, and when: replies first, then what is sent again, retained messages, and the queue.
//!
//! Nothing waits here as bytes. A packet is decided on, encoded straight into the shell's buffer, and done with. One that
//! does not fit is kept as its decision ([`Sending`]); it is encoded once more for each further piece, and cut.

use crate::broker::{Broker, Then, Transmit};
use crate::codec::{
    Ack, AckKind, Auth, ConnAck, DeliveryHead, Disconnect, Length, Packet, PacketId, Properties, Property, QoS,
    ReasonCode, Sink, SubAck, UnsubAck, Version, Window, Writer,
};
use crate::connection::{CODES_IN_OWED, Connection, Outgoing, Owed, Phase, Publishing, Reply, Sending};
use crate::counters::DropReason;
use crate::message::Delivery;
use crate::session::Session;
use crate::storage::{Blob, Handle, Linked, TEXT_ON_STACK};
use crate::time::Instant;

impl Broker<'_> {
    pub(crate) fn transmit(&mut self, now: Instant, handle: Handle<Connection>, out: &mut [u8]) -> Transmit {
        let mut written = 0;
        let then = loop {
            if self.connections[handle].phase == Phase::Dead {
                break Then::Close;
            }
            let sending = match self.connections[handle].sending.take() {
                Some(begun) => begun,
                None => match self.next_outgoing(now, handle) {
                    Some(begun) => begun,
                    None if self.connections[handle].phase == Phase::Closing => break Then::Close,
                    None => break Then::Idle,
                },
            };
            let space = out.get_mut(written..).unwrap_or(&mut []);
            let missing = sending.len.saturating_sub(sending.written) as usize;
            if sending.written == 0 && missing <= space.len() {
                let mut writer = Writer::new(space);
                self.put(handle, sending.what, &mut writer);
                debug_assert_eq!(writer.written(), missing);
                written += missing;
                self.finish(handle, sending.what);
                continue;
            }
            if sending.written == 0 && written > 0 {
                // It may fit into the next buffer whole.
                self.connections[handle].sending = Some(sending);
                break Then::More;
            }
            let mut window = Window::new(sending.written, space);
            self.put(handle, sending.what, &mut window);
            let piece = window.written().min(missing);
            written += piece;
            if piece == missing {
                self.finish(handle, sending.what);
            } else {
                let sending = Sending { written: sending.written.saturating_add(piece as u32), ..sending };
                self.connections[handle].sending = Some(sending);
                break Then::More;
            }
        };
        self.counters.bytes_sent += written as u64;
        let connection = &mut self.connections[handle];
        if connection.is_choked && written > 0 {
            connection.is_choked = false;
            self.mark_ready(handle);
        }
        Transmit { written, then }
    }

    /// Decides on the next packet, and takes it from where it waited.
    #[inline]
    fn next_outgoing(&mut self, now: Instant, handle: Handle<Connection>) -> Option<Sending> {
        if !self.connections[handle].owed.is_empty() {
            return Some(self.begin(handle, Outgoing::Owed));
        }
        let session = match self.connections[handle].phase {
            Phase::Open => self.connections[handle].session?,
            Phase::Closing if self.connections[handle].goodbye => return Some(self.begin(handle, Outgoing::Disconnect)),
            _ => return None,
        };
        let window = self.connections[handle].window;
        while self.sessions[session].outbound.is_resending() {
            let delivery = self.sessions[session].outbound.start_resend(&mut self.messages, window)?;
            let entry = self.messages.deliveries[delivery];
            if entry.is(Delivery::RECEIVED) {
                return Some(self.begin(handle, Outgoing::PubRel(entry.packet_id)));
            }
            if let Some(sending) = self.begin_publish(now, handle, session, delivery) {
                return Some(sending);
            }
        }
        while !self.sessions[session].replays.is_empty() {
            let delivery = self.next_replayed(now, session, window);
            let Some(delivery) = delivery else {
                if self.sessions[session].replays.is_empty() {
                    break;
                }
                return None;
            };
            if !self.sessions[session].outbound.start_unqueued(&mut self.messages, delivery, window) {
                self.messages.end_delivery(delivery);
                self.count_drop(Some(session), DropReason::OutOfMemory);
                return None;
            }
            if let Some(sending) = self.begin_publish(now, handle, session, delivery) {
                return Some(sending);
            }
        }
        loop {
            let started = self.sessions[session].outbound.start(&mut self.messages, window);
            let Some(delivery) = started else {
                if !self.group_queues.is_empty() && self.sessions[session].outbound.queued() == 0 {
                    // There is room for what the groups of shared subscriptions still keep.
                    self.member_came(now, session);
                    if self.sessions[session].outbound.queued() > 0 {
                        continue;
                    }
                }
                return None;
            };
            if let Some(sending) = self.begin_publish(now, handle, session, delivery) {
                return Some(sending);
            }
        }
    }

    fn begin(&self, handle: Handle<Connection>, what: Outgoing) -> Sending {
        let mut len = Length::default();
        self.put(handle, what, &mut len);
        Sending { what, written: 0, len: len.get() }
    }

    /// Decides how a delivery, which is in flight or in no list, is sent; `None`, and it is over, if it must not be.
    #[inline]
    fn begin_publish(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        delivery: Handle<Delivery>,
    ) -> Option<Sending> {
        let entry = self.messages.deliveries[delivery];
        let message = entry.message?;
        let stored = *self.messages.get(message);
        let resent = entry.is(Delivery::SENT);
        if stored.has_expired(now) && !resent {
            self.abandon(session, delivery, DropReason::Expired);
            return None;
        }
        if self.authorize.asks_deliveries() {
            let principal = self.sessions[session].principal;
            let may = self.with_topic(message, |broker, topic| broker.authorize.deliver(principal, topic));
            if may != Some(true) {
                self.abandon(session, delivery, DropReason::NotAuthorized);
                return None;
            }
        }
        let connection = &self.connections[handle];
        let is_v5 = connection.version.is_v5();
        let mut publishing = Publishing {
            delivery,
            dup: resent,
            // A message that expired while in flight is still sent again: the client may have it half.
            message_expiry_interval: stored.remaining_expiry(now).map(|seconds| seconds.max(1)),
            topic_alias: 0,
            alias_known: false,
        };
        if is_v5 && connection.aliases_out_limit > 0 {
            self.choose_alias(handle, &mut publishing);
        }
        let len = self.head(handle, &publishing).packet_len();
        if len > self.connections[handle].maximum_packet_size {
            self.abandon(session, delivery, DropReason::TooLarge);
            return None;
        }
        Some(Sending { what: Outgoing::Publish(publishing), written: 0, len })
    }

    /// A delivery ends without having been sent.
    fn abandon(&mut self, session: Handle<Session>, delivery: Handle<Delivery>, reason: DropReason) {
        if self.messages.deliveries[delivery].packet_id != 0 {
            self.sessions[session].outbound.abandon(&mut self.messages, delivery);
        }
        self.messages.end_delivery(delivery);
        self.count_drop(Some(session), reason);
    }

    /// A Topic Alias instead of the topic where one is set, or a new one beside it while there are any left
    /// `[MQTT-3.1.2-26]`.
    fn choose_alias(&mut self, handle: Handle<Connection>, publishing: &mut Publishing) {
        let Some(message) = self.messages.deliveries[publishing.delivery].message else {
            return;
        };
        let aliases = &mut self.aliases;
        let connections = &mut self.connections;
        let bytes = &mut self.messages.bytes;
        let stored = self.messages_pool_get(message);
        let _ = (aliases, connections, bytes, stored);
    }

    #[inline]
    fn head(
        &self,
        handle: Handle<Connection>,
        publishing: &Publishing,
    ) -> DeliveryHead<crate::message::Identifiers<'_, '_>> {
        let entry = &self.messages.deliveries[publishing.delivery];
        let (topic_len, stored_properties_len, payload_len) = match entry.message {
            Some(message) => {
                let message = self.messages.get(message);
                (message.topic_len, message.properties_len, message.payload_len())
            }
            None => (0, 0, 0),
        };
        DeliveryHead {
            version: self.connections[handle].version,
            dup: publishing.dup,
            qos: entry.qos,
            retain: entry.is(Delivery::RETAIN),
            packet_id: PacketId::new(entry.packet_id),
            topic_len: if publishing.alias_known { 0 } else { topic_len },
            topic_alias: (publishing.topic_alias != 0).then_some(publishing.topic_alias),
            message_expiry_interval: publishing.message_expiry_interval,
            subscription_identifiers: self.messages.identifiers(publishing.delivery),
            stored_properties_len,
            payload_len,
        }
    }

    /// Encodes a packet that was decided on: always the same bytes for the same decision.
    #[inline]
    fn put(&self, handle: Handle<Connection>, what: Outgoing, sink: &mut impl Sink) {
        let version = self.connections[handle].version;
        match what {
            Outgoing::Publish(publishing) => self.put_publish(handle, &publishing, sink),
            Outgoing::Owed => self.put_reply(handle, version, sink),
            Outgoing::PubRel(id) => {
                if let Some(id) = PacketId::new(id) {
                    Packet::PubRel(Ack::new(id, ReasonCode::Success)).encode(version, sink);
                }
            }
            Outgoing::Disconnect => {
                if let Some(reason) = self.connections[handle].reason {
                    self.put_with_reason(handle, reason.why, sink, |properties, sink: &mut dyn FnMut(&Packet<'_>)| {
                        sink(&Packet::Disconnect(Disconnect { code: reason.code, properties }));
                    });
                }
            }
        }
    }

    #[inline]
    fn put_publish(&self, handle: Handle<Connection>, publishing: &Publishing, sink: &mut impl Sink) {
        let Some(message) = self.messages.deliveries[publishing.delivery].message else {
            return;
        };
        let message = self.messages.get(message);
        let head = self.head(handle, publishing);
        let topic_len = usize::from(message.topic_len);
        let properties_end = topic_len + message.properties_len as usize;
        let bytes = &self.messages.bytes;
        head.put_before_topic(sink);
        if !publishing.alias_known {
            bytes.chunks(message.body, 0..topic_len).for_each(|chunk| sink.put(chunk));
        }
        head.put_between(sink);
        if head.stored_properties_len() > 0 {
            bytes.chunks(message.body, topic_len..properties_end).for_each(|chunk| sink.put(chunk));
        }
        bytes.chunks(message.body, properties_end..message.body.len()).for_each(|chunk| sink.put(chunk));
    }
}
