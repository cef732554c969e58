use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

#[cfg(not(feature = "alloc"))]
use super::checksum::checksum as small_checksum;
#[cfg(feature = "alloc")]
use super::small_checksum::checksum as small_checksum;
use super::*;
use crate::time::Instant;

/// One value of each kind, with every optional part.
fn values() -> [Value<'static>; 10] {
    let dropped = [0, 1, 127, 128, 16_384, u32::MAX, 7, 8, 9, 0];
    let will = Will { message: 3, delay_secs: 60, due: Instant::from_millis(u64::MAX - 1), expiry_secs: Some(0) };
    [
        Value::Session(SessionRecord {
            client_id: "sensor-é",
            principal: u32::MAX,
            expiry_secs: 3600,
            ends: Instant::NEVER,
            will: Some(will),
            dropped,
            last_packet_id: Added(u16::MAX),
        }),
        Value::Group(GroupRecord { filter: "$share/workers/jobs/#" }),
        Value::Subscription(SubscriptionRecord {
            session: 1,
            filter: "home/+/state",
            qos: 2,
            no_local: true,
            retain_as_published: false,
            identifier: (1 << 28) - 1,
            replaying: true,
        }),
        Value::Message(MessageRecord {
            topic_len: 4,
            properties_len: 2,
            qos: 1,
            retain: true,
            expires: Instant::from_millis(0),
            order: u64::MAX,
            stamp: 1 << 40,
            body: b"home\x01\x01hello",
        }),
        Value::Retained,
        Value::Delivery(DeliveryRecord {
            to: Receiver::Session(70_000),
            message: Some(4),
            qos: 2,
            retain: true,
            received: false,
            packet_id: u16::MAX,
            through: Through::Group(2),
            identifiers: Identifiers(&[1, 0xFF, 0xFF, 0x7F]),
        }),
        Value::Receipt(ReceiptRecord { session: 9, packet_id: 1 }),
        Value::Transit(TransitRecord {
            sibling: 3,
            sequence: 1 << 33,
            message: 5,
            publisher_key: 99,
            group: "$share/g/a",
        }),
        Value::Sibling(SiblingRecord { taken: 12, sent: 1 << 50 }),
        Value::Counters(CountersRecord { dropped }),
    ]
}

/// One record of each kind, put and deleted.
fn samples() -> Vec<Record<'static>> {
    let keys = Kind::ALL.iter().zip([0, 1, 127, 128, 16_383, 70_000, u32::MAX, 5, 6, 0]);
    // Without the feature `alloc` there is only one shard.
    let kept = |kind: &Kind| OWNED || !matches!(kind, Kind::Transit | Kind::Sibling);
    keys.zip(values())
        .filter(|((kind, _), _)| kept(kind))
        .flat_map(|((kind, slot), value)| {
            let key = Key { kind: *kind, slot };
            [Record::Put(key, value), Record::Delete(key)]
        })
        .collect()
}

fn sealed(record: &Record<'_>) -> Vec<u8> {
    let mut out = vec![0; 512];
    let len = record.seal(&mut out).unwrap();
    out.truncate(len);
    out
}

#[test]
fn a_sealed_record_is_read_back_unchanged() {
    for record in samples() {
        let bytes = sealed(&record);
        assert_eq!(open(&bytes), Ok(record));
        assert_eq!(key(&bytes), Some((record.key(), matches!(record, Record::Delete(_)))));
        assert_eq!(Key::from_bits(record.key().to_bits()), Some(record.key()));
    }
}

#[test]
fn a_session_record_of_an_older_program_is_read() {
    let Record::Put(key, Value::Session(session)) = samples()[0] else { panic!("the first sample is a Session") };
    let mut bytes = sealed(&Record::Put(key, Value::Session(SessionRecord { last_packet_id: Added(5), ..session })));
    bytes.pop();
    let sum = checksum(&bytes[4..]).to_le_bytes();
    bytes[..4].copy_from_slice(&sum);
    let older = SessionRecord { last_packet_id: Added(0), ..session };
    assert_eq!(open(&bytes), Ok(Record::Put(key, Value::Session(older))));
}

/// An [`Instant`] for serde.
pub(super) mod moment {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::time::Instant;

    pub(crate) fn serialize<S: Serializer>(instant: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        instant.as_millis().wrapping_add(1).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        u64::deserialize(deserializer).map(|number| Instant::from_millis(number.wrapping_sub(1)))
    }
}

/// Whether postcard writes `value` as exactly `bytes`, and reads the same value from them.
fn same_as_postcard<'a, T>(value: &T, bytes: &'a [u8]) -> bool
where
    T: serde::Serialize + serde::Deserialize<'a> + PartialEq,
{
    let mut out = [0; 256];
    postcard::to_slice(value, &mut out).unwrap() == bytes && postcard::from_bytes::<T>(bytes).as_ref() == Ok(value)
}

#[test]
fn record_values_are_in_the_format_of_postcard() {
    for record in samples() {
        let Record::Put(key, value) = record else { continue };
        let bytes = sealed(&record);
        let mut head = [0; 8];
        let head = postcard::to_slice(&(FORMAT, key.kind as u8, key.slot), &mut head).unwrap();
        let content = bytes[4..].strip_prefix(&*head).unwrap();
        let is_same = match value {
            Value::Session(value) => same_as_postcard(&value, content),
            Value::Group(value) => same_as_postcard(&value, content),
            Value::Subscription(value) => same_as_postcard(&value, content),
            Value::Message(value) => {
                let content = content.strip_suffix(value.body).unwrap();
                same_as_postcard(&MessageRecord { body: &[], ..value }, content)
            }
            Value::Retained => content.is_empty(),
            Value::Delivery(value) => same_as_postcard(&value, content),
            Value::Receipt(value) => same_as_postcard(&value, content),
            Value::Transit(value) => same_as_postcard(&value, content),
            Value::Sibling(value) => same_as_postcard(&value, content),
            Value::Counters(value) => same_as_postcard(&value, content),
        };
        assert!(is_same, "{record:?}");
    }
}

#[test]
fn numbers_of_all_lengths_are_read_and_too_large_ones_count_as_damage() {
    for number in (0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, u64::MAX >> bit]) {
        let mut out = [0; 10];
        let mut written = Output::new(&mut out);
        number.put(&mut written);
        let bytes = written.finish().unwrap();
        assert_eq!(bytes, postcard::to_slice(&number, &mut [0; 10]).unwrap());
        let mut input = Input::new(bytes);
        assert_eq!((u64::take(&mut input), input.is_done()), (number, true));
        let mut input = Input::new(bytes);
        let small = u32::take(&mut input);
        assert_eq!(input.is_done().then_some(small), u32::try_from(number).ok());
    }
    for bytes in [&[0xFF; 9][..], &[0xFF; 11], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2]] {
        let mut input = Input::new(bytes);
        u64::take(&mut input);
        assert!(!input.is_done() && input.undamaged().is_none());
    }
}

#[test]
fn record_keys_sort_in_the_order_of_restoring() {
    let keys: Vec<_> = samples().iter().map(Record::key).collect();
    assert!(keys.is_sorted() && keys.iter().map(|key| key.to_bits()).is_sorted());
    assert_eq!(Key::from_bits(0), None);
    assert_eq!(Key::from_bits(11 << 32), None);
    assert_eq!(Key::from_bits(257 << 32), None);
}

#[test]
fn each_flipped_bit_of_a_sealed_record_is_noticed() {
    for record in samples() {
        let mut bytes = sealed(&record);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&bytes), Err(Unreadable::Damaged), "bit {bit} of {record:?}");
            let _ = key(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn each_truncated_or_extended_record_is_noticed() {
    for record in samples() {
        let mut bytes = sealed(&record);
        for len in 0..bytes.len() {
            assert_eq!(open(&bytes[..len]), Err(Unreadable::Damaged), "{len} bytes of {record:?}");
        }
        bytes.push(0);
        assert_eq!(open(&bytes), Err(Unreadable::Damaged));
    }
}

#[test]
fn a_record_of_a_newer_format_is_told_apart_from_damage() {
    let resealed = |format: u8, kind: u8| {
        let mut bytes = vec![0, 0, 0, 0, format, kind, 0];
        let sum = checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    assert_eq!(open(&resealed(FORMAT + 1, 0xFF)), Err(Unreadable::Newer(FORMAT + 1)));
    assert_eq!(open(&resealed(0, 1)), Err(Unreadable::Damaged));
    assert_eq!(open(&resealed(FORMAT, 0)), Err(Unreadable::Damaged));
    assert_eq!(open(&resealed(FORMAT, 11)), Err(Unreadable::Damaged));
    assert_eq!(open(&resealed(FORMAT, 5)), Ok(Record::Put(Key { kind: Kind::Retained, slot: 0 }, Value::Retained)));
}

#[test]
fn a_record_that_does_not_fit_is_not_sealed() {
    for record in samples() {
        let bytes = sealed(&record);
        for len in 0..bytes.len() {
            assert_eq!(record.seal(&mut vec![0; len]), None);
        }
        assert_eq!(record.seal(&mut vec![0; bytes.len()]), Some(bytes.len()));
        let (text, other) = match record {
            Record::Put(_, Value::Message(message)) => (message.body.len(), Kind::Retained),
            Record::Put(_, Value::Session(session)) => (session.client_id.len(), Kind::Group),
            Record::Put(_, Value::Group(group)) => (group.filter.len(), Kind::Session),
            Record::Put(_, Value::Subscription(subscription)) => (subscription.filter.len(), Kind::Session),
            Record::Put(_, Value::Delivery(delivery)) => (delivery.identifiers.0.len(), Kind::Session),
            _ => (0, Kind::Message),
        };
        assert!(bytes.len() <= OVERHEAD + text);
        if let Record::Put(key, value) = record {
            assert_eq!(Record::Put(Key { kind: other, ..key }, value).seal(&mut vec![0; 512]), None);
        }
    }
}

#[test]
fn the_longest_record_without_texts_is_no_longer_than_record_overhead() {
    let worst = Value::Session(SessionRecord {
        client_id: "",
        principal: u32::MAX,
        expiry_secs: u32::MAX,
        ends: Instant::from_millis(u64::MAX - 1),
        will: Some(Will {
            message: u32::MAX,
            delay_secs: u32::MAX,
            due: Instant::from_millis(u64::MAX - 1),
            expiry_secs: Some(u32::MAX),
        }),
        dropped: [u32::MAX; 10],
        last_packet_id: Added(u16::MAX),
    });
    let key = Key { kind: Kind::Session, slot: u32::MAX };
    assert!(sealed(&Record::Put(key, worst)).len() <= OVERHEAD);
}

#[test]
fn subscription_identifiers_are_written_as_far_as_they_fit() {
    let all = [1, 127, 128, (1 << 28) - 1];
    let mut out = [0; 16];
    let len = Identifiers::write(all.into_iter(), &mut out);
    assert!(Identifiers(&out[..len]).eq(all));
    let cut = Identifiers::write(all.into_iter(), &mut out[..len - 1]);
    assert!(Identifiers(&out[..cut]).eq([1, 127, 128]));
}

#[test]
fn both_checksum_functions_are_crc_32_iso_hdlc() {
    // The check value of CRC-32/ISO-HDLC.
    assert_eq!(small_checksum(b"123456789"), 0xCBF4_3926);
    let bytes: Vec<u8> = (0..1000u32).map(|at| ((at * at) >> 3) as u8).collect();
    for len in 0..bytes.len() {
        assert_eq!(small_checksum(&bytes[..len]), checksum(&bytes[..len]));
    }
}

proptest! {
    #[test]
    fn opening_any_bytes_as_a_record_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = open(&bytes);
        let _ = key(&bytes);
        // The same bytes behind a matching checksum.
        let mut bytes = bytes;
        if bytes.len() > 6 {
            bytes[4] = FORMAT;
            bytes[5] = (bytes[5] % 11) | (bytes[5] & GONE);
            let sum = checksum(&bytes[4..]);
            bytes[..4].copy_from_slice(&sum.to_le_bytes());
            let again = open(&bytes).map(|record| {
                if let Record::Put(_, Value::Delivery(delivery)) = record {
                    let _ = delivery.identifiers.count();
                }
                sealed(&record)
            });
            if let Ok(again) = again {
                let record = open(&again).unwrap();
                prop_assert_eq!(Ok(record), open(&bytes));
            }
        }
    }
}
