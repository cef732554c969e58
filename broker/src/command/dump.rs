//! Each record as one line of JSON.

use crate::store::{Examined, Key};
use goldcrest_core::Instant;
use goldcrest_core::record::{self, Message, Receiver, Record, Through, Value};
use std::fmt::Write as _;
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
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
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
            object.number("expiry_secs", session.expiry_secs).time("ends", session.ends);
            if let Some(will) = &session.will {
                object.number("will_message", will.message).number("will_delay_secs", will.delay_secs);
                object.time("will_due", will.due).optional("will_expiry_secs", will.expiry_secs);
            }
            object.numbers("dropped", &session.dropped);
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
            object.numbers("dropped", &counters.dropped);
        }
    }
}

fn message(object: &mut Object, message: &Message<'_>) {
    let (topic, rest) = message.body.split_at(message.body.len().min(message.topic_len.into()));
    let (properties, payload) = rest.split_at(rest.len().min(message.properties_len as usize));
    object.text("topic", &String::from_utf8_lossy(topic)).number("qos", message.qos).number("retain", message.retain);
    object.time("expires", message.expires).number("order", message.order).number("stamp", message.stamp);
    object.text("properties_base64", &base64(properties));
    match std::str::from_utf8(payload) {
        Ok(text) => object.text("payload", text),
        Err(_) => object.text("payload_base64", &base64(payload)),
    };
}

/// A JSON object on one line.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn name(&mut self, name: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
        &mut self.0
    }

    /// Whatever looks in JSON as it prints: numbers, truth values.
    fn number(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        let _ = write!(self.name(name), "{value}");
        self
    }

    fn optional(&mut self, name: &str, value: Option<u32>) -> &mut Self {
        match value {
            Some(value) => self.number(name, value),
            None => self.number(name, "null"),
        }
    }

    fn time(&mut self, name: &str, time: Instant) -> &mut Self {
        if time == Instant::NEVER { self.number(name, "null") } else { self.number(name, time.as_millis()) }
    }

    fn numbers(&mut self, name: &str, values: &[u32]) -> &mut Self {
        self.number(name, format!("{values:?}"))
    }

    fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let out = self.name(name);
        out.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                '\n' => out.push_str("\\n"),
                char if char.is_control() => _ = write!(out, "\\u{:04x}", char as u32),
                char => out.push(char),
            }
        }
        out.push('"');
        self
    }

    fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
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

    #[test]
    fn text_is_escaped() {
        let mut object = Object::new();
        object.text("a", "\"\\\n\u{1}ü\u{7f}").number("b", true);
        assert_eq!(object.end(), "{\"a\":\"\\\"\\\\\\n\\u0001ü\\u007f\",\"b\":true}\n");
    }
}
