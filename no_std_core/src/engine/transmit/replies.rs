//! The replies that a client is owed: CONNACK, AUTH, acknowledgements, SUBACK and UNSUBACK.

use crate::codec::{
    Ack, Answer, Auth, ConnAck, Encode, PacketId, Properties, Property, QoS, ReasonCode, SubAck, UnsubAck, Version,
    Window, varint_len,
};
use crate::engine::Engine;
use crate::engine::connections::{
    ASSIGNED_LEN, CODES_IN_OWED, Connection, Count, Owed, Phase, Reply, assigned_client_id,
};
use crate::engine::router::SHARED;
use crate::mem::{Handle, Linked, Pool, TEXT_ON_STACK};

impl Engine<'_> {
    /// The length of a CONNACK that accepts, in MQTT 5.0. It is added up without encoding: the texts of a CONNACK need more stack than
    /// a microcontroller has left at that point.
    pub(crate) fn connack_len(&self, handle: Handle<Connection>) -> u32 {
        let connection = &self.connections[handle];
        let (draft, config) = (connection.draft.get(), &self.config);
        let text = |len: usize| (len as u32).saturating_add(3);
        // These are Receive Maximum, Maximum Packet Size and Topic Alias Maximum, which are always there.
        let mut properties: u32 = 3 + 5 + 3;
        let mut count = |is_there: bool, len: u32| {
            if is_there {
                properties = properties.saturating_add(len);
            }
        };
        count(draft.granted_expiry_secs.is_some(), 5);
        count(config.maximum_qos < QoS::ExactlyOnce, 2);
        count(!config.retain_available, 2);
        count(draft.assigned_number.is_some(), text(ASSIGNED_LEN));
        count(!SHARED, 2);
        count(draft.server_keep_alive.is_some(), 3);
        if let Some(information) = &config.response_information {
            count(draft.wants_response_information, text(information.len()));
        }
        let has_method = !connection.method.is_empty();
        count(has_method, text(connection.method.len()));
        count(has_method && !connection.auth_data.is_empty(), text(connection.auth_data.len()));
        let remaining = properties.saturating_add(varint_len(properties)).saturating_add(2);
        remaining.saturating_add(varint_len(remaining)).saturating_add(1)
    }

    /// Encodes the first reply in the queue.
    pub(super) fn put_reply(&self, handle: Handle<Connection>, version: Version, out: &mut Window<'_>) {
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
                count = count.saturating_add(1);
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

    /// The codes in the entries behind a SUBACK or UNSUBACK, and `beyond` in place of each code that has no entry.
    fn codes_behind<'a>(&'a self, owed: &Owed, count: Count, beyond: ReasonCode) -> CodesBehind<'a> {
        CodesBehind { owed: &self.owed, entry: owed.next(), at: 0, left: count.get(), beyond }
    }

    pub(super) fn finish_reply(&mut self, handle: Handle<Connection>) {
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
            Reply::Ack(_) | Reply::Codes(_) | Reply::Unanswered(_) => {}
        }
    }
}

/// See [`Engine::codes_behind`].
#[derive(Clone)]
struct CodesBehind<'a> {
    owed: &'a Pool<'a, Owed>,
    entry: Option<Handle<Owed>>,
    /// The index of the next code in the entry.
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
        self.at = self.at.saturating_add(1);
        if self.at == CODES_IN_OWED {
            (self.entry, self.at) = (entry.next(), 0);
        }
        code
    }
}
