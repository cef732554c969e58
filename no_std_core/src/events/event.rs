//! What the embedder sees of a happening.

use crate::codec::{QoS, ReasonCode};
use crate::seam::counters::DropReason;

/// Something that has happened; see [`Broker::poll_event`](crate::Broker::poll_event). Texts are those at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client has connected: CONNACK with success is owed.
    Connected {
        /// Its Client Identifier.
        client_id: &'a str,
        /// Whether it goes on with a Session.
        session_present: bool,
    },
    /// The connection of a client has ended.
    Disconnected {
        /// Its Client Identifier.
        client_id: &'a str,
        /// Why the broker closed it, or with which Reason Code the client did; `None` if the Network Connection broke.
        code: Option<ReasonCode>,
    },
    /// A Session was made.
    SessionMade {
        /// Its Client Identifier.
        client_id: &'a str,
    },
    /// A Session ends, with its subscriptions and all that waits.
    SessionEnded {
        /// Its Client Identifier.
        client_id: &'a str,
    },
    /// A Session has subscribed, or has changed a subscription.
    Subscribed {
        /// Its Client Identifier.
        client_id: &'a str,
        /// The Topic Filter.
        filter: &'a str,
        /// The granted QoS.
        qos: QoS,
    },
    /// A subscription ends.
    Unsubscribed {
        /// The Client Identifier.
        client_id: &'a str,
        /// The Topic Filter.
        filter: &'a str,
    },
    /// A PUBLISH of a client was permitted, and is about to be handed out.
    Accepted {
        /// The Client Identifier of the publisher.
        client_id: &'a str,
        /// The Topic Name.
        topic: &'a str,
        /// The QoS.
        qos: QoS,
        /// The RETAIN flag.
        retain: bool,
        /// Bytes of the payload.
        payload_len: u32,
    },
    /// A message was handed to all who are to get it here.
    Routed {
        /// The Topic Name.
        topic: &'a str,
        /// Whether anybody keeps it: a queue, a sibling, or as a retained message.
        is_kept: bool,
    },
    /// A PUBLISH was encoded for a client, for the first time or again.
    Delivered {
        /// The Client Identifier of the subscriber.
        client_id: &'a str,
        /// The Topic Name.
        topic: &'a str,
        /// The QoS of the delivery.
        qos: QoS,
    },
    /// A client has acknowledged a message, by PUBACK or PUBCOMP.
    Acknowledged {
        /// The Client Identifier of the subscriber.
        client_id: &'a str,
        /// The Packet Identifier.
        packet_id: u16,
        /// The QoS of the delivery.
        qos: QoS,
    },
    /// A message was lost.
    Dropped {
        /// The Client Identifier of the Session that does not get it, or of the publisher that was refused; `None` where it is lost to a whole group.
        client_id: Option<&'a str>,
        /// The Topic Name; `None` where it is not in memory, or never came.
        topic: Option<&'a str>,
        /// Why.
        reason: DropReason,
    },
    /// A topic has another retained message.
    Retained {
        /// The Topic Name.
        topic: &'a str,
    },
    /// A topic has no retained message any more.
    Cleared {
        /// The Topic Name.
        topic: &'a str,
    },
}
