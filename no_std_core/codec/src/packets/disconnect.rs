//! DISCONNECT: the last packet of a Network Connection (section 3.14).

use crate::{Encode, Frame, PacketType, Properties, PropertyId, ReasonCode, Refusal, Sink, Version, property};

/// A DISCONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// The reason; always Normal disconnection (0x00) before MQTT 5.0.
    pub code: ReasonCode,
    /// The Properties of the packet.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without Properties.
    #[inline]
    pub const fn new(code: ReasonCode) -> Self {
        Self { code, properties: Properties::EMPTY }
    }

    /// Decodes a DISCONNECT of a Network Connection that speaks `version`; the packet in `frame` is one.
    ///
    /// A packet without Reason Code means 0x00, and a packet without Property Length has no Properties (section 3.14.2). Before
    /// MQTT 5.0 the packet has no body.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let mut disconnect = Self::new(ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            disconnect.code = reader.reason_code(PacketType::Disconnect)?;
            if !reader.is_empty() {
                disconnect.properties = Properties::decode(&mut reader, property::DISCONNECT)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    /// Refuses a packet that only a Server may send, by its Reason Code or by a Server Reference (sections 3.14.2.1 and
    /// 3.14.2.2.5).
    #[inline]
    pub fn check_from_client(&self) -> Result<(), Refusal> {
        let from_client = matches!(
            self.code,
            ReasonCode::Success
                | ReasonCode::DisconnectWithWill
                | ReasonCode::UnspecifiedError
                | ReasonCode::MalformedPacket
                | ReasonCode::ProtocolError
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::BadAuthenticationMethod
                | ReasonCode::TopicNameInvalid
                | ReasonCode::ReceiveMaximumExceeded
                | ReasonCode::TopicAliasInvalid
                | ReasonCode::PacketTooLarge
                | ReasonCode::MessageRateTooHigh
                | ReasonCode::QuotaExceeded
                | ReasonCode::AdministrativeAction
                | ReasonCode::PayloadFormatInvalid
        );
        if !from_client {
            return Err(Refusal::protocol_error("only a Server disconnects with this Reason Code (section 3.14.2.1)"));
        }
        if self.properties.contains(PropertyId::ServerReference) {
            return Err(Refusal::protocol_error("only a Server sends a Server Reference (section 3.14.2.2.5)"));
        }
        Ok(())
    }
}

impl Encode for Disconnect<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Disconnect.first_byte()
    }

    /// A Reason Code other than 0x00 is followed by a Property Length even if that is 0. The shorter form is allowed, but there
    /// are clients that do not understand it.
    fn put_body(&self, version: Version, out: &mut impl Sink) {
        if version.is_v5() && !(self.code == ReasonCode::Success && self.properties.is_empty()) {
            out.put_u8(self.code.as_u8());
            self.properties.encode(version, out);
        }
    }
}
