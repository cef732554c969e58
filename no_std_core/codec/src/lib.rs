//! One strict, zero-copy codec for MQTT 3.1, 3.1.1 and 5.0; it knows no session and no topic tree.
//!
//! Every packet is decoded and encoded in both directions: the broker, the clients, bridges and tests share it.
//! Packets are shaped like those of MQTT 5.0; the version is asked nowhere but here. What an older version lacks is
//! empty (Properties), mapped (Reason Codes to Return Codes) or translated (CleanSession to Clean Start and Session
//! Expiry Interval).
//!
//! The way in: [`split`] cuts a [`Frame`] off a stream of bytes, [`Connect::decode`] reads the first packet, which
//! says the [`Version`], and [`Packet::decode`] all others. Decoded packets borrow from the input. The way out:
//! [`Packet::encode`] puts a packet into any [`Sink`].
//!
//! A peer's fault is a [`Refusal`]. It is Malformed Packet (0x81) where the bytes cannot be parsed, an identifier
//! of a Property does not belong in the packet or reserved bits are set, and Protocol Error (0x82) where well-formed
//! data says what the protocol does not allow, unless the specification names another code for the case
//! (sections 1.2 and 4.13).

#![no_std]
#![forbid(unsafe_code)]
// No input may reach a panic. Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

use core::fmt;
use core::num::NonZeroU16;

pub mod topic;

mod ack;
mod auth;
mod connack;
mod connect;
mod delivery;
mod disconnect;
mod frame;
mod packet;
mod primitive;
mod properties;
mod property;
mod publish;
mod reason_code;
mod sink;
mod subscribe;
mod unsubscribe;
mod why;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;

pub use ack::{Ack, AckKind, Answer};
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, ConnectRefusal, Will};
pub use delivery::DeliveryHead;
pub use disconnect::Disconnect;
pub use frame::{Frame, MAX_PACKET_LEN, PacketType, packet_len, peek_type, split, split_in};
pub use packet::{Encode, Packet, PingReq, PingResp};
pub use properties::{Properties, PropertiesIter};
pub use property::{Property, PropertyId};
pub use publish::Publish;
pub use reason_code::ReasonCode;
pub use sink::{Length, MAX_VARINT, Sink, Window, Writer, varint_len};
pub use subscribe::{Codes, CodesIter, Filters, FiltersIter, RetainHandling, SubAck, Subscribe, SubscriptionOptions};
pub use unsubscribe::{Topics, TopicsIter, UnsubAck, Unsubscribe};
pub use why::Why;

/// The version of the protocol that a Network Connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl Version {
    /// The Protocol Level (3.x) or Protocol Version (5.0) in CONNECT.
    #[inline]
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// The Protocol Name in CONNECT.
    #[inline]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }

    /// Whether packets have Properties and Reason Codes. Without the feature `v3` all have: nothing else is spoken but a
    /// refusal.
    #[inline]
    pub const fn is_v5(self) -> bool {
        !cfg!(feature = "v3") || matches!(self, Self::V5)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// How surely an Application Message arrives (section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// It may be lost.
    #[default]
    AtMostOnce = 0,
    /// It may arrive more than once.
    AtLeastOnce = 1,
    /// It is neither lost nor doubled.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with this number; `None` for 3, which no field may hold, and beyond.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// Its number, 0 to 2.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// A Packet Identifier: never 0 `[MQTT-2.2.1-3]`.
pub type PacketId = NonZeroU16;

/// Why a packet is refused, by the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What a DISCONNECT or CONNACK says about it; always an error.
    pub code: ReasonCode,
    /// What is wrong, for people: fit to be a Reason String.
    pub why: Why,
}

impl Refusal {
    /// A fault with this Reason Code.
    #[inline]
    pub const fn new(code: ReasonCode, why: &'static str) -> Self {
        Self { code, why: Why::new(why) }
    }

    /// A packet that cannot be parsed, 0x81.
    #[inline]
    pub const fn malformed(why: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, why)
    }

    /// A well-formed packet that says what the protocol does not allow, 0x82.
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
