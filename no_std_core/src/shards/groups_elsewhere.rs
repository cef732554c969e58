//! Shared subscriptions with members here whose group has its home on another shard.
//!
//! The home of a group is the home shard of its filter. On the home shard of a member, its subscription is stored under a filter that no
//! topic matches.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::Engine;
use crate::engine::messages::{Message, Via};
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::router::{Subscribed, Subscription};
use crate::engine::routing::Terms;
use crate::engine::sessions::Session;
use crate::mem::{Handle, one_more};
use crate::seam::counters::DropReason;
use crate::shards::forward::{Content, Member, SharedMessage};
use crate::shards::links::ShardLinks;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Stands for `$share` in the filter under which a subscription to such a group is stored. In a Topic Name or Topic Filter a level with a
/// `#` is `#` alone, so no level equals this text.
const FOREIGN: &str = "#share";

const SHARE: &str = "$share";

/// Turns a stored filter back into the text that the client wrote.
pub(super) fn write_as_share(filter: &mut [u8]) {
    if filter.starts_with(FOREIGN.as_bytes())
        && let Some(head) = filter.get_mut(..SHARE.len())
    {
        head.copy_from_slice(SHARE.as_bytes());
    }
}

/// The text that the client wrote, if `kept` is the stored filter of such a subscription; `None` for all other filters.
pub(super) fn as_subscribed(kept: &str) -> Option<String> {
    Some([SHARE, kept.strip_prefix(FOREIGN)?].concat())
}

/// The groups on other shards in which Sessions here are members.
#[derive(Debug, Default)]
pub(super) struct GroupsElsewhere {
    /// How many Sessions were made so far.
    session_numbers: u32,
    /// The group of each such subscription.
    joined: BTreeMap<Handle<Subscription>, GroupElsewhere>,
}

/// A group whose home is another shard.
#[derive(Clone, Debug)]
struct GroupElsewhere {
    owner: u16,
    /// The filter of the shared subscription.
    filter: Arc<str>,
}

/// Tells the home shard of a group that a member has acknowledged one more message. If the last forward to that shard says the same of the
/// member, its count is raised.
fn tell_settled(links: &mut ShardLinks, owner: u16, member: Member) {
    match links.last_to(owner) {
        Some(Content::Settled { member: same, count }) if *same == member => *count = one_more(*count),
        _ => links.send(owner, Content::Settled { member, count: 1 }),
    }
}

impl Engine<'_> {
    /// Gives a new Session its number.
    pub(super) fn number_session(&mut self, session: Handle<Session>) {
        let last = &mut self.shards.groups.session_numbers;
        *last = last.wrapping_add(1);
        if let Some(local) = self.sessions[session].shards.here_mut() {
            local.number = *last;
        }
    }

    /// The home shard of the group of a shared subscription; `None` for other filters, and if it is this shard.
    pub(super) fn owner_of(&self, filter: TopicFilter<'_>) -> Option<u16> {
        filter.share_name()?;
        let owner = Shard::home_of(filter.as_str().as_bytes(), self.config.shard.count);
        (owner != self.config.shard.index).then_some(owner)
    }

    /// The filter under which a subscription to a group on another shard is stored here.
    pub(super) fn foreign_filter(&self, filter: TopicFilter<'_>) -> Option<Box<str>> {
        self.owner_of(filter)?;
        let behind = filter.as_str().strip_prefix(SHARE)?;
        Some([FOREIGN, behind].concat().into_boxed_str())
    }

    pub(super) fn count_foreign_group(&mut self, session: Handle<Session>, more: i32) {
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

    /// A Session has subscribed to a group whose home is another shard.
    pub(super) fn join_foreign(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, subscribed: Subscribed) {
        if !subscribed.replaced {
            self.count_foreign_group(session, 1);
        }
        self.join(session, filter.as_str(), subscribed.handle);
    }

    /// Makes a Session a member of a group whose home is another shard.
    pub(super) fn join(&mut self, session: Handle<Session>, filter: &str, subscription: Handle<Subscription>) {
        let Some(owner) = TopicFilter::new(filter).ok().and_then(|filter| self.owner_of(filter)) else { return };
        self.shards.groups.joined.insert(subscription, GroupElsewhere { owner, filter: filter.into() });
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
        self.shards.links.send(owner, content);
    }

    /// A Session has left a group whose home is another shard.
    pub(super) fn leave_foreign(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: String,
    ) {
        self.shards.groups.joined.remove(&subscription);
        self.count_foreign_group(session, -1);
        let member = self.member(session, subscription);
        if let Some(owner) = TopicFilter::new(&filter).ok().and_then(|filter| self.owner_of(filter)) {
            self.shards.links.send(owner, Content::Leave { filter: filter.into(), member });
        }
    }

    /// Tells the home shards of a Session's groups that its client has connected or disconnected.
    pub(super) fn tell_presence(&mut self, session: Handle<Session>, online: bool) {
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
        for other in self.shards.links.others() {
            self.shards.links.send(other, content(member));
        }
    }

    /// The home shard of a group sends a message for a Session here. If the Session can't receive the message, it goes back.
    pub(super) fn take_delivery(
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
            self.drop_message(session, shared.as_dropped(), DropReason::Expired);
            return;
        }
        let Some(message) = self.adopt(shared) else {
            self.drop_message(session, LostMessage::Unknown, DropReason::OutOfMemory);
            return;
        };
        let foreign = member.and_then(|member| self.subscription_to(&group, member));
        let cost = self.messages.get(message).body.len() as u32;
        match session {
            Some(session) if self.is_full_for_group(session, qos, foreign, cost) => {
                if let Some(member) = member {
                    self.set_told_full(session, true);
                    self.shards.links.send(owner, Content::Full { member, is_full: true });
                }
                self.send_back(owner, group, message);
            }
            Some(session) if self.sessions[session].connection.is_some() || foreign.is_none() => {
                let via = foreign.map_or(Via::Own, Via::GroupElsewhere);
                let terms = Terms { qos, retain, identifier, via };
                self.with_topic(message, |broker, topic| broker.deliver(session, message, topic, terms));
            }
            _ => self.send_back(owner, group, message),
        }
        self.messages.release(message);
    }

    /// The subscription through which a member gets a message of a group on another shard; `None` once the member has left the group. Its
    /// handle may then name another subscription, of the same Session or of another.
    fn subscription_to(&self, group: &str, member: Member) -> Option<Handle<Subscription>> {
        let (subscription, joined) = self.shards.groups.joined.get_key_value(&member.subscription)?;
        let is_it = *joined.filter == *group && self.router.holds(*subscription, self.subscriber_of(member.session));
        is_it.then_some(*subscription)
    }

    /// Whether a message of a group on another shard goes back, because the queue of its connected member is full. If the message has no
    /// room in an empty queue, it is lost instead, as it would be in any queue.
    ///
    /// Messages that are on their way while the member gets room again may overtake those that go back. A shared subscription promises no
    /// order, and the home shard of the group sends no more messages as soon as it knows.
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
            && !entry.has_room(self.queue_limits(), cost)
    }

    /// The queue of a Session has become empty: tells the shards that were told that it was full.
    #[inline]
    pub(super) fn tell_room(&mut self, session: Handle<Session>) {
        if self.sessions[session].shards.here().is_some_and(|local| local.is_told_full) {
            self.set_told_full(session, false);
            self.tell_owners(session, |member| Content::Full { member, is_full: false });
        }
    }

    /// Another member is to get a message that a Session got from a group on another shard.
    pub(super) fn return_to_owner(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
    ) {
        match self.shards.groups.joined.get(&subscription).cloned() {
            Some(GroupElsewhere { owner, filter }) => self.send_back(owner, filter, message),
            None => self.drop_message(Some(session), LostMessage::Stored(message), DropReason::SessionEnded),
        }
    }

    fn send_back(&mut self, owner: u16, group: Arc<str>, message: Handle<Message>) {
        let Some(shared) = self.share(message, 0) else { return };
        let is_durable = self.messages.journal.is_on() && shared.qos > QoS::AtMostOnce;
        let sequence = if is_durable { self.begin_transit(owner, message, 0, Some(group.clone())) } else { 0 };
        self.send_message(owner, sequence, Content::Returned { group, message: shared.at(sequence) });
    }

    /// A delivery through this subscription has ended. Tells the home shard of its group, which counts the messages that members have not
    /// acknowledged.
    pub(super) fn settle(&mut self, session: Handle<Session>, subscription: Handle<Subscription>) {
        let member = self.member(session, subscription);
        if let Some(GroupElsewhere { owner, .. }) = self.shards.groups.joined.get(&subscription) {
            tell_settled(&mut self.shards.links, *owner, member);
        }
    }
}
