//! AUTH: a step of an enhanced authentication; MQTT 5.0 only (section 3.15).

use crate::{Encode, Frame, PacketType, Properties, PropertyId, ReasonCode, Refusal, Sink, Version, property};

/// An AUTH packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, which the Server says, Continue authentication, or Re-authenticate, which the Client says.
    pub code: ReasonCode,
    /// The Properties of the packet. They contain the Authentication Method, except in the short form of success, which has no
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    /// Decodes an AUTH of a Network Connection that speaks `version`; the packet in `frame` is one.
    ///
    /// A packet without a body is the short form of success. All others need an Authentication Method (sections 3.15.2.1 and
    /// 3.15.2.2.2).
    #[inline]
    pub fn decode(version: Version, frame: Frame<'a>) -> Result<Self, Refusal> {
        if !version.is_v5() {
            return Err(Refusal::protocol_error("there is no AUTH before MQTT 5.0"));
        }
        let mut reader = frame.reader();
        if reader.is_empty() {
            return Ok(Self { code: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let code = reader.reason_code(PacketType::Auth)?;
        let properties = Properties::decode(&mut reader, property::AUTH)?;
        reader.finish()?;
        if !properties.contains(PropertyId::AuthenticationMethod) {
            return Err(Refusal::protocol_error("an AUTH names its Authentication Method (section 3.15.2.2.2)"));
        }
        Ok(Self { code, properties })
    }

    /// Refuses a packet that only a Server may send: success (section 3.15.2.1).
    #[inline]
    pub fn check_from_client(&self) -> Result<(), Refusal> {
        match self.code {
            ReasonCode::Success => Err(Refusal::protocol_error("only a Server sends AUTH with success")),
            _ => Ok(()),
        }
    }
}

impl Encode for Auth<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Auth.first_byte()
    }

    fn put_body(&self, version: Version, out: &mut impl Sink) {
        if !(self.code == ReasonCode::Success && self.properties.is_empty()) {
            out.put_u8(self.code.as_u8());
            self.properties.encode(version, out);
        }
    }
}
