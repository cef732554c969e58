//! What the embedder wants done.

use super::broker::Broker;
use crate::engine::outcomes::Full;
use crate::engine::outcomes::LocalPublish;
use crate::time::Instant;

impl Broker<'_> {
    /// Publishes a message of the embedder's own to all who subscribed to it.
    ///
    /// # Errors
    /// There is no room for it. Or it is not retained, and siblings have not told yet, after a restart, who subscribed.
    pub fn publish(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        self.engine.see(now);
        self.engine.publish_local(now, message)
    }

    /// Closes every connection, with DISCONNECT 0x8B in MQTT 5.0. Transmit what is left, then drop the broker.
    pub fn shut_down(&mut self, now: Instant) {
        self.engine.close_all(now);
    }
}
