//! PUBLISH: whether and how a delivery is sent, with a Topic Alias or without, and its bytes.

use crate::codec::{DeliveryHead, PacketId, Sink, Window};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Outgoing, Publishing, Sending};
use crate::engine::messages::{Delivery, Message, Residency};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::mem::{Handle, OWNED};
use crate::seam::counters::DropReason;
use crate::time::Instant;

impl Engine<'_> {
    /// Decides how a delivery, which is in flight or in no list, is sent. Returns `None` if it must not be sent; then
    /// the delivery has ended.
    #[inline]
    pub(super) fn begin_publish<const IS_MOUNTED: bool>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        delivery: Handle<Delivery>,
    ) -> Option<Sending> {
        let entry = self.messages.deliveries[delivery];
        let message = entry.message?;
        let stored = *self.messages.get(message);
        let resent = entry.is(Delivery::SENT);
        if self.deadline(now).is_past(&entry, &stored) {
            self.abandon(session, delivery, DropReason::Expired);
            return None;
        }
        if self.messages.is_unreadable(message) {
            self.abandon(session, delivery, DropReason::Unreadable);
            return None;
        }
        if (IS_MOUNTED && !self.begins_with_mount(handle, message)) || !self.may_be_sent(session, message, stored.order)
        {
            self.abandon(session, delivery, DropReason::NotAuthorized);
            return None;
        }
        let mut publishing = Publishing {
            delivery,
            dup: resent,
            // An expired message that is sent again shows 1: some clients take 0 for "never".
            message_expiry_interval: stored.remaining_expiry(now).map(|seconds| seconds.max(1)),
            topic_alias: 0,
            alias_known: false,
        };
        let connection = &self.connections[handle];
        let mut with_aliases = connection.version.is_v5() && connection.aliases_out_limit > 0;
        if with_aliases {
            self.use_alias(handle, message, &mut publishing);
        }
        let mut len = self.head::<IS_MOUNTED>(handle, message, &publishing).packet_len();
        let maximum = self.connections[handle].maximum_packet_size;
        if len > maximum && publishing.alias_known {
            // An alias takes three bytes, and a topic may be shorter.
            publishing = Publishing { topic_alias: 0, alias_known: false, ..publishing };
            with_aliases = false;
            len = self.head::<IS_MOUNTED>(handle, message, &publishing).packet_len();
        }
        if len > maximum {
            self.abandon(session, delivery, DropReason::TooLarge);
            return None;
        }
        if with_aliases && !publishing.alias_known {
            len = self.set_alias::<IS_MOUNTED>(handle, message, &mut publishing).unwrap_or(len);
        }
        Some(Sending { what: Outgoing::Publish(publishing), written: 0, len })
    }

    /// Ends a delivery that was not sent.
    fn abandon(&mut self, session: Handle<Session>, delivery: Handle<Delivery>, reason: DropReason) {
        let entry = &mut self.sessions[session];
        if self.messages.deliveries[delivery].packet_id != 0 {
            entry.outbound.abandon(&mut self.messages, delivery);
            if OWNED {
                entry.lost.get_mut().last_packet_id = entry.outbound.last_packet_id();
            }
        }
        self.delivery_is_over(session, delivery);
        self.drop_delivery(Some(session), delivery, reason);
    }

    /// Uses a Topic Alias instead of the topic, if one is set.
    fn use_alias(&mut self, handle: Handle<Connection>, message: Handle<Message>, publishing: &mut Publishing) {
        let known = self.with_topic(message, |broker, topic| {
            broker.aliases.outgoing(&broker.messages.bytes, handle, topic.as_str().as_bytes())
        });
        if let Some(alias) = known.flatten() {
            publishing.topic_alias = alias;
            publishing.alias_known = true;
        }
    }

    /// Sets a new Topic Alias beside the topic, if there are any left `[MQTT-3.1.2-26]` and the packet is then not too
    /// large. Returns the packet's length. The packet must be sent: otherwise the client would not know the alias.
    fn set_alias<const IS_MOUNTED: bool>(
        &mut self,
        handle: Handle<Connection>,
        message: Handle<Message>,
        publishing: &mut Publishing,
    ) -> Option<u32> {
        let Connection { aliases_out, aliases_out_limit, maximum_packet_size, .. } = self.connections[handle];
        if aliases_out >= aliases_out_limit {
            return None;
        }
        let alias = aliases_out.saturating_add(1);
        let with_alias = Publishing { topic_alias: alias, ..*publishing };
        let len = self.head::<IS_MOUNTED>(handle, message, &with_alias).packet_len();
        if len > maximum_packet_size {
            return None;
        }
        let set = self.with_topic(message, |broker, topic| {
            let connection = &mut broker.connections[handle];
            let bytes = &mut broker.messages.bytes;
            broker.aliases.set_outgoing(bytes, handle, &mut connection.aliases, alias, topic.as_str())
        });
        if set != Some(true) {
            return None;
        }
        self.connections[handle].aliases_out = alias;
        *publishing = with_alias;
        Some(len)
    }

    #[inline]
    fn head<const IS_MOUNTED: bool>(
        &self,
        handle: Handle<Connection>,
        message: Handle<Message>,
        publishing: &Publishing,
    ) -> DeliveryHead<crate::engine::messages::SubscriptionIdentifiers<'_, '_>> {
        let entry = &self.messages.deliveries[publishing.delivery];
        let message = self.messages.get(message);
        let (topic_len, stored_properties_len) = match IS_MOUNTED {
            true => self.lengths_below_mount(handle, message),
            false => (message.topic_len, message.properties_len),
        };
        DeliveryHead {
            version: self.connections[handle].version,
            dup: publishing.dup,
            qos: entry.qos,
            retain: entry.is(Delivery::RETAIN),
            packet_id: PacketId::new(entry.packet_id),
            topic_len: if publishing.alias_known { 0 } else { topic_len },
            topic_alias: (publishing.topic_alias != 0).then_some(publishing.topic_alias),
            message_expiry_interval: publishing.message_expiry_interval,
            subscription_identifiers: self.messages.identifiers(publishing.delivery),
            stored_properties_len,
            payload_len: message.payload_len(),
        }
    }

    #[inline]
    pub(super) fn put_publish<const IS_MOUNTED: bool>(
        &self,
        handle: Handle<Connection>,
        publishing: &Publishing,
        out: &mut Window<'_>,
    ) {
        let Some(stored) = self.messages.deliveries[publishing.delivery].message else {
            return;
        };
        let head = self.head::<IS_MOUNTED>(handle, stored, publishing);
        let message = self.messages.get(stored);
        let topic_len = usize::from(message.topic_len);
        // Topic and Properties stand in the body.
        let properties_end = topic_len.wrapping_add(message.properties_len as usize);
        let bytes = &self.messages.bytes;
        head.put_before_topic(out);
        if !publishing.alias_known {
            let hidden = if IS_MOUNTED { usize::from(self.connections[handle].mounted.len()) } else { 0 };
            bytes.chunks(message.body, hidden.min(topic_len)..topic_len).for_each(|chunk| out.put(chunk));
        }
        head.put_between(out);
        if head.stored_properties_len() > 0 {
            let from = if IS_MOUNTED { self.put_response_topic(handle, message, out) } else { topic_len };
            bytes.chunks(message.body, from..properties_end).for_each(|chunk| out.put(chunk));
        }
        bytes.chunks(message.body, properties_end..message.body.len()).for_each(|chunk| out.put(chunk));
    }
}
