//! Handles the forwards of other shards.

use alloc::collections::VecDeque;

use crate::engine::Engine;
use crate::engine::ahead::gather;
use crate::engine::neighbour_state::Elsewhere;
use crate::engine::neighbours::credit::Credit;
use crate::engine::router::{SIDE_BY_SIDE, SubscriptionOptions};
use crate::shards::forward::{Content, Forward, SharedMessage};
use crate::shards::home::Remote;
use crate::time::Instant;

impl Engine<'_> {
    #[inline]
    fn take_forward(&mut self, now: Instant, from: u16, forward: Forward) {
        if self.shards.greeting.is_going_on() && self.shards.greeting.is_early(&forward.0) {
            self.shards.greeting.set_aside(from, forward);
            return;
        }
        if let Some(message) = forward.0.message() {
            let is_new = self.note_arrival(from, message.sequence, message.body_len());
            if !is_new {
                self.shards.links.take_out(&forward.0);
                return;
            }
        }
        if self.shards.links.counts_mail() {
            self.shards.links.take_out(&forward.0);
        }
        match forward.0 {
            Content::Message(message) => self.take_and_answer(now, from, message),
            Content::Answers { fate, count } => self.take_answers(now, from, fate, count),
            Content::Safe(sequence) => self.end_transits(from, sequence),
            Content::Confirmed { count, window, spares } => {
                self.messages.bytes.put_spare_buffers(spares);
                self.shards.links.confirmed(from, count, window);
                self.wake_congested();
            }
            Content::Interest { seed, changes } => self.take_interest(from, seed, &changes),
            Content::Room { topic, cost, qos, fence, is_unrecorded, retains } => {
                self.answer_for_room(from, &topic, (cost, qos), fence, (is_unrecorded, retains));
            }
            Content::NoRoom { fence } => self.take_no_room(fence),
            Content::Fence(fence) => self.answer_fence(from, fence),
            Content::Passed { fence, count } => self.take_fence_passed(now, from, fence, count),
            Content::Probe(probe) => self.shards.links.send(from, Content::Probed(probe)),
            Content::Probed(probe) => self.take_probed(from, probe),
            Content::Count => self.answer_count(from),
            Content::Counted(count) => self.take_count(from, count),
            Content::CountFrom(count) => self.shards.stamps.catch_up(count),
            Content::RetainedCount(count) => self.shards.retained.hear(from, count),
            Content::Join { filter, member, online, qos, retain_as_published, identifier, durable } => {
                let options = SubscriptionOptions { qos: qos.bits(), no_local: false, retain_as_published };
                let state = Elsewhere {
                    is_connected: online,
                    is_durable: durable,
                    outstanding: 0,
                    outstanding_bytes: 0,
                    is_full: false,
                };
                self.take_member(now, &filter, Remote { shard: from, member, state }, options, identifier);
            }
            Content::Leave { filter, member } => self.take_leave(from, member, &filter),
            Content::Presence { member, online } => self.take_presence(now, from, member, online),
            Content::Full { member, is_full } => self.take_full(now, (from, member), is_full),
            Content::Deliver { member, group, message, qos, retain, identifier } => {
                self.take_delivery(now, (from, group), member, message, (qos, retain, identifier));
            }
            Content::Returned { group, message } => self.take_returned(&group, message),
            Content::Settled { member, count } => self.take_settled(now, (from, member), count),
            content => self.take_of_replay(now, from, content),
        }
    }

    /// A forward about a replay of retained messages.
    #[inline(never)]
    fn take_of_replay(&mut self, now: Instant, from: u16, content: Content) {
        match content {
            Content::Replay { question, filter, heard } => self.take_replay(now, from, question, &filter, heard),
            Content::RenewReplay { before, question, heard } => self.take_renewed(now, from, before, question, heard),
            Content::MoreOfReplay(question) => self.serve_more(now, from, question),
            Content::EndReplay(question) => self.end_served(from, question),
            Content::Replayed { question, message } => self.take_replayed(question, message),
            Content::PortionEnd { question, end } => self.take_portion_end(question, end),
            _ => {}
        }
    }

    /// A message of another shard has come, with this sequence number if it is recorded. Returns whether it is new, and
    /// was not received before a restart already.
    #[inline]
    fn note_arrival(&mut self, from: u16, sequence: u64, body_len: usize) -> bool {
        self.shards.links.note_arrival(from);
        if sequence > 0 {
            // The credit came even with a message that was received before, because it was sent again.
            self.take_credit(body_len);
        }
        self.is_new(from, sequence)
    }

    #[inline]
    fn take_and_answer(&mut self, now: Instant, from: u16, message: SharedMessage) {
        let asks = message.asks();
        if message.retain() {
            self.shards.stamps.hear(from, message.stamp >> 16);
        }
        let fate = self.take_message(now, message);
        if asks {
            self.answer(from, fate);
        }
    }

    /// Handles one forward.
    pub(crate) fn on_forward(&mut self, now: Instant, from: u16, forward: Forward) {
        let before = self.work.done();
        self.take_forward(now, from, forward);
        self.confirm_if_due(from, before);
    }

    /// Confirms the messages of another shard, if there are enough of them or if they were much work. The work was done since its count was
    /// at `before`.
    #[inline]
    fn confirm_if_due(&mut self, from: u16, before: u64) {
        if self.shards.links.count_work(from, self.work.done().wrapping_sub(before)) {
            let spares = self.messages.bytes.take_spare_buffers();
            self.shards.links.confirm(from, spares);
        }
    }

    /// Handles as many forwards as the share of work allows; the others stay in the list.
    pub(crate) fn on_forwards(&mut self, now: Instant, from: u16, forwards: &mut VecDeque<Forward>) {
        let before = self.work;
        while !forwards.is_empty() && !self.work.has_done(before, self.config.work_share) {
            if self.router.is_vast() {
                let (topics, count) = gather(forwards.iter().take(SIDE_BY_SIDE).filter_map(topic_of));
                self.router.look_ahead(topics.get(..count).unwrap_or(&[]));
            }
            let before = self.work.done();
            for _ in 0..SIDE_BY_SIDE {
                let Some(forward) = forwards.pop_front() else { break };
                self.take_forward(now, from, forward);
            }
            self.confirm_if_due(from, before);
        }
        if forwards.is_empty() {
            // The memory is used from its beginning again, where the next forwards are in the caches.
            forwards.clear();
        }
    }
}

/// The topic of a message for the subscribers here.
fn topic_of(forward: &Forward) -> Option<&[u8]> {
    match &forward.0 {
        Content::Message(shared) => Some(shared.topic()),
        _ => None,
    }
}
