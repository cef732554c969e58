//! What the embedder wants done.

use super::broker::Broker;
use crate::engine::outcomes::Full;
use crate::engine::outcomes::LocalPublish;
use crate::seam::authorize::Permissions;
use crate::time::Instant;

impl<'m> Broker<'m> {
    /// Publishes a message of the embedder's own to all who subscribed to it.
    ///
    /// # Errors
    /// There is no room for it. Or it is not retained, and siblings have not told yet, after a restart, who subscribed.
    pub fn publish(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        self.engine.see(now);
        self.engine.publish_local(now, message)
    }

    /// What [`Authorize`](crate::Authorize) answers may have changed. From now on it is asked anew: about each message that the broker had before, when
    /// that is transmitted, and about all subscriptions, a share in each [`Broker::handle_timeout`], which is due at once. A subscription
    /// that is not permitted any more ends, and the connection of its client is closed with 0x87 Not authorized.
    pub fn rules_changed(&mut self, now: Instant) {
        self.engine.see(now);
        self.engine.begin_rules();
    }

    /// From now on these permissions are asked, and all that was granted so far is asked anew, see [`Broker::rules_changed`].
    pub fn set_authorize(&mut self, now: Instant, authorize: impl Into<Permissions<'m>>) {
        self.engine.authorize = authorize.into();
        self.rules_changed(now);
    }

    /// Closes every connection, with DISCONNECT 0x8B in MQTT 5.0. Transmit what is left, then drop the broker.
    pub fn shut_down(&mut self, now: Instant) {
        self.engine.close_all(now);
    }
}
