//! Events: what happens in the broker, told to the embedder by [`Broker::poll_event`](crate::Broker::poll_event).
//!
//! Each happening passes one place in the engine, which tells it by the trait [`Observer`]. Here the happenings that [`Config::events`]
//! names become events in a queue of bounded length. An event without room in the queue is counted and left out; later events find room
//! again. A happening that is not named there costs one comparison; without the feature `events` it costs nothing.
//!
//! [`Config::events`]: crate::Config::events

mod event;
mod queue;

pub use event::Event;
pub(crate) use queue::EventQueue;

use self::queue::Parts;
use crate::codec::{QoS, ReasonCode};
use crate::config::EventSet;
use crate::engine::Engine;
use crate::engine::messages::Message;
use crate::engine::neighbour_state::{ObserverState, Observers};
use crate::engine::neighbours::happenings::{Happening, LostMessage, Observer};
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::Handle;

impl ObserverState for Observers {
    type OfBroker = EventQueue;
}

impl Observer for Engine<'_> {
    #[inline]
    fn happened(&mut self, happening: Happening<'_>) {
        if self.config.events.contains(kind_of(&happening)) {
            self.tell(happening);
        }
    }
}

#[inline]
fn kind_of(happening: &Happening<'_>) -> EventSet {
    match happening {
        Happening::Connected { .. } => EventSet::CONNECTED,
        Happening::Disconnected { .. } => EventSet::DISCONNECTED,
        Happening::SessionMade(_) => EventSet::SESSION_MADE,
        Happening::SessionEnded(_) => EventSet::SESSION_ENDED,
        Happening::Subscribed { .. } => EventSet::SUBSCRIBED,
        Happening::Unsubscribed { .. } => EventSet::UNSUBSCRIBED,
        Happening::Accepted { .. } => EventSet::ACCEPTED,
        Happening::Routed { .. } => EventSet::ROUTED,
        Happening::Delivered { .. } => EventSet::DELIVERED,
        Happening::Acknowledged { .. } => EventSet::ACKNOWLEDGED,
        Happening::Dropped { .. } => EventSet::DROPPED,
        Happening::Retained { .. } => EventSet::RETAINED,
        Happening::Cleared { .. } => EventSet::CLEARED,
    }
}

impl Engine<'_> {
    #[cold]
    fn tell(&mut self, happening: Happening<'_>) {
        let mut queue = core::mem::take(&mut self.observers);
        let limit = self.config.event_bytes;
        let kind = kind_of(&happening);
        let none = Parts { kind, ..Parts::NONE };
        let of = |session| Parts { client_id: self.client_id_of(session), ..none };
        match happening {
            Happening::Connected { session, session_present } => {
                queue.push(limit, &Parts { yes: session_present, ..of(session) });
            }
            Happening::Disconnected { session, code } => {
                queue.push(limit, &Parts { code: code.map(ReasonCode::as_u8), ..of(session) });
            }
            Happening::SessionMade(session) | Happening::SessionEnded(session) => queue.push(limit, &of(session)),
            Happening::Subscribed { session, filter, qos } => {
                queue.push(limit, &Parts { topic: Some(filter), qos: qos.bits(), ..of(session) });
            }
            Happening::Unsubscribed { session, subscription } => {
                self.tell_unsubscribed(&mut queue, session, subscription);
            }
            Happening::Accepted { session, topic, qos, retain, payload_len } => {
                let number = u32::try_from(payload_len).unwrap_or(u32::MAX);
                let topic = Some(topic);
                queue.push(limit, &Parts { topic, qos: qos.bits(), yes: retain, number, ..of(session) });
            }
            Happening::Routed { topic, is_kept } => {
                queue.push(limit, &Parts { topic: Some(topic), yes: is_kept, ..none });
            }
            Happening::Delivered { session, message, qos } => {
                queue.push(limit, &Parts { topic: self.topic_of(message), qos: qos.bits(), ..of(session) });
            }
            Happening::Acknowledged { session, packet_id, qos } => {
                queue.push(limit, &Parts { number: packet_id.into(), qos: qos.bits(), ..of(session) });
            }
            Happening::Dropped { session, message, reason } => {
                let topic = match message {
                    LostMessage::Stored(message) => self.topic_of(message),
                    LostMessage::Topic(topic) => Some(topic),
                    LostMessage::Unknown => None,
                };
                let client_id = session.and_then(|session| self.client_id_of(session));
                queue.push(limit, &Parts { client_id, topic, number: reason as u32, ..none });
            }
            Happening::Retained { topic } | Happening::Cleared { topic } => {
                queue.push(limit, &Parts { topic: Some(topic), ..none });
            }
        }
        self.observers = queue;
    }

    fn tell_unsubscribed(
        &mut self,
        queue: &mut EventQueue,
        session: Handle<Session>,
        subscription: Handle<Subscription>,
    ) {
        self.with_written_filter(subscription, |engine, topic| {
            let client_id = engine.client_id_of(session);
            let parts = Parts { kind: EventSet::UNSUBSCRIBED, client_id, topic, ..Parts::NONE };
            queue.push(engine.config.event_bytes, &parts);
        });
    }

    fn client_id_of(&self, session: Handle<Session>) -> Option<&str> {
        let bytes = self.messages.bytes.contiguous(self.sessions[session].client_id)?;
        core::str::from_utf8(bytes).ok()
    }

    fn topic_of(&self, message: Handle<Message>) -> Option<&str> {
        let message = self.messages.get(message);
        let body = self.messages.bytes.contiguous(message.body)?;
        core::str::from_utf8(body.get(..usize::from(message.topic_len))?).ok()
    }
}

impl Parts<'_> {
    const NONE: Self = Self {
        kind: EventSet::NONE,
        client_id: None,
        topic: None,
        qos: QoS::AtMostOnce.bits(),
        code: None,
        yes: false,
        number: 0,
    };
}
