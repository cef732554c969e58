//! PUBACK, PUBREC, PUBREL, PUBCOMP: the handshakes of QoS 1 and 2 (section 4.3).

use crate::codec::{Ack, AckKind, QoS, ReasonCode, ReasonText, Refusal};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Owed, Reply};
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::sessions::Acknowledged;
use crate::engine::siblings::Siblings;
use crate::mem::Handle;
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;

/// The refusal of a PUBACK for QoS 2, a PUBREC for QoS 1, or a PUBCOMP before PUBREC. The client does not follow the
/// handshake, and without the refusal the delivery would be in flight for ever (section 4.13; `[MQTT-4.8.0-1]` of MQTT
/// 3.1.1).
const OUT_OF_STEP: Refusal =
    Refusal::protocol_error("the message with this Packet Identifier waits for another acknowledgement (section 4.3)");

impl Engine<'_> {
    /// The client has received a QoS 1 message, or refuses it.
    pub(crate) fn on_puback(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) -> Result<(), Refusal> {
        self.end_delivery(handle, ack, QoS::AtLeastOnce)
    }

    /// The client has received a QoS 2 message, so PUBREL follows. Or the client refuses the message, which ends the
    /// delivery `[MQTT-4.3.3-4]`.
    pub(crate) fn on_pubrec(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) -> Result<(), Refusal> {
        if ack.code.is_error() {
            return self.end_delivery(handle, ack, QoS::ExactlyOnce);
        }
        let Some(session) = self.connections[handle].session else {
            return Ok(());
        };
        if self.is_half_sent(handle, ack.packet_id.get()) {
            return Ok(());
        }
        let code = match self.sessions[session].outbound.receive(&mut self.messages, ack.packet_id.get()) {
            Acknowledged::Done(()) => ReasonCode::Success,
            Acknowledged::Unknown => ReasonCode::PacketIdentifierNotFound,
            Acknowledged::OutOfStep => return Err(OUT_OF_STEP),
        };
        let batch = self.barrier_of(session);
        self.owe(
            handle,
            Owed::new(Reply::Ack(AckKind::PubRel), ack.packet_id.get(), code, ReasonText::NONE).after(batch),
        );
        Ok(())
    }

    /// The client, which sent a QoS 2 message, has received PUBREC: the Packet Identifier is free again.
    pub(crate) fn on_pubrel(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) {
        let Some(session) = self.connections[handle].session else {
            return;
        };
        let entry = &mut self.sessions[session];
        let code = match self.receipts.release(session, &mut entry.inbound, ack.packet_id.get()) {
            Some(receipt) => {
                if entry.is_durable {
                    self.messages.journal.mark(Kind::Receipt, receipt.index());
                }
                ReasonCode::Success
            }
            // Only the PUBCOMP was lost, with the connection before (section 4.3.3): the message was received once.
            None if entry.inbound.is_resumed() => ReasonCode::Success,
            None => ReasonCode::PacketIdentifierNotFound,
        };
        // If the identifier is not found: the PUBCOMP for an earlier PUBREL may not be safe yet, and the client may use
        // the identifier again.
        let batch = self.barrier_of(session);
        self.owe(
            handle,
            Owed::new(Reply::Ack(AckKind::PubComp), ack.packet_id.get(), code, ReasonText::NONE).after(batch),
        );
    }

    /// The client has received PUBREL for a QoS 2 message: the delivery ends.
    pub(crate) fn on_pubcomp(&mut self, handle: Handle<Connection>, ack: &Ack<'_>) -> Result<(), Refusal> {
        let Some(session) = self.connections[handle].session else {
            return Ok(());
        };
        let delivery = match self.sessions[session].outbound.complete(&mut self.messages, ack.packet_id.get()) {
            Acknowledged::Done(delivery) => delivery,
            Acknowledged::Unknown => return Ok(()),
            Acknowledged::OutOfStep => return Err(OUT_OF_STEP),
        };
        self.happened(Happening::Acknowledged { session, packet_id: ack.packet_id.get(), qos: QoS::ExactlyOnce });
        self.delivery_is_over(session, delivery);
        self.messages.end_delivery(delivery);
        self.mark_ready(handle);
        Ok(())
    }

    fn end_delivery(&mut self, handle: Handle<Connection>, ack: &Ack<'_>, qos: QoS) -> Result<(), Refusal> {
        let Some(session) = self.connections[handle].session else {
            return Ok(());
        };
        if self.is_half_sent(handle, ack.packet_id.get()) {
            return Ok(());
        }
        let delivery = match self.sessions[session].outbound.acknowledge(&mut self.messages, ack.packet_id.get(), qos) {
            Acknowledged::Done(delivery) => delivery,
            // An acknowledgement for which no delivery waits is no error (section 4.3.2); it changes nothing.
            Acknowledged::Unknown => return Ok(()),
            Acknowledged::OutOfStep => return Err(OUT_OF_STEP),
        };
        self.delivery_is_over(session, delivery);
        if ack.code.is_error() {
            // No other member of a shared subscription gets the message either `[MQTT-4.8.2-6]`.
            self.drop_delivery(Some(session), delivery, DropReason::Refused);
        } else {
            self.happened(Happening::Acknowledged { session, packet_id: ack.packet_id.get(), qos });
            self.messages.end_delivery(delivery);
        }
        self.mark_ready(handle);
        Ok(())
    }

    /// Whether the PUBLISH with this Packet Identifier is only partly sent. An acknowledgement would free the packet that
    /// is being transmitted, and the client can't have received it yet.
    fn is_half_sent(&self, handle: Handle<Connection>, packet_id: u16) -> bool {
        match self.connections[handle].sending.begun() {
            Some(sending) => match sending.what {
                Outgoing::Publish(publishing) => self.messages.deliveries[publishing.delivery].packet_id == packet_id,
                _ => false,
            },
            None => false,
        }
    }
}
