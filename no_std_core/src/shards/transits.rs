//! Messages that must survive on a sibling: they are recorded here until they are safe there.

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

/// A message that is recorded until it is safe with a sibling.
#[derive(Clone, Debug)]
pub(super) struct PendingTransit {
    pub(crate) to: u16,
    pub(crate) sequence: u64,
    /// Held by this reference.
    pub(crate) message: Handle<Message>,
    pub(crate) publisher_key: u32,
    /// The shared subscription that it is for alone: for one of its members if we own it, and else for its owner.
    pub(crate) group: Option<Arc<str>>,
}

impl PendingTransit {
    /// The parts that are recorded.
    pub(super) fn parts(&self) -> TransitParts<'_> {
        let Self { to: sibling, sequence, message, publisher_key, .. } = *self;
        TransitParts { sibling, sequence, message, publisher_key, group: self.group.as_deref().unwrap_or("") }
    }
}

/// All transits, and how far siblings have got.
#[derive(Debug)]
pub(super) struct Transits {
    /// Our own index.
    shard: u16,
    /// The transits by their slots.
    slots: Vec<Option<PendingTransit>>,
    free: Vec<u32>,
    siblings: Vec<SiblingProgress>,
}

/// The state of one sibling.
#[derive(Debug, Default)]
struct SiblingProgress {
    /// Recorded messages to it that are not safe there: their places and slots, in order.
    transits: VecDeque<(u64, u32)>,
    /// The last place given out, and the last one that was taken from it.
    sent: u64,
    taken: u64,
    /// Places of its messages, which it is told are safe here once a batch is.
    unsafe_yet: VecDeque<(u32, u64)>,
}

impl Transits {
    pub(super) fn new(shard: Shard) -> Self {
        let siblings = (0..shard.siblings()).map(|_| SiblingProgress::default()).collect();
        Self { shard: shard.index, slots: Vec::new(), free: Vec::new(), siblings }
    }

    /// Whether some sibling has more to make safe than it may.
    #[inline]
    pub(super) fn are_at_limit(&self, limit: usize) -> bool {
        // All of them together are seldom so many.
        self.slots.len().saturating_sub(self.free.len()) >= limit
            && self.siblings.iter().any(|sibling| sibling.transits.len() >= limit)
    }
}

impl Transits {
    /// Notes a message for `to`: its slot and place. `None` if there are too many.
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

    /// Takes a message out that is safe with `by`, where all up to `sequence` are; its slot.
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

    /// Whether a recorded message is new, and not one that was taken before a restart.
    pub(super) fn take_sequence(&mut self, from: u16, sequence: u64) -> bool {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else { return false };
        let is_new = sequence > sibling.taken;
        sibling.taken = sibling.taken.max(sequence);
        is_new
    }

    /// The last place that was taken from a sibling, and the last one that was sent to it.
    pub(super) fn progress(&self, sibling: usize) -> Option<(u64, u64)> {
        let sibling = self.siblings.get(sibling)?;
        (sibling.taken > 0 || sibling.sent > 0).then_some((sibling.taken, sibling.sent))
    }

    /// After a restart: siblings hear what was taken from them, as it is recorded here.
    pub(super) fn tell_taken(&self, links: &mut ShardLinks) {
        for other in links.others() {
            if let Some(taken) =
                self.siblings.get(usize::from(other)).map(|sibling| sibling.taken).filter(|taken| *taken > 0)
            {
                links.send(other, Content::Safe(taken));
            }
        }
    }

    /// A sibling has taken all up to that place, which may not be known here any more after a restart: what it gets from now on
    /// has its place behind.
    pub(super) fn note_taken(&mut self, by: u16, sequence: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.sent = sibling.sent.max(sequence);
        }
    }

    /// A sibling is told that its messages up to `sequence` are safe, once `batch` is.
    pub(super) fn confirm_when_safe(&mut self, batch: u32, from: u16, sequence: u64) {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else { return };
        match sibling.unsafe_yet.back_mut() {
            Some(last) if last.0 == batch => last.1 = sequence,
            _ => sibling.unsafe_yet.push_back((batch, sequence)),
        }
    }

    /// Another batch is safe: siblings are told of their messages in it.
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

    /// Puts a message back into its slot after a restart; whether it can be there.
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

    /// What was restored gets its order; the slots, in the order in which the messages are to be sent again.
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
    /// Has a message recorded until it is safe with a sibling; its place there, or 0 if there is no room.
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

    /// A sibling has recorded what is left of all messages up to that place.
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

    /// Whether a sibling's message was not taken before a restart. It is told when that is safe here.
    pub(super) fn is_new(&mut self, from: u16, sequence: u64) -> bool {
        if sequence == 0 {
            return true;
        }
        let is_new = self.shards.transits.take_sequence(from, sequence);
        if is_new {
            // With what comes of it, in whichever batch that is.
            self.messages.journal.mark_lazily(Kind::Sibling, usize::from(from));
        }
        let batch = self.messages.journal.gathering();
        self.shards.transits.confirm_when_safe(batch, from, sequence);
        is_new
    }

    /// A message that was on its way to a sibling at the restart.
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

    /// Holds the message once more than it is held durably, so that the body stays in memory.
    fn hold_for_transit(&mut self, message: Handle<Message>) {
        self.messages.hold(message);
        self.messages.hold(message);
        self.messages.hold_durably(message);
    }
}
