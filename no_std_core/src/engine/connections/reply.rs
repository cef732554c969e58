//! Replies that a client is owed. Each is one small entry, and is encoded only when it is transmitted.

use crate::codec::{AckKind, ReasonCode, ReasonText};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::mem::{Handle, links};

/// How many Reason Codes of a SUBACK or UNSUBACK fit in one [`Owed`].
pub(crate) const CODES_IN_OWED: usize = 8;

/// A reply in the queue of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    next: Option<Handle<Owed>>,
    pub(crate) reply: Reply,
    pub(crate) code: ReasonCode,
    pub(crate) packet_id: u16,
    /// The batch that must be safe before the reply is transmitted; 0: none.
    pub(crate) batch: u32,
    /// The Reason String.
    pub(crate) why: ReasonText,
}

/// The kind of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    #[default]
    Auth,
    ConnAck {
        session_present: bool,
    },
    Ack(AckKind),
    /// PUBACK or PUBREC for a message that other shards may have lost: the reply waits for their answer.
    Unanswered(<Shards as Neighbour>::Withheld),
    /// The codes follow in entries of kind [`Reply::Codes`]. A code without room there is sent as a failure.
    SubAck {
        count: Count,
    },
    /// As [`Reply::SubAck`].
    UnsubAck {
        count: Count,
    },
    Codes([ReasonCode; CODES_IN_OWED]),
}

/// How many codes a reply has, as bytes: a number would be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count([u8; 4]);

impl Count {
    pub(crate) const fn new(count: usize) -> Self {
        Self((count as u32).to_ne_bytes())
    }

    pub(crate) const fn get(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }
}

impl Owed {
    /// The value of unused memory: all bits are 0.
    pub const EMPTY: Self = Self::new(Reply::Auth, 0, ReasonCode::Success, ReasonText::NONE);

    pub(crate) const fn new(reply: Reply, packet_id: u16, code: ReasonCode, why: ReasonText) -> Self {
        Self { next: None, reply, code, packet_id, batch: 0, why }
    }

    /// Whether the reply waits for the answer of other shards.
    #[inline]
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.reply, Reply::Unanswered(_))
    }

    /// The same reply, to be transmitted only when this batch is safe.
    pub(crate) const fn after(self, batch: u32) -> Self {
        Self { batch, ..self }
    }
}

impl Default for Owed {
    fn default() -> Self {
        Self::EMPTY
    }
}

links!(Linked for Owed: next);
