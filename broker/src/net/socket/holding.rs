//! What the bytes that wait in a socket claim of the memory of the process.

use super::{CHUNK, LONG_PACKET, Reading, SHORT_REST, Socket};
use goldcrest_core::Instant;
use goldcrest_core::codec::packet_len;

/// Whether there is memory for what a socket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// There is.
    Granted,
    /// The packet that has begun has to wait.
    Waits,
    /// There is no memory for the bytes that are there already.
    Refused,
}

impl Socket {
    /// Claims memory for the bytes that wait, after some came or went; `consumed` were consumed. Where a good part of a large packet has come, memory
    /// for all of it is claimed, so that packets that have begun don't wait for each other.
    pub(crate) fn claim_memory(&mut self, now: Instant, consumed: usize) -> Holding {
        self.claim_memory_as(now, consumed, false)
    }

    /// The same for the one that `is_first` of those who wait for memory.
    pub(crate) fn claim_memory_as(&mut self, now: Instant, consumed: usize, is_first: bool) -> Holding {
        if self.unread.is_empty() && self.unsent.is_empty() && self.permit.claimed() == 0 {
            self.begun = None;
            return Holding::Granted;
        }
        let begun = self.unread.as_slice();
        let len = packet_len(begun).unwrap_or(0) as usize;
        let come = begun.len();
        let is_renewed = self.begun.is_none_or(|(_, before)| consumed > 0 || come >= before + SHORT_REST);
        if come == 0 {
            self.begun = None;
        } else if is_renewed {
            self.begun = Some((now, come));
        }
        let holds = self.unread.capacity();
        let is_large = self.reading == Reading::Open && come < len && len > LONG_PACKET;
        let is_due = self.promised == len || come > SHORT_REST || self.permit.most_at_once(CHUNK) < CHUNK;
        let unsent = self.unsent.capacity();
        self.promised = 0;
        let mut is_refused = false;
        if is_large && is_due {
            let whole = len.max(holds) + unsent;
            is_refused = self.permit.claimed() < whole && !self.permit.claim_for_packet(whole, is_first);
            self.promised = if is_refused { 0 } else { len };
        }
        // What is there already counts in any case.
        let wanted = holds.max(self.promised) + unsent;
        match wanted == self.permit.claimed() || self.permit.claim(wanted) {
            true if is_refused => Holding::Waits,
            true => Holding::Granted,
            false => Holding::Refused,
        }
    }

    /// Since when it has held bytes of an unfinished packet of which no good part has come; unless the core lets it wait.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        let (since, _) = self.begun.filter(|_| self.reading == Reading::Open)?;
        Some(since)
    }

    /// The bytes of memory that it has claimed.
    pub(crate) fn claimed(&self) -> usize {
        self.permit.claimed()
    }

    /// Throws away what was read: nothing more is taken from the peer.
    pub(crate) fn forget_unread(&mut self) {
        self.unread.clear();
        (self.promised, self.begun, self.waits_for_memory) = (0, None, false);
        let _ = self.permit.claim(self.unsent.capacity());
    }

    /// How many bytes are to be taken from the core for one write.
    pub(crate) fn most_to_write(&self) -> usize {
        self.permit.most_at_once(CHUNK)
    }
}
