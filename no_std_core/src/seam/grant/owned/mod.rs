//! What only brokers on the heap grant.

mod limits;
mod mount;

pub use limits::ClientLimits;
pub use mount::{Mount, MountError};

use crate::time::Instant;

/// What a client gets that may connect, beside its permissions. [`Grant::default`] is a client like all others. Bounds, an expiry and a
/// mount need the feature `alloc`: firmware closes a connection whose time is over by [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Bounds of this client, where they are lower than those of the broker.
    pub limits: ClientLimits,
    /// When the client's proof of who it is expires, [`Instant::NEVER`](crate::Instant::NEVER) by default. Then its connection is closed with 0x87 Not authorized, unless a
    /// re-authentication has granted more time.
    pub expires: Instant,
    /// The part of the tree of topics in which the client lives, as if it were the whole; `None`, the default, is the whole tree.
    pub mount: Option<Mount>,
    /// The client is a bridge, as if it had said so in its CONNECT: see [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// What all clients get.
    pub const NOTHING_SPECIAL: Self =
        Self { limits: ClientLimits::NONE, expires: Instant::NEVER, mount: None, is_bridge: false };

    /// The same until then.
    pub const fn until(mut self, expires: Instant) -> Self {
        self.expires = expires;
        self
    }

    /// The same with these bounds.
    pub const fn within(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same below this mount.
    pub fn below(self, mount: Mount) -> Self {
        Self { mount: Some(mount), ..self }
    }
}
