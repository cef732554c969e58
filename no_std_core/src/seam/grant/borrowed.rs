//! The grants of brokers in borrowed memory.

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
