//! A fair share of the shard's time for each connection: if the shard did much work for a connection, it serves others first. The more
//! connections have something to be read, the less is read from each before the next one has its turn.

use super::EventLoop;
use crate::net::{CHUNK, Reading};
use goldcrest_core::{Config, ConnectionId, Instant};

/// The most work, as the core counts it, that may be done for one connection in a turn, and for all deferred connections together.
const SHARE: u64 = Config::WORK_SHARE as u64;

/// A connection for which so much work was done is deferred.
const MUCH: u64 = SHARE / 4;

/// A turn in which so much work was done ends, and leaves the sockets that are still ready to the next turn.
pub(super) const MOST_IN_TURN: u64 = 4 * SHARE;

/// So many bytes are read at most from all ready connections together before the first of them has its turn again, unless single packets are
/// longer or there are more than 2,048 ready connections. The core handles them in some 20 ms, even if all packets are short.
const ROUND: usize = 2 * 1024 * 1024;

/// So much is read from a connection at least, however many others are ready. Smaller reads would cost more than what they read.
const LEAST_READ: usize = 1_024;

/// How many bytes are read from each of `ready` connections before others have their turn.
pub(super) fn read_share(ready: usize) -> usize {
    (ROUND / ready.max(1)).clamp(LEAST_READ, CHUNK)
}

impl EventLoop {
    /// The work that the core has done since the turn began.
    pub(crate) fn done_in_turn(&self) -> u64 {
        self.broker.work().wrapping_sub(self.done_before)
    }

    /// Charges a connection with the work that the core has done since its counter was at `before`. If that is much, the connection
    /// is deferred.
    pub(super) fn charge(&mut self, id: ConnectionId, before: u64) {
        let spent = self.broker.work().wrapping_sub(before);
        if spent >= MUCH
            && let Some(socket) = self.socket(id)
            && !socket.is_deferred
        {
            socket.is_deferred = true;
            self.deferred.push_back((id, spent));
        }
    }

    /// Serves deferred connections that have waited long enough: as much work was done for others meanwhile as had been done for
    /// them. Serves as many as fit into one share.
    pub(super) fn serve_deferred(&mut self, now: Instant) {
        let before = self.broker.work();
        for _ in 0..self.deferred.len() {
            if self.broker.work().wrapping_sub(before) >= SHARE {
                return;
            }
            let Some((id, debt)) = self.deferred.pop_front() else { return };
            let Some(socket) = self.socket(id) else { continue };
            if debt > MUCH {
                self.deferred.push_back((id, debt - MUCH));
                continue;
            }
            socket.is_deferred = false;
            socket.wake();
            if socket.reading == Reading::Open {
                self.hand_in_unread(id);
            }
            self.transmit(now, id);
        }
    }
}
