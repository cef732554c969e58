//! What the shards of a gateway send each other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::codec::QoS;
use crate::engine::messages::Message;
use crate::engine::neighbour_state::Stamp;
use crate::engine::neighbours::happenings::LostMessage;
use crate::engine::router::Subscription;
use crate::engine::routing::Fate;
use crate::engine::sessions::Session;
use crate::mem::heap::SpareBuffers;
use crate::mem::{Handle, SharedBytes};
use crate::shards::filters::{FilterChange, TOLD_AT_ONCE};
use crate::shards::stamps::Heard;
use crate::time::Instant;

/// One thing that a shard sends to another shard. The [`Instant`]s of all shards count from the same origin.
#[derive(Debug)]
pub struct Forward(pub(crate) Content);

impl Forward {
    /// The most messages to another shard that it has not confirmed. Beyond this number publishers wait; beyond fewer if the messages are much work
    /// there.
    pub const MAX_IN_TRANSIT: u32 = 8192;

    /// The most bytes that all empty queues of a broker keep for later forwards. While forwards wait their places are claimed from the ceiling on
    /// memory; nobody claims what empty queues keep.
    pub const KEPT_BYTES: usize = 256 << 10;
}

/// Another shard of the gateway has another [`Config::seed`](crate::Config::seed) than this one, so the hashes of Topic Filters that the
/// shards tell each other mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedMismatch {
    /// The index of the other shard.
    pub shard: u16,
}

impl fmt::Display for SeedMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} has another seed: all shards of a gateway need the same", self.shard)
    }
}

impl core::error::Error for SeedMismatch {}

#[derive(Debug)]
pub(crate) enum Content {
    /// A message for the receiver's own subscribers. If it has RETAIN and the receiver owns its topic, it is retained there.
    Message(SharedMessage),
    /// The sender has handled so many messages, and so many may be in transit to it from now on. It also gives back the memory of bodies that it does not need any more. Otherwise, if
    /// messages go in one direction alone, their sender would have to ask the allocator for each body.
    Confirmed {
        count: u32,
        window: u32,
        spares: SpareBuffers,
    },
    /// The fate of the next `count` messages about which the receiver has asked.
    Answers {
        fate: Fate,
        count: u32,
    },
    /// All recorded messages up to this sequence number are safe on the sender's shard.
    Safe(u64),
    /// What has happened to filters that the sender has subscribers to. `seed` is a hash of a fixed text, by which the receiver finds out
    /// whether both have the same seed.
    Interest {
        seed: u32,
        changes: Vec<FilterChange>,
    },
    /// Asks whether the receiver has room for such a message. The answer is [`Content::NoRoom`], or none.
    Room {
        topic: Box<str>,
        cost: u32,
        qos: QoS,
        fence: u64,
        /// The sender's store is full. So nobody can get the message who has to have it recorded.
        is_unrecorded: bool,
        /// The receiver is to retain the message.
        retains: bool,
    },
    NoRoom {
        fence: u64,
    },
    /// Asks for an answer when everything before this was handled, and when all other shards that must know about it do.
    Fence(u64),
    /// Goes behind all messages for the receiver, and says how many messages the sender has counted: see `stamps.rs`.
    Passed {
        fence: u64,
        count: u64,
    },
    /// As [`Content::Fence`], but answered at once, so that no two shards wait for each other.
    Probe(u64),
    Probed(u64),
    /// Asks how many messages the receiver has counted. It answers behind all messages that it has for the sender.
    Count,
    Counted(u64),
    /// After a restart: the receiver has to count from here on at least.
    CountFrom(u64),
    /// How many messages of clients the sender retains.
    RetainedCount(u32),
    /// Asks for the retained messages that match a filter and came before the SUBSCRIBE.
    Replay {
        question: u32,
        filter: Arc<str>,
        heard: Heard,
    },
    /// The same question goes on under another number, for a later SUBSCRIBE.
    RenewReplay {
        before: u32,
        question: u32,
        heard: Heard,
    },
    MoreOfReplay(u32),
    EndReplay(u32),
    /// A retained message, in answer to this question.
    Replayed {
        question: u32,
        message: SharedMessage,
    },
    /// The end of a portion of retained messages.
    PortionEnd {
        question: u32,
        end: PortionEnd,
    },
    /// A Session of the sender has joined a group whose home is the receiver.
    Join {
        filter: Box<str>,
        member: Member,
        online: bool,
        qos: QoS,
        retain_as_published: bool,
        identifier: u32,
        /// Whether the Session survives a restart.
        durable: bool,
    },
    Leave {
        filter: Box<str>,
        member: Member,
    },
    /// A member of a group has connected or disconnected.
    Presence {
        member: Member,
        online: bool,
    },
    /// The queue of a member is full, and one message is on its way back; or the queue is empty again.
    Full {
        member: Member,
        is_full: bool,
    },
    /// A message for one member of a group whose home is the sender. After a restart the sender does not know any more for which member it
    /// was.
    Deliver {
        member: Option<Member>,
        group: Arc<str>,
        message: SharedMessage,
        qos: QoS,
        retain: bool,
        identifier: u32,
    },
    /// A message that the member could not receive, for another member of this group.
    Returned {
        group: Arc<str>,
        message: SharedMessage,
    },
    /// A member has acknowledged so many messages.
    Settled {
        member: Member,
        count: u32,
    },
}

/// What follows a portion of retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortionEnd {
    /// There may be more messages.
    More,
    /// That was the last portion.
    Last,
    /// There was no memory to look for messages.
    NoMemory,
}

/// A member of the group of a shared subscription, as its own home shard knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The Session's number, which no other Session of that shard ever has.
    pub(crate) number: u32,
    pub(crate) session: Handle<Session>,
    /// The subscription of the member on that shard.
    pub(crate) subscription: Handle<Subscription>,
}

/// A message that shards send each other. Its body is shared, not copied. It is as small as possible, because it is moved several times on
/// its way: it fills one cache line.
#[derive(Clone, Debug)]
pub(crate) struct SharedMessage {
    body: SharedBytes,
    properties_len: u32,
    topic_len: u16,
    pub(crate) qos: QoS,
    flags: u8,
    expires: Instant,
    /// The stamp of a message that is to be retained: see `stamps.rs`. In a message to one group alone: the sequence number that it has on the home shard of the
    /// group, and by which it finds its place in the group's queue if it comes back.
    pub(crate) stamp: u64,
    /// The sequence number among the messages that the sender has recorded for the receiver; 0 if it is not recorded.
    pub(crate) sequence: u64,
    pub(crate) publisher_key: u32,
}

impl Content {
    /// What it takes on its way, as it is counted below a ceiling: its places in the queues here and in the mailbox there, its text, and
    /// its body, which nobody else may hold.
    pub(crate) fn cost(&self) -> usize {
        let text = match self {
            // More changes may join those that wait.
            Self::Interest { .. } => TOLD_AT_ONCE.saturating_mul(size_of::<FilterChange>()),
            Self::Join { filter, .. } | Self::Leave { filter, .. } => filter.len(),
            Self::Room { topic, .. } => topic.len(),
            Self::Replay { filter, heard, .. } => filter.len().saturating_add(heard.cost()),
            Self::RenewReplay { heard, .. } => heard.cost(),
            Self::Replayed { message, .. } => return message.cost(),
            _ => 0,
        };
        let body = self.message().map_or(0, |message| message.body.cost());
        size_of::<[Forward; 3]>().saturating_add(text).saturating_add(body)
    }

    /// The message in this forward, if it has one that is on its way to subscribers.
    pub(crate) fn message(&self) -> Option<&SharedMessage> {
        match self {
            Self::Message(message) | Self::Deliver { message, .. } | Self::Returned { message, .. } => Some(message),
            _ => None,
        }
    }
}

/// Bits of [`SharedMessage::flags`], beside [`Message::RETAIN`]: the sender asks for the message's fate.
const ASKS: u8 = 2;
/// The sender's store has no room for a record of the message.
const UNRECORDED: u8 = 4;

impl SharedMessage {
    /// A message that is not recorded.
    pub(crate) fn new(body: SharedBytes, message: &Message, publisher_key: u32) -> Self {
        let Message { properties_len, topic_len, qos, flags, expires, shards, .. } = *message;
        let (flags, stamp) = (flags & Message::RETAIN, shards.number());
        Self { body, properties_len, topic_len, qos, flags, expires, stamp, sequence: 0, publisher_key }
    }

    /// The message as it is to be stored, with its body.
    pub(crate) fn into_parts(self) -> (Message, SharedBytes) {
        let Self { body, properties_len, topic_len, qos, flags, expires, stamp, .. } = self;
        let shards = Stamp::of(stamp);
        (Message { properties_len, topic_len, qos, flags, expires, shards, ..Message::EMPTY }, body)
    }

    /// The same message with another [`stamp`](Self::stamp).
    pub(crate) fn stamped(self, stamp: u64) -> Self {
        Self { stamp, ..self }
    }

    /// The same message with this sequence number.
    pub(crate) fn at(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// Asks for the message's fate.
    #[inline]
    pub(crate) fn ask(&mut self) {
        self.flags |= ASKS;
    }

    /// Says that the store of the sender has no room for a record of the message.
    pub(crate) fn leave_unrecorded(&mut self) {
        self.flags |= UNRECORDED;
    }

    /// Whether the receiver has to refuse the message if it would have to record it.
    #[inline]
    pub(crate) fn is_unrecorded(&self) -> bool {
        self.flags & UNRECORDED != 0
    }

    /// Whether the sender asks for the message's fate.
    pub(crate) fn asks(&self) -> bool {
        self.flags & ASKS != 0
    }

    pub(crate) fn retain(&self) -> bool {
        self.flags & Message::RETAIN != 0
    }

    /// Whether the message removes the retained one of its topic, if it has RETAIN.
    pub(crate) fn clears(&self) -> bool {
        self.body.len() == usize::from(self.topic_len).saturating_add(self.properties_len as usize)
    }

    /// What it takes on its way, with its body.
    pub(crate) fn cost(&self) -> usize {
        size_of::<[Forward; 3]>().saturating_add(self.body.cost())
    }

    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The message, to be reported as lost.
    pub(super) fn as_dropped(&self) -> LostMessage<'_> {
        core::str::from_utf8(self.topic()).map_or(LostMessage::Unknown, LostMessage::Topic)
    }

    pub(crate) fn topic(&self) -> &[u8] {
        self.body.get(..usize::from(self.topic_len)).unwrap_or(&[])
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

const _: () = assert!(size_of::<SharedMessage>() <= 64);
