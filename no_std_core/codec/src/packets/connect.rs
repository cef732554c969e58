//! CONNECT: the first packet of a Client, which names the version (section 3.1).

use crate::reader::Reader;
use crate::version::HAS_V3;
use crate::{Encode, Frame, PacketType, Properties, QoS, ReasonCode, ReasonText, Refusal, Sink, Version, property};

/// A CONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the Client speaks.
    pub version: Version,
    /// Whether the Client says that it is a bridge, by the highest bit of the Protocol Level. The bit is in no specification,
    /// but several brokers set it when they connect to another one with MQTT 3.1 or 3.1.1: they want No Local and Retain As
    /// Published for all their subscriptions, and those versions have no other way to ask for that. Never set in MQTT 5.0.
    pub is_bridge: bool,
    /// Whether the Client wants a new Session. In MQTT 3.x this is Clean Session.
    pub clean_start: bool,
    /// The greatest time between two packets of the Client, in seconds; 0 for no limit.
    pub keep_alive: u16,
    /// The Properties of the packet. For the Session Expiry Interval use [`Connect::session_expiry_interval`], which knows the
    /// default and MQTT 3.x.
    pub properties: Properties<'a>,
    /// The Client Identifier; empty if the Server is to choose one.
    pub client_id: &'a str,
    /// The Will Message, which the Server publishes if the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// The User Name.
    pub user_name: Option<&'a str>,
    /// The Password: any bytes. Before MQTT 5.0 there is no Password without a User Name.
    pub password: Option<&'a [u8]>,
}

/// The Will Message of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// The Quality of Service of the message.
    pub qos: QoS,
    /// Whether the Server retains the message.
    pub retain: bool,
    /// The Will Properties.
    pub properties: Properties<'a>,
    /// The Topic Name. In a decoded packet it is a valid one.
    pub topic: &'a str,
    /// The payload of the message.
    pub payload: &'a [u8],
}

/// Why a CONNECT is refused, and in which version the CONNACK has to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// The version of the CONNACK; `None` if no CONNACK is to be sent, because the peer does not seem to speak MQTT.
    pub version: Option<Version>,
    /// The Reason Code of the CONNACK; always an error.
    pub code: ReasonCode,
    /// What is wrong, as a sentence for people.
    pub why: ReasonText,
}

impl<'a> Connect<'a> {
    /// Decodes the first packet of a Network Connection.
    ///
    /// # Errors
    ///
    /// The packet is not a CONNECT `[MQTT-3.1.0-1]`, is invalid, or names a version that is not supported.
    #[inline]
    pub fn decode(frame: Frame<'a>) -> Result<Self, ConnectRefusal> {
        if frame.packet_type() != PacketType::Connect {
            let refusal = Refusal::protocol_error("the first packet is CONNECT [MQTT-3.1.0-1]");
            return Err(ConnectRefusal::new(None, refusal));
        }
        let mut reader = frame.reader();
        let (version, is_bridge) = decode_version(&mut reader)?;
        let rest = frame.check_header(version).and_then(|()| Self::decode_rest(version, is_bridge, reader));
        rest.map_err(|refusal| ConnectRefusal::new(Some(version), refusal))
    }

    /// The seconds for which the Session is kept after the connection has ended; `u32::MAX` means without limit.
    ///
    /// In MQTT 3.x a Session with Clean Session ends with its connection, and any other is kept without limit.
    #[inline]
    pub fn session_expiry_interval(&self) -> u32 {
        match (self.version, self.clean_start) {
            (Version::V5, _) => self.properties.session_expiry_interval().unwrap_or(0),
            (_, true) => 0,
            (_, false) => u32::MAX,
        }
    }

    /// Decodes what follows Protocol Name and Protocol Level.
    #[inline]
    fn decode_rest(version: Version, is_bridge: bool, mut reader: Reader<'a>) -> Result<Self, Refusal> {
        let flags = Flags::decode(version, reader.u8()?)?;
        let keep_alive = reader.u16()?;
        let properties = decode_properties(version, &mut reader, property::CONNECT)?;
        let client_id = reader.string_or(ReasonCode::ClientIdentifierNotValid)?;
        let will = match flags.will {
            Some((qos, retain)) => Some(Will {
                qos,
                retain,
                properties: decode_properties(version, &mut reader, property::WILL)?,
                topic: will_topic(&mut reader)?,
                payload: reader.binary()?,
            }),
            None => None,
        };
        // In MQTT 3.1 the Remaining Length has precedence over these two flags: User Name and Password may be missing at the
        // end of the packet although their flags are set.
        let missing = |reader: &Reader<'_>| version == Version::V3_1 && reader.is_empty();
        let user_name = if flags.user_name && !missing(&reader) { Some(reader.string()?) } else { None };
        let password = if flags.password && !missing(&reader) { Some(reader.binary()?) } else { None };
        reader.finish()?;
        Ok(Self {
            version,
            is_bridge,
            clean_start: flags.clean_start,
            keep_alive,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }
}

impl ConnectRefusal {
    #[inline]
    fn new(version: Option<Version>, Refusal { code, why }: Refusal) -> Self {
        Self { version, code, why }
    }
}

impl From<ConnectRefusal> for Refusal {
    #[inline]
    fn from(ConnectRefusal { code, why, .. }: ConnectRefusal) -> Self {
        Self { code, why }
    }
}

/// The bit of the Protocol Level that says that the Client is a bridge.
const BRIDGE: u8 = 0x80;

/// Decodes Protocol Name and Protocol Level `[MQTT-3.1.2-1]` `[MQTT-3.1.2-2]`. The `bool` says whether the Client is a bridge.
#[inline]
fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectRefusal> {
    let mut name_and_level = || Ok((reader.binary()?, reader.u8()?));
    let (name, level) = name_and_level().map_err(|refusal| ConnectRefusal::new(None, refusal))?;
    let unsupported =
        |version, why| Err(ConnectRefusal::new(version, Refusal::new(ReasonCode::UnsupportedProtocolVersion, why)));
    match (name, level) {
        (b"MQIsdp", 3 | 0x83) if HAS_V3 => Ok((Version::V3_1, level & BRIDGE != 0)),
        (b"MQTT", 4 | 0x84) if HAS_V3 => Ok((Version::V3_1_1, level & BRIDGE != 0)),
        // MQTT 5.0 has Subscription Options for what a bridge wants; the bit is not used there.
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", _) if level & 0x7F > 5 => unsupported(Some(Version::V5), "this Server speaks MQTT up to version 5.0"),
        (b"MQTT" | b"MQIsdp", _) => {
            unsupported(Some(Version::V3_1_1), "the levels are MQIsdp 3, MQTT 4 and MQTT 5 [MQTT-3.1.2-2]")
        }
        _ => unsupported(None, "the Protocol Name is MQTT [MQTT-3.1.2-1]"),
    }
}

/// The Connect Flags.
struct Flags {
    user_name: bool,
    password: bool,
    will: Option<(QoS, bool)>,
    clean_start: bool,
}

impl Flags {
    /// Decodes the Connect Flags (section 3.1.2.3).
    #[inline]
    fn decode(version: Version, bits: u8) -> Result<Self, Refusal> {
        // MQTT 3.1 does not use this bit and prescribes no value for it.
        if bits & 0b0000_0001 != 0 && version != Version::V3_1 {
            return Err(Refusal::malformed("the reserved Connect Flag is 0 [MQTT-3.1.2-3]"));
        }
        let has_will = bits & 0b0000_0100 != 0;
        // Without a Will, MQTT 3.1 does not use Will QoS and Will Retain, and later versions forbid them.
        let unused = if !has_will && version == Version::V3_1 { 0b0011_1000 } else { 0 };
        let bits = bits & !unused;
        let will_retain = bits & 0b0010_0000 != 0;
        let will_qos =
            QoS::from_bits(bits >> 3 & 0b11).ok_or(Refusal::malformed("a Will has QoS 0, 1 or 2 [MQTT-3.1.2-12]"))?;
        if !has_will && will_qos != QoS::AtMostOnce {
            return Err(Refusal::malformed("Will QoS is 0 without a Will [MQTT-3.1.2-11]"));
        }
        if !has_will && will_retain {
            return Err(Refusal::malformed("Will Retain is 0 without a Will [MQTT-3.1.2-13]"));
        }
        let user_name = bits & 0b1000_0000 != 0;
        let password = bits & 0b0100_0000 != 0;
        if password && !user_name && !version.is_v5() {
            return Err(Refusal::protocol_error("before MQTT 5.0 there is no Password without a User Name"));
        }
        Ok(Self {
            user_name,
            password,
            will: has_will.then_some((will_qos, will_retain)),
            clean_start: bits & 0b0000_0010 != 0,
        })
    }
}

/// The Properties that stand at `place`; none before MQTT 5.0.
#[inline]
fn decode_properties<'a>(
    version: Version,
    reader: &mut Reader<'a>,
    place: property::Places,
) -> Result<Properties<'a>, Refusal> {
    if version.is_v5() { Properties::decode(reader, place) } else { Ok(Properties::EMPTY) }
}

/// The Topic Name of a Will.
#[inline]
fn will_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Refusal> {
    match reader.topic_name()? {
        "" => Err(Refusal::protocol_error("a Will Topic has at least one character [MQTT-4.7.3-1]")),
        topic => Ok(topic),
    }
}

impl Encode for Connect<'_> {
    #[inline]
    fn first_byte(&self) -> u8 {
        PacketType::Connect.first_byte()
    }

    /// Puts the form of the version that the CONNECT names; the caller's version does not matter.
    fn put_body(&self, _: Version, out: &mut impl Sink) {
        out.put_string(self.version.protocol_name());
        out.put_u8(self.version.level() | if self.is_bridge { BRIDGE } else { 0 });
        let will = self.will.map_or(0, |will| 0b100 | will.qos.bits() << 3 | u8::from(will.retain) << 5);
        out.put_u8(
            u8::from(self.user_name.is_some()) << 7
                | u8::from(self.password.is_some()) << 6
                | will
                | u8::from(self.clean_start) << 1,
        );
        out.put_u16(self.keep_alive);
        self.properties.encode(self.version, out);
        out.put_string(self.client_id);
        if let Some(will) = &self.will {
            will.properties.encode(self.version, out);
            out.put_string(will.topic);
            out.put_binary(will.payload);
        }
        if let Some(user_name) = self.user_name {
            out.put_string(user_name);
        }
        if let Some(password) = self.password {
            out.put_binary(password);
        }
    }
}
