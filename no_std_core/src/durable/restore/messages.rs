//! Restoring messages, and which of them are retained.

use super::RestoreError;
use crate::codec::QoS;
use crate::durable::record;
use crate::engine::Engine;
use crate::engine::messages::{Message, Messages, Residency};
use crate::engine::neighbour_state::Stamp;
use crate::engine::neighbours::bodies::Paged;
use crate::engine::router::Retained;
use crate::engine::siblings::{SiblingRecords, Siblings};
use crate::mem::Handle;
use crate::seam::kind::Kind;
use crate::topic::TopicName;

impl Engine<'_> {
    pub(super) fn restore_message(
        &mut self,
        slot: usize,
        value: &record::MessageRecord<'_>,
    ) -> Result<(), RestoreError> {
        let topic = value.body.get(..usize::from(value.topic_len)).and_then(|topic| core::str::from_utf8(topic).ok());
        let is_topic = topic.is_some_and(|topic| TopicName::new(topic).is_ok());
        let behind_topic = value.body.len().saturating_sub(usize::from(value.topic_len));
        let is_counted = value.order <= u64::MAX / 2;
        if !is_topic || !is_counted || value.properties_len as usize > behind_topic || value.qos > 2 {
            return Err(RestoreError::Invalid);
        }
        let draft = Message {
            topic_len: value.topic_len,
            properties_len: value.properties_len,
            qos: QoS::from_bits(value.qos).unwrap_or_default(),
            flags: Message::flags_of(value.retain),
            expires: value.expires,
            order: value.order,
            shards: Stamp::of(value.stamp),
            ..Message::default()
        };
        let left = self.restore_without_body(slot, &draft, value.body);
        left.unwrap_or_else(|| self.messages.restore(slot, draft, value.body)).ok_or(RestoreError::NoRoom)?;
        self.routed = self.routed.max(value.order);
        self.stamp_was_restored(value.stamp);
        Ok(())
    }

    /// Marks a message as the retained one of its topic. If two messages have the same topic, the later one stays.
    pub(super) fn restore_retained(&mut self, message: Handle<Message>) -> Result<(), RestoreError> {
        let entry = self.messages.live(message).filter(|message| !message.is_kept()).ok_or(RestoreError::Invalid)?;
        let order = entry.order;
        if entry.payload_len() == 0 {
            return Err(RestoreError::Invalid);
        }
        let kept = self.with_topic(message, |broker, topic| {
            if !broker.keeps_retained(topic) {
                // Before version 0.2 each shard kept every retained message. This record is not needed: the owner of the topic has one.
                broker.messages.journal.pause(false);
                broker.messages.journal.mark(Kind::Retained, message.index());
                return Ok(());
            }
            let other = broker.router.retained_at(topic).map(|Retained(other)| other.cast());
            if other.is_some_and(|other| broker.messages.get(other).order > order) {
                return Err(RestoreError::Duplicate);
            }
            broker.router.retain(topic, Retained(message.cast())).map_err(|_| RestoreError::NoRoom)?;
            broker.messages.hold(message);
            broker.messages.count_retained(message);
            broker.messages.set_kept(message, true);
            broker.expect_expiry(message);
            if let Some(other) = other {
                broker.messages.journal.pause(false);
                broker.messages.discount_retained(other);
                broker.messages.set_kept(other, false);
                broker.messages.release(other);
                broker.left_out = broker.left_out.saturating_add(1);
            }
            Ok(())
        });
        kept.unwrap_or(Err(RestoreError::NoRoom))
    }
}

impl Messages<'_> {
    /// Puts a message back into its slot after a restart. Nothing holds the message yet.
    fn restore(&mut self, slot: usize, draft: Message, body: &[u8]) -> Option<Handle<Message>> {
        let body = self.bytes.store(&[body])?;
        match self.pool.restore(slot, Message { body, references: 0, durable: 0, ..draft }) {
            Some(handle) => {
                self.message_was_restored(handle);
                Some(handle)
            }
            None => {
                self.bytes.release(body);
                None
            }
        }
    }
}
