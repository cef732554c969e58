//! DISCONNECT, and all other ends of a Network Connection.

use crate::codec::{Disconnect, Frame, QoS, ReasonCode, Refusal, Version};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Phase, Sending};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::engine::timeout::CLOSE_TIMEOUT_MS;
use crate::mem::{Handle, OWNED};
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::time::Instant;

impl Engine<'_> {
    #[inline(never)]
    pub(crate) fn on_disconnect(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        version: Version,
        frame: Frame<'_>,
    ) -> Result<(), Refusal> {
        let disconnect = Disconnect::decode(version, frame)?;
        disconnect.check_from_client()?;
        if let Some(session) = self.connections[handle].session {
            if let Some(expiry_secs) = disconnect.properties.session_expiry_interval() {
                // A Session that was to end with its connection can't be kept any more (section 3.14.2.2.2).
                if self.sessions[session].expiry_secs == 0 && expiry_secs != 0 {
                    return Err(Refusal::protocol_error(
                        "a Session Expiry Interval of 0 in CONNECT can't be raised in DISCONNECT",
                    ));
                }
                self.sessions[session].expiry_secs = expiry_secs.min(self.config.session_expiry_max);
                self.note_session(session);
            }
            if disconnect.code == ReasonCode::Success {
                self.remove_will(session);
            }
        }
        let gone = Refusal::new(disconnect.code, "the client disconnected");
        self.close(now, handle, gone, false);
        if OWNED {
            self.connections[handle].draft.get_mut().is_by_client.set(true);
        }
        Ok(())
    }

    /// The client closed its side of the connection.
    pub(crate) fn end_input(&mut self, now: Instant, handle: Handle<Connection>) {
        let gone = Refusal::new(ReasonCode::Success, "the client closed the connection without DISCONNECT");
        self.close_as(now, handle, gone, false, None);
    }

    /// Begins to close a connection. The owed replies may still be transmitted, and behind them, if `goodbye` is set and the
    /// version has it, a DISCONNECT. The Session goes on without the client from now on.
    pub(crate) fn close(&mut self, now: Instant, handle: Handle<Connection>, reason: Refusal, goodbye: bool) {
        self.close_as(now, handle, reason, goodbye, Some(reason.code));
    }

    /// As [`close`](Self::close), but observers are told this Reason Code.
    fn close_as(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        reason: Refusal,
        goodbye: bool,
        code: Option<ReasonCode>,
    ) {
        let connection = &mut self.connections[handle];
        if matches!(connection.phase, Phase::Closing | Phase::Dead) {
            return;
        }
        if OWNED && connection.phase == Phase::Open {
            connection.draft.get_mut().was_open.set(true);
        }
        connection.phase = Phase::Closing;
        // A verdict that comes later has nothing to decide.
        connection.awaits_verdict = false;
        (connection.has_reason, connection.reason, connection.reason_code) = (true, reason.why, reason.code);
        connection.goodbye = goodbye && connection.version == Version::V5;
        self.forget_sending(handle);
        let session = self.connections[handle].session.take();
        self.rearm_connection(now, handle, CLOSE_TIMEOUT_MS);
        if OWNED {
            self.forget_drafted_will(handle);
            self.keep_client_id(handle, session);
        } else {
            self.forget_draft(handle);
        }
        self.end_waiting(handle);
        self.mark_ready(handle);
        if let Some(session) = session {
            self.begin_absence(now, session, code);
        }
    }

    /// Closes a connection on which an acknowledgement was withheld, now or as soon as that is allowed. Returns false if no
    /// acknowledgement was withheld.
    pub(crate) fn close_refused(&mut self, now: Instant, handle: Handle<Connection>) -> bool {
        const REFUSED: Refusal =
            Refusal::new(ReasonCode::QuotaExceeded, "there was no room for a message of this client");
        let connection = &self.connections[handle];
        let Some(session) = connection.session.filter(|_| connection.has_reason) else {
            return false;
        };
        match self.sessions[session].inbound.time_to_close(now) {
            0 => self.close(now, handle, REFUSED, false),
            left => self.rearm_connection(now, handle, left),
        }
        true
    }

    /// Keeps the Client Identifier for the embedder's log for as long as the connection exists. That of a refused client is
    /// kept anyway.
    fn keep_client_id(&mut self, handle: Handle<Connection>, session: Option<Handle<Session>>) {
        let bytes = &mut self.messages.bytes;
        let shared = session.and_then(|session| bytes.share(self.sessions[session].client_id));
        if let Some(client_id) = shared.and_then(|id| bytes.adopt(id)) {
            self.connections[handle].draft.get_mut().client_id = client_id;
        }
    }

    /// The Network Connection is gone.
    pub(crate) fn end_connection(&mut self, now: Instant, handle: Handle<Connection>) {
        self.forget_sending(handle);
        self.forget_draft(handle);
        self.unmount(handle);
        let connection = &mut self.connections[handle];
        let session = connection.session.take();
        let timer = connection.timer.take();
        let method = core::mem::take(&mut connection.method);
        let data = core::mem::take(&mut connection.auth_data);
        self.messages.bytes.release(method);
        self.messages.bytes.release(data);
        if let Some(timer) = timer {
            self.timers.cancel(timer);
        }
        self.end_waiting(handle);
        self.aliases.forget(&mut self.messages.bytes, &mut self.connections[handle].aliases);
        self.stop_waiting(handle);
        while let Some(entry) = self.connections[handle].owed.pop_front(&mut self.owed) {
            self.owed.remove(entry);
        }
        if self.connections[handle].is_ready {
            // In this phase the connection can't be closed once more: it would get a timer that outlives the connection.
            self.connections[handle].phase = Phase::Dead;
            self.connections[handle].is_gone = true;
        } else {
            self.connections.remove(handle);
        }
        if let Some(session) = session {
            self.begin_absence(now, session, None);
        }
    }

    /// Gives up the packet that is being transmitted. If a part of it is out, nothing may follow.
    pub(crate) fn forget_sending(&mut self, handle: Handle<Connection>) {
        let connection = &mut self.connections[handle];
        let Some(sending) = connection.sending.begun() else {
            return;
        };
        match sending.what {
            // These packets do not come from the Session, and can still be finished.
            Outgoing::Owed | Outgoing::PingResp | Outgoing::Disconnect => {}
            Outgoing::PubRel(_) => {
                connection.sending = Sending::NONE;
                if sending.written > 0 {
                    connection.phase = Phase::Dead;
                }
            }
            Outgoing::Publish(publishing) => {
                connection.sending = Sending::NONE;
                if sending.written > 0 {
                    connection.phase = Phase::Dead;
                }
                let session = connection.session;
                if self.messages.deliveries[publishing.delivery].qos == QoS::AtMostOnce {
                    self.drop_delivery(session, publishing.delivery, DropReason::CutOff);
                }
            }
        }
    }

    fn forget_draft(&mut self, handle: Handle<Connection>) {
        self.forget_drafted_will(handle);
        let Some(draft) = self.connections[handle].draft.allocated() else { return };
        let client_id = core::mem::take(&mut draft.client_id);
        self.messages.bytes.release(client_id);
    }

    fn forget_drafted_will(&mut self, handle: Handle<Connection>) {
        if let Some(will) = self.connections[handle].draft.allocated().and_then(|draft| draft.will.take()) {
            self.messages.release(will.message);
        }
    }

    pub(crate) fn close_all(&mut self, now: Instant) {
        const SHUTTING_DOWN: Refusal = Refusal::new(ReasonCode::ServerShuttingDown, "the server is shutting down");
        for slot in 0..self.connections.slots() {
            let handle = Handle::from_index(slot);
            if self.connections.is_live(handle) {
                let open = self.connections[handle].phase == Phase::Open;
                self.close(now, handle, SHUTTING_DOWN, open);
            }
        }
    }

    pub(crate) fn count_drop(&mut self, session: Option<Handle<Session>>, reason: DropReason) {
        self.counters.dropped.count(reason);
        self.messages.journal.mark_lazily(Kind::Counters, 0);
        if let Some(session) = session {
            self.sessions[session].lost.get_mut().dropped.count(reason);
            if self.sessions[session].is_durable {
                self.messages.journal.mark_lazily(Kind::Session, session.index());
            }
        }
    }
}
