//! CONNACK: the answer of the Server to CONNECT (section 3.2).

use crate::{Encode, Frame, PacketType, Properties, ReasonCode, Refusal, Sink, Version, property};

/// A CONNACK packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the Server had a Session for this Client. Never set together with an error `[MQTT-3.2.2-6]`, nor in MQTT 3.1.
    pub session_present: bool,
    /// Success, or the reason why the connection is refused.
    pub code: ReasonCode,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    /// A CONNACK without Session Present and without Properties.
    #[inline]
    pub const fn new(code: ReasonCode) -> Self {
        Self { session_present: false, code, properties: Properties::EMPTY }
    }

    /// The Connect Return Code of MQTT 3.x for `code`. `None` if no Return Code fits: then a Server closes the Network
    /// Connection without a CONNACK (section 3.2.2.3 of MQTT 3.1.1).
    ///
    /// The answer is `None` for temporary reasons too: no room, too busy, shutting down. Some clients, MQTT.js among them, do
    /// not try again after a CONNACK that refuses them, and all clients try again after a connection was closed.
    #[inline]
    pub const fn return_code(code: ReasonCode) -> Option<u8> {
        Some(match code {
            ReasonCode::Success => 0,
            ReasonCode::UnsupportedProtocolVersion => 1,
            ReasonCode::ClientIdentifierNotValid => 2,
            ReasonCode::BadUserNameOrPassword | ReasonCode::BadAuthenticationMethod => 4,
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::TopicNameInvalid
            | ReasonCode::PacketTooLarge
            | ReasonCode::PayloadFormatInvalid
            | ReasonCode::RetainNotSupported
            | ReasonCode::QoSNotSupported => 5,
            ReasonCode::UnspecifiedError
            | ReasonCode::ImplementationSpecificError
            | ReasonCode::ServerUnavailable
            | ReasonCode::UseAnotherServer
            | ReasonCode::ServerMoved => SERVER_UNAVAILABLE,
            _ => return None,
        })
    }

    /// Decodes a CONNACK of a Network Connection that speaks `version`; the packet in `frame` is one.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let flags = reader.u8()?;
        // MQTT 3.1 does not use this byte.
        if flags > 1 && version != Version::V3_1 {
            return Err(Refusal::malformed("the reserved Connect Acknowledge Flags are 0 [MQTT-3.2.2-1]"));
        }
        let session_present = flags == 1 && version != Version::V3_1;
        let (code, properties) = if version.is_v5() {
            let code = reader.reason_code(PacketType::ConnAck)?;
            (code, Properties::decode(&mut reader, property::CONNACK)?)
        } else {
            (from_return_code(reader.u8()?)?, Properties::EMPTY)
        };
        reader.finish()?;
        if session_present && code != ReasonCode::Success {
            return Err(Refusal::protocol_error("a refusing CONNACK has no Session Present [MQTT-3.2.2-6]"));
        }
        Ok(Self { session_present, code, properties })
    }
}

const SERVER_UNAVAILABLE: u8 = 3;

/// The Reason Code for a Connect Return Code of MQTT 3.x.
#[inline]
fn from_return_code(return_code: u8) -> Result<ReasonCode, Refusal> {
    Ok(match return_code {
        0 => ReasonCode::Success,
        1 => ReasonCode::UnsupportedProtocolVersion,
        2 => ReasonCode::ClientIdentifierNotValid,
        SERVER_UNAVAILABLE => ReasonCode::ServerUnavailable,
        4 => ReasonCode::BadUserNameOrPassword,
        5 => ReasonCode::NotAuthorized,
        _ => return Err(Refusal::protocol_error("Connect Return Codes end at 5 (section 3.2.2.3 of MQTT 3.1.1)")),
    })
}

impl Encode for ConnAck<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::ConnAck.first_byte()
    }

    /// In MQTT 3.x the Return Code is Server unavailable if no other fits; see [`ConnAck::return_code`].
    fn put_body(&self, version: Version, out: &mut impl Sink) {
        let session_present = self.session_present && self.code == ReasonCode::Success && version != Version::V3_1;
        out.put_u8(session_present.into());
        if version == Version::V5 {
            out.put_u8(self.code.as_u8());
            self.properties.encode(version, out);
        } else {
            out.put_u8(Self::return_code(self.code).unwrap_or(SERVER_UNAVAILABLE));
        }
    }
}
