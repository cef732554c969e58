//! The values of records of each kind.

use super::fields::{Field, Input, Output, fields};
use crate::seam::counters::RECORDED_REASONS;
use crate::time::Instant;

/// A Session that outlives its Network Connection (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct SessionRecord<'a> {
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The [`Principal`](crate::Principal) that the Session belongs to.
    pub principal: u32,
    /// The Session Expiry Interval in seconds; `u32::MAX`: the Session never expires.
    pub expiry_secs: u32,
    /// When the Session expires; [`Instant::NEVER`] while the client is connected.
    #[cfg_attr(test, serde(with = "super::tests::moment"))]
    pub ends: Instant,
    /// The Will.
    pub will: Option<Will>,
    /// How many messages to the Session were lost, by [`DropReason`](crate::DropReason).
    pub dropped: [u32; RECORDED_REASONS],
    /// The last Packet Identifier that had been given out when a message with a Packet Identifier was dropped, or 0. The client
    /// may remember the Packet Identifiers of dropped messages, and no other record tells them. Always 0 without the feature
    /// `alloc`.
    pub last_packet_id: Added<u16>,
}

/// A last field that records of older programs don't have: reading these gives the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Added<T>(pub T);

/// The Will of a Session (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Will {
    /// The slot of the Will's Message.
    pub message: u32,
    /// Will Delay Interval in seconds.
    pub delay_secs: u32,
    /// When the Will is published; [`Instant::NEVER`] while the client is connected.
    #[cfg_attr(test, serde(with = "super::tests::moment"))]
    pub due: Instant,
    /// Message Expiry Interval in seconds, which starts when the Will is published.
    pub expiry_secs: Option<u32>,
}

/// The group of a shared subscription (section 4.8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct GroupRecord<'a> {
    /// `$share/`, the ShareName, `/` and the Topic Filter.
    pub filter: &'a str,
}

/// A subscription of a Session (section 3.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct SubscriptionRecord<'a> {
    /// The slot of the subscription's Session.
    pub session: u32,
    /// The Topic Filter, with `$share/` and the ShareName if it is a shared one.
    pub filter: &'a str,
    /// The Maximum QoS, 0 to 2.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// The Subscription Identifier; 0: none.
    pub identifier: u32,
    /// Some of the retained messages that the subscription is to get are not sent yet.
    pub replaying: bool,
}

/// An Application Message (section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct MessageRecord<'a> {
    /// How many bytes at the beginning of the body are the Topic Name.
    pub topic_len: u16,
    /// How many bytes after the Topic Name are the forwarded Properties, as they stand in a packet.
    pub properties_len: u32,
    /// The QoS with which the message was published, 0 to 2.
    pub qos: u8,
    /// The RETAIN flag of the PUBLISH.
    pub retain: bool,
    /// When the message's Message Expiry Interval ends; [`Instant::NEVER`] without one.
    #[cfg_attr(test, serde(with = "super::tests::moment"))]
    pub expires: Instant,
    /// The number of the message in the order of all messages.
    pub order: u64,
    /// Orders the retained messages of one topic that come from different shards.
    pub stamp: u64,
    /// Topic Name, Properties and payload. Not part of the postcard value, but all bytes behind it.
    #[cfg_attr(test, serde(skip))]
    pub body: &'a [u8],
}

/// A message on its way to a Session or a group (section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct DeliveryRecord<'a> {
    /// The receiver.
    pub to: Receiver,
    /// The slot of the Message; `None` if the receiver has it and only the handshake of QoS 2 is left.
    pub message: Option<u32>,
    /// The QoS of the delivery, 1 or 2.
    pub qos: u8,
    /// The RETAIN flag of the delivery.
    pub retain: bool,
    /// Whether PUBREC has come.
    pub received: bool,
    /// The Packet Identifier; 0 if the message has none yet, and was never sent.
    pub packet_id: u16,
    /// The shared subscription through which the message came.
    pub through: Through,
    /// The Subscription Identifiers of the delivery.
    #[cfg_attr(test, serde(borrow))]
    pub identifiers: Identifiers<'a>,
}

/// The receiver of a [`DeliveryRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Receiver {
    /// The Session in this slot.
    Session(u32),
    /// Any member of the group in this slot.
    Group(u32),
}

/// The shared subscription through which a [`DeliveryRecord`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub enum Through {
    /// No shared subscription.
    Nothing,
    /// The group in this slot.
    Group(u32),
    /// A group at home on another shard; this is the slot of the member's subscription.
    Foreign(u32),
}

/// Subscription Identifiers, one varint behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Identifiers<'a>(pub &'a [u8]);

/// A Packet Identifier that a client used for a QoS 2 message and has not released (section 4.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct ReceiptRecord {
    /// The slot of the client's Session.
    pub session: u32,
    /// The Packet Identifier.
    pub packet_id: u16,
}

/// A message on its way to another shard, with the feature `alloc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct TransitRecord<'a> {
    /// The index of that shard.
    pub sibling: u16,
    /// The sequence number of the message among all messages to that shard.
    pub sequence: u64,
    /// The slot of the Message.
    pub message: u32,
    /// The same number for all messages of one publisher, see [`ShareStrategy`](crate::config::ShareStrategy).
    pub publisher_key: u32,
    /// The Topic Filter of the one shared subscription that the message is for; empty if it is for all subscribers on that
    /// shard.
    pub group: &'a str,
}

/// The progress of the messages to and from another shard. The slot is the index of that shard. Only with the feature `alloc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct SiblingRecord {
    /// The sequence number of the last message that was received from that shard, see [`TransitRecord`].
    pub taken: u64,
    /// The sequence number of the last message that was sent to that shard.
    pub sent: u64,
}

/// How many messages were lost so far, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct CountersRecord {
    /// How many messages were lost, by [`DropReason`](crate::DropReason).
    pub dropped: [u32; RECORDED_REASONS],
}

fields! {
    SessionRecord<'a> { client_id, principal, expiry_secs, ends, will, dropped, last_packet_id }
    Will { message, delay_secs, due, expiry_secs }
    GroupRecord<'a> { filter }
    SubscriptionRecord<'a> { session, filter, qos, no_local, retain_as_published, identifier, replaying }
    MessageRecord<'a> { topic_len, properties_len, qos, retain, expires, order, stamp; body }
    DeliveryRecord<'a> { to, message, qos, retain, received, packet_id, through, identifiers }
    ReceiptRecord { session, packet_id }
    TransitRecord<'a> { sibling, sequence, message, publisher_key, group }
    SiblingRecord { taken, sent }
    CountersRecord { dropped }
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

impl<'a, T: Field<'a> + Default> Field<'a> for Added<T> {
    fn put(&self, out: &mut Output<'_>) {
        self.0.put(out);
    }

    fn take(input: &mut Input<'a>) -> Self {
        if input.is_empty() { Self::default() } else { Self(T::take(input)) }
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
    /// Writes identifiers to the beginning of `out`, as far as there is room. Returns how many bytes they take.
    pub(crate) fn write(identifiers: impl Iterator<Item = u32>, out: &mut [u8]) -> usize {
        let mut used: usize = 0;
        for identifier in identifiers {
            let Some(rest) = out.get_mut(used..) else { break };
            let mut rest = Output::new(rest);
            identifier.put(&mut rest);
            let Some(written) = rest.finish() else { break };
            used = used.saturating_add(written.len());
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
