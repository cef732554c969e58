//! What survives a restart: the broker's durable state as small records, each by itself.
//!
//! A record is a [`Key`] with a [`Value`], or with the word that there is none any more. For a store the last record of a
//! key is the one that counts, so it needs to know keys and bytes and nothing else:
//!
//! ```text
//! CRC-32 of all that follows │ format │ kind │ slot │ the value
//! 4 bytes, little-endian     │ 1      │ 1    │ 1..5 │ postcard; for a Message its body is all the rest
//! ```
//!
//! The top bit of the kind says that the thing is gone; then there is no value. How long a record is, the store knows: no
//! record says it. The checksum is CRC-32/ISO-HDLC. Numbers are varints of the postcard format, with an
//! [`Instant`] as its milliseconds plus one, and [`Instant::NEVER`] as 0.
//!
//! The code that writes and reads values is written by hand (`fields.rs`), so the core depends neither on serde nor on the crate postcard:
//! the two would take 3.8 KB more of a microcontroller's flash. A test derives serde for the same types, and compares each value with what
//! the crate postcard writes and reads. The gateway, where flash does not count, keeps its own records as serde types in postcard.
//!
//! Where records come from, and where they go after a restart, is told at [`Broker::poll_record`] and [`Broker::restore`].
//!
//! [`Broker::poll_record`]: crate::Broker::poll_record
//! [`Broker::restore`]: crate::Broker::restore

use crate::seam::counters::RECORDED_REASONS;
pub use crate::seam::kind::Kind;
use crate::time::Instant;

use fields::{Field, Input, Output, fields};

mod fields;

/// The format that is written, and the newest one that is read.
pub const FORMAT: u8 = 1;

/// A record needs at most this many bytes besides its text, its identifiers or its body.
pub const OVERHEAD: usize = 128;

/// In the byte of the kind: the thing is gone.
const GONE: u8 = 0x80;

/// What a record is about: a kind of thing, and its slot, counted densely from 0 and used again when the thing is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Which table.
    pub kind: Kind,
    /// The place in it.
    pub slot: u32,
}

impl Key {
    /// The key as a number. Numbers have the order of restoring.
    pub const fn to_bits(self) -> u64 {
        (self.kind as u64) << 32 | self.slot as u64
    }

    /// The key that has this number.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let kind = u8::try_from(bits >> 32).ok().and_then(Kind::from_byte)?;
        Some(Self { kind, slot: bits as u32 })
    }
}

/// A record, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The thing is so from now on.
    Put(Key, Value<'a>),
    /// The thing is gone.
    Delete(Key),
}

/// What a thing is. Other things are referred to by their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is told at its struct")]
pub enum Value<'a> {
    Session(Session<'a>),
    Group(Group<'a>),
    Subscription(Subscription<'a>),
    Message(Message<'a>),
    Retained,
    Delivery(Delivery<'a>),
    Receipt(Receipt),
    #[cfg(feature = "alloc")]
    Transit(Transit<'a>),
    #[cfg(feature = "alloc")]
    Sibling(Sibling),
    Counters(Counters),
}

/// A Session that outlives its Network Connection (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Session<'a> {
    /// The Client Identifier.
    pub client_id: &'a str,
    /// Whose it is: a [`Principal`](crate::Principal).
    pub principal: u32,
    /// The Session Expiry Interval in seconds; `u32::MAX`: it never ends by itself.
    pub expiry_secs: u32,
    /// When it ends; [`Instant::NEVER`] while the client is connected.
    #[cfg_attr(test, serde(with = "tests::moment"))]
    pub ends: Instant,
    /// The Will.
    pub will: Option<Will>,
    /// Messages lost to it, by [`DropReason`](crate::DropReason).
    pub dropped: [u32; RECORDED_REASONS],
    /// The Packet Identifier that was given out last when a message that had one was dropped, or 0. The client may remember those of
    /// such messages, of which nothing else tells any more. Always 0 without the feature `alloc`.
    pub last_packet_id: Added<u16>,
}

/// A last field that records of older programs don't have: there it is as by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Added<T>(pub T);

/// The Will of a Session (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Will {
    /// The slot of its Message.
    pub message: u32,
    /// Will Delay Interval in seconds.
    pub delay_secs: u32,
    /// When it is published; [`Instant::NEVER`] while the client is connected.
    #[cfg_attr(test, serde(with = "tests::moment"))]
    pub due: Instant,
    /// Message Expiry Interval in seconds, which starts when it is published.
    pub expiry_secs: Option<u32>,
}

/// The group of a shared subscription (section 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Group<'a> {
    /// `$share/`, the ShareName, `/` and the Topic Filter.
    pub filter: &'a str,
}

/// A subscription (section 3.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Subscription<'a> {
    /// The slot of its Session.
    pub session: u32,
    /// The Topic Filter, with its ShareName if it is a shared one.
    pub filter: &'a str,
    /// The Maximum QoS, 0 to 2.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// The Subscription Identifier; 0: none.
    pub identifier: u32,
    /// Not all retained messages that it was promised are sent.
    pub replaying: bool,
}

/// An Application Message (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Message<'a> {
    /// The first so many bytes of the body are the Topic Name.
    pub topic_len: u16,
    /// So many behind it are the Properties that are forwarded, as they stand in a packet.
    pub properties_len: u32,
    /// As it was published, 0 to 2.
    pub qos: u8,
    /// The RETAIN flag of the PUBLISH.
    pub retain: bool,
    /// When its Message Expiry Interval ends; [`Instant::NEVER`] without one.
    #[cfg_attr(test, serde(with = "tests::moment"))]
    pub expires: Instant,
    /// Its place among all messages.
    pub order: u64,
    /// Orders the retained messages of one topic among sibling brokers.
    pub stamp: u64,
    /// Topic Name, Properties and payload. Not part of the postcard value, but all that comes behind it.
    #[cfg_attr(test, serde(skip))]
    pub body: &'a [u8],
}

/// A message on its way (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Delivery<'a> {
    /// Who is to get it.
    pub to: Receiver,
    /// The slot of its Message; none once the receiver has it and only the handshake of QoS 2 is left.
    pub message: Option<u32>,
    /// The QoS it is sent with, 1 or 2.
    pub qos: u8,
    /// The RETAIN flag the subscriber gets.
    pub retain: bool,
    /// PUBREC has come.
    pub received: bool,
    /// The Packet Identifier; 0: it has none yet, and was never sent.
    pub packet_id: u16,
    /// The shared subscription it came through.
    pub through: Through,
    /// The Subscription Identifiers it is sent with.
    #[cfg_attr(test, serde(borrow))]
    pub identifiers: Identifiers<'a>,
}

/// Who is to get a [`Delivery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Receiver {
    /// The Session in this slot.
    Session(u32),
    /// Whoever comes first of the group in this slot.
    Group(u32),
}

/// Through which shared subscription a [`Delivery`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Through {
    /// None.
    Nothing,
    /// The group in this slot.
    Group(u32),
    /// A group that a sibling owns; the slot of the subscription to it.
    Foreign(u32),
}

/// Subscription Identifiers, one varint behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Identifiers<'a>(pub &'a [u8]);

/// A Packet Identifier that a client used for a QoS 2 message and has not released (section 4.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Receipt {
    /// The slot of its Session.
    pub session: u32,
    /// The Packet Identifier.
    pub packet_id: u16,
}

/// A message on its way to a sibling broker, with the feature `alloc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Transit<'a> {
    /// The sibling's index.
    pub sibling: u16,
    /// Its place among all messages to that sibling.
    pub sequence: u64,
    /// The slot of its Message.
    pub message: u32,
    /// See [`ShareStrategy`](crate::config::ShareStrategy): the same for all messages of one publisher.
    pub publisher_key: u32,
    /// The Topic Filter of the shared subscription that it is for alone; empty if it is for all subscribers there.
    pub group: &'a str,
}

/// How far the messages from and to the sibling broker are whose index is the slot; with the feature `alloc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Sibling {
    /// The place of the last one that was taken, see [`Transit`].
    pub taken: u64,
    /// The place of the last one that was sent there.
    pub sent: u64,
}

/// What was lost so far, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    /// By [`DropReason`](crate::DropReason).
    pub dropped: [u32; RECORDED_REASONS],
}

/// Why a record can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// These are not the bytes that were written.
    Damaged,
    /// A later version of this program wrote it, in this format.
    Newer(u8),
}

impl core::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Damaged => f.write_str("the record is damaged"),
            Self::Newer(format) => write!(f, "the record has format {format}, and only {FORMAT} is known here"),
        }
    }
}

impl core::error::Error for Unreadable {}

/// Reads a sealed record.
///
/// All single flipped bits are noticed, and all else with a chance of one in 2^32 to slip through. An undamaged record of a
/// newer format is told apart from a damaged one.
pub fn open(sealed: &[u8]) -> Result<Record<'_>, Unreadable> {
    let (stored, content) = sealed.split_first_chunk().ok_or(Unreadable::Damaged)?;
    if checksum(content) != u32::from_le_bytes(*stored) {
        return Err(Unreadable::Damaged);
    }
    match content.first() {
        Some(&FORMAT) => open_content(sealed).ok_or(Unreadable::Damaged),
        Some(&newer) if newer > FORMAT => Err(Unreadable::Newer(newer)),
        _ => Err(Unreadable::Damaged),
    }
}

/// What a sealed record is about, and whether it says that the thing is gone. The checksum is not looked at.
pub fn key(sealed: &[u8]) -> Option<(Key, bool)> {
    read_key(sealed).map(|(key, gone, _)| (key, gone))
}

impl Record<'_> {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => *key,
        }
    }

    /// Seals the record; how many bytes of `out` that took. `None` if `out` is too short, or if the value is not of the
    /// key's kind.
    pub fn seal(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Self::Delete(key) => seal(*key, None, &mut core::iter::empty(), out),
            Self::Put(key, value) => {
                let body = if let Value::Message(message) = value { message.body } else { &[] };
                seal(*key, Some(value), &mut core::iter::once(body), out)
            }
        }
    }
}

/// As [`Record::seal`], with the body of a Message in pieces.
pub(crate) fn seal(
    key: Key,
    value: Option<&Value<'_>>,
    body: &mut dyn Iterator<Item = &[u8]>,
    out: &mut [u8],
) -> Option<usize> {
    if value.is_some_and(|value| value.kind() != key.kind) {
        return None;
    }
    let (place, content) = out.split_first_chunk_mut::<4>()?;
    let mut content = Output::new(content);
    content.byte(FORMAT);
    content.byte(key.kind as u8 | if value.is_some() { 0 } else { GONE });
    key.slot.put(&mut content);
    if let Some(value) = value {
        value.put(&mut content);
    }
    for piece in body {
        content.bytes(piece);
    }
    let written = content.finish()?;
    *place = checksum(written).to_le_bytes();
    Some(place.len() + written.len())
}

fn read_key<'a>(sealed: &'a [u8]) -> Option<(Key, bool, Input<'a>)> {
    let mut input = Input::new(sealed.get(4..)?);
    let (_format, kind, slot) = (input.byte(), input.byte(), u32::take(&mut input));
    Some((Key { kind: Kind::from_byte(kind & !GONE)?, slot }, kind & GONE != 0, input))
}

fn open_content(sealed: &[u8]) -> Option<Record<'_>> {
    let (key, gone, mut input) = read_key(sealed)?;
    let record = if gone { Record::Delete(key) } else { Record::Put(key, Value::take(key.kind, &mut input)) };
    input.is_done().then_some(record)
}

fields! {
    Session<'a> { client_id, principal, expiry_secs, ends, will, dropped, last_packet_id }
    Will { message, delay_secs, due, expiry_secs }
    Group<'a> { filter }
    Subscription<'a> { session, filter, qos, no_local, retain_as_published, identifier, replaying }
    Message<'a> { topic_len, properties_len, qos, retain, expires, order, stamp; body }
    Delivery<'a> { to, message, qos, retain, received, packet_id, through, identifiers }
    Receipt { session, packet_id }
    Transit<'a> { sibling, sequence, message, publisher_key, group }
    Sibling { taken, sent }
    Counters { dropped }
}

impl<'a> Value<'a> {
    fn kind(&self) -> Kind {
        match self {
            Self::Session(_) => Kind::Session,
            Self::Group(_) => Kind::Group,
            Self::Subscription(_) => Kind::Subscription,
            Self::Message(_) => Kind::Message,
            Self::Retained => Kind::Retained,
            Self::Delivery(_) => Kind::Delivery,
            Self::Receipt(_) => Kind::Receipt,
            #[cfg(feature = "alloc")]
            Self::Transit(_) => Kind::Transit,
            #[cfg(feature = "alloc")]
            Self::Sibling(_) => Kind::Sibling,
            Self::Counters(_) => Kind::Counters,
        }
    }

    fn put(&self, out: &mut Output<'_>) {
        match self {
            Self::Session(value) => value.put(out),
            Self::Group(value) => value.put(out),
            Self::Subscription(value) => value.put(out),
            Self::Message(value) => value.put(out),
            Self::Retained => {}
            Self::Delivery(value) => value.put(out),
            Self::Receipt(value) => value.put(out),
            #[cfg(feature = "alloc")]
            Self::Transit(value) => value.put(out),
            #[cfg(feature = "alloc")]
            Self::Sibling(value) => value.put(out),
            Self::Counters(value) => value.put(out),
        }
    }

    /// Anything, if the input is damaged; what this broker has nothing like counts as damaged.
    fn take(kind: Kind, input: &mut Input<'a>) -> Self {
        match kind {
            Kind::Session => Self::Session(Field::take(input)),
            Kind::Group => Self::Group(Field::take(input)),
            Kind::Subscription => Self::Subscription(Field::take(input)),
            Kind::Message => Self::Message(Field::take(input)),
            Kind::Retained => Self::Retained,
            Kind::Delivery => Self::Delivery(Field::take(input)),
            Kind::Receipt => Self::Receipt(Field::take(input)),
            #[cfg(feature = "alloc")]
            Kind::Transit => Self::Transit(Field::take(input)),
            #[cfg(feature = "alloc")]
            Kind::Sibling => Self::Sibling(Field::take(input)),
            Kind::Counters => Self::Counters(Field::take(input)),
            // Without the feature `alloc` there are no siblings.
            #[cfg(not(feature = "alloc"))]
            Kind::Transit | Kind::Sibling => {
                input.damage();
                Self::Retained
            }
        }
    }
}

impl Field<'_> for Receiver {
    fn put(&self, out: &mut Output<'_>) {
        let (which, slot) = match self {
            Self::Session(slot) => (0, slot),
            Self::Group(slot) => (1, slot),
        };
        out.number(which);
        slot.put(out);
    }

    fn take(input: &mut Input<'_>) -> Self {
        match input.number(1) {
            0 => Self::Session(u32::take(input)),
            _ => Self::Group(u32::take(input)),
        }
    }
}

impl Field<'_> for Through {
    fn put(&self, out: &mut Output<'_>) {
        match self {
            Self::Nothing => out.number(0),
            Self::Group(slot) => {
                out.number(1);
                slot.put(out);
            }
            Self::Foreign(slot) => {
                out.number(2);
                slot.put(out);
            }
        }
    }

    fn take(input: &mut Input<'_>) -> Self {
        match input.number(2) {
            0 => Self::Nothing,
            1 => Self::Group(u32::take(input)),
            _ => Self::Foreign(u32::take(input)),
        }
    }
}

impl<'a> Field<'a> for Identifiers<'a> {
    fn put(&self, out: &mut Output<'_>) {
        self.0.put(out);
    }

    fn take(input: &mut Input<'a>) -> Self {
        Self(Field::take(input))
    }
}

impl Identifiers<'_> {
    /// Writes identifiers to the beginning of `out`, as far as there is room; how many bytes they take.
    pub(crate) fn write(identifiers: impl Iterator<Item = u32>, out: &mut [u8]) -> usize {
        let mut used = 0;
        for identifier in identifiers {
            let Some(rest) = out.get_mut(used..) else { break };
            let mut rest = Output::new(rest);
            identifier.put(&mut rest);
            let Some(written) = rest.finish() else { break };
            used += written.len();
        }
        used
    }
}

impl Iterator for Identifiers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut input = Input::new(self.0);
        let identifier = u32::take(&mut input);
        self.0 = input.undamaged()?;
        Some(identifier)
    }
}

#[cfg(feature = "alloc")]
fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(not(feature = "alloc"))]
use small_checksum as checksum;

/// CRC-32/ISO-HDLC with a table of 64 bytes, half a byte at a time.
#[cfg(any(not(feature = "alloc"), test))]
fn small_checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut at = 0;
        #[allow(clippy::indexing_slicing, reason = "at compile time")]
        while at < table.len() {
            let mut value = at as u32;
            let mut bit = 0;
            while bit < 4 {
                value = if value & 1 == 0 { value >> 1 } else { value >> 1 ^ 0xEDB8_8320 };
                bit += 1;
            }
            table[at] = value;
            at += 1;
        }
        table
    };
    let step = |crc: u32| crc >> 4 ^ TABLE.get((crc & 15) as usize).copied().unwrap_or(0);
    !bytes.iter().fold(!0, |crc, byte| step(step(crc ^ u32::from(*byte))))
}

#[cfg(test)]
mod tests;
