//! Retained messages: each topic has one owner among the shards, which keeps the retained message. All changes to a topic reach its owner,
//! in the order in which the owner takes them.

use alloc::vec::Vec;

use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::neighbour_state::Stamp;
use crate::engine::routing::{Routing, is_reserved_for_server};
use crate::engine::siblings::Siblings;
use crate::shards::forward::{Content, SharedMessage};
use crate::shards::set::SiblingSet;
use crate::topic::TopicName;

/// Other shards are told how many messages this one retains when the number has changed by the limit, divided by so much for each shard.
const SHARE: u32 = 256;

/// How many messages of clients the shards retain.
#[derive(Debug)]
pub(super) struct RetainedCounts {
    /// What each other shard has told.
    elsewhere: Vec<u32>,
    /// What this shard has told.
    told: u32,
}

impl RetainedCounts {
    pub(super) fn new(shard: Shard) -> Self {
        Self { elsewhere: alloc::vec![0; shard.siblings() as usize], told: 0 }
    }

    /// How many messages the other shards retain.
    pub(super) fn elsewhere(&self) -> usize {
        self.elsewhere.iter().map(|count| *count as usize).fold(0, usize::saturating_add)
    }

    /// A shard has told how many messages it retains.
    pub(super) fn hear(&mut self, from: u16, count: u32) {
        if let Some(told) = self.elsewhere.get_mut(usize::from(from)) {
            *told = count;
        }
    }
}

impl Engine<'_> {
    /// The shard that keeps the retained message of a topic; `None` if it is this one.
    #[inline(never)]
    pub(super) fn owner_of_retained(&self, topic: &str) -> Option<u16> {
        let Shard { index, count } = self.config.shard;
        if !self.has_siblings() {
            return None;
        }
        Some(Shard::owner_of_topic(topic.as_bytes(), count)).filter(|owner| *owner != index)
    }

    /// Adds the shard that is to keep the retained message. While it is not known who has subscribed, all shards get it.
    #[inline(never)]
    pub(super) fn add_owner(&self, wanted: &mut SiblingSet, topic: TopicName<'_>) {
        // What the server itself retains describes this run, and is not recorded.
        let is_durable = !is_reserved_for_server(topic);
        if let Some(owner) = self.owner_of_retained(topic.as_str()) {
            wanted.insert(owner, is_durable);
        }
        if self.is_greeting() {
            self.shards.links.others().for_each(|other| wanted.insert(other, is_durable));
        }
    }

    /// Gives a message that is published here its stamp.
    #[inline(never)]
    pub(super) fn stamp_published(&mut self, routing: &mut Routing<'_>) {
        if !self.has_siblings() {
            return;
        }
        let stamp = Stamp::of(self.shards.stamps.stamp());
        match routing.stored {
            Some(message) => self.messages.set_stamp(message, stamp),
            None => routing.draft.shards = stamp,
        }
    }

    /// Tells the other shards how many messages are retained here, if that has changed much.
    pub(super) fn tell_retained_count(&mut self) {
        if !self.has_siblings() {
            return;
        }
        let told = self.shards.retained.told;
        let all = self.config.limits.retained_messages;
        let much = all.checked_div(SHARE.saturating_mul(self.config.shard.count.into())).unwrap_or(0);
        // The number without the server's own messages differs from this one by a few.
        let is_near = (self.router.retained_count() as u32).abs_diff(told) < much / 2;
        if is_near {
            return;
        }
        let count = self.retained_by_clients() as u32;
        if count.abs_diff(told) > much {
            self.shards.retained.told = count;
            for other in self.shards.links.others() {
                self.shards.links.send(other, Content::RetainedCount(count));
            }
        }
    }

    /// Whether another shard may lack room to retain a message with a body of `cost` bytes.
    pub(super) fn may_lack_room_to_retain(&self, topic: TopicName<'_>, cost: u32) -> bool {
        let count = self.retained_by_clients().saturating_add(self.shards.retained.elsewhere());
        let all = self.config.limits.retained_messages as usize;
        // Each shard may have this many that it has not told.
        let untold = all.checked_div(SHARE as usize).unwrap_or(0).saturating_add(1);
        count.saturating_add(untold) >= all || !self.has_share_for_retained(topic, || cost)
    }

    /// A retained message of another shard has expired on its way. It has replaced the one before.
    pub(super) fn retain_expired(&mut self, shared: &SharedMessage) {
        let topic = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok());
        if let Some(topic) = topic.filter(|topic| shared.retain() && self.keeps_retained(*topic)) {
            self.unretain(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_count_of_each_shard_counts() {
        let mut counts = RetainedCounts::new(Shard { index: 0, count: 3 });
        counts.hear(1, 5);
        counts.hear(2, 7);
        counts.hear(1, 4);
        counts.hear(9, 100);
        assert_eq!(counts.elsewhere(), 11);
    }

    /// Before version 0.2 each shard had a record of every retained message, and one without payload of a message that was removed.
    #[test]
    fn records_of_messages_that_other_shards_keep_are_removed_from_the_store() {
        use crate::durable::record::{Key, Kind, MessageRecord, Record, Value};
        use crate::durable::{Polled, RestoreError};
        use crate::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory};
        use std::vec::Vec;

        let shard = Shard { index: 0, count: 2 };
        let config = Config { shard, durable: true, ..Config::gateway(1) };
        let mut broker = Broker::new(Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard), config, &AllowAll);
        let topic = |owner| {
            let owned = move |topic: &std::string::String| Shard::owner_of_topic(topic.as_bytes(), 2) == owner;
            (0..).map(|number| std::format!("t/{number}")).find(owned).unwrap()
        };
        let (own, other) = (topic(0), topic(1));
        for (slot, (topic, payload)) in [(&own, "x"), (&other, "x"), (&own, "")].into_iter().enumerate() {
            let body = [topic.as_bytes(), payload.as_bytes()].concat();
            let message = MessageRecord {
                topic_len: topic.len() as u16,
                properties_len: 0,
                qos: 1,
                retain: true,
                expires: Instant::NEVER,
                order: slot as u64 + 1,
                stamp: (slot as u64 + 1) << 16,
                body: &body,
            };
            let key = |kind| Key { kind, slot: slot as u32 };
            broker.restore(Record::Put(key(Kind::Message), Value::Message(message))).unwrap();
            let kept = broker.restore(Record::Put(key(Kind::Retained), Value::Retained));
            assert_eq!(kept, if payload.is_empty() { Err(RestoreError::Invalid) } else { Ok(()) });
        }
        let restored = broker.finish_restore(Instant::from_millis(1));
        assert_eq!((restored.retained, broker.counters().messages), (1, 1));
        let (mut out, mut deleted) = ([0; 256], Vec::new());
        while let Polled::Record { key, delete, .. } = broker.poll_record(&mut out) {
            assert!(delete, "{key:?}");
            deleted.push((key.kind as u8, key.slot));
        }
        deleted.sort_unstable();
        let expected = [Kind::Message, Kind::Retained].map(|kind| [(kind as u8, 1), (kind as u8, 2)]);
        assert_eq!(deleted, expected.concat());
    }
}
