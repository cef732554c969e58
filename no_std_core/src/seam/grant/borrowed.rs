//! What brokers in memory that is lent can grant.

/// What a client gets that may connect, beside its permissions. [`Grant::default`] is a client like all others. Bounds, an expiry and a
/// mount need the feature `alloc`: firmware closes a connection whose time is over by [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The client is a bridge, as if it had said so in its CONNECT: see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// What all clients get.
    pub const NOTHING_SPECIAL: Self = Self { is_bridge: false };
}
