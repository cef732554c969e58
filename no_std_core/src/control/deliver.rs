//! A message for one Session: merged with what it gets anyway, queued, or lost by the configured policy.

use super::publish::Fate;
use crate::broker::Broker;
use crate::codec::QoS;
use crate::config::Overflow;
use crate::counters::DropReason;
use crate::message::{Delivery, Message, Owner};
use crate::router::Group;
#[cfg(feature = "alloc")]
use crate::router::Subscription;
use crate::session::Session;
use crate::storage::Handle;
use crate::topic::TopicName;
use crate::work;

/// How a Session gets a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The lower of the message's and the subscription's.
    pub(super) qos: QoS,
    /// The RETAIN flag of the delivery.
    pub(super) retain: bool,
    /// The Subscription Identifier; 0: none.
    pub(super) identifier: u32,
    /// The shared subscription it comes through.
    pub(super) group: Option<Handle<Group>>,
    /// The same, if a sibling owns the group: the subscription here.
    #[cfg(feature = "alloc")]
    pub(super) foreign: Option<Handle<Subscription>>,
}

impl Terms {
    #[inline]
    fn is_shared(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.group.is_some() || self.foreign.is_some();
        #[cfg(not(feature = "alloc"))]
        self.group.is_some()
    }

    pub(super) fn delivery(self, message: Handle<Message>) -> Delivery {
        let mut delivery = Delivery {
            message: Some(message),
            identifier: self.identifier,
            qos: self.qos,
            flags: if self.retain { Delivery::RETAIN } else { 0 },
            ..Delivery::default()
        };
        if let Some(group) = self.group {
            delivery.set_group(group);
            return delivery;
        }
        #[cfg(feature = "alloc")]
        if let Some(subscription) = self.foreign {
            delivery.set_foreign(subscription);
        }
        delivery
    }
}

impl Broker<'_> {
    /// Queues `message` for `session`, if it can.
    pub(super) fn deliver(
        &mut self,
        session: Handle<Session>,
        message: Handle<Message>,
        topic: TopicName<'_>,
        terms: Terms,
    ) -> Fate {
        self.work.count(work::DELIVERY, 1);
        let entry = &self.sessions[session];
        let connection = entry.connection;
        if !terms.is_shared() && self.merge(session, message, terms) {
            return Fate::Kept;
        }
        if connection.is_none() && terms.qos == QoS::AtMostOnce {
            self.lose(session, message, terms, DropReason::Offline);
            // Nobody had promised it.
            return Fate::Unwanted;
        }
        let cost = self.messages.get(message).body.len() as u32;
        if !self.has_room(session, cost) && !self.make_room(session, topic, cost) {
            self.lose(session, message, terms, DropReason::QueueFull);
            return Fate::Lost;
        }
        let Some(delivery) = self.messages.deliver(terms.delivery(message)) else {
            self.lose(session, message, terms, DropReason::OutOfMemory);
            return Fate::Lost;
        };
        let entry = &mut self.sessions[session];
        if entry.is_durable && terms.qos > QoS::AtMostOnce {
            if let Some(connection) = connection
                && entry.replays.is_empty()
            {
                let window = self.connections[connection].window;
                entry.outbound.reserve(&mut self.messages, delivery, window);
            }
            self.messages.make_durable(delivery, Owner::Session(session));
        }
        entry.outbound.push(&mut self.messages, delivery);
        if let Some(connection) = connection {
            self.mark_ready(connection);
        }
        Fate::Kept
    }

    /// Whether a match has to wait until all others had their turn: a subscription of QoS 0 lets an absent client have a
    /// message of a higher QoS only if another one does, of which it may be too early to know.
    #[inline]
    pub(super) fn comes_late(&self, session: Handle<Session>, message: Handle<Message>, terms: Terms) -> bool {
        terms.qos == QoS::AtMostOnce
            && self.messages.get(message).qos > QoS::AtMostOnce
            && self.sessions[session].connection.is_none()
    }

    /// A message that is handed out is lost to a Session: once, however many of its subscriptions match.
    #[cold]
    fn lose(&mut self, session: Handle<Session>, message: Handle<Message>, terms: Terms, reason: DropReason) {
        let order = self.messages.get(message).order as u32;
        let is_shared = terms.is_shared();
        if is_shared || self.sessions[session].lost.get().last != order {
            self.count_drop(Some(session), reason);
        }
        if !is_shared {
            self.sessions[session].lost.make().last = order;
        }
    }

    /// A Session with several matching subscriptions gets one copy, with the highest QoS and all identifiers
    /// `[MQTT-3.3.4-2]` `[MQTT-3.3.4-4]`. Between two of them nothing else is queued for it, so an earlier copy is the newest
    /// entry.
    #[inline]
    fn merge(&mut self, session: Handle<Session>, message: Handle<Message>, terms: Terms) -> bool {
        let Some(newest) = self.sessions[session].outbound.newest() else {
            return false;
        };
        let entry = &mut self.messages.deliveries[newest];
        if entry.message != Some(message) || entry.is_shared() {
            return false;
        }
        entry.qos = entry.qos.max(terms.qos);
        if terms.retain {
            entry.set(Delivery::RETAIN, true);
        }
        let is_durable = entry.is(Delivery::DURABLE);
        let becomes_durable = !is_durable && entry.qos > QoS::AtMostOnce && self.sessions[session].is_durable;
        self.messages.add_identifier(newest, terms.identifier);
        if is_durable {
            self.messages.note(newest);
        } else if becomes_durable {
            self.messages.make_durable(newest, Owner::Session(session));
        }
        true
    }

    #[inline]
    pub(super) fn has_room(&self, session: Handle<Session>, cost: u32) -> bool {
        self.sessions[session].has_room(&self.config.limits, cost)
    }

    /// Drops what waits longest as far as it has expired, because nobody is to get it any more `[MQTT-3.3.2-5]`, until there is room.
    /// Whether there is then. Without the feature `alloc` it waits until its client comes.
    #[cold]
    pub(super) fn drop_expired(&mut self, session: Handle<Session>, cost: u32) -> bool {
        #[cfg(feature = "alloc")]
        while let Some(oldest) = self.sessions[session].outbound.oldest()
            && self.messages.has_expired(oldest, self.clock)
            && let Some(delivery) = self.sessions[session].outbound.pop(&mut self.messages)
        {
            self.work.count(work::DELIVERY, 1);
            self.settle(session, delivery);
            self.messages.end_delivery(delivery);
            self.count_drop(Some(session), DropReason::Expired);
            if self.has_room(session, cost) {
                return true;
            }
        }
        let _ = (session, cost);
        false
    }

    /// Drops older messages, as far as the policy for `topic` says so, until there is room.
    #[cold]
    fn make_room(&mut self, session: Handle<Session>, topic: TopicName<'_>, cost: u32) -> bool {
        let policy = self.config.overflow_for(topic);
        if cost > self.config.limits.queued_bytes || self.config.limits.queued_messages == 0 {
            return false;
        }
        if self.drop_expired(session, cost) {
            return true;
        }
        while !self.has_room(session, cost) {
            let outbound = &mut self.sessions[session].outbound;
            let dropped = match policy {
                Overflow::DropNewest | Overflow::Refuse => None,
                Overflow::DropOldest => outbound.pop(&mut self.messages),
                Overflow::KeepLatest => {
                    self.work.count(work::DELIVERY, outbound.queued());
                    let same = outbound.pop_topic(&mut self.messages, topic);
                    same.or_else(|| outbound.pop(&mut self.messages))
                }
            };
            let Some(delivery) = dropped else {
                return false;
            };
            #[cfg(feature = "alloc")]
            self.settle(session, delivery);
            self.messages.end_delivery(delivery);
            self.count_drop(Some(session), DropReason::QueueFull);
        }
        true
    }
}
