//! What only brokers on the heap grant.

mod limits;
mod mount;

pub use limits::ClientLimits;
pub use mount::{Mount, MountError};

use super::Grant;
use crate::time::Instant;

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
