//! DISCONNECT: the last packet of a connection (section 3.14).

use crate::{Encode, Frame, PacketType, Properties, PropertyId, ReasonCode, Refusal, Sink, Version, property};

/// A DISCONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always Normal disconnection (0x00) before MQTT 5.0.
    pub code: ReasonCode,
    /// Its Properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without Properties.
    #[inline]
    pub const fn new(code: ReasonCode) -> Self {
        Self { code, properties: Properties::EMPTY }
    }

    /// Without Reason Code it means 0x00; without Property Length there are no Properties. Before MQTT 5.0 it has
    /// no body, and it comes from the Client only.
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        let mut reader = frame.reader();
        let mut disconnect = Self::new(ReasonCode::Success);
        if version.is_v5() && !reader.is_empty() {
            disconnect.code = ReasonCode::decode(&mut reader, PacketType::Disconnect)?;
            if !reader.is_empty() {
                disconnect.properties = Properties::decode(&mut reader, property::DISCONNECT)?;
            }
        }
        reader.finish()?;
        Ok(disconnect)
    }

    /// What a Server alone may say is a Protocol Error from a Client (sections 3.14.2.1 and 3.14.2.2.5).
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

    /// A code other than 0x00 is followed by a Property Length even if that is 0: the form without is allowed, but
    /// clients are in use that do not understand it.
    fn put_body(&self, version: Version, out: &mut impl Sink) {
        if version.is_v5() && !(self.code == ReasonCode::Success && self.properties.is_empty()) {
            out.put_u8(self.code.as_u8());
            self.properties.encode(version, out);
        }
    }
}
