//! The policy `refuse`: before the broker accepts a message, it asks other shards whether they have room.

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
use crate::shards::waits::Waits;
use crate::topic::TopicName;

impl Engine<'_> {
    /// Whether it is known if the other shards have room for a message. This matters if the publisher is refused when
    /// they have none. If it is not known, the shards are asked, and the connection is woken when they have answered.
    pub(super) fn ask_for_room(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        // An answer about an earlier message, which was not sent in the end, says nothing about this one.
        self.connections[handle].shards.mark(Waits::REFUSED, false);
        let aliased = self.aliased_topic(handle, publish);
        let text = topic_text(publish, aliased.as_deref());
        let Ok(topic) = TopicName::new(text) else { return true };
        if !self.has_siblings() || self.config.overflow_for(topic) != Overflow::Refuse {
            return true;
        }
        let len = text.len().saturating_add(publish.payload.len());
        let cost = publish.properties.forwardable_len().saturating_add(len as u32);
        let (qos, fence) = (publish.qos, self.shards.fences.next());
        let message = Candidate { topic, qos, cost, is_kept: false, publisher: None, from_sibling: false };
        let asked = self.plan_route(&message, RouteQuestion::Siblings).siblings;
        for (sibling, _) in asked.iter() {
            self.shards.links.send(sibling, Content::Room { topic: text.into(), cost, qos, fence });
        }
        if !asked.is_empty() {
            self.wait_for_siblings(handle);
        }
        asked.is_empty()
    }

    /// Answers another shard that asks for room, if there is none.
    pub(super) fn answer_for_room(&mut self, from: u16, topic: &str, cost: u32, qos: QoS, fence: u64) {
        let Ok(topic) = TopicName::new(topic) else { return };
        let message = Candidate { topic, qos, cost, is_kept: false, publisher: None, from_sibling: true };
        if !self.plan_route(&message, RouteQuestion::Room).has_room {
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
