//! A message that is routed to its subscribers, and its fate.

use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::messages::{Delivery, Message, Messages, Via};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::topic::TopicName;

/// A message that is routed to its subscribers.
pub(crate) struct Routing<'a> {
    pub(crate) topic: TopicName<'a>,
    /// The topic, the Properties that are forwarded, and the payload, while the message is not stored.
    pub(crate) parts: [&'a [u8]; 3],
    pub(crate) draft: Message,
    /// The stored message; `None` until there is a subscriber, or a topic to retain the message for.
    pub(crate) stored: Option<Handle<Message>>,
    pub(crate) publisher: Option<Handle<Session>>,
    /// A number that identifies the publisher: all messages of one publisher have the same.
    pub(crate) publisher_key: u32,
    /// Whether the message came from another shard: then the other shards have it already.
    pub(crate) from_sibling: bool,
    /// Whether the publisher is told the fate of the message.
    pub(crate) asks: bool,
    /// Whether other shards get the message without a record here, because the store is full. They refuse it if they have to record it.
    pub(crate) is_unrecorded: bool,
}

/// The fate of a routed message, which decides what its publisher is told. Of two fates the later variant counts: one copy that is kept
/// outweighs those that are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// There was no subscriber for the message.
    #[default]
    Unwanted,
    /// No subscriber had room for the message: it is kept nowhere.
    Lost,
    /// The message is in a queue, or is a retained message, or another shard has it for its subscribers.
    Kept,
}

impl Fate {
    /// The fate of a message that had one fate in one place and another elsewhere.
    #[inline]
    pub(crate) fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// The result of routing a message.
#[derive(Clone, Copy)]
pub(crate) struct Routed {
    /// The fate of the message on this shard.
    pub(crate) fate: Fate,
    /// Which question other shards were asked about the message.
    pub(crate) asked: <Shards as Neighbour>::Asked,
}

impl<'a> Routing<'a> {
    /// A message that is not stored, and consists of `parts`. Its publisher is not told its fate.
    pub(crate) fn new(topic: TopicName<'a>, draft: Message, parts: [&'a [u8]; 3]) -> Self {
        Self {
            topic,
            parts,
            draft,
            stored: None,
            publisher: None,
            publisher_key: 0,
            from_sibling: false,
            asks: false,
            is_unrecorded: false,
        }
    }

    /// A message that is stored already, and to which the caller holds a reference.
    #[inline]
    pub(crate) fn stored(
        topic: TopicName<'a>,
        message: Handle<Message>,
        publisher: Option<Handle<Session>>,
        publisher_key: u32,
    ) -> Self {
        let (draft, stored) = (Message::default(), Some(message));
        Self {
            topic,
            parts: [&[]; 3],
            draft,
            stored,
            publisher,
            publisher_key,
            from_sibling: false,
            asks: false,
            is_unrecorded: false,
        }
    }

    /// A stored message that came from another shard.
    #[inline]
    pub(crate) fn from_sibling(topic: TopicName<'a>, message: Handle<Message>, publisher_key: u32) -> Self {
        let mut routing = Self::stored(topic, message, None, publisher_key);
        routing.from_sibling = true;
        routing
    }
}

impl Routing<'_> {
    /// Whether the message came from another shard. Then it is not refused, because its publisher has been told that it is kept.
    #[inline]
    pub(crate) fn is_from_sibling(&self) -> bool {
        Shard::MAY_HAVE_SIBLINGS && self.from_sibling
    }

    /// Whether the message has no payload: as a retained message it removes that of its topic `[MQTT-3.3.1-6]`.
    pub(crate) fn clears(&self, messages: &Messages<'_>) -> bool {
        match self.stored {
            Some(message) => messages.get(message).payload_len() == 0,
            None => self.parts.last().is_none_or(|payload| payload.is_empty()),
        }
    }

    #[inline]
    pub(crate) fn message<'m>(&'m self, messages: &'m Messages<'_>) -> &'m Message {
        self.stored.map_or(&self.draft, |message| messages.get(message))
    }

    /// The length in bytes of topic, Properties and payload.
    pub(crate) fn cost(&self, messages: &Messages<'_>) -> u32 {
        match self.stored {
            Some(message) => messages.get(message).body.len() as u32,
            None => self.parts.iter().map(|part| part.len() as u32).sum(),
        }
    }
}

/// Whether only the server may publish to the topic (section 4.7.2), except for [`connection_state_of`]. These topics describe this run of
/// the server, so messages retained there are not recorded.
pub(crate) fn is_reserved_for_server(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with("$SYS/")
}

/// The Client Identifier in a topic like `$SYS/broker/connection/ID/state`. This is the one topic below `$SYS/` to which a client may
/// publish, if the identifier is its own: bridges publish there that they are connected, as Mosquitto's do, and their Will says that they
/// are not.
pub(crate) fn connection_state_of(topic: TopicName<'_>) -> Option<&[u8]> {
    let rest = topic.as_str().as_bytes().strip_prefix(b"$SYS/broker/connection/")?;
    rest.strip_suffix(b"/state").filter(|client_id| !client_id.is_empty())
}

/// How a Session gets a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The lower of the message's QoS and the subscription's.
    pub(crate) qos: QoS,
    /// The RETAIN flag of the delivery.
    pub(crate) retain: bool,
    /// The Subscription Identifier; 0: none.
    pub(crate) identifier: u32,
    pub(crate) via: Via,
}

impl Terms {
    /// Whether the delivery may use the longer queue of a durable Session: the body can be left to the store.
    pub(crate) fn may_wait_in_store(&self) -> bool {
        self.qos > QoS::AtMostOnce && !self.is_shared()
    }

    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.via != Via::Own
    }

    pub(crate) fn delivery(self, message: Handle<Message>) -> Delivery {
        let mut delivery = Delivery {
            message: Some(message),
            identifier: self.identifier,
            qos: self.qos,
            flags: if self.retain { Delivery::RETAIN } else { 0 },
            ..Delivery::default()
        };
        if self.via != Via::Own {
            delivery.set_beside(self.via.into());
        }
        delivery
    }
}
