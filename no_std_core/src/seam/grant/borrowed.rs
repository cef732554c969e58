//! The grants of brokers in borrowed memory, and what is kept of them with Sessions and connections.

use crate::config::Limits;

/// What an accepted client gets besides its permissions. [`Grant::default`] treats the client like all others. Bounds, an expiry
/// and a mount need the feature `alloc`. Firmware closes a connection whose time is over by
/// [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The client is treated as a bridge, as if its CONNECT had said so: see
    /// [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// The grant of an ordinary client.
    pub const NOTHING_SPECIAL: Self = Self { is_bridge: false };
}

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

/// Whether each subscription of a Session may be sent whatever matches. Otherwise [`Authorize`](crate::Authorize) is asked for each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhollyGranted(bool);

impl WhollyGranted {
    pub(crate) const NO: Self = Self(false);
    pub(crate) const YES: Self = Self(true);

    #[inline]
    pub(crate) fn is_so(self) -> bool {
        self.0
    }
}
