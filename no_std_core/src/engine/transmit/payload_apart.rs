//! Long payloads that the shell writes from where they are stored.

use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Sending};
use crate::mem::Handle;
use crate::seam::counters::tally;

/// From this many bytes on a payload is not copied. Several shorter payloads go into one write, which saves more.
const LONG_PAYLOAD: u32 = 28 * 1024;

impl Engine<'_> {
    /// The payload of a PUBLISH, if so much of it is still to be sent that it is not copied.
    #[inline]
    pub(super) fn long_payload(&self, sending: &Sending) -> Option<&[u8]> {
        let left = sending.len.saturating_sub(sending.written);
        if left < LONG_PAYLOAD {
            return None;
        }
        let Outgoing::Publish(publishing) = sending.what else { return None };
        let message = self.messages.get(self.messages.deliveries[publishing.delivery].message?);
        if message.payload_len() < LONG_PAYLOAD {
            return None;
        }
        let before_payload = message.body.len().checked_sub(message.payload_len() as usize)?;
        self.messages.bytes.contiguous(message.body)?.get(before_payload..)
    }

    /// What is to be sent next, if that is of a payload that stands apart.
    pub(crate) fn payload_apart(&self, handle: Handle<Connection>) -> &[u8] {
        let Some(sending) = self.connections[handle].sending.begun() else { return &[] };
        let Some(payload) = self.long_payload(&sending) else { return &[] };
        let left = sending.len.saturating_sub(sending.written) as usize;
        // None while a part of the head is left.
        payload.len().checked_sub(left).and_then(|sent| payload.get(sent..)).unwrap_or(&[])
    }

    /// So many bytes of that payload were sent.
    pub(crate) fn sent_apart(&mut self, handle: Handle<Connection>, count: usize) {
        let count = count.min(self.payload_apart(handle).len());
        if count == 0 {
            return;
        }
        let sending = &mut self.connections[handle].sending;
        sending.written = sending.written.saturating_add(count as u32);
        let sending = *sending;
        tally(&mut self.counters.bytes_sent, count);
        if sending.written == sending.len {
            self.connections[handle].sending = Sending::NONE;
            self.finish(handle, sending);
        }
    }
}
