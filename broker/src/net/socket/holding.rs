//! Claims of memory for the bytes that wait in a socket.

use super::{CHUNK, LONG_PACKET, Reading, SHORT_REST, Socket};
use goldcrest_core::Instant;
use goldcrest_core::codec::packet_len;
use std::cell::RefCell;

/// Whether there is memory for what a socket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    /// There is memory.
    Granted,
    /// There is memory for the bytes that have arrived, but not for the rest of their packet, which has to wait.
    Waits,
    /// There is no memory even for the bytes that have arrived.
    Refused,
}

/// A packet of which a part has come.
pub(super) struct BegunPacket {
    /// When the last good part of the packet had come.
    since: Instant,
    /// How many bytes had come then.
    waited: usize,
    /// Memory for so many bytes is claimed, because the packet is large; 0: for the bytes that have come.
    promised: usize,
}

thread_local! {
    // Most reads end amid a packet.
    #[expect(clippy::vec_box, reason = "a box goes from one connection to the next")]
    static SPARES: RefCell<Vec<Box<BegunPacket>>> = const { RefCell::new(Vec::new()) };
}

impl BegunPacket {
    /// The most spare boxes that a thread keeps.
    const MOST_SPARE: usize = 16;

    fn in_box(self) -> Box<Self> {
        match SPARES.with_borrow_mut(Vec::pop) {
            Some(mut spare) => {
                *spare = self;
                spare
            }
            None => Box::new(self),
        }
    }

    fn keep_box(of: Option<Box<Self>>) {
        SPARES.with_borrow_mut(|spares| spares.extend(of.filter(|_| spares.len() < Self::MOST_SPARE)));
    }
}

impl Socket {
    /// Claims memory for the bytes that wait, after bytes arrived or left; the core has consumed `consumed` bytes. Once a good part of a large packet
    /// has arrived, memory for the whole packet is claimed, so that unfinished packets don't wait for each other.
    pub(crate) fn claim_memory(&mut self, now: Instant, consumed: usize) -> Holding {
        self.claim_memory_as(now, consumed, false)
    }

    /// The same. If the socket `is_first` among those that wait for memory, its packet may take more.
    pub(crate) fn claim_memory_as(&mut self, now: Instant, consumed: usize, is_first: bool) -> Holding {
        let in_transport = self.transport.held();
        if self.unread.is_empty() && self.unsent.is_empty() && in_transport == 0 && self.permit.claimed() == 0 {
            BegunPacket::keep_box(self.begun.take());
            return Holding::Granted;
        }
        let begun = self.unread.as_slice();
        let len = packet_len(begun).unwrap_or(0) as usize;
        let come = begun.len();
        let waits = come + self.transport.begun();
        let before = self.begun.as_ref().map_or(0, |begun| begun.promised);
        if waits == 0 {
            BegunPacket::keep_box(self.begun.take());
        } else {
            let anew = BegunPacket { since: now, waited: waits, promised: 0 };
            match &mut self.begun {
                Some(begun) if consumed == 0 && waits < begun.waited + SHORT_REST => {}
                Some(begun) => **begun = anew,
                None => self.begun = Some(anew.in_box()),
            }
        }
        let holds = self.unread.capacity();
        let is_large = self.reading == Reading::Open && come < len && len > LONG_PACKET;
        let is_due = before == len || come > SHORT_REST || self.permit.most_at_once(CHUNK) < CHUNK;
        let unsent = self.unsent.capacity() + in_transport;
        let (mut promised, mut is_refused) = (0, false);
        if is_large && is_due {
            let whole = len.max(holds) + unsent;
            is_refused = self.permit.claimed() < whole && !self.permit.claim_for_packet(whole, is_first);
            promised = if is_refused { 0 } else { len };
        }
        if let Some(begun) = &mut self.begun {
            begun.promised = promised;
        }
        // Bytes that have arrived are claimed in any case.
        let wanted = holds.max(promised) + unsent;
        match wanted == self.permit.claimed() || self.permit.claim(wanted) {
            true if is_refused => Holding::Waits,
            true => Holding::Granted,
            false => Holding::Refused,
        }
    }

    /// Whether the transport holds bytes, for which memory has to be claimed.
    pub(crate) fn holds_in_transport(&self) -> bool {
        self.transport.held() > 0
    }

    /// Since when the socket has held bytes of an unfinished packet and received less than [`SHORT_REST`] more. `None` if there is no such packet, or if
    /// the core lets the connection wait.
    pub(crate) fn stalled_since(&self) -> Option<Instant> {
        let begun = self.begun.as_ref().filter(|_| self.reading == Reading::Open)?;
        Some(begun.since)
    }

    /// How many bytes of memory the socket has claimed.
    pub(crate) fn claimed(&self) -> usize {
        self.permit.claimed()
    }

    /// Discards the unread bytes, of a connection from which nothing more is read.
    pub(crate) fn forget_unread(&mut self) {
        self.unread.clear();
        BegunPacket::keep_box(self.begun.take());
        self.waits_for_memory = false;
        let _ = self.permit.claim(self.unsent.capacity() + self.transport.held());
    }

    /// The most bytes that the core may give for one write.
    pub(crate) fn most_to_write(&self) -> usize {
        self.permit.most_at_once(CHUNK)
    }
}
