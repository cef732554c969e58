//! Bytes of a Network Connection become packets, and each packet goes to its file in `packets/`.

use crate::codec::{Ack, PacketType, Publish, ReasonCode, Refusal, packet_len, peek_type, split_in};
use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId, Owed, Phase};
use crate::engine::outcomes::{Full, Next, Received};
use crate::engine::router::Subscriber;
use crate::engine::sessions::Session;
use crate::engine::shares::REPLIES;
use crate::engine::siblings::Siblings;
use crate::engine::timeout::TimerKey;
use crate::mem::{Handle, OWNED};
use crate::seam::authorize::Ask;
use crate::seam::counters::tally;
use crate::seam::work;
use crate::time::Instant;

/// The result of handling one packet.
pub(crate) enum Taken<'b> {
    /// The packet was handled.
    Done,
    /// The packet was not handled: the embedder has to hand it in again.
    NotNow,
    /// The packet was handled, and the embedder has to decide.
    Ask(Ask<'b>),
}

impl Engine<'_> {
    pub(crate) fn open_connection(&mut self, now: Instant) -> Result<ConnectionId, Full> {
        if !self.has_room_for_connection() {
            return Err(Full);
        }
        self.generations = self.generations.wrapping_add(1);
        let slot = self.connections.insert_empty().ok_or(Full)?;
        self.connections[slot].begin(self.generations, now);
        let deadline = now.plus_millis(u64::from(self.config.connect_timeout_ms));
        self.connections[slot].timer = self.timers.arm(deadline, TimerKey::Connection(slot));
        tally(&mut self.counters.connections_opened, 1);
        Ok(ConnectionId { slot, generation: self.generations })
    }

    /// Handles packet after packet, as long as the connection allows.
    pub(crate) fn receive<'b>(&mut self, now: Instant, handle: Handle<Connection>, bytes: &'b [u8]) -> Received<'b> {
        if !self.begins_to_take(now, handle) {
            return Received { consumed: 0, next: Next::Wait };
        }
        let mut rest = bytes;
        let mut not_seen = if self.looks_ahead() { bytes } else { &[] };
        let before = self.work;
        let next = loop {
            let connection = &self.connections[handle];
            match connection.phase {
                Phase::Closing | Phase::Dead => {
                    rest = &[];
                    break Next::Close;
                }
                Phase::AwaitingVerdict => break Next::Wait,
                _ if connection.awaits_verdict => break Next::Wait,
                _ => {}
            }
            if connection.owed.len() >= usize::from(self.config.limits.owed_replies)
                || (OWNED && connection.owed.len() >= REPLIES && !self.may_owe(handle, 1))
            {
                self.connections[handle].is_choked = true;
                break Next::Wait;
            }
            if !not_seen.is_empty() && not_seen.len() >= rest.len() {
                not_seen = self.look_ahead(rest);
            }
            let (frame, len) = match self.next_frame(handle, rest) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.note_part(now, handle, rest.len());
                    break Next::Read;
                }
                Err(refusal) => {
                    self.refuse_frame(now, handle, refusal, rest);
                    continue;
                }
            };
            if self.work.has_done(before, self.config.work_share) {
                break Next::Yield;
            }
            self.work.count(work::PACKET, 1);
            self.connections[handle].last_active = now;
            match self.take(now, handle, frame) {
                Ok(Taken::NotNow) => break Next::Wait,
                Ok(taken) => {
                    self.count_taken(frame.packet_type(), len);
                    rest = rest.get(len..).unwrap_or(&[]);
                    if let Taken::Ask(ask) = taken {
                        break Next::Ask(ask);
                    }
                }
                Err(refusal) => self.refuse(now, handle, refusal),
            }
        };
        self.connections[handle].is_held = !matches!(next, Next::Read | Next::Close);
        let consumed = bytes.len().saturating_sub(rest.len());
        tally(&mut self.counters.bytes_received, consumed);
        Received { consumed, next }
    }

    /// Whether packets of the client are handled now. Until the shards have greeted each other, no connection gets this
    /// far.
    #[inline]
    fn begins_to_take(&mut self, now: Instant, handle: Handle<Connection>) -> bool {
        if self.connections[handle].phase == Phase::AwaitingConnect && self.waits_for_greeting(handle) {
            self.connections[handle].is_held = true;
            return false;
        }
        if core::mem::take(&mut self.connections[handle].is_held) {
            // The time in which the broker handled no packets does not count against the client.
            self.connections[handle].last_active = now;
        }
        true
    }

    /// Counts a packet of so many bytes.
    #[inline]
    fn count_taken(&mut self, kind: PacketType, len: usize) {
        tally(&mut self.counters.packets_received, 1);
        if OWNED && kind == PacketType::Publish {
            tally(&mut self.counters.publish_bytes_received, len);
        }
    }

    /// Refuses the beginning of `bytes`, which is no packet or a packet that is too large.
    fn refuse_frame(&mut self, now: Instant, handle: Handle<Connection>, refusal: Refusal, bytes: &[u8]) {
        self.refuse(now, handle, refusal);
        if OWNED && refusal.code == ReasonCode::PacketTooLarge {
            let len = packet_len(bytes).unwrap_or(0);
            self.connections[handle].draft.get_mut().too_large.set(len);
        }
    }

    /// The next whole packet, and its length. A packet that is sure to be refused is refused before it has arrived as a
    /// whole.
    fn next_frame<'b>(
        &self,
        handle: Handle<Connection>,
        bytes: &'b [u8],
    ) -> Result<Option<(crate::codec::Frame<'b>, usize)>, Refusal> {
        let Connection { version, phase, .. } = self.connections[handle];
        let first = phase == Phase::AwaitingConnect;
        let mut most = self.config.limits.packet_bytes;
        if let Some(kind) = peek_type(bytes) {
            if OWNED && kind != PacketType::Publish {
                most = most.min(Limits::OTHER_PACKET_BYTES);
            }
            if first != (kind == PacketType::Connect) {
                return Err(if first {
                    Refusal::protocol_error("the first packet of a Network Connection is CONNECT [MQTT-3.1.0-1]")
                } else {
                    Refusal::protocol_error("a Network Connection has one CONNECT [MQTT-3.1.0-2]")
                });
            }
            if !kind.is_from_client() {
                return Err(Refusal::protocol_error("only a Server sends this packet"));
            }
        }
        let found = split_in((!first).then_some(version), bytes, most)?;
        Ok(found.map(|(frame, len)| (frame.with_plain_text(!self.config.allow_control_characters), len)))
    }

    #[inline]
    fn take<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: crate::codec::Frame<'b>,
    ) -> Result<Taken<'b>, Refusal> {
        // Each kind is decoded by itself: an enum of all kinds would be as large as CONNECT, and include packets that
        // only servers send.
        let kind = frame.packet_type();
        let Connection { version, phase, .. } = self.connections[handle];
        if let Some(taken) = self.take_below_mount(now, handle, frame) {
            return taken;
        }
        match kind {
            // PUBLISH comes first because it is by far the most frequent packet.
            PacketType::Publish => match Publish::decode(version, frame) {
                Ok(publish) => return self.on_publish(now, handle, &publish),
                Err(refusal) => return self.on_refused_publish(handle, frame, refusal),
            },
            PacketType::Connect => return self.on_connect(now, handle, frame),
            _ => {}
        }
        if phase == Phase::AwaitingAuth && !matches!(kind, PacketType::Auth | PacketType::Disconnect) {
            return Err(Refusal::protocol_error(
                "until CONNACK a Client sends nothing but AUTH and DISCONNECT [MQTT-3.1.2-30]",
            ));
        }
        match kind {
            PacketType::PubAck => self.on_puback(handle, &Ack::decode(version, frame)?)?,
            PacketType::PubRec => self.on_pubrec(handle, &Ack::decode(version, frame)?)?,
            PacketType::PubRel => self.on_pubrel(handle, &Ack::decode(version, frame)?),
            PacketType::PubComp => self.on_pubcomp(handle, &Ack::decode(version, frame)?)?,
            PacketType::Subscribe => return self.on_subscribe(now, handle, version, frame),
            PacketType::Unsubscribe => return self.on_unsubscribe(handle, version, frame),
            PacketType::PingReq => {
                frame.check_empty()?;
                return Ok(self.on_pingreq(handle));
            }
            PacketType::Disconnect => self.on_disconnect(now, handle, version, frame)?,
            PacketType::Auth => return self.on_auth(handle, version, frame),
            _ => return Err(Refusal::protocol_error("only a Server sends this packet")),
        }
        Ok(Taken::Done)
    }

    /// The client has made a mistake: sends a CONNACK before the connection is open, and a DISCONNECT later, if the
    /// version has it.
    pub(crate) fn refuse(&mut self, now: Instant, handle: Handle<Connection>, refusal: Refusal) {
        match self.connections[handle].phase {
            // The version of the client is not known, so no packet is sent `[MQTT-3.1.4-1]`.
            Phase::AwaitingConnect => self.close(now, handle, refusal, false),
            Phase::AwaitingVerdict | Phase::AwaitingAuth => self.refuse_connect(now, handle, refusal),
            _ => self.close(now, handle, refusal, true),
        }
    }

    /// Queues a reply. The caller has checked that the connection may be owed one more.
    pub(crate) fn owe(&mut self, handle: Handle<Connection>, owed: Owed) {
        let Some(entry) = self.owed.insert(owed) else {
            debug_assert!(false, "Limits::owed_replies for each connection is what the pool has room for");
            return;
        };
        self.connections[handle].owed.push_back(&mut self.owed, entry);
        self.mark_ready(handle);
    }

    /// The subscriber number of a Session: that of its slot.
    pub(crate) fn subscriber_of(&self, session: Handle<Session>) -> Subscriber {
        Subscriber(session.index() as u32)
    }

    /// The Session with this subscriber number.
    #[inline]
    pub(crate) fn session_of(&self, subscriber: Subscriber) -> Handle<Session> {
        Handle::from_index(subscriber.0 as usize)
    }
}
