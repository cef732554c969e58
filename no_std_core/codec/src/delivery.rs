//! The head of a PUBLISH whose topic, Properties and payload are stored elsewhere.

use crate::publish::first_byte;
use crate::{MAX_PACKET_LEN, MAX_VARINT, PacketId, Property, QoS, Sink, Version, varint_len};

/// Writes a PUBLISH around a stored message, whose parts need not be contiguous: a delivery copies them from where
/// they are to where they are sent.
///
/// In this order: [`put_before_topic`](Self::put_before_topic), the topic's `topic_len` bytes,
/// [`put_between`](Self::put_between), the stored Properties' [`stored_properties_len`](Self::stored_properties_len)
/// bytes, the payload's `payload_len` bytes.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryHead<I> {
    /// What the receiver speaks.
    pub version: Version,
    /// Whether it was sent before.
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// There from QoS 1 on, and not with QoS 0.
    pub packet_id: Option<PacketId>,
    /// Bytes of the Topic Name; 0 where a Topic Alias that the receiver knows replaces it.
    pub topic_len: u16,
    /// The Topic Alias; ignored before MQTT 5.0.
    pub topic_alias: Option<u16>,
    /// Seconds that are left of the Message Expiry Interval `[MQTT-3.3.2-6]`; ignored before MQTT 5.0.
    pub message_expiry_interval: Option<u32>,
    /// The identifiers of the subscriptions that this delivery is for, each 1 to 268,435,455 `[MQTT-3.3.4-3]`;
    /// ignored before MQTT 5.0.
    pub subscription_identifiers: I,
    /// Encoded bytes of the Properties that are passed on unaltered; ignored before MQTT 5.0.
    pub stored_properties_len: u32,
    /// Bytes of the payload.
    pub payload_len: u32,
}

impl<I: Iterator<Item = u32> + Clone> DeliveryHead<I> {
    /// Bytes of the whole packet; `u32::MAX` where it exceeds what a packet can be, [`MAX_PACKET_LEN`].
    #[inline]
    pub fn packet_len(&self) -> u32 {
        let remaining = self.remaining_len();
        if remaining > MAX_VARINT {
            return u32::MAX;
        }
        const { assert!(MAX_PACKET_LEN < u32::MAX) };
        1 + varint_len(remaining) + remaining
    }

    /// Bytes of stored Properties that the caller has to put: none before MQTT 5.0.
    #[inline]
    pub fn stored_properties_len(&self) -> u32 {
        if self.version.is_v5() { self.stored_properties_len } else { 0 }
    }

    /// Puts all that stands before the bytes of the Topic Name.
    #[inline]
    pub fn put_before_topic(&self, out: &mut impl Sink) {
        debug_assert_eq!(self.packet_id.is_some(), self.qos > QoS::AtMostOnce, "[MQTT-2.2.1-2]");
        out.put_u8(first_byte(self.dup, self.qos, self.retain));
        out.put_varint(self.remaining_len());
        out.put_u16(self.topic_len);
    }

    /// Puts all that stands between the Topic Name and the stored Properties.
    #[inline]
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
        let topic_and_id = 2 + u32::from(self.topic_len) + if self.packet_id.is_some() { 2 } else { 0 };
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
        let identifiers = self.subscription_identifiers.clone().map(|id| 1 + varint_len(id));
        identifiers.fold(topic_alias + expiry, u32::saturating_add)
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
