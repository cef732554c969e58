//! Stamps of retained messages: which of them came before a SUBSCRIBE.
//!
//! Each shard counts the messages with RETAIN that are published on it. The count is the stamp of the message, wherever the message is kept.
//! One shard sends another one messages in the order of their stamps. So one number for each other shard says which of its messages have
//! come, and which have not.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::Shard;
use crate::engine::neighbour_state::{Empty, Stamp};

/// The stamp of a message: the number that it has among those of its publisher's shard, and that shard. In a message of a group on
/// another shard the number is the sequence number that the message has there.
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

/// How far the messages of each shard had come at some moment, by the index of the shard.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<[u64]>);

impl Heard {
    /// Whether a message with this stamp had come by then, or will never come. A message that was stamped for another number of shards
    /// was published long before.
    pub(super) fn includes(&self, stamp: u64) -> bool {
        self.0.get((stamp & 0xffff) as usize).is_none_or(|heard| stamp >> 16 <= *heard)
    }

    /// The bytes that it takes on its way to another shard.
    pub(super) fn cost(&self) -> usize {
        size_of_val::<[u64]>(&self.0)
    }
}

/// The clock of this shard, and what it has heard of the clocks of the others.
#[derive(Debug)]
pub(super) struct Stamps {
    /// The index of this shard.
    shard: u16,
    /// How far each shard has counted, as far as it is known here: all messages up to this number that are for this shard have come. The
    /// number of this shard is its own count.
    heard: Vec<u64>,
    /// The other shards that are asked how far they have counted, and have not answered.
    asked: Vec<bool>,
    /// The present value of `heard`, if somebody wanted it since it changed.
    shared: Option<Heard>,
}

impl Stamps {
    pub(super) fn new(shard: Shard) -> Self {
        let siblings = shard.siblings() as usize;
        Self { shard: shard.index, heard: alloc::vec![0; siblings], asked: alloc::vec![false; siblings], shared: None }
    }

    /// How many messages this shard has counted.
    pub(super) fn count(&self) -> u64 {
        self.heard.get(usize::from(self.shard)).copied().unwrap_or(0)
    }

    /// A stamp for a message that is published here: later stamps are greater, and no two shards give the same.
    pub(super) fn stamp(&mut self) -> u64 {
        let next = self.count().saturating_add(1).min(u64::MAX >> 16);
        self.hear(self.shard, next);
        next << 16 | u64::from(self.shard)
    }

    /// After a restart: another shard has counted so far, or such a message is kept. This shard gives no stamp again.
    pub(super) fn catch_up(&mut self, count: u64) {
        self.hear(self.shard, count);
    }

    /// All messages of a shard up to this number have come.
    pub(super) fn hear(&mut self, from: u16, count: u64) {
        if let Some(heard) = self.heard.get_mut(usize::from(from)).filter(|heard| **heard < count) {
            *heard = count;
            self.shared = None;
        }
    }

    /// How far the messages of each shard have come now.
    pub(super) fn heard(&mut self) -> Heard {
        self.shared.get_or_insert_with(|| Heard(self.heard.as_slice().into())).clone()
    }

    /// The other shards whose messages have come less far than by `then`, when the shard `reader` had them. Its own messages have come
    /// before its question.
    pub(super) fn behind(&self, then: &Heard, reader: u16) -> impl Iterator<Item = u16> {
        let here = self.shard;
        let lacks = move |(shard, (now, then)): (usize, (&u64, &u64))| {
            let shard = shard as u16;
            (now < then && shard != reader && shard != here).then_some(shard)
        };
        self.heard.iter().zip(then.0.iter()).enumerate().filter_map(lacks)
    }

    /// Notes that a shard is asked how far it has counted. Returns whether it was not being asked.
    pub(super) fn ask(&mut self, shard: u16) -> bool {
        self.asked.get_mut(usize::from(shard)).is_some_and(|asked| !core::mem::replace(asked, true))
    }

    /// A shard has answered how far it has counted.
    pub(super) fn answered(&mut self, by: u16, count: u64) {
        if let Some(asked) = self.asked.get_mut(usize::from(by)) {
            *asked = false;
        }
        self.hear(by, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_includes_the_messages_that_had_come_and_those_of_shards_that_are_no_more() {
        let mut stamps = Stamps::new(Shard { index: 1, count: 3 });
        let first = stamps.stamp();
        stamps.hear(0, 7);
        let moment = stamps.heard();
        let second = stamps.stamp();
        assert!(moment.includes(first) && !moment.includes(second) && stamps.heard().includes(second));
        assert!(moment.includes(7 << 16) && !moment.includes(8 << 16) && !moment.includes(1 << 16 | 2));
        assert!(moment.includes(1 << 16 | 3), "there is no fourth shard");
    }

    #[test]
    fn only_shards_that_had_come_further_are_behind_and_each_is_asked_once() {
        let mut reader = Stamps::new(Shard { index: 0, count: 4 });
        [(0, 9), (1, 9), (2, 5), (3, 6)].into_iter().for_each(|(from, count)| reader.hear(from, count));
        let then = reader.heard();
        let mut owner = Stamps::new(Shard { index: 1, count: 4 });
        owner.hear(2, 5);
        assert!(owner.behind(&then, 0).eq([3]));
        assert!(owner.ask(3) && !owner.ask(3));
        owner.answered(3, 8);
        assert_eq!(owner.behind(&then, 0).count(), 0);
        assert!(owner.ask(3));
    }
}
