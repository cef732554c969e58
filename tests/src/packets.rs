//! Packets of a client, written as shortly as in a transcript, and raw bytes for packets with mistakes.

use goldcrest_core::codec::*;

/// Something that a client can send.
pub trait Wire {
    /// The bytes in this version.
    fn wire(&self, version: Version) -> Vec<u8>;
}

impl Wire for Packet<'_> {
    fn wire(&self, version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(version, &mut bytes);
        bytes
    }
}

impl Wire for Vec<u8> {
    fn wire(&self, _: Version) -> Vec<u8> {
        self.clone()
    }
}

impl Wire for &[u8] {
    fn wire(&self, _: Version) -> Vec<u8> {
        self.to_vec()
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn wire(&self, _: Version) -> Vec<u8> {
        self.to_vec()
    }
}

impl<T: Wire + ?Sized> Wire for &T {
    fn wire(&self, version: Version) -> Vec<u8> {
        (*self).wire(version)
    }
}

/// A packet with this first byte and body, and the right Remaining Length.
pub fn raw(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.put_varint(body.len() as u32);
    bytes.extend_from_slice(body);
    bytes
}

/// A string or binary field of these bytes, whether they are valid or not.
pub fn field(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// A Property Length and these bytes; before MQTT 5.0 nothing.
pub fn properties(version: Version, bytes: &[u8]) -> Vec<u8> {
    if !version.is_v5() {
        return Vec::new();
    }
    let mut out = Vec::new();
    out.put_varint(bytes.len() as u32);
    out.extend_from_slice(bytes);
    out
}

/// A CONNECT with these flags and this payload, with Keep Alive 60 and without Properties.
pub fn raw_connect(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
    let name = field(version.protocol_name().as_bytes());
    raw(0x10, &[&name[..], &[version.level(), flags, 0, 60], &properties(version, &[]), payload].concat())
}

/// A PUBLISH with this first byte, topic and Properties, and without a payload; `id` is for QoS 1 and 2.
pub fn raw_publish(version: Version, first: u8, topic: &[u8], id: Option<u16>, list: &[u8]) -> Vec<u8> {
    let id = id.map_or(Vec::new(), |id| id.to_be_bytes().to_vec());
    raw(first, &[field(topic), id, properties(version, list)].concat())
}

/// A SUBSCRIBE with the Packet Identifier 10 and this payload.
pub fn raw_subscribe(version: Version, payload: &[u8]) -> Vec<u8> {
    raw(0x82, &[&[0, 10][..], &properties(version, &[]), payload].concat())
}

/// An UNSUBSCRIBE with the Packet Identifier 11 and this payload.
pub fn raw_unsubscribe(version: Version, payload: &[u8]) -> Vec<u8> {
    raw(0xA2, &[&[0, 11][..], &properties(version, &[]), payload].concat())
}

/// The QoS with this level, 0 to 2.
pub fn qos(level: u8) -> QoS {
    QoS::from_bits(level).expect("QoS 0, 1 or 2")
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).expect("a Packet Identifier is not 0")
}

/// A CONNECT with Clean Start 1, Session Expiry 0 and Keep Alive 60, in the version of the test unless it names
/// another.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The Client Identifier.
    pub id: &'a str,
    pub(crate) version: Option<Version>,
    is_bridge: bool,
    clean_start: bool,
    session_expiry: u32,
    keep_alive: u16,
    will: Option<Will<'a>>,
    user_name: Option<&'a str>,
    password: Option<&'a [u8]>,
    properties: &'a [Property<'a>],
}

/// A CONNECT with this Client Identifier.
pub const fn client(id: &str) -> Client<'_> {
    Client {
        id,
        version: None,
        is_bridge: false,
        clean_start: true,
        session_expiry: 0,
        keep_alive: 60,
        will: None,
        user_name: None,
        password: None,
        properties: &[],
    }
}

impl<'a> From<&'a str> for Client<'a> {
    fn from(id: &'a str) -> Self {
        client(id)
    }
}

impl<'a> Client<'a> {
    /// In this version, whatever the version of the test.
    pub const fn version(self, version: Version) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Marks the client as a bridge, by the highest bit of the Protocol Level.
    pub const fn bridge(self) -> Self {
        Self { is_bridge: true, ..self }
    }

    /// Resumes a Session and keeps it: Clean Start 0 and Session Expiry 3600, or CleanSession 0.
    pub const fn keep(self) -> Self {
        Self { clean_start: false, session_expiry: 3600, ..self }
    }

    /// Sets Clean Start, and leaves the Session Expiry Interval.
    pub const fn clean_start(self, clean_start: bool) -> Self {
        Self { clean_start, ..self }
    }

    /// Sets the Session Expiry Interval in seconds; with 0 the Property is left out.
    pub const fn session_expiry(self, seconds: u32) -> Self {
        Self { session_expiry: seconds, ..self }
    }

    /// Sets the Keep Alive in seconds.
    pub const fn keep_alive(self, seconds: u16) -> Self {
        Self { keep_alive: seconds, ..self }
    }

    /// Adds a Will.
    pub const fn will(self, will: Will<'a>) -> Self {
        Self { will: Some(will), ..self }
    }

    /// Adds a User Name.
    pub const fn user_name(self, user_name: &'a str) -> Self {
        Self { user_name: Some(user_name), ..self }
    }

    /// Adds a Password.
    pub const fn password(self, password: &'a [u8]) -> Self {
        Self { password: Some(password), ..self }
    }

    /// Adds Properties besides the Session Expiry Interval.
    pub const fn with(self, properties: &'a [Property<'a>]) -> Self {
        Self { properties, ..self }
    }
}

impl Wire for Client<'_> {
    fn wire(&self, version: Version) -> Vec<u8> {
        let version = self.version.unwrap_or(version);
        let mut list = self.properties.to_vec();
        if self.session_expiry != 0 {
            list.push(Property::SessionExpiryInterval(self.session_expiry));
        }
        let connect = Connect {
            version,
            is_bridge: self.is_bridge,
            clean_start: self.clean_start,
            keep_alive: self.keep_alive,
            properties: Properties::new(&list),
            client_id: self.id,
            will: self.will,
            user_name: self.user_name,
            password: self.password,
        };
        Packet::Connect(connect).wire(version)
    }
}

/// A Will Message without Properties.
pub fn will<'a>(topic: &'a str, payload: &'a (impl AsRef<[u8]> + ?Sized), level: u8) -> Will<'a> {
    let payload = payload.as_ref();
    Will { qos: qos(level), retain: false, properties: Properties::EMPTY, topic, payload }
}

/// A PUBLISH of QoS 0.
pub fn publish<'a>(topic: &'a str, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Publication<'a> {
    Publication(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: payload.as_ref(),
    })
}

/// A PUBLISH.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a>(Publish<'a>);

impl<'a> Publication<'a> {
    /// With QoS 1 and this Packet Identifier.
    pub fn q1(self, id: u16) -> Self {
        self.qos(1, id)
    }

    /// With QoS 2 and this Packet Identifier.
    pub fn q2(self, id: u16) -> Self {
        self.qos(2, id)
    }

    /// With this QoS; the Packet Identifier is for QoS 1 and 2.
    pub fn qos(self, level: u8, id: u16) -> Self {
        let packet_id = (level > 0).then(|| packet_id(id));
        Self(Publish { qos: qos(level), packet_id, ..self.0 })
    }

    /// With the DUP flag.
    pub fn dup(self) -> Self {
        Self(Publish { dup: true, ..self.0 })
    }

    /// With the RETAIN flag.
    pub fn retain(self) -> Self {
        Self(Publish { retain: true, ..self.0 })
    }

    /// With these Properties.
    pub fn with(self, properties: &'a [Property<'a>]) -> Self {
        Self(Publish { properties: Properties::new(properties), ..self.0 })
    }
}

impl Wire for Publication<'_> {
    fn wire(&self, version: Version) -> Vec<u8> {
        Packet::Publish(self.0).wire(version)
    }
}

/// A SUBSCRIBE for one filter.
pub fn subscribe(id: u16, filter: &str, level: u8) -> Subscription<'_> {
    Subscription { id, filters: Vec::new(), properties: &[] }.and(filter, level)
}

/// A SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscription<'a> {
    id: u16,
    filters: Vec<(&'a str, SubscriptionOptions)>,
    properties: &'a [Property<'a>],
}

impl<'a> Subscription<'a> {
    /// Adds a filter. The options that follow are those of the last filter.
    pub fn and(mut self, filter: &'a str, level: u8) -> Self {
        self.filters.push((filter, SubscriptionOptions::with_qos(qos(level))));
        self
    }

    /// Sets No Local.
    pub fn no_local(mut self) -> Self {
        self.last().no_local = true;
        self
    }

    /// Sets Retain As Published.
    pub fn retain_as_published(mut self) -> Self {
        self.last().retain_as_published = true;
        self
    }

    /// Sets Retain Handling to 0, 1 or 2.
    pub fn retain_handling(mut self, handling: u8) -> Self {
        self.last().retain_handling = match handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        };
        self
    }

    /// With these Properties.
    pub fn with(self, properties: &'a [Property<'a>]) -> Self {
        Self { properties, ..self }
    }

    fn last(&mut self) -> &mut SubscriptionOptions {
        &mut self.filters.last_mut().expect("a filter").1
    }
}

impl Wire for Subscription<'_> {
    fn wire(&self, version: Version) -> Vec<u8> {
        let filters: Vec<_> = self
            .filters
            .iter()
            .map(|(filter, options)| match version {
                Version::V5 => (*filter, *options),
                _ => (*filter, SubscriptionOptions::with_qos(options.qos)),
            })
            .collect();
        let properties = Properties::new(self.properties);
        Packet::Subscribe(Subscribe { packet_id: packet_id(self.id), properties, filters: Filters::new(&filters) })
            .wire(version)
    }
}

/// An UNSUBSCRIBE.
pub fn unsubscribe<'a>(id: u16, filters: &'a [&'a str]) -> Unsubscription<'a> {
    Unsubscription { id, filters }
}

/// An UNSUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct Unsubscription<'a> {
    id: u16,
    filters: &'a [&'a str],
}

impl Wire for Unsubscription<'_> {
    fn wire(&self, version: Version) -> Vec<u8> {
        let (packet_id, filters) = (packet_id(self.id), Topics::new(self.filters));
        Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::EMPTY, filters }).wire(version)
    }
}

/// A PUBACK with success.
pub fn puback(id: u16) -> Acknowledgement {
    Acknowledgement(AckKind::PubAck, id, ReasonCode::Success)
}

/// A PUBREC with success.
pub fn pubrec(id: u16) -> Acknowledgement {
    Acknowledgement(AckKind::PubRec, id, ReasonCode::Success)
}

/// A PUBREL with success.
pub fn pubrel(id: u16) -> Acknowledgement {
    Acknowledgement(AckKind::PubRel, id, ReasonCode::Success)
}

/// A PUBCOMP with success.
pub fn pubcomp(id: u16) -> Acknowledgement {
    Acknowledgement(AckKind::PubComp, id, ReasonCode::Success)
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledgement(AckKind, u16, ReasonCode);

impl Acknowledgement {
    /// With this Reason Code, in MQTT 5.0.
    pub fn code(self, code: ReasonCode) -> Self {
        Self(self.0, self.1, code)
    }
}

impl Wire for Acknowledgement {
    fn wire(&self, version: Version) -> Vec<u8> {
        self.0.of(Ack::new(packet_id(self.1), self.2)).wire(version)
    }
}

/// A PINGREQ.
pub const PINGREQ: [u8; 2] = [0xC0, 0];

/// A DISCONNECT in its shortest form.
pub const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A DISCONNECT of MQTT 5.0 with a Reason Code.
pub fn disconnect(code: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(Disconnect::new(code))
}
