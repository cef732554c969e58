//! Retained messages: one is kept for each topic, and they are sent for new subscriptions (section 3.3.1.3).
//!
//! A new subscription may match a million retained messages. They are not queued: a [`Replay`] remembers its place in the tree,
//! and fetches the next message when the client has room. Retained messages come after the messages that were queued before the
//! SUBSCRIBE, and before those that came since. A message that was retained after the SUBSCRIBE is left out, because it is in
//! the queue, or was lost and counted like any other. So no client gets an older value of a topic after a newer one, or one
//! message twice.

use crate::codec::{QoS, ReasonCode};
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Message, Owner, Via};
use crate::engine::neighbours::happenings::{Happening, LostMessage, Observer};
use crate::engine::router::{Retained, RetainedCursor, Subscription};
use crate::engine::routing::{Routing, Terms, is_reserved_for_server};
use crate::engine::sessions::{Replay, Replayed, Session, Started};
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED};
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::seam::work;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// How many levels of the tree are visited in one step.
pub(crate) const AT_ONCE: u32 = 32;

/// Up to so many replays of a Session are walked through when one of them ends.
const FEW: usize = 8;

impl Engine<'_> {
    /// Checks whether a message may be retained. Changes nothing.
    pub(crate) fn check_retain(&self, topic: TopicName<'_>, routing: &Routing<'_>) -> Result<(), ReasonCode> {
        // Messages of clients about their connections count like all that they retain.
        let is_of_server = is_reserved_for_server(topic) && routing.publisher.is_none();
        if routing.clears(&self.messages) || is_of_server {
            return Ok(());
        }
        if topic.levels().count() > usize::from(self.config.limits.topic_levels) {
            return Err(ReasonCode::QuotaExceeded);
        }
        // The shard that keeps the message decides whether it has room.
        if !self.keeps_retained(topic) {
            return Ok(());
        }
        if self.has_room_to_retain(topic, || routing.cost(&self.messages)) {
            Ok(())
        } else {
            Err(ReasonCode::QuotaExceeded)
        }
    }

    /// Whether there is room for one more retained message, with a body of `cost` bytes, or for another one of its topic.
    pub(crate) fn has_room_to_retain(&self, topic: TopicName<'_>, cost: impl FnOnce() -> u32) -> bool {
        let most = self.config.limits.retained_messages as usize;
        let most = most.saturating_sub(self.retained_elsewhere());
        let full = self.router.retained_count() >= most && self.retained_by_clients() >= most;
        !(full && self.router.retained_at(topic).is_none()) && self.has_share_for_retained(topic, cost)
    }

    /// How many messages are retained, without the server's own below `$SYS/`, which do not count against a limit.
    pub(crate) fn retained_by_clients(&self) -> usize {
        let below = |topic| self.router.retained_count_below(TopicName::assume_valid(topic));
        let of_server = below("$SYS").saturating_sub(below("$SYS/broker/connection"));
        self.router.retained_count().saturating_sub(of_server)
    }

    /// Makes `message` the retained message of its topic. A message without payload only removes the present one
    /// `[MQTT-3.3.1-6]`. `false` if there is no memory.
    pub(crate) fn retain(&mut self, topic: TopicName<'_>, message: Handle<Message>) -> bool {
        if self.messages.get(message).payload_len() == 0 {
            self.unretain(topic);
            return true;
        }
        match self.router.retain(topic, Retained(message.cast())) {
            Ok(old) => {
                self.messages.hold(message);
                self.messages.count_retained(message);
                self.expect_expiry(message);
                if self.messages.journal.is_on() && !is_reserved_for_server(topic) {
                    self.messages.set_kept(message, true);
                }
                if let Some(Retained(old)) = old {
                    self.release_retained(old.cast());
                }
                self.retained_count_changed();
                self.happened(Happening::Retained { topic: topic.as_str() });
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn unretain(&mut self, topic: TopicName<'_>) {
        if !self.replays.is_empty() {
            self.move_replays_on(topic);
        }
        if let Some(Retained(old)) = self.router.unretain(topic) {
            self.happened(Happening::Cleared { topic: topic.as_str() });
            self.release_retained(old.cast());
            self.retained_count_changed();
        }
    }

    fn release_retained(&mut self, message: Handle<Message>) {
        self.messages.discount_retained(message);
        self.messages.set_kept(message, false);
        self.messages.release(message);
    }

    /// Moves those replays on whose place in the tree loses its last message.
    fn move_replays_on(&mut self, topic: TopicName<'_>) {
        let Some(topic) = self.router.node_of(topic) else {
            return;
        };
        self.work.count(work::DELIVERY, self.replays.slots() / 8);
        for slot in 0..self.replays.slots() {
            let replay = Handle::from_index(slot);
            while self.replays.is_live(replay) && self.router.loses(self.replays[replay].cursor, topic) {
                self.look_on(replay, 1);
            }
        }
    }

    /// Begins to send the retained messages for a new subscription; `false` if there is no memory for the replay.
    pub(crate) fn begin_replay(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: TopicFilter<'_>,
    ) -> bool {
        // A short search mostly shows that no message matches. A longer search goes on when messages are to be sent.
        let mut walk = self.router.retained(filter);
        let levels = (0..AT_ONCE).take_while(|_| !walk.is_over() && walk.step(&self.router).is_none()).count();
        self.work.count(work::LEVEL, levels);
        if walk.is_over() && !self.may_be_retained_elsewhere(filter) {
            return true;
        }
        if let Some(replay) = self.find_replay(session, subscription) {
            // The present replay goes on, and then runs once more. If each SUBSCRIBE began it anew, it would never come to its
            // end.
            self.replays[replay].begun = self.routed;
            self.replays[replay].again = true;
            self.replay_is_renewed(replay);
            return true;
        }
        if !self.insert_replay(session, subscription, filter) {
            return false;
        }
        if let Some(connection) = self.sessions[session].connection {
            self.mark_ready(connection);
        }
        true
    }

    /// The replay for this subscription of the Session, if one is going on.
    pub(crate) fn find_replay(
        &self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
    ) -> Option<Handle<Replay>> {
        if OWNED {
            return self.replaying.get(&subscription).copied();
        }
        self.sessions[session]
            .replays
            .iter(&self.replays)
            .find(|replay| self.replays[*replay].subscription == Some(subscription))
    }

    pub(crate) fn insert_replay(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: TopicFilter<'_>,
    ) -> bool {
        let Some(replay) = self.make_replay(Some(subscription), filter.proper()) else { return false };
        self.replay_was_made(session, replay, filter);
        self.sessions[session].replays.push_back(&mut self.replays, replay);
        self.replaying.insert(subscription, replay);
        // Once half of the replays have ended they are removed from the list.
        let entry = &self.sessions[session];
        if OWNED && entry.replays.len() > (entry.subscriptions as usize).saturating_mul(2).saturating_add(16) {
            self.end_replays_where(session, |replay| replay.subscription.is_none());
        }
        true
    }

    /// Makes a replay that is in no list: for a subscription here, or for another shard.
    pub(crate) fn make_replay(
        &mut self,
        subscription: Option<Handle<Subscription>>,
        filter: &str,
    ) -> Option<Handle<Replay>> {
        let text = self.messages.bytes.store(&[filter.as_bytes()])?;
        let too_long = !self.messages.bytes.comes_whole(text);
        let replay = Replay { subscription, begun: self.routed, filter: text, ..Replay::default() };
        let inserted = if too_long { None } else { self.replays.insert(replay) };
        if inserted.is_none() {
            self.messages.bytes.release(text);
        }
        inserted
    }

    /// Ends the replay of one subscription.
    pub(crate) fn end_replay_of(&mut self, session: Handle<Session>, subscription: Handle<Subscription>) {
        let Some(replay) = self.find_replay(session, subscription) else { return };
        self.replay_has_ended(replay);
        let filter = core::mem::take(&mut self.replays[replay].filter);
        self.messages.bytes.release(filter);
        self.replays[replay].subscription = None;
        self.replays[replay].cursor = RetainedCursor::START;
        self.replaying.remove(&subscription);
        // In a long list an ended replay stays until its turn comes.
        if !OWNED || self.sessions[session].replays.len() <= FEW {
            self.end_replays_where(session, |replay| replay.subscription.is_none());
        }
    }

    /// Removes ended replays of a Session from its list.
    pub(crate) fn end_replays_where(&mut self, session: Handle<Session>, has_ended: impl Fn(&Replay) -> bool) {
        let count = self.sessions[session].replays.len();
        self.work.count(work::DELIVERY, count);
        for _ in 0..count {
            let Some(replay) = self.sessions[session].replays.pop_front(&mut self.replays) else {
                return;
            };
            if has_ended(&self.replays[replay]) {
                self.end_replay(replay);
            } else {
                self.sessions[session].replays.push_back(&mut self.replays, replay);
            }
        }
    }

    pub(crate) fn end_replay(&mut self, replay: Handle<Replay>) {
        self.replay_has_ended(replay);
        let ended = self.replays.remove(replay);
        self.messages.bytes.release(ended.filter);
        if let Some(subscription) = ended.subscription {
            self.replaying.remove(&subscription);
            self.messages.journal.mark_lazily(Kind::Subscription, subscription.index());
        }
    }

    /// Whether the Session's queue has messages that came before the SUBSCRIBE whose retained messages are next.
    pub(crate) fn queue_goes_first(&self, session: Handle<Session>) -> bool {
        let session = &self.sessions[session];
        let (Some(replay), Some(oldest)) = (session.replays.front(), session.outbound.oldest()) else {
            return false;
        };
        let message = self.messages.deliveries[oldest].message;
        message.is_some_and(|message| self.messages.get(message).order <= self.replays[replay].begun)
    }

    /// The next retained message for the client, as a delivery in flight or in no list. `None` if there is no message, or no
    /// room for it now.
    pub(crate) fn next_replayed(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        window: u16,
    ) -> Option<Handle<Delivery>> {
        loop {
            let replay = self.sessions[session].replays.front()?;
            let subscription = self.replays[replay].subscription;
            if subscription.is_some() && !self.replays[replay].has_next {
                if self.work.has_done(self.transmitting_since, work::LOOK) {
                    self.looks_on = true;
                    return None;
                }
                self.look_on(replay, AT_ONCE);
            }
            if subscription.is_none() || self.replays[replay].cursor.is_over() {
                let next = subscription
                    .map(|subscription| self.replay_from_siblings(now, session, replay, subscription, window));
                match next {
                    Some(Replayed::Start(delivery)) => return Some(delivery),
                    Some(Replayed::GoOn) => {}
                    Some(Replayed::Wait) => return None,
                    Some(Replayed::Over) | None => self.end_or_repeat(session),
                }
                continue;
            }
            let cursor = Some(self.replays[replay].cursor).filter(|_| self.replays[replay].has_next);
            let next = cursor.and_then(|cursor| self.router.retained_under(cursor));
            let Some((subscription, Retained(message))) = subscription.zip(next) else {
                self.advance(replay);
                continue;
            };
            match self.replay_one(now, session, replay, subscription, message.cast(), window) {
                Replayed::Start(delivery) => return Some(delivery),
                Replayed::GoOn | Replayed::Over => {}
                Replayed::Wait => return None,
            }
        }
    }

    /// The first replay of a Session is at its end: removes it, or lets it begin anew, behind those of other subscriptions.
    fn end_or_repeat(&mut self, session: Handle<Session>) {
        let Some(replay) = self.sessions[session].replays.pop_front(&mut self.replays) else { return };
        let entry: &mut Replay = &mut self.replays[replay];
        if entry.subscription.is_some() && core::mem::take(&mut entry.again) {
            entry.cursor = RetainedCursor::START;
            self.replay_is_repeated(replay);
            self.sessions[session].replays.push_back(&mut self.replays, replay);
        } else {
            self.end_replay(replay);
        }
    }

    /// Sends the retained message at the place of a replay, if it is to be sent and there is room for it now.
    fn replay_one(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        replay: Handle<Replay>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
        window: u16,
    ) -> Replayed {
        self.work.count(work::DELIVERY, 1);
        let stored = *self.messages.get(message);
        let has_expired = stored.has_expired(now);
        if has_expired || stored.order > self.replays[replay].begun {
            self.advance(replay);
            if has_expired && stored.order <= self.replays[replay].begun {
                self.unretain_expired(message);
            }
            return Replayed::GoOn;
        }
        let terms = self.terms_of_replay(subscription, stored.qos);
        if self.must_wait_with_replay(session, terms, window) {
            return Replayed::Wait;
        }
        let Some(delivery) = self.messages.deliver(terms.delivery(message)) else {
            if self.waits_for_memory(session, LostMessage::Stored(message)) {
                return Replayed::Wait;
            }
            self.advance(replay);
            return Replayed::GoOn;
        };
        self.advance(replay);
        self.start_replayed(session, delivery, terms, window)
    }

    /// How a retained message of this QoS is sent for a subscription.
    pub(crate) fn terms_of_replay(&self, subscription: Handle<Subscription>, qos: QoS) -> Terms {
        let entry = self.router.subscription(subscription);
        let qos = qos.min(QoS::from_bits(entry.options().qos).unwrap_or_default());
        Terms { qos, retain: true, identifier: entry.identifier(), via: Via::Own }
    }

    /// Whether the client has to acknowledge other messages first.
    pub(crate) fn must_wait_with_replay(&self, session: Handle<Session>, terms: Terms, window: u16) -> bool {
        terms.qos > QoS::AtMostOnce && !self.sessions[session].outbound.has_window(window)
    }

    /// There is no memory to send a retained message. Returns whether its turn comes again; if not, the message is lost.
    pub(crate) fn waits_for_memory(&mut self, session: Handle<Session>, message: LostMessage<'_>) -> bool {
        // The acknowledgement of a message in flight makes room, and then the message is looked at again. With no message in flight no
        // acknowledgement would come.
        let waits = self.sessions[session].outbound.in_flight() > 0;
        if !waits {
            self.drop_message(Some(session), message, DropReason::OutOfMemory);
        }
        waits
    }

    /// Puts the delivery of a retained message in flight.
    pub(crate) fn start_replayed(
        &mut self,
        session: Handle<Session>,
        delivery: Handle<Delivery>,
        terms: Terms,
        window: u16,
    ) -> Replayed {
        let entry = &mut self.sessions[session];
        if entry.is_durable && terms.qos > QoS::AtMostOnce {
            self.messages.make_durable(delivery, Owner::Session(session));
        }
        match entry.outbound.start_unqueued(&mut self.messages, delivery, window) {
            Started::Now => Replayed::Start(delivery),
            Started::Later => Replayed::GoOn,
            Started::Not => {
                self.drop_delivery(Some(session), delivery, DropReason::OutOfMemory);
                Replayed::Wait
            }
        }
    }

    /// Makes the replay look for its next message.
    pub(crate) fn advance(&mut self, replay: Handle<Replay>) {
        self.replays[replay].has_next = false;
    }

    /// Looks for the next retained message. Visits at most `levels` levels of the tree; the next call goes on from there.
    pub(crate) fn look_on(&mut self, replay: Handle<Replay>, levels: u32) {
        let Replay { filter, cursor, .. } = self.replays[replay];
        let looked = self.messages.bytes.with(filter, |text| {
            let mut walk = self.router.resume_retained(core::str::from_utf8(text).unwrap_or(""), cursor);
            let missed = (0..levels).take_while(|_| !walk.is_over() && walk.step(&self.router).is_none()).count();
            (walk.suspend(), missed)
        });
        let (cursor, missed) = looked.unwrap_or((RetainedCursor::END, 0));
        self.work.count(work::LEVEL, missed.saturating_add(1));
        self.replays[replay].cursor = cursor;
        self.replays[replay].has_next = !cursor.is_over() && missed < levels as usize;
    }
}
