//! A message on its way to its subscribers, and what became of it.

use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::messages::{Delivery, Message, Messages, Via};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::topic::TopicName;

/// A message on its way to its subscribers.
pub(crate) struct Routing<'a> {
    pub(crate) topic: TopicName<'a>,
    /// The topic, the Properties that are forwarded, and the payload, as long as it is not stored.
    pub(crate) parts: [&'a [u8]; 3],
    pub(crate) draft: Message,
    /// It is stored once there is a subscriber, or a topic to retain it for.
    pub(crate) stored: Option<Handle<Message>>,
    pub(crate) publisher: Option<Handle<Session>>,
    /// A number that is the same for all messages of one publisher.
    pub(crate) publisher_key: u32,
    /// A sibling handed it over: the other siblings have it already.
    pub(crate) from_sibling: bool,
    /// Its publisher hears what becomes of it.
    pub(crate) asks: bool,
    /// Siblings have said that they don't have to record it.
    pub(crate) is_agreed: bool,
}

/// What became of a message that was handed out, as far as its publisher is concerned. Of two fates the later variant counts: one copy that is kept
/// outweighs those that are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Nobody was to get it.
    #[default]
    Unwanted,
    /// All who were to get it had no room: it is kept nowhere.
    Lost,
    /// Somebody has it, in a queue, as a retained message, or a sibling for its subscribers.
    Kept,
}

impl Fate {
    /// The fate of a message that had one fate in one place and another elsewhere.
    #[inline]
    pub(crate) fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// A message was handed out.
#[derive(Clone, Copy)]
pub(crate) struct Routed {
    /// What became of it here.
    pub(crate) fate: Fate,
    /// What siblings were asked about it.
    pub(crate) asked: <Shards as Neighbour>::Asked,
}

impl<'a> Routing<'a> {
    /// A message that is not stored, and consists of `parts`; without a publisher who wants to hear of it.
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
            is_agreed: false,
        }
    }

    /// A message that is stored already, and held by the caller.
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
            is_agreed: false,
        }
    }

    /// The same for one that a sibling handed over.
    pub(crate) fn from_sibling(topic: TopicName<'a>, message: Handle<Message>, publisher_key: u32) -> Self {
        Self { from_sibling: true, ..Self::stored(topic, message, None, publisher_key) }
    }
}

impl Routing<'_> {
    /// Whether a sibling handed it over. Then its publisher knows it to be kept, and it is not refused any more.
    #[inline]
    pub(crate) fn is_from_sibling(&self) -> bool {
        Shard::MAY_HAVE_SIBLINGS && self.from_sibling
    }

    /// Whether it has no payload: as a retained message it removes the one that is kept `[MQTT-3.3.1-6]`.
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

    /// Bytes of topic, Properties and payload.
    pub(crate) fn cost(&self, messages: &Messages<'_>) -> u32 {
        match self.stored {
            Some(message) => messages.get(message).body.len() as u32,
            None => self.parts.iter().map(|part| part.len() as u32).sum(),
        }
    }
}

/// Topics that only the server publishes to (section 4.7.2), but for [`connection_state_of`]. They tell of this run: what is retained
/// there is not recorded.
pub(crate) fn is_reserved_for_server(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with("$SYS/")
}

/// The Client Identifier in the one topic below `$SYS/` that a client may publish to, its own: bridges tell there that they are
/// connected, as Mosquitto's do, and have their Will tell that they are not.
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
    /// Whether the delivery may wait where a durable Session may have more: its body can be left to the store.
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
