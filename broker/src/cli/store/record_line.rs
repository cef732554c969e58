//! A record as a line of JSON: the fields are in the order below, and null stands for a value that is missing or a time
//! that never comes.

use super::stats::time_of_day;
use crate::access::{GatewayRecord, PrincipalRecord, is_gateway_kind};
use crate::admin::json_lines;
use crate::shard::kind_name;
use goldcrest_core::Instant;
use goldcrest_core::record::{self, Receiver, Record, Through, Value};
use goldcrest_store::Key;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Display;

/// Converts times of the gateway's own clock to the time of day, as if the machine's clock had been right since the last
/// write.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// The time on the gateway's own clock at the last write, in milliseconds.
    pub(super) instant_ms: u64,
    pub(super) wall_ms: u64,
}

impl Times {
    /// The time of day as text; `None` for a time that never comes.
    fn text(self, time: Instant) -> Option<String> {
        let ahead = i128::from(time.as_millis()) - i128::from(self.instant_ms);
        let wall_ms = u64::try_from((i128::from(self.wall_ms) + ahead).max(1)).unwrap_or(u64::MAX);
        (time != Instant::NEVER).then(|| time_of_day(wall_ms))
    }
}

/// The line for the record that stands under `key`.
pub(super) fn line(key: Key, sealed: &[u8], times: Times) -> String {
    let fields =
        if is_gateway_kind(key.kind) { Fields::of_gateway(key.kind, sealed) } else { Fields::of_core(sealed, times) };
    let shard = (key.shard != Key::COMMON).then_some(key.shard);
    json_lines::line(&RecordLine { shard, kind: kind_name(key.kind), slot: key.slot, fields })
}

#[derive(Serialize)]
struct RecordLine<'a> {
    /// None if the record belongs to no shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u16>,
    kind: String,
    slot: u32,
    #[serde(flatten)]
    fields: Fields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fields<'a> {
    Session(SessionFields<'a>),
    Group { filter: &'a str },
    Subscription(SubscriptionFields<'a>),
    Message(MessageFields<'a>),
    Retained { message: bool },
    Delivery(DeliveryFields),
    Receipt { session: u32, packet_id: u16 },
    Transit { sibling: u16, sequence: u64, message: u32, publisher_key: u32, group: &'a str },
    Sibling { taken: u64, sent: u64 },
    Counters { dropped: Vec<u32> },
    Principal { number: u32, name: &'a str },
    Deleted {},
    Unreadable { unreadable: String, record_base64: String },
}

#[derive(Serialize)]
struct SessionFields<'a> {
    client_id: &'a str,
    principal: u32,
    expiry_secs: u32,
    ends: Option<String>,
    #[serde(flatten)]
    will: Option<WillFields>,
    /// Counts by reason, in the order of the core.
    dropped: Vec<u32>,
}

#[derive(Serialize)]
struct WillFields {
    will_message: u32,
    will_delay_secs: u32,
    will_due: Option<String>,
    will_expiry_secs: Option<u32>,
}

#[derive(Serialize)]
struct SubscriptionFields<'a> {
    session: u32,
    filter: &'a str,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    identifier: u32,
    replaying: bool,
}

#[derive(Serialize)]
struct MessageFields<'a> {
    topic: Cow<'a, str>,
    qos: u8,
    retain: bool,
    expires: Option<String>,
    order: u64,
    stamp: u64,
    properties_base64: String,
    #[serde(flatten)]
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    #[serde(rename = "payload")]
    Text(&'a str),
    PayloadBase64(String),
}

#[derive(Serialize)]
struct DeliveryFields {
    #[serde(flatten)]
    to: To,
    message: Option<u32>,
    qos: u8,
    retain: bool,
    received: bool,
    packet_id: u16,
    #[serde(flatten)]
    came_through: Option<CameThrough>,
    identifiers_base64: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Session(u32),
    Group(u32),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum CameThrough {
    ThroughGroup(u32),
    ThroughSubscription(u32),
}

impl<'a> Fields<'a> {
    fn of_gateway(kind: u8, bytes: &'a [u8]) -> Self {
        match GatewayRecord::open(kind, bytes) {
            Ok(GatewayRecord::Principal(PrincipalRecord { number, name })) => Self::Principal { number, name },
            Err(error) => Self::unreadable(&error, bytes),
        }
    }

    fn of_core(sealed: &'a [u8], times: Times) -> Self {
        match record::open(sealed) {
            Ok(Record::Put(_, value)) => Self::of(value, times),
            Ok(Record::Delete(_)) => Self::Deleted {},
            Err(error) => Self::unreadable(&error, sealed),
        }
    }

    fn unreadable(why: &dyn Display, bytes: &[u8]) -> Self {
        Self::Unreadable { unreadable: why.to_string(), record_base64: base64(bytes) }
    }

    fn of(value: Value<'a>, times: Times) -> Self {
        match value {
            Value::Session(session) => Self::Session(SessionFields::of(session, times)),
            Value::Group(group) => Self::Group { filter: group.filter },
            Value::Subscription(subscription) => Self::Subscription(SubscriptionFields {
                session: subscription.session,
                filter: subscription.filter,
                qos: subscription.qos,
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
                identifier: subscription.identifier,
                replaying: subscription.replaying,
            }),
            Value::Message(message) => Self::Message(MessageFields::of(message, times)),
            Value::Retained => Self::Retained { message: true },
            Value::Delivery(delivery) => Self::Delivery(DeliveryFields::of(delivery)),
            Value::Receipt(receipt) => Self::Receipt { session: receipt.session, packet_id: receipt.packet_id },
            Value::Transit(transit) => Self::Transit {
                sibling: transit.sibling,
                sequence: transit.sequence,
                message: transit.message,
                publisher_key: transit.publisher_key,
                group: transit.group,
            },
            Value::Sibling(sibling) => Self::Sibling { taken: sibling.taken, sent: sibling.sent },
            Value::Counters(counters) => Self::Counters { dropped: counters.dropped.to_vec() },
        }
    }
}

impl<'a> SessionFields<'a> {
    fn of(session: record::SessionRecord<'a>, times: Times) -> Self {
        let will = session.will.map(|will| WillFields {
            will_message: will.message,
            will_delay_secs: will.delay_secs,
            will_due: times.text(will.due),
            will_expiry_secs: will.expiry_secs,
        });
        Self {
            client_id: session.client_id,
            principal: session.principal,
            expiry_secs: session.expiry_secs,
            ends: times.text(session.ends),
            will,
            dropped: session.dropped.to_vec(),
        }
    }
}

impl<'a> MessageFields<'a> {
    fn of(message: record::MessageRecord<'a>, times: Times) -> Self {
        let (topic, rest) = message.body.split_at(message.body.len().min(message.topic_len.into()));
        let (properties, payload) = rest.split_at(rest.len().min(message.properties_len as usize));
        Self {
            topic: String::from_utf8_lossy(topic),
            qos: message.qos,
            retain: message.retain,
            expires: times.text(message.expires),
            order: message.order,
            stamp: message.stamp,
            properties_base64: base64(properties),
            payload: match std::str::from_utf8(payload) {
                Ok(text) => Payload::Text(text),
                Err(_) => Payload::PayloadBase64(base64(payload)),
            },
        }
    }
}

impl DeliveryFields {
    fn of(delivery: record::DeliveryRecord<'_>) -> Self {
        Self {
            to: match delivery.to {
                Receiver::Session(slot) => To::Session(slot),
                Receiver::Group(slot) => To::Group(slot),
            },
            message: delivery.message,
            qos: delivery.qos,
            retain: delivery.retain,
            received: delivery.received,
            packet_id: delivery.packet_id,
            came_through: match delivery.through {
                Through::Nothing => None,
                Through::Group(slot) => Some(CameThrough::ThroughGroup(slot)),
                Through::Foreign(slot) => Some(CameThrough::ThroughSubscription(slot)),
            },
            identifiers_base64: base64(delivery.identifiers.0),
        }
    }
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let known = digit <= chunk.len();
            text.push(if known { DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::record::{Added, DeliveryRecord, Identifiers, Kind, MessageRecord, SessionRecord, Will};

    const TIMES: Times = Times { instant_ms: 4_000, wall_ms: 1_795_907_782_326 };

    #[test]
    fn times_are_shown_as_the_time_of_day() {
        let text = |ms| TIMES.text(Instant::from_millis(ms));
        assert_eq!(text(4_000).as_deref(), Some("2026-11-28T23:16:22.326Z"));
        assert_eq!(text(3_999).as_deref(), Some("2026-11-28T23:16:22.325Z"));
        assert_eq!(text(1_004_000).as_deref(), Some("2026-11-28T23:33:02.326Z"));
        assert_eq!(TIMES.text(Instant::NEVER), None);
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    /// Asserts that the line for a record in slot 6 of shard 1 has `fields` besides those of every record.
    #[track_caller]
    fn expect(kind: Kind, value: Value<'_>, fields: &str) {
        let mut bytes = [0; 512];
        let len = Record::Put(record::Key { kind, slot: 6 }, value).seal(&mut bytes).unwrap();
        let line = line(Key { shard: 1, kind: kind as u8, slot: 6 }, &bytes[..len], TIMES);
        assert_eq!(line, format!("{{\"shard\":1,\"kind\":\"{kind:?}\",\"slot\":6,{fields}}}\n"));
    }

    const DROPPED: record::CountersRecord = record::CountersRecord { dropped: [0, 1, 0, 0, 0, 0, 0, 0, 0, 0] };

    #[test]
    fn a_session_is_shown_with_its_will_if_it_has_one() {
        let session = SessionRecord {
            client_id: "a\u{1b}\"",
            principal: 7,
            expiry_secs: 60,
            ends: Instant::from_millis(5_000),
            will: None,
            dropped: DROPPED.dropped,
            last_packet_id: Added(9),
        };
        let will = Will { message: 4, delay_secs: 5, due: Instant::NEVER, expiry_secs: None };
        expect(
            Kind::Session,
            Value::Session(session),
            r#""client_id":"a\u001b\"","principal":7,"expiry_secs":60,"ends":"2026-11-28T23:16:23.326Z","dropped":[0,1,0,0,0,0,0,0,0,0]"#,
        );
        expect(
            Kind::Session,
            Value::Session(SessionRecord { will: Some(will), ends: Instant::NEVER, ..session }),
            r#""client_id":"a\u001b\"","principal":7,"expiry_secs":60,"ends":null,"will_message":4,"will_delay_secs":5,"will_due":null,"will_expiry_secs":null,"dropped":[0,1,0,0,0,0,0,0,0,0]"#,
        );
        let due = Will { due: Instant::from_millis(6_000), expiry_secs: Some(6), ..will };
        expect(
            Kind::Session,
            Value::Session(SessionRecord { will: Some(due), ..session }),
            r#""client_id":"a\u001b\"","principal":7,"expiry_secs":60,"ends":"2026-11-28T23:16:23.326Z","will_message":4,"will_delay_secs":5,"will_due":"2026-11-28T23:16:24.326Z","will_expiry_secs":6,"dropped":[0,1,0,0,0,0,0,0,0,0]"#,
        );
    }

    #[test]
    fn a_payload_is_text_where_it_can_be_and_else_base64() {
        let message = MessageRecord {
            topic_len: 1,
            properties_len: 2,
            qos: 1,
            retain: true,
            expires: Instant::NEVER,
            order: 8,
            stamp: 9,
            body: b"t\x01\x02text",
        };
        expect(
            Kind::Message,
            Value::Message(message),
            r#""topic":"t","qos":1,"retain":true,"expires":null,"order":8,"stamp":9,"properties_base64":"AQI=","payload":"text""#,
        );
        expect(
            Kind::Message,
            Value::Message(MessageRecord { expires: Instant::from_millis(4_500), body: b"t\x01\x02\xff", ..message }),
            r#""topic":"t","qos":1,"retain":true,"expires":"2026-11-28T23:16:22.826Z","order":8,"stamp":9,"properties_base64":"AQI=","payload_base64":"/w==""#,
        );
        expect(Kind::Retained, Value::Retained, r#""message":true"#);
    }

    #[test]
    fn a_delivery_says_to_whom_and_through_which_shared_subscription() {
        let delivery = DeliveryRecord {
            to: Receiver::Session(1),
            message: Some(2),
            qos: 1,
            retain: false,
            received: true,
            packet_id: 3,
            through: Through::Nothing,
            identifiers: Identifiers(b"\x05"),
        };
        expect(
            Kind::Delivery,
            Value::Delivery(delivery),
            r#""session":1,"message":2,"qos":1,"retain":false,"received":true,"packet_id":3,"identifiers_base64":"BQ==""#,
        );
        expect(
            Kind::Delivery,
            Value::Delivery(DeliveryRecord {
                to: Receiver::Group(3),
                message: None,
                through: Through::Group(4),
                ..delivery
            }),
            r#""group":3,"message":null,"qos":1,"retain":false,"received":true,"packet_id":3,"through_group":4,"identifiers_base64":"BQ==""#,
        );
        expect(
            Kind::Delivery,
            Value::Delivery(DeliveryRecord { through: Through::Foreign(5), ..delivery }),
            r#""session":1,"message":2,"qos":1,"retain":false,"received":true,"packet_id":3,"through_subscription":5,"identifiers_base64":"BQ==""#,
        );
    }

    #[test]
    fn records_of_all_other_kinds_are_shown_with_all_fields() {
        expect(Kind::Group, Value::Group(record::GroupRecord { filter: "$share/g/t" }), r#""filter":"$share/g/t""#);
        expect(
            Kind::Subscription,
            Value::Subscription(record::SubscriptionRecord {
                session: 1,
                filter: "t/#",
                qos: 2,
                no_local: true,
                retain_as_published: false,
                identifier: 5,
                replaying: true,
            }),
            r#""session":1,"filter":"t/#","qos":2,"no_local":true,"retain_as_published":false,"identifier":5,"replaying":true"#,
        );
        let receipt = record::ReceiptRecord { session: 2, packet_id: 3 };
        expect(Kind::Receipt, Value::Receipt(receipt), r#""session":2,"packet_id":3"#);
        expect(
            Kind::Transit,
            Value::Transit(record::TransitRecord { sibling: 1, sequence: 2, message: 3, publisher_key: 4, group: "g" }),
            r#""sibling":1,"sequence":2,"message":3,"publisher_key":4,"group":"g""#,
        );
        expect(Kind::Sibling, Value::Sibling(record::SiblingRecord { taken: 1, sent: 2 }), r#""taken":1,"sent":2"#);
        expect(Kind::Counters, Value::Counters(DROPPED), r#""dropped":[0,1,0,0,0,0,0,0,0,0]"#);
    }

    #[test]
    fn a_principal_record_is_shown_without_a_shard() {
        let key = Key { shard: Key::COMMON, kind: 0x40, slot: 6 };
        let written = line(key, &[1, 7, 3, b'a', b'n', b'n'], TIMES);
        assert_eq!(written, "{\"kind\":\"Principal\",\"slot\":6,\"number\":7,\"name\":\"ann\"}\n");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_shown_as_it_is() {
        assert_eq!(
            line(Key { shard: 1, kind: 20, slot: 6 }, b"junk", TIMES),
            "{\"shard\":1,\"kind\":\"20\",\"slot\":6,\"unreadable\":\"the record is damaged\",\"record_base64\":\"anVuaw==\"}\n"
        );
        let key = Key { shard: Key::COMMON, kind: 0x41, slot: 6 };
        let expected = "{\"kind\":\"65\",\"slot\":6,\"unreadable\":\"it holds records of kind 65, which this program does not know: a newer \
            one wrote them; nothing was changed\",\"record_base64\":\"anVuaw==\"}\n";
        assert_eq!(line(key, b"junk", TIMES), expected);
    }
}
