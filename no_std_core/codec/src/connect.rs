//! CONNECT: a Client's first packet, which says the version (section 3.1).

use crate::primitive::Reader;
use crate::{Encode, Frame, PacketType, Properties, QoS, ReasonCode, Refusal, Sink, Version, Why, property};

/// A CONNECT packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// What the Client speaks.
    pub version: Version,
    /// Whether it says that it is a bridge, by the highest bit of the Protocol Level. No version of MQTT tells of this bit, but
    /// bridges of several makes set it in MQTT 3.1 and 3.1.1: they want No Local and Retain As Published for all that they
    /// subscribe to, which those versions can't say.
    pub is_bridge: bool,
    /// Whether the Session starts anew; CleanSession in MQTT 3.x.
    pub clean_start: bool,
    /// Seconds between two packets of the Client at most; 0 for no limit.
    pub keep_alive: u16,
    /// Its Properties; see [`Connect::session_expiry_interval`].
    pub properties: Properties<'a>,
    /// The Client Identifier; may be empty.
    pub client_id: &'a str,
    /// What is published when the connection ends in a bad way.
    pub will: Option<Will<'a>>,
    /// The User Name.
    pub user_name: Option<&'a str>,
    /// The Password: any bytes. Before MQTT 5.0 there is none without a User Name.
    pub password: Option<&'a [u8]>,
}

/// The Will Message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Its Quality of Service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// The Will Properties.
    pub properties: Properties<'a>,
    /// Its Topic Name; a valid one when decoded.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why a CONNECT is refused, and in which version the Client understands that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// The version of the CONNACK to send; `None` if the Client does not seem to speak MQTT.
    pub version: Option<Version>,
    /// What the CONNACK says about it; always an error.
    pub code: ReasonCode,
    /// What is wrong, for people: fit to be a Reason String.
    pub why: Why,
}

impl<'a> Connect<'a> {
    /// Reads a first packet; one that is not CONNECT is refused `[MQTT-3.1.0-1]`.
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

    /// Seconds that the Session outlives the connection; `u32::MAX` for ever. MQTT 3.x has two cases:
    /// CleanSession = 1 ends it with the connection, CleanSession = 0 keeps it for ever.
    #[inline]
    pub fn session_expiry_interval(&self) -> u32 {
        match (self.version, self.clean_start) {
            (Version::V5, _) => self.properties.session_expiry_interval().unwrap_or(0),
            (_, true) => 0,
            (_, false) => u32::MAX,
        }
    }

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
        // In MQTT 3.1 the Remaining Length has precedence over these two flags: a string that its flag announces may
        // be missing at the end of the packet.
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

/// In the Protocol Level: the Client is a bridge.
const BRIDGE: u8 = 0x80;

/// Reads Protocol Name and Protocol Level `[MQTT-3.1.2-1]` `[MQTT-3.1.2-2]`, and whether the Client is a bridge.
#[inline]
fn decode_version(reader: &mut Reader<'_>) -> Result<(Version, bool), ConnectRefusal> {
    let mut name_and_level = || Ok((reader.binary()?, reader.u8()?));
    let (name, level) = name_and_level().map_err(|refusal| ConnectRefusal::new(None, refusal))?;
    let unsupported =
        |version, why| Err(ConnectRefusal::new(version, Refusal::new(ReasonCode::UnsupportedProtocolVersion, why)));
    match (name, level) {
        (b"MQIsdp", 3 | 0x83) if cfg!(feature = "v3") => Ok((Version::V3_1, level & BRIDGE != 0)),
        (b"MQTT", 4 | 0x84) if cfg!(feature = "v3") => Ok((Version::V3_1_1, level & BRIDGE != 0)),
        // MQTT 5.0 has Subscription Options for what a bridge wants, and no such bit.
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", _) if level & 0x7F > 5 => unsupported(Some(Version::V5), "this Server speaks MQTT up to version 5.0"),
        (b"MQTT" | b"MQIsdp", _) => {
            unsupported(Some(Version::V3_1_1), "the levels are MQIsdp 3, MQTT 4 and MQTT 5 [MQTT-3.1.2-2]")
        }
        _ => unsupported(None, "the Protocol Name is MQTT [MQTT-3.1.2-1]"),
    }
}

struct Flags {
    user_name: bool,
    password: bool,
    will: Option<(QoS, bool)>,
    clean_start: bool,
}

impl Flags {
    /// Reads the Connect Flags (section 3.1.2.3).
    #[inline]
    fn decode(version: Version, bits: u8) -> Result<Self, Refusal> {
        // MQTT 3.1 does not use this bit, and asks for no value.
        if bits & 0b0000_0001 != 0 && version != Version::V3_1 {
            return Err(Refusal::malformed("the reserved Connect Flag is 0 [MQTT-3.1.2-3]"));
        }
        let has_will = bits & 0b0000_0100 != 0;
        // MQTT 3.1 disregards QoS and Retain of a Will that is not there; later versions forbid them.
        let disregarded = if !has_will && version == Version::V3_1 { 0b0011_1000 } else { 0 };
        let bits = bits & !disregarded;
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

#[inline]
fn decode_properties<'a>(
    version: Version,
    reader: &mut Reader<'a>,
    place: property::Places,
) -> Result<Properties<'a>, Refusal> {
    if version.is_v5() { Properties::decode(reader, place) } else { Ok(Properties::EMPTY) }
}

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

    /// In its own version, whatever the caller's is.
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
