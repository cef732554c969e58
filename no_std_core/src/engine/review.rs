//! What was granted under older rules is asked anew: see `rules.rs`.

use crate::codec::{QoS, ReasonCode, Refusal};
use crate::engine::Engine;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::authorize::Subscribable;
use crate::seam::work::{self, Work};
use crate::time::Instant;
use crate::topic::TopicFilter;

const WITHDRAWN: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "a subscription of this client is not permitted any more");

impl Engine<'_> {
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
        let mut has_lost = false;
        let subscriber = self.subscriber_of(session);
        let mut at = self.router.subscriptions_of(subscriber).next();
        while let Some(subscription) = at {
            at = self.router.next_of_subscriber(subscription);
            self.work.count(work::SUBSCRIPTION, 1);
            let qos = QoS::from_bits(self.router.subscription(subscription).options().qos).unwrap_or_default();
            // The memory for the filter is given back before a subscription ends: observers are told of that with its filter.
            let answer = self.with_written_filter(subscription, |engine, text| {
                let filter = text.and_then(|text| TopicFilter::new(text).ok());
                filter.map_or(Subscribable::No, |filter| {
                    engine.authorize.subscribe(&engine.subject(session), filter, qos)
                })
            });
            is_wholly_granted &= answer != Subscribable::Partly;
            if answer == Subscribable::No {
                has_lost = true;
                self.remove_subscription(session, subscription);
            }
        }
        self.sessions[session].granted_under = if is_wholly_granted { self.rules.version } else { 0 };
        if has_lost {
            self.forget_left_groups(session);
            if let Some(connection) = self.sessions[session].connection {
                self.close(now, connection, WITHDRAWN, true);
            }
        }
    }
}
