//! Retained messages go to all shards, with a Lamport stamp. The message with the greater stamp stays, so all shards end with the same
//! one. A removed or expired message leaves a tombstone until no older message can come.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::neighbour_state::{Empty, Stamp};
use crate::engine::router::Retained;
use crate::engine::routing::is_reserved_for_server;
use crate::mem::Handle;
use crate::shards::forward::{Content, SharedMessage};
use crate::shards::links::ShardLinks;
use crate::topic::TopicName;

/// A number in each message that orders the retained messages of a topic. In a message of a group on another shard it is the sequence
/// number that the message has there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetainedStamp(u64);

impl Empty for RetainedStamp {
    const EMPTY: Self = Self(0);
}

impl Stamp for RetainedStamp {
    #[inline]
    fn of(number: u64) -> Self {
        Self(number)
    }

    #[inline]
    fn number(self) -> u64 {
        self.0
    }
}

/// The clock for stamps, and the tombstones.
#[derive(Debug)]
pub(super) struct Removals {
    /// The index of this shard, which makes its stamps differ from those of all others.
    shard: u16,
    /// A Lamport clock that orders retained messages.
    clock: u64,
    /// Tombstones in the order of the removals, each with the number of the round that ends it. The body of a tombstone is its topic. An
    /// older message of that topic may be late, and must not come back.
    tombstones: VecDeque<(u64, Tombstone)>,
    /// The same tombstones by topic, and for each topic by stamp.
    by_topic: BTreeSet<Tombstone>,
    /// The number of the last round. When all shards have answered it, no message is on its way that was stamped before.
    round: u64,
    /// The number of the last round that each shard has answered.
    answered: Vec<u64>,
}

/// The hash of a topic, the stamp of its removal, and a message whose body is the topic.
type Tombstone = (u32, u64, Handle<Message>);

impl Removals {
    pub(super) fn new(shard: Shard) -> Self {
        let mut answered = alloc::vec![0; shard.siblings() as usize];
        // This shard sends itself no round, so it counts as having answered all.
        if let Some(own) = answered.get_mut(usize::from(shard.index)) {
            *own = u64::MAX;
        }
        Self {
            shard: shard.index,
            clock: 0,
            tombstones: VecDeque::new(),
            by_topic: BTreeSet::new(),
            round: 0,
            answered,
        }
    }

    /// How many tombstones there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.tombstones.len()
    }
}

impl Removals {
    /// A stamp for a message that is retained now: later stamps are greater, and no two are equal.
    pub(super) fn stamp(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1).min(u64::MAX >> 16);
        self.clock << 16 | u64::from(self.shard)
    }

    /// Another shard has used this stamp: later stamps of this shard are greater.
    pub(super) fn see(&mut self, stamp: u64) {
        self.clock = self.clock.max(stamp >> 16);
    }

    /// The retained message of a topic was removed at `stamp`. The body of the tombstone is the topic, and the caller holds a reference
    /// to it.
    pub(super) fn bury(&mut self, topic_hash: u32, stamp: u64, tombstone: Handle<Message>) {
        self.tombstones.push_back((self.round.saturating_add(1), (topic_hash, stamp, tombstone)));
        self.by_topic.insert((topic_hash, stamp, tombstone));
    }

    /// Tombstones of topics with this hash that are newer than `stamp`. Older ones are not looked at, however often such a topic was
    /// cleared.
    pub(super) fn removed_since(&self, topic_hash: u32, stamp: u64) -> impl Iterator<Item = Handle<Message>> {
        let first = (topic_hash, stamp.saturating_add(1), Handle::from_index(0));
        let newer = self.by_topic.range(first..).take_while(move |(hash, ..)| *hash == topic_hash);
        newer.map(|(.., tombstone)| *tombstone)
    }

    /// Asks the other shards whether older messages are still on their way, if there are tombstones and no round is going on.
    pub(super) fn begin_round(&mut self, links: &mut ShardLinks) {
        if self.tombstones.is_empty() || !self.all_rounded() {
            return;
        }
        self.round = self.round.saturating_add(1);
        let (round, stamp) = (self.round, self.clock << 16);
        for other in links.others() {
            links.send(other, Content::Round { round, stamp });
        }
    }

    fn all_rounded(&self) -> bool {
        self.answered.iter().all(|answered| *answered >= self.round)
    }

    /// Answers the round of another shard behind all messages for that shard, even those that wait for a batch. Messages that are
    /// retained from now on get stamps above `stamp`.
    pub(super) fn answer_round(&mut self, links: &mut ShardLinks, from: u16, round: u64, stamp: u64) {
        self.see(stamp);
        links.send_behind_messages(from, Content::RoundDone(round));
    }

    /// The shard `by` has answered a round.
    fn rounded(&mut self, by: u16, round: u64) {
        if let Some(answered) = self.answered.get_mut(usize::from(by)) {
            *answered = round.max(*answered);
        }
    }

    /// Removes a tombstone that is not needed any more, and returns its message.
    fn exhume(&mut self) -> Option<Handle<Message>> {
        if !self.all_rounded() {
            return None;
        }
        let Removals { tombstones, by_topic, round, .. } = self;
        let (_, tombstone) = *tombstones.front().filter(|(until, _)| until <= round)?;
        tombstones.pop_front();
        by_topic.remove(&tombstone);
        let (.., message) = tombstone;
        Some(message)
    }
}

impl Engine<'_> {
    /// Whether the topic has a newer retained message than `message`, or had one that was removed later.
    pub(super) fn is_late_retained(&mut self, topic: TopicName<'_>, message: Handle<Message>) -> bool {
        let (stamp, clears) = {
            let message = self.messages.get(message);
            (message.shards.number(), message.payload_len() == 0)
        };
        let is_outdated = self.is_older(topic, stamp);
        if clears && !is_outdated {
            self.bury(topic, stamp);
        }
        is_outdated
    }

    fn is_older(&self, topic: TopicName<'_>, stamp: u64) -> bool {
        let text = topic.as_str().as_bytes();
        let kept = self.router.retained_at(topic).map(|Retained(kept)| self.messages.get(kept.cast()).shards.number());
        let bytes = &self.messages.bytes;
        let mut removed = self.shards.removals.removed_since(self.hasher.hash_bytes(text), stamp);
        kept.is_some_and(|kept| kept > stamp)
            || removed.any(|tombstone| bytes.equals(self.messages.get(tombstone).body, text))
    }

    /// Remembers, even over a restart, that the retained message of a topic was removed at `stamp`, until no older message can come.
    /// Otherwise a message that another shard sent before it knew of the removal would be retained here again, and on no other shard.
    pub(super) fn bury(&mut self, topic: TopicName<'_>, stamp: u64) {
        if !self.shards.links.has_siblings() {
            return;
        }
        let text = topic.as_str().as_bytes();
        let draft = Message {
            topic_len: text.len() as u16,
            order: self.next_order(),
            shards: Stamp::of(stamp),
            ..Message::default()
        };
        let Some(tombstone) = self.messages.store_will(draft, &[text]) else { return };
        if self.messages.journal.is_on() && !is_reserved_for_server(topic) {
            self.messages.set_kept(tombstone, true);
        }
        self.keep_tombstone(topic, tombstone);
        self.shards.removals.begin_round(&mut self.shards.links);
    }

    /// Adds a tombstone, a new one or a restored one.
    pub(super) fn keep_tombstone(&mut self, topic: TopicName<'_>, tombstone: Handle<Message>) {
        self.messages.hold(tombstone);
        let stamp = self.messages.get(tombstone).shards.number();
        self.shards.removals.bury(self.hasher.hash_bytes(topic.as_str().as_bytes()), stamp, tombstone);
    }

    /// The shard `by` has sent all older messages before its answer to this round.
    pub(super) fn end_round(&mut self, by: u16, round: u64) {
        self.shards.removals.rounded(by, round);
        while let Some(tombstone) = self.shards.removals.exhume() {
            self.messages.set_kept(tombstone, false);
            self.messages.release(tombstone);
        }
        self.shards.removals.begin_round(&mut self.shards.links);
        self.wake_congested();
    }

    /// A retained message of another shard has expired on its way. Where it expires later, it has replaced older messages.
    pub(super) fn retain_expired(&mut self, shared: &SharedMessage) {
        let Some(topic) = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok()) else {
            return;
        };
        if shared.stamp > 0 && !self.is_older(topic, shared.stamp) {
            self.unretain(topic);
            self.bury(topic, shared.stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_removals_are_not_looked_at_however_many_there_are() {
        let mut removals = Removals::new(Shard { index: 0, count: 2 });
        // One topic is cleared again and again. Another topic has a smaller hash, and one a greater hash.
        let stamps: std::vec::Vec<u64> = (0..5_000).map(|_| removals.stamp()).collect();
        for (slot, stamp) in stamps.iter().enumerate() {
            for hash in [6, 7, 8] {
                removals.bury(hash, *stamp, Handle::from_index(3 * slot + hash as usize));
            }
        }
        for (newer, stamp) in stamps.iter().rev().enumerate().step_by(499) {
            assert_eq!(removals.removed_since(7, *stamp).count(), newer);
        }
        assert_eq!(removals.removed_since(7, 0).count(), stamps.len());
        assert_eq!(removals.removed_since(9, 0).count(), 0);
    }

    #[test]
    fn a_tombstone_is_removed_when_all_shards_have_answered_the_round_after_it() {
        let shard = Shard { index: 1, count: 3 };
        let (mut links, mut removals) =
            (ShardLinks::new(shard, crate::mem::heap::MemoryAccount::UNBOUNDED), Removals::new(shard));
        let stamp = removals.stamp();
        removals.bury(7, stamp, Handle::from_index(4));
        removals.begin_round(&mut links);
        assert_eq!(removals.exhume(), None);
        removals.rounded(0, 1);
        assert_eq!(removals.exhume(), None);
        removals.rounded(2, 1);
        assert_eq!(removals.exhume(), Some(Handle::from_index(4)));
        assert_eq!((removals.removed_since(7, 0).count(), removals.exhume()), (0, None));
    }
}
