//! Messages go once to each other shard that wants them, and from there to its own subscribers.

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::{Message, Residency};
use crate::engine::neighbour_state::WantedElsewhere;
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::route_plan::{Candidate, RouteQuestion};
use crate::engine::routing::{Fate, Routed, Routing, is_reserved_for_server};
use crate::engine::siblings::Siblings;
use crate::mem::Handle;
use crate::seam::counters::DropReason;
use crate::shards::forward::{Content, SharedMessage};
use crate::shards::questions::QuestionId;
use crate::shards::set::SiblingSet;
use crate::time::Instant;
use crate::topic::TopicName;

/// Whether another shard may have a message before it is recorded here: only a message that may come twice.
pub(super) fn goes_unrecorded(qos: QoS) -> bool {
    qos == QoS::AtLeastOnce
}

fn message_of_sibling(topic: TopicName<'_>, qos: QoS) -> Candidate<'_> {
    Candidate { topic, qos, cost: 0, is_kept: false, publisher: None, from_sibling: true }
}

impl Engine<'_> {
    /// Sends a message to the other shards that want it.
    pub(super) fn forward(
        &mut self,
        message: Handle<Message>,
        routing: &Routing<'_>,
        to: &SiblingSet,
    ) -> Option<QuestionId> {
        let key = routing.publisher_key;
        let mut shared = self.share(message, key)?;
        // The removal of a retained message is recorded even now.
        let is_unrecorded = routing.is_unrecorded && !shared.retain();
        if is_unrecorded {
            shared.leave_unrecorded();
        }
        let stays = shared.qos > QoS::AtMostOnce || (shared.retain() && !is_reserved_for_server(routing.topic));
        let may_be_recorded = self.messages.journal.is_on() && stays && !is_unrecorded;
        self.send_to_each(shared, routing.asks, to, |broker, sibling, is_durable| {
            if may_be_recorded && is_durable { broker.begin_transit(sibling, message, key, None) } else { 0 }
        })
    }

    /// Sends a message without subscribers here to the other shards that want it, without storing it first. Returns `None` if the message
    /// has to be recorded.
    pub(super) fn forward_unstored(&mut self, routing: &Routing<'_>, to: &SiblingSet) -> Option<Option<QuestionId>> {
        let stays = routing.draft.qos > QoS::AtMostOnce || routing.draft.retain();
        let is_recorded = self.messages.journal.is_on() && stays && to.needs_record();
        let is_unrecorded = routing.is_unrecorded && !routing.draft.retain();
        if is_recorded && !is_unrecorded {
            return None;
        }
        let body = self.messages.bytes.make_shared(&routing.parts)?;
        let mut shared = SharedMessage::new(body, &routing.draft, routing.publisher_key);
        if is_unrecorded {
            shared.leave_unrecorded();
        }
        self.next_order();
        self.look_at_memory();
        Some(self.send_to_each(shared, routing.asks, to, |_, _, _| 0))
    }

    /// Sends a message to each of these shards, with the sequence number that `place` returns for it. Returns the question that the shards
    /// are asked.
    #[inline]
    fn send_to_each(
        &mut self,
        mut shared: SharedMessage,
        asks: bool,
        to: &SiblingSet,
        place: impl Fn(&mut Self, u16, bool) -> u64,
    ) -> Option<QuestionId> {
        if asks && shared.retain() {
            return self.send_and_ask_owner(shared, to, place);
        }
        let question = asks.then(|| self.shards.questions.open(false));
        if asks {
            shared.ask();
        }
        let mut one_before = None;
        for (sibling, is_durable) in to.iter() {
            let sequence = place(self, sibling, is_durable);
            if let Some(question) = question {
                self.shards.questions.ask(question, sibling);
            }
            if let Some((to, sequence)) = one_before.replace((sibling, sequence)) {
                self.send_message(to, sequence, Content::Message(shared.clone().at(sequence)));
            }
        }
        // The last shard gets the reference to the body, and not a copy of the reference.
        if let Some((to, sequence)) = one_before {
            shared.sequence = sequence;
            self.send_message(to, sequence, Content::Message(shared));
        }
        question
    }

    /// Sends a message with RETAIN to each of these shards. The owner of its topic alone says whether the message is retained.
    #[inline(never)]
    fn send_and_ask_owner(
        &mut self,
        shared: SharedMessage,
        to: &SiblingSet,
        place: impl Fn(&mut Self, u16, bool) -> u64,
    ) -> Option<QuestionId> {
        let owner = self.owner_of_shared(&shared);
        let question = self.shards.questions.open(owner.is_some());
        for (sibling, is_durable) in to.iter() {
            let sequence = place(self, sibling, is_durable);
            let mut copy = shared.clone().at(sequence);
            if owner.is_none_or(|owner| owner == sibling) {
                self.shards.questions.ask(question, sibling);
                copy.ask();
            }
            self.send_message(sibling, sequence, Content::Message(copy));
        }
        Some(question)
    }

    fn owner_of_shared(&self, shared: &SharedMessage) -> Option<u16> {
        self.owner_of_retained(core::str::from_utf8(shared.topic()).ok()?)
    }

    /// Sends a message. A recorded message, whose `sequence` is not 0, is sent once its record is safe. A message that may come twice is
    /// sent at once: its publisher has no answer yet, and sends it again after a crash.
    #[inline]
    pub(super) fn send_message(&mut self, to: u16, sequence: u64, content: Content) {
        if sequence == 0 {
            self.shards.links.send(to, content);
        } else {
            self.send_recorded(to, content);
        }
    }

    fn send_recorded(&mut self, to: u16, content: Content) {
        if matches!(&content, Content::Message(shared) if goes_unrecorded(shared.qos)) {
            self.shards.links.send(to, content);
        } else {
            let batch = self.messages.journal.gathering();
            self.shards.links.send_when_safe(to, batch, content);
        }
    }

    pub(super) fn share(&self, message: Handle<Message>, publisher_key: u32) -> Option<SharedMessage> {
        if self.messages.is_evicted(message) {
            return None;
        }
        let message = self.messages.get(message);
        Some(SharedMessage::new(self.messages.bytes.share(message.body)?, message, publisher_key))
    }

    /// Stores a message of another shard, and holds a reference for the caller.
    pub(super) fn adopt(&mut self, shared: SharedMessage) -> Option<Handle<Message>> {
        let (message, body) = shared.into_parts();
        // The sequence number that the message has on the other shard means nothing here.
        let order = self.next_order();
        let stored = self.messages.adopt(Message { order, ..message }, body)?;
        self.messages.hold(stored);
        Some(stored)
    }

    /// Whether a message of another shard has subscribers here.
    #[cold]
    fn has_takers(&mut self, shared: &SharedMessage) -> bool {
        let topic = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok());
        topic.is_some_and(|topic| self.is_taken(topic, shared.retain()))
    }

    fn is_taken(&mut self, topic: TopicName<'_>, retain: bool) -> bool {
        (retain && self.keeps_retained(topic))
            || self.plan_route(&message_of_sibling(topic, QoS::AtMostOnce), RouteQuestion::MATCH).is_matched
    }

    /// A retained message can be removed even if there is no memory for the message that removes it. Returns whether it was removed so.
    #[inline(never)]
    fn clear_without_memory(&mut self, shared: &SharedMessage) -> bool {
        let topic = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok());
        let Some(topic) = topic.filter(|topic| shared.clears() && self.keeps_retained(*topic)) else { return false };
        if self.messages.has_room(shared.body_len()) {
            return false;
        }
        self.unretain(topic);
        true
    }

    /// Whether a message of another shard has to be recorded here.
    #[cold]
    fn has_to_record(&mut self, shared: &SharedMessage) -> bool {
        let qos = shared.qos;
        let topic = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok());
        topic.is_some_and(|topic| self.plan_route(&message_of_sibling(topic, qos), RouteQuestion::RECORD).needs_record)
    }

    pub(super) fn take_message(&mut self, now: Instant, shared: SharedMessage) -> Fate {
        if shared.has_expired(now) {
            if !self.has_takers(&shared) {
                // The message came in vain: nothing is lost.
                return Fate::Unwanted;
            }
            self.drop_message(None, shared.as_dropped(), DropReason::Expired);
            self.retain_expired(&shared);
            // The publisher wanted the message to expire, so for the publisher that is no loss.
            return Fate::Kept;
        }
        if shared.is_unrecorded() && self.has_to_record(&shared) {
            self.drop_message(None, shared.as_dropped(), DropReason::QueueFull);
            return Fate::Lost;
        }
        let publisher_key = shared.publisher_key;
        // The reference to the body is passed on. Holding it for the topic would cost more than copying the topic.
        let mut space = [0; SHORT_TOPIC];
        let topic = copy_of(shared.topic(), &mut space);
        if topic.is_none() && !self.messages.has_room(shared.body_len()) && !self.has_takers(&shared) {
            return Fate::Unwanted;
        }
        let retain = shared.retain();
        let is_cleared = retain && self.clear_without_memory(&shared);
        let (message, body) = shared.into_parts();
        let Some(message) = self.messages.adopt(message, body) else {
            if topic.is_some_and(|topic| !self.is_taken(topic, retain)) {
                return Fate::Unwanted;
            }
            self.drop_message(None, LostMessage::Unknown, DropReason::OutOfMemory);
            return if is_cleared { Fate::Kept } else { Fate::Lost };
        };
        self.messages.hold(message);
        let fate = match topic {
            Some(topic) => Some(self.route_of_sibling(topic, message, publisher_key)),
            None => self.with_topic(message, |broker, topic| broker.route_of_sibling(topic, message, publisher_key)),
        };
        self.messages.release(message);
        fate.unwrap_or_else(|| {
            // There was no memory for the topic.
            self.drop_message(None, LostMessage::Unknown, DropReason::OutOfMemory);
            Fate::Lost
        })
    }

    #[inline(always)]
    fn route_of_sibling(&mut self, topic: TopicName<'_>, message: Handle<Message>, publisher_key: u32) -> Fate {
        match self.route(Routing::from_sibling(topic, message, publisher_key)) {
            Ok(Routed { fate, .. }) => fate,
            Err(_) => self.lose_message_of_sibling(topic, message, publisher_key),
        }
    }

    #[cold]
    fn lose_message_of_sibling(&mut self, topic: TopicName<'_>, message: Handle<Message>, publisher_key: u32) -> Fate {
        self.drop_message(None, LostMessage::Stored(message), DropReason::QueueFull);
        if self.messages.get(message).retain() && self.keeps_retained(topic) {
            // It can't be retained. The subscribers get it all the same, as those on other shards do.
            self.messages.forget_retain(message);
            let _ = self.route(Routing::from_sibling(topic, message, publisher_key));
        }
        Fate::Lost
    }
}

/// The longest topic that is copied to the stack, in bytes. A longer topic is copied to the scratch memory.
const SHORT_TOPIC: usize = 64;

/// A copy of another shard's topic in `space`, if there is room. The topic was checked when its message came to that shard.
#[inline]
fn copy_of<'a>(topic: &[u8], space: &'a mut [u8]) -> Option<TopicName<'a>> {
    let copy = space.get_mut(..topic.len())?;
    copy.copy_from_slice(topic);
    let text = core::str::from_utf8(copy).ok()?;
    if text.is_empty() { None } else { Some(TopicName::assume_valid(text)) }
}
