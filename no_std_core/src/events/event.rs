//! The events that the embedder can poll.

use crate::codec::{QoS, ReasonCode};
use crate::seam::counters::DropReason;

/// Something that has happened; see [`Broker::poll_event`](crate::Broker::poll_event). The texts are those of the moment when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A client has connected: CONNACK with success is owed.
    Connected {
        /// The client's Client Identifier.
        client_id: &'a str,
        /// Whether the client resumes a Session.
        session_present: bool,
    },
    /// The connection of a client has ended.
    Disconnected {
        /// The client's Client Identifier.
        client_id: &'a str,
        /// The Reason Code with which the broker closed the connection, or the client did; `None` if the Network Connection broke.
        code: Option<ReasonCode>,
    },
    /// A Session was made.
    SessionMade {
        /// The Client Identifier of the Session.
        client_id: &'a str,
    },
    /// A Session ends, with its subscriptions and its queue.
    SessionEnded {
        /// The Client Identifier of the Session.
        client_id: &'a str,
    },
    /// A Session has subscribed, or has changed a subscription.
    Subscribed {
        /// The Client Identifier of the Session.
        client_id: &'a str,
        /// The Topic Filter.
        filter: &'a str,
        /// The granted QoS.
        qos: QoS,
    },
    /// A subscription ends.
    Unsubscribed {
        /// The Client Identifier of the Session.
        client_id: &'a str,
        /// The Topic Filter.
        filter: &'a str,
    },
    /// A PUBLISH of a client was permitted, and will be put into the queues of its receivers.
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
    /// A message was put into the queues of its receivers on this shard.
    Routed {
        /// The Topic Name.
        topic: &'a str,
        /// Whether the message is kept anywhere: in a queue, by another shard, or as a retained message.
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
        /// The Client Identifier of the Session that does not get the message, or of the publisher that was refused; `None` if the message
        /// is lost to a whole group.
        client_id: Option<&'a str>,
        /// The Topic Name; `None` if the topic is not in memory, or never came.
        topic: Option<&'a str>,
        /// The reason of the loss.
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
