//! Delivers a message to one Session: it is merged with a copy that the Session already gets, or queued, or lost by the configured
//! policy.

use crate::codec::QoS;
use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Message, Owner};
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::routing::{Fate, Terms};
use crate::engine::sessions::{Bound, Outbound, Session};
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED, one_more};
use crate::seam::counters::DropReason;
use crate::seam::work;
use crate::topic::TopicName;

/// Whether expired messages make room for new ones. Where memory is small an expired message waits until its client connects.
pub(crate) const DROPS_EXPIRED: bool = OWNED;

impl Engine<'_> {
    /// Queues `message` for `session`, if there is room.
    pub(crate) fn deliver(
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
            // An absent client is promised no message of QoS 0.
            return Fate::Unwanted;
        }
        let cost = self.messages.get(message).body.len() as u32;
        if !self.sessions[session].has_room(self.queue_limits(), cost) && !self.make_room(session, topic, cost, &terms)
        {
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

    /// Whether a match has to wait until all other matches have had their turn. A subscription of QoS 0 alone gives an absent
    /// client no message. But another subscription of the client may match later and have a higher QoS, and then the client gets
    /// the message.
    #[inline]
    pub(crate) fn comes_late(&self, session: Handle<Session>, published: QoS, terms: Terms) -> bool {
        terms.qos == QoS::AtMostOnce && published > QoS::AtMostOnce && self.sessions[session].connection.is_none()
    }

    /// A message is lost to a Session. The loss counts once, however many subscriptions of the Session match.
    #[cold]
    fn lose(&mut self, session: Handle<Session>, message: Handle<Message>, terms: Terms, reason: DropReason) {
        let order = self.messages.get(message).order as u32;
        let is_shared = terms.is_shared();
        if is_shared || self.sessions[session].lost.get().last != order {
            self.drop_message(Some(session), LostMessage::Stored(message), reason);
        }
        if !is_shared {
            self.sessions[session].lost.get_mut().last = order;
        }
    }

    /// A Session with several matching subscriptions gets one copy, with the highest QoS and all identifiers `[MQTT-3.3.4-2]`
    /// `[MQTT-3.3.4-4]`. Between two of the matches no other message is queued for the Session, so an earlier copy is the newest
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

    /// Whether the message of a waiting delivery has expired, and may make room for others.
    #[inline]
    pub(crate) fn waits_in_vain(&self, delivery: Handle<Delivery>) -> bool {
        DROPS_EXPIRED && self.messages.has_expired(delivery, self.clock.get())
    }

    /// Whether one more message may wait for a Session: in memory or, if `may_wait_in_store`, in the store.
    #[inline]
    pub(crate) fn has_room(&self, session: Handle<Session>, cost: u32, may_wait_in_store: bool) -> bool {
        self.sessions[session].has_room(self.queue_limits(), cost)
            || (may_wait_in_store && self.has_durable_room(session, cost))
    }

    /// Drops expired messages from the front of the queue, because they must not be sent any more `[MQTT-3.3.2-5]`, until there is
    /// room. Returns whether there is room then.
    #[cold]
    fn drop_expired(&mut self, session: Handle<Session>, cost: u32, may_wait_in_store: bool) -> bool {
        while let Some(oldest) = self.sessions[session].outbound.oldest()
            && self.waits_in_vain(oldest)
            && let Some(delivery) = self.sessions[session].outbound.pop(&mut self.messages)
        {
            self.work.count(work::DELIVERY, 1);
            self.delivery_is_over(session, delivery);
            self.drop_delivery(Some(session), delivery, DropReason::Expired);
            if self.has_room(session, cost, may_wait_in_store) {
                return true;
            }
        }
        false
    }

    /// Whether one more message may wait for a Session, now or once expired messages are dropped. Changes nothing.
    pub(crate) fn will_have_room(&mut self, session: Handle<Session>, cost: u32, may_wait_in_store: bool) -> bool {
        if self.has_room(session, cost, may_wait_in_store) {
            return true;
        }
        let entry = &self.sessions[session];
        if !entry.is_local() {
            return false;
        }
        let bound = Bound::of_session(&self.config.limits, entry).and(self.fair_bound());
        let durable = self.durable_bound(session).filter(|_| may_wait_in_store && self.long_queues_may_grow());
        let (looked_at, has_room) = self.has_room_behind_expired(&entry.outbound, |gone| {
            bound.has_room_without(&entry.outbound, gone, cost)
                || durable.is_some_and(|bound| bound.has_room_without(&entry.outbound, gone, cost))
        });
        self.work.count(work::DELIVERY, looked_at);
        has_room
    }

    /// Whether `has_room` is true without the expired messages at the front of a queue; and how many messages were looked at.
    pub(crate) fn has_room_behind_expired(&self, queue: &Outbound, has_room: impl Fn(Bound) -> bool) -> (usize, bool) {
        let mut gone = Bound { messages: 0, bytes: 0 };
        let expired = queue.iter(&self.messages).take_while(|oldest| self.waits_in_vain(*oldest));
        for oldest in expired {
            gone.messages = one_more(gone.messages);
            gone.bytes = gone.bytes.saturating_add(self.messages.cost(oldest));
            if has_room(gone) {
                return (gone.messages as usize, true);
            }
        }
        (gone.messages as usize, false)
    }

    /// Makes room in the store, or drops older messages if the policy for `topic` says so, until there is room.
    #[cold]
    fn make_room(&mut self, session: Handle<Session>, topic: TopicName<'_>, cost: u32, terms: &Terms) -> bool {
        let may_wait_in_store = terms.may_wait_in_store();
        if (may_wait_in_store && self.has_durable_room(session, cost))
            || (DROPS_EXPIRED && self.drop_expired(session, cost, may_wait_in_store))
        {
            return true;
        }
        let mut policy = self.config.overflow_for(topic);
        let outbound = &self.sessions[session].outbound;
        let mut bound = Bound::of_session(&self.config.limits, &self.sessions[session]);
        if let Some(durable) = self.durable_bound(session) {
            if bound.is_exceeded(outbound) && !may_wait_in_store {
                // Making room in memory would drop all messages that wait in the store alone.
                return false;
            }
            bound = bound.or_as_before(durable, outbound);
        }
        bound = bound.and(self.fair_bound_for(outbound));
        if !bound.is_possible(cost) {
            return false;
        }
        while !bound.has_room(&self.sessions[session].outbound, cost) {
            let outbound = &mut self.sessions[session].outbound;
            let dropped = outbound.pop_by(&mut policy, &mut self.messages, topic, &mut self.work);
            let Some(delivery) = dropped else {
                return false;
            };
            self.delivery_is_over(session, delivery);
            self.drop_delivery(Some(session), delivery, DropReason::QueueFull);
        }
        true
    }

    /// Whether one more message may wait in the store for a Session whose queue in memory is full. The caller has checked that the
    /// queue in memory is full.
    #[cold]
    fn has_durable_room(&self, session: Handle<Session>, cost: u32) -> bool {
        let bound = self.durable_bound(session).filter(|_| self.long_queues_may_grow());
        let outbound = &self.sessions[session].outbound;
        // Bodies are left to the store; their places are not.
        bound.is_some_and(|bound| bound.has_room(outbound, cost))
            && outbound.queued() < self.fair_bound().messages as usize
    }

    /// The bound of a Session's queue in the store; `None` if it is no higher than that in memory.
    fn durable_bound(&self, session: Handle<Session>) -> Option<Bound> {
        if !OWNED {
            return None;
        }
        let limits = &self.config.limits;
        let (messages, bytes) = self.sessions[session].lost.get().granted.stored(limits);
        let bound = Bound { messages, bytes };
        let entry = &self.sessions[session];
        let is_more = bound != Bound::of_session(limits, entry) && entry.is_durable;
        // The policy that keeps the latest message searches the queue for topics in memory.
        (is_more && !self.config.may_keep_latest()).then_some(bound)
    }

    /// The bound of a group's queue in the store; `None` if it is no higher than that in memory.
    #[cold]
    pub(crate) fn durable_group_bound(&self) -> Option<Bound> {
        let limits = &self.config.limits;
        let is_more = OWNED && limits.durable_group_messages > limits.group_messages && self.messages.journal.is_on();
        let bound = Bound { messages: limits.durable_group_messages, bytes: limits.queued_bytes };
        (is_more && !self.config.may_keep_latest()).then_some(bound)
    }

    /// Whether queues that may be longer than those in memory leave enough room for the others.
    pub(crate) fn long_queues_may_grow(&self) -> bool {
        let limits = &self.config.limits;
        // If only the bytes of a queue may be more, it has no more messages than a queue in memory.
        let longest = limits.longest_queue_in_store().unwrap_or(limits.queued_messages) as usize;
        let all = longest.saturating_mul(Limits::LONG_QUEUES);
        let share = all.checked_div(usize::from(self.config.shard.count)).unwrap_or(all);
        OWNED
            && !self.store_is_half_full.get()
            && self.messages.is_half_free()
            && self.messages.deliveries.len() < share.max(longest)
    }
}
