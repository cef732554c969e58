//! The types of MQTT Control Packets.

/// The types of MQTT Control Packets (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// A Client requests a connection.
    Connect = 1,
    /// The Server answers CONNECT.
    ConnAck = 2,
    /// An Application Message.
    Publish = 3,
    /// The answer to a PUBLISH with QoS 1.
    PubAck = 4,
    /// The answer to a PUBLISH with QoS 2.
    PubRec = 5,
    /// The answer to PUBREC.
    PubRel = 6,
    /// The answer to PUBREL.
    PubComp = 7,
    /// A Client subscribes.
    Subscribe = 8,
    /// The Server answers SUBSCRIBE.
    SubAck = 9,
    /// A Client unsubscribes.
    Unsubscribe = 10,
    /// The Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// A Client asks whether the Server is still there.
    PingReq = 12,
    /// The Server answers PINGREQ.
    PingResp = 13,
    /// The last packet of a connection.
    Disconnect = 14,
    /// A step of an enhanced authentication; MQTT 5.0 only.
    Auth = 15,
}

impl PacketType {
    /// The type in the first byte of a packet; `None` for type 0, which is forbidden.
    #[inline]
    pub const fn from_first_byte(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// Whether a Client may send packets of this type. From a Client the other types are a Protocol Error.
    #[inline]
    pub const fn is_from_client(self) -> bool {
        !matches!(self, Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp)
    }

    /// The first byte of a packet of this type, with the values of the reserved flags (section 2.1.3). Not for PUBLISH, which
    /// uses the flags.
    #[inline]
    pub(crate) const fn first_byte(self) -> u8 {
        let flags = match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The bit of this type in a set of packet types.
    #[inline]
    pub(crate) const fn bit(self) -> u16 {
        1 << self as u8
    }
}
