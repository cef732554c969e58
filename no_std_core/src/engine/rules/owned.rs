//! Checks all subscriptions again when the rules of `Authorize` change.
//!
//! The rules have a version. A Session knows the version under which all its subscriptions were granted wholly, and the engine knows the
//! messages that it had when that version began. If both are of the present version, `Authorize` need not be asked.

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

/// Which version of the rules holds.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The version of the rules, which counts their changes; never 0.
    version: u32,
    /// Messages with a sequence number up to this one came under older rules.
    since: u64,
    /// The slot of the Session whose subscriptions are to be checked next; `None`: all are checked.
    next: Option<usize>,
}

impl Rules {
    pub(crate) const NEW: Self = Self { version: 1, since: 0, next: None };

    /// The mark of a Session without subscriptions, and so without any that is not granted.
    pub(crate) fn all_granted(&self) -> WhollyGranted {
        WhollyGranted::under(self.version)
    }

    /// Whether a Session may be sent the message with this sequence number, without asking `Authorize`.
    #[inline]
    pub(crate) fn permit(&self, granted: WhollyGranted, order: u64) -> bool {
        granted.is_under(self.version) && order > self.since
    }

    /// When the next Sessions are to be checked.
    pub(crate) fn due(&self) -> Instant {
        if self.next.is_some() { Instant::from_millis(0) } else { Instant::NEVER }
    }
}

impl Engine<'_> {
    /// The rules have changed: all subscriptions are to be checked again.
    pub(crate) fn begin_rules(&mut self) {
        self.rules.version = self.rules.version.checked_add(1).unwrap_or(1);
        self.rules.since = self.routed;
        self.rules.next = Some(0);
    }

    /// The broker was restored: it is not known under which rules the subscriptions were granted.
    pub(crate) fn begin_rules_after_restart(&mut self) {
        self.begin_rules();
    }

    /// Checks the subscriptions of the next Sessions.
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

    /// Ends the subscriptions of a Session that are not permitted any more. The broker tells its client by closing the connection: a Server
    /// has no other way.
    pub(crate) fn review_session(&mut self, now: Instant, session: Handle<Session>) {
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

    /// Calls `is_kept` for each subscription of a Session, with its Topic Filter, and ends those for which it returns false. Returns
    /// whether any ended.
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
            // The memory for the filter is freed before a subscription ends: the filter is put together there again for the observers.
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
