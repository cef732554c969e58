//! Permissions: [`Authorize`] is asked, and its answers about subscriptions are remembered as long as the rules are the same.
//!
//! A delivery to a Session whose subscriptions are all granted wholly costs a comparison or two. `owned.rs` and `borrowed.rs` define what
//! is remembered, and what happens when the rules change.
//!
//! [`Authorize`]: crate::Authorize

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle};
use crate::seam::authorize::{Principal, Subject, Subscribable};
use crate::seam::grant::WhollyGranted;
use crate::topic::TopicFilter;

pub(crate) use owned::Rules;

impl Engine<'_> {
    /// The client of a Session, as `Authorize` is told.
    #[inline]
    pub(crate) fn subject(&self, session: Handle<Session>) -> Subject<'_> {
        let Session { principal, client_id, .. } = self.sessions[session];
        self.subject_of(principal, client_id)
    }

    #[inline]
    pub(crate) fn subject_of(&self, principal: Principal, client_id: Blob) -> Subject<'_> {
        Subject::stored(principal, &self.messages.bytes, client_id)
    }

    /// Whether a Session may subscribe. The answer is remembered.
    pub(crate) fn may_subscribe(&mut self, session: Handle<Session>, filter: TopicFilter<'_>, qos: QoS) -> bool {
        let answer = self.authorize.subscribe(&self.subject(session), filter, qos);
        if answer == Subscribable::Partly {
            self.sessions[session].wholly_granted = WhollyGranted::NO;
        }
        answer != Subscribable::No
    }

    /// Whether a Session may be sent the message with this sequence number.
    #[inline]
    pub(crate) fn may_be_sent(&mut self, session: Handle<Session>, message: Handle<Message>, order: u64) -> bool {
        self.rules.permit(self.sessions[session].wholly_granted, order) || self.may_receive(session, message)
    }

    #[cold]
    fn may_receive(&mut self, session: Handle<Session>, message: Handle<Message>) -> bool {
        let may = self.with_topic(message, |engine, topic| engine.authorize.receive(&engine.subject(session), topic));
        may == Some(true)
    }
}
