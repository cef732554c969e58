//! The limits that a single client is granted, and the time until which it may stay connected.

use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::grant::{Bounded, Expiry, Grant, Granted};
use crate::time::Instant;

impl Engine<'_> {
    /// A connection was opened, or authenticated again: its grant holds from now on.
    pub(crate) fn take_grant(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        grant: &Grant,
    ) {
        let connection = &mut self.connections[handle];
        if grant.limits.inflight > 0 {
            connection.window = connection.window.min(grant.limits.inflight);
        }
        let expires = Expiry::of(grant);
        if expires != connection.draft.get().expires {
            connection.draft.get_mut().expires = expires;
        }
        let entry = &mut self.sessions[session];
        let granted = Granted::of(grant);
        if entry.lost.get().granted != granted {
            entry.lost.get_mut().granted = granted;
            entry.bounded = Bounded::by(grant);
        }
        let idle_limit = self.connections[handle].idle_limit_ms;
        self.rearm_open(now, handle, idle_limit);
    }

    /// Starts the timer of an open connection. The timer fires after `after_ms` (0: never), or when the grant expires
    /// if that is sooner.
    pub(crate) fn rearm_open(&mut self, now: Instant, handle: Handle<Connection>, after_ms: u32) {
        let expires = self.connections[handle].draft.get().expires.at();
        if expires == Instant::NEVER {
            self.rearm_connection(now, handle, after_ms);
            return;
        }
        let left = u32::try_from(expires.millis_since(now)).unwrap_or(u32::MAX).max(1);
        self.rearm_connection(now, handle, if after_ms == 0 { left } else { left.min(after_ms) });
    }

    /// Whether the grant of a connection has expired.
    pub(crate) fn grant_is_over(&self, now: Instant, handle: Handle<Connection>) -> bool {
        self.connections[handle].draft.get().expires.at() <= now
    }

    /// Whether the draft with the values of CONNECT is needed for as long as the connection is open.
    pub(crate) fn needs_draft(&self, handle: Handle<Connection>) -> bool {
        let draft = self.connections[handle].draft.get();
        draft.answered.get() > 0 || draft.expires != Expiry::NEVER
    }
}
