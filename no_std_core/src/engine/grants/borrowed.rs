//! Without the feature `alloc` every client has the limits of the broker, and may stay connected.

use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::grant::{Expiry, Grant};
use crate::time::Instant;

impl Engine<'_> {
    #[inline]
    pub(crate) fn take_grant(&mut self, now: Instant, handle: Handle<Connection>, _: Handle<Session>, _: &Grant) {
        let idle_limit = self.connections[handle].idle_limit_ms;
        self.rearm_connection(now, handle, idle_limit);
    }

    #[inline]
    pub(crate) fn rearm_open(&mut self, now: Instant, handle: Handle<Connection>, after_ms: u32) {
        self.rearm_connection(now, handle, after_ms);
    }

    #[inline]
    pub(crate) fn grant_is_over(&self, _: Instant, _: Handle<Connection>) -> bool {
        false
    }

    #[inline]
    pub(crate) fn needs_draft(&self, handle: Handle<Connection>) -> bool {
        self.connections[handle].draft.get().expires != Expiry::NEVER
    }
}
