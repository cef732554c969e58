//! What a client is granted with its [`Verdict`](crate::Verdict): bounds of its own, and for how long.

#[cfg(feature = "alloc")]
use crate::time::Instant;

/// What a client gets that may connect, beside its permissions. [`Grant::default`] is a client like all others. Bounds and an expiry need the feature
/// `alloc`: firmware closes a connection whose time is over by [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Bounds of this client, where they are lower than those of the broker.
    #[cfg(feature = "alloc")]
    pub limits: ClientLimits,
    /// When the client's proof of who it is expires, [`Instant::NEVER`] by default. Then its connection is closed with 0x87 Not authorized, unless a
    /// re-authentication has granted more time.
    #[cfg(feature = "alloc")]
    pub expires: Instant,
    /// The client is a bridge, as if it had said so in its CONNECT: see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// What all clients get.
    #[cfg(feature = "alloc")]
    pub const NOTHING_SPECIAL: Self = Self { limits: ClientLimits::NONE, expires: Instant::NEVER, is_bridge: false };
    /// What all clients get.
    #[cfg(not(feature = "alloc"))]
    pub const NOTHING_SPECIAL: Self = Self { is_bridge: false };

    /// The same until then.
    #[cfg(feature = "alloc")]
    pub const fn until(self, expires: Instant) -> Self {
        Self { expires, ..self }
    }

    /// The same with these bounds.
    #[cfg(feature = "alloc")]
    pub const fn within(self, limits: ClientLimits) -> Self {
        Self { limits, ..self }
    }

    /// The same for a bridge.
    pub const fn as_bridge(mut self) -> Self {
        self.is_bridge = true;
        self
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self::NOTHING_SPECIAL
    }
}

/// Bounds of one client; 0 is no bound. What is lower counts, the bound here or that of [`Limits`](crate::Limits). They hold for the Session until its client
/// connects the next time; after a restart a Session whose client is away has those of the broker.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Messages that wait for the client. At this limit the overflow policy of their topic decides.
    pub queued_messages: u32,
    /// The bytes of these.
    pub queued_bytes: u32,
    /// Messages of QoS 1 and 2 that the client has not acknowledged.
    pub inflight: u16,
    /// Subscriptions. Beyond them: SUBACK 0x97 Quota exceeded.
    pub subscriptions: u32,
}

#[cfg(feature = "alloc")]
impl ClientLimits {
    /// No bounds but those of the broker.
    pub const NONE: Self = Self { queued_messages: 0, queued_bytes: 0, inflight: 0, subscriptions: 0 };
}

#[cfg(feature = "alloc")]
impl Default for ClientLimits {
    fn default() -> Self {
        Self::NONE
    }
}
