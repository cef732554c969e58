//! Why a packet is refused.

use crate::{ReasonCode, ReasonText};
use core::fmt;

/// Why a packet is refused: its sender did something that the specification forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The Reason Code for the DISCONNECT or CONNACK that answers the packet; always an error.
    pub code: ReasonCode,
    /// What is wrong, as a sentence for people.
    pub why: ReasonText,
}

impl Refusal {
    /// A refusal with this Reason Code.
    #[inline]
    pub const fn new(code: ReasonCode, why: &'static str) -> Self {
        Self { code, why: ReasonText::new(why) }
    }

    /// The refusal of a packet that cannot be parsed: Malformed Packet, 0x81.
    #[inline]
    pub const fn malformed(why: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, why)
    }

    /// The refusal of a packet that can be parsed and says what the protocol does not allow: Protocol Error, 0x82.
    #[inline]
    pub const fn protocol_error(why: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.why)
    }
}

impl core::error::Error for Refusal {}
