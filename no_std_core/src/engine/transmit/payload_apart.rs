//! Long payloads that the embedder writes from where they are stored.

use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Sending};
use crate::mem::Handle;
use crate::seam::counters::tally;

/// Payloads of at least so many bytes are not copied. Several shorter payloads go into one write, which saves more.
const LONG_PAYLOAD: u32 = 28 * 1024;

impl Engine<'_> {
    /// The payload of a PUBLISH, if it is not copied because so much of it is still to be sent.
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

    /// The rest of a payload that is not copied, if that is to be sent next; otherwise empty.
    pub(crate) fn payload_apart(&self, handle: Handle<Connection>) -> &[u8] {
        let Some(sending) = self.connections[handle].sending.begun() else { return &[] };
        let Some(payload) = self.long_payload(&sending) else { return &[] };
        let left = sending.len.saturating_sub(sending.written) as usize;
        // While a part of the packet before the payload is left, the subtraction fails.
        payload.len().checked_sub(left).and_then(|sent| payload.get(sent..)).unwrap_or(&[])
    }

    /// The embedder has written so many bytes of the payload.
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
