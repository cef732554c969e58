//! Permissions: [`Authorize`] is asked, and what it said about subscriptions is remembered as long as the rules are the same.
//!
//! A delivery to a Session whose subscriptions are all granted wholly costs two comparisons. For that the rules have a version. A Session knows the
//! version under which all its subscriptions were granted wholly, and the engine knows which messages it had when that version began. Where both fit, nothing is asked.
//!
//! [`Authorize`]: crate::Authorize

use crate::codec::{QoS, ReasonCode, Refusal};
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle, Slots};
use crate::seam::authorize::{Principal, Subject, Subscribable};
use crate::seam::work::Work;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// The longest Topic Filter, in bytes.
const LONGEST_FILTER: usize = 65_535;

const WITHDRAWN: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "a subscription of this client is not permitted any more");

/// Which rules hold.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Counts changes of the rules. Never 0, which stands for a Session that is asked about for each message.
    pub(crate) version: u32,
    /// Messages up to this place among all that were handed out came under older rules.
    since: u64,
    /// The slot of the Session whose subscriptions are to be looked at next; `None`: all were looked at.
    next: Option<usize>,
}

impl Rules {
    pub(crate) const NEW: Self = Self { version: 1, since: 0, next: None };

    /// When Sessions are to be looked at.
    pub(crate) fn due(&self) -> Instant {
        if self.next.is_some() { Instant::from_millis(0) } else { Instant::NEVER }
    }
}

impl Engine<'_> {
    /// Who a Session acts for.
    #[inline]
    pub(crate) fn subject(&self, session: Handle<Session>) -> Subject<'_> {
        let Session { principal, client_id, .. } = self.sessions[session];
        self.subject_of(principal, client_id)
    }

    #[inline]
    pub(crate) fn subject_of(&self, principal: Principal, client_id: Blob) -> Subject<'_> {
        Subject::stored(principal, &self.messages.bytes, client_id)
    }

    /// Whether a Session may subscribe, which is noted.
    pub(crate) fn may_subscribe(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, qos: QoS) -> bool {
        let answer = self.authorize.subscribe(&self.subject(session), filter, qos);
        if answer == Subscribable::Partly {
            self.sessions[session].granted_under = 0;
        }
        answer != Subscribable::No
    }

    /// Whether a Session may be sent a message, which has this place among all that were handed out.
    #[inline]
    pub(crate) fn may_be_sent(&mut self, session: Handle<Session>, message: Handle<Message>, order: u64) -> bool {
        let is_granted = self.sessions[session].granted_under == self.rules.version && order > self.rules.since;
        is_granted || self.may_receive(session, message)
    }

    #[cold]
    fn may_receive(&mut self, session: Handle<Session>, message: Handle<Message>) -> bool {
        let may = self.with_topic(message, |engine, topic| engine.authorize.receive(&engine.subject(session), topic));
        may == Some(true)
    }

    /// The rules are others: what was granted so far is asked anew.
    pub(crate) fn begin_rules(&mut self) {
        self.rules.version = self.rules.version.checked_add(1).unwrap_or(1);
        self.rules.since = self.routed;
        self.rules.next = Some(0);
    }

    /// Looks at the subscriptions of the next Sessions.
    pub(crate) fn review_sessions(&mut self, now: Instant, before: Work) {
        while let Some(slot) = self.rules.next
            && !self.work.has_done(before, self.config.work_share)
        {
            self.rules.next = Some(slot.saturating_add(1)).filter(|next| *next < self.sessions.slots());
            let session = Handle::from_index(slot);
            if self.sessions.is_live(session) && self.sessions[session].is_local() {
                self.review_session(now, session);
            }
        }
    }

    /// Ends the subscriptions of a Session that are not permitted any more. Its client learns that by the end of its connection: a Server has
    /// no other way to say so.
    fn review_session(&mut self, now: Instant, session: Handle<Session>) {
        let mut space = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        space.grow_to(space.limit().min(LONGEST_FILTER));
        let mut is_wholly_granted = true;
        let mut has_lost = false;
        let subscriber = self.subscriber_of(session);
        let mut at = self.router.subscriptions_of(subscriber).next();
        while let Some(subscription) = at {
            at = self.router.next_of_subscriber(subscription);
            self.work.count(crate::seam::work::SUBSCRIPTION, 1);
            let qos = QoS::from_bits(self.router.subscription(subscription).options().qos).unwrap_or_default();
            let text = self.written_filter(subscription, space.as_mut_slice());
            let filter = text.and_then(|text| TopicFilter::new(text).ok());
            let answer =
                filter.map_or(Subscribable::No, |filter| self.authorize.subscribe(&self.subject(session), filter, qos));
            is_wholly_granted &= answer != Subscribable::Partly;
            if answer == Subscribable::No {
                has_lost = true;
                self.remove_subscription(session, subscription);
            }
        }
        self.scratch = space;
        self.sessions[session].granted_under = if is_wholly_granted { self.rules.version } else { 0 };
        if has_lost {
            self.forget_left_groups(session);
            if let Some(connection) = self.sessions[session].connection {
                self.close(now, connection, WITHDRAWN, true);
            }
        }
    }
}
