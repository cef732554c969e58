//! Each record as one line of JSON.

use super::stats::time_of_day;
use crate::admin::json::Object;
use crate::shard::kind_name;
use crate::store::{Examined, Key};
use goldcrest_core::Instant;
use goldcrest_core::record::{self, Message, Receiver, Record, Through, Value};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

/// Prints all records. That nobody reads on is no failure.
pub(super) fn write(store: &Examined) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let times = Times { instant_ms: store.report.instant_ms, wall_ms: store.report.wall_ms };
    for shard in 0..store.report.shards {
        store.each(shard, |key, sealed| {
            written = out.write_all(line(key, sealed, times).as_bytes());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if written.is_err() {
            break;
        }
    }
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::other(format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// What the clock of the machine shows at a time of the gateway's own clock, if it goes right from the last write on.
#[derive(Clone, Copy)]
struct Times {
    /// Both clocks at the last write.
    instant_ms: u64,
    wall_ms: u64,
}

impl Times {
    /// As JSON; `None` for a time that never comes.
    fn text(self, time: Instant) -> Option<String> {
        let ahead = i128::from(time.as_millis()) - i128::from(self.instant_ms);
        let wall_ms = u64::try_from((i128::from(self.wall_ms) + ahead).max(1)).unwrap_or(u64::MAX);
        (time != Instant::NEVER).then(|| format!("\"{}\"", time_of_day(wall_ms)))
    }
}

fn line(key: Key, sealed: &[u8], times: Times) -> String {
    let mut object = Object::new();
    object.number("shard", key.shard).text("kind", &kind_name(key.kind)).number("slot", key.slot);
    match record::open(sealed) {
        Ok(Record::Put(_, value)) => put(&mut object, &value, times),
        Ok(Record::Delete(_)) => {}
        Err(error) => {
            object.text("unreadable", &error.to_string()).text("record_base64", &base64(sealed));
        }
    }
    object.end()
}

fn put(object: &mut Object, value: &Value<'_>, times: Times) {
    match value {
        Value::Session(session) => {
            object.text("client_id", session.client_id).number("principal", session.principal);
            object.number("expiry_secs", session.expiry_secs).optional("ends", times.text(session.ends));
            if let Some(will) = &session.will {
                object.number("will_message", will.message).number("will_delay_secs", will.delay_secs);
                object.optional("will_due", times.text(will.due)).optional("will_expiry_secs", will.expiry_secs);
            }
            object.number("dropped", format!("{:?}", session.dropped));
        }
        Value::Group(group) => {
            object.text("filter", group.filter);
        }
        Value::Subscription(subscription) => {
            object.number("session", subscription.session).text("filter", subscription.filter);
            object.number("qos", subscription.qos).number("no_local", subscription.no_local);
            object.number("retain_as_published", subscription.retain_as_published);
            object.number("identifier", subscription.identifier).number("replaying", subscription.replaying);
        }
        Value::Message(value) => message(object, value, times),
        Value::Retained => {
            object.number("message", "true");
        }
        Value::Delivery(delivery) => {
            match delivery.to {
                Receiver::Session(slot) => object.number("session", slot),
                Receiver::Group(slot) => object.number("group", slot),
            };
            object.optional("message", delivery.message).number("qos", delivery.qos);
            object.number("retain", delivery.retain).number("received", delivery.received);
            object.number("packet_id", delivery.packet_id);
            match delivery.through {
                Through::Nothing => {}
                Through::Group(slot) => _ = object.number("through_group", slot),
                Through::Foreign(slot) => _ = object.number("through_subscription", slot),
            }
            object.text("identifiers_base64", &base64(delivery.identifiers.0));
        }
        Value::Receipt(receipt) => {
            object.number("session", receipt.session).number("packet_id", receipt.packet_id);
        }
        Value::Transit(transit) => {
            object.number("sibling", transit.sibling).number("sequence", transit.sequence);
            object.number("message", transit.message).number("publisher_key", transit.publisher_key);
            object.text("group", transit.group);
        }
        Value::Sibling(sibling) => {
            object.number("taken", sibling.taken).number("sent", sibling.sent);
        }
        Value::Counters(counters) => {
            object.number("dropped", format!("{:?}", counters.dropped));
        }
    }
}

fn message(object: &mut Object, message: &Message<'_>, times: Times) {
    let (topic, rest) = message.body.split_at(message.body.len().min(message.topic_len.into()));
    let (properties, payload) = rest.split_at(rest.len().min(message.properties_len as usize));
    object.text("topic", &String::from_utf8_lossy(topic)).number("qos", message.qos).number("retain", message.retain);
    object
        .optional("expires", times.text(message.expires))
        .number("order", message.order)
        .number("stamp", message.stamp);
    object.text("properties_base64", &base64(properties));
    match std::str::from_utf8(payload) {
        Ok(text) => object.text("payload", text),
        Err(_) => object.text("payload_base64", &base64(payload)),
    };
}

/// With padding (RFC 4648, section 4).
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

    #[test]
    fn times_are_those_of_the_clock_of_the_machine() {
        let times = Times { instant_ms: 4_000, wall_ms: 1_795_907_782_326 };
        let text = |ms| times.text(Instant::from_millis(ms));
        assert_eq!(text(4_000).as_deref(), Some("\"2026-11-28T23:16:22.326Z\""));
        assert_eq!(text(3_999).as_deref(), Some("\"2026-11-28T23:16:22.325Z\""));
        assert_eq!(text(1_004_000).as_deref(), Some("\"2026-11-28T23:33:02.326Z\""));
        assert_eq!(times.text(Instant::NEVER), None);
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
