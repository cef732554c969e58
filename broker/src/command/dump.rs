//! Each record as one line of JSON.

use crate::json::Object;
use crate::store::{Examined, Key};
use goldcrest_core::Instant;
use goldcrest_core::record::{self, Message, Receiver, Record, Through, Value};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

/// Prints all records. That nobody reads on is no failure.
pub(super) fn write(store: &Examined) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    for shard in 0..store.report.shards {
        store.each(shard, |key, sealed| {
            written = out.write_all(line(key, sealed).as_bytes());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::other(format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// `null` for one that never comes.
fn time(time: Instant) -> Option<u64> {
    (time != Instant::NEVER).then(|| time.as_millis())
}

fn line(key: Key, sealed: &[u8]) -> String {
    let mut object = Object::new();
    object.number("shard", key.shard).text("kind", &super::kind_name(key.kind)).number("slot", key.slot);
    match record::open(sealed) {
        Ok(Record::Put(_, value)) => put(&mut object, &value),
        Ok(Record::Delete(_)) => {}
        Err(error) => {
            object.text("unreadable", &error.to_string()).text("record_base64", &base64(sealed));
        }
    }
    object.end()
}

fn put(object: &mut Object, value: &Value<'_>) {
    match value {
        Value::Session(session) => {
            object.text("client_id", session.client_id).number("principal", session.principal);
            object.number("expiry_secs", session.expiry_secs).optional("ends", time(session.ends));
            if let Some(will) = &session.will {
                object.number("will_message", will.message).number("will_delay_secs", will.delay_secs);
                object.optional("will_due", time(will.due)).optional("will_expiry_secs", will.expiry_secs);
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
        Value::Message(value) => message(object, value),
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

fn message(object: &mut Object, message: &Message<'_>) {
    let (topic, rest) = message.body.split_at(message.body.len().min(message.topic_len.into()));
    let (properties, payload) = rest.split_at(rest.len().min(message.properties_len as usize));
    object.text("topic", &String::from_utf8_lossy(topic)).number("qos", message.qos).number("retain", message.retain);
    object.optional("expires", time(message.expires)).number("order", message.order).number("stamp", message.stamp);
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
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
