//! Replies that a client is owed: one small entry each, encoded only when the client takes them.

use crate::codec::{AckKind, ReasonCode, ReasonText};
use crate::engine::neighbour_state::{Neighbour, Shards};
use crate::mem::{Handle, links};

/// Reason Codes of a SUBACK or UNSUBACK in one [`Owed`].
pub(crate) const CODES_IN_OWED: usize = 8;

/// A reply in the queue of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Owed {
    next: Option<Handle<Owed>>,
    pub(crate) reply: Reply,
    pub(crate) code: ReasonCode,
    pub(crate) packet_id: u16,
    /// The batch before which it must not be transmitted; 0: none.
    pub(crate) batch: u32,
    /// A Reason String.
    pub(crate) why: ReasonText,
}

/// Which reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    #[default]
    Auth,
    ConnAck {
        session_present: bool,
    },
    Ack(AckKind),
    /// PUBACK or PUBREC for a message that siblings may have lost: it waits for their answer.
    Unanswered(<Shards as Neighbour>::Withheld),
    /// The codes follow in entries of kind [`Reply::Codes`]; codes that have no room there are failures.
    SubAck {
        count: Count,
    },
    /// As [`Reply::SubAck`].
    UnsubAck {
        count: Count,
    },
    Codes([ReasonCode; CODES_IN_OWED]),
}

/// How many codes a reply has, without the alignment of a number.
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
    /// What fills unused memory: all bits are 0.
    pub const EMPTY: Self = Self::new(Reply::Auth, 0, ReasonCode::Success, ReasonText::NONE);

    pub(crate) const fn new(reply: Reply, packet_id: u16, code: ReasonCode, why: ReasonText) -> Self {
        Self { next: None, reply, code, packet_id, batch: 0, why }
    }

    /// Whether the reply waits for what siblings say.
    #[inline]
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.reply, Reply::Unanswered(_))
    }

    /// The same reply, but not to be transmitted before this batch is safe.
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
