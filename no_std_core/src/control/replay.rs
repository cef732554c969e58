//! Retained messages: kept one a topic, and sent for new subscriptions (section 3.3.1.3).
//!
//! A new subscription may match a million of them. They are not queued: a [`Replay`] remembers where in the tree it is,
//! and each message is taken when the client has room for it: after what was queued before the SUBSCRIBE, and before what
//! came since. A message that was retained since is left out, because it is among the latter, or was lost and counted like
//! any other. So nobody gets an older value of a topic after a newer one, or one message twice.

use super::deliver::Terms;
use super::publish::{Routing, is_reserved_for_server};
use crate::broker::Broker;
use crate::codec::{QoS, ReasonCode};
use crate::counters::DropReason;
use crate::message::{Delivery, Message, Owner};
use crate::record::Kind;
use crate::router::{Retained, RetainedCursor, Subscription};
use crate::session::{Replay, Session, Started};
use crate::storage::{Handle, TEXT_ON_STACK};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

impl Broker<'_> {
    /// Whether a message may be retained; nothing is changed.
    pub(super) fn check_retain(&self, topic: TopicName<'_>, routing: &Routing<'_>) -> Result<(), ReasonCode> {
        if routing.clears(&self.messages) || is_reserved_for_server(topic) {
            return Ok(());
        }
        if topic.levels().count() > usize::from(self.config.limits.topic_levels) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let most = self.config.limits.retained_messages as usize;
        let full = self.router.retained_count() >= most && self.retained_by_clients() >= most;
        if full && self.router.retained_at(topic).is_none() {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    /// Retained messages, without those below `$SYS/`: these are the server's, and take nothing from a limit.
    pub(crate) fn retained_by_clients(&self) -> usize {
        let all = self.router.retained_count();
        all.saturating_sub(self.router.retained_count_below(TopicName::new_checked("$SYS")))
    }

    /// Makes `message` the retained one of its topic; without payload it only removes that `[MQTT-3.3.1-6]`. `false` if
    /// there is no memory.
    pub(super) fn retain(&mut self, topic: TopicName<'_>, message: Handle<Message>) -> bool {
        #[cfg(feature = "alloc")]
        if self.is_outdated(topic, message) {
            return true;
        }
        if self.messages.get(message).payload_len() == 0 {
            self.unretain(topic);
            return true;
        }
        match self.router.retain(topic, Retained(message.cast())) {
            Ok(old) => {
                self.messages.hold(message);
                self.expect_expiry(message);
                if self.messages.journal.is_on() && !is_reserved_for_server(topic) {
                    self.messages.set_kept(message, true);
                }
                if let Some(Retained(old)) = old {
                    self.release_retained(old.cast());
                }
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn unretain(&mut self, topic: TopicName<'_>) {
        if !self.replays.is_empty() {
            self.move_replays_on(topic);
        }
        if let Some(Retained(old)) = self.router.unretain(topic) {
            self.release_retained(old.cast());
        }
    }

    fn release_retained(&mut self, message: Handle<Message>) {
        self.messages.set_kept(message, false);
        self.messages.release(message);
    }

    /// No replay may stand on a retained message that goes.
    fn move_replays_on(&mut self, topic: TopicName<'_>) {
        let Some(topic) = self.router.node_of(topic) else {
            return;
        };
        for slot in 0..self.replays.slots() {
            let replay = Handle::from_index(slot);
            if self.replays.is_live(replay) && self.replays[replay].cursor.is_at(topic) {
                self.advance(replay);
            }
        }
    }

    /// Begins to send what is retained for a new subscription; `false` if there is no memory to remember it by.
    pub(super) fn begin_replay(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: TopicFilter<'_>,
    ) -> bool {
        let mut walk = self.router.retained(filter);
        if walk.next(&self.router).is_none() {
            return true;
        }
        let cursor = walk.suspend();
        // One that is going on for the same subscription begins again.
        self.end_replays_of(session, Some(subscription));
        if !self.insert_replay(session, subscription, filter, cursor) {
            return false;
        }
        if let Some(connection) = self.sessions[session].connection {
            self.mark_ready(connection);
        }
        true
    }

    pub(super) fn insert_replay(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: TopicFilter<'_>,
        cursor: RetainedCursor,
    ) -> bool {
        let Some(text) = self.messages.bytes.store(&[filter.proper().as_bytes()]) else {
            return false;
        };
        let too_long = self.messages.bytes.contiguous(text).is_none() && text.len() > TEXT_ON_STACK;
        let replay =
            Replay { subscription: Some(subscription), begun: self.routed, filter: text, cursor, ..Replay::default() };
        let inserted = if too_long { None } else { self.replays.insert(replay) };
        let Some(replay) = inserted else {
            self.messages.bytes.release(text);
            return false;
        };
        self.sessions[session].replays.push_back(&mut self.replays, replay);
        true
    }

    /// Ends the replays of a Session: all, or those of one subscription.
    pub(super) fn end_replays_of(&mut self, session: Handle<Session>, only: Option<Handle<Subscription>>) {
        for _ in 0..self.sessions[session].replays.len() {
            let Some(replay) = self.sessions[session].replays.pop_front(&mut self.replays) else {
                return;
            };
            if only.is_none() || self.replays[replay].subscription == only {
                self.end_replay(replay);
            } else {
                self.sessions[session].replays.push_back(&mut self.replays, replay);
            }
        }
    }

    fn end_replay(&mut self, replay: Handle<Replay>) {
        let ended = self.replays.remove(replay);
        self.messages.bytes.release(ended.filter);
        if let Some(subscription) = ended.subscription {
            self.messages.journal.mark_lazily(Kind::Subscription, subscription.index());
        }
    }

    /// Whether the Session has messages in its queue that came before the SUBSCRIBE whose retained messages are next.
    pub(super) fn queue_goes_first(&self, session: Handle<Session>) -> bool {
        let session = &self.sessions[session];
        let (Some(replay), Some(oldest)) = (session.replays.front(), session.outbound.oldest()) else {
            return false;
        };
        let message = self.messages.deliveries[oldest].message;
        message.is_some_and(|message| self.messages.get(message).order <= self.replays[replay].begun)
    }

    /// The next retained message for the client, as a delivery in flight or in no list. `None` if there is none, or no room
    /// for it now.
    pub(super) fn next_replayed(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        window: u16,
    ) -> Option<Handle<Delivery>> {
        loop {
            let replay = self.sessions[session].replays.front()?;
            let current =
                self.replays[replay].subscription.zip(self.router.retained_under(self.replays[replay].cursor));
            let Some((subscription, Retained(message))) = current else {
                self.sessions[session].replays.pop_front(&mut self.replays);
                self.end_replay(replay);
                continue;
            };
            let message: Handle<Message> = message.cast();
            let stored = *self.messages.get(message);
            let entry = self.router.subscription(subscription);
            let terms = Terms {
                qos: stored.qos.min(QoS::from_bits(entry.options().qos).unwrap_or_default()),
                retain: true,
                identifier: entry.identifier(),
                group: None,
                foreign: None,
            };
            let expired = stored.has_expired(now);
            if stored.order > self.replays[replay].begun {
                self.advance(replay);
                continue;
            }
            if !expired && terms.qos > QoS::AtMostOnce && !self.sessions[session].outbound.has_window(window) {
                return None;
            }
            let delivery = if expired { None } else { self.messages.deliver(terms.delivery(message)) };
            if !expired && delivery.is_none() {
                if self.sessions[session].outbound.in_flight() > 0 {
                    // Its acknowledgement makes room, and comes back here.
                    return None;
                }
                // Nobody would come back here.
                self.count_drop(Some(session), DropReason::OutOfMemory);
            }
            self.advance(replay);
            if expired {
                self.unretain_expired(message);
            }
            let Some(delivery) = delivery else {
                continue;
            };
            let entry = &mut self.sessions[session];
            if entry.is_durable && terms.qos > QoS::AtMostOnce {
                self.messages.make_durable(delivery, Owner::Session(session));
            }
            match entry.outbound.start_unqueued(&mut self.messages, delivery, window) {
                Started::Now => return Some(delivery),
                Started::Later => continue,
                Started::Not => {
                    self.messages.end_delivery(delivery);
                    self.count_drop(Some(session), DropReason::OutOfMemory);
                    return None;
                }
            }
        }
    }

    /// To the next retained message.
    pub(super) fn advance(&mut self, replay: Handle<Replay>) {
        let Replay { filter, cursor, .. } = self.replays[replay];
        let next = self.messages.bytes.with(filter, |text| {
            let mut walk = self.router.resume_retained(core::str::from_utf8(text).unwrap_or(""), cursor);
            walk.next(&self.router);
            walk.suspend()
        });
        self.replays[replay].cursor = next.unwrap_or_default();
    }
}
