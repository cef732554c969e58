//! Reason Codes: the result of an operation, or why a connection ends (section 2.4).

use crate::PacketType::*;
use crate::{PacketType, QoS};
use core::fmt;

/// Generates all that depends on the table of section 2.4: variant, value, name, and the packets that may have the code.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $code:ident = $value:literal, $name:literal, [$($packet:ident),*];)*) => {
        /// The result of an operation, with the values of MQTT 5.0.
        ///
        /// `Success` is Normal disconnection and Granted QoS 0 too: all three have the value 0x00.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $code = $value,)*
        }

        impl ReasonCode {
            /// All Reason Codes, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The Reason Code with this value, if the specification defines one.
            #[inline]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$code),)*
                    _ => None,
                }
            }

            /// The name of the code in the specification.
            #[inline]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }

            /// The packets that may have this code, one bit for each [`PacketType`].
            #[inline]
            const fn packets(self) -> u16 {
                match self {
                    $(Self::$code => 0 $(| $packet.bit())*,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Success, Normal disconnection or Granted QoS 0.
    #[default]
    Success = 0x00, "Success", [ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    /// The subscription gets messages with QoS 1 at most.
    GrantedQoS1 = 0x01, "Granted QoS 1", [SubAck];
    /// The subscription gets messages with QoS 2 at most.
    GrantedQoS2 = 0x02, "Granted QoS 2", [SubAck];
    /// The Client leaves and wants its Will Message published.
    DisconnectWithWill = 0x04, "Disconnect with Will Message", [Disconnect];
    /// The message was accepted, and no subscription matches its topic.
    NoMatchingSubscribers = 0x10, "No matching subscribers", [PubAck, PubRec];
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11, "No subscription existed", [UnsubAck];
    /// Authentication goes on.
    ContinueAuthentication = 0x18, "Continue authentication", [Auth];
    /// The Client starts a re-authentication.
    ReAuthenticate = 0x19, "Re-authenticate", [Auth];
    /// The sender does not want to name the reason, or no other code fits.
    UnspecifiedError = 0x80, "Unspecified error", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The packet could not be parsed.
    MalformedPacket = 0x81, "Malformed Packet", [ConnAck, Disconnect];
    /// The packet says what the protocol does not allow, or came at a time when it must not.
    ProtocolError = 0x82, "Protocol Error", [ConnAck, Disconnect];
    /// The packet is valid, and this implementation does not accept it.
    ImplementationSpecificError = 0x83, "Implementation specific error",
        [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The Server does not support the version that the Client speaks.
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version", [ConnAck];
    /// The Client Identifier is a valid string, and the Server does not allow it.
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid", [ConnAck];
    /// The Server does not accept the User Name or Password.
    BadUserNameOrPassword = 0x86, "Bad User Name or Password", [ConnAck];
    /// The Client is not authorized to do this.
    NotAuthorized = 0x87, "Not authorized", [ConnAck, PubAck, PubRec, SubAck, UnsubAck, Disconnect];
    /// The Server is not available.
    ServerUnavailable = 0x88, "Server unavailable", [ConnAck];
    /// The Server is busy; try again later.
    ServerBusy = 0x89, "Server busy", [ConnAck, Disconnect];
    /// An administrator banned the Client.
    Banned = 0x8A, "Banned", [ConnAck];
    /// The Server is shutting down.
    ServerShuttingDown = 0x8B, "Server shutting down", [Disconnect];
    /// The authentication method is not supported, or differs from the one in use.
    BadAuthenticationMethod = 0x8C, "Bad authentication method", [ConnAck, Disconnect];
    /// Nothing was received for 1.5 times the Keep Alive.
    KeepAliveTimeout = 0x8D, "Keep Alive timeout", [Disconnect];
    /// Another Network Connection has come with the same Client Identifier.
    SessionTakenOver = 0x8E, "Session taken over", [Disconnect];
    /// The Topic Filter is not accepted.
    TopicFilterInvalid = 0x8F, "Topic Filter invalid", [SubAck, UnsubAck, Disconnect];
    /// The Topic Name is well-formed, and the receiver does not accept it.
    TopicNameInvalid = 0x90, "Topic Name invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// The Packet Identifier is in use already: Client and Server have different Session States.
    PacketIdentifierInUse = 0x91, "Packet Identifier in use", [PubAck, PubRec, SubAck, UnsubAck];
    /// The Packet Identifier is unknown. No error while a Session is resumed.
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found", [PubRel, PubComp];
    /// More QoS 1 and 2 messages are in flight than Receive Maximum allows.
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded", [Disconnect];
    /// The Topic Alias is 0 or greater than the Topic Alias Maximum.
    TopicAliasInvalid = 0x94, "Topic Alias invalid", [Disconnect];
    /// The packet is larger than the Maximum Packet Size.
    PacketTooLarge = 0x95, "Packet too large", [ConnAck, Disconnect];
    /// Messages come too fast.
    MessageRateTooHigh = 0x96, "Message rate too high", [Disconnect];
    /// A limit of the implementation or of an administrator is exceeded.
    QuotaExceeded = 0x97, "Quota exceeded", [ConnAck, PubAck, PubRec, SubAck, Disconnect];
    /// An administrator closed the connection.
    AdministrativeAction = 0x98, "Administrative action", [Disconnect];
    /// The payload is not what the Payload Format Indicator says.
    PayloadFormatInvalid = 0x99, "Payload format invalid", [ConnAck, PubAck, PubRec, Disconnect];
    /// The Server does not support retained messages.
    RetainNotSupported = 0x9A, "Retain not supported", [ConnAck, Disconnect];
    /// The QoS is greater than the Maximum QoS.
    QoSNotSupported = 0x9B, "QoS not supported", [ConnAck, Disconnect];
    /// The Client should use another Server for now.
    UseAnotherServer = 0x9C, "Use another server", [ConnAck, Disconnect];
    /// The Client should use another Server from now on.
    ServerMoved = 0x9D, "Server moved", [ConnAck, Disconnect];
    /// The Server does not support Shared Subscriptions.
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported", [SubAck, Disconnect];
    /// Connections are made too fast.
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded", [ConnAck, Disconnect];
    /// The time that a connection may last is over.
    MaximumConnectTime = 0xA0, "Maximum connect time", [Disconnect];
    /// The Server does not support Subscription Identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported", [SubAck, Disconnect];
    /// The Server does not support Wildcard Subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported", [SubAck, Disconnect];
}

impl ReasonCode {
    /// The value of the code in a packet.
    #[inline]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether the code reports a failure: 0x80 and above.
    #[inline]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// Whether a packet of this type may have the code (section 2.4).
    #[inline]
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        self.packets() & packet.bit() != 0
    }

    /// The code with which a SUBACK grants `qos`.
    #[inline]
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }
}

impl From<ReasonCode> for u8 {
    #[inline]
    fn from(code: ReasonCode) -> u8 {
        code.as_u8()
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.as_u8())
    }
}
