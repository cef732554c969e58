//! Routes a message to its subscribers (section 3.3.4).
//!
//! A message is delivered during a walk through the router, so no list of receivers is ever made: a walk through thousands of matches
//! needs no memory, and a walk to a single match costs nothing but the match. Sometimes, when the store is short or the policy is
//! `refuse`, the broker has to know something about a route before it accepts the message. A [`RoutePlan`] has the answer, from a walk
//! of its own that changes nothing.
//!
//! Other shards that may want the message are looked up before the walk, and get the message at its end, once each, however many of
//! their filters match. So a message without subscribers here need not be stored.

use crate::codec::{QoS, ReasonCode};
use crate::config::Overflow;
use crate::engine::Engine;
use crate::engine::messages::{Message, Via};
use crate::engine::neighbour_state::{MayLiveElsewhere, Neighbour, Shards, WantedElsewhere};
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::router::{Group, Match, Matches, Subscription};
use crate::engine::routing::{Fate, Routed, Routing, Terms, is_reserved_for_server};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::mem::Handle;
use crate::seam::counters::tally;
use crate::topic::TopicName;

/// A message about which something has to be known before it is accepted.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) topic: TopicName<'a>,
    pub(crate) qos: QoS,
    /// The length of topic, Properties and payload in bytes.
    pub(crate) cost: u32,
    /// Whether it will be the retained message of its topic.
    pub(crate) is_kept: bool,
    pub(crate) publisher: Option<Handle<Session>>,
    /// Whether no other shard counts: the message came from another shard, or the others get it unrecorded.
    pub(crate) from_sibling: bool,
}

/// What has to be known about a route.
#[derive(Clone, Copy)]
pub(crate) struct RouteQuestion {
    of_record: bool,
    of_room: bool,
}

impl RouteQuestion {
    /// Whether the message needs a record.
    pub(crate) const RECORD: Self = Self { of_record: true, of_room: false };
    /// Whether all subscribers have room.
    pub(crate) const ROOM: Self = Self { of_record: false, of_room: true };
    /// Whether anything subscribed here matches.
    #[allow(dead_code, reason = "only other shards send messages that nobody here wants")]
    pub(crate) const MATCH: Self = Self { of_record: false, of_room: false };
}

/// The answers about a route. Only those that were asked for are valid.
pub(crate) struct RoutePlan {
    /// Whether the message can't be routed without a record: here, or on another shard, which records it at once.
    pub(crate) needs_record: bool,
    /// Whether all subscribers here have room, at least once expired messages are dropped.
    pub(crate) has_room: bool,
    /// Whether there is a subscriber here.
    pub(crate) is_matched: bool,
}

/// How far a message was routed.
struct HandOut {
    qos: QoS,
    retain: bool,
    /// The stored message, once a subscriber here gets it.
    message: Option<Handle<Message>>,
    siblings: <Shards as Neighbour>::OfRoute,
    /// Whether another shard is to retain the message, and so decides its fate.
    is_retained_elsewhere: bool,
    /// The fate of the message so far.
    fate: Fate,
    /// Whether this is the second walk, for matches that were left out in the first.
    is_late: bool,
    /// Whether a Session was met that gets the message in the first walk. It has the message, or has lost it.
    any_copy: bool,
    /// Whether a match has to wait for the second walk.
    leaves_any: bool,
}

impl<'m> Engine<'m> {
    /// Walks through the router to answer a question about a message before the message is accepted. Changes nothing.
    pub(crate) fn plan_route(&mut self, message: &Candidate<'_>, question: RouteQuestion) -> RoutePlan {
        let RouteQuestion { of_record, of_room } = question;
        let is_recorded = of_record && self.messages.journal.is_on() && message.qos > QoS::AtMostOnce;
        let is_kept = self.messages.journal.is_on() && message.is_kept && !is_reserved_for_server(message.topic);
        let mut plan = RoutePlan { needs_record: of_record && is_kept, has_room: true, is_matched: false };
        let mut matches = self.router.matches(message.topic);
        // The rest of the walk can't change the answer once it is yes for a record, or no for room, or if a match is all that was asked for.
        while !plan.needs_record
            && plan.has_room
            && (of_record || of_room || !plan.is_matched)
            && let Some(matched) = matches.next(&self.router)
        {
            plan.is_matched = true;
            match matched {
                Match::Subscription(subscription) => {
                    let entry = self.router.subscription(subscription);
                    let session = self.session_of(entry.subscriber());
                    plan.needs_record |= is_recorded && self.is_durably_subscribed(subscription);
                    plan.has_room &= !of_room || self.subscription_has_room(subscription, session, message);
                }
                Match::Group(group) => {
                    plan.needs_record |= is_recorded && self.group_needs_record(group);
                    plan.has_room &= !of_room || self.group_will_have_room(group, message.cost);
                }
            }
        }
        self.count_walk(&matches);
        if is_recorded && !message.from_sibling {
            let mut siblings = <Shards as Neighbour>::OfRoute::default();
            self.add_wanted_elsewhere(message.topic, false, &mut siblings);
            plan.needs_record |= siblings.needs_record();
        }
        plan
    }

    /// Whether a message can't be accepted without a record.
    pub(crate) fn needs_record(&mut self, topic: TopicName<'_>, qos: QoS, is_kept: bool) -> bool {
        let message = Candidate { topic, qos, cost: 0, is_kept, publisher: None, from_sibling: false };
        self.messages.journal.is_on() && self.plan_route(&message, RouteQuestion::RECORD).needs_record
    }

    /// Whether a message of QoS 1 or 2 for this subscription is recorded.
    pub(crate) fn is_durably_subscribed(&self, subscription: Handle<Subscription>) -> bool {
        let entry = self.router.subscription(subscription);
        let session = &self.sessions[self.session_of(entry.subscriber())];
        let is_durable = session.shards.elsewhere().map_or(session.is_durable, |elsewhere| elsewhere.is_durable);
        is_durable && entry.options().qos > 0
    }

    fn subscription_has_room(
        &mut self,
        subscription: Handle<Subscription>,
        session: Handle<Session>,
        message: &Candidate<'_>,
    ) -> bool {
        let options = self.router.subscription(subscription).options();
        let may_wait_in_store = message.qos > QoS::AtMostOnce && options.qos > 0;
        (options.no_local && message.publisher == Some(session))
            || self.will_have_room(session, message.cost, may_wait_in_store)
    }

    /// Delivers a message to all subscribers of its topic, and retains it. Returns its fate, or why it was delivered to nobody.
    pub(crate) fn route(&mut self, mut routing: Routing<'_>) -> Result<Routed, ReasonCode> {
        let &Message { qos, .. } = routing.message(&self.messages);
        let retain = routing.message(&self.messages).retain();
        if retain {
            self.check_retain(routing.topic, &routing)?;
        }
        if self.store_is_full || self.may_refuse {
            self.check_route(&routing, qos, retain)?;
        }
        let mut progress = HandOut {
            qos,
            retain,
            message: None,
            siblings: Default::default(),
            is_retained_elsewhere: false,
            fate: Fate::Unwanted,
            is_late: false,
            any_copy: false,
            leaves_any: false,
        };
        if !routing.is_from_sibling() {
            self.add_wanted_elsewhere(routing.topic, retain, &mut progress.siblings);
        }
        if retain {
            // The message is retained first, because this may fail, and then nobody gets the message; and because it may change the
            // tree.
            self.retain_if_kept_here(&mut routing, &mut progress)?;
        }
        let mut matches = self.router.matches(routing.topic);
        loop {
            while let Some(matched) = matches.next(&self.router) {
                if let Err(code) = self.hand_out(matched, &routing, &mut progress) {
                    self.count_walk(&matches);
                    return Err(code);
                }
            }
            self.count_walk(&matches);
            if progress.is_late || !progress.leaves_any {
                break;
            }
            (progress.is_late, progress.any_copy) = (true, false);
            matches.restart(&self.router);
        }
        let routed = self.end_route(&routing, &progress);
        // Other shards send more messages than have subscribers here.
        if let Ok(Routed { fate, .. }) = &routed
            && !(routing.is_from_sibling() && *fate == Fate::Unwanted)
        {
            let is_kept = *fate == Fate::Kept || progress.is_retained_elsewhere;
            self.happened(Happening::Routed { topic: routing.topic.as_str(), is_kept });
        }
        routed
    }

    /// Refuses a message for which the store or a queue has no room.
    #[cold]
    fn check_route(&mut self, routing: &Routing<'_>, qos: QoS, retain: bool) -> Result<(), ReasonCode> {
        let is_full = self.store_is_full && !routing.is_from_sibling();
        let is_refused = self.may_refuse && self.config.overflow_for(routing.topic) == Overflow::Refuse;
        if !is_full && !is_refused {
            return Ok(());
        }
        let question = RouteQuestion { of_record: is_full, of_room: is_refused };
        let message = Candidate {
            topic: routing.topic,
            qos,
            cost: routing.cost(&self.messages),
            is_kept: retain && !routing.clears(&self.messages),
            publisher: routing.publisher,
            from_sibling: routing.is_from_sibling() || routing.is_unrecorded,
        };
        let plan = self.plan_route(&message, question);
        let is_possible = plan.has_room && !plan.needs_record;
        if is_possible { Ok(()) } else { Err(ReasonCode::QuotaExceeded) }
    }

    /// Gives a message its sequence number. Stores it, and holds a reference while it is routed, so that the message stays even if
    /// every queue drops it.
    fn begin_route(&mut self, routing: &Routing<'_>) -> Result<Handle<Message>, ReasonCode> {
        let message = match routing.stored {
            Some(message) => message,
            None => {
                let mut stored = self.messages.store(routing.draft, &routing.parts);
                if stored.is_none() && routing.draft.retain() && routing.clears(&self.messages) {
                    // A retained message can be removed even if memory is full of retained messages.
                    self.unretain(routing.topic);
                    stored = self.messages.store(routing.draft, &routing.parts);
                }
                let stored = stored.ok_or(ReasonCode::QuotaExceeded)?;
                self.messages.hold(stored);
                stored
            }
        };
        let order = self.next_order();
        self.look_at_memory();
        self.messages.set_order(message, order);
        Ok(message)
    }

    /// The sequence number of the next message that is routed. Records may use half of all numbers; the other half is never used up.
    pub(crate) fn next_order(&mut self) -> u64 {
        tally(&mut self.routed, 1);
        self.routed
    }

    /// Makes a message the retained message of its topic, if this shard keeps that.
    #[inline(never)]
    fn retain_if_kept_here(&mut self, routing: &mut Routing<'_>, progress: &mut HandOut) -> Result<(), ReasonCode> {
        if !routing.is_from_sibling() {
            self.stamp_retained(routing);
        }
        if self.keeps_retained(routing.topic) {
            return self.retain_routed(routing, progress);
        }
        progress.is_retained_elsewhere = !routing.is_from_sibling();
        Ok(())
    }

    /// Makes a message the retained message of its topic.
    fn retain_routed(&mut self, routing: &Routing<'_>, progress: &mut HandOut) -> Result<(), ReasonCode> {
        let message = self.routed_message(routing, progress)?;
        if !self.retain(routing.topic, message) {
            self.release_routed(routing, message);
            return Err(ReasonCode::QuotaExceeded);
        }
        progress.fate = Fate::Kept;
        Ok(())
    }

    fn release_routed(&mut self, routing: &Routing<'_>, message: Handle<Message>) {
        if routing.stored.is_none() {
            self.messages.release(message);
        }
    }

    /// All subscribers here have the message: sends it to other shards. Returns the result of routing it.
    #[inline]
    fn end_route(&mut self, routing: &Routing<'_>, progress: &HandOut) -> Result<Routed, ReasonCode> {
        let siblings = &progress.siblings;
        if siblings.is_empty() {
            if let Some(message) = progress.message {
                self.release_routed(routing, message);
            }
            return Ok(Routed { fate: progress.fate, asked: Default::default() });
        }
        let fate = match routing.asks {
            // The message is kept if it is retained, whatever other subscribers had room for it.
            true if progress.is_retained_elsewhere => Fate::Unwanted,
            true => progress.fate,
            // A publisher that has not asked is not told the fate of the message on other shards.
            false => Fate::Kept,
        };
        let message = match progress.message.or(routing.stored) {
            Some(message) => message,
            None => match self.pass_on(routing, siblings) {
                Some(asked) => return Ok(Routed { fate, asked }),
                None => self.begin_route(routing)?,
            },
        };
        let asked = self.hand_over(message, routing, siblings);
        self.release_routed(routing, message);
        Ok(Routed { fate, asked })
    }

    /// A walk through the tree has ended, or is given up: counts its work.
    #[inline]
    pub(crate) fn count_walk(&mut self, matches: &Matches<'_>) {
        self.work.count_walk(matches.visited(), matches.text_len());
    }

    /// The stored message. Stores it first if that has not been done, because a subscriber here gets it.
    #[inline]
    fn routed_message(&mut self, routing: &Routing<'_>, progress: &mut HandOut) -> Result<Handle<Message>, ReasonCode> {
        if let Some(message) = progress.message {
            return Ok(message);
        }
        let message = self.begin_route(routing)?;
        progress.message = Some(message);
        Ok(message)
    }

    /// Delivers the message to a match, if it is the match's turn. Can fail only at the first match, if there is no memory for the
    /// message.
    #[inline]
    fn hand_out(&mut self, matched: Match, routing: &Routing<'_>, progress: &mut HandOut) -> Result<(), ReasonCode> {
        let subscription = match matched {
            Match::Subscription(subscription) => subscription,
            Match::Group(group) => return self.hand_to_group(group, routing, progress),
        };
        let entry = self.router.subscription(subscription);
        let (options, identifier) = (entry.options(), entry.identifier());
        let session = self.session_of(entry.subscriber());
        if options.no_local && routing.publisher == Some(session) {
            return Ok(());
        }
        let terms = Terms {
            qos: progress.qos.min(QoS::from_bits(options.qos).unwrap_or_default()),
            retain: progress.retain && options.retain_as_published,
            identifier,
            via: Via::Own,
        };
        let is_late = self.comes_late(session, progress.qos, terms);
        progress.any_copy |= !is_late;
        progress.leaves_any |= is_late;
        if is_late == progress.is_late {
            let message = self.routed_message(routing, progress)?;
            progress.fate = progress.fate.and(self.deliver(session, message, routing.topic, terms));
        }
        Ok(())
    }

    /// Delivers the message to a group, if it is the group's turn. The message for a member of the group must not be queued between two
    /// matches of the member's own subscriptions.
    fn hand_to_group(
        &mut self,
        group: Handle<Group>,
        routing: &Routing<'_>,
        progress: &mut HandOut,
    ) -> Result<(), ReasonCode> {
        if progress.any_copy != progress.is_late {
            progress.leaves_any = true;
            return Ok(());
        }
        let message = self.routed_message(routing, progress)?;
        progress.fate = progress.fate.and(self.deliver_to_group(group, message, routing));
        Ok(())
    }
}
