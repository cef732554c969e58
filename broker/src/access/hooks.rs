//! What a program decides about the clients of its gateway.

use goldcrest_core::{AllowAll, Permissions};

/// What a program decides about the clients of its gateway; see [`Gateway::start_with`](crate::Gateway::start_with).
#[derive(Clone, Debug)]
pub struct Access {
    pub(crate) permissions: Permissions<'static>,
}

impl Access {
    /// Everybody may connect, and may do everything but publish below `$SYS/`.
    pub fn new() -> Self {
        Self { permissions: Permissions::from(&AllowAll) }
    }

    /// These permissions are asked what a client may do: an `Arc` of whatever implements [`Authorize`](goldcrest_core::Authorize), or a reference that lasts.
    /// Shards ask at the same time, each on its own thread, and wait for the answer: it must come at once.
    #[must_use]
    pub fn authorized_by(mut self, permissions: impl Into<Permissions<'static>>) -> Self {
        self.permissions = permissions.into();
        self
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::new()
    }
}
