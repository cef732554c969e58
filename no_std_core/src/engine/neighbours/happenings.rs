//! What happens, told by the engine in one place for each happening to whoever observes it.

use crate::codec::{QoS, ReasonCode};
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::counters::DropReason;

/// Something that has happened. Where a thing ends, the happening is told just before.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "without the feature `events` nobody looks inside")]
pub(crate) enum Happening<'a> {
    /// A client has connected.
    Connected {
        session: Handle<Session>,
        session_present: bool,
    },
    /// The connection of a client that had connected has ended, with this Reason Code of whoever closed it.
    Disconnected {
        session: Handle<Session>,
        code: Option<ReasonCode>,
    },
    SessionMade(Handle<Session>),
    SessionEnded(Handle<Session>),
    Subscribed {
        session: Handle<Session>,
        filter: &'a str,
        qos: QoS,
    },
    Unsubscribed {
        session: Handle<Session>,
        subscription: Handle<Subscription>,
    },
    /// A PUBLISH was permitted.
    Accepted {
        session: Handle<Session>,
        topic: &'a str,
        qos: QoS,
        retain: bool,
        payload_len: usize,
    },
    /// A message was handed to all who are to get it: whether one of them keeps it.
    Routed {
        topic: &'a str,
        is_kept: bool,
    },
    /// A PUBLISH was encoded for a client.
    Delivered {
        session: Handle<Session>,
        message: Handle<Message>,
        qos: QoS,
    },
    /// PUBACK or PUBCOMP of a client.
    Acknowledged {
        session: Handle<Session>,
        packet_id: u16,
        qos: QoS,
    },
    /// A message is lost, to one Session or to all who were to get it.
    Dropped {
        session: Option<Handle<Session>>,
        message: LostMessage<'a>,
        reason: DropReason,
    },
    Retained {
        topic: &'a str,
    },
    Cleared {
        topic: &'a str,
    },
}

/// A message that is lost.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "without the feature `events` nobody looks inside")]
pub(crate) enum LostMessage<'a> {
    Stored(Handle<Message>),
    /// The topic of a message that was not stored.
    Topic(&'a str),
    /// A message, or a part of one, of which not even the topic is known.
    Unknown,
}

/// Who observes what happens. Nobody, by default.
pub(crate) trait Observer {
    #[inline(always)]
    fn happened(&mut self, _happening: Happening<'_>) {}
}

impl Engine<'_> {
    /// A message is lost, to `session` or to all who were to get it: counted, and told.
    #[inline]
    pub(crate) fn drop_message(
        &mut self,
        session: Option<Handle<Session>>,
        message: LostMessage<'_>,
        reason: DropReason,
    ) {
        self.happened(Happening::Dropped { session, message, reason });
        self.count_drop(session, reason);
    }
}

impl Engine<'_> {
    /// A delivery, which is in no list, ends, and its message is lost to `session` or to the group whose queue it was in.
    pub(crate) fn drop_delivery(
        &mut self,
        session: Option<Handle<Session>>,
        delivery: Handle<Delivery>,
        reason: DropReason,
    ) {
        let message = self.messages.deliveries[delivery].message;
        self.drop_message(session, message.map_or(LostMessage::Unknown, LostMessage::Stored), reason);
        self.messages.end_delivery(delivery);
    }
}
