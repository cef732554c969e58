//! Quality of Service, and the identifiers of packets that need an answer.

use core::num::NonZeroU16;

/// The Quality of Service of an Application Message: how certain its delivery is (section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// The message may be lost.
    #[default]
    AtMostOnce = 0,
    /// The message is not lost, and may arrive more than once.
    AtLeastOnce = 1,
    /// The message arrives exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number; `None` for 3, which is forbidden in every field, and for greater numbers.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number of this QoS, 0 to 2.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// A Packet Identifier: 1 to 65,535, never 0 `[MQTT-2.2.1-3]`.
pub type PacketId = NonZeroU16;
