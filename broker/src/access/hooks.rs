//! The functions of an embedding program that decide about the clients of its gateway.

use super::decide::Decide;
use goldcrest_core::Permissions;
use std::fmt;
use std::sync::Arc;

/// The functions of an embedding program that decide about the clients of its gateway; see
/// [`Gateway::start_with`](crate::Gateway::start_with).
#[derive(Clone)]
pub struct Access {
    /// `None`: the configuration says who may do what, or everybody may do everything.
    pub(crate) permissions: Option<Permissions<'static>>,
    pub(crate) decider: Option<Arc<dyn Decide>>,
}

impl Access {
    /// Lets every client connect, and do what the file in [`Config::permissions`](crate::Config::permissions) allows; without that file
    /// everything but to publish below `$SYS/`.
    pub fn new() -> Self {
        Self { permissions: None, decider: None }
    }

    /// Asks these permissions what a client may do: an `Arc` of a type that implements [`Authorize`](goldcrest_core::Authorize), or a
    /// `'static` reference. Several shards may ask at the same time, each on its own thread. A shard waits for the answer, so it must come
    /// at once. The configuration must name no file of permissions then.
    #[must_use]
    pub fn authorized_by(mut self, permissions: impl Into<Permissions<'static>>) -> Self {
        self.permissions = Some(permissions.into());
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
