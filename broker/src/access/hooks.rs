//! The functions of an embedding program that decide about the clients of its gateway.

use super::decide::Decide;
use goldcrest_core::{AllowAll, Permissions};
use std::fmt;
use std::sync::Arc;

/// The functions of an embedding program that decide about the clients of its gateway; see
/// [`Gateway::start_with`](crate::Gateway::start_with).
#[derive(Clone)]
pub struct Access {
    pub(crate) permissions: Permissions<'static>,
    pub(crate) decider: Option<Arc<dyn Decide>>,
}

impl Access {
    /// Lets every client connect, and do everything but publish below `$SYS/`.
    pub fn new() -> Self {
        Self { permissions: Permissions::from(&AllowAll), decider: None }
    }

    /// Asks these permissions what a client may do: an `Arc` of a type that implements [`Authorize`](goldcrest_core::Authorize), or a
    /// `'static` reference. Several shards may ask at the same time, each on its own thread. A shard waits for the answer, so it must come
    /// at once.
    #[must_use]
    pub fn authorized_by(mut self, permissions: impl Into<Permissions<'static>>) -> Self {
        self.permissions = permissions.into();
        self
    }

    /// Asks this decider who may connect, for clients in the process of the gateway too. Listeners need no `allow_anonymous` then.
    #[must_use]
    pub fn decided_by(mut self, decider: impl Decide + 'static) -> Self {
        self.decider = Some(Arc::new(decider));
        self
    }
}

impl Default for Access {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("is_decided", &self.decider.is_some()).finish_non_exhaustive()
    }
}
