//! Memory for packets that have begun and are not complete, and for what clients do not read.
//!
//! A large packet whose memory is refused waits: nothing is read from its client until there is room. Those who wait come in their order. Memory that is
//! held for a packet of which nothing more comes, while others wait or memory is short, is taken back: the connection is closed with 0x97 Quota
//! exceeded, the one that has stalled for longest first. Clients whose packets are small never wait.

use super::EventLoop;
use crate::net::{Holding, Reading};
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{ConnectionId, Instant, MemoryCeiling, MemoryUse};
use std::collections::VecDeque;
use std::sync::Arc;

/// How often those who wait are looked at.
const LOOK_MS: u64 = 100;
/// Who holds memory for a packet, and sends less than 16 KiB of it in so long, is closed while others wait.
const PATIENCE_MS: u64 = 5_000;
/// The same where many wait, or memory is short.
const LITTLE_PATIENCE_MS: u64 = 1_000;
/// So many are many.
const MANY: usize = 8;
/// Nobody waits for longer.
const LONGEST_WAIT_MS: u64 = 60_000;
/// Memory is short where one part in so many of it can't be claimed for bytes of clients.
const SHORT: usize = 32;
/// What is taken back at once is one part in so many.
const TAKEN_BACK: usize = 8;

/// Who waits for memory, and where it comes from.
pub(super) struct MemoryWaits {
    pub(super) ceiling: Arc<MemoryCeiling>,
    /// In the order in which they came, each with since when.
    waiting: VecDeque<(ConnectionId, Instant)>,
    /// When they are looked at.
    pub(super) due: Instant,
}

impl Default for MemoryWaits {
    fn default() -> Self {
        Self { ceiling: MemoryCeiling::new(usize::MAX), waiting: VecDeque::new(), due: Instant::NEVER }
    }
}

impl MemoryWaits {
    fn is_short(&self) -> bool {
        self.ceiling.available(MemoryUse::Receiving) < self.ceiling.bytes() / SHORT
    }

    fn look_soon(&mut self, now: Instant) {
        if self.due == Instant::NEVER {
            self.due = now.plus_millis(LOOK_MS);
        }
    }
}

impl EventLoop {
    /// Has the memory of sockets claimed from `ceiling`.
    pub(crate) fn claim_from(&mut self, ceiling: &Arc<MemoryCeiling>) {
        self.memory_waits.ceiling = ceiling.clone();
    }

    /// Claims memory for the bytes that wait in a socket, after `consumed` were consumed. Whether it may be read on.
    pub(super) fn claim_memory(&mut self, now: Instant, id: ConnectionId, consumed: usize) -> bool {
        let Some(socket) = self.socket(id) else { return false };
        if socket.waits_for_memory {
            return false;
        }
        let holding = socket.claim_memory(now, consumed);
        let has_begun = socket.stalled_since().is_some();
        match holding {
            Holding::Granted => {
                if has_begun && self.memory_waits.is_short() {
                    self.memory_waits.look_soon(now);
                }
                true
            }
            Holding::Waits => {
                socket.waits_for_memory = true;
                self.memory_waits.waiting.push_back((id, now));
                self.memory_waits.look_soon(now);
                false
            }
            Holding::Refused => {
                self.refuse_for_memory(now, id);
                false
            }
        }
    }

    /// Closes a connection for whose bytes there is no memory.
    pub(super) fn refuse_for_memory(&mut self, now: Instant, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        socket.forget_unread();
        socket.reading = Reading::Closed;
        if socket.is_broken() {
            return self.lose(id);
        }
        let why = "memory is short, and a packet that has begun does not come to its end";
        self.broker.disconnect_connection(now, id, ReasonCode::QuotaExceeded, why);
    }

    /// Lets those go on who wait for memory, as far as there is some, and takes memory back from those who hold it for nothing.
    pub(super) fn look_for_memory(&mut self, now: Instant) {
        if self.memory_waits.due > now {
            return;
        }
        self.memory_waits.due = Instant::NEVER;
        self.let_waiting_go_on(now);
        let waiting = self.memory_waits.waiting.len();
        let is_short = self.memory_waits.is_short();
        if waiting > 0 || is_short {
            let patience = if is_short || waiting > MANY { LITTLE_PATIENCE_MS } else { PATIENCE_MS };
            if self.take_back(now, patience) || self.open > 0 && (waiting > 0 || is_short) {
                self.memory_waits.look_soon(now);
            }
        }
    }

    fn let_waiting_go_on(&mut self, now: Instant) {
        while let Some((id, since)) = self.memory_waits.waiting.pop_front() {
            let Some(socket) = self.socket(id).filter(|socket| socket.waits_for_memory) else { continue };
            // As if it had come now, since it was kept from going on.
            match socket.claim_memory_as(now, 1, true) {
                Holding::Granted => {
                    socket.waits_for_memory = false;
                    socket.wake();
                }
                Holding::Waits if now.millis_since(since) < LONGEST_WAIT_MS => {
                    return self.memory_waits.waiting.push_front((id, since));
                }
                Holding::Waits | Holding::Refused => self.refuse_for_memory(now, id),
            }
        }
    }

    /// Closes those whose packets have stalled for so long, the oldest first, until a good part of the memory is free. Whether there were any.
    fn take_back(&mut self, now: Instant, patience: u64) -> bool {
        let stalled = |socket: &crate::net::Socket| {
            let since = socket.stalled_since().filter(|_| !socket.waits_for_memory)?;
            (now.millis_since(since) >= patience).then_some((since, socket.id, socket.claimed()))
        };
        let mut stalled: Vec<_> = self.sockets.iter().flatten().filter_map(stalled).collect();
        stalled.sort_unstable_by_key(|(since, ..)| *since);
        let mut wanted = self.memory_waits.ceiling.bytes() / TAKEN_BACK;
        let is_any = !stalled.is_empty();
        for (_, id, claimed) in stalled {
            self.refuse_for_memory(now, id);
            wanted = wanted.saturating_sub(claimed);
            if wanted == 0 {
                break;
            }
        }
        if !is_any && self.memory_waits.is_short() {
            // Even the beginnings of those who wait are too much.
            let oldest = self.memory_waits.waiting.front().filter(|(_, since)| now.millis_since(*since) >= PATIENCE_MS);
            if let Some(&(id, _)) = oldest {
                self.memory_waits.waiting.pop_front();
                self.refuse_for_memory(now, id);
            }
        }
        is_any
    }
}
