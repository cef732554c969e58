//! After a restart the shards tell each other of their restored subscriptions; members of groups come first. Until all shards have
//! answered a fence behind that, a shard reads nothing from clients, sets messages of other shards aside and lets no timer fire. So no
//! client is told that there are no subscribers.

use alloc::collections::VecDeque;

use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::mem::Handle;
use crate::shards::forward::{Content, Forward};
use crate::shards::groups_elsewhere::as_subscribed;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// The progress of the greeting.
#[derive(Debug, Default)]
pub(super) struct Greeting {
    /// The number of the fence behind which all other shards have told their subscribers; 0: all have told them.
    fence: u64,
    /// Messages that came before all other shards had told their subscribers: it is not known yet who is to get them.
    early: VecDeque<(u16, Forward)>,
    /// Questions for retained messages: some of these may be among the messages that are set aside.
    questions: VecDeque<(u16, Forward)>,
}

impl Greeting {
    #[inline]
    pub(super) fn is_going_on(&self) -> bool {
        self.fence != 0
    }

    /// Whether a forward of another shard has to wait until the greeting is over.
    pub(super) fn is_early(&self, content: &Content) -> bool {
        content.message().is_some() || Self::asks_for_retained(content)
    }

    fn asks_for_retained(content: &Content) -> bool {
        matches!(
            content,
            Content::Replay { .. } | Content::RenewReplay { .. } | Content::MoreOfReplay(_) | Content::EndReplay(_)
        )
    }

    /// Keeps a forward of another shard until the greeting is over.
    pub(super) fn set_aside(&mut self, from: u16, forward: Forward) {
        let list = if Self::asks_for_retained(&forward.0) { &mut self.questions } else { &mut self.early };
        list.push_back((from, forward));
    }
}

impl Engine<'_> {
    /// After a restart: sends other shards the messages that were on their way to them, and tells them the subscribers here.
    pub(super) fn greet(&mut self) {
        for slot in self.shards.transits.end_restoring() {
            self.send_transit_again(slot as usize);
        }
        if !self.shards.links.has_siblings() {
            return;
        }
        self.shards.transits.tell_taken(&mut self.shards.links);
        let count = self.shards.stamps.count();
        for other in self.shards.links.others() {
            self.shards.links.send(other, Content::CountFrom(count));
        }
        for slot in 0..self.router.subscription_slots() {
            let subscription = Handle::from_index(slot);
            let subscriber = self.router.live_subscription(subscription).map(|entry| entry.subscriber());
            let Some(session) = subscriber.map(|subscriber| self.session_of(subscriber)) else { continue };
            let Some(filter) = self.filter_for_siblings(subscription) else { continue };
            if let Some(subscribed) = as_subscribed(&filter) {
                self.count_foreign_group(session, 1);
                self.join(session, &subscribed, subscription);
            } else if let Ok(filter) = TopicFilter::new(&filter)
                && self.router.is_first_to_filter(subscription)
            {
                let is_durable = self.router.filter_has_qos(subscription);
                self.tell_subscriber(session, filter, is_durable, false);
            }
        }
        // The other shards answer the fence when they know all members of their groups, and have told the shards of these too.
        self.shards.fences.raise_probe(&mut self.shards.links);
        self.shards.greeting.fence = self.shards.fences.raise(&mut self.shards.links);
        self.tell_retained_count();
    }

    fn send_transit_again(&mut self, slot: usize) {
        let Some(transit) = self.shards.transits.get(slot) else { return };
        let Some(shared) = self.share(transit.message, transit.publisher_key) else { return };
        let (to, message) = (transit.to, shared.at(transit.sequence));
        let content = match transit.group.clone() {
            None => Content::Message(message),
            Some(group) if TopicFilter::new(&group).is_ok_and(|filter| self.owner_of(filter).is_none()) => {
                let message = message.stamped(self.messages.get(transit.message).order);
                let (qos, retain, identifier) = (message.qos, false, 0);
                Content::Deliver { member: None, group, message, qos, retain, identifier }
            }
            Some(group) => Content::Returned { group, message },
        };
        self.shards.links.send(to, content);
    }

    /// Makes a connection wait until the greeting is over.
    pub(super) fn wait_for_greeting(&mut self, handle: Handle<Connection>) -> bool {
        let greeting = self.shards.greeting.fence;
        if self.connections[handle].shards.fence == 0 {
            self.connections[handle].shards.fence = greeting;
            let id = self.id_of(handle);
            self.shards.fences.wait_for(greeting, id);
        }
        true
    }

    /// Another shard has passed a fence, for which these connections waited. It may have been the last shard that had not told its
    /// restored subscribers.
    pub(super) fn end_greeting_if_passed(&mut self, now: Instant, waiting: &[ConnectionId]) {
        if self.shards.greeting.is_going_on() && self.shards.fences.has_passed(self.shards.greeting.fence) {
            self.end_greeting(now, waiting);
        }
    }

    /// All other shards have told their restored subscribers.
    fn end_greeting(&mut self, now: Instant, waiting: &[ConnectionId]) {
        self.shards.greeting.fence = 0;
        for id in waiting {
            if let Some(connection) = self.find(*id) {
                self.connections[connection].shards.fence = 0;
            }
        }
        self.end_empty_groups();
        self.resume_absences(now);
        while let Some((from, forward)) = self.shards.greeting.early.pop_front() {
            self.on_forward(now, from, forward);
        }
        self.begin_restored_readings();
        while let Some((from, forward)) = self.shards.greeting.questions.pop_front() {
            self.on_forward(now, from, forward);
        }
    }
}
