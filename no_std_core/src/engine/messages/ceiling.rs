//! What messages may take below a ceiling on memory.

use super::{Message, Messages};
use crate::mem::heap::{MemoryAccount, allocated};
use crate::mem::{Claim, Handle};

/// Bytes that the messages in one queue may take however short memory is.
const ALWAYS: usize = 4 << 10;
/// So many messages may wait in one queue however short memory is, if they are no longer than [`ALWAYS`] together.
const MESSAGES: usize = 2;
/// The bytes that a message in a queue takes beside its body: its places in the tables of messages, deliveries and bodies.
const QUEUED: usize = 192;
/// Memory is looked for ahead, for bodies of so many bytes, where each message counts for [`AHEAD_EACH`] more.
const AHEAD: usize = 32 << 10;
const AHEAD_EACH: usize = 1 << 10;

/// The memory of messages.
#[derive(Debug, Default)]
pub(super) struct MessageMemory {
    /// There is memory for so many more bytes, with places for the messages that they are of, and the limits and the reserve allow them: not each
    /// message looks for memory.
    ahead: usize,
    /// The bytes that retained messages take.
    retained: usize,
}

impl Messages<'_> {
    /// How many messages, and how many bytes, may wait in one queue: one half of its share is for bodies, the other for the places beside them.
    pub(crate) fn share_of_queue(&self) -> (usize, usize) {
        let half = self.bytes.account().map_or(usize::MAX, MemoryAccount::share) / 2;
        let least = if half > 0 { ALWAYS / QUEUED } else { MESSAGES };
        ((half / QUEUED).max(least), half.max(ALWAYS))
    }

    /// How many messages of the present average length may be in flight to one client, if so many bytes may wait in its queue. What is in flight
    /// is in memory until the client acknowledges it, and makes room in the queue for more.
    pub(crate) fn share_in_flight(&self, bytes: u32) -> u16 {
        let average = self.bytes.used().checked_div(self.pool.len()).unwrap_or(0);
        let count = (bytes as usize).checked_div(average.saturating_add(QUEUED)).unwrap_or(0);
        u16::try_from(count.max(MESSAGES)).unwrap_or(u16::MAX)
    }

    /// From now on a message is the retained one of its topic.
    pub(crate) fn count_retained(&mut self, message: Handle<Message>) {
        self.memory.retained = self.memory.retained.saturating_add(self.bytes_of(message));
    }

    /// A message is not the retained one of its topic any more.
    pub(crate) fn discount_retained(&mut self, message: Handle<Message>) {
        self.memory.retained = self.memory.retained.saturating_sub(self.bytes_of(message));
    }

    /// Whether one more message with a body of `cost` bytes may be retained, instead of `replaced`: all retained messages take no more memory
    /// than is left for other messages, if each of so many shards has them.
    pub(crate) fn has_share_for_retained(&self, replaced: Option<Handle<Message>>, cost: u32, shards: u16) -> bool {
        let old = replaced.map_or(0, |message| self.bytes_of(message));
        let new = bytes_with_body(cost as usize);
        let all = self.memory.retained.saturating_sub(old).saturating_add(new);
        let account = self.bytes.account();
        let is_little = all <= ALWAYS || new <= old;
        is_little
            || account.is_none_or(|account| account.is_within(account.available(), all.saturating_mul(shards.into())))
    }

    /// Whether a published message with a body of `len` bytes leaves the reserve untouched, and there is memory for it below the ceiling.
    #[inline]
    pub(crate) fn has_room(&mut self, len: usize) -> bool {
        match self.memory.ahead.checked_sub(len.saturating_add(AHEAD_EACH)) {
            Some(rest) => {
                self.memory.ahead = rest;
                true
            }
            None => self.finds_memory(len),
        }
    }

    /// Looks for memory for this message, and for the next few if there is so much.
    #[inline(never)]
    fn finds_memory(&mut self, len: usize) -> bool {
        if !self.is_within_limits(1, len) {
            return false;
        }
        let (few, all) = (AHEAD / AHEAD_EACH, len.saturating_add(AHEAD));
        if self.is_within_limits(few.saturating_add(1), all)
            && self.pool.has_room(self.reserved.saturating_add(few))
            && self.bytes.make_room(few, all, Claim::Share)
        {
            self.memory.ahead = AHEAD;
            return true;
        }
        if self.pool.has_room(self.reserved) && self.bytes.has_room(len, Claim::Share) {
            return true;
        }
        // As memory gets short queues get short. A message that is short itself is stored.
        len <= ALWAYS && self.has_reserved_place() && self.bytes.has_room(len, Claim::Reserved)
    }

    /// Whether there is memory for a Will with a body of `len` bytes. A short one may take the reserve.
    pub(super) fn has_memory_for_will(&mut self, len: usize) -> bool {
        // A Will may take what was found for messages.
        self.memory.ahead = 0;
        (len <= ALWAYS || self.bytes.has_room(len, Claim::Share)) && self.has_reserved_place()
    }

    fn has_reserved_place(&mut self) -> bool {
        self.pool.reserve(self.pool.len().saturating_add(1), Claim::Reserved)
    }

    /// The bytes that a stored message takes.
    fn bytes_of(&self, message: Handle<Message>) -> usize {
        bytes_with_body(self.get(message).body.len())
    }
}

/// The bytes that a stored message takes whose body has `len` bytes.
fn bytes_with_body(len: usize) -> usize {
    allocated(len.saturating_add(16)).saturating_add(QUEUED)
}
