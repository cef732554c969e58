//! The grants of brokers in owned memory.

mod limits;
mod mount;

pub use limits::ClientLimits;
pub use mount::{Mount, MountError};

use crate::time::Instant;

/// What an accepted client gets besides its permissions. [`Grant::default`] treats the client like all others. Bounds, an expiry
/// and a mount need the feature `alloc`. Firmware closes a connection whose time is over by
/// [`Broker::disconnect`](crate::Broker::disconnect).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Bounds of this client. They count if they are lower than those of the broker.
    pub limits: ClientLimits,
    /// When the client's proof of identity expires, [`Instant::NEVER`](crate::Instant::NEVER) by default. At that time the
    /// connection is closed with 0x87 Not authorized, unless a re-authentication has granted more time.
    pub expires: Instant,
    /// The part of the tree of topics in which the client lives as if that part were the whole tree; `None`, the default, is the
    /// whole tree.
    pub mount: Option<Mount>,
    /// The client is treated as a bridge, as if its CONNECT had said so: see
    /// [`Connect::is_bridge`](crate::codec::Connect::is_bridge).
    pub is_bridge: bool,
}

impl Grant {
    /// The grant of an ordinary client.
    pub const NOTHING_SPECIAL: Self =
        Self { limits: ClientLimits::NONE, expires: Instant::NEVER, mount: None, is_bridge: false };

    /// The same grant with this expiry.
    pub const fn until(mut self, expires: Instant) -> Self {
        self.expires = expires;
        self
    }

    /// The same grant with these bounds.
    pub const fn within(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same grant with this mount.
    pub fn below(self, mount: Mount) -> Self {
        Self { mount: Some(mount), ..self }
    }
}
