//! Which packets a client is sent, and when: first replies, then messages that are sent again, retained messages, and the
//! queue.
//!
//! No packet waits as bytes. The broker decides on a packet, encodes it straight into the embedder's buffer, and forgets it.
//! If a packet does not fit, the decision is kept ([`Sending`]); for each further piece the packet is encoded once more, and
//! cut. The embedder may write a long payload from where the payload is stored: then the packet is cut before the payload,
//! too.

mod payload_apart;
mod publish;
mod replies;

use crate::codec::{
    Ack, AckKind, Answer, Disconnect, Encode, PacketId, PingResp, Properties, Property, QoS, ReasonCode, Window,
};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Phase, Reply, Sending};
use crate::engine::messages::Delivery;
use crate::engine::neighbours::bodies::Paged;
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::outcomes::{Then, Transmit};
use crate::engine::packets::connect::UNSAYABLE;
use crate::engine::sessions::{Deadline, Session};
use crate::engine::siblings::Siblings;
use crate::mem::{Blob, Handle, OWNED};
use crate::seam::counters::tally;
use crate::time::Instant;

/// The value of `IS_MOUNTED`, a parameter of the functions that decide on packets and encode them, if the client has a mount.
const MOUNTED: bool = true;
const NOT_MOUNTED: bool = false;

/// How payloads are handed to the embedder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payloads {
    /// Copied behind the rest of the packet.
    InBuffer,
    /// The embedder writes long payloads from where they are stored.
    Apart,
}

impl Engine<'_> {
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        out: &mut [u8],
        payloads: Payloads,
    ) -> Transmit {
        // The compiler makes two copies of all functions below, so that mounts of some clients do not slow down messages to
        // other clients.
        if self.is_mounted(handle) {
            self.transmit_as::<MOUNTED>(now, handle, out, payloads)
        } else {
            self.transmit_as::<NOT_MOUNTED>(now, handle, out, payloads)
        }
    }

    #[inline]
    fn transmit_as<const IS_MOUNTED: bool>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        out: &mut [u8],
        payloads: Payloads,
    ) -> Transmit {
        let mut written = 0;
        self.transmitting_since = self.work;
        let then = loop {
            let sending = match self.next_sending::<IS_MOUNTED>(now, handle) {
                Ok(sending) => sending,
                Err(then) => break then,
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
            self.put::<IS_MOUNTED>(handle, sending.what, &mut window);
            debug_assert_eq!(window.total(), sending.len);
            let piece = window.written().min(missing);
            // Both pieces are in `out`, so the sum does not wrap.
            written = written.wrapping_add(piece);
            if piece == missing && end == sending.len {
                self.finish(handle, sending);
            } else {
                let sending = Sending { written: sending.written.saturating_add(piece as u32), ..sending };
                self.connections[handle].sending = sending;
                break Then::More;
            }
        };
        tally(&mut self.counters.bytes_sent, written);
        let connection = &mut self.connections[handle];
        if connection.is_choked && written > 0 {
            connection.is_choked = false;
            self.mark_ready(handle);
        }
        Transmit { written, then }
    }

    /// The packet that is partly transmitted, or else the next packet; `Err` if none can be sent now.
    #[inline]
    fn next_sending<const IS_MOUNTED: bool>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
    ) -> Result<Sending, Then> {
        if self.connections[handle].phase == Phase::Dead {
            return Err(Then::Close);
        }
        match self.connections[handle].sending.take() {
            Some(begun) if self.is_interrupted(handle, begun) => match self.connections[handle].phase {
                Phase::Dead => Err(Then::Close),
                _ => Err(Then::Idle),
            },
            Some(begun) => Ok(begun),
            None => match self.next_outgoing::<IS_MOUNTED>(now, handle) {
                Some(begun) => Ok(begun),
                None if core::mem::take(&mut self.looks_on) => Err(Then::More),
                None if self.waits(handle) => {
                    self.begin_waiting(handle);
                    Err(Then::Idle)
                }
                None if self.connections[handle].phase == Phase::Closing => Err(Then::Close),
                None => Err(Then::Idle),
            },
        }
    }

    /// How many bytes of a packet are put into the embedder's buffer: all, or those before a payload that the embedder writes
    /// itself.
    #[inline]
    fn end_in_buffer(&self, sending: &Sending, payloads: Payloads) -> u32 {
        if !OWNED || payloads == Payloads::InBuffer {
            return sending.len;
        }
        let payload = self.long_payload(sending).map_or(0, |payload| payload.len() as u32);
        sending.len.saturating_sub(payload)
    }

    /// Decides on the next packet, and removes it from where it waited.
    #[inline]
    fn next_outgoing<const IS_MOUNTED: bool>(&mut self, now: Instant, handle: Handle<Connection>) -> Option<Sending> {
        while let Some(first) = self.connections[handle].owed.front() {
            let owed = &self.owed[first];
            if owed.is_unanswered() || self.messages.journal.is_unsafe(owed.batch) {
                // Messages needn't wait with the replies, but no packet comes before CONNACK or after the last reply.
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
        let window = self.window_of(handle);
        let deadline = self.deadline(now);
        while self.sessions[session].outbound.is_resending() {
            let delivery = self.sessions[session].outbound.start_resend(&mut self.messages, window, deadline)?;
            let entry = self.messages.deliveries[delivery];
            if entry.is(Delivery::RECEIVED) {
                return Some(self.begin(handle, Outgoing::PubRel(entry.packet_id)));
            }
            if let Some(sending) = self.begin_publish::<IS_MOUNTED>(now, handle, session, delivery) {
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
                    if let Some(sending) = self.begin_publish::<IS_MOUNTED>(now, handle, session, delivery) {
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
    #[inline(always)]
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
        // The Session has room for messages that the groups of its shared subscriptions still keep.
        self.member_came(now, session);
        self.sessions[session].outbound.start(&mut self.messages, window, deadline)
    }

    /// The present time, and what to do with expired messages.
    #[inline]
    fn deadline(&self, now: Instant) -> Deadline {
        Deadline { now, resend_expired: self.config.resend_expired }
    }

    /// Closes the connection, because the first reply is longer than the client accepts `[MQTT-3.1.2-24]`. Without the reply
    /// client and broker would not agree on what was done. The length of a CONNACK that accepts was checked before; with one
    /// that refuses the connection ends anyway.
    fn give_up_replies(&mut self, now: Instant, handle: Handle<Connection>) {
        while let Some(entry) = self.connections[handle].owed.pop_front(&mut self.owed) {
            self.owed.remove(entry);
        }
        self.refuse(now, handle, UNSAYABLE);
    }

    fn begin(&self, handle: Handle<Connection>, what: Outgoing) -> Sending {
        let mut window = Window::closed();
        self.put_short(handle, what, &mut window);
        Sending { what, written: 0, len: window.total() }
    }

    /// Encodes a packet: for the same decision always the same bytes.
    #[inline]
    fn put<const IS_MOUNTED: bool>(&self, handle: Handle<Connection>, what: Outgoing, out: &mut Window<'_>) {
        match what {
            Outgoing::Publish(publishing) => self.put_publish::<IS_MOUNTED>(handle, &publishing, out),
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

    fn is_too_large(&self, handle: Handle<Connection>, packet: &impl Encode) -> bool {
        packet.encoded_len(self.connections[handle].version) > self.connections[handle].maximum_packet_size
    }

    fn binary<'a>(&'a self, blob: Blob, space: &'a mut [u8]) -> &'a [u8] {
        if OWNED && let Some(whole) = self.messages.bytes.contiguous(blob) {
            return whole;
        }
        let len = self.messages.bytes.copy(blob, 0, space);
        space.get(..len).unwrap_or(&[])
    }

    fn text<'a>(&'a self, blob: Blob, space: &'a mut [u8]) -> &'a str {
        core::str::from_utf8(self.binary(blob, space)).unwrap_or("")
    }

    /// The packet is transmitted as a whole.
    #[inline(always)]
    fn finish(&mut self, handle: Handle<Connection>, sending: Sending) {
        tally(&mut self.counters.packets_sent, 1);
        match sending.what {
            Outgoing::Publish(publishing) => {
                if OWNED {
                    tally(&mut self.counters.publish_bytes_sent, sending.len as usize);
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
                    tally(count, 1);
                }
            }
            Outgoing::Owed => self.finish_reply(handle),
            Outgoing::PubRel(_) => {}
            Outgoing::PingResp => self.connections[handle].pings = self.connections[handle].pings.saturating_sub(1),
            Outgoing::Disconnect => self.connections[handle].goodbye = false,
        }
    }
}
