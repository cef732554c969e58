//! Happenings, which the engine reports to an observer. Each kind is reported in one place.

use crate::codec::{QoS, ReasonCode};
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Message};
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::counters::DropReason;

/// A happening. The end of a thing is reported just before the thing is removed.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "without the feature `events` nobody looks inside")]
pub(crate) enum Happening<'a> {
    /// A client has connected.
    Connected {
        session: Handle<Session>,
        session_present: bool,
    },
    /// The connection of a client that had connected has ended. The Reason Code is that of the side that closed the
    /// connection.
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
    /// A message was routed to all its subscribers. The flag says whether any of them keeps the message.
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
    /// A client has sent PUBACK or PUBCOMP.
    Acknowledged {
        session: Handle<Session>,
        packet_id: u16,
        qos: QoS,
    },
    /// A message is lost, to one Session or to all its subscribers.
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
    /// The topic of a message that was never stored.
    Topic(&'a str),
    /// A message, or a part of a message, whose topic is not known.
    Unknown,
}

/// Observes happenings. The default does nothing.
pub(crate) trait Observer {
    #[inline(always)]
    fn happened(&mut self, _happening: Happening<'_>) {}
}

impl Engine<'_> {
    /// A message is lost, to `session` or to all its subscribers: reports and counts the loss.
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
    /// Ends a delivery that is in no list. Its message is lost to `session`, or to the group whose queue the delivery was
    /// in.
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
