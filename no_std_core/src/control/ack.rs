//! PUBACK, PUBREC, PUBREL, PUBCOMP: the handshakes of QoS 1 and 2 (section 4.3).

use crate::broker::Broker;
use crate::codec::{Ack, AckKind, QoS, ReasonCode};
use crate::connection::{Connection, Outgoing, Owed, Reply};
use crate::counters::DropReason;
use crate::session::Acknowledged;
use crate::storage::Handle;
use crate::time::Instant;

impl Broker<'_> {
    /// The receiver of a QoS 1 message has it, or refuses it.
    pub(super) fn on_puback(&mut self, _now: Instant, handle: Handle<Connection>, ack: &Ack<'_>) {
        self.end_delivery(handle, ack, QoS::AtLeastOnce);
    }

    /// The receiver of a QoS 2 message has it: PUBREL follows. Or it refuses it, which ends the delivery
    /// `[MQTT-4.3.3-4]`.
    pub(super) fn on_pubrec(&mut self, _now: Instant, handle: Handle<Connection>, ack: &Ack<'_>) {
        if ack.code.is_error() {
            self.end_delivery(handle, ack, QoS::ExactlyOnce);
            return;
        }
        let Some(session) = self.connections[handle].session else {
            return;
        };
        if self.is_half_sent(handle, ack.packet_id.get()) {
            return;
        }
        let code = match self.sessions[session].outbound.receive(&mut self.messages, ack.packet_id.get()) {
            Acknowledged::Done => ReasonCode::Success,
            Acknowledged::Unknown => ReasonCode::PacketIdentifierNotFound,
        };
        self.owe(handle, Owed::new(Reply::Ack(AckKind::PubRel), ack.packet_id.get(), code, ""));
    }

    /// The sender of a QoS 2 message has our PUBREC: its identifier is free again.
    pub(super) fn on_pubrel(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) {
        let Some(session) = self.connections[handle].session else {
            return;
        };
        let inbound = &mut self.sessions[session].inbound;
        let code = if self.receipts.release(session, inbound, ack.packet_id.get()) {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.owe(handle, Owed::new(Reply::Ack(AckKind::PubComp), ack.packet_id.get(), code, ""));
    }

    /// The receiver of a QoS 2 message has our PUBREL: the delivery is over.
    pub(super) fn on_pubcomp(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) {
        let Some(session) = self.connections[handle].session else {
            return;
        };
        let outbound = &mut self.sessions[session].outbound;
        let Some(delivery) = outbound.complete(&mut self.messages, ack.packet_id.get()) else {
            return;
        };
        #[cfg(feature = "alloc")]
        self.settle(session, delivery);
        self.messages.end_delivery(delivery);
        self.mark_ready(handle);
    }

    fn end_delivery(&mut self, handle: Handle<Connection>, ack: &Ack<'_>, qos: QoS) {
        let Some(session) = self.connections[handle].session else {
            return;
        };
        if self.is_half_sent(handle, ack.packet_id.get()) {
            return;
        }
        let outbound = &mut self.sessions[session].outbound;
        // An identifier that nothing waits for is no error (section 4.3.2); it changes nothing.
        let Some(delivery) = outbound.acknowledge(&mut self.messages, ack.packet_id.get(), qos) else {
            return;
        };
        #[cfg(feature = "alloc")]
        self.settle(session, delivery);
        self.messages.end_delivery(delivery);
        if ack.code.is_error() {
            // Not for any other member of a shared subscription either `[MQTT-4.8.2-6]`.
            self.count_drop(Some(session), DropReason::Refused);
        }
        self.mark_ready(handle);
    }

    /// An acknowledgement of what the client can't have seen yet would free what is being transmitted.
    fn is_half_sent(&self, handle: Handle<Connection>, packet_id: u16) -> bool {
        match self.connections[handle].sending {
            Some(sending) => match sending.what {
                Outgoing::Publish(publishing) => self.messages.deliveries[publishing.delivery].packet_id == packet_id,
                _ => false,
            },
            None => false,
        }
    }
}
