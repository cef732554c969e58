//! Shared subscriptions whose group has its home here, with members on other shards. In the group such a member is a
//! remote Session.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::neighbour_state::Elsewhere;
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::router::{self, Subscription};
use crate::engine::routing::Terms;
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle, one_more};
use crate::seam::authorize::Principal;
use crate::seam::counters::DropReason;
use crate::shards::forward::{Content, Member, SharedMessage};
use crate::shards::home::{Home, Remote};
use crate::time::Instant;
use crate::topic::TopicFilter;

/// How many other subscriptions to a filter are looked at, so that thousands of members are not told to all shards one by one.
const LOOKED_AT: usize = 8;

/// The subscription of a member whose home is another shard.
#[derive(Clone, Debug)]
struct Membership {
    /// The handle of the subscription on that shard.
    there: Handle<Subscription>,
    /// The filter of the shared subscription.
    group: Arc<str>,
}

/// Members of groups here whose home is another shard.
#[derive(Debug, Default)]
pub(super) struct MembersElsewhere {
    /// The Sessions by home shard and Session number.
    sessions: BTreeMap<(u16, u32), Handle<Session>>,
    /// The memberships by the handles of their subscriptions here.
    memberships: BTreeMap<Handle<Subscription>, Membership>,
}

impl MembersElsewhere {
    /// How many such Sessions there are, and how many subscriptions they have.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.sessions.len(), self.memberships.len())
    }

    /// A subscription has ended, of such a member or of any other Session.
    pub(super) fn forget(&mut self, subscription: Handle<Subscription>) {
        self.memberships.remove(&subscription);
    }
}

impl Engine<'_> {
    fn remote(&self, shard: u16, member: Member) -> Option<Handle<Session>> {
        self.shards.members.sessions.get(&(shard, member.number)).copied()
    }

    pub(super) fn take_member(
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
                let Some(session) = self.insert_session() else { return };
                let entry = &mut self.sessions[session];
                entry.begin(0, Blob::EMPTY, Principal::ANONYMOUS);
                entry.shards = Home::Elsewhere(Box::new(remote));
                self.shards.members.sessions.insert((shard, member.number), session);
                session
            }
        };
        let subscriber = self.subscriber_of(session);
        let was_durable =
            self.router.find(filter, subscriber).is_some_and(|subscription| self.is_durably_subscribed(subscription));
        let Ok(subscribed) = self.router.subscribe(filter, subscriber, options, identifier) else { return };
        let membership = Membership { there: member.subscription, group: filter.as_str().into() };
        self.shards.members.memberships.insert(subscribed.handle, membership);
        if !subscribed.replaced {
            let entry = &mut self.sessions[session];
            entry.subscriptions = one_more(entry.subscriptions);
        }
        if subscribed.first {
            // The group may keep messages that no member has room for.
            self.tell_first_subscriber(session, filter, self.messages.journal.is_on());
            self.shards.fences.raise_probe(&mut self.shards.links);
        } else if !was_durable && self.may_make_durable(subscribed.handle) {
            self.tell_subscriber(session, filter, true, true);
            self.shards.fences.raise_probe(&mut self.shards.links);
        }
        self.member_came(now, session);
    }

    /// Whether messages for a subscription are recorded, and other shards may not know it of the filter. They know if any other subscriber
    /// is such one; not all are looked at.
    fn may_make_durable(&self, subscription: Handle<Subscription>) -> bool {
        let mut others = self.router.others_to_filter(subscription).take(LOOKED_AT);
        self.is_durably_subscribed(subscription) && !others.any(|other| self.is_durably_subscribed(other))
    }

    /// A member has left a group.
    pub(super) fn take_leave(&mut self, from: u16, member: Member, filter: &str) {
        let Some(session) = self.remote(from, member) else { return };
        let found =
            TopicFilter::new(filter).ok().and_then(|filter| self.router.find(filter, self.subscriber_of(session)));
        if let Some(subscription) = found {
            self.remove_subscription(session, subscription);
        }
        if self.sessions[session].subscriptions == 0 {
            self.end_remote(from, session, member);
        }
    }

    /// A member has connected or disconnected.
    pub(super) fn take_presence(&mut self, now: Instant, from: u16, member: Member, is_connected: bool) {
        let Some(session) = self.remote(from, member) else { return };
        if let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() {
            *state = Elsewhere { is_connected, outstanding: 0, outstanding_bytes: 0, is_full: false, ..*state };
        }
        self.member_came(now, session);
    }

    fn end_remote(&mut self, shard: u16, session: Handle<Session>, member: Member) {
        self.unsubscribe_all(session);
        self.shards.members.sessions.remove(&(shard, member.number));
        self.sessions.remove(session);
    }

    /// Sends a message to a member whose home is another shard.
    pub(super) fn deliver_to_remote(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
        terms: Terms,
    ) {
        let Some(Membership { there, group }) = self.shards.members.memberships.get(&subscription).cloned() else {
            return;
        };
        let Some(shared) = self.share(message, 0) else { return };
        let Some(remote) = self.sessions[session].shards.remote_mut() else { return };
        let is_confirmed = terms.qos > QoS::AtMostOnce;
        if is_confirmed {
            remote.state.send(shared.body_len() as u32);
        }
        let Remote { shard, member, state } = *remote;
        let is_durable = is_confirmed && state.is_durable && self.messages.journal.is_on();
        let sequence = if is_durable { self.begin_transit(shard, message, 0, Some(group.clone())) } else { 0 };
        let member = Some(Member { subscription: there, ..member });
        let Terms { qos, retain, identifier, .. } = terms;
        let message = shared.at(sequence).stamped(self.messages.get(message).order);
        self.send_message(shard, sequence, Content::Deliver { member, group, message, qos, retain, identifier });
    }

    pub(super) fn take_returned(&mut self, filter: &str, shared: SharedMessage) {
        let Some(group) = TopicFilter::new(filter).ok().and_then(|filter| self.router.group_of(filter)) else {
            self.drop_message(None, shared.as_dropped(), DropReason::SessionEnded);
            return;
        };
        let (publisher, order) = (shared.publisher_key, shared.stamp);
        let Some(message) = self.adopt(shared.stamped(0)) else {
            self.drop_message(None, LostMessage::Unknown, DropReason::OutOfMemory);
            return;
        };
        self.messages.set_order(message, order);
        self.with_topic(message, |broker, topic| broker.give_to_member(group, message, topic, publisher, true));
        self.messages.release(message);
    }

    /// The queue of a member is full, and its last message comes back; or the queue is empty again.
    pub(super) fn take_full(&mut self, now: Instant, (shard, member): (u16, Member), is_full: bool) {
        let Some(session) = self.remote(shard, member) else { return };
        let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() else { return };
        state.is_full = is_full;
        if is_full {
            state.settle(1);
        } else {
            self.member_came(now, session);
        }
    }

    /// A member has acknowledged messages. When it has acknowledged half of what it may have, its groups send it more.
    pub(super) fn take_settled(&mut self, now: Instant, (shard, member): (u16, Member), count: u32) {
        let Some(session) = self.remote(shard, member) else { return };
        let limits = self.in_force.limits(&self.config.limits);
        let Some(Remote { state, .. }) = self.sessions[session].shards.remote_mut() else { return };
        let was_half_full = state.is_half_full(limits);
        state.settle(count);
        if state.outstanding == 0 || (was_half_full && !state.is_half_full(limits)) {
            self.member_came(now, session);
        }
    }
}
