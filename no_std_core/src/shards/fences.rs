//! Fences: a connection waits until all other shards have handled what was sent to them before.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::codec::{Subscribe, Unsubscribe};
use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::engine::packets::subscribe::as_bridge;
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::mem::Handle;
use crate::seam::work;
use crate::shards::forward::Content;
use crate::shards::links::ShardLinks;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Fences and probes of this shard, and answers that it owes other shards.
#[derive(Debug)]
pub(super) struct Fences {
    /// The number of the last fence that this shard has sent.
    last: u64,
    /// Connections that wait for a fence, by the number of the fence.
    waiting: VecDeque<(u64, ConnectionId)>,
    /// The number of the last probe that this shard has sent.
    probe: u64,
    /// Answers that wait until a probe of this shard was answered: the shard to be answered, the number of its fence, and that of the
    /// probe.
    held: VecDeque<(u16, u64, u64)>,
    siblings: Vec<Answered>,
}

/// What another shard has answered.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    /// The number of the last fence that it has passed.
    passed: u64,
    /// The number of the last probe that it has answered.
    probed: u64,
}

impl Fences {
    pub(super) fn new(shard: Shard) -> Self {
        let mut siblings = alloc::vec![Answered::default(); shard.siblings() as usize];
        // This shard sends itself no fence, so it counts as having passed all.
        if let Some(own) = siblings.get_mut(usize::from(shard.index)) {
            *own = Answered { passed: u64::MAX, probed: u64::MAX };
        }
        Self { last: 0, waiting: VecDeque::new(), probe: 0, held: VecDeque::new(), siblings }
    }
}

impl Fences {
    /// The number that the next fence will have.
    pub(super) fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// Asks all other shards to answer when they have handled what was sent so far. Returns the number of the fence.
    pub(super) fn raise(&mut self, links: &mut ShardLinks) -> u64 {
        self.last = self.next();
        let fence = self.last;
        for other in links.others() {
            links.send(other, Content::Fence(fence));
        }
        fence
    }

    pub(super) fn wait_for(&mut self, fence: u64, id: ConnectionId) {
        self.waiting.push_back((fence, id));
    }

    /// The connection that waits for a fence.
    pub(super) fn waiter_of(&self, fence: u64) -> Option<ConnectionId> {
        let first = self.waiting.partition_point(|(waited_for, _)| *waited_for < fence);
        self.waiting.get(first).filter(|(waited_for, _)| *waited_for == fence).map(|(_, id)| *id)
    }

    /// Whether all other shards have passed a fence.
    pub(super) fn has_passed(&self, fence: u64) -> bool {
        self.siblings.iter().all(|sibling| sibling.passed >= fence)
    }

    /// The shard `by` has passed a fence. Returns the connections that waited for it.
    pub(super) fn passed(&mut self, by: u16, fence: u64) -> Vec<ConnectionId> {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.passed = sibling.passed.max(fence);
        }
        let mut done = Vec::new();
        while let Some((fence, id)) = self.waiting.front().copied() {
            if !self.has_passed(fence) {
                break;
            }
            self.waiting.pop_front();
            done.push(id);
        }
        done
    }

    /// Sends a probe to all other shards. Their fences are answered only after all of them have answered the probe.
    pub(super) fn raise_probe(&mut self, links: &mut ShardLinks) {
        self.probe = self.probe.saturating_add(1);
        let probe = self.probe;
        for other in links.others() {
            links.send(other, Content::Probe(probe));
        }
    }

    /// The shard `by` has answered a probe.
    pub(super) fn probed(&mut self, links: &mut ShardLinks, by: u16, probe: u64, count: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.probed = sibling.probed.max(probe);
        }
        while let Some((to, fence, ours)) = self.held.front().copied() {
            if !self.all_probed(ours) {
                break;
            }
            self.held.pop_front();
            links.send_behind_messages(to, Content::Passed { fence, count });
        }
    }

    /// Answers the fence of another shard: behind all messages for that shard, and when the last probe of this shard was answered. `count` is
    /// what this shard has counted.
    pub(super) fn answer(&mut self, links: &mut ShardLinks, from: u16, fence: u64, count: u64) {
        if self.held.is_empty() && self.all_probed(self.probe) {
            links.send_behind_messages(from, Content::Passed { fence, count });
        } else {
            self.held.push_back((from, fence, self.probe));
        }
    }

    fn all_probed(&self, probe: u64) -> bool {
        self.siblings.iter().all(|sibling| sibling.probed >= probe)
    }
}

impl Engine<'_> {
    /// Whether all other shards know the first `count` filters of a SUBSCRIBE. If not, they are told, and the connection is woken when they
    /// know them.
    pub(super) fn promise_filters(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        subscribe: &Subscribe<'_>,
        count: usize,
    ) -> bool {
        if !self.has_siblings() {
            return true;
        }
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let generation = self.connections[handle].generation;
        let is_bridge = self.connections[handle].is_bridge;
        for (text, mut options) in subscribe.filters().take(count) {
            let Ok(filter) = TopicFilter::new(text) else { continue };
            self.work.count(work::SUBSCRIPTION, 1);
            if self.is_too_deep(filter) || self.is_refused_text(text) {
                continue;
            }
            if is_bridge {
                options = as_bridge(text, options);
            }
            if self.owner_of(filter).is_some() {
                // The home shard of the group must know the member before SUBACK is sent. Handling the SUBSCRIBE once more changes nothing.
                self.subscribe(now, session, text, options, identifier);
            } else {
                self.promise_filter(generation, session, filter, options.qos);
            }
        }
        self.wait_for_siblings(handle);
        false
    }

    /// Makes the connection wait until all other shards have handled what was sent to them so far.
    pub(super) fn wait_for_siblings(&mut self, handle: Handle<Connection>) {
        let fence = self.shards.fences.raise(&mut self.shards.links);
        self.connections[handle].shards.fence = fence;
        let id = self.id_of(handle);
        self.shards.fences.wait_for(fence, id);
    }

    /// Whether all other shards have passed the fence for which the connection waits; `None` if it waits for none.
    pub(super) fn pass_fence(&mut self, handle: Handle<Connection>) -> Option<bool> {
        let fence = self.connections[handle].shards.fence;
        if fence == 0 {
            return None;
        }
        let passed = self.shards.fences.has_passed(fence);
        if passed {
            self.connections[handle].shards.fence = 0;
        }
        Some(passed)
    }

    /// The first `count` filters of an UNSUBSCRIBE may leave groups whose home is another shard. Returns whether these shards know: behind
    /// UNSUBACK they must send no more messages `[MQTT-3.10.4-2]`. If not, they are told, and the connection is woken when they know.
    pub(super) fn leave_groups(
        &mut self,
        handle: Handle<Connection>,
        session: Handle<Session>,
        unsubscribe: &Unsubscribe<'_>,
        count: usize,
    ) -> bool {
        if !self.has_siblings() {
            return true;
        }
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        let generation = self.connections[handle].generation;
        let mut waits = false;
        for text in unsubscribe.filters().take(count) {
            let Ok(filter) = TopicFilter::new(text) else { continue };
            if self.owner_of(filter).is_some() && self.unsubscribe(session, filter) {
                self.shards.promises.leave(generation, text);
                waits = true;
            }
        }
        if waits {
            self.forget_left_groups(session);
            self.wait_for_siblings(handle);
        }
        !waits
    }

    /// Answers the fence of another shard, now or later.
    pub(super) fn answer_fence(&mut self, from: u16, fence: u64) {
        let count = self.shards.stamps.count();
        self.shards.fences.answer(&mut self.shards.links, from, fence, count);
    }

    /// The shard `by` has answered a probe.
    pub(super) fn take_probed(&mut self, by: u16, probe: u64) {
        let count = self.shards.stamps.count();
        self.shards.fences.probed(&mut self.shards.links, by, probe, count);
    }

    /// The shard `by` has passed a fence: wakes the connections that waited for it.
    pub(super) fn take_fence_passed(&mut self, now: Instant, by: u16, fence: u64, count: u64) {
        self.shards.stamps.hear(by, count);
        let waiting = self.shards.fences.passed(by, fence);
        self.end_greeting_if_passed(now, &waiting);
        self.wake(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_waits_is_found_by_the_number_of_its_fence() {
        let shard = Shard { index: 0, count: 2 };
        let (mut links, mut fences) =
            (ShardLinks::new(shard, crate::mem::heap::MemoryAccount::UNBOUNDED), Fences::new(shard));
        let id = |generation| ConnectionId { slot: Handle::from_index(0), generation };
        // No connection waits for every third fence.
        for generation in 1..=3_000 {
            let fence = fences.raise(&mut links);
            if generation % 3 != 0 {
                fences.wait_for(fence, id(generation));
            }
        }
        for generation in 1..=3_000 {
            let expected = (generation % 3 != 0).then(|| id(generation));
            assert_eq!(fences.waiter_of(u64::from(generation)), expected);
        }
        assert_eq!(fences.waiter_of(3_001), None);
        assert_eq!(fences.passed(1, 2_000).len(), 1_334);
        assert_eq!((fences.waiter_of(2_000), fences.waiter_of(2_002)), (None, Some(id(2_002))));
    }
}
