//! The few kinds of packets in the load, as bytes. The benchmark does not use Goldcrest's codec, whose faults it would
//! not notice.

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V3_1_1,
    V5,
}

/// The types of Control Packets, as in the upper half of the first byte.
pub const CONNACK: u8 = 2;
pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const SUBACK: u8 = 9;

/// The length of the beginning of each payload: publisher, sequence number, and a time stamp in nanoseconds.
pub const STAMP: usize = 16;

/// A CONNECT, with a Session that ends with the connection, or one that stays.
pub fn connect(version: Version, client_id: &str, stays: bool) -> Vec<u8> {
    let mut body = string("MQTT");
    body.extend(match version {
        Version::V3_1_1 => [4],
        Version::V5 => [5],
    });
    // A Keep Alive of ten hours: no client needs to ping during a run.
    body.extend([if stays { 0 } else { 2 }, 0x8c, 0xa0]);
    if version == Version::V5 {
        // The Properties are a Session Expiry Interval alone.
        body.extend([5, 0x11, 0, 0, if stays { 0xff } else { 0 }, 0]);
    }
    body.extend(string(client_id));
    frame(0x10, &body)
}

pub fn subscribe(version: Version, packet_id: u16, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(string(filter));
        body.push(qos);
    }
    frame(0x82, &body)
}

/// A PUBLISH whose Packet Identifier and stamp are written later, at the offsets in [`Patch`].
pub fn publish(version: Version, qos: u8, retain: bool, topic: &str, payload: usize) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend([0, 0]);
    }
    if version == Version::V5 {
        body.push(0);
    }
    let start = body.len();
    body.extend((0..payload).map(|i| i as u8));
    body[start..start + STAMP].fill(0);
    frame(0x30 | qos << 1 | u8::from(retain), &body)
}

/// The offsets of the parts of a PUBLISH that differ from message to message, counted from the end of the packet.
#[derive(Clone, Copy)]
pub struct Patch {
    pub payload: usize,
    pub packet_id: Option<usize>,
}

impl Patch {
    pub fn new(version: Version, qos: u8, payload: usize) -> Self {
        let properties = usize::from(version == Version::V5);
        Self { payload, packet_id: (qos > 0).then_some(payload + properties + 2) }
    }

    pub fn apply(self, packet: &mut [u8], publisher: u32, seq: u32, stamp: u64) {
        let len = packet.len();
        let payload = &mut packet[len - self.payload..][..STAMP];
        payload[..4].copy_from_slice(&publisher.to_le_bytes());
        payload[4..8].copy_from_slice(&seq.to_le_bytes());
        payload[8..].copy_from_slice(&stamp.to_le_bytes());
        if let Some(from_end) = self.packet_id {
            packet[len - from_end..][..2].copy_from_slice(&packet_id(seq).to_be_bytes());
        }
    }
}

/// The Packet Identifier of the message with this sequence number.
pub fn packet_id(seq: u32) -> u16 {
    (seq % 65_535) as u16 + 1
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP with success.
pub fn acknowledge(kind: u8, packet_id: u16) -> [u8; 4] {
    let flags = if kind == PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    [kind << 4 | flags, 2, high, low]
}

/// A packet as it was received.
pub struct Frame<'a> {
    pub first: u8,
    pub body: &'a [u8],
    pub len: usize,
}

impl Frame<'_> {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The Packet Identifier of a PUBACK, PUBREC, PUBREL, PUBCOMP or SUBACK.
    pub fn packet_id(&self) -> Option<u16> {
        self.body.first_chunk().map(|id| u16::from_be_bytes(*id))
    }
}

/// The first packet in `bytes`, if it is whole.
pub fn split(bytes: &[u8]) -> Option<Frame<'_>> {
    let mut len = 0;
    for (i, &byte) in bytes.get(1..)?.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let start = i + 2;
            return Some(Frame { first: bytes[0], body: bytes.get(start..start + len)?, len: start + len });
        }
    }
    None
}

/// A PUBLISH as a subscriber receives it.
pub struct Delivery {
    pub qos: u8,
    pub packet_id: u16,
    pub publisher: u32,
    pub seq: u32,
    pub stamp: u64,
    pub payload: usize,
}

/// Reads a PUBLISH; `None` if its payload is not from this benchmark.
pub fn read_publish(version: Version, frame: &Frame<'_>) -> Option<Delivery> {
    let qos = frame.first >> 1 & 3;
    let (topic, rest) = frame.body.split_first_chunk()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic))..)?;
    let mut packet_id = 0;
    if qos > 0 {
        let (id, after) = rest.split_first_chunk()?;
        (packet_id, rest) = (u16::from_be_bytes(*id), after);
    }
    if version == Version::V5 {
        // The Properties that a broker adds here take less than 128 bytes.
        rest = rest.get(1 + usize::from(*rest.first()?)..)?;
    }
    let (publisher, stamp) = rest.split_first_chunk()?;
    let (seq, stamp) = stamp.split_first_chunk()?;
    let (stamp, _) = stamp.split_first_chunk()?;
    // Only the end of the filler is checked: that is enough to notice a payload that was cut or mixed up with another.
    let last = rest.len() - 1;
    if rest.len() > STAMP && rest[last] != last as u8 {
        return None;
    }
    Some(Delivery {
        qos,
        packet_id,
        publisher: u32::from_le_bytes(*publisher),
        seq: u32::from_le_bytes(*seq),
        stamp: u64::from_le_bytes(*stamp),
        payload: rest.len(),
    })
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 0x7f { 0x80 } else { 0 };
        packet.push((len & 0x7f) as u8 | more);
        len >>= 7;
        if more == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
