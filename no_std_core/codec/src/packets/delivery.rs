//! A PUBLISH whose topic, Properties and payload are stored in different places.

use super::publish::first_byte;
use crate::{PacketId, Property, QoS, Sink, Version, varint_len};

/// Encodes a PUBLISH around a stored message: the caller puts the stored parts, which may be in several places, and this type
/// puts all that stands before and between them.
///
/// The parts of the packet in their order:
///
/// 1. [`put_before_topic`](Self::put_before_topic);
/// 2. the topic, `topic_len` bytes;
/// 3. [`put_between`](Self::put_between);
/// 4. the stored Properties, [`stored_properties_len()`](Self::stored_properties_len) bytes;
/// 5. the payload, `payload_len` bytes.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryHead<I> {
    /// The version that the receiver speaks.
    pub version: Version,
    /// Whether the packet was sent before.
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// The Packet Identifier: `Some` with QoS 1 and 2, `None` with QoS 0 `[MQTT-2.2.1-2]`.
    pub packet_id: Option<PacketId>,
    /// The number of bytes of the Topic Name; 0 if a Topic Alias that the receiver knows replaces it.
    pub topic_len: u16,
    /// The Topic Alias; ignored before MQTT 5.0.
    pub topic_alias: Option<u16>,
    /// The seconds that are left of the Message Expiry Interval `[MQTT-3.3.2-6]`; ignored before MQTT 5.0.
    pub message_expiry_interval: Option<u32>,
    /// The Subscription Identifiers of the subscriptions that match, each 1 to 268,435,455 `[MQTT-3.3.4-3]`; ignored before
    /// MQTT 5.0.
    pub subscription_identifiers: I,
    /// The number of encoded bytes of the stored Properties, which are passed on unaltered; ignored before MQTT 5.0.
    pub stored_properties_len: u32,
    /// The number of bytes of the payload.
    pub payload_len: u32,
}

impl<I: Iterator<Item = u32> + Clone> DeliveryHead<I> {
    /// The number of bytes of the whole packet; `u32::MAX` if it would exceed
    /// [`MAX_PACKET_LEN`](crate::MAX_PACKET_LEN).
    #[inline]
    pub fn packet_len(&self) -> u32 {
        super::packet_len(self.remaining_len())
    }

    /// The number of bytes of stored Properties that the caller has to put: 0 before MQTT 5.0.
    #[inline]
    pub fn stored_properties_len(&self) -> u32 {
        if self.version.is_v5() { self.stored_properties_len } else { 0 }
    }

    /// Puts the bytes before the Topic Name: the fixed header and the length of the Topic Name.
    #[inline(always)]
    pub fn put_before_topic(&self, out: &mut impl Sink) {
        debug_assert_eq!(self.packet_id.is_some(), self.qos > QoS::AtMostOnce, "[MQTT-2.2.1-2]");
        out.put_u8(first_byte(self.dup, self.qos, self.retain));
        out.put_varint(self.remaining_len());
        out.put_u16(self.topic_len);
    }

    /// Puts the bytes between the Topic Name and the stored Properties: the Packet Identifier, the Property Length, and the
    /// Properties of this delivery.
    #[inline(always)]
    pub fn put_between(&self, out: &mut impl Sink) {
        if let Some(id) = self.packet_id {
            out.put_u16(id.get());
        }
        if self.version.is_v5() {
            out.put_varint(self.own_properties_len().saturating_add(self.stored_properties_len));
            self.put_own_properties(out);
        }
    }

    #[inline]
    fn remaining_len(&self) -> u32 {
        let id = if self.packet_id.is_some() { 2 } else { 0 };
        let topic_and_id = u32::from(self.topic_len).saturating_add(2).saturating_add(id);
        let properties = if self.version.is_v5() {
            let properties = self.own_properties_len().saturating_add(self.stored_properties_len);
            properties.saturating_add(varint_len(properties))
        } else {
            0
        };
        topic_and_id.saturating_add(properties).saturating_add(self.payload_len)
    }

    #[inline]
    fn own_properties_len(&self) -> u32 {
        const WITH_TWO_BYTES: u32 = 3;
        const WITH_FOUR_BYTES: u32 = 5;
        let topic_alias = self.topic_alias.map_or(0, |_| WITH_TWO_BYTES);
        let expiry = self.message_expiry_interval.map_or(0, |_| WITH_FOUR_BYTES);
        let identifiers = self.subscription_identifiers.clone().map(|id| varint_len(id).saturating_add(1));
        identifiers.fold(u32::saturating_add(topic_alias, expiry), u32::saturating_add)
    }

    #[inline]
    fn put_own_properties(&self, out: &mut impl Sink) {
        if let Some(alias) = self.topic_alias {
            Property::TopicAlias(alias).encode(out);
        }
        if let Some(seconds) = self.message_expiry_interval {
            Property::MessageExpiryInterval(seconds).encode(out);
        }
        for id in self.subscription_identifiers.clone() {
            Property::SubscriptionIdentifier(id).encode(out);
        }
    }
}
