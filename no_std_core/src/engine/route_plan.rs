//! Where a message goes, and that it goes there (section 3.3.4).
//!
//! A message is handed out while the router is walked through, so no list of those who get it is ever made: a walk through thousands of
//! matches takes no memory, and one through a single match nothing but the match. What has to be known of a route before its message
//! is taken is asked for seldom, when the store is short or the policy is `refuse`: a [`RoutePlan`] tells it, from a walk of its own
//! that changes nothing.
//!
//! Siblings that may want the message are looked up before the walk, and get it at its end, once each, however many of their filters
//! match. So a message that nobody here gets need not be stored.

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

/// A message of which something has to be known before it is taken.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) topic: TopicName<'a>,
    pub(crate) qos: QoS,
    /// Bytes of topic, Properties and payload.
    pub(crate) cost: u32,
    /// It will be the retained message of its topic.
    pub(crate) is_kept: bool,
    pub(crate) publisher: Option<Handle<Session>>,
    /// It was handed over by a sibling, so no sibling is to get it; or siblings have agreed to take it.
    pub(crate) from_sibling: bool,
}

/// What has to be known of a route.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteQuestion {
    /// Whether the message needs a record.
    Record,
    /// Whether all who are to get it have room.
    Room,
    /// Both.
    RecordAndRoom,
    /// Which siblings want it.
    Siblings,
}

/// What is known of a route before its message is taken. It tells what was asked for, and no more.
pub(crate) struct RoutePlan {
    /// The message can't be handed out without a record: here, or with a sibling, which records it as soon as it hears of it.
    pub(crate) needs_record: bool,
    /// Everybody here who is to get the message has room, or will have once what has expired is gone.
    pub(crate) has_room: bool,
    /// Siblings that want it.
    pub(crate) siblings: <Shards as Neighbour>::OfRoute,
}

impl RoutePlan {
    /// Whether the rest of the walk would tell nothing more of what was asked.
    fn is_decided(&self, question: RouteQuestion) -> bool {
        match question {
            RouteQuestion::Record => self.needs_record,
            RouteQuestion::Room => !self.has_room,
            RouteQuestion::RecordAndRoom => self.needs_record || !self.has_room,
            RouteQuestion::Siblings => false,
        }
    }
}

/// How far a message has been handed out.
struct HandOut {
    qos: QoS,
    retain: bool,
    /// Where it is stored, once somebody here gets it.
    message: Option<Handle<Message>>,
    siblings: <Shards as Neighbour>::OfRoute,
    /// What became of it so far.
    fate: Fate,
    /// Whether this is the second walk, for matches that were left out in the first.
    is_late: bool,
    /// A Session whose turn is the first walk was met: it has the message, or has lost it.
    any_copy: bool,
    /// Whether a match has to wait for the second walk.
    leaves_any: bool,
}

impl<'m> Engine<'m> {
    /// Walks through the router for what has to be known before a message is taken. Nothing is changed by it.
    pub(crate) fn plan_route(&mut self, message: &Candidate<'_>, question: RouteQuestion) -> RoutePlan {
        let is_recorded = self.messages.journal.is_on() && message.qos > QoS::AtMostOnce;
        let mut siblings = Default::default();
        if !message.from_sibling {
            self.add_wanted_elsewhere(message.topic, false, &mut siblings);
        }
        let is_kept = self.messages.journal.is_on() && message.is_kept && !is_reserved_for_server(message.topic);
        let mut plan = RoutePlan { needs_record: is_kept, has_room: true, siblings };
        let (of_record, of_room) =
            (question != RouteQuestion::Room, matches!(question, RouteQuestion::Room | RouteQuestion::RecordAndRoom));
        let mut matches = self.router.matches(message.topic);
        while !plan.is_decided(question)
            && let Some(matched) = matches.next(&self.router)
        {
            match matched {
                Match::Subscription(subscription) => {
                    let entry = self.router.subscription(subscription);
                    let session = self.session_of(entry.subscriber());
                    plan.needs_record |= is_recorded && of_record && self.is_durably_subscribed(subscription);
                    plan.has_room &= !of_room || self.subscription_has_room(subscription, session, message);
                }
                Match::Group(group) => {
                    plan.needs_record |= is_recorded && of_record && self.group_needs_record(group);
                    plan.has_room &= !of_room || self.group_will_have_room(group, message.cost);
                }
            }
        }
        self.count_walk(&matches);
        plan.needs_record |= is_recorded && plan.siblings.needs_record();
        plan
    }

    /// Whether a message can't be taken without a record.
    pub(crate) fn needs_record(&mut self, topic: TopicName<'_>, qos: QoS, is_kept: bool) -> bool {
        let message = Candidate { topic, qos, cost: 0, is_kept, publisher: None, from_sibling: false };
        self.messages.journal.is_on() && self.plan_route(&message, RouteQuestion::Record).needs_record
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

    /// Hands a message to all who subscribed to its topic, and retains it. What became of it; or why nobody was to get it.
    pub(crate) fn route(&mut self, routing: Routing<'_>) -> Result<Routed, ReasonCode> {
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
            fate: Fate::Unwanted,
            is_late: false,
            any_copy: false,
            leaves_any: false,
        };
        if !routing.is_from_sibling() {
            self.add_wanted_elsewhere(routing.topic, retain, &mut progress.siblings);
        }
        if retain {
            // First, since it may fail, and then nobody gets the message; and since it may change the tree under the walk.
            self.retain_routed(&routing, &mut progress)?;
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
        // A sibling hands over more messages than are for somebody here.
        if let Ok(Routed { fate, .. }) = &routed
            && !(routing.is_from_sibling() && *fate == Fate::Unwanted)
        {
            self.happened(Happening::Routed { topic: routing.topic.as_str(), is_kept: *fate == Fate::Kept });
        }
        routed
    }

    /// Refuses a message that can't be kept as it has to be.
    #[cold]
    fn check_route(&mut self, routing: &Routing<'_>, qos: QoS, retain: bool) -> Result<(), ReasonCode> {
        let is_full = self.store_is_full && !routing.is_from_sibling();
        let is_refused = self.may_refuse && self.config.overflow_for(routing.topic) == Overflow::Refuse;
        let question = match (is_full, is_refused) {
            (true, true) => RouteQuestion::RecordAndRoom,
            (true, false) => RouteQuestion::Record,
            (false, true) => RouteQuestion::Room,
            (false, false) => return Ok(()),
        };
        let message = Candidate {
            topic: routing.topic,
            qos,
            cost: routing.cost(&self.messages),
            is_kept: retain && !routing.clears(&self.messages),
            publisher: routing.publisher,
            from_sibling: routing.is_from_sibling() || routing.is_agreed,
        };
        let plan = self.plan_route(&message, question);
        let is_possible = plan.has_room && !(is_full && plan.needs_record);
        if is_possible { Ok(()) } else { Err(ReasonCode::QuotaExceeded) }
    }

    /// Gives a message its place among all that are handed out, and has it stored and held as long as that lasts, so that it outlives
    /// every queue that drops it.
    fn begin_route(&mut self, routing: &Routing<'_>) -> Result<Handle<Message>, ReasonCode> {
        let message = match routing.stored {
            Some(message) => message,
            None => {
                let mut stored = self.messages.store(routing.draft, &routing.parts);
                if stored.is_none() && routing.draft.retain() && routing.clears(&self.messages) {
                    // Even where memory is full of retained messages they can be cleared.
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

    /// The place of the message that is handed out next among all. Half of all numbers may have come from records, the other half is
    /// never used up.
    pub(crate) fn next_order(&mut self) -> u64 {
        tally(&mut self.routed, 1);
        self.routed
    }

    /// Makes a message the retained one of its topic.
    fn retain_routed(&mut self, routing: &Routing<'_>, progress: &mut HandOut) -> Result<(), ReasonCode> {
        let message = self.routed_message(routing, progress)?;
        if !routing.is_from_sibling() {
            self.stamp_retained(message);
        }
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

    /// All subscribers here have the message: now siblings get it. Gives what became of it.
    #[inline]
    fn end_route(&mut self, routing: &Routing<'_>, progress: &HandOut) -> Result<Routed, ReasonCode> {
        let siblings = &progress.siblings;
        if siblings.is_empty() {
            if let Some(message) = progress.message {
                self.release_routed(routing, message);
            }
            return Ok(Routed { fate: progress.fate, asked: Default::default() });
        }
        // A publisher that has not asked hears nothing of what becomes of the message on siblings.
        let fate = if routing.asks { progress.fate } else { Fate::Kept };
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

    /// A walk through the tree has come to its end, or is given up.
    #[inline]
    pub(crate) fn count_walk(&mut self, matches: &Matches<'_>) {
        self.work.count_walk(matches.visited(), matches.text_len());
    }

    /// The stored message. It is stored now if it was not, as somebody here gets it.
    #[inline]
    fn routed_message(&mut self, routing: &Routing<'_>, progress: &mut HandOut) -> Result<Handle<Message>, ReasonCode> {
        if let Some(message) = progress.message {
            return Ok(message);
        }
        let message = self.begin_route(routing)?;
        progress.message = Some(message);
        Ok(message)
    }

    /// Gives a match the message, if it is the match's turn. Fails at the first match only, if there is no memory for the
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

    /// The same for a group. A message that a group gives a member must not come between two matches of the member's
    /// own subscriptions.
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
