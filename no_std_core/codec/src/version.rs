//! The versions of MQTT.

use core::fmt;

/// Whether MQTT 3.1 and 3.1.1 are spoken too.
pub(crate) const HAS_V3: bool = cfg!(feature = "v3");

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

    /// Whether packets of this version have Properties and Reason Codes.
    ///
    /// Without the feature `v3` the answer is always `true`: then the only packet of an older version is the CONNACK that
    /// refuses a Client.
    #[inline]
    pub const fn is_v5(self) -> bool {
        !HAS_V3 || matches!(self, Self::V5)
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
