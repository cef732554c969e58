//! PINGREQ and PINGRESP (sections 3.12 and 3.13). A client that hears no PINGRESP takes the connection for lost, so it is not to wait for
//! anything but what can be sent at once.

use super::Taken;
use crate::broker::Broker;
use crate::connection::Connection;
use crate::storage::Handle;

impl Broker<'_> {
    /// A PINGRESP is owed `[MQTT-3.12.4-1]`.
    pub(super) fn on_pingreq<'b>(&mut self, handle: Handle<Connection>) -> Taken<'b> {
        let most = self.config.limits.owed_replies;
        let connection = &mut self.connections[handle];
        if connection.pings >= most {
            connection.is_choked = true;
            return Taken::NotNow;
        }
        connection.pings += 1;
        self.mark_ready(handle);
        Taken::Done
    }
}
