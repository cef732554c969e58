//! A fair share for each connection: for whom much was done waits until others had their turn.

use super::EventLoop;
use crate::net::Reading;
use goldcrest_core::{Config, ConnectionId, Instant};

/// What a connection may have done for it in a turn, as the core counts work; and all together that had too much done before.
const SHARE: u64 = Config::WORK_SHARE as u64;

/// Who has had so much done for it waits for its next turn behind the others.
const MUCH: u64 = SHARE / 4;

/// A turn in which so much was done ends without having looked at all sockets.
pub(super) const MOST_IN_TURN: u64 = 4 * SHARE;

impl EventLoop {
    /// What the core has done since the turn began.
    pub(crate) fn done_in_turn(&self) -> u64 {
        self.broker.work().wrapping_sub(self.done_before)
    }

    /// Notes what was done for a connection since `before`: with much it waits.
    pub(super) fn charge(&mut self, id: ConnectionId, before: u64) {
        let spent = self.broker.work().wrapping_sub(before);
        if spent >= MUCH
            && let Some(socket) = self.socket(id)
            && !socket.is_late
        {
            socket.is_late = true;
            self.late.push_back((id, spent));
        }
    }

    /// Lets the connections go on that have waited for what was done for them, as many as fit into one share.
    pub(super) fn serve_late(&mut self, now: Instant) {
        let before = self.broker.work();
        for _ in 0..self.late.len() {
            if self.broker.work().wrapping_sub(before) >= SHARE {
                return;
            }
            let Some((id, debt)) = self.late.pop_front() else { return };
            let Some(socket) = self.socket(id) else { continue };
            if debt > MUCH {
                self.late.push_back((id, debt - MUCH));
                continue;
            }
            socket.is_late = false;
            socket.wake();
            if socket.reading == Reading::Open {
                self.hand_in_unread(id);
            }
            self.transmit(now, id);
        }
    }
}
