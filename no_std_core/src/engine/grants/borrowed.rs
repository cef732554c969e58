//! Every client has the bounds of the broker, and may stay.

use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::grant::Grant;
use crate::time::Instant;

/// Bounds of the client of a Session: none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted;

impl Granted {
    pub(crate) const NOTHING: Self = Self;

    #[inline]
    pub(crate) fn queued_messages(self, limits: &Limits) -> u32 {
        limits.queued_messages
    }

    #[inline]
    pub(crate) fn queued_bytes(self, limits: &Limits) -> u32 {
        limits.queued_bytes
    }

    #[inline]
    pub(crate) fn stored(self, limits: &Limits) -> (u32, u32) {
        (limits.queued_messages, limits.queued_bytes)
    }

    #[inline]
    pub(crate) fn subscriptions(self, limits: &Limits) -> u32 {
        limits.subscriptions
    }
}

/// Whether a Session has bounds of its own: never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounded;

impl Bounded {
    pub(crate) const NO: Self = Self;

    #[inline]
    pub(crate) fn is_so(self) -> bool {
        false
    }
}

/// When a client's proof of who it is expires: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry;

impl Expiry {
    pub(crate) const NEVER: Self = Self;
}

/// How many bytes of whole topics the client of a connection does not see: none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mounted;

impl Mounted {
    pub(crate) const NOWHERE: Self = Self;

    #[inline]
    pub(crate) fn len(self) -> u16 {
        0
    }
}

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
