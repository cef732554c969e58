//! Properties that hold for all packets: tests with random ones.

use super::wire::vectors;
use super::*;
use crate::arbitrary::{packet, publish_properties, version, version_and_packet};
use proptest::prelude::*;

/// All beginnings of packets, and all packets with one flipped bit: decoding does not panic, and what it accepts encodes to a
/// packet that decodes to the same.
#[test]
fn a_damaged_packet_is_refused_or_decodes_to_a_valid_packet() {
    for (_, bytes, _) in vectors() {
        for end in 0..bytes.len() {
            assert!(matches!(split(&bytes[..end], NO_LIMIT), Ok(None)), "{bytes:02X?} up to {end}");
        }
        for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
            // Without the end of the packet, and with the Remaining Length of the rest.
            for end in 2..=bytes.len() {
                let mut damaged = bytes[..end].to_vec();
                damaged[1] = end as u8 - 2;
                refused_or_stable(version, &damaged);
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                refused_or_stable(version, &damaged);
            }
        }
    }
}

/// Asserts that the packet is refused, or encodes to a packet that decodes to the same.
fn refused_or_stable(version: Version, bytes: &[u8]) {
    match split(bytes, NO_LIMIT) {
        Ok(Some((frame, _))) => match Packet::decode(version, frame) {
            Ok(packet) => {
                let again = encoded(version, &packet);
                assert_eq!(decoded(version, &again), Ok(packet), "{version}: {bytes:02X?}");
            }
            Err(refusal) => assert!(refusal.code.is_error() && !refusal.why.is_empty(), "{bytes:02X?}"),
        },
        Ok(None) => {}
        Err(refusal) => assert!(refusal.code.is_error() && !refusal.why.is_empty(), "{bytes:02X?}"),
    }
}

/// The version in which `packet` is encoded: a CONNECT names its own.
fn in_its_version(version: Version, packet: &Packet<'_>) -> Version {
    if let Packet::Connect(connect) = packet { connect.version } else { version }
}

proptest! {
    #[test]
    fn an_encoded_packet_decodes_to_the_same_packet((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        let again = decoded(version, &bytes);
        prop_assert_eq!(&again, &Ok(packet));
        prop_assert_eq!(encoded(version, &again.unwrap()), bytes);
    }

    #[test]
    fn a_window_at_any_place_shows_the_bytes_of_the_packet((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        for skip in 0..=bytes.len() {
            for room in [0, 1, 7, bytes.len() - skip, bytes.len()] {
                let mut out = vec![0; room];
                let mut window = Window::new(skip as u32, &mut out);
                packet.encode(version, &mut window);
                let written = window.written();
                prop_assert_eq!(&out[..written], &bytes[skip..bytes.len().min(skip + room)]);
            }
        }
    }

    #[test]
    fn a_writer_reports_that_bytes_did_not_fit((version, packet) in version_and_packet(), missing in 1usize..9) {
        let mut out = vec![0; (packet.encoded_len(version) as usize).saturating_sub(missing)];
        let mut writer = Writer::new(&mut out);
        packet.encode(version, &mut writer);
        prop_assert!(writer.has_overflowed());
        prop_assert_eq!(writer.finish(), None);
    }

    #[test]
    fn a_truncated_packet_needs_more_bytes((version, packet) in version_and_packet()) {
        let bytes = encoded(version, &packet);
        for end in 0..bytes.len() {
            prop_assert_eq!(split(&bytes[..end], NO_LIMIT), Ok(None));
            // The length is not known yet, or it is known and right.
            let len = packet_len(&bytes[..end]);
            prop_assert!(len == Some(bytes.len() as u32) || (len.is_none() && end < 5));
        }
        prop_assert_eq!(decoded(in_its_version(version, &packet), &bytes), Ok(packet));
    }

    #[test]
    fn decoding_random_bytes_causes_no_panic(version in version(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        refused_or_stable(version, &bytes);
    }

    #[test]
    fn decoding_flipped_bits_causes_no_panic(
        (version, packet) in version_and_packet(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = encoded(version, &packet);
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        refused_or_stable(version, &bytes);
    }

    /// [`DeliveryHead`] encodes a PUBLISH whose Properties are those of the delivery, followed by the stored ones.
    #[test]
    fn a_delivery_around_a_stored_message_is_the_publish_with_all_its_properties(
        version in version(),
        stored in publish_properties(),
        qos in 0u8..3,
        topic_alias in proptest::option::of(1..=u16::MAX),
        message_expiry_interval in any::<Option<u32>>(),
        identifiers in proptest::collection::vec(1..=MAX_VARINT, 0..3),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let qos = QoS::from_bits(qos).unwrap();
        let packet_id = (qos > QoS::AtMostOnce).then_some(id(9));
        let head = DeliveryHead {
            version,
            dup: false,
            qos,
            retain: true,
            packet_id,
            topic_len: 3,
            topic_alias,
            message_expiry_interval,
            subscription_identifiers: identifiers.iter().copied(),
            stored_properties_len: stored.forwardable_len(),
            payload_len: payload.len() as u32,
        };
        let mut out = vec![0; head.packet_len() as usize];
        let mut writer = Writer::new(&mut out);
        head.put_before_topic(&mut writer);
        writer.put(b"a/b");
        head.put_between(&mut writer);
        if head.stored_properties_len() > 0 {
            stored.put_forwardable(&mut writer);
        }
        writer.put(&payload);
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(bytes.len(), head.packet_len() as usize);

        let mut list = Vec::new();
        if version.is_v5() {
            list.extend(topic_alias.map(Property::TopicAlias));
            list.extend(message_expiry_interval.map(Property::MessageExpiryInterval));
            list.extend(identifiers.iter().copied().map(Property::SubscriptionIdentifier));
            list.extend(stored.iter().filter(|property| !matches!(
                property,
                Property::TopicAlias(_) | Property::MessageExpiryInterval(_) | Property::SubscriptionIdentifier(_)
            )));
        }
        let properties = Properties::new(&list);
        let publish = Publish { dup: false, qos, retain: true, topic: "a/b", packet_id, properties, payload: &payload };
        prop_assert_eq!(decoded(version, bytes), Ok(Packet::Publish(publish)));
    }

    /// The Properties that are passed on have the bytes with which they came in.
    #[test]
    fn forwarded_properties_are_unaltered(properties in publish_properties()) {
        let publish = Publish {
            dup: false, qos: QoS::AtMostOnce, retain: false, topic: "t", packet_id: None, properties, payload: b"",
        };
        let bytes = encoded(Version::V5, &Packet::Publish(publish));
        let Ok(Packet::Publish(received)) = decoded(Version::V5, &bytes) else { panic!("refused") };
        let mut expected = vec![0; properties.forwardable_len() as usize];
        let mut writer = Writer::new(&mut expected);
        properties.put_forwardable(&mut writer);
        prop_assert!(writer.finish().is_some());
        let mut out = vec![0; received.properties.forwardable_len() as usize];
        let mut writer = Writer::new(&mut out);
        received.properties.put_forwardable(&mut writer);
        prop_assert_eq!(writer.finish().unwrap(), &expected);
        if let Some(raw) = received.properties.forwardable_verbatim() {
            prop_assert_eq!(raw, &expected);
        }
    }

    #[test]
    fn getters_of_properties_agree_with_iteration(properties in publish_properties()) {
        let find = |id| properties.iter().find(|property| property.id() == id);
        prop_assert_eq!(properties.topic_alias().map(Property::TopicAlias), find(PropertyId::TopicAlias));
        prop_assert_eq!(properties.content_type().map(Property::ContentType), find(PropertyId::ContentType));
        let count = |id| properties.iter().filter(|property| property.id() == id).count();
        prop_assert_eq!(properties.user_properties().count(), count(PropertyId::UserProperty));
        prop_assert_eq!(properties.subscription_identifiers().count(), count(PropertyId::SubscriptionIdentifier));
        prop_assert_eq!(properties.count() as usize, properties.iter().count());
        prop_assert_eq!(properties.is_empty(), properties.iter().next().is_none());
    }

    #[test]
    fn before_5_0_the_type_alone_decides_whether_a_client_may_send_a_packet(packet in packet(Version::V3_1_1)) {
        let from_client = packet.packet_type().is_from_client();
        prop_assert_eq!(packet.check_from_client().is_ok(), from_client);
    }
}
