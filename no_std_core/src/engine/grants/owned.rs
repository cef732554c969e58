//! Bounds of one client, and the time until which it may stay.

use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::grant::{ClientLimits, Grant, Mount};
use crate::time::Instant;

/// Bounds of the client of a Session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted(ClientLimits);

impl Granted {
    pub(crate) const NOTHING: Self = Self(ClientLimits::NONE);

    /// How many messages may wait.
    #[inline]
    pub(crate) fn queued_messages(&self, limits: &Limits) -> u32 {
        lower(limits.queued_messages, self.0.queued_messages)
    }

    /// How many bytes these may have.
    #[inline]
    pub(crate) fn queued_bytes(&self, limits: &Limits) -> u32 {
        lower(limits.queued_bytes, self.0.queued_bytes)
    }

    /// How many messages, with how many bytes, may wait in the store.
    pub(crate) fn stored(&self, limits: &Limits) -> (u32, u32) {
        let messages = limits.durable_queued_messages.max(limits.queued_messages);
        let bytes = limits.durable_queued_bytes.max(limits.queued_bytes);
        (lower(messages, self.0.queued_messages), lower(bytes, self.0.queued_bytes))
    }

    /// How many subscriptions the Session may have.
    pub(crate) fn subscriptions(&self, limits: &Limits) -> u32 {
        lower(limits.subscriptions, self.0.subscriptions)
    }
}

/// Whether a Session has bounds of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounded(bool);

impl Bounded {
    pub(crate) const NO: Self = Self(false);

    #[inline]
    pub(crate) fn is_so(self) -> bool {
        self.0
    }
}

/// The lower of a bound of the broker and one of a client; 0 is no bound of the client.
#[inline]
const fn lower(broker: u32, client: u32) -> u32 {
    if client == 0 || broker < client { broker } else { client }
}

/// When a client's proof of who it is expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(Instant);

impl Expiry {
    pub(crate) const NEVER: Self = Self(Instant::NEVER);
}

/// How many bytes of whole topics the client of a connection does not see; 0 without a mount.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mounted(u16);

impl Mounted {
    pub(crate) const NOWHERE: Self = Self(0);

    /// The bytes that a client with this mount does not see.
    pub(crate) fn below(mount: &Mount) -> Self {
        const { assert!(Mount::MAX_LEN <= u16::MAX as usize) };
        Self(mount.prefix().len() as u16)
    }

    #[inline]
    pub(crate) fn len(self) -> u16 {
        self.0
    }
}

impl Engine<'_> {
    /// A connection was opened, or authenticated again: what it was granted holds from now on.
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
        let expires = Expiry(grant.expires);
        if expires != connection.draft.get().expires {
            connection.draft.get_mut().expires = expires;
        }
        let entry = &mut self.sessions[session];
        if entry.lost.get().granted.0 != grant.limits {
            entry.lost.get_mut().granted = Granted(grant.limits);
            entry.bounded = Bounded(grant.limits != ClientLimits::NONE);
        }
        let idle_limit = self.connections[handle].idle_limit_ms;
        self.rearm_open(now, handle, idle_limit);
    }

    /// Arms the timer of an open connection: for `after_ms` without a packet (0: for any time), or for the end of its
    /// grant if that is sooner.
    pub(crate) fn rearm_open(&mut self, now: Instant, handle: Handle<Connection>, after_ms: u32) {
        let Expiry(expires) = self.connections[handle].draft.get().expires;
        if expires == Instant::NEVER {
            self.rearm_connection(now, handle, after_ms);
            return;
        }
        let left = u32::try_from(expires.millis_since(now)).unwrap_or(u32::MAX).max(1);
        self.rearm_connection(now, handle, if after_ms == 0 { left } else { left.min(after_ms) });
    }

    /// Whether the grant of a connection has expired.
    pub(crate) fn grant_is_over(&self, now: Instant, handle: Handle<Connection>) -> bool {
        self.connections[handle].draft.get().expires.0 <= now
    }

    /// Whether what CONNECT said is needed for as long as the connection is open.
    pub(crate) fn needs_draft(&self, handle: Handle<Connection>) -> bool {
        let draft = self.connections[handle].draft.get();
        draft.answered.get() > 0 || draft.expires != Expiry::NEVER
    }
}
