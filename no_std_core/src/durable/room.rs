//! Room in the store that is set aside for what is promised, so that nothing is taken that may turn out to be too much.
//!
//! A store that writes on a thread of its own knows only later that it is full, and what was taken by then could neither be
//! kept nor refused. So a message waits, unread, until there is room for its records, and those that siblings will make
//! of it; or until it is known that there is none, and it is refused.

use alloc::vec::Vec;

use crate::codec::{Publish, Will};
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::engine::messages::Message;
use crate::mem::Handle;
use crate::seam::journal::RECORD_BYTES;
use crate::topic::TopicName;

/// What may be promised.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes of records that were not handed in.
    bytes: u64,
    /// What came on top of that with messages of siblings, less what went to siblings with ours.
    passed: i64,
    /// Messages wait, and one of them for so much.
    wanted: u64,
    waiting: Vec<ConnectionId>,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: u64::MAX, passed: 0, wanted: 0, waiting: Vec::new() }
    }
}

impl Engine<'_> {
    pub(crate) fn on_store_room(&mut self, bytes: u64) {
        self.room.bytes = bytes;
        self.wake_for_room();
    }

    pub(crate) fn take_passed(&mut self) -> i64 {
        core::mem::take(&mut self.room.passed)
    }

    /// A message goes to a sibling, and with it the room for what will be recorded of it there.
    pub(crate) fn pass_room(&mut self, message: Handle<Message>) {
        self.room.passed = self.room.passed.saturating_sub(room_for(self.messages.get(message).body.len()));
    }

    /// A message with a body of so many bytes came from a sibling.
    pub(crate) fn take_room(&mut self, body: usize) {
        self.room.passed = self.room.passed.saturating_add(room_for(body));
        if !self.room.waiting.is_empty() {
            self.wake_for_room();
        }
    }

    pub(crate) fn room_wanted(&self) -> u64 {
        self.room.wanted
    }

    /// Those that wait try again.
    pub(crate) fn wake_for_room(&mut self) {
        self.room.wanted = 0;
        let mut waiting = core::mem::take(&mut self.room.waiting);
        for id in waiting.drain(..) {
            if let Some(connection) = self.find(id) {
                self.connections[connection].waits_for_room = false;
                self.mark_ready(connection);
            }
        }
        self.room.waiting = waiting;
    }

    /// Whether a message can be taken now: there is room for it, it needs none, or it is to be refused. If not, the
    /// connection is woken when that may have changed.
    #[inline]
    pub(crate) fn has_room_in_store(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        let brokers = u64::from(self.config.shard.count.max(1));
        let len = publish.topic.len() + publish.payload.len();
        let cost = (len as u64 + u64::from(publish.properties.forwardable_len()) + 2 * RECORD_BYTES) * brokers;
        let needed = self.messages.journal.gathered().saturating_add(cost);
        needed <= self.room.bytes.saturating_add_signed(self.room.passed)
            || self.store_is_full
            || !self.waits_for_room(handle, publish, needed)
    }

    /// The same for the Will of a CONNECT, which this broker alone records.
    pub(crate) fn has_room_for_will(&mut self, handle: Handle<Connection>, will: &Will<'_>) -> bool {
        let len = will.topic.len() + will.payload.len();
        let cost = len as u64 + u64::from(will.properties.forwardable_len()) + 2 * RECORD_BYTES;
        let needed = self.messages.journal.gathered().saturating_add(cost);
        let may = !self.messages.journal.is_on()
            || needed <= self.room.bytes.saturating_add_signed(self.room.passed)
            || self.store_is_full;
        if !may {
            self.wait_for_store(handle, needed);
        }
        may
    }

    fn wait_for_store(&mut self, handle: Handle<Connection>, needed: u64) {
        self.room.wanted = self.room.wanted.max(needed);
        if !core::mem::replace(&mut self.connections[handle].waits_for_room, true) {
            self.room.waiting.push(self.id_of(handle));
        }
    }

    fn waits_for_room(&mut self, handle: Handle<Connection>, publish: &Publish<'_>, needed: u64) -> bool {
        let aliased = self.aliased_topic(handle, publish);
        let topic = TopicName::new(crate::engine::packets::publish::topic_text(publish, aliased.as_deref()));
        let keeps = publish.retain && !publish.payload.is_empty();
        if topic.is_ok_and(|topic| self.needs_record(topic, publish.qos, keeps)) {
            self.wait_for_store(handle, needed);
            return true;
        }
        false
    }
}

/// What one broker records of a message.
fn room_for(body: usize) -> i64 {
    (body as i64).saturating_add(2 * RECORD_BYTES as i64)
}
