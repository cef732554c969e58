//! Permissions: [`Authorize`] is asked, and what it said about subscriptions is remembered as long as the rules are the same.
//!
//! A delivery to a Session whose subscriptions are all granted wholly costs two comparisons. For that the rules have a version. A Session knows the
//! version under which all its subscriptions were granted wholly, and the engine knows which messages it had when that version began. Where both fit, nothing is asked.
//!
//! [`Authorize`]: crate::Authorize

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle};
use crate::seam::authorize::{Principal, Subject, Subscribable};
#[cfg(not(feature = "alloc"))]
use crate::seam::work::Work;
use crate::time::Instant;
use crate::topic::TopicFilter;

/// Which rules hold.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Counts changes of the rules. Never 0, which stands for a Session that is asked about for each message.
    pub(crate) version: u32,
    /// Messages up to this place among all that were handed out came under older rules.
    since: u64,
    /// The slot of the Session whose subscriptions are to be looked at next; `None`: all were looked at.
    pub(crate) next: Option<usize>,
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

    /// Looks at the subscriptions of the next Sessions. Firmware has not the flash for that: there each message is asked about from then on.
    #[cfg(not(feature = "alloc"))]
    pub(crate) fn review_sessions(&mut self, _: Instant, _: Work) {
        self.rules.next = None;
    }
}
