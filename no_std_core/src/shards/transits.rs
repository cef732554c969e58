//! Transits: messages that must survive on another shard. They are recorded here until they are safe there.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::messages::{Message, Residency};
use crate::engine::neighbours::credit::Credit;
use crate::engine::siblings::TransitParts;
use crate::mem::Handle;
use crate::seam::journal::MAX_TRANSITS;
use crate::seam::kind::Kind;
use crate::shards::forward::Content;
use crate::shards::links::ShardLinks;
use crate::topic::TopicFilter;

/// A message that is recorded until it is safe on another shard.
#[derive(Clone, Debug)]
pub(super) struct PendingTransit {
    pub(crate) to: u16,
    pub(crate) sequence: u64,
    /// The message, to which the transit holds a reference.
    pub(crate) message: Handle<Message>,
    pub(crate) publisher_key: u32,
    /// The shared subscription to which the message is limited. If its home is this shard, the message is for one member;
    /// otherwise it is for the home.
    pub(crate) group: Option<Arc<str>>,
}

impl PendingTransit {
    /// The parts of the transit that are recorded.
    pub(super) fn parts(&self) -> TransitParts<'_> {
        let Self { to: sibling, sequence, message, publisher_key, .. } = *self;
        TransitParts { sibling, sequence, message, publisher_key, group: self.group.as_deref().unwrap_or("") }
    }
}

/// All transits, and for each other shard which messages are safe.
#[derive(Debug)]
pub(super) struct Transits {
    /// The index of this shard.
    shard: u16,
    /// The transits by slot.
    slots: Vec<Option<PendingTransit>>,
    free: Vec<u32>,
    siblings: Vec<SiblingProgress>,
}

/// The state of the messages to and from one other shard.
#[derive(Debug, Default)]
struct SiblingProgress {
    /// Messages to that shard that are not safe there yet: their sequence numbers and slots, in order.
    transits: VecDeque<(u64, u32)>,
    /// The last sequence number of a message to that shard; `taken` is the last one of a message from it.
    sent: u64,
    taken: u64,
    /// Messages from that shard: a batch, and the last sequence number in it. When the batch is safe, the shard is told.
    unsafe_yet: VecDeque<(u32, u64)>,
}

impl Transits {
    pub(super) fn new(shard: Shard) -> Self {
        let siblings = (0..shard.siblings()).map(|_| SiblingProgress::default()).collect();
        Self { shard: shard.index, slots: Vec::new(), free: Vec::new(), siblings }
    }

    /// Whether for some shard as many messages are not safe yet as are allowed.
    #[inline]
    pub(super) fn are_at_limit(&self, limit: usize) -> bool {
        // The first comparison saves the second one most of the time: all transits together are seldom so many.
        self.slots.len().saturating_sub(self.free.len()) >= limit
            && self.siblings.iter().any(|sibling| sibling.transits.len() >= limit)
    }
}

impl Transits {
    /// Notes a message for the shard `to`. Returns its slot and its sequence number; `None` if there are too many.
    pub(super) fn begin(
        &mut self,
        to: u16,
        message: Handle<Message>,
        publisher_key: u32,
        group: Option<Arc<str>>,
    ) -> Option<(usize, u64)> {
        let sibling = self.siblings.get_mut(usize::from(to))?;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < MAX_TRANSITS => {
                let slot = self.slots.len() as u32;
                self.slots.push(None);
                slot
            }
            None => return None,
        };
        sibling.sent = sibling.sent.saturating_add(1);
        let sequence = sibling.sent;
        sibling.transits.push_back((sequence, slot));
        *self.slots.get_mut(slot as usize)? = Some(PendingTransit { to, sequence, message, publisher_key, group });
        Some((slot as usize, sequence))
    }

    /// Removes the next transit that is safe on the shard `by`, where all messages up to `sequence` are safe. Returns it with
    /// its slot.
    pub(super) fn end(&mut self, by: u16, sequence: u64) -> Option<(usize, PendingTransit)> {
        let sibling = self.siblings.get_mut(usize::from(by))?;
        let (_, slot) = *sibling.transits.front().filter(|(first, _)| *first <= sequence)?;
        sibling.transits.pop_front();
        self.free.push(slot);
        Some((slot as usize, self.slots.get_mut(slot as usize)?.take()?))
    }

    pub(super) fn get(&self, slot: usize) -> Option<&PendingTransit> {
        self.slots.get(slot)?.as_ref()
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether a recorded message from the shard `from` is new, and was not received before a restart already.
    pub(super) fn take_sequence(&mut self, from: u16, sequence: u64) -> bool {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else { return false };
        let is_new = sequence > sibling.taken;
        sibling.taken = sibling.taken.max(sequence);
        is_new
    }

    /// The sequence numbers of the last message received from that shard, and of the last message sent to it.
    pub(super) fn progress(&self, sibling: usize) -> Option<(u64, u64)> {
        let sibling = self.siblings.get(sibling)?;
        (sibling.taken > 0 || sibling.sent > 0).then_some((sibling.taken, sibling.sent))
    }

    /// After a restart: tells the other shards which of their messages were received, as it is recorded here.
    pub(super) fn tell_taken(&self, links: &mut ShardLinks) {
        for other in links.others() {
            if let Some(taken) =
                self.siblings.get(usize::from(other)).map(|sibling| sibling.taken).filter(|taken| *taken > 0)
            {
                links.send(other, Content::Safe(taken));
            }
        }
    }

    /// The shard `by` has received all messages up to `sequence`. After a restart this shard may not know that number any more,
    /// so later messages get greater numbers.
    pub(super) fn note_taken(&mut self, by: u16, sequence: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.sent = sibling.sent.max(sequence);
        }
    }

    /// Once `batch` is safe, the shard `from` is told that its messages up to `sequence` are safe.
    pub(super) fn confirm_when_safe(&mut self, batch: u32, from: u16, sequence: u64) {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else { return };
        match sibling.unsafe_yet.back_mut() {
            Some(last) if last.0 == batch => last.1 = sequence,
            _ => sibling.unsafe_yet.push_back((batch, sequence)),
        }
    }

    /// Another batch is safe: tells other shards which of their messages are in it.
    pub(super) fn tell_safe(&mut self, links: &mut ShardLinks, is_unsafe: impl Fn(u32) -> bool) {
        for other in links.others() {
            while let Some(sibling) = self.siblings.get_mut(usize::from(other))
                && let Some((_, sequence)) = sibling.unsafe_yet.front().copied().filter(|(batch, _)| !is_unsafe(*batch))
            {
                sibling.unsafe_yet.pop_front();
                links.send(other, Content::Safe(sequence));
            }
        }
    }

    /// Restores a message to its slot. Returns false if the record makes no sense.
    pub(super) fn restore(&mut self, slot: usize, transit: PendingTransit) -> bool {
        let (to, sequence) = (transit.to, transit.sequence);
        let is_other = to != self.shard && usize::from(to) < self.siblings.len();
        if !is_other || slot >= MAX_TRANSITS || sequence == u64::MAX {
            return false;
        }
        if slot >= self.slots.len() {
            self.slots.resize_with(slot.saturating_add(1), || None);
        }
        match self.slots.get_mut(slot) {
            Some(place @ None) => *place = Some(transit),
            _ => return false,
        }
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            sibling.transits.push_back((sequence, slot as u32));
        }
        true
    }

    pub(super) fn restore_progress(&mut self, slot: usize, taken: u64, sent: u64) -> bool {
        let Some(sibling) = self.siblings.get_mut(slot).filter(|_| taken != u64::MAX && sent != u64::MAX) else {
            return false;
        };
        (sibling.taken, sibling.sent) = (taken, sent);
        true
    }

    /// Sorts the restored transits. Returns their slots in the order in which the messages are to be sent again.
    pub(super) fn end_restoring(&mut self) -> Vec<u32> {
        let vacant = self.slots.iter().enumerate().filter(|(_, transit)| transit.is_none());
        self.free = vacant.map(|(slot, _)| slot as u32).collect();
        for sibling in &mut self.siblings {
            sibling.transits.make_contiguous().sort_unstable();
            sibling.sent = sibling.transits.back().map_or(0, |(last, _)| *last).max(sibling.sent);
        }
        self.siblings.iter().flat_map(|sibling| sibling.transits.iter().map(|(_, slot)| *slot)).collect()
    }
}

impl Engine<'_> {
    /// Records a message until it is safe on the shard `to`. Returns its sequence number, or 0 if there is no room.
    pub(super) fn begin_transit(
        &mut self,
        to: u16,
        message: Handle<Message>,
        key: u32,
        group: Option<Arc<str>>,
    ) -> u64 {
        let Some((slot, sequence)) = self.shards.transits.begin(to, message, key, group) else { return 0 };
        self.pass_credit(message);
        self.hold_for_transit(message);
        self.messages.journal.mark(Kind::Transit, slot);
        self.messages.journal.mark_lazily(Kind::Sibling, usize::from(to));
        sequence
    }

    /// The shard `by` has recorded all that is needed of the messages up to `sequence`.
    pub(super) fn end_transits(&mut self, by: u16, sequence: u64) {
        self.shards.transits.note_taken(by, sequence);
        while let Some((slot, transit)) = self.shards.transits.end(by, sequence) {
            self.messages.release_durably(transit.message);
            self.messages.release(transit.message);
            self.messages.release(transit.message);
            self.messages.journal.mark(Kind::Transit, slot);
        }
        self.wake_congested();
    }

    /// Whether a message from the shard `from` was not received before a restart already. That shard is told when the message
    /// is safe here.
    pub(super) fn is_new(&mut self, from: u16, sequence: u64) -> bool {
        if sequence == 0 {
            return true;
        }
        let is_new = self.shards.transits.take_sequence(from, sequence);
        if is_new {
            // The mark is recorded together with the records that the message causes, in whichever batch they are.
            self.messages.journal.mark_lazily(Kind::Sibling, usize::from(from));
        }
        let batch = self.messages.journal.gathering();
        self.shards.transits.confirm_when_safe(batch, from, sequence);
        is_new
    }

    /// Restores a message that was on its way to another shard at the restart.
    pub(super) fn take_back_transit(&mut self, slot: usize, record: TransitParts<'_>) -> bool {
        let message = record.message;
        let is_group = TopicFilter::new(record.group).is_ok_and(|filter| filter.share_name().is_some());
        let transit = PendingTransit {
            to: record.sibling,
            sequence: record.sequence,
            message,
            publisher_key: record.publisher_key,
            group: is_group.then(|| record.group.into()),
        };
        let is_sound = is_group || record.group.is_empty();
        if !is_sound || self.messages.live(message).is_none() || !self.shards.transits.restore(slot, transit) {
            return false;
        }
        self.pass_credit(message);
        self.hold_for_transit(message);
        self.messages.request_body(message);
        true
    }

    /// Holds one reference more to the message than the durable one, so that its body stays in memory.
    fn hold_for_transit(&mut self, message: Handle<Message>) {
        self.messages.hold(message);
        self.messages.hold(message);
        self.messages.hold_durably(message);
    }
}
