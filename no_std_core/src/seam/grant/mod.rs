//! What a client is granted with its [`Verdict`](crate::Verdict): bounds of its own, and for how long.

#[cfg(feature = "alloc")]
mod owned;

#[cfg(feature = "alloc")]
pub use owned::{ClientLimits, Mount, MountError};

/// What a client gets that may connect, beside its permissions. [`Grant::default`] is a client like all others. Bounds, an expiry and a
/// mount need the feature `alloc`: firmware closes a connection whose time is over by [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Bounds of this client, where they are lower than those of the broker.
    #[cfg(feature = "alloc")]
    pub limits: ClientLimits,
    /// When the client's proof of who it is expires, [`Instant::NEVER`](crate::Instant::NEVER) by default. Then its connection is closed with 0x87 Not authorized, unless a
    /// re-authentication has granted more time.
    #[cfg(feature = "alloc")]
    pub expires: crate::time::Instant,
    /// The part of the tree of topics in which the client lives, as if it were the whole; `None`, the default, is the whole tree.
    #[cfg(feature = "alloc")]
    pub mount: Option<Mount>,
    /// The client is a bridge, as if it had said so in its CONNECT: see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// What all clients get.
    #[cfg(not(feature = "alloc"))]
    pub const NOTHING_SPECIAL: Self = Self { is_bridge: false };

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
