//! The links to the other shards of a gateway: the forwards that wait for each shard, and the messages that it has not confirmed.
//!
//! The embedder carries [`Forward`]s from [`Broker::poll_forward`] to the other
//! shard's [`Broker::handle_forward`], in order and without loss.
//!
//! [`Broker::poll_forward`]: crate::Broker::poll_forward
//! [`Broker::handle_forward`]: crate::Broker::handle_forward

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::config::{Config, Shard};
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::mem::heap::{MemoryAccount, MemoryCredit, SpareBuffers, forget_gone};
use crate::mem::{Handle, one_more};
use crate::seam::work;
use crate::shards::forward::{Content, Forward};
use crate::shards::waits::Waits;

/// A shard confirms messages in portions of so many at most.
const CONFIRMED_AT_ONCE: u32 = 256;
/// A shard confirms messages at the latest when so much work was done for them.
const WORK_AT_ONCE: u64 = Config::WORK_SHARE as u64;
/// So many messages may be in transit to a shard until that shard has told how much work they are.
const FIRST_WINDOW: u32 = 64;
/// So many messages may be in transit however much work they are.
const LEAST_WINDOW: u32 = 16;

/// The forwards that wait for each other shard, and the connections that wait for confirmations.
#[derive(Debug)]
pub(crate) struct ShardLinks {
    shard: Shard,
    /// The forwards for each other shard, by its index; empty if there are no other shards.
    queues: Vec<Queue>,
    /// An empty list of a queue keeps memory for so many entries.
    kept: usize,
    /// Connections that wait until other shards have confirmed more messages.
    congested: Vec<ConnectionId>,
    /// The connection that was woken first at the last time. It may have used up the whole window.
    woken_first: Option<ConnectionId>,
    /// What is on its way is claimed by whoever sends it, and given back by whoever takes it.
    mail: MemoryCredit,
}

/// The forwards for one other shard: those that wait, and how many were sent and not confirmed yet.
#[derive(Debug)]
struct Queue {
    outgoing: VecDeque<Forward>,
    /// Messages that must not be sent before a batch is safe here, and those behind them, each with its batch.
    held: VecDeque<(u32, Forward)>,
    /// How many messages to that shard it has not confirmed.
    in_transit: u32,
    /// How many messages to that shard may be in transit: fewer, if they are much work there. Otherwise a few publishers of such messages would
    /// make all others wait for long.
    window: u32,
    /// How many messages from that shard this shard has not confirmed.
    unconfirmed: u32,
    /// The work that was done for them.
    work: u64,
    /// How many messages from that shard may be in transit, as it was told last.
    told: u32,
}

impl Queue {
    fn new() -> Self {
        let (outgoing, held) = Default::default();
        Self { outgoing, held, in_transit: 0, window: FIRST_WINDOW, unconfirmed: 0, work: 0, told: FIRST_WINDOW }
    }

    /// How many messages from the other shard are confirmed at once: few enough that it never waits in vain.
    fn portion(&self) -> u32 {
        (self.told / 2).min(CONFIRMED_AT_ONCE)
    }

    /// How many messages may be in transit from the other shard, by the work that the unconfirmed ones were; at most twice as many as before,
    /// because the next ones may be more work.
    fn next_window(&self) -> u32 {
        let messages = u64::from(self.unconfirmed).saturating_mul(2 * WORK_AT_ONCE);
        let by_work = messages.checked_div(self.work).and_then(|window| u32::try_from(window).ok()).unwrap_or(u32::MAX);
        by_work.min(self.told.saturating_mul(2)).clamp(LEAST_WINDOW, Forward::MAX_IN_TRANSIT)
    }
}

impl ShardLinks {
    pub(super) fn new(shard: Shard, account: MemoryAccount) -> Self {
        let queues: Vec<_> = (0..shard.siblings()).map(|_| Queue::new()).collect();
        // Each queue has two lists.
        let lists = queues.len().saturating_mul(2).max(1);
        let kept = Forward::KEPT_BYTES.checked_div(size_of::<(u32, Forward)>().saturating_mul(lists)).unwrap_or(0);
        Self { shard, queues, kept, congested: Vec::new(), woken_first: None, mail: MemoryCredit::of(account) }
    }

    /// Something is on its way from now on. It may not be lost, so it is not refused either: what is in transit is bounded.
    #[inline]
    fn post(&mut self, content: &Content) {
        if self.counts_mail() {
            self.count_out(content.cost());
        }
    }

    /// Whether there is a ceiling.
    #[inline]
    pub(super) fn counts_mail(&self) -> bool {
        self.mail.is_bounded()
    }

    #[inline(never)]
    fn count_out(&mut self, cost: usize) {
        self.mail.take_anyway(cost);
        self.mail.hand_over(cost);
    }

    /// A sibling's was taken out of the mail.
    #[inline(never)]
    pub(super) fn take_out(&mut self, content: &Content) {
        let cost = content.cost();
        self.mail.receive(cost);
        self.mail.give(cost);
    }

    #[inline]
    pub(crate) fn has_siblings(&self) -> bool {
        !self.queues.is_empty()
    }

    /// The indexes of the other shards.
    pub(crate) fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let Shard { index, count } = self.shard;
        (0..if count > 1 { count } else { 0 }).filter(move |other| *other != index)
    }

    #[inline]
    pub(crate) fn send(&mut self, to: u16, content: Content) {
        self.post(&content);
        if let Some(sibling) = self.queues.get_mut(usize::from(to)) {
            if content.message().is_some() {
                sibling.in_transit = sibling.in_transit.saturating_add(1);
                if !sibling.held.is_empty() {
                    // The messages to a shard keep their order.
                    sibling.held.push_back((0, Forward(content)));
                    return;
                }
            }
            sibling.outgoing.push_back(Forward(content));
        }
    }

    /// Sends a message that is recorded in `batch`, once that batch is safe. Otherwise the other shard could deliver a message of which
    /// this shard knows nothing after a crash, and the publisher would send it again.
    pub(crate) fn send_when_safe(&mut self, to: u16, batch: u32, content: Content) {
        self.post(&content);
        if let Some(sibling) = self.queues.get_mut(usize::from(to)) {
            sibling.in_transit = sibling.in_transit.saturating_add(1);
            sibling.held.push_back((batch, Forward(content)));
        }
    }

    pub(crate) fn poll(&mut self) -> Option<(u16, Forward)> {
        let next = |(to, sibling): (usize, &mut Queue)| {
            let forward = sibling.outgoing.pop_front()?;
            forget_if_large(&mut sibling.outgoing, self.kept);
            Some((to as u16, forward))
        };
        self.queues.iter_mut().enumerate().find_map(next)
    }

    /// Moves all forwards for one other shard behind `forwards`. If that is empty, the queues change places instead.
    pub(super) fn poll_all(&mut self, forwards: &mut VecDeque<Forward>) -> Option<u16> {
        let (to, sibling) = self.queues.iter_mut().enumerate().find(|(_, sibling)| !sibling.outgoing.is_empty())?;
        if forwards.is_empty() {
            core::mem::swap(forwards, &mut sibling.outgoing);
        } else {
            forwards.append(&mut sibling.outgoing);
        }
        forget_if_large(&mut sibling.outgoing, self.kept);
        Some(to as u16)
    }

    /// The last [`Forward`] that waits for a shard.
    pub(super) fn last_to(&mut self, to: u16) -> Option<&mut Content> {
        let last = self.queues.get_mut(usize::from(to))?.outgoing.back_mut()?;
        Some(&mut last.0)
    }

    /// Sends a forward behind all messages for the shard, even those that wait for a batch.
    pub(super) fn send_behind_messages(&mut self, to: u16, content: Content) {
        self.post(&content);
        if let Some(queue) = self.queues.get_mut(usize::from(to)) {
            if queue.held.is_empty() {
                queue.outgoing.push_back(Forward(content));
            } else {
                queue.held.push_back((0, Forward(content)));
            }
        }
    }

    /// Whether some other shard has not confirmed as many messages as are allowed.
    #[inline]
    pub(super) fn are_congested(&self) -> bool {
        self.queues.iter().any(|queue| queue.in_transit >= queue.window)
    }

    /// A message has come from another shard, and is handled now.
    #[inline]
    pub(super) fn note_arrival(&mut self, from: u16) {
        if let Some(sibling) = self.queues.get_mut(usize::from(from)) {
            sibling.unconfirmed = one_more(sibling.unconfirmed);
        }
    }

    /// Messages from another shard were handled, which took so much work. Returns whether they are to be confirmed now.
    #[inline]
    pub(super) fn count_work(&mut self, from: u16, work: u64) -> bool {
        let Some(sibling) = self.queues.get_mut(usize::from(from)) else { return false };
        sibling.work = sibling.work.saturating_add(work);
        sibling.unconfirmed >= sibling.portion() || (sibling.work >= WORK_AT_ONCE && sibling.unconfirmed > 0)
    }

    /// Confirms the messages that have come from another shard. The confirmation carries spare buffers.
    #[inline(never)]
    pub(super) fn confirm(&mut self, to: u16, spares: SpareBuffers) {
        let Some(sibling) = self.queues.get_mut(usize::from(to)) else { return };
        let (count, window) = (sibling.unconfirmed, sibling.next_window());
        (sibling.unconfirmed, sibling.work, sibling.told) = (0, 0, window);
        let confirmed = Content::Confirmed { count, window, spares };
        if self.mail.is_bounded() {
            let cost = confirmed.cost();
            self.mail.take_anyway(cost);
            self.mail.hand_over(cost);
        }
        sibling.outgoing.push_back(Forward(confirmed));
    }

    /// The shard `by` has confirmed messages, and says how many may be in transit from now on.
    pub(super) fn confirmed(&mut self, by: u16, count: u32, window: u32) {
        if let Some(queue) = self.queues.get_mut(usize::from(by)) {
            queue.in_transit = queue.in_transit.saturating_sub(count);
            queue.window = window;
        }
    }

    /// Another batch is safe: sends other shards the messages that waited for it.
    pub(super) fn release_held(&mut self, is_unsafe: impl Fn(u32) -> bool) {
        for queue in &mut self.queues {
            while queue.held.front().is_some_and(|(batch, _)| !is_unsafe(*batch))
                && let Some((_, forward)) = queue.held.pop_front()
            {
                queue.outgoing.push_back(forward);
            }
            forget_if_large(&mut queue.held, self.kept);
        }
    }
}

/// Frees the memory of an empty list with more than `kept` places.
#[inline]
fn forget_if_large<T>(list: &mut VecDeque<T>, kept: usize) {
    if list.is_empty() && list.capacity() > kept {
        *list = VecDeque::new();
    }
}

impl Engine<'_> {
    /// Whether publishers wait until other shards confirm messages, or make messages safe.
    #[inline]
    pub(super) fn siblings_are_congested(&self) -> bool {
        let limit = Forward::MAX_IN_TRANSIT as usize;
        self.shards.links.are_congested() || self.shards.transits.are_at_limit(limit)
    }

    /// Makes the connection wait until another message may be sent to other shards.
    pub(super) fn wait_for_confirmation(&mut self, handle: Handle<Connection>) -> bool {
        let id = self.id_of(handle);
        if !self.connections[handle].shards.mark(Waits::CONGESTED, true) {
            let mut waiting = core::mem::take(&mut self.shards.links.congested);
            let looked_at = forget_gone(&mut waiting, self.connections.len(), |id| self.find(*id).is_some());
            self.work.count(work::PACKET, looked_at);
            waiting.push(id);
            self.shards.links.congested = waiting;
        }
        false
    }

    /// Other shards may have confirmed enough messages: wakes the connections that wait for that.
    pub(super) fn wake_congested(&mut self) {
        if self.shards.links.congested.is_empty() || self.siblings_are_congested() {
            return;
        }
        let links = &mut self.shards.links;
        let mut waiting = core::mem::take(&mut links.congested);
        if waiting.len() > 1 && waiting.first().copied() == links.woken_first {
            // The others had nothing of the last window.
            waiting.rotate_left(1);
        }
        links.woken_first = waiting.first().copied();
        for id in waiting {
            if let Some(connection) = self.find(id) {
                self.connections[connection].shards.mark(Waits::CONGESTED, false);
                self.mark_ready(connection);
            }
        }
    }

    pub(super) fn wake(&mut self, waiting: impl IntoIterator<Item = ConnectionId>) {
        for id in waiting {
            if let Some(connection) = self.find(id) {
                self.mark_ready(connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::siblings::Siblings;
    use crate::{AllowAll, Broker, Capacity, Instant, Memory};

    #[test]
    fn queues_of_which_many_forwards_were_taken_keep_little_memory() {
        let shard = Shard { index: 0, count: 3 };
        let mut links = ShardLinks::new(shard, MemoryAccount::UNBOUNDED);
        let many = 3 * Forward::KEPT_BYTES / size_of::<Forward>();
        let places = |links: &ShardLinks| -> usize {
            links.queues.iter().map(|queue| queue.outgoing.capacity() + queue.held.capacity()).sum()
        };
        for _ in 0..many {
            links.send(1, Content::Fence(1));
            links.send_when_safe(2, 7, Content::Fence(1));
        }
        assert!(places(&links) >= 2 * many);
        links.release_held(|_| false);
        assert_eq!(links.queues[2].held.capacity(), 0);
        let mut batch = VecDeque::new();
        while links.poll_all(&mut batch).is_some() {}
        assert_eq!((batch.len(), links.poll().is_none()), (2 * many, true));
        assert!(places(&links) * size_of::<(u32, Forward)>() <= Forward::KEPT_BYTES);
        // A queue of few forwards keeps its memory.
        links.send(1, Content::Fence(1));
        assert!(links.poll().is_some() && links.queues[1].outgoing.capacity() > 0);
    }

    /// A bug of the past: 8,192 messages might be in transit, even if each took a millisecond there. An honest pair waited behind them.
    #[test]
    fn the_more_work_messages_are_the_fewer_are_in_transit_and_all_are_confirmed() {
        let mut links = ShardLinks::new(Shard { index: 0, count: 2 }, MemoryAccount::UNBOUNDED);
        // How much work each message is, and how many may be in transit then.
        let phases = [(4, Forward::MAX_IN_TRANSIT), (1_000, 131), (50_000, LEAST_WINDOW), (4, Forward::MAX_IN_TRANSIT)];
        for (work, expected) in phases {
            let mut window = 0;
            for _ in 0..9 {
                // As many as the sender may have in transit by what it was told last.
                for _ in 0..links.queues[1].told {
                    links.note_arrival(1);
                    if links.count_work(1, work) {
                        links.confirm(1, SpareBuffers::default());
                    }
                }
                assert!(links.queues[1].unconfirmed < links.queues[1].told, "the sender would wait in vain");
                while let Some((_, forward)) = links.poll() {
                    match forward.0 {
                        Content::Confirmed { window: told, .. } => window = told,
                        other => panic!("{other:?}"),
                    }
                }
            }
            assert_eq!(window, expected);
        }
    }

    /// A bug of the past: the connection that had used up the window was woken first again, and the others never sent anything.
    #[test]
    fn each_connection_that_waits_for_other_shards_is_the_first_to_be_woken_in_its_turn() {
        let (shard, now) = (Shard { index: 0, count: 2 }, Instant::from_millis(1));
        let config = Config { shard, ..Config::gateway(1) };
        let mut broker = Broker::new(Memory::owned(&Capacity::GATEWAY, &config.limits, shard), config, &AllowAll);
        let ids: Vec<_> = (0..3).map(|_| broker.handle_connected(now).unwrap()).collect();
        let mut order = ids.clone();
        for turn in 0..7 {
            broker.engine.shards.links.queues[1].in_transit = FIRST_WINDOW;
            for id in order {
                let handle = broker.engine.find(id).unwrap();
                assert!(!broker.engine.siblings_keep_up(handle));
            }
            broker.engine.shards.links.confirmed(1, 1, FIRST_WINDOW);
            broker.engine.wake_congested();
            order = core::iter::from_fn(|| broker.poll_ready()).collect();
            assert_eq!(order[0], ids[turn % 3]);
        }
    }

    #[test]
    fn a_connection_is_listed_once_while_it_waits_for_other_shards_and_not_after_its_end() {
        let (shard, now) = (Shard { index: 0, count: 2 }, Instant::from_millis(1));
        let config = Config { shard, ..Config::gateway(1) };
        let mut broker = Broker::new(Memory::owned(&Capacity::GATEWAY, &config.limits, shard), config, &AllowAll);
        broker.engine.shards.links.queues[1].in_transit = FIRST_WINDOW;
        let ids: Vec<_> = (0..100).map(|_| broker.handle_connected(now).unwrap()).collect();
        let waits = |broker: &mut Broker<'_>, id| {
            let handle = broker.engine.find(id).unwrap();
            assert!(!broker.engine.siblings_keep_up(handle));
        };
        for _ in 0..20 {
            ids.iter().for_each(|id| waits(&mut broker, *id));
        }
        assert_eq!(broker.engine.shards.links.congested, ids);
        for _ in 0..2_000 {
            let id = broker.handle_connected(now).unwrap();
            waits(&mut broker, id);
            broker.handle_closed(now, id);
            while broker.poll_ready().is_some() {}
            assert!(broker.engine.shards.links.congested.len() <= 2 * (ids.len() + 1) + 17);
        }
        // The connections are woken in the order in which they came.
        broker.engine.shards.links.confirmed(1, 1, FIRST_WINDOW);
        broker.engine.wake_congested();
        let woken: Vec<_> = core::iter::from_fn(|| broker.poll_ready()).collect();
        assert_eq!(woken, ids);
        assert!(broker.engine.shards.links.congested.is_empty());
    }
}
