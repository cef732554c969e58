//! A server looks at all subscriptions anew when the rules change.
//!
//! For that the rules have a version. A Session knows the version under which all its subscriptions were granted wholly, and the engine knows which
//! messages it had when that version began. Where both fit, nothing is asked.

use crate::codec::{QoS, ReasonCode, Refusal};
use crate::engine::Engine;
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::authorize::Subscribable;
use crate::seam::grant::WhollyGranted;
use crate::seam::work::{self, Work};
use crate::time::Instant;
use crate::topic::TopicFilter;

const WITHDRAWN: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "a subscription of this client is not permitted any more");

/// Which rules hold.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Counts changes of the rules; never 0.
    version: u32,
    /// Messages up to this place among all that were handed out came under older rules.
    since: u64,
    /// The slot of the Session whose subscriptions are to be looked at next; `None`: all were looked at.
    next: Option<usize>,
}

impl Rules {
    pub(crate) const NEW: Self = Self { version: 1, since: 0, next: None };

    /// Of a Session without subscriptions: it has none that is not granted.
    pub(crate) fn all_granted(&self) -> WhollyGranted {
        WhollyGranted::under(self.version)
    }

    /// Whether a Session may be sent the message at this place among all that were handed out, without a question.
    #[inline]
    pub(crate) fn permit(&self, granted: WhollyGranted, order: u64) -> bool {
        granted.is_under(self.version) && order > self.since
    }

    /// When Sessions are to be looked at.
    pub(crate) fn due(&self) -> Instant {
        if self.next.is_some() { Instant::from_millis(0) } else { Instant::NEVER }
    }
}

impl Engine<'_> {
    /// The rules have changed: what was granted so far is asked anew.
    pub(crate) fn begin_rules(&mut self) {
        self.rules.version = self.rules.version.checked_add(1).unwrap_or(1);
        self.rules.since = self.routed;
        self.rules.next = Some(0);
    }

    /// The same after a restart: nobody knows under which rules the subscriptions were granted.
    pub(crate) fn begin_rules_after_restart(&mut self) {
        self.begin_rules();
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
        let mut is_wholly_granted = true;
        let has_lost = self.keep_subscriptions(session, |engine, subscription, filter| {
            let qos = QoS::from_bits(engine.router.subscription(subscription).options().qos).unwrap_or_default();
            let answer = filter
                .map_or(Subscribable::No, |filter| engine.authorize.subscribe(&engine.subject(session), filter, qos));
            is_wholly_granted &= answer != Subscribable::Partly;
            answer != Subscribable::No
        });
        self.sessions[session].wholly_granted =
            if is_wholly_granted { self.rules.all_granted() } else { WhollyGranted::NO };
        if has_lost && let Some(connection) = self.sessions[session].connection {
            self.close(now, connection, WITHDRAWN, true);
        }
    }

    /// Ends the subscriptions of a Session that `is_kept`, which is asked about each with its Topic Filter, does not keep. Returns whether
    /// any ended.
    pub(crate) fn keep_subscriptions(
        &mut self,
        session: Handle<Session>,
        mut is_kept: impl FnMut(&mut Self, Handle<Subscription>, Option<TopicFilter<'_>>) -> bool,
    ) -> bool {
        let mut has_lost = false;
        let subscriber = self.subscriber_of(session);
        let mut at = self.router.subscriptions_of(subscriber).next();
        while let Some(subscription) = at {
            at = self.router.next_of_subscriber(subscription);
            self.work.count(work::SUBSCRIPTION, 1);
            // The memory for the filter is given back before a subscription ends: observers are told of that with its filter.
            let stays = self.with_written_filter(subscription, |engine, text| {
                is_kept(engine, subscription, text.and_then(|text| TopicFilter::new(text).ok()))
            });
            if !stays {
                has_lost = true;
                self.remove_subscription(session, subscription);
            }
        }
        if has_lost {
            self.forget_left_groups(session);
        }
        has_lost
    }
}
