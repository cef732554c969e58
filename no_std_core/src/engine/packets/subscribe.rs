//! SUBSCRIBE and UNSUBSCRIBE (sections 3.8 to 3.11).

use crate::codec::{
    Frame, ReasonCode, ReasonText, Refusal, RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe, Version,
};
use crate::engine::Engine;
use crate::engine::connections::{CODES_IN_OWED, Connection, Count, Owed, Reply};
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::receive::Taken;
use crate::engine::router::{self, SHARED};
use crate::engine::sessions::Session;
use crate::engine::shares::REPLIES;
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED, Slots, one_more};
use crate::seam::kind::Kind;
use crate::seam::work;
use crate::time::Instant;
use crate::topic::{TopicFilter, TopicFilterError, has_control_characters};

impl<'m> Engine<'m> {
    #[inline(never)]
    pub(crate) fn on_subscribe(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        version: Version,
        frame: Frame<'_>,
    ) -> Result<Taken<'static>, Refusal> {
        self.subscribe_to(now, handle, &Subscribe::decode(version, frame)?)
    }

    #[inline]
    pub(crate) fn subscribe_to(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        subscribe: &Subscribe<'_>,
    ) -> Result<Taken<'static>, Refusal> {
        let Some(session) = self.connections[handle].session else {
            return Ok(Taken::Done);
        };
        self.check_property_count(subscribe.properties.count())?;
        let count = subscribe.filters().count();
        let answered = self.answered(handle, count);
        if !self.can_owe(handle, answered) {
            return Ok(Taken::NotNow);
        }
        for (text, options) in subscribe.filters() {
            self.check_filter(handle, text)?;
            if TopicFilter::new(text).is_ok_and(|filter| !options.are_allowed_for(filter)) {
                return Err(Refusal::protocol_error("a shared subscription has no No Local [MQTT-3.8.3-4]"));
            }
        }
        let is_bridge = self.connections[handle].is_bridge;
        if !self.siblings_know(now, handle, session, subscribe, answered) {
            return Ok(Taken::NotNow);
        }
        let identifier = subscribe.properties.subscription_identifier().unwrap_or(0);
        let mut filters = subscribe.filters();
        let reply = Reply::SubAck { count: Count::new(count) };
        self.owe_codes(handle, reply, subscribe.packet_id.get(), answered, |broker| {
            let (text, mut options) = filters.next()?;
            if is_bridge {
                options = as_bridge(text, options);
            }
            if broker.is_refused_text(text) {
                return Some(ReasonCode::TopicFilterInvalid);
            }
            Some(broker.subscribe(now, session, text, options, identifier))
        });
        self.end_waiting(handle);
        Ok(Taken::Done)
    }

    /// Whether a Topic Filter has characters that the configuration does not allow.
    pub(crate) fn is_refused_text(&self, filter: &str) -> bool {
        !self.config.allow_control_characters && has_control_characters(filter)
    }

    /// Subscribes. Returns the Reason Code for the filter.
    pub(crate) fn subscribe(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        text: &str,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> ReasonCode {
        let Ok(filter) = TopicFilter::new(text) else {
            return ReasonCode::TopicFilterInvalid;
        };
        if let Some(refusal) = self.refusal_of(session, filter, options) {
            return refusal;
        }
        self.work.count(work::SUBSCRIPTION, 1);
        let subscriber = self.subscriber_of(session);
        let elsewhere = self.kept_filter(filter);
        let kept_filter = elsewhere.as_deref().map_or(filter, TopicFilter::assume_valid);
        let known = self.router.find(kept_filter, subscriber);
        if known.is_none() && !self.may_have_another_subscription(session, kept_filter) {
            return ReasonCode::QuotaExceeded;
        }
        if self.store_is_full && self.sessions[session].is_durable {
            return ReasonCode::QuotaExceeded;
        }
        let kept = router::SubscriptionOptions {
            qos: options.qos.bits(),
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
        };
        let Ok(subscribed) = self.router.subscribe(kept_filter, subscriber, kept, identifier) else {
            return ReasonCode::QuotaExceeded;
        };
        if !subscribed.replaced {
            let session = &mut self.sessions[session];
            session.subscriptions = one_more(session.subscriptions);
        }
        self.note_subscription(session, subscribed.handle);
        self.happened(Happening::Subscribed { session, filter: text, qos: options.qos });
        if elsewhere.is_some() {
            self.join_elsewhere(session, filter, subscribed);
            return ReasonCode::granted(options.qos);
        }
        if subscribed.first {
            self.tell_first_subscription(session, filter, options.qos);
        }
        if filter.share_name().is_some() {
            self.member_came(now, session);
            return ReasonCode::granted(options.qos);
        }
        if !self.replay_for(session, filter, subscribed, options.retain_handling) {
            return ReasonCode::QuotaExceeded;
        }
        ReasonCode::granted(options.qos)
    }

    /// Why a Session may not subscribe to a filter, whatever its other subscriptions are; `None` if it may.
    #[inline]
    fn refusal_of(
        &mut self,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
    ) -> Option<ReasonCode> {
        if !SHARED && filter.share_name().is_some() {
            return Some(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if self.is_too_deep(filter) {
            return Some(ReasonCode::QuotaExceeded);
        }
        (!self.may_subscribe(session, filter, options.qos)).then_some(ReasonCode::NotAuthorized)
    }

    fn may_have_another_subscription(&mut self, session: Handle<Session>, filter: TopicFilter<'_>) -> bool {
        let entry = &self.sessions[session];
        entry.subscriptions < entry.lost.get().granted.subscriptions(&self.config.limits)
            && self.has_share_for_subscription(session, filter)
    }

    /// Begins to send the retained messages for a subscription, if the client wants them. Returns false if there is no memory; then there
    /// is no new subscription.
    fn replay_for(
        &mut self,
        session: Handle<Session>,
        filter: TopicFilter<'_>,
        subscribed: router::Subscribed,
        handling: RetainHandling,
    ) -> bool {
        let wants_retained = match handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !subscribed.replaced,
            RetainHandling::DoNotSend => false,
        };
        let begun = !wants_retained || self.begin_replay(session, subscribed.handle, filter);
        if !begun && !subscribed.replaced {
            // Without memory to send its retained messages a new subscription is not made.
            self.unsubscribe(session, filter);
        }
        begun
    }

    /// Takes the scratch memory out of the engine, as long as the longest Topic Filter if it can grow so far. The caller puts it back.
    pub(crate) fn take_scratch(&mut self) -> Slots<'m, u8> {
        // Even the longest Topic Filter came in a packet, and this memory is long enough for any packet.
        const LONGEST_FILTER: usize = 65_535;
        let mut space = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        space.grow_to(space.limit().min(LONGEST_FILTER));
        space
    }

    /// Calls `act` with the Topic Filter of a subscription as its client wrote it; with `None` if there is no memory to put it together.
    pub(crate) fn with_written_filter<R>(
        &mut self,
        subscription: Handle<router::Subscription>,
        act: impl FnOnce(&mut Self, Option<&str>) -> R,
    ) -> R {
        let mut space = self.take_scratch();
        let len = self.written_filter(subscription, space.as_mut_slice()).map(str::len);
        let all = space.as_slice();
        let start = len.and_then(|len| all.len().checked_sub(len));
        let filter = start.and_then(|start| all.get(start..)).and_then(|text| core::str::from_utf8(text).ok());
        let result = act(self, filter);
        self.scratch = space;
        result
    }

    /// The Topic Filter of a subscription as its client wrote it, put together at the end of `space`.
    pub(crate) fn written_filter<'a>(
        &self,
        subscription: Handle<router::Subscription>,
        space: &'a mut [u8],
    ) -> Option<&'a str> {
        let len = self.router.filter_of(subscription, space)?.len();
        let filter = space.len().checked_sub(len).and_then(|start| space.get_mut(start..))?;
        Self::write_as_subscribed(filter);
        core::str::from_utf8(filter).ok()
    }

    /// Whether a filter has too many levels, or so many `+` that this filter and similar ones would make each message visit too much of
    /// the tree.
    pub(crate) fn is_too_deep(&self, filter: TopicFilter<'_>) -> bool {
        let limits = &self.config.limits;
        if OWNED && filter.cost() > limits.filter_cost {
            return true;
        }
        filter.levels().count() > usize::from(limits.topic_levels)
    }

    #[inline(never)]
    pub(crate) fn on_unsubscribe(
        &mut self,
        handle: Handle<Connection>,
        version: Version,
        frame: Frame<'_>,
    ) -> Result<Taken<'static>, Refusal> {
        self.unsubscribe_from(handle, &Unsubscribe::decode(version, frame)?)
    }

    #[inline]
    pub(crate) fn unsubscribe_from(
        &mut self,
        handle: Handle<Connection>,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<Taken<'static>, Refusal> {
        let version = self.connections[handle].version;
        let Some(session) = self.connections[handle].session else {
            return Ok(Taken::Done);
        };
        self.check_property_count(unsubscribe.properties.count())?;
        let count = unsubscribe.filters().count();
        // Before MQTT 5.0 UNSUBACK has no codes, so all are answered.
        let answered = if version.is_v5() { self.answered(handle, count) } else { 0 };
        if !self.can_owe(handle, answered) {
            return Ok(Taken::NotNow);
        }
        for text in unsubscribe.filters() {
            self.check_filter(handle, text)?;
        }
        if !self.siblings_let_go(handle, session, unsubscribe, if version.is_v5() { answered } else { count }) {
            return Ok(Taken::NotNow);
        }
        let mut filters = unsubscribe.filters();
        let mut next = |broker: &mut Self| {
            Some(match TopicFilter::new(filters.next()?) {
                Ok(filter) if broker.unsubscribe(session, filter) => ReasonCode::Success,
                Ok(filter) if broker.left_before(handle, filter) => ReasonCode::Success,
                Ok(_) => ReasonCode::NoSubscriptionExisted,
                Err(_) => ReasonCode::TopicFilterInvalid,
            })
        };
        if !version.is_v5() {
            while next(self).is_some() {}
        }
        let reply = Reply::UnsubAck { count: Count::new(count) };
        self.owe_codes(handle, reply, unsubscribe.packet_id.get(), answered, next);
        if SHARED && unsubscribe.filters().any(|filter| filter.starts_with("$share/")) {
            self.forget_left_groups(session);
        }
        self.look_after_removal();
        Ok(Taken::Done)
    }

    /// Ends a subscription, if it exists. Returns whether it did. After the end of a shared subscription the caller has to call
    /// [`forget_left_groups`](Self::forget_left_groups).
    pub(crate) fn unsubscribe(&mut self, session: Handle<Session>, filter: TopicFilter<'_>) -> bool {
        self.work.count(work::SUBSCRIPTION, 1);
        let subscriber = self.subscriber_of(session);
        let elsewhere = self.kept_filter(filter);
        let filter = elsewhere.as_deref().map_or(filter, TopicFilter::assume_valid);
        let Some(subscription) = self.router.find(filter, subscriber) else {
            return false;
        };
        self.remove_subscription(session, subscription);
        true
    }

    /// Ends all subscriptions of a Session that ends.
    pub(crate) fn unsubscribe_all(&mut self, session: Handle<Session>) {
        self.end_replays_where(session, |_| true);
        let subscriber = self.subscriber_of(session);
        loop {
            let first = self.router.subscriptions_of(subscriber).next();
            match first {
                Some(subscription) => self.remove_subscription(session, subscription),
                None => return,
            }
        }
    }

    pub(crate) fn remove_subscription(&mut self, session: Handle<Session>, subscription: Handle<router::Subscription>) {
        self.work.count(work::SUBSCRIPTION, 1);
        if !self.sessions[session].replays.is_empty() {
            self.end_replay_of(session, subscription);
        }
        self.happened(Happening::Unsubscribed { session, subscription });
        self.note_subscription(session, subscription);
        let group = self.router.subscription(subscription).group();
        let filter = self.filter_of_ending(subscription);
        let removed = self.router.remove(subscription);
        self.sessions[session].subscriptions = self.sessions[session].subscriptions.saturating_sub(1);
        if let (Some(group), Some(tag)) = (group, removed.group_ended) {
            self.end_group_queue(group, tag);
        }
        if let Some(filter) = filter {
            self.tell_ended_subscription(session, subscription, &filter, removed.last);
        }
    }

    /// A subscription was made, changed, or is about to end: marks it to be recorded.
    fn note_subscription(&mut self, session: Handle<Session>, subscription: Handle<router::Subscription>) {
        if !self.sessions[session].is_durable {
            return;
        }
        self.messages.journal.mark(Kind::Subscription, subscription.index());
        if let Some(group) = self.router.subscription(subscription).group() {
            self.messages.journal.mark(Kind::Group, group.index());
        }
    }

    /// In MQTT 5.0 each invalid Topic Filter gets a Reason Code of its own. In older versions SUBACK's 0x80 means that the Server does
    /// not grant a valid filter, and UNSUBACK has no codes. So there an invalid filter is a protocol violation, `[MQTT-4.8.0-1]` of MQTT
    /// 3.1.1. A malformed `$share` is not, because those versions do not know shared subscriptions.
    fn check_filter(&self, handle: Handle<Connection>, text: &str) -> Result<(), Refusal> {
        let is_right = matches!(TopicFilter::new(text), Ok(_) | Err(TopicFilterError::MalformedShare));
        if !is_right && !self.connections[handle].version.is_v5() {
            return Err(Refusal::protocol_error("a Topic Filter is not well-formed (section 4.7)"));
        }
        Ok(())
    }

    /// For how many of so many Topic Filters in one packet a Reason Code can be kept. The other filters are refused.
    fn answered(&mut self, handle: Handle<Connection>, filters: usize) -> usize {
        let mut most = usize::from(self.config.limits.owed_replies).saturating_sub(1);
        let needed = filters.div_ceil(CODES_IN_OWED).min(most);
        if !self.may_owe(handle, needed.saturating_add(1)) {
            // There are places for those in any case, once it is owed nothing else.
            most = most.min(REPLIES - 1);
        }
        filters.min(most.saturating_mul(CODES_IN_OWED))
    }

    /// Whether an answer with `count` codes can be owed now.
    fn can_owe(&mut self, handle: Handle<Connection>, count: usize) -> bool {
        let needed = count.div_ceil(CODES_IN_OWED).saturating_add(1);
        let owed = self.connections[handle].owed.len().saturating_add(needed);
        let fits = owed <= usize::from(self.config.limits.owed_replies) && self.may_owe(handle, needed);
        self.connections[handle].is_choked |= !fits;
        fits
    }

    /// Queues a SUBACK or UNSUBACK whose codes come from an iterator.
    fn owe_codes(
        &mut self,
        handle: Handle<Connection>,
        reply: Reply,
        packet_id: u16,
        count: usize,
        mut next: impl FnMut(&mut Self) -> Option<ReasonCode>,
    ) {
        let is_durable = self.connections[handle].session.is_some_and(|session| self.sessions[session].is_durable);
        let batch = if is_durable { self.messages.journal.gathering() } else { 0 };
        self.owe(handle, Owed::new(reply, packet_id, ReasonCode::Success, ReasonText::NONE).after(batch));
        for _ in 0..count.div_ceil(CODES_IN_OWED) {
            let mut codes = [ReasonCode::Success; CODES_IN_OWED];
            // All entries but the last are full, since `count` is the number of all codes or fills all entries.
            for code in &mut codes {
                match next(self) {
                    Some(result) => *code = result,
                    None => break,
                }
            }
            self.owe(handle, Owed::new(Reply::Codes(codes), packet_id, ReasonCode::Success, ReasonText::NONE));
        }
    }
}

/// The options with which a bridge subscribes: it gets no messages of its own, and RETAIN is as published. A shared subscription has no
/// No Local `[MQTT-3.8.3-4]`.
pub(crate) fn as_bridge(filter: &str, options: SubscriptionOptions) -> SubscriptionOptions {
    let no_local = TopicFilter::new(filter).is_ok_and(|filter| filter.share_name().is_none());
    SubscriptionOptions { no_local, retain_as_published: true, ..options }
}
