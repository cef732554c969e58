//! The grants of brokers in owned memory, and what is kept of them with Sessions and connections.

mod limits;
mod mount;

pub use limits::ClientLimits;
pub use mount::{Mount, MountError};

use crate::config::Limits;
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

/// Bounds of the client of a Session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted(ClientLimits);

impl Granted {
    pub(crate) const NOTHING: Self = Self(ClientLimits::NONE);

    pub(crate) fn of(grant: &Grant) -> Self {
        Self(grant.limits)
    }

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

    pub(crate) fn by(grant: &Grant) -> Self {
        Self(grant.limits != ClientLimits::NONE)
    }

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

    pub(crate) fn of(grant: &Grant) -> Self {
        Self(grant.expires)
    }

    /// The instant; [`Instant::NEVER`] without one.
    pub(crate) fn at(self) -> Instant {
        self.0
    }
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

/// The version of the rules under which each subscription of a Session may be sent whatever matches; 0: [`Authorize`](crate::Authorize) is asked for each
/// message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WhollyGranted(u32);

impl WhollyGranted {
    pub(crate) const NO: Self = Self(0);

    /// By the rules of this version.
    pub(crate) fn under(version: u32) -> Self {
        Self(version)
    }

    #[inline]
    pub(crate) fn is_under(self, version: u32) -> bool {
        self.0 == version
    }
}
