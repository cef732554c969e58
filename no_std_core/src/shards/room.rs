//! Before the broker accepts a message, it asks other shards: whether they have room, with the policy `refuse`; whether they have to record the
//! message, if the store is full here; and whether the message can be retained, as a limit or memory gets short. This shard may know more
//! filters of other shards than there are, and no message must be refused for a filter that is not there.

use crate::codec::{Publish, QoS};
use crate::config::Overflow;
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::neighbour_state::WantedElsewhere;
use crate::engine::packets::publish::topic_text;
use crate::engine::route_plan::{Candidate, RouteQuestion};
use crate::engine::siblings::Siblings;
use crate::mem::Handle;
use crate::shards::forward::Content;
use crate::shards::set::SiblingSet;
use crate::shards::waits::Waits;
use crate::topic::TopicName;

impl Engine<'_> {
    /// Whether it is known if the other shards can take a message. This matters if the publisher is refused when
    /// they can't. If it is not known, the shards are asked, and the connection is woken when they have answered.
    pub(super) fn ask_for_room(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        // An answer about an earlier message, which was not sent in the end, says nothing about this one.
        self.connections[handle].shards.mark(Waits::REFUSED | Waits::AGREED, false);
        let aliased = self.aliased_topic(handle, publish);
        let text = topic_text(publish, aliased.as_deref());
        let Ok(topic) = TopicName::new(text) else { return true };
        let needs_room = self.config.overflow_for(topic) == Overflow::Refuse;
        let is_unrecorded = self.store_is_full && self.messages.journal.is_on() && publish.qos > QoS::AtMostOnce;
        if !self.has_siblings() {
            return true;
        }
        let len = text.len().saturating_add(publish.payload.len());
        let cost = publish.properties.forwardable_len().saturating_add(len as u32);
        let (qos, fence) = (publish.qos, self.shards.fences.next());
        let owner = self.owner_of_retained(text).filter(|_| publish.retain && !publish.payload.is_empty());
        let owner = owner.filter(|_| self.may_lack_room_to_retain(topic, cost));
        let mut asked = SiblingSet::default();
        if needs_room || is_unrecorded {
            let mut wanted = SiblingSet::default();
            self.add_wanted_elsewhere(topic, false, &mut wanted);
            wanted
                .iter()
                .filter(|(_, may_record)| needs_room || *may_record)
                .for_each(|(to, _)| asked.insert(to, false));
        }
        let is_asked_anyway = asked;
        if let Some(owner) = owner {
            asked.insert(owner, false);
        }
        let waits = !asked.is_empty();
        for (sibling, _) in asked.iter() {
            let is_unrecorded = is_unrecorded && is_asked_anyway.contains(sibling);
            let (topic, retains) = (text.into(), owner == Some(sibling));
            self.shards.links.send(sibling, Content::Room { topic, cost, qos, fence, is_unrecorded, retains });
        }
        if waits {
            self.connections[handle].shards.mark(Waits::AGREED, is_unrecorded);
            self.wait_for_siblings(handle);
        }
        !waits
    }

    /// Answers another shard that asks for room, if there is none, or if the message has to be recorded and can't be.
    pub(super) fn answer_for_room(
        &mut self,
        from: u16,
        topic: &str,
        (cost, qos): (u32, QoS),
        fence: u64,
        (is_unrecorded, retains): (bool, bool),
    ) {
        let Ok(topic) = TopicName::new(topic) else { return };
        let needs_room = self.config.overflow_for(topic) == Overflow::Refuse;
        let message = Candidate { topic, qos, cost, is_kept: false, publisher: None, from_sibling: true };
        let has_room = !needs_room || self.plan_route(&message, RouteQuestion::ROOM).has_room;
        let has_room = has_room && (!retains || self.has_room_to_retain(topic, || cost));
        if !has_room || (is_unrecorded && self.plan_route(&message, RouteQuestion::RECORD).needs_record) {
            self.shards.links.send(from, Content::NoRoom { fence });
        }
    }

    /// Another shard has no room for the message for which a connection waits at this fence.
    pub(super) fn take_no_room(&mut self, fence: u64) {
        if let Some(id) = self.shards.fences.waiter_of(fence)
            && let Some(connection) = self.find(id)
        {
            self.connections[connection].shards.mark(Waits::REFUSED, true);
        }
    }
}
