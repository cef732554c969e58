//! What survives a restart: the broker's durable state as small records, each complete in itself.
//!
//! A record is a [`Key`] with a [`Value`], or with the note that the thing is gone. For a store the last record of a key counts,
//! so the store needs to know keys and bytes and nothing else:
//!
//! ```text
//! CRC-32 of all that follows │ format │ kind │ slot │ the value
//! 4 bytes, little-endian     │ 1      │ 1    │ 1..5 │ postcard; for a Message its body is all the rest
//! ```
//!
//! The top bit of the kind says that the thing is gone; then there is no value. A record does not contain its own length, which
//! the store knows. The checksum is CRC-32/ISO-HDLC. Numbers are varints of the postcard format. An [`Instant`](crate::Instant)
//! is written as its milliseconds plus one, and [`Instant::NEVER`](crate::Instant::NEVER) as 0.
//!
//! The code that writes and reads values is written by hand (`fields.rs`), so the core depends neither on serde nor on the crate postcard:
//! the two would take 3.8 KB more of a microcontroller's flash. A test derives serde for the same types, and compares each value with what
//! the crate postcard writes and reads. The gateway, where flash does not count, keeps its own records as serde types in postcard.
//!
//! [`Broker::poll_record`] tells where records come from, and [`Broker::restore`] where they go after a restart.
//!
//! [`Broker::poll_record`]: crate::Broker::poll_record
//! [`Broker::restore`]: crate::Broker::restore

use crate::mem::OWNED;
pub use crate::seam::kind::Kind;
pub use values::{
    Added, CountersRecord, DeliveryRecord, GroupRecord, Identifiers, MessageRecord, ReceiptRecord, Receiver,
    SessionRecord, SiblingRecord, SubscriptionRecord, Through, TransitRecord, Will,
};

use checksum::checksum;
use fields::{Field, Input, Output};

#[cfg_attr(not(feature = "alloc"), path = "small_checksum.rs")]
mod checksum;
mod fields;
#[cfg(all(test, feature = "alloc"))]
mod small_checksum;
mod values;

/// The format that is written, and the newest format that can be read.
pub const FORMAT: u8 = 1;

/// A record needs at most this many bytes besides its text, its identifiers or its body.
pub const OVERHEAD: usize = 128;

/// A bit in the byte of the kind: the thing is gone.
const GONE: u8 = 0x80;

/// Names a thing: its kind, and its slot, counted densely from 0 and used again when the thing is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table that the thing is in.
    pub kind: Kind,
    /// The slot in the table.
    pub slot: u32,
}

impl Key {
    /// The key as a number. The order of these numbers is the order of restoring.
    pub const fn to_bits(self) -> u64 {
        (self.kind as u64) << 32 | self.slot as u64
    }

    /// The key that has this number.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let kind = u8::try_from(bits >> 32).ok().and_then(Kind::from_byte)?;
        Some(Self { kind, slot: bits as u32 })
    }
}

/// A record that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The thing has this value from now on.
    Put(Key, Value<'a>),
    /// The thing is gone.
    Delete(Key),
}

/// The value of a record. It refers to other things by their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is told at its struct")]
pub enum Value<'a> {
    Session(SessionRecord<'a>),
    Group(GroupRecord<'a>),
    Subscription(SubscriptionRecord<'a>),
    Message(MessageRecord<'a>),
    Retained,
    Delivery(DeliveryRecord<'a>),
    Receipt(ReceiptRecord),
    Transit(TransitRecord<'a>),
    Sibling(SiblingRecord),
    Counters(CountersRecord),
}

/// Why a record can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The bytes are not the ones that were written.
    Damaged,
    /// A later version of this program wrote the record, in this format.
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
/// Every single flipped bit is noticed. Any other damage is missed with a chance of one in 2^32. An undamaged record of a newer
/// format is told apart from a damaged one.
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

/// The key of a sealed record, and whether the record says that the thing is gone. The checksum is not checked.
pub fn key(sealed: &[u8]) -> Option<(Key, bool)> {
    read_key(sealed).map(|(key, gone, _)| (key, gone))
}

impl Record<'_> {
    /// The thing that the record is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => *key,
        }
    }

    /// Seals the record. Returns how many bytes of `out` it takes; `None` if `out` is too short, or if the value is not of the
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
    Some(written.len().saturating_add(place.len()))
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
            Self::Transit(_) => Kind::Transit,
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
            Self::Transit(value) if OWNED => value.put(out),
            Self::Sibling(value) if OWNED => value.put(out),
            Self::Transit(_) | Self::Sibling(_) => {}
            Self::Counters(value) => value.put(out),
        }
    }

    /// Reads a value. Returns any value if the input is damaged. A kind that this broker does not have counts as damage.
    fn take(kind: Kind, input: &mut Input<'a>) -> Self {
        match kind {
            Kind::Session => Self::Session(Field::take(input)),
            Kind::Group => Self::Group(Field::take(input)),
            Kind::Subscription => Self::Subscription(Field::take(input)),
            Kind::Message => Self::Message(Field::take(input)),
            Kind::Retained => Self::Retained,
            Kind::Delivery => Self::Delivery(Field::take(input)),
            Kind::Receipt => Self::Receipt(Field::take(input)),
            Kind::Transit if OWNED => Self::Transit(Field::take(input)),
            Kind::Sibling if OWNED => Self::Sibling(Field::take(input)),
            Kind::Counters => Self::Counters(Field::take(input)),
            // A broker in borrowed memory is the only shard, and has no code for others.
            Kind::Transit | Kind::Sibling => {
                input.damage();
                Self::Retained
            }
        }
    }
}

#[cfg(test)]
mod tests;
