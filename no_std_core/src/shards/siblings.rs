//! The engine's questions to the other shards, each answered by the file for its subject.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::codec::{AckKind, Publish, QoS, Subscribe, Unsubscribe};
use crate::config::{Config, Shard};
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::messages::{Beside, Delivery, Message};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::router::{Subscribed, Subscription};
use crate::engine::routing::{Routed, Routing, Terms};
use crate::engine::sessions::{Replay, Replayed, Session};
use crate::engine::siblings::{SiblingRecords, Siblings, TransitParts};
use crate::mem::heap::{MemoryAccount, MemoryUse};
use crate::mem::{Bytes, Handle, Hasher};
use crate::seam::work;
use crate::shards::fences::Fences;
use crate::shards::filters::FilterTable;
use crate::shards::forward::Forward;
use crate::shards::greeting::Greeting;
use crate::shards::groups_elsewhere::{GroupsElsewhere, write_as_share};
use crate::shards::groups_here::MembersElsewhere;
use crate::shards::home::Home;
use crate::shards::interest::Interest;
use crate::shards::links::ShardLinks;
use crate::shards::messages::goes_unrecorded;
use crate::shards::promises::Promises;
use crate::shards::questions::{QuestionId, Questions};
use crate::shards::replay_state::ReplayElsewhere;
use crate::shards::replays::Readings;
use crate::shards::retained::RetainedCounts;
use crate::shards::served_replays::ServedReplays;
use crate::shards::set::SiblingSet;
use crate::shards::stamps::{RetainedStamp, Stamps};
use crate::shards::transits::Transits;
use crate::shards::waits::Waits;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicName};

/// The state of this broker for the other shards. Each field belongs to one file, which alone looks into it.
#[derive(Debug)]
pub(crate) struct SiblingState {
    pub(super) links: ShardLinks,
    pub(super) interest: Interest,
    pub(super) questions: Questions,
    pub(super) fences: Fences,
    pub(super) promises: Promises,
    pub(super) stamps: Stamps,
    pub(super) retained: RetainedCounts,
    pub(super) readings: Readings,
    pub(super) served: ServedReplays,
    pub(super) greeting: Greeting,
    pub(super) transits: Transits,
    pub(super) members: MembersElsewhere,
    pub(super) groups: GroupsElsewhere,
}

impl SiblingState {
    /// The next forward, and the shard that is to get it.
    pub(crate) fn poll(&mut self) -> Option<(u16, Forward)> {
        self.links.poll()
    }

    /// All forwards for one shard, which is returned.
    pub(crate) fn poll_all(&mut self, forwards: &mut VecDeque<Forward>) -> Option<u16> {
        self.links.poll_all(forwards)
    }
}

impl Neighbour for Shards {
    type OfBroker = SiblingState;
    type OfSession = Home;
    type OfConnection = Waits;
    type OfMessage = RetainedStamp;
    type OfReplay = ReplayElsewhere;
    type OfRoute = SiblingSet;
    type Asked = Option<QuestionId>;
    type Filter = Box<str>;
    type Withheld = AckKind;

    const FILTER_BYTES: usize = FilterTable::BYTES_EACH;

    fn filter_slots(shard: Shard, filters: usize) -> usize {
        FilterTable::slots(shard, filters)
    }

    fn of_broker(config: &Config<'_>, filters: usize, hasher: &Hasher, bytes: &Bytes<'_>) -> SiblingState {
        let shard = config.shard;
        let account =
            |purpose| bytes.account().map_or(MemoryAccount::UNBOUNDED, |account| account.with_purpose(purpose));
        SiblingState {
            links: ShardLinks::new(shard, account(MemoryUse::Mail)),
            interest: Interest::new(shard, filters, hasher.clone(), account(MemoryUse::Subscriptions)),
            questions: Questions::new(shard.siblings() as usize),
            fences: Fences::new(shard),
            promises: Promises::default(),
            stamps: Stamps::new(shard),
            retained: RetainedCounts::new(shard),
            readings: Readings::new(account(MemoryUse::Sessions)),
            served: ServedReplays::default(),
            greeting: Greeting::default(),
            transits: Transits::new(shard),
            members: MembersElsewhere::default(),
            groups: GroupsElsewhere::default(),
        }
    }
}

impl Siblings for Engine<'_> {
    #[inline]
    fn has_siblings(&self) -> bool {
        self.shards.links.has_siblings()
    }

    fn session_was_made(&mut self, session: Handle<Session>) {
        self.number_session(session);
    }

    fn client_came(&mut self, session: Handle<Session>) {
        self.tell_presence(session, true);
    }

    fn client_went(&mut self, session: Handle<Session>) {
        self.tell_presence(session, false);
    }

    fn count_elsewhere(&self) -> (usize, usize) {
        self.shards.members.count()
    }

    fn is_in_groups_elsewhere(&self, session: Handle<Session>) -> bool {
        self.sessions[session].shards.foreign_groups() > 0
    }

    #[inline]
    fn kept_filter(&self, filter: TopicFilter<'_>) -> Option<Box<str>> {
        self.foreign_filter(filter)
    }

    fn write_as_subscribed(kept: &mut [u8]) {
        write_as_share(kept);
    }

    fn siblings_know(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        subscribe: &Subscribe<'_>,
        count: usize,
    ) -> bool {
        self.promise_filters(now, handle, session, subscribe, count)
    }

    fn end_waiting(&mut self, handle: Handle<Connection>) {
        self.end_promise(handle);
    }

    fn tell_first_subscription(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, qos: QoS) {
        self.tell_first_subscriber(session, filter, self.is_durable_with(session, qos));
    }

    fn join_elsewhere(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, subscribed: Subscribed) {
        self.join_foreign(session, filter, subscribed);
    }

    fn siblings_let_go(
        &mut self,
        handle: Handle<Connection>,
        session: Handle<Session>,
        unsubscribe: &Unsubscribe<'_>,
        count: usize,
    ) -> bool {
        self.leave_groups(handle, session, unsubscribe, count)
    }

    fn left_before(&mut self, handle: Handle<Connection>, filter: TopicFilter<'_>) -> bool {
        self.has_left(handle, filter)
    }

    fn filter_of_ending(&mut self, subscription: Handle<Subscription>) -> Option<Box<str>> {
        self.filter_for_siblings(subscription)
    }

    fn tell_ended_subscription(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        filter: &str,
        last: bool,
    ) {
        self.subscription_ended(session, subscription, filter, last);
    }

    #[inline]
    fn siblings_keep_up(&mut self, handle: Handle<Connection>) -> bool {
        !self.siblings_are_congested() || self.wait_for_confirmation(handle)
    }

    fn siblings_were_asked_for_room(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> bool {
        self.ask_for_room(handle, publish)
    }

    #[inline]
    fn take_refusal(&mut self, handle: Handle<Connection>) -> bool {
        self.connections[handle].shards.mark(Waits::REFUSED, false)
    }

    fn take_agreement(&mut self, handle: Handle<Connection>) -> bool {
        self.connections[handle].shards.mark(Waits::AGREED, false)
    }

    #[inline]
    fn keeps_retained(&self, topic: TopicName<'_>) -> bool {
        self.owner_of_retained(topic.as_str()).is_none()
    }

    fn retained_elsewhere(&self) -> usize {
        self.shards.retained.elsewhere()
    }

    fn retained_count_changed(&mut self) {
        self.tell_retained_count();
    }

    #[inline(always)]
    fn add_wanted_elsewhere(&mut self, topic: TopicName<'_>, retain: bool, wanted: &mut SiblingSet) {
        if self.has_siblings() {
            let looked_at = self.shards.interest.add_wanted(wanted, topic);
            self.work.count(work::LEVEL, looked_at);
            if retain {
                self.add_owner(wanted, topic);
            }
        }
    }

    #[inline]
    fn stamp_retained(&mut self, routing: &mut Routing<'_>) {
        self.stamp_published(routing);
    }

    #[inline]
    fn may_be_retained_elsewhere(&self, filter: TopicFilter<'_>) -> bool {
        self.is_for_other_owners(filter)
    }

    fn replay_was_made(&mut self, session: Handle<Session>, replay: Handle<Replay>, filter: TopicFilter<'_>) {
        self.prepare_reading(session, replay, filter);
    }

    fn replay_is_renewed(&mut self, replay: Handle<Replay>) {
        self.renew_reading(replay);
    }

    fn replay_is_repeated(&mut self, replay: Handle<Replay>) {
        self.repeat_reading(replay);
    }

    fn replay_has_ended(&mut self, replay: Handle<Replay>) {
        self.end_reading(replay);
    }

    fn replay_from_siblings(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        replay: Handle<Replay>,
        subscription: Handle<Subscription>,
        window: u16,
    ) -> Replayed {
        self.read_on(now, session, replay, subscription, window)
    }

    fn hand_over(&mut self, message: Handle<Message>, routing: &Routing<'_>, to: &SiblingSet) -> Option<QuestionId> {
        self.forward(message, routing, to)
    }

    fn pass_on(&mut self, routing: &Routing<'_>, to: &SiblingSet) -> Option<Option<QuestionId>> {
        self.forward_unstored(routing, to)
    }

    #[inline(always)]
    fn asks_siblings(
        &mut self,
        handle: Handle<Connection>,
        session: Handle<Session>,
        reply: (u16, AckKind),
        routed: Routed,
    ) -> bool {
        let Routed { fate, asked } = routed;
        asked.is_some_and(|question| self.await_answers(handle, session, reply, fate, question))
    }

    #[inline(always)]
    fn await_answer(&mut self, handle: Handle<Connection>, asked: Option<QuestionId>) {
        if let Some(question) = asked {
            self.hold_reply(handle, question);
        }
    }

    fn await_answer_again(&mut self, handle: Handle<Connection>, session: Handle<Session>, packet_id: u16) {
        let number = self.sessions[session].shards.number();
        self.await_answer(handle, self.shards.questions.about(number, packet_id));
    }

    fn deliver_elsewhere(
        &mut self,
        member: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
        terms: Terms,
    ) {
        self.deliver_to_remote(member, subscription, message, terms);
    }

    fn return_elsewhere(
        &mut self,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
        message: Handle<Message>,
    ) {
        self.return_to_owner(session, subscription, message);
    }

    #[inline]
    fn delivery_is_over(&mut self, session: Handle<Session>, delivery: Handle<Delivery>) {
        if let Beside::GroupElsewhere(subscription) = self.messages.deliveries[delivery].beside() {
            self.settle(session, subscription);
        }
    }

    #[inline]
    fn queue_is_empty(&mut self, session: Handle<Session>) {
        self.tell_room(session);
    }

    #[inline]
    fn filters_elsewhere_are_vast(&self) -> bool {
        self.shards.interest.is_vast()
    }

    fn look_ahead_elsewhere(&self, topics: &[&[u8]]) {
        self.shards.interest.look_ahead(topics);
    }

    fn longest_chain_elsewhere(&self) -> usize {
        self.shards.interest.most_alike()
    }

    #[inline]
    fn is_greeting(&self) -> bool {
        self.shards.greeting.is_going_on()
    }

    fn waits_for_greeting(&mut self, handle: Handle<Connection>) -> bool {
        self.is_greeting() && self.wait_for_greeting(handle)
    }
}

impl SiblingRecords for Engine<'_> {
    fn greet_siblings(&mut self) {
        self.greet();
    }

    fn stamp_was_restored(&mut self, stamp: u64) {
        self.shards.stamps.catch_up(stamp >> 16);
    }

    fn restore_transit(&mut self, slot: usize, transit: TransitParts<'_>) -> bool {
        self.take_back_transit(slot, transit)
    }

    fn restore_progress(&mut self, sibling: usize, taken: u64, sent: u64) -> bool {
        self.shards.transits.restore_progress(sibling, taken, sent)
    }

    fn transit(&self, slot: usize) -> Option<TransitParts<'_>> {
        self.shards.transits.get(slot).map(|transit| transit.parts())
    }

    fn transit_slots(&self) -> usize {
        self.shards.transits.slots()
    }

    fn goes_unrecorded(&self, transit: &TransitParts<'_>) -> bool {
        let message = self.messages.get(transit.message);
        transit.group.is_empty() && goes_unrecorded(message.qos)
    }

    fn progress(&self, sibling: usize) -> Option<(u64, u64)> {
        self.shards.transits.progress(sibling)
    }

    fn batch_is_safe(&mut self) {
        let journal = &self.messages.journal;
        self.shards.links.release_held(|batch| journal.is_unsafe(batch));
        self.shards.transits.tell_safe(&mut self.shards.links, |batch| journal.is_unsafe(batch));
    }
}
