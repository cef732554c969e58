//! Shared subscriptions: one member of a group gets each message (section 4.8.2).
//!
//! While no member is connected, or no connected member has room, the group keeps the messages itself. It gives them to the first member
//! that connects or has room again, before later messages. A member that disconnects gives back the messages that were never sent to it.

use crate::codec::QoS;
use crate::config::ShareStrategy;
use crate::engine::Engine;
use crate::engine::deliver::DROPS_EXPIRED;
use crate::engine::messages::{Beside, Delivery, Message, Owner, Residency, Via};
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::router::{Group, PickKeys, SHARED, Subscription};
use crate::engine::routing::{Fate, Routing, Terms};
use crate::engine::sessions::{Bound, Outbound, Session};
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED, one_more};
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::seam::work;
use crate::time::Instant;
use crate::topic::TopicName;

/// The messages that a group keeps because no member can receive them.
#[derive(Debug)]
pub struct GroupQueue {
    pub(crate) queue: Outbound,
    /// Whether a message came back that is older than another one here.
    is_unsorted: bool,
}

/// Which connected members of a group may get a message.
#[derive(Clone, Copy)]
enum Taker {
    /// Those with room for a message of so many bytes.
    WithRoom(u32),
    /// All, for a message of this QoS: the policy decides what the full queue of a member drops. But a member on another shard sends back what
    /// it has no room for, except for messages of QoS 0.
    Connected(QoS),
}

impl GroupQueue {
    /// The value of unused memory.
    pub const EMPTY: Self = Self { queue: Outbound::EMPTY, is_unsorted: false };
}

impl Default for GroupQueue {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Engine<'_> {
    pub(crate) fn deliver_to_group(
        &mut self,
        group: Handle<Group>,
        message: Handle<Message>,
        routing: &Routing<'_>,
    ) -> Fate {
        if !SHARED {
            return Fate::Unwanted;
        }
        self.give_to_member(group, message, routing.topic, routing.publisher_key, false)
    }

    /// Queues `message` for a connected member that has room, or else for the group. If the group has no room either, the policy for the
    /// topic decides. A message that `was_kept` before is kept by the group in any case.
    pub(crate) fn give_to_member(
        &mut self,
        group: Handle<Group>,
        message: Handle<Message>,
        topic: TopicName<'_>,
        publisher: u32,
        was_kept: bool,
    ) -> Fate {
        let keys = self.keys_of(group, topic, publisher);
        let (qos, cost) = {
            let message = self.messages.get(message);
            (message.qos, message.body.len() as u32)
        };
        // Messages that wait longer go first. Messages of QoS 0 don't wait.
        let goes_on = qos == QoS::AtMostOnce || self.drain_to_members(group);
        if goes_on && let Some(member) = self.pick_member(group, keys, Taker::WithRoom(cost)) {
            return self.give(group, member, message, topic);
        }
        if qos > QoS::AtMostOnce && (was_kept || self.make_group_room(group, topic, cost)) {
            return self.keep_for_group(group, message);
        }
        if let Some(member) = self.pick_member(group, keys, Taker::Connected(qos)) {
            return self.give(group, member, message, topic);
        }
        if qos == QoS::AtMostOnce {
            self.drop_message(None, LostMessage::Stored(message), DropReason::Offline);
            return Fate::Unwanted;
        }
        self.drop_message(None, LostMessage::Stored(message), DropReason::QueueFull);
        Fate::Lost
    }

    /// The keys by which the strategy chooses a member.
    fn keys_of(&mut self, group: Handle<Group>, topic: TopicName<'_>, publisher: u32) -> PickKeys {
        let strategy = self.strategy_of(group);
        let (by_chance, by_topic) = (strategy == ShareStrategy::Random, strategy == ShareStrategy::HashTopic);
        PickKeys {
            random: if by_chance { self.random.next() as u32 } else { 0 },
            publisher,
            topic: if by_topic { self.hasher.hash_bytes(topic.as_str().as_bytes()) } else { 0 },
        }
    }

    /// A member that may get a message.
    fn pick_member(&mut self, group: Handle<Group>, keys: PickKeys, taker: Taker) -> Option<Handle<Subscription>> {
        let strategy = self.strategy_of(group);
        let limits = self.in_force.limits(&self.config.limits);
        let sessions = &self.sessions;
        let mut looked_at = 0;
        let member = self.router.pick(group, strategy, keys, |subscriber| {
            let session = &sessions[Handle::from_index(subscriber.0 as usize)];
            looked_at = one_more(looked_at);
            let can_take = match taker {
                Taker::WithRoom(cost) => session.has_room(limits, cost),
                Taker::Connected(qos) => qos == QoS::AtMostOnce || session.is_local(),
            };
            (session.is_here() && can_take).then(|| session.load())
        });
        self.work.count(work::DELIVERY, looked_at as usize);
        member
    }

    /// Gives messages that the group keeps to members that have room. Returns whether no message is left.
    fn drain_to_members(&mut self, group: Handle<Group>) -> bool {
        while let Some(oldest) = self.oldest_of_group(group) {
            let cost = self.messages.cost(oldest);
            let message = self.messages.deliveries[oldest].message;
            // The publisher is not known any more, so the topic's hash stands for it.
            let keys = message.and_then(|message| {
                self.with_topic(message, |broker, topic| {
                    let hash = broker.hasher.hash_bytes(topic.as_str().as_bytes());
                    broker.keys_of(group, topic, hash)
                })
            });
            let Some(member) = self.pick_member(group, keys.unwrap_or_default(), Taker::WithRoom(cost)) else {
                return false;
            };
            self.give_oldest(Instant::from_millis(0), group, member);
        }
        true
    }

    /// The delivery that the group keeps longest. If its queue has no deliveries, removes the queue.
    fn oldest_of_group(&mut self, group: Handle<Group>) -> Option<Handle<Delivery>> {
        let queue = Handle::from_tag(self.router.group(group).tag())?;
        let entry: &mut GroupQueue = &mut self.group_queues[queue];
        if core::mem::take(&mut entry.is_unsorted) {
            self.work.count(work::DELIVERY, entry.queue.queued());
            entry.queue.sort(&mut self.messages);
        }
        let oldest = entry.queue.oldest();
        if oldest.is_none() {
            self.group_queues.remove(queue);
            self.router.set_group_tag(group, 0);
            self.messages.journal.mark(Kind::Group, group.index());
        }
        oldest
    }

    /// Gives a member the message that its group keeps longest, unless that message has expired.
    fn give_oldest(&mut self, now: Instant, group: Handle<Group>, member: Handle<Subscription>) {
        let Some(queue) = Handle::from_tag(self.router.group(group).tag()) else {
            return;
        };
        let Some(taken) = self.group_queues[queue].queue.pop(&mut self.messages) else {
            return;
        };
        if let Some(message) = self.messages.deliveries[taken].message {
            if self.messages.get(message).has_expired(now) {
                self.drop_message(None, LostMessage::Stored(message), DropReason::Expired);
            } else {
                if self.messages.is_unreadable(message) {
                    self.drop_message(None, LostMessage::Stored(message), DropReason::Unreadable);
                }
                self.with_topic(message, |broker, topic| broker.give(group, member, message, topic));
            }
        }
        self.messages.end_delivery(taken);
    }

    fn give(
        &mut self,
        group: Handle<Group>,
        member: Handle<Subscription>,
        message: Handle<Message>,
        topic: TopicName<'_>,
    ) -> Fate {
        let entry = self.router.subscription(member);
        let (subscriber, options, identifier) = (entry.subscriber(), entry.options(), entry.identifier());
        let session = self.session_of(subscriber);
        let (qos, retain) = {
            let message = self.messages.get(message);
            (message.qos, message.retain())
        };
        let terms = Terms {
            qos: qos.min(QoS::from_bits(options.qos).unwrap_or_default()),
            retain: retain && options.retain_as_published,
            identifier,
            via: Via::Group(group),
        };
        if !self.sessions[session].is_local() {
            self.deliver_elsewhere(session, member, message, terms);
            return Fate::Kept;
        }
        self.deliver(session, message, topic, terms)
    }

    fn strategy_of(&self, group: Handle<Group>) -> ShareStrategy {
        let rule = self.config.share_rules.iter().find(|rule| self.router.group_has_name(group, &rule.group));
        rule.map_or(self.config.share_strategy, |rule| rule.strategy)
    }

    /// Keeps a message for the group, because no member can receive it.
    fn keep_for_group(&mut self, group: Handle<Group>, message: Handle<Message>) -> Fate {
        let (qos, order) = {
            let message = self.messages.get(message);
            (message.qos, message.order)
        };
        let Some(queue) = self.group_queue(group) else {
            self.drop_message(None, LostMessage::Stored(message), DropReason::OutOfMemory);
            return Fate::Lost;
        };
        let terms = Terms { qos, retain: false, identifier: 0, via: Via::Group(group) };
        match self.messages.deliver(terms.delivery(message)) {
            Some(delivery) => {
                if self.messages.journal.is_on() {
                    self.messages.make_durable(delivery, Owner::Group(group));
                }
                let entry = &mut self.group_queues[queue];
                let newest = entry.queue.newest().and_then(|newest| self.messages.deliveries[newest].message);
                entry.is_unsorted |= newest.is_some_and(|newest| self.messages.get(newest).order > order);
                entry.queue.push(&mut self.messages, delivery);
                Fate::Kept
            }
            None => {
                self.drop_message(None, LostMessage::Stored(message), DropReason::OutOfMemory);
                Fate::Lost
            }
        }
    }

    /// Ends groups without members. The members may have their home on other shards, so this is called when all shards have reported
    /// theirs.
    pub(crate) fn end_empty_groups(&mut self) {
        for slot in 0..self.router.group_slots() {
            if let Some(tag) = self.router.end_restored_group(slot) {
                self.end_group_queue(Handle::from_index(slot), tag);
                self.left_out = self.left_out.saturating_add(1);
            }
        }
    }

    /// As [`Engine::drop_expired`].
    #[cold]
    fn drop_expired_of_group(&mut self, group: Handle<Group>, cost: u32) -> bool {
        while let Some(oldest) = self.oldest_of_group(group)
            && self.waits_in_vain(oldest)
            && let Some(queue) = Handle::from_tag(self.router.group(group).tag())
        {
            let queue: &mut GroupQueue = &mut self.group_queues[queue];
            let Some(delivery) = queue.queue.pop(&mut self.messages) else { break };
            self.work.count(work::DELIVERY, 1);
            self.drop_delivery(None, delivery, DropReason::Expired);
            if self.group_queue_has_room(group, cost) {
                return true;
            }
        }
        false
    }

    /// Drops older messages of the group's queue, as far as the policy for `topic` says so, until there is room in it.
    fn make_group_room(&mut self, group: Handle<Group>, topic: TopicName<'_>, cost: u32) -> bool {
        let mut policy = self.config.overflow_for(topic);
        if DROPS_EXPIRED && (self.group_queue_has_room(group, cost) || self.drop_expired_of_group(group, cost)) {
            return true;
        }
        let mut bound = self.group_bound();
        if let (Some(durable), Some(queue)) = (self.durable_group_bound(), self.queue_of_group(group)) {
            bound = bound.or_as_before(durable, queue);
        }
        if OWNED {
            let queue = self.queue_of_group(group).unwrap_or(&Outbound::EMPTY);
            bound = bound.and(self.fair_bound_for(queue));
        }
        let is_possible = bound.is_possible(cost);
        while !bound.has_room(self.queue_of_group(group).unwrap_or(&Outbound::EMPTY), cost) {
            // Sorts the queue, so that the oldest message is dropped first.
            self.oldest_of_group(group);
            let Some(queue) = Handle::from_tag(self.router.group(group).tag()).filter(|_| is_possible) else {
                return false;
            };
            let queue = &mut self.group_queues[queue].queue;
            let dropped = queue.pop_by(&mut policy, &mut self.messages, topic, &mut self.work);
            let Some(delivery) = dropped else {
                return false;
            };
            self.drop_delivery(None, delivery, DropReason::QueueFull);
        }
        true
    }

    /// Whether a connected member has room for one more message, or the group has, at least once expired messages are dropped.
    pub(crate) fn group_will_have_room(&mut self, group: Handle<Group>, cost: u32) -> bool {
        if !SHARED || self.group_queue_has_room(group, cost) || self.has_member_with_room(group, cost) {
            return true;
        }
        // Sorts the queue, so that the oldest message is dropped first.
        self.oldest_of_group(group);
        let Some(queue) = self.queue_of_group(group) else { return false };
        let (looked_at, has_room) = self.has_room_behind_expired(queue, |gone| {
            self.group_bound().has_room_without(queue, gone, cost)
                || self.long_group_bound().is_some_and(|bound| bound.has_room_without(queue, gone, cost))
        });
        self.work.count(work::DELIVERY, looked_at);
        has_room
    }

    fn has_member_with_room(&self, group: Handle<Group>, cost: u32) -> bool {
        self.router.members_of(group).any(|member| {
            let session = &self.sessions[self.session_of(self.router.subscription(member).subscriber())];
            session.is_here() && session.has_room(self.queue_limits(), cost)
        })
    }

    fn group_queue_has_room(&self, group: Handle<Group>, cost: u32) -> bool {
        let queue = self.queue_of_group(group).unwrap_or(&Outbound::EMPTY);
        self.group_bound().has_room(queue, cost)
            || self.long_group_bound().is_some_and(|bound| bound.has_room(queue, cost))
    }

    /// The bound of a group's queue in the store, if it may grow so long now. The bodies of its messages stay in memory, because a member on
    /// another shard may get them. So the queue has its share of the memory and no more.
    fn long_group_bound(&self) -> Option<Bound> {
        let bound = self.durable_group_bound().filter(|_| self.long_queues_may_grow())?;
        Some(if OWNED { bound.and(self.fair_bound()) } else { bound })
    }

    /// The queue of a group, if it has one.
    fn queue_of_group(&self, group: Handle<Group>) -> Option<&Outbound> {
        let queue: Handle<GroupQueue> = Handle::from_tag(self.router.group(group).tag())?;
        Some(&self.group_queues[queue].queue)
    }

    fn group_bound(&self) -> Bound {
        let bound = Bound { messages: self.config.limits.group_messages, bytes: self.config.limits.queued_bytes };
        if OWNED { bound.and(self.fair_bound()) } else { bound }
    }

    /// Whether a message of QoS 1 or 2 for the group may be recorded: any member may get it, and if no connected member has room, the
    /// group keeps it.
    pub(crate) fn group_needs_record(&self, group: Handle<Group>) -> bool {
        SHARED
            && (self.router.group(group).tag() != 0
                || self.router.members_of(group).any(|member| self.is_durably_subscribed(member))
                || !self.has_member_with_room(group, self.config.limits.packet_bytes))
    }

    /// The queue of a group. Makes one if there is none.
    pub(crate) fn group_queue(&mut self, group: Handle<Group>) -> Option<Handle<GroupQueue>> {
        if let Some(queue) = Handle::from_tag(self.router.group(group).tag()) {
            return Some(queue);
        }
        let queue = self.group_queues.insert(GroupQueue::default())?;
        self.router.set_group_tag(group, queue.tag());
        self.messages.journal.mark(Kind::Group, group.index());
        Some(queue)
    }

    /// A client has connected, or has room again: gives it messages that its groups keep.
    pub(crate) fn member_came(&mut self, now: Instant, session: Handle<Session>) {
        if !SHARED || self.group_queues.is_empty() || !self.sessions[session].is_here() {
            return;
        }
        self.work.count(work::DELIVERY, self.sessions[session].subscriptions as usize);
        let subscriber = self.subscriber_of(session);
        let mut at = self.router.subscriptions_of(subscriber).next();
        while let Some(subscription) = at {
            if let Some(group) = self.router.subscription(subscription).group() {
                self.drain_group(now, group, subscription, session);
            }
            at = self.router.next_of_subscriber(subscription);
        }
    }

    fn drain_group(
        &mut self,
        now: Instant,
        group: Handle<Group>,
        member: Handle<Subscription>,
        session: Handle<Session>,
    ) {
        while let Some(oldest) = self.oldest_of_group(group) {
            let cost = self.messages.cost(oldest);
            if !self.sessions[session].has_room(self.queue_limits(), cost) {
                return;
            }
            self.give_oldest(now, group, member);
        }
    }

    /// A client has disconnected: messages that it was never sent go back to its groups `[MQTT-4.8.2-4]`.
    pub(crate) fn member_went(&mut self, session: Handle<Session>) {
        if !self.has_shared(session) {
            return;
        }
        self.work.count(work::DELIVERY, self.sessions[session].outbound.queued());
        // The loop visits each entry of the queue once, so that deliveries that stay keep their order.
        for _ in 0..self.sessions[session].outbound.queued() {
            let Some(delivery) = self.sessions[session].outbound.pop(&mut self.messages) else {
                break;
            };
            if self.messages.deliveries[delivery].is_shared() {
                self.give_back_to_group(session, delivery);
            } else {
                self.sessions[session].outbound.push(&mut self.messages, delivery);
            }
        }
    }

    /// Whether the queue of a Session may have messages from a group. If it can't, the queue, which may be long, need not be walked
    /// through.
    fn has_shared(&self, session: Handle<Session>) -> bool {
        if self.is_in_groups_elsewhere(session) {
            return true;
        }
        if !SHARED || self.router.group_count() == 0 {
            return false;
        }
        // In firmware the answer is always yes, because its queues are short enough to be walked through.
        let mut subscriptions = self.router.subscriptions_of(self.subscriber_of(session));
        !OWNED || subscriptions.any(|subscription| self.router.subscription(subscription).group().is_some())
    }

    /// Ends a delivery, which is in no list, and gives its message to another member of the group.
    pub(crate) fn give_back_to_group(&mut self, from: Handle<Session>, delivery: Handle<Delivery>) {
        let entry = self.messages.deliveries[delivery];
        if let (Beside::GroupElsewhere(subscription), Some(message)) = (entry.beside(), entry.message) {
            self.return_elsewhere(from, subscription, message);
        }
        if let (Beside::Group(group), Some(message)) = (entry.beside(), entry.message) {
            debug_assert!(self.sessions[from].connection.is_none());
            self.with_topic(message, |broker, topic| {
                let hash = broker.hasher.hash_bytes(topic.as_str().as_bytes());
                broker.give_to_member(group, message, topic, hash, true);
            });
        }
        self.messages.end_delivery(delivery);
    }

    /// A Session has left groups: messages that it got from them stay in its queue. Called once for all groups, because it walks through
    /// the whole queue.
    pub(crate) fn forget_left_groups(&mut self, session: Handle<Session>) {
        let subscriber = self.subscriber_of(session);
        let (router, outbound) = (&self.router, &mut self.sessions[session].outbound);
        self.work.count(work::DELIVERY, outbound.len());
        outbound.forget_group(&mut self.messages, |delivery| match delivery.beside() {
            Beside::GroupElsewhere(subscription) => !router.holds(subscription, subscriber),
            Beside::Group(group) => !router.is_member(group, subscriber),
            Beside::Nothing | Beside::Identifiers(_) => false,
        });
    }

    /// A group with this tag has ended: drops the messages that it kept, and deletes its record if there is one.
    pub(crate) fn end_group_queue(&mut self, group: Handle<Group>, tag: u32) {
        self.messages.journal.mark(Kind::Group, group.index());
        let Some(queue) = Handle::from_tag(tag).filter(|_| SHARED) else {
            return;
        };
        while let Some(delivery) = self.group_queues[queue].queue.pop(&mut self.messages) {
            self.drop_delivery(None, delivery, DropReason::SessionEnded);
        }
        self.group_queues.remove(queue);
    }
}
