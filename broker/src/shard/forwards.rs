//! Forwards on their way from other shards to this shard: a queue for each shard that sends some. Whole queues change hands, so a forward
//! stays where the sending core put it until the receiving core handles it.
//!
//! The cores claim the places of forwards that wait. An empty queue keeps its memory for the next forwards, but not more than a little, which is taken
//! from the ceiling at the start.

use goldcrest_core::{Broker, Config, Forward, Instant};
use std::collections::VecDeque;

/// When the core has done so much work for forwards, the rest waits until connections had their turn.
const SHARE: u64 = Config::WORK_SHARE as u64;

/// The forwards that wait for one shard. Those of one sender stay in their order.
#[derive(Default)]
pub(crate) struct Forwards {
    /// The queue of each sender, by the sender's index. An empty queue is kept for its memory.
    queues: Vec<VecDeque<Forward>>,
    /// The senders whose queues are not empty; the first one has waited longest.
    senders: VecDeque<u16>,
}

impl Forwards {
    /// The most bytes that empty queues keep, all together.
    pub(crate) const KEPT_BYTES: usize = 128 << 10;

    pub(crate) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.senders.iter().map(|sender| self.queues[usize::from(*sender)].len()).sum()
    }

    /// Puts `batch` behind the earlier forwards of the shard `from`, and leaves `batch` empty, with memory for the next one.
    pub(super) fn put(&mut self, from: u16, batch: &mut VecDeque<Forward>) {
        let sender = usize::from(from);
        if self.queues.len() <= sender {
            self.queues.resize_with(sender + 1, VecDeque::new);
        }
        let queue = &mut self.queues[sender];
        if !queue.is_empty() {
            queue.append(batch);
        } else if !batch.is_empty() {
            std::mem::swap(queue, batch);
            self.senders.push_back(from);
        }
        let kept = self.kept();
        if batch.capacity() > kept {
            batch.shrink_to(kept);
        }
    }

    /// The number of forwards for which an empty queue keeps memory.
    fn kept(&self) -> usize {
        Self::KEPT_BYTES / size_of::<Forward>() / self.queues.len().max(1)
    }

    /// Puts all forwards of `others` behind those that are here.
    pub(super) fn put_all(&mut self, others: &mut Self) {
        while let Some(sender) = others.senders.pop_front() {
            self.put(sender, &mut others.queues[usize::from(sender)]);
        }
    }

    /// Hands forwards to the core, until the core has done its share of work. The rest waits, and its sender comes last the next time.
    pub(super) fn hand_in(&mut self, broker: &mut Broker<'static>, now: Instant) {
        let (before, kept) = (broker.work(), self.kept());
        while broker.work().wrapping_sub(before) < SHARE
            && let Some(sender) = self.senders.pop_front()
        {
            let queue = &mut self.queues[usize::from(sender)];
            let handled = broker.handle_forwards(now, sender, queue);
            debug_assert!(handled.is_ok(), "all shards have the seed that the gateway has drawn");
            if !queue.is_empty() {
                self.senders.push_back(sender);
            } else if queue.capacity() > kept {
                queue.shrink_to(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::{AllowAll, Capacity, Limits, Memory, Shard};

    /// The two forwards to the other shard that the first SUBSCRIBE of a client causes: the filter, and the fence behind it.
    fn batch() -> VecDeque<Forward> {
        let shard = Shard { index: 0, count: 2 };
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
        let mut broker = Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll);
        let now = Instant::from_millis(1);
        let client = broker.handle_connected(now).unwrap();
        for packet in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"[..], b"\x82\x06\0\x01\0\x01t\0"] {
            broker.handle_bytes(now, client, packet);
        }
        let mut batch = VecDeque::new();
        assert_eq!((broker.poll_forwards(&mut batch), batch.len()), (Some(1), 2));
        batch
    }

    #[test]
    fn forwards_of_one_sender_stay_in_order_and_senders_take_turns() {
        let mut forwards = Forwards::default();
        forwards.put(3, &mut VecDeque::new());
        assert!(forwards.is_empty());
        for sender in [3, 1, 3] {
            let mut batch = batch();
            forwards.put(sender, &mut batch);
            assert!(batch.is_empty());
        }
        assert_eq!((forwards.len(), &forwards.senders), (6, &VecDeque::from([3, 1])));
        let mut later = Forwards::default();
        later.put(1, &mut batch());
        later.put_all(&mut forwards);
        assert!(forwards.is_empty());
        assert_eq!((later.len(), later.queues[3].len(), &later.senders), (8, 4, &VecDeque::from([1, 3])));
    }

    #[test]
    fn queues_of_which_many_forwards_were_taken_keep_little_memory() {
        let many = 20 * Forwards::KEPT_BYTES / size_of::<Forward>();
        let mut large = VecDeque::with_capacity(many);
        large.append(&mut batch());
        let mut forwards = Forwards::default();
        forwards.put(1, &mut large);
        let (mut taken, mut large) = (Forwards::default(), VecDeque::with_capacity(many));
        taken.put(0, &mut VecDeque::new());
        taken.put_all(&mut forwards);
        let shard = Shard { index: 0, count: 2 };
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard);
        let mut broker = Broker::new(memory, Config { shard, ..Config::gateway(1) }, &AllowAll);
        taken.hand_in(&mut broker, Instant::from_millis(1));
        assert!(taken.is_empty());
        taken.put(0, &mut large);
        let queues = taken.queues.iter().chain(&forwards.queues).chain([&large]);
        let kept: usize = queues.map(VecDeque::capacity).sum();
        assert!(kept * size_of::<Forward>() <= 3 * Forwards::KEPT_BYTES, "{kept} of {many}");
    }

    #[test]
    fn a_batch_changes_hands_without_copying_its_forwards() {
        let (mut forwards, mut batch) = (Forwards::default(), batch());
        let place = batch.as_slices().0.as_ptr();
        forwards.put(1, &mut batch);
        let mut taken = Forwards::default();
        taken.put_all(&mut forwards);
        assert_eq!(taken.queues[1].as_slices().0.as_ptr(), place);
    }
}
