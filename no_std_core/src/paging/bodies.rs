//! Where each body is, as the engine sees it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::fetch::{Fetch, Name};
use crate::engine::messages::{Delivery, Message, Messages, Residency};
use crate::engine::neighbour_state::{Paging, PagingState};
use crate::mem::Handle;
use crate::seam::journal::Batch;

/// The bytes of memory that a body takes besides its own bytes, approximately.
const OVERHEAD: usize = 64;

/// The state of paging for the bodies of all messages.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// How many bytes of memory evictable bodies may take; 0: all bodies stay in memory.
    pub(super) budget: usize,
    /// Messages whose record was polled, each with its batch, until that batch is safe.
    pub(super) recording: VecDeque<(Batch, Name)>,
    /// Evictable bodies in memory, in the order in which they came. Messages that are gone may still be named here.
    pub(super) evictable: VecDeque<Name>,
    /// How many evictable bodies there are, and how many bytes they take.
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// How many messages have no body in memory.
    pub(super) evicted: usize,
    /// Bodies that are to be requested from the store.
    pub(super) requests: VecDeque<Fetch>,
    /// The weight of the bodies that were requested and have not come.
    pub(super) requested: usize,
    /// The weight of requested bodies that have not come, and of bodies that are to be requested.
    pub(super) expected: usize,
    /// Whether a body has come that a client may wait for.
    pub(super) has_arrived: bool,
    /// For each slot a bit that says whether its message is retained, until the end of restoring. `None` if the retained slots
    /// were not named.
    pub(super) retained: Option<Vec<u64>>,
}

impl PagingState for Paging {
    type OfMessages = Bodies;
}

/// Flags beside `Message::RETAIN`.
impl Message {
    /// The body is in the store alone.
    pub(super) const EVICTED: u8 = 2;
    /// The body was requested, and has not come.
    pub(super) const REQUESTED: u8 = 4;
    /// A record of the message is in a batch that is not safe yet.
    pub(super) const RECORDING: u8 = 8;
    /// The body is in memory, counts towards the budget and may be evicted.
    pub(super) const EVICTABLE: u8 = 16;
    /// The body is needed at any time.
    pub(super) const PINNED: u8 = 32;
    /// The body is in the store alone, and the store can't read it.
    pub(super) const UNREADABLE: u8 = 64;

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn name(&self, slot: usize) -> Name {
        Name { slot: slot as u32, order: self.order as u32 }
    }

    /// How many bytes the body counts towards the budget.
    pub(super) fn weight(&self) -> usize {
        self.body.len().saturating_add(OVERHEAD)
    }

    /// Whether the body is in the store alone and can be fetched.
    pub(super) fn is_fetchable(&self) -> bool {
        self.flags & (Self::EVICTED | Self::UNREADABLE) == Self::EVICTED
    }
}

impl Residency for Messages<'_> {
    #[inline]
    fn is_evicted(&self, message: Handle<Message>) -> bool {
        self.paging.evicted > 0 && self.pool[message].has(Message::EVICTED)
    }

    fn is_unreadable(&self, message: Handle<Message>) -> bool {
        self.pool[message].has(Message::UNREADABLE)
    }

    #[inline]
    fn lacks_body(&self, delivery: Handle<Delivery>) -> bool {
        self.paging.evicted > 0
            && self.deliveries[delivery].message.is_some_and(|message| self.pool[message].is_fetchable())
    }

    #[inline]
    fn awaits_body(&self, delivery: Handle<Delivery>) -> bool {
        self.lacks_body(delivery) && self.is_requested(delivery)
    }

    fn request_body(&mut self, message: Handle<Message>) {
        self.request(message);
    }

    fn request_bodies(&mut self, first: Handle<Delivery>, most: u16) {
        self.request_ahead(first, most);
    }

    fn message_was_restored(&mut self, message: Handle<Message>) {
        if self.paging.budget > 0 && self.pool[message].order > 0 {
            self.make_evictable(message);
        }
    }

    fn message_was_recorded(&mut self, slot: u32, batch: Batch) {
        self.note_recording(Handle::from_index(slot as usize), batch);
    }

    #[cold]
    fn message_has_gone(&mut self, message: &Message) {
        if message.has(Message::EVICTED) {
            self.paging.evicted = self.paging.evicted.saturating_sub(1);
        }
        if message.has(Message::EVICTABLE) {
            self.paging.discount(message);
        }
    }

    fn all_are_restored(&mut self) {
        self.paging.retained = None;
    }

    fn is_evicted_at(&self, slot: u32) -> bool {
        let message = Handle::from_index(slot as usize);
        self.paging.evicted > 0 && self.pool.is_live(message) && self.is_evicted(message)
    }

    fn evicted(&self) -> usize {
        self.paging.evicted
    }

    fn set_body_budget(&mut self, bytes: usize) {
        // In borrowed memory a fetched body might find no room.
        self.paging.budget = if self.bytes.is_owned() { bytes } else { 0 };
    }
}

impl Messages<'_> {
    /// The message with that name, if it is still there.
    pub(super) fn named(&self, name: Name) -> Option<Handle<Message>> {
        let message = Handle::from_index(name.slot as usize);
        let is_it = self.pool.is_live(message) && self.pool[message].name(message.index()) == name;
        is_it.then_some(message)
    }

    /// Whether the body of a delivery was requested.
    pub(super) fn is_requested(&self, delivery: Handle<Delivery>) -> bool {
        self.deliveries[delivery].message.is_some_and(|message| self.pool[message].has(Message::REQUESTED))
    }
}
