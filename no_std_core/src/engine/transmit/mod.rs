//! What a client is sent, and when: replies first, then what is sent again, retained messages, and the queue.
//!
//! Nothing waits here as bytes. A packet is decided on, encoded straight into the shell's buffer, and done with. One that
//! does not fit is kept as its decision ([`Sending`]); it is encoded once more for each further piece, and cut. A long payload
//! may be left to the shell to write from where it is stored: to the decision that is one more place to be cut at.

use crate::codec::{
    Ack, AckKind, Answer, Auth, ConnAck, DeliveryHead, Disconnect, Encode, PacketId, PingResp, Properties, Property,
    QoS, ReasonCode, Sink, SubAck, UnsubAck, Version, Window, varint_len,
};
use crate::engine::Engine;
use crate::engine::connections::{
    ASSIGNED_LEN, CODES_IN_OWED, Connection, Count, Outgoing, Owed, Phase, Publishing, Reply, Sending,
    assigned_client_id,
};
use crate::engine::messages::{Delivery, Message};
use crate::engine::neighbours::bodies::{Paged, Residency};
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::outcomes::{Then, Transmit};
use crate::engine::packets::connect::UNSAYABLE;
use crate::engine::router::SHARED;
use crate::engine::sessions::{Deadline, Session};
use crate::engine::siblings::Siblings;
use crate::mem::{Blob, Handle, Linked, OWNED, Pool, TEXT_ON_STACK};
use crate::seam::counters::DropReason;
use crate::time::Instant;

/// How payloads are handed to the shell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payloads {
    /// Copied behind the rest of the packet.
    InBuffer,
    /// From [`LONG_PAYLOAD`] on where they stand.
    #[cfg(feature = "alloc")]
    Apart,
}

/// Bytes of a payload that are not worth a copy. Several shorter ones go into one write, which saves more.
#[cfg(feature = "alloc")]
const LONG_PAYLOAD: u32 = 28 * 1024;

impl Engine<'_> {
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        out: &mut [u8],
        payloads: Payloads,
    ) -> Transmit {
        let mut written = 0;
        self.transmitting_since = self.work;
        let then = loop {
            if self.connections[handle].phase == Phase::Dead {
                break Then::Close;
            }
            let sending = match self.connections[handle].sending.take() {
                Some(begun) if self.is_interrupted(handle, begun) => match self.connections[handle].phase {
                    Phase::Dead => break Then::Close,
                    _ => break Then::Idle,
                },
                Some(begun) => begun,
                None => match self.next_outgoing(now, handle) {
                    Some(begun) => begun,
                    None if core::mem::take(&mut self.looks_on) => break Then::More,
                    None if self.waits(handle) => {
                        self.begin_waiting(handle);
                        break Then::Idle;
                    }
                    None if self.connections[handle].phase == Phase::Closing => break Then::Close,
                    None => break Then::Idle,
                },
            };
            let mut space = out.get_mut(written..).unwrap_or(&mut []);
            let end = self.end_in_buffer(&sending, payloads);
            let missing = end.saturating_sub(sending.written) as usize;
            if sending.written == 0 && written > 0 && missing > space.len() {
                // It may fit into the next buffer whole.
                self.connections[handle].sending = sending;
                break Then::More;
            }
            if end < sending.len {
                let fits = missing.min(space.len());
                space = space.get_mut(..fits).unwrap_or(&mut []);
            }
            let mut window = Window::new(sending.written, space);
            self.put(handle, sending.what, &mut window);
            debug_assert_eq!(window.total(), sending.len);
            let piece = window.written().min(missing);
            written += piece;
            if piece == missing && end == sending.len {
                self.finish(handle, sending);
            } else {
                let sending = Sending { written: sending.written.saturating_add(piece as u32), ..sending };
                self.connections[handle].sending = sending;
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

    /// The bytes of a packet that are put into the shell's buffer: all, or those before a payload that stands apart.
    #[inline]
    fn end_in_buffer(&self, sending: &Sending, payloads: Payloads) -> u32 {
        match payloads {
            Payloads::InBuffer => sending.len,
            #[cfg(feature = "alloc")]
            Payloads::Apart => {
                let payload = self.long_payload(sending).map_or(0, |payload| payload.len() as u32);
                sending.len.saturating_sub(payload)
            }
        }
    }

    /// The payload of a PUBLISH, if so much of it is to be sent yet that it is not worth a copy.
    #[cfg(feature = "alloc")]
    #[inline]
    fn long_payload(&self, sending: &Sending) -> Option<&[u8]> {
        let left = sending.len.saturating_sub(sending.written);
        if left < LONG_PAYLOAD {
            return None;
        }
        let Outgoing::Publish(publishing) = sending.what else { return None };
        let message = self.messages.get(self.messages.deliveries[publishing.delivery].message?);
        if message.payload_len() < LONG_PAYLOAD {
            return None;
        }
        let before_payload = message.body.len().checked_sub(message.payload_len() as usize)?;
        self.messages.bytes.contiguous(message.body)?.get(before_payload..)
    }

    /// What is to be sent next, if that is of a payload that stands apart.
    #[cfg(feature = "alloc")]
    pub(crate) fn payload_apart(&self, handle: Handle<Connection>) -> &[u8] {
        let Some(sending) = self.connections[handle].sending.begun() else { return &[] };
        let Some(payload) = self.long_payload(&sending) else { return &[] };
        let left = sending.len.saturating_sub(sending.written) as usize;
        // None while a part of the head is left.
        payload.len().checked_sub(left).and_then(|sent| payload.get(sent..)).unwrap_or(&[])
    }

    /// So many bytes of that were sent.
    #[cfg(feature = "alloc")]
    pub(crate) fn sent_apart(&mut self, handle: Handle<Connection>, count: usize) {
        let count = count.min(self.payload_apart(handle).len());
        if count == 0 {
            return;
        }
        let sending = &mut self.connections[handle].sending;
        sending.written = sending.written.saturating_add(count as u32);
        let sending = *sending;
        self.counters.bytes_sent += count as u64;
        if sending.written == sending.len {
            self.connections[handle].sending = Sending::NONE;
            self.finish(handle, sending);
        }
    }

    /// Decides on the next packet, and takes it from where it waited.
    #[inline]
    fn next_outgoing(&mut self, now: Instant, handle: Handle<Connection>) -> Option<Sending> {
        while let Some(first) = self.connections[handle].owed.front() {
            let owed = &self.owed[first];
            if owed.is_unanswered() || self.messages.journal.is_unsafe(owed.batch) {
                // Messages needn't wait with the replies, but nothing comes before CONNACK or after the last reply.
                if matches!(owed.reply, Reply::ConnAck { .. }) || self.connections[handle].phase != Phase::Open {
                    return None;
                }
                break;
            }
            let reply = self.begin(handle, Outgoing::Owed);
            if reply.len <= self.connections[handle].maximum_packet_size {
                return Some(reply);
            }
            self.give_up_replies(now, handle);
        }
        if self.connections[handle].pings > 0 {
            return Some(self.begin(handle, Outgoing::PingResp));
        }
        let session = match self.connections[handle].phase {
            Phase::Open => self.connections[handle].session?,
            Phase::Closing if self.connections[handle].goodbye => {
                let goodbye = self.begin(handle, Outgoing::Disconnect);
                return (goodbye.len <= self.connections[handle].maximum_packet_size).then_some(goodbye);
            }
            _ => return None,
        };
        let window = self.connections[handle].window;
        let deadline = self.deadline(now);
        while self.sessions[session].outbound.is_resending() {
            let delivery = self.sessions[session].outbound.start_resend(&mut self.messages, window, deadline)?;
            let entry = self.messages.deliveries[delivery];
            if entry.is(Delivery::RECEIVED) {
                return Some(self.begin(handle, Outgoing::PubRel(entry.packet_id)));
            }
            if let Some(sending) = self.begin_publish(now, handle, session, delivery) {
                return Some(sending);
            }
        }
        loop {
            let replaying = !self.sessions[session].replays.is_empty() && !self.queue_goes_first(session);
            let next = if replaying {
                self.next_replayed(now, session, window)
            } else {
                self.next_queued(now, session, window)
            };
            match next {
                Some(delivery) => {
                    if let Some(sending) = self.begin_publish(now, handle, session, delivery) {
                        return Some(sending);
                    }
                }
                // The last replay may have ended without another message.
                None if replaying && self.sessions[session].replays.is_empty() => {}
                None => return None,
            }
        }
    }

    /// The next delivery of the queue.
    #[inline]
    fn next_queued(&mut self, now: Instant, session: Handle<Session>, window: u16) -> Option<Handle<Delivery>> {
        let deadline = self.deadline(now);
        let started = self.sessions[session].outbound.start(&mut self.messages, window, deadline);
        if started.is_some() || self.sessions[session].outbound.queued() > 0 {
            return started;
        }
        self.queue_is_empty(session);
        if self.group_queues.is_empty() {
            return None;
        }
        // There is room for what the groups of shared subscriptions still keep.
        self.member_came(now, session);
        self.sessions[session].outbound.start(&mut self.messages, window, deadline)
    }

    /// What says whether a message has expired.
    #[inline]
    fn deadline(&self, now: Instant) -> Deadline {
        Deadline { now, resend_expired: self.config.resend_expired }
    }

    /// The reply that is owed first exceeds what the client takes `[MQTT-3.1.2-24]`. Without it the two would not agree
    /// on what was done, so this is the end of the connection. A CONNACK that accepts was measured before, one that
    /// refuses is the end anyway.
    fn give_up_replies(&mut self, now: Instant, handle: Handle<Connection>) {
        while let Some(entry) = self.connections[handle].owed.pop_front(&mut self.owed) {
            self.owed.remove(entry);
        }
        self.refuse(now, handle, UNSAYABLE);
    }

    /// How long a CONNACK that accepts will be in MQTT 5.0. It is added up, not encoded: the texts of a CONNACK take more stack than a
    /// microcontroller has left where a CONNECT is decided on.
    pub(crate) fn connack_len(&self, handle: Handle<Connection>) -> u32 {
        let connection = &self.connections[handle];
        let (draft, config) = (connection.draft.get(), &self.config);
        let text = |len: usize| 3 + len as u32;
        let if_so = |wanted: bool, len: u32| if wanted { len } else { 0 };
        // Receive Maximum, Maximum Packet Size and Topic Alias Maximum are always there.
        let mut properties = 3 + 5 + 3;
        properties += if_so(draft.granted_expiry_secs.is_some(), 5);
        properties += if_so(config.maximum_qos < QoS::ExactlyOnce, 2);
        properties += if_so(!config.retain_available, 2);
        properties += if_so(draft.assigned_number.is_some(), text(ASSIGNED_LEN));
        properties += if_so(!SHARED, 2);
        properties += if_so(draft.server_keep_alive.is_some(), 3);
        if draft.wants_response_information {
            properties += config.response_information.as_ref().map_or(0, |information| text(information.len()));
        }
        if !connection.method.is_empty() {
            properties += text(connection.method.len());
            properties += if_so(!connection.auth_data.is_empty(), text(connection.auth_data.len()));
        }
        let remaining = 2 + varint_len(properties) + properties;
        1 + varint_len(remaining) + remaining
    }

    fn begin(&self, handle: Handle<Connection>, what: Outgoing) -> Sending {
        let mut window = Window::closed();
        self.put_short(handle, what, &mut window);
        Sending { what, written: 0, len: window.total() }
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
        if self.deadline(now).is_past(&entry, &stored) {
            self.abandon(session, delivery, DropReason::Expired);
            return None;
        }
        if self.messages.is_unreadable(message) {
            self.abandon(session, delivery, DropReason::Unreadable);
            return None;
        }
        if !self.may_be_sent(session, message, stored.order) {
            self.abandon(session, delivery, DropReason::NotAuthorized);
            return None;
        }
        let mut publishing = Publishing {
            delivery,
            dup: resent,
            // A message that has expired, and is sent again all the same, shows 1: some take 0 for "never".
            message_expiry_interval: stored.remaining_expiry(now).map(|seconds| seconds.max(1)),
            topic_alias: 0,
            alias_known: false,
        };
        let connection = &self.connections[handle];
        let mut with_aliases = connection.version.is_v5() && connection.aliases_out_limit > 0;
        if with_aliases {
            self.use_alias(handle, message, &mut publishing);
        }
        let mut len = self.head(handle, &publishing).packet_len();
        let maximum = self.connections[handle].maximum_packet_size;
        if len > maximum && publishing.alias_known {
            // An alias takes three bytes: a topic may take less.
            publishing = Publishing { topic_alias: 0, alias_known: false, ..publishing };
            with_aliases = false;
            len = self.head(handle, &publishing).packet_len();
        }
        if len > maximum {
            self.abandon(session, delivery, DropReason::TooLarge);
            return None;
        }
        if with_aliases && !publishing.alias_known {
            len = self.set_alias(handle, message, &mut publishing).unwrap_or(len);
        }
        Some(Sending { what: Outgoing::Publish(publishing), written: 0, len })
    }

    /// A delivery ends without having been sent.
    fn abandon(&mut self, session: Handle<Session>, delivery: Handle<Delivery>, reason: DropReason) {
        let entry = &mut self.sessions[session];
        if self.messages.deliveries[delivery].packet_id != 0 {
            entry.outbound.abandon(&mut self.messages, delivery);
            #[cfg(feature = "alloc")]
            {
                entry.lost.get_mut().last_packet_id = entry.outbound.last_packet_id();
            }
        }
        self.delivery_is_over(session, delivery);
        self.drop_delivery(Some(session), delivery, reason);
    }

    /// A Topic Alias instead of the topic, where one is set.
    fn use_alias(&mut self, handle: Handle<Connection>, message: Handle<Message>, publishing: &mut Publishing) {
        let known = self.with_topic(message, |broker, topic| {
            broker.aliases.outgoing(&broker.messages.bytes, handle, topic.as_str().as_bytes())
        });
        if let Some(alias) = known.flatten() {
            publishing.topic_alias = alias;
            publishing.alias_known = true;
        }
    }

    /// Sets a new Topic Alias beside the topic, if there are any left `[MQTT-3.1.2-26]` and the packet is then not too
    /// large; gives the packet's length. The packet is sent: otherwise the client would not know the alias.
    fn set_alias(
        &mut self,
        handle: Handle<Connection>,
        message: Handle<Message>,
        publishing: &mut Publishing,
    ) -> Option<u32> {
        let Connection { aliases_out, aliases_out_limit, maximum_packet_size, .. } = self.connections[handle];
        if aliases_out >= aliases_out_limit {
            return None;
        }
        let alias = aliases_out.saturating_add(1);
        let with_alias = Publishing { topic_alias: alias, ..*publishing };
        let len = self.head(handle, &with_alias).packet_len();
        if len > maximum_packet_size {
            return None;
        }
        let set = self.with_topic(message, |broker, topic| {
            let connection = &mut broker.connections[handle];
            let bytes = &mut broker.messages.bytes;
            broker.aliases.set_outgoing(bytes, handle, &mut connection.aliases, alias, topic.as_str())
        });
        if set != Some(true) {
            return None;
        }
        self.connections[handle].aliases_out = alias;
        *publishing = with_alias;
        Some(len)
    }

    #[inline]
    fn head(
        &self,
        handle: Handle<Connection>,
        publishing: &Publishing,
    ) -> DeliveryHead<crate::engine::messages::SubscriptionIdentifiers<'_, '_>> {
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
    fn put(&self, handle: Handle<Connection>, what: Outgoing, out: &mut Window<'_>) {
        match what {
            Outgoing::Publish(publishing) => self.put_publish(handle, &publishing, out),
            _ => self.put_short(handle, what, out),
        }
    }

    /// Encodes any packet but PUBLISH.
    #[inline(never)]
    fn put_short(&self, handle: Handle<Connection>, what: Outgoing, out: &mut Window<'_>) {
        let version = self.connections[handle].version;
        match what {
            Outgoing::Publish(_) => {}
            Outgoing::Owed => self.put_reply(handle, version, out),
            Outgoing::PingResp => PingResp.encode(version, out),
            Outgoing::PubRel(id) => {
                if let Some(id) = PacketId::new(id) {
                    Answer(AckKind::PubRel, &Ack::new(id, ReasonCode::Success)).encode(version, out);
                }
            }
            Outgoing::Disconnect => {
                if let Some(reason) = self.connections[handle].closing() {
                    let list = [Property::ReasonString(reason.why.as_str())];
                    let mut packet = Disconnect { code: reason.code, properties: Properties::new(&list) };
                    if reason.why.is_empty() || self.is_too_large(handle, &packet) {
                        packet.properties = Properties::EMPTY;
                    }
                    packet.encode(version, out);
                }
            }
        }
    }

    /// The reply that is owed first.
    fn put_reply(&self, handle: Handle<Connection>, version: Version, out: &mut Window<'_>) {
        let Some(front) = self.connections[handle].owed.front() else {
            return;
        };
        let owed = &self.owed[front];
        let id = PacketId::new(owed.packet_id);
        match (owed.reply, id) {
            (Reply::ConnAck { session_present }, _) => self.put_connack(handle, session_present, owed, out),
            (Reply::Auth, _) => self.put_auth(handle, owed.code, out),
            (Reply::Ack(kind), Some(id)) => {
                let list = [Property::ReasonString(owed.why.as_str())];
                let mut ack = Ack::new(id, owed.code);
                if !owed.why.is_empty() && self.connections[handle].problem_information {
                    ack.properties = Properties::new(&list);
                    if self.is_too_large(handle, &Answer(kind, &ack)) {
                        ack.properties = Properties::EMPTY;
                    }
                }
                Answer(kind, &ack).encode(version, out);
            }
            (Reply::SubAck { count }, Some(packet_id)) => {
                let codes = self.codes_behind(owed, count, ReasonCode::QuotaExceeded);
                SubAck { packet_id, properties: Properties::EMPTY, codes }.encode(version, out);
            }
            (Reply::UnsubAck { count }, Some(packet_id)) => {
                let codes = self.codes_behind(owed, count, ReasonCode::ImplementationSpecificError);
                UnsubAck { packet_id, properties: Properties::EMPTY, codes }.encode(version, out);
            }
            #[cfg(feature = "alloc")]
            (Reply::Unanswered(_), _) => debug_assert!(false, "it waits"),
            (Reply::Codes(_) | Reply::Ack(_) | Reply::SubAck { .. } | Reply::UnsubAck { .. }, _) => {
                debug_assert!(false, "codes go with the entry before them, and these replies have an identifier");
            }
        }
    }

    fn put_connack(&self, handle: Handle<Connection>, session_present: bool, owed: &Owed, out: &mut Window<'_>) {
        let connection = &self.connections[handle];
        let (draft, limits) = (connection.draft.get(), &self.config.limits);
        let (mut method, mut data) = ([0; TEXT_ON_STACK], [0; TEXT_ON_STACK]);
        let id = draft.assigned_number.map(assigned_client_id);
        let assigned = id.as_ref().and_then(|id| core::str::from_utf8(id).ok());
        let method = self.text(connection.method, &mut method);
        let data = self.binary(connection.auth_data, &mut data);

        let accepted = owed.code == ReasonCode::Success;
        let mut list = [Property::ReasonString(""); 13];
        let mut count = 0;
        let candidates = [
            (accepted, draft.granted_expiry_secs.map(Property::SessionExpiryInterval)),
            (accepted, Some(Property::ReceiveMaximum(limits.receive_maximum))),
            (
                accepted && self.config.maximum_qos < QoS::ExactlyOnce,
                Some(Property::MaximumQoS(self.config.maximum_qos)),
            ),
            (accepted && !self.config.retain_available, Some(Property::RetainAvailable(false))),
            (accepted, Some(Property::MaximumPacketSize(limits.packet_bytes))),
            (accepted, assigned.map(Property::AssignedClientIdentifier)),
            (accepted, Some(Property::TopicAliasMaximum(limits.topic_aliases_in))),
            (accepted && !SHARED, Some(Property::SharedSubscriptionAvailable(false))),
            (!owed.why.is_empty(), Some(Property::ReasonString(owed.why.as_str()))),
            (accepted, draft.server_keep_alive.map(Property::ServerKeepAlive)),
            (
                accepted && draft.wants_response_information,
                self.config.response_information.as_deref().map(Property::ResponseInformation),
            ),
            (!method.is_empty(), Some(Property::AuthenticationMethod(method))),
            (!method.is_empty() && !connection.auth_data.is_empty(), Some(Property::AuthenticationData(data))),
        ];
        for (wanted, property) in candidates {
            if let (true, Some(property), Some(place)) = (wanted, property, list.get_mut(count)) {
                *place = property;
                count += 1;
            }
        }
        let properties = Properties::new(list.get(..count).unwrap_or(&[]));
        let mut packet = ConnAck { session_present, code: owed.code, properties };
        if !accepted && self.is_too_large(handle, &packet) {
            packet.properties = Properties::EMPTY;
        }
        debug_assert!(
            !accepted
                || !connection.version.is_v5()
                || packet.encoded_len(connection.version) == self.connack_len(handle),
            "the length that a CONNECT was judged by is that of its CONNACK"
        );
        packet.encode(connection.version, out);
    }

    fn put_auth(&self, handle: Handle<Connection>, code: ReasonCode, out: &mut Window<'_>) {
        let connection = &self.connections[handle];
        let (mut method, mut data) = ([0; TEXT_ON_STACK], [0; TEXT_ON_STACK]);
        let list = [
            Property::AuthenticationMethod(self.text(connection.method, &mut method)),
            Property::AuthenticationData(self.binary(connection.auth_data, &mut data)),
        ];
        let used = if connection.auth_data.is_empty() { list.get(..1) } else { list.get(..) };
        Auth { code, properties: Properties::new(used.unwrap_or(&[])) }.encode(connection.version, out);
    }

    fn is_too_large(&self, handle: Handle<Connection>, packet: &impl Encode) -> bool {
        packet.encoded_len(self.connections[handle].version) > self.connections[handle].maximum_packet_size
    }

    fn binary<'a>(&'a self, blob: Blob, space: &'a mut [u8]) -> &'a [u8] {
        #[cfg(feature = "alloc")]
        if let Some(whole) = self.messages.bytes.contiguous(blob) {
            return whole;
        }
        let len = self.messages.bytes.copy(blob, 0, space);
        space.get(..len).unwrap_or(&[])
    }

    fn text<'a>(&'a self, blob: Blob, space: &'a mut [u8]) -> &'a str {
        core::str::from_utf8(self.binary(blob, space)).unwrap_or("")
    }

    /// The codes in the entries behind a SUBACK or UNSUBACK, and `beyond` for all that have none there.
    fn codes_behind<'a>(&'a self, owed: &Owed, count: Count, beyond: ReasonCode) -> CodesBehind<'a> {
        CodesBehind { owed: &self.owed, entry: owed.next(), at: 0, left: count.get(), beyond }
    }

    /// The packet is out whole.
    #[inline]
    fn finish(&mut self, handle: Handle<Connection>, sending: Sending) {
        self.counters.packets_sent += 1;
        match sending.what {
            Outgoing::Publish(publishing) => {
                if OWNED {
                    self.counters.publish_bytes_sent += u64::from(sending.len);
                }
                let entry = &mut self.messages.deliveries[publishing.delivery];
                let (qos, message) = (entry.qos, entry.message);
                entry.set(Delivery::SENT, true);
                if let (Some(session), Some(message)) = (self.connections[handle].session, message) {
                    self.happened(Happening::Delivered { session, message, qos });
                }
                if qos == QoS::AtMostOnce {
                    self.messages.end_delivery(publishing.delivery);
                }
                if let Some(count) = self.counters.publish_sent.get_mut(qos as usize) {
                    *count += 1;
                }
            }
            Outgoing::Owed => self.finish_reply(handle),
            Outgoing::PubRel(_) => {}
            Outgoing::PingResp => self.connections[handle].pings = self.connections[handle].pings.saturating_sub(1),
            Outgoing::Disconnect => self.connections[handle].goodbye = false,
        }
    }

    fn finish_reply(&mut self, handle: Handle<Connection>) {
        let Some(entry) = self.connections[handle].owed.pop_front(&mut self.owed) else {
            return;
        };
        let owed = self.owed.remove(entry);
        match owed.reply {
            Reply::SubAck { .. } | Reply::UnsubAck { .. } => {
                while let Some(next) = self.connections[handle].owed.front()
                    && matches!(self.owed[next].reply, Reply::Codes(_))
                {
                    self.connections[handle].owed.pop_front(&mut self.owed);
                    self.owed.remove(next);
                }
            }
            Reply::ConnAck { .. } | Reply::Auth => {
                let data = core::mem::take(&mut self.connections[handle].auth_data);
                self.messages.bytes.release(data);
                if self.connections[handle].phase == Phase::Open && !self.needs_draft(handle) {
                    self.connections[handle].draft.free();
                }
            }
            Reply::Ack(_) | Reply::Codes(_) => {}
            #[cfg(feature = "alloc")]
            Reply::Unanswered(_) => {}
        }
    }

    #[inline]
    fn put_publish(&self, handle: Handle<Connection>, publishing: &Publishing, out: &mut Window<'_>) {
        let Some(message) = self.messages.deliveries[publishing.delivery].message else {
            return;
        };
        let message = self.messages.get(message);
        let head = self.head(handle, publishing);
        let topic_len = usize::from(message.topic_len);
        let properties_end = topic_len + message.properties_len as usize;
        let bytes = &self.messages.bytes;
        head.put_before_topic(out);
        if !publishing.alias_known {
            bytes.chunks(message.body, 0..topic_len).for_each(|chunk| out.put(chunk));
        }
        head.put_between(out);
        if head.stored_properties_len() > 0 {
            bytes.chunks(message.body, topic_len..properties_end).for_each(|chunk| out.put(chunk));
        }
        bytes.chunks(message.body, properties_end..message.body.len()).for_each(|chunk| out.put(chunk));
    }
}

/// See [`Broker::codes_behind`].
#[derive(Clone)]
struct CodesBehind<'a> {
    owed: &'a Pool<'a, Owed>,
    entry: Option<Handle<Owed>>,
    /// The next code's place in the entry.
    at: usize,
    left: u32,
    beyond: ReasonCode,
}

impl Iterator for CodesBehind<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.entry.map(|entry| &self.owed[entry]);
        let Some((entry, Reply::Codes(codes))) = entry.map(|entry| (entry, &entry.reply)) else {
            return Some(self.beyond);
        };
        let code = codes.get(self.at).copied();
        self.at += 1;
        if self.at == CODES_IN_OWED {
            (self.entry, self.at) = (entry.next(), 0);
        }
        code
    }
}
