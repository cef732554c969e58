//! Timers: Keep Alive, a late CONNECT, a delayed Will, the end of a Session.

use crate::codec::{ReasonCode, Refusal};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Phase};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED};
use crate::seam::work;
use crate::time::Instant;

/// To what a timer belongs.
#[derive(Clone, Copy, Debug, Default)]
pub enum TimerKey {
    /// To nothing.
    #[default]
    None,
    /// To a connection: the time for CONNECT, the Keep Alive, or the time for closing.
    Connection(Handle<Connection>),
    /// To an absent client: its Will and its Session.
    Session(Handle<Session>),
}

/// The time in which a closing connection has to receive its last packets, in ms.
pub(crate) const CLOSE_TIMEOUT_MS: u32 = 5_000;

/// A packet may be on its way for longer than the Keep Alive. Its client counts as active while so many bytes of it arrive each
/// second. Modems of the slowest networks are faster; a client that sends a byte now and then to hold a connection is slower.
const LEAST_BYTES_PER_SEC: u64 = 64;

impl Engine<'_> {
    /// So many bytes of the next packet have arrived by now. If they are enough for the time since the client was last active,
    /// the client counts as active.
    pub(crate) fn note_part(&mut self, now: Instant, handle: Handle<Connection>, come: usize) {
        if !OWNED || come == 0 {
            return;
        }
        let connection = &mut self.connections[handle];
        let come = u32::try_from(come).unwrap_or(u32::MAX);
        // An unfinished packet only grows: fewer bytes belong to another packet.
        let counted = Some(connection.counted.get()).filter(|counted| *counted <= come).unwrap_or(0);
        let since = now.millis_since(connection.last_active);
        if u64::from(come.saturating_sub(counted)) * 1000 >= since.saturating_mul(LEAST_BYTES_PER_SEC) {
            connection.last_active = now;
            connection.counted.set(come);
        }
    }

    /// When the next timer is due. All timers wait until the shards have greeted each other: before that a Will could not reach
    /// all subscribers.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.is_greeting() {
            return None;
        }
        let sweep = self.sweep.due().min(self.rules.due());
        let timer = self.timers.next().unwrap_or(Instant::NEVER);
        Some(sweep.min(timer)).filter(|due| *due != Instant::NEVER)
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none() {
            return;
        }
        self.was_paused.set(false);
        let before = self.work;
        self.sweep_retained(now);
        self.review_sessions(now, before);
        while !self.work.has_done(before, self.config.work_share)
            && let Some(key) = self.timers.pop_due(now)
        {
            self.work.count(work::TIMER, 1);
            match key {
                TimerKey::None => {}
                TimerKey::Connection(handle) => self.on_connection_timeout(now, handle),
                TimerKey::Session(session) => {
                    self.sessions[session].timer = None;
                    self.watch_absence(now, session);
                }
            }
        }
    }

    /// Whether an absent client that connects now may have come in time, because the embedder was paused and did not look.
    pub(crate) fn may_have_come_in_time(&self) -> bool {
        self.was_paused.get()
    }

    fn on_connection_timeout(&mut self, now: Instant, handle: Handle<Connection>) {
        self.connections[handle].timer = None;
        let is_held = self.connections[handle].is_held;
        match self.connections[handle].phase {
            // This case comes first, because the grant expires even while the broker does not read packets.
            Phase::Open if self.grant_is_over(now, handle) => {
                let why = "the client's proof of who it is has expired";
                self.close(now, handle, Refusal::new(ReasonCode::NotAuthorized, why), true);
            }
            Phase::Open if is_held => {
                let limit = self.connections[handle].idle_limit_ms;
                self.rearm_open(now, handle, limit);
            }
            Phase::AwaitingConnect if is_held => self.rearm_connection(now, handle, self.config.connect_timeout_ms),
            Phase::Open => {
                if self.close_refused(now, handle) {
                    return;
                }
                // The timer is not set anew for each packet. When it fires, it looks how long the client has been silent.
                let connection = &self.connections[handle];
                let limit = connection.idle_limit_ms;
                let quiet = now.millis_since(connection.last_active);
                if limit != 0 && quiet >= u64::from(limit) {
                    let why = "nothing came for one and a half times the Keep Alive";
                    self.close(now, handle, Refusal::new(ReasonCode::KeepAliveTimeout, why), true);
                } else {
                    self.rearm_open(now, handle, if limit == 0 { 0 } else { limit.saturating_sub(quiet as u32) });
                }
            }
            Phase::AwaitingConnect | Phase::AwaitingVerdict | Phase::AwaitingAuth => {
                let why = "the Network Connection was not opened in time";
                self.close(now, handle, Refusal::new(ReasonCode::MaximumConnectTime, why), false);
                self.connections[handle].phase = Phase::Dead;
            }
            // The disk is slow, not the client.
            Phase::Closing if self.waits(handle) => self.rearm_connection(now, handle, CLOSE_TIMEOUT_MS),
            Phase::Closing | Phase::Dead => {
                self.connections[handle].phase = Phase::Dead;
                self.mark_ready(handle);
            }
        }
    }
}
