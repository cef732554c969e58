//! PINGREQ and PINGRESP (sections 3.12 and 3.13). A client that gets no PINGRESP takes the connection for lost. So PINGRESP waits for
//! nothing but packets that can be sent at once.

use crate::codec::{PacketType, split_in};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Phase};
use crate::engine::receive::Taken;
use crate::mem::Handle;

impl Engine<'_> {
    /// Owes the client a PINGRESP `[MQTT-3.12.4-1]`.
    pub(crate) fn on_pingreq<'b>(&mut self, handle: Handle<Connection>) -> Taken<'b> {
        let most = self.config.limits.owed_replies;
        let connection = &mut self.connections[handle];
        if let Some(draft) = connection.draft.allocated()
            && let Some(left) = draft.answered.get().checked_sub(1)
        {
            draft.answered.set(left);
            return Taken::Done;
        }
        if connection.pings >= most {
            connection.is_choked = true;
            return Taken::NotNow;
        }
        connection.pings = connection.pings.saturating_add(1);
        self.mark_ready(handle);
        Taken::Done
    }

    /// Answers the PINGREQs in `bytes`, which the client has sent behind packets that the broker does not read yet. When such a PINGREQ
    /// is read later, it is not answered again. Returns how many bytes were looked at.
    pub(crate) fn answer_ahead(&mut self, handle: Handle<Connection>, bytes: &[u8]) -> usize {
        let Connection { version, phase, is_held, .. } = self.connections[handle];
        if phase != Phase::Open || !is_held {
            return 0;
        }
        let most = self.config.limits.owed_replies;
        let mut rest = bytes;
        while let Ok(Some((frame, len))) = split_in(Some(version), rest, self.config.limits.packet_bytes) {
            match frame.packet_type() {
                PacketType::PingReq => {
                    let connection = &mut self.connections[handle];
                    let answered = connection.draft.get().answered.get();
                    if frame.check_empty().is_err() || connection.pings.max(answered) >= most {
                        break;
                    }
                    connection.pings = connection.pings.saturating_add(1);
                    connection.draft.get_mut().answered.set(answered.saturating_add(1));
                    self.mark_ready(handle);
                }
                // No packet may follow a DISCONNECT.
                PacketType::Disconnect => break,
                _ => {}
            }
            rest = rest.get(len..).unwrap_or(&[]);
        }
        bytes.len().saturating_sub(rest.len())
    }
}
