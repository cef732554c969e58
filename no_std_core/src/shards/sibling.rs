//! Sibling brokers: together they behave as one (see [`Mesh`](crate::shards::links::Mesh)).
//!
//! - **Interest.** A sibling that has the first subscriber to a filter tells all others, and they subscribe it in their
//!   router. A SUBSCRIBE is not taken before all have heard of its filters: whoever has seen the SUBACK gets what is
//!   published from then on, wherever. Of filters without wildcards only a hash is kept, beside the tree.
//! - **Messages** go to each sibling with interest once, and from there to its own subscribers. Retained ones go to all;
//!   of two for one topic the one with the greater stamp stays, so all siblings end with the same.
//! - **Shared subscriptions.** A group is owned by the home shard of its filter. Members elsewhere stand in the owner's
//!   group as remote Sessions. Where they live, their subscription is kept under a filter that no topic matches.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::codec::{Publish, QoS, Subscribe, Unsubscribe};
use crate::config::{Overflow, Shard};
use crate::durable::record::{self, Kind};
use crate::engine::Engine;
use crate::engine::connections::{Connection, ConnectionId};
use crate::engine::deliver::Terms;
use crate::engine::messages::{Delivery, Message};
use crate::engine::neighbours::bodies::Residency;
use crate::engine::neighbours::credit::Credit;
use crate::engine::neighbours::{Elsewhere, Siblings};
use crate::engine::packets::publish::{Fate, Routing, is_reserved_for_server, topic_text};
use crate::engine::packets::subscribe::as_bridge;
use crate::engine::router::{self, Retained, Subscribed, Subscriber, Subscription};
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle};
use crate::seam::authorize::Principal;
use crate::seam::counters::DropReason;
use crate::seam::work;
use crate::shards::home::{Home, Remote};
use crate::shards::links::{Content, Forward, Member, Membership, SharedMessage, Transit};
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// Stands for `$share` in the filter under which a subscription to a sibling's group is kept. A level of any Topic Name or
/// Topic Filter that has a `#` is this alone.
const FOREIGN: &str = "#share";

const SHARE: &str = "$share";

/// The Maximum QoS of a sibling's subscription says whether messages for its subscribers have to survive a restart there.
const DURABLE_INTEREST: u8 = 2;
const PLAIN_INTEREST: u8 = 1;

/// A filter as it is kept becomes what the client wrote.
pub(crate) fn write_as_share(filter: &mut [u8]) {
    if filter.starts_with(FOREIGN.as_bytes())
        && let Some(head) = filter.get_mut(..SHARE.len())
    {
        head.copy_from_slice(SHARE.as_bytes());
    }
}

/// Whether a sibling may have a message before it is recorded here: one that may come twice. Not one that is retained, whose stamp
/// would be given out again after a crash, to another one that the sibling takes for older.
pub(crate) fn goes_unrecorded(qos: QoS, stamp: u64) -> bool {
    qos == QoS::AtLeastOnce && stamp == 0
}

/// The longest Topic Filter, `$share/group/` included.
const LONGEST_FILTER: usize = 65_535;

impl Engine<'_> {
    pub(crate) fn on_forward(&mut self, now: Instant, from: u16, forward: Forward) {
        if let Some(message) = forward.0.message() {
            if self.mesh.greeting != 0 {
                self.mesh.early.push_back((from, forward));
                return;
            }
            self.mesh.confirm(from, || self.messages.bytes.take_spare_buffers());
            if message.sequence > 0 {
                // Also if it was taken before: it was passed on again.
                self.take_credit(message.body_len());
            }
            if !self.is_new(from, message.sequence) {
                return;
            }
        }
        match forward.0 {
            Content::Message(message) => {
                let asks = message.asks();
                let fate = self.take_message(now, message);
                if asks {
                    self.mesh.answer(from, fate);
                }
            }
            Content::Answers { fate, count } => self.take_answers(from, fate, count),
            Content::Safe(sequence) => self.end_transits(from, sequence),
            Content::Confirmed { count, spares } => {
                self.messages.bytes.put_spare_buffers(spares);
                let waiting = self.mesh.confirmed(from, count);
                self.wake(waiting);
            }
            Content::Interest { filter, wanted, durable } => self.take_interest(from, &filter, wanted, durable),
            Content::Room { topic, cost, qos, fence } => {
                if TopicName::new(&topic).is_ok_and(|topic| !self.has_room_for(topic, cost, qos)) {
                    self.mesh.send(from, Content::NoRoom { fence });
                }
            }
            Content::NoRoom { fence } => self.take_no_room(fence),
            Content::Fence(fence) => self.mesh.answer_fence(from, fence),
            Content::Passed(fence) => {
                let waiting = self.mesh.passed(from, fence);
                if self.mesh.greeting != 0 && self.mesh.has_passed(self.mesh.greeting) {
                    self.end_greeting(now, &waiting);
                }
                self.wake(waiting);
            }
            Content::Probe(probe) => self.mesh.send(from, Content::Probed(probe)),
            Content::Probed(probe) => self.mesh.probed(from, probe),
            Content::Round { round, stamp } => {
                self.mesh.see(stamp);
                self.mesh.answer_round(from, round);
            }
            Content::RoundDone(round) if self.mesh.greeting != 0 => {
                // Behind the messages that are set aside.
                self.mesh.early.push_back((from, Forward(Content::RoundDone(round))));
            }
            Content::RoundDone(round) => self.end_round(from, round),
            Content::Join { filter, member, online, qos, retain_as_published, identifier, durable } => {
                let options = router::SubscriptionOptions { qos: qos.bits(), no_local: false, retain_as_published };
                let state = Elsewhere { is_connected: online, is_durable: durable, outstanding: 0, is_full: false };
                let remote = Remote { shard: from, member, state };
                self.take_member(now, &filter, remote, options, identifier);
            }
            Content::Leave { filter, member } => {
                let Some(session) = self.remote(from, member) else { return };
                let found = TopicFilter::new(&filter)
                    .ok()
                    .and_then(|filter| self.router.find(filter, self.subscriber_of(session)));
                if let Some(subscription) = found {
                    self.remove_subscription(session, subscription);
                }
                if self.sessions[session].subscriptions == 0 {
                    self.end_remote(from, session, member);
                }
            }
            Content::Presence { member, online } => {
                let Some(session) = self.remote(from, member) else { return };
                if let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() {
                    *state = Elsewhere { is_connected: online, outstanding: 0, is_full: false, ..*state };
                }
                self.member_came(now, session);
            }
            Content::Full { member, is_full } => self.take_full(now, (from, member), is_full),
            Content::Deliver { member, group, message, qos, retain, identifier } => {
                self.take_delivery(now, (from, group), member, message, (qos, retain, identifier));
            }
            Content::Returned { group, message } => self.take_returned(&group, message),
            Content::Settled { member, count } => self.take_settled(now, (from, member), count),
        }
    }

    fn wake(&mut self, waiting: impl IntoIterator<Item = ConnectionId>) {
        for id in waiting {
            if let Some(connection) = self.find(id) {
                self.mark_ready(connection);
            }
        }
    }

    pub(crate) fn id_of(&self, handle: Handle<Connection>) -> ConnectionId {
        ConnectionId { slot: handle, generation: self.connections[handle].generation }
    }

    // ---- messages

    /// A message is about to be handed out: as a retained one it gets its stamp.
    pub(crate) fn begin_route(&mut self, message: Handle<Message>, retain: bool, routing: &Routing<'_>) {
        if routing.from_sibling {
            return;
        }
        if retain {
            let stamp = self.mesh.stamp();
            self.messages.set_stamp(message, stamp);
        }
        if self.messages.journal.is_on() {
            self.find_durable_siblings(self.messages.get(message).qos, retain, routing.topic);
        }
    }

    /// Finds out which siblings have to record a message: it is recorded here until it is safe there. Whether there are any.
    pub(crate) fn find_durable_siblings(&mut self, qos: QoS, retain: bool, topic: TopicName<'_>) -> bool {
        let is_kept = retain && !is_reserved_for_server(topic);
        if !is_kept && qos == QoS::AtMostOnce {
            return false;
        }
        let mut any = false;
        for other in self.mesh.others() {
            if is_kept || self.mesh.wants_everything(other) || self.mesh.wants_durably_on_route(other) {
                self.mesh.set_durable_on_route(other);
                any = true;
            }
        }
        if is_kept {
            return any;
        }
        let mut matches = self.router.matches(topic);
        while let Some(matched) = matches.next(&self.router) {
            if let router::Match::Subscription(subscription) = matched {
                let entry = self.router.subscription(subscription);
                if self.session_of(entry.subscriber()).is_none() && entry.options().qos == DURABLE_INTEREST {
                    self.mesh.set_durable_on_route(entry.subscriber().0 as u16);
                    any = true;
                }
            }
        }
        self.count_walk(&matches);
        any
    }

    /// Sends a message to those siblings that must have it in any case.
    pub(crate) fn forward_to_all(&mut self, message: Handle<Message>, retain: bool, routing: &Routing<'_>) {
        for other in self.mesh.others() {
            if retain || self.mesh.wants_on_route(other) {
                self.forward(other, message, routing);
            }
        }
    }

    /// Sends a message to a sibling that has interest in it, once.
    pub(crate) fn forward(&mut self, to: u16, message: Handle<Message>, routing: &Routing<'_>) {
        if routing.from_sibling || !self.mesh.first_on_route(to) {
            return;
        }
        let Some(shared) = self.share(message, routing.publisher_key) else { return };
        let is_durable = self.messages.journal.is_on() && self.mesh.is_durable_on_route(to);
        let key = routing.publisher_key;
        let sequence = if is_durable { self.begin_transit(to, message, key, None) } else { 0 };
        if routing.asks {
            self.mesh.ask(to);
        }
        self.send_message(to, Content::Message(shared.at(sequence).asking(routing.asks)));
    }

    /// Sends a message that nobody here subscribed to on to the siblings that have exactly its topic as a filter, without storing it
    /// first; not one that may have to be recorded. Whether it was sent.
    pub(crate) fn pass_on(&mut self, routing: &Routing<'_>) -> bool {
        let may_be_recorded = self.messages.journal.is_on() && routing.draft.qos > QoS::AtMostOnce;
        if routing.stored.is_some() || may_be_recorded {
            return false;
        }
        let Some(body) = self.messages.bytes.make_shared(&routing.parts) else { return false };
        let shared = SharedMessage::new(body, &routing.draft, routing.publisher_key).asking(routing.asks);
        self.routed += 1;
        let mut last = None;
        for other in self.mesh.others() {
            if self.mesh.wants_on_route(other) {
                if routing.asks {
                    self.mesh.ask(other);
                }
                if let Some(one_before) = last.replace(other) {
                    self.mesh.send(one_before, Content::Message(shared.clone()));
                }
            }
        }
        if let Some(last) = last {
            self.mesh.send(last, Content::Message(shared));
        }
        true
    }

    /// Has a message recorded until it is safe with a sibling; its place there, or 0 if there is no room.
    fn begin_transit(&mut self, to: u16, message: Handle<Message>, key: u32, group: Option<Arc<str>>) -> u64 {
        let Some((slot, sequence)) = self.mesh.begin_transit(to, message, key, group) else { return 0 };
        self.pass_credit(message);
        self.hold_for_transit(message);
        self.messages.journal.mark(Kind::Transit, slot);
        self.messages.journal.mark_lazily(Kind::Sibling, usize::from(to));
        sequence
    }

    /// Sends a message; if it is recorded, once that is safe. One that may come twice is on its way at once: after a crash its
    /// publisher, who was told nothing, sends it again.
    fn send_message(&mut self, to: u16, content: Content) {
        let is_recorded = content.message().is_some_and(|message| message.sequence > 0);
        let may_come_twice = matches!(&content, Content::Message(shared) if goes_unrecorded(shared.qos, shared.stamp));
        if is_recorded && !may_come_twice {
            let batch = self.messages.journal.gathering();
            self.mesh.send_when_safe(to, batch, content);
        } else {
            self.mesh.send(to, content);
        }
    }

    /// A sibling has recorded what is left of all messages up to that place.
    fn end_transits(&mut self, by: u16, sequence: u64) {
        self.mesh.note_taken(by, sequence);
        while let Some((slot, transit)) = self.mesh.end_transit(by, sequence) {
            self.messages.release_durably(transit.message);
            self.messages.release(transit.message);
            self.messages.release(transit.message);
            self.messages.journal.mark(Kind::Transit, slot);
        }
        let waiting = self.mesh.confirmed(by, 0);
        self.wake(waiting);
    }

    /// Whether a sibling's message was not taken before a restart. It is told when that is safe here.
    fn is_new(&mut self, from: u16, sequence: u64) -> bool {
        if sequence == 0 {
            return true;
        }
        let is_new = self.mesh.take_sequence(from, sequence);
        if is_new {
            // With what comes of it, in whichever batch that is.
            self.messages.journal.mark_lazily(Kind::Sibling, usize::from(from));
        }
        let batch = self.messages.journal.gathering();
        self.mesh.confirm_when_safe(batch, from, sequence);
        is_new
    }

    /// A message that was on its way to a sibling at the restart.
    pub(crate) fn restore_transit(&mut self, slot: usize, value: &record::Transit<'_>) -> bool {
        let message = Handle::from_index(value.message as usize);
        let is_group = TopicFilter::new(value.group).is_ok_and(|filter| filter.share_name().is_some());
        let transit = Transit {
            to: value.sibling,
            sequence: value.sequence,
            message,
            publisher_key: value.publisher_key,
            group: is_group.then(|| value.group.into()),
        };
        let is_sound = is_group || value.group.is_empty();
        if !is_sound || self.messages.live(message).is_none() || !self.mesh.restore_transit(slot, transit) {
            return false;
        }
        self.pass_credit(message);
        self.hold_for_transit(message);
        self.messages.request_body(message);
        true
    }

    /// With one hold more than is durable: the body stays in memory.
    fn hold_for_transit(&mut self, message: Handle<Message>) {
        self.messages.hold(message);
        self.messages.hold(message);
        self.messages.hold_durably(message);
    }

    /// After a restart: siblings hear what was on its way to them, and of our subscribers.
    pub(crate) fn greet_siblings(&mut self) {
        for slot in self.mesh.end_restoring() {
            self.send_transit_again(slot as usize);
        }
        if !self.mesh.has_siblings() {
            return;
        }
        self.mesh.tell_taken();
        for slot in 0..self.router.subscription_slots() {
            let subscription = Handle::from_index(slot);
            let subscriber = self.router.live_subscription(subscription).map(|entry| entry.subscriber());
            let Some(session) = subscriber.and_then(|subscriber| self.session_of(subscriber)) else { continue };
            let Some(filter) = self.filter_for_siblings(subscription) else { continue };
            if let Some(behind) = filter.strip_prefix(FOREIGN) {
                self.count_foreign_group(session, 1);
                self.join(session, &[SHARE, behind].concat(), subscription);
            } else if let Ok(filter) = TopicFilter::new(&filter) {
                let is_durable = self.router.subscription(subscription).options().qos > 0;
                self.tell_interest(filter, true, is_durable);
            }
        }
        // Siblings answer the fence when they have heard of all members of their groups: then they have told of these too.
        self.mesh.raise_probe();
        self.mesh.greeting = self.mesh.raise_fence();
        self.mesh.begin_round();
    }

    fn send_transit_again(&mut self, slot: usize) {
        let Some(transit) = self.mesh.transit(slot) else { return };
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
        self.mesh.send(to, content);
    }

    /// Whether siblings may have restored subscribers that we have not heard of. Until we have, nothing is taken from
    /// clients: a message for those would reach nobody, and be acknowledged. The connection is woken then.
    pub(crate) fn waits_for_greeting(&mut self, handle: Handle<Connection>) -> bool {
        let greeting = self.mesh.greeting;
        if greeting != 0 && self.connections[handle].fence == 0 {
            self.connections[handle].fence = greeting;
            let id = self.id_of(handle);
            self.mesh.wait_for(greeting, id);
        }
        greeting != 0
    }

    /// All siblings have told of their restored subscribers.
    fn end_greeting(&mut self, now: Instant, waiting: &[ConnectionId]) {
        self.mesh.greeting = 0;
        for id in waiting {
            if let Some(connection) = self.find(*id) {
                self.connections[connection].fence = 0;
            }
        }
        self.end_empty_groups();
        self.resume_absences(now);
        while let Some((from, forward)) = self.mesh.early.pop_front() {
            self.on_forward(now, from, forward);
        }
    }

    fn share(&self, message: Handle<Message>, publisher_key: u32) -> Option<SharedMessage> {
        if self.messages.is_evicted(message) {
            return None;
        }
        let message = self.messages.get(message);
        Some(SharedMessage::new(self.messages.bytes.share(message.body)?, message, publisher_key))
    }

    /// Stores a sibling's message, held for the caller.
    fn adopt(&mut self, shared: SharedMessage) -> Option<Handle<Message>> {
        let (message, body) = shared.into_parts();
        // Its place among the sibling's messages says nothing here.
        self.routed += 1;
        let stored = self.messages.adopt(Message { order: self.routed, ..message }, body)?;
        self.messages.hold(stored);
        Some(stored)
    }

    fn take_message(&mut self, now: Instant, shared: SharedMessage) -> Fate {
        self.mesh.see(shared.stamp);
        if shared.has_expired(now) {
            self.count_drop(None, DropReason::Expired);
            self.retain_expired(&shared);
            // Its publisher wanted it to expire: for the publisher that is no loss.
            return Fate::Kept;
        }
        let publisher_key = shared.publisher_key;
        // The body is passed on: to hold it once more, and let it go again, would cost more than to copy the topic.
        let (message, body) = shared.into_parts();
        let Some(message) = self.messages.adopt(message, body) else {
            self.count_drop(None, DropReason::OutOfMemory);
            return Fate::Lost;
        };
        self.messages.hold(message);
        let routed = self.with_topic(message, |broker, topic| {
            let mut routing = Routing::stored(topic, message, None, publisher_key);
            routing.from_sibling = true;
            broker.route(routing)
        });
        if matches!(routed, Some(Err(_))) {
            self.count_drop(None, DropReason::QueueFull);
        }
        self.messages.release(message);
        match routed {
            Some(Ok(fate)) => fate,
            _ => Fate::Lost,
        }
    }

    /// Whether the topic has a retained message that is newer, or had one removed later, than `message`.
    pub(crate) fn is_outdated(&mut self, topic: TopicName<'_>, message: Handle<Message>) -> bool {
        if !self.mesh.has_siblings() {
            return false;
        }
        let (stamp, clears) = {
            let message = self.messages.get(message);
            (message.stamp, message.payload_len() == 0)
        };
        let is_outdated = self.is_older(topic, stamp);
        if clears && !is_outdated {
            self.bury(topic, stamp);
        }
        is_outdated
    }

    fn is_older(&self, topic: TopicName<'_>, stamp: u64) -> bool {
        let text = topic.as_str().as_bytes();
        let kept = self.router.retained_at(topic).map(|Retained(kept)| self.messages.get(kept.cast()).stamp);
        let bytes = &self.messages.bytes;
        let mut removed = self.mesh.removed_since(self.hasher.hash_bytes(text), stamp);
        kept.is_some_and(|kept| kept > stamp)
            || removed.any(|tombstone| bytes.equals(self.messages.get(tombstone).body, text))
    }

    /// Remembers that the retained message of a topic was removed at `stamp`, through a restart too, until nothing older can come:
    /// a message that a sibling has sent before it heard of that would bring it back here, and here alone.
    pub(crate) fn bury(&mut self, topic: TopicName<'_>, stamp: u64) {
        if !self.mesh.has_siblings() {
            return;
        }
        let text = topic.as_str().as_bytes();
        self.routed += 1;
        let draft = Message { topic_len: text.len() as u16, order: self.routed, stamp, ..Message::default() };
        let Some(tombstone) = self.messages.store_will(draft, &[text]) else { return };
        if self.messages.journal.is_on() && !is_reserved_for_server(topic) {
            self.messages.set_kept(tombstone, true);
        }
        self.keep_tombstone(topic, tombstone);
        self.mesh.begin_round();
    }

    /// Notes a tombstone, a new one or one that was restored.
    pub(crate) fn keep_tombstone(&mut self, topic: TopicName<'_>, tombstone: Handle<Message>) {
        self.messages.hold(tombstone);
        let stamp = self.messages.get(tombstone).stamp;
        self.mesh.bury(self.hasher.hash_bytes(topic.as_str().as_bytes()), stamp, tombstone);
    }

    /// A sibling has no older messages for us than it had when it answered.
    fn end_round(&mut self, by: u16, round: u64) {
        self.mesh.rounded(by, round);
        while let Some(tombstone) = self.mesh.exhume() {
            self.messages.set_kept(tombstone, false);
            self.messages.release(tombstone);
        }
        self.mesh.begin_round();
        let waiting = self.mesh.confirmed(by, 0);
        self.wake(waiting);
    }

    /// A sibling's retained message has expired on its way: where it expires later, it has taken the place of older ones.
    fn retain_expired(&mut self, shared: &SharedMessage) {
        let Some(topic) = core::str::from_utf8(shared.topic()).ok().and_then(|topic| TopicName::new(topic).ok()) else {
            return;
        };
        if shared.stamp > 0 && !self.is_older(topic, shared.stamp) {
            self.unretain(topic);
            self.bury(topic, shared.stamp);
        }
    }

    // ---- interest

    /// Whether all siblings have heard of the first `count` filters of a SUBSCRIBE. If not they are told, and the connection is woken
    /// when they have.
    pub(crate) fn siblings_know(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        subscribe: &Subscribe<'_>,
        count: usize,
    ) -> bool {
        if !self.mesh.has_siblings() {
            return true;
        }
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let generation = self.connections[handle].generation;
        let is_bridge = self.connections[handle].is_bridge;
        for (text, mut options) in subscribe.filters().take(count) {
            let Ok(filter) = TopicFilter::new(text) else { continue };
            self.work.count(work::SUBSCRIPTION, 1);
            if self.is_too_deep(filter) {
                continue;
            }
            if self.is_refused_text(text) {
                continue;
            }
            if is_bridge {
                options = as_bridge(text, options);
            }
            if self.owner_of(filter).is_some() {
                // The owner has to have the member before SUBACK. Taking SUBSCRIBE once more changes nothing.
                self.subscribe(now, session, text, options, identifier);
            } else {
                self.mesh.promise(generation, filter.proper());
                self.tell_interest_of(session, filter, options.qos);
            }
        }
        self.wait_for_siblings(handle);
        false
    }

    /// Has the connection wait until all siblings have taken what was sent to them so far.
    fn wait_for_siblings(&mut self, handle: Handle<Connection>) {
        let fence = self.mesh.raise_fence();
        self.connections[handle].fence = fence;
        let id = self.id_of(handle);
        self.mesh.wait_for(fence, id);
    }

    /// Whether the fence that the connection waits for was passed by all; `None` if it waits for none.
    fn pass_fence(&mut self, handle: Handle<Connection>) -> Option<bool> {
        let fence = self.connections[handle].fence;
        if fence == 0 {
            return None;
        }
        let passed = self.mesh.has_passed(fence);
        if passed {
            self.connections[handle].fence = 0;
        }
        Some(passed)
    }

    /// Whether the owners of groups that the first `count` filters of an UNSUBSCRIBE leave have heard of it: behind UNSUBACK they send nothing more
    /// `[MQTT-3.10.4-2]`. If not they are told, and the connection is woken when they have.
    pub(crate) fn siblings_let_go(
        &mut self,
        handle: Handle<Connection>,
        session: Handle<Session>,
        unsubscribe: &Unsubscribe<'_>,
        count: usize,
    ) -> bool {
        if !self.mesh.has_siblings() {
            return true;
        }
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        let generation = self.connections[handle].generation;
        let mut waits = false;
        for text in unsubscribe.filters().take(count) {
            let Ok(filter) = TopicFilter::new(text) else { continue };
            if self.owner_of(filter).is_some() && self.unsubscribe(session, filter) {
                self.mesh.leave(generation, text);
                waits = true;
            }
        }
        if waits {
            self.forget_left_groups(session);
            self.wait_for_siblings(handle);
        }
        !waits
    }

    /// Whether the UNSUBSCRIBE that is taken now left this group before it waited.
    pub(crate) fn has_left(&mut self, handle: Handle<Connection>, filter: TopicFilter<'_>) -> bool {
        self.mesh.has_left(self.connections[handle].generation, filter.as_str())
    }

    /// A SUBSCRIBE that waited for siblings was taken, or will never be: what they were told of, and nobody subscribes to
    /// after all, is taken back.
    pub(crate) fn end_promise(&mut self, handle: Handle<Connection>) {
        let generation = self.connections[handle].generation;
        for text in self.mesh.end_promise(generation) {
            if let Ok(filter) = TopicFilter::new(&text) {
                self.withdraw_interest(filter);
            }
        }
    }

    fn withdraw_interest(&mut self, filter: TopicFilter<'_>) {
        if !self.mesh.is_promised(filter.proper()) && !self.router.has_local_subscriber(filter) {
            self.tell_interest(filter, false, false);
        }
    }

    /// Tells all siblings that a Session subscribes to `filter` with this QoS.
    pub(crate) fn tell_interest_of(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, qos: QoS) {
        self.tell_interest(filter, true, self.sessions[session].is_durable && qos > QoS::AtMostOnce);
    }

    /// Tells all siblings that there is, or is no longer, a subscriber to `filter` here.
    fn tell_interest(&mut self, filter: TopicFilter<'_>, wanted: bool, durable: bool) {
        for other in self.mesh.others() {
            self.mesh.send(other, Content::Interest { filter: filter.proper().into(), wanted, durable });
        }
    }

    fn take_interest(&mut self, from: u16, filter: &str, wanted: bool, durable: bool) {
        if !filter.contains(['+', '#']) {
            if !wanted {
                self.mesh.interests.remove(from, filter);
            } else if !self.mesh.interests.add(from, filter, durable) {
                self.mesh.set_wants_everything(from);
            }
            return;
        }
        let filter = TopicFilter::assume_valid(filter);
        let sibling = Subscriber(u32::from(from));
        self.work.count(work::SUBSCRIPTION, 1);
        if wanted {
            let known = self.router.find(filter, sibling).map(|known| self.router.subscription(known).options().qos);
            // Durable it stays until there is no subscriber at all.
            let qos = if durable || known == Some(DURABLE_INTEREST) { DURABLE_INTEREST } else { PLAIN_INTEREST };
            let options = router::SubscriptionOptions { qos, no_local: false, retain_as_published: true };
            if self.router.subscribe(filter, sibling, options, 0).is_err() {
                self.mesh.set_wants_everything(from);
            }
        } else {
            self.router.unsubscribe(filter, sibling);
        }
    }

    /// What siblings have to hear when a subscription ends: its filter as they know it.
    pub(crate) fn filter_for_siblings(&mut self, subscription: Handle<Subscription>) -> Option<Box<str>> {
        if !self.mesh.has_siblings() {
            return None;
        }
        let mut space = core::mem::take(&mut self.mesh.filter_space);
        space.resize(LONGEST_FILTER, 0);
        let filter = self.router.filter_of(subscription, &mut space).map(Box::from);
        self.mesh.filter_space = space;
        filter
    }

    /// A subscription ended; `filter` is what [`Broker::filter_for_siblings`] gave for it.
    pub(crate) fn subscription_ended(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: &str,
        last: bool,
    ) {
        self.mesh.memberships.remove(&subscription);
        self.mesh.owners.remove(&subscription);
        if let Some(behind) = filter.strip_prefix(FOREIGN) {
            self.count_foreign_group(session, -1);
            let filter = [SHARE, behind].concat();
            let member = self.member(session, subscription);
            if let Some(owner) = TopicFilter::new(&filter).ok().and_then(|filter| self.owner_of(filter)) {
                self.mesh.send(owner, Content::Leave { filter: filter.into(), member });
            }
        } else if last && let Ok(filter) = TopicFilter::new(filter) {
            self.withdraw_interest(filter);
        }
    }

    // ---- the policy that refuses the publisher

    /// Whether it is known if siblings have room for a message whose publisher is to be refused otherwise. If not they
    /// are asked, and the connection is woken when they have answered.
    pub(crate) fn siblings_have_room(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        if let Some(passed) = self.pass_fence(handle) {
            return passed;
        }
        // What they answered to an earlier message, which did not ask for it in the end, says nothing about this one.
        self.connections[handle].sibling_refuses = false;
        let aliased = self.aliased_topic(handle, publish);
        let text = topic_text(publish, aliased.as_deref());
        let Ok(topic) = TopicName::new(text) else { return true };
        if !self.mesh.has_siblings() || self.config.overflow_for(topic) != Overflow::Refuse {
            return true;
        }
        let mut asked = Vec::new();
        let fence = self.mesh.next_fence();
        let cost = (text.len() + publish.payload.len()) as u32 + publish.properties.forwardable_len();
        let mut matches = self.router.matches(topic);
        while let Some(matched) = matches.next(&self.router) {
            if let router::Match::Subscription(subscription) = matched {
                let subscriber = self.router.subscription(subscription).subscriber();
                if self.session_of(subscriber).is_none() {
                    asked.push(subscriber.0 as u16);
                }
            }
        }
        self.count_walk(&matches);
        self.mesh.interests.visit(topic.as_str(), |sibling, _| asked.push(sibling));
        asked.sort_unstable();
        asked.dedup();
        for sibling in &asked {
            self.mesh.send(*sibling, Content::Room { topic: topic.as_str().into(), cost, qos: publish.qos, fence });
        }
        if !asked.is_empty() {
            self.wait_for_siblings(handle);
        }
        asked.is_empty()
    }

    fn has_room_for(&mut self, topic: TopicName<'_>, cost: u32, qos: QoS) -> bool {
        let mut routing = Routing::stored(topic, Handle::from_index(0), None, 0);
        routing.from_sibling = true;
        self.check_room(&routing, cost, qos).is_ok()
    }

    fn take_no_room(&mut self, fence: u64) {
        if let Some(id) = self.mesh.waiter_of(fence)
            && let Some(connection) = self.find(id)
        {
            self.connections[connection].sibling_refuses = true;
        }
    }

    pub(crate) fn take_sibling_refusal(&mut self, handle: Handle<Connection>) -> bool {
        core::mem::take(&mut self.connections[handle].sibling_refuses)
    }

    // ---- groups that a sibling owns

    /// The sibling that owns the group of a shared subscription; `None` for other filters, and if we own it.
    fn owner_of(&self, filter: TopicFilter<'_>) -> Option<u16> {
        filter.share_name()?;
        let owner = Shard::home_of(filter.as_str().as_bytes(), self.config.shard.count);
        (owner != self.config.shard.index).then_some(owner)
    }

    /// The filter under which a subscription to a sibling's group is kept here.
    pub(crate) fn foreign_filter(&self, filter: TopicFilter<'_>) -> Option<String> {
        self.owner_of(filter)?;
        let behind = filter.as_str().strip_prefix(SHARE)?;
        Some([FOREIGN, behind].concat())
    }

    fn count_foreign_group(&mut self, session: Handle<Session>, more: i32) {
        if let Some(local) = self.sessions[session].shards.here_mut() {
            local.foreign_groups = local.foreign_groups.saturating_add_signed(more);
        }
    }

    fn set_told_full(&mut self, session: Handle<Session>, is_told_full: bool) {
        if let Some(local) = self.sessions[session].shards.here_mut() {
            local.is_told_full = is_told_full;
        }
    }

    fn member(&self, session: Handle<Session>, subscription: Handle<Subscription>) -> Member {
        Member { number: self.sessions[session].shards.number(), session, subscription }
    }

    /// A Session has subscribed to a group that a sibling owns.
    pub(crate) fn join_foreign(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, subscribed: Subscribed) {
        if !subscribed.replaced {
            self.count_foreign_group(session, 1);
        }
        self.join(session, filter.as_str(), subscribed.handle);
    }

    /// Makes a Session a member of a sibling's group.
    fn join(&mut self, session: Handle<Session>, filter: &str, subscription: Handle<Subscription>) {
        let Some(owner) = TopicFilter::new(filter).ok().and_then(|filter| self.owner_of(filter)) else { return };
        self.mesh.owners.insert(subscription, owner);
        let member = self.member(session, subscription);
        let entry = self.router.subscription(subscription);
        let options = entry.options();
        let content = Content::Join {
            filter: filter.into(),
            member,
            online: self.sessions[session].is_here(),
            qos: QoS::from_bits(options.qos).unwrap_or_default(),
            retain_as_published: options.retain_as_published,
            identifier: entry.identifier(),
            durable: self.sessions[session].is_durable,
        };
        self.mesh.send(owner, content);
    }

    /// Tells the owners of a Session's groups that it came or went.
    fn tell_presence(&mut self, session: Handle<Session>, online: bool) {
        self.set_told_full(session, false);
        self.tell_owners(session, |member| Content::Presence { member, online });
    }

    fn tell_owners(&mut self, session: Handle<Session>, content: impl Fn(Member) -> Content) {
        if self.sessions[session].shards.foreign_groups() == 0 {
            return;
        }
        let subscriber = self.subscriber_of(session);
        let Some(any) = self.router.subscriptions_of(subscriber).next() else { return };
        let member = self.member(session, any);
        for other in self.mesh.others() {
            self.mesh.send(other, content(member));
        }
    }

    /// A message for one of our Sessions, from the owner of its group. If it can't be given to that, it goes back.
    fn take_delivery(
        &mut self,
        now: Instant,
        (owner, group): (u16, Arc<str>),
        member: Option<Member>,
        shared: SharedMessage,
        (qos, retain, identifier): (QoS, bool, u32),
    ) {
        let member = member.filter(|member| self.session_with_number(member.session, member.number).is_some());
        let session = member.map(|member| member.session);
        if shared.has_expired(now) {
            self.count_drop(session, DropReason::Expired);
            return;
        }
        let Some(message) = self.adopt(shared) else {
            self.count_drop(session, DropReason::OutOfMemory);
            return;
        };
        let is_subscribed =
            |member: &Member| self.router.holds(member.subscription, self.subscriber_of(member.session));
        let foreign = member.filter(is_subscribed).map(|member| member.subscription);
        let cost = self.messages.get(message).body.len() as u32;
        match session {
            Some(session) if self.is_full_for_group(session, qos, foreign, cost) => {
                if let Some(member) = member {
                    self.set_told_full(session, true);
                    self.mesh.send(owner, Content::Full { member, is_full: true });
                }
                self.send_back(owner, group, message);
            }
            Some(session) if self.sessions[session].connection.is_some() || foreign.is_none() => {
                let terms = Terms { qos, retain, identifier, group: None, foreign };
                self.with_topic(message, |broker, topic| broker.deliver(session, message, topic, terms));
            }
            _ => self.send_back(owner, group, message),
        }
        self.messages.release(message);
    }

    /// Whether a message that a sibling's group gives a connected member goes back, because the member's queue is full. A message that
    /// an empty queue has no room for is lost instead, as it would be in any queue.
    ///
    /// Messages that are on the way while the member gets room again may overtake those that go back: a shared subscription promises no
    /// order, and its owner gives nothing more as soon as it knows.
    fn is_full_for_group(
        &self,
        session: Handle<Session>,
        qos: QoS,
        subscription: Option<Handle<Subscription>>,
        cost: u32,
    ) -> bool {
        let entry = &self.sessions[session];
        entry.connection.is_some()
            && qos > QoS::AtMostOnce
            && subscription.is_some()
            && entry.outbound.queued() > 0
            && !entry.has_room(&self.config.limits, cost)
    }

    /// A Session has nothing queued any more: siblings hear of it that were told that its queue is full.
    #[inline]
    pub(crate) fn tell_room(&mut self, session: Handle<Session>) {
        if self.sessions[session].shards.here().is_some_and(|local| local.is_told_full) {
            self.set_told_full(session, false);
            self.tell_owners(session, |member| Content::Full { member, is_full: false });
        }
    }

    /// A message that a Session was given through a sibling's group is for another member.
    pub(crate) fn return_to_owner(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
    ) {
        let filter = self.filter_for_siblings(subscription);
        let filter = filter.as_deref().and_then(|filter| filter.strip_prefix(FOREIGN)).unwrap_or("");
        let filter = [SHARE, filter].concat();
        match TopicFilter::new(&filter).ok().and_then(|filter| self.owner_of(filter)) {
            Some(owner) => self.send_back(owner, filter.into(), message),
            None => self.count_drop(Some(session), DropReason::SessionEnded),
        }
    }

    fn send_back(&mut self, owner: u16, group: Arc<str>, message: Handle<Message>) {
        let Some(shared) = self.share(message, 0) else { return };
        let is_durable = self.messages.journal.is_on() && shared.qos > QoS::AtMostOnce;
        let sequence = if is_durable { self.begin_transit(owner, message, 0, Some(group.clone())) } else { 0 };
        self.send_message(owner, Content::Returned { group, message: shared.at(sequence) });
    }

    /// A delivery is over: the owner of its group counts what its members have to do.
    pub(crate) fn settle(&mut self, session: Handle<Session>, delivery: Handle<Delivery>) {
        let Some(subscription) = self.messages.deliveries[delivery].foreign() else { return };
        let member = self.member(session, subscription);
        if let Some(owner) = self.mesh.owners.get(&subscription).copied() {
            self.mesh.settle(owner, member);
        }
    }

    // ---- groups that we own, with members elsewhere

    fn remote(&self, shard: u16, member: Member) -> Option<Handle<Session>> {
        self.mesh.remotes.get(&(shard, member.number)).copied()
    }

    fn take_member(
        &mut self,
        now: Instant,
        filter: &str,
        remote: Remote,
        options: router::SubscriptionOptions,
        identifier: u32,
    ) {
        let Ok(filter) = TopicFilter::new(filter) else { return };
        let Remote { shard, member, .. } = remote;
        let session = match self.remote(shard, member) {
            Some(session) => session,
            None => {
                let Some(session) = self.sessions.insert_empty() else { return };
                let entry = &mut self.sessions[session];
                entry.begin(0, Blob::EMPTY, Principal::ANONYMOUS);
                entry.shards = Home::Elsewhere(Box::new(remote));
                self.mesh.remotes.insert((shard, member.number), session);
                session
            }
        };
        let subscriber = self.subscriber_of(session);
        let Ok(subscribed) = self.router.subscribe(filter, subscriber, options, identifier) else { return };
        let membership = Membership { there: member.subscription, group: filter.as_str().into() };
        self.mesh.memberships.insert(subscribed.handle, membership);
        if !subscribed.replaced {
            self.sessions[session].subscriptions += 1;
        }
        if subscribed.first {
            self.tell_interest(filter, true, self.messages.journal.is_on());
            self.mesh.raise_probe();
        }
        self.member_came(now, session);
    }

    fn end_remote(&mut self, shard: u16, session: Handle<Session>, member: Member) {
        self.unsubscribe_all(session);
        self.mesh.remotes.remove(&(shard, member.number));
        self.sessions.remove(session);
    }

    fn take_returned(&mut self, filter: &str, shared: SharedMessage) {
        let Some(group) = TopicFilter::new(filter).ok().and_then(|filter| self.router.group_of(filter)) else {
            self.count_drop(None, DropReason::SessionEnded);
            return;
        };
        let (publisher, order) = (shared.publisher_key, shared.stamp);
        let Some(message) = self.adopt(shared.stamped(0)) else {
            self.count_drop(None, DropReason::OutOfMemory);
            return;
        };
        self.messages.set_order(message, order);
        self.with_topic(message, |broker, topic| broker.give_to_member(group, message, topic, publisher, true));
        self.messages.release(message);
    }

    /// The queue of a member is full, and what it was given last comes back; or it is empty again.
    fn take_full(&mut self, now: Instant, (shard, member): (u16, Member), is_full: bool) {
        let Some(session) = self.remote(shard, member) else { return };
        let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() else { return };
        state.is_full = is_full;
        if is_full {
            state.outstanding = state.outstanding.saturating_sub(1);
        } else {
            self.member_came(now, session);
        }
    }

    /// A member has acknowledged messages. When it has done half of what it may have, its groups give it more.
    fn take_settled(&mut self, now: Instant, (shard, member): (u16, Member), count: u32) {
        let half = self.config.limits.queued_messages / 2;
        let Some(session) = self.remote(shard, member) else { return };
        let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() else { return };
        let before = state.outstanding;
        state.outstanding = before.saturating_sub(count);
        if state.outstanding == 0 || (state.outstanding <= half && before > half) {
            self.member_came(now, session);
        }
    }
}

impl Siblings for Engine<'_> {
    fn session_was_made(&mut self, session: Handle<Session>) {
        self.session_numbers = self.session_numbers.wrapping_add(1);
        if let Some(local) = self.sessions[session].shards.here_mut() {
            local.number = self.session_numbers;
        }
    }

    fn client_came(&mut self, session: Handle<Session>) {
        self.tell_presence(session, true);
    }

    fn client_went(&mut self, session: Handle<Session>) {
        self.tell_presence(session, false);
    }

    fn is_in_groups_elsewhere(&self, session: Handle<Session>) -> bool {
        self.sessions[session].shards.foreign_groups() > 0
    }

    /// A member on a sibling gets a message.
    fn deliver_elsewhere(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
        terms: Terms,
    ) {
        let Some(Membership { there, group }) = self.mesh.memberships.get(&subscription).cloned() else { return };
        let Some(shared) = self.share(message, 0) else { return };
        let Some(remote) = self.sessions[session].shards.remote_mut() else { return };
        let is_confirmed = terms.qos > QoS::AtMostOnce;
        if is_confirmed {
            remote.state.outstanding += 1;
        }
        let Remote { shard, member, state } = *remote;
        let is_durable = is_confirmed && state.is_durable && self.messages.journal.is_on();
        let sequence = if is_durable { self.begin_transit(shard, message, 0, Some(group.clone())) } else { 0 };
        let member = Some(Member { subscription: there, ..member });
        let Terms { qos, retain, identifier, .. } = terms;
        let message = shared.at(sequence).stamped(self.messages.get(message).order);
        self.send_message(shard, Content::Deliver { member, group, message, qos, retain, identifier });
    }
}
