//! What sibling brokers hand each other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

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
use crate::time::Instant;

/// Something for a sibling broker. All siblings' [`Instant`]s count from the same origin.
#[derive(Debug)]
pub struct Forward(pub(crate) Content);

impl Forward {
    /// Messages to one sibling that it has not confirmed. Beyond them publishers wait.
    pub const MAX_IN_TRANSIT: u32 = 8192;
}

#[derive(Debug)]
pub(crate) enum Content {
    /// A message for the sibling's own subscribers; retained there too if it has RETAIN.
    Message(SharedMessage),
    /// So many messages were taken. Memory of bodies that ended at the receiver comes along: otherwise, where messages go
    /// in one direction alone, their sender would ask the allocator for each.
    Confirmed {
        count: u32,
        spares: SpareBuffers,
    },
    /// What became of the next so many messages that the sender was asked about.
    Answers {
        fate: Fate,
        count: u32,
    },
    /// All recorded messages up to this place are safe with the sender.
    Safe(u64),
    /// What has happened to filters that the sender has subscribers to.
    Interest(Vec<FilterChange>),
    /// Have your subscribers room for such a message? Answered with [`Content::NoRoom`] or not at all.
    Room {
        topic: Box<str>,
        cost: u32,
        qos: QoS,
        fence: u64,
        /// The sender's store is full. So nobody can get the message who has to have it recorded.
        is_unrecorded: bool,
    },
    NoRoom {
        fence: u64,
    },
    /// Answer when everything before this was taken, and when all siblings that must hear of it have heard.
    Fence(u64),
    Passed(u64),
    /// As [`Content::Fence`], but answered at once: so no two siblings wait for each other.
    Probe(u64),
    Probed(u64),
    /// Whatever the receiver retains from now on is newer than `stamp`. Answered behind all messages that it has for us.
    Round {
        round: u64,
        stamp: u64,
    },
    RoundDone(u64),
    /// A Session of the sender joined a group that the receiver owns.
    Join {
        filter: Box<str>,
        member: Member,
        online: bool,
        qos: QoS,
        retain_as_published: bool,
        identifier: u32,
        /// The Session survives a restart.
        durable: bool,
    },
    Leave {
        filter: Box<str>,
        member: Member,
    },
    /// A member connected or disconnected.
    Presence {
        member: Member,
        online: bool,
    },
    /// The queue of a member is full, and one message is on its way back; or it is empty again.
    Full {
        member: Member,
        is_full: bool,
    },
    /// A message for one member of a group that the sender owns. After a restart the sender does not know any more
    /// which member it was for.
    Deliver {
        member: Option<Member>,
        group: Arc<str>,
        message: SharedMessage,
        qos: QoS,
        retain: bool,
        identifier: u32,
    },
    /// A message that the member could not be given: for another member of this group.
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

/// A member of a group of a shared subscription, as the sibling on which it lives knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The Session's number, which is never used again.
    pub(crate) number: u32,
    pub(crate) session: Handle<Session>,
    /// Its subscription there.
    pub(crate) subscription: Handle<Subscription>,
}

/// A message as siblings hand it to each other: the body is shared, not copied. As small as it can be, since each is moved a
/// few times on its way: it fills one line of the caches.
#[derive(Clone, Debug)]
pub(crate) struct SharedMessage {
    body: SharedBytes,
    properties_len: u32,
    topic_len: u16,
    pub(crate) qos: QoS,
    flags: u8,
    expires: Instant,
    /// What orders retained messages. For a message to one group alone: its place among all messages of the group's owner, by which it finds
    /// its place in the group's queue if it comes back.
    pub(crate) stamp: u64,
    /// Its place among those that the sender has recorded; 0 if it is not recorded.
    pub(crate) sequence: u64,
    pub(crate) publisher_key: u32,
}

impl Content {
    /// What it takes on its way, as it is counted below a ceiling: its places in the queues here and in the mailbox there, its text, and
    /// its body, which nobody else may hold.
    pub(crate) fn cost(&self) -> usize {
        let text = match self {
            // More changes may join those that wait.
            Self::Interest(_) => TOLD_AT_ONCE.saturating_mul(size_of::<FilterChange>()),
            Self::Join { filter, .. } | Self::Leave { filter, .. } => filter.len(),
            Self::Room { topic, .. } => topic.len(),
            _ => 0,
        };
        let body = self.message().map_or(0, |message| message.body.cost());
        size_of::<[Forward; 3]>().saturating_add(text).saturating_add(body)
    }

    /// The message that is on its way with it.
    pub(crate) fn message(&self) -> Option<&SharedMessage> {
        match self {
            Self::Message(message) | Self::Deliver { message, .. } | Self::Returned { message, .. } => Some(message),
            _ => None,
        }
    }
}

/// In [`SharedMessage::flags`], beside [`Message::RETAIN`].
const ASKS: u8 = 2;

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

    /// The same with another [`stamp`](Self::stamp).
    pub(crate) fn stamped(self, stamp: u64) -> Self {
        Self { stamp, ..self }
    }

    /// The same at this place among the messages that are recorded.
    pub(crate) fn at(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// The same, and the sender asks what becomes of it.
    pub(crate) fn asking(self, asks: bool) -> Self {
        Self { flags: if asks { self.flags | ASKS } else { self.flags }, ..self }
    }

    /// Whether the sender asks what becomes of it.
    pub(crate) fn asks(&self) -> bool {
        self.flags & ASKS != 0
    }

    pub(crate) fn retain(&self) -> bool {
        self.flags & Message::RETAIN != 0
    }

    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The message as one that is lost.
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
