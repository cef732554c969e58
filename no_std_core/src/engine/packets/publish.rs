//! PUBLISH: it is checked, then routed to all subscribers (section 3.3).

use crate::codec::{AckKind, Publish, QoS, ReasonCode, ReasonText, Refusal, Window};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Reply};
use crate::engine::messages::Message;
use crate::engine::neighbours::credit::Credit;
use crate::engine::neighbours::happenings::{Happening, LostMessage, Observer};
use crate::engine::outcomes::{Full, LocalPublish};
use crate::engine::receive::Taken;
use crate::engine::routing::{Fate, Routed, Routing, connection_state_of, is_reserved_for_server};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::mem::{Blob, Handle, OWNED, Slots};
use crate::seam::counters::{DropReason, tally};
use crate::seam::kind::Kind;
use crate::time::Instant;
use crate::topic::TopicName;

const NOT_AUTHORIZED: ReasonText = ReasonText::new("the client may not publish to this topic");
const LOST_TO_ALL: ReasonText = ReasonText::new("no subscriber has room for it: it is kept nowhere");

/// The Reason Code with which a message of this fate is acknowledged.
pub(crate) fn answer_to(config: &Config<'_>, fate: Fate, is_v5: bool) -> (ReasonCode, ReasonText) {
    match fate {
        Fate::Unwanted if config.no_matching_subscribers => (ReasonCode::NoMatchingSubscribers, ReasonText::NONE),
        Fate::Lost if is_v5 => (ReasonCode::QuotaExceeded, LOST_TO_ALL),
        // Older versions have no Reason Code for a lost message. They get success: without it clients would send the
        // message again and again.
        _ => (ReasonCode::Success, ReasonText::NONE),
    }
}

/// The topic of a packet, or the topic for which its Topic Alias stands.
pub(crate) fn topic_text<'a>(publish: &Publish<'a>, aliased: Option<&'a [u8]>) -> &'a str {
    aliased.map_or(publish.topic, |topic| core::str::from_utf8(topic).unwrap_or(""))
}

impl<'m> Engine<'m> {
    pub(crate) fn on_publish(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        publish: &Publish<'_>,
    ) -> Result<Taken<'static>, Refusal> {
        let Some(session) = self.connections[handle].session else {
            return Err(Refusal::protocol_error("until CONNACK a Client sends no PUBLISH [MQTT-3.1.2-30]"));
        };
        self.check_publish(publish)?;
        if !self.siblings_keep_up(handle) {
            return Ok(Taken::NotNow);
        }
        if !self.has_credit_for(handle, publish) {
            return Ok(Taken::NotNow);
        }
        if (self.may_refuse || self.store_is_full || publish.retain)
            && !self.siblings_were_asked_for_room(handle, publish)
        {
            return Ok(Taken::NotNow);
        }
        // A packet that is a duplicate sets its Topic Alias, too.
        let alias = if publish.properties.is_empty() { None } else { self.resolve_alias(handle, publish)? };
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        if publish.qos == QoS::ExactlyOnce {
            if self.receipts.contains(session, packet_id) {
                // The message was routed already: only the answer was lost `[MQTT-4.3.3-10]`.
                let batch = self.messages.journal.barrier();
                let reply = Reply::Ack(AckKind::PubRec);
                self.owe(handle, Owed::new(reply, packet_id, ReasonCode::Success, ReasonText::NONE).after(batch));
                self.await_answer_again(handle, session, packet_id);
                return Ok(Taken::Done);
            }
            let count = self.sessions[session].inbound.count();
            // Only MQTT 5.0 has a Receive Maximum: a client of an older version may use all Packet Identifiers, as long
            // as there is memory.
            if self.connections[handle].version.is_v5() && count >= self.config.limits.receive_maximum {
                return Err(Refusal::new(
                    ReasonCode::ReceiveMaximumExceeded,
                    "more QoS 2 messages wait for their PUBREL than the server's Receive Maximum allows",
                ));
            }
        }
        let changes = self.messages.journal.changes();
        let outcome = if publish.properties.is_empty() {
            // The frequent case: all parts of the body are in the packet.
            let topic = TopicName::assume_valid(publish.topic);
            self.publish_from(now, session, topic, publish, &[])
        } else {
            self.publish_with_properties(now, session, publish, alias)
        };
        if let Some(count) = self.counters.publish_received.get_mut(publish.qos as usize) {
            tally(count, 1);
        }
        self.answer_publish(now, handle, session, publish, outcome, changes)?;
        Ok(Taken::Done)
    }

    pub(crate) fn check_publish(&self, publish: &Publish<'_>) -> Result<(), Refusal> {
        if publish.qos > self.config.maximum_qos {
            return Err(Refusal::new(ReasonCode::QoSNotSupported, "the QoS is above Maximum QoS"));
        }
        if publish.retain && !self.config.retain_available {
            return Err(Refusal::new(ReasonCode::RetainNotSupported, "no retained messages are kept here"));
        }
        if !publish.properties.is_empty() {
            self.check_property_count(publish.properties.count())?;
            if publish.properties.subscription_identifiers().next().is_some() {
                return Err(Refusal::protocol_error(
                    "a Client sends no Subscription Identifier in PUBLISH [MQTT-3.3.4-6]",
                ));
            }
        }
        Ok(())
    }

    /// Publishes a message whose forwarded Properties have to be put together first. The topic is `alias`, if there is
    /// one.
    fn publish_with_properties(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        publish: &Publish<'_>,
        alias: Option<Blob>,
    ) -> Result<Routed, ReasonCode> {
        let topic_len = alias.map_or(0, |topic| topic.len());
        let verbatim = publish.properties.forwardable_verbatim();
        let properties_len = if verbatim.is_some() { 0 } else { publish.properties.forwardable_len() as usize };
        let mut scratch = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        let mut outcome = Err(ReasonCode::QuotaExceeded);
        if scratch.grow_to(topic_len.saturating_add(properties_len)) {
            let (text, space) = scratch.as_mut_slice().split_at_mut_checked(topic_len).unwrap_or_default();
            let topic = match alias {
                Some(stored) => {
                    self.messages.bytes.copy(stored, 0, text);
                    core::str::from_utf8(text).unwrap_or("")
                }
                None => publish.topic,
            };
            let mut window = Window::new(0, space);
            if verbatim.is_none() {
                publish.properties.put_forwardable(&mut window);
            }
            let properties = verbatim.or_else(|| window.finish()).unwrap_or(&[]);
            outcome = self.publish_from(now, session, TopicName::assume_valid(topic), publish, properties);
        }
        self.scratch = scratch;
        outcome
    }

    /// The topic for which a Topic Alias stands, before the packet is handled; `None` if the packet has its topic
    /// itself.
    pub(crate) fn aliased_topic(
        &self,
        handle: Handle<Connection>,
        publish: &Publish<'_>,
    ) -> Option<crate::mem::SharedBytes> {
        let alias = publish.properties.topic_alias().filter(|_| publish.topic.is_empty())?;
        self.messages.bytes.share(self.aliases.topic_of(handle, alias)?)
    }

    /// The topic for which a Topic Alias stands; `None` if the packet has its topic itself.
    fn resolve_alias(&mut self, handle: Handle<Connection>, publish: &Publish<'_>) -> Result<Option<Blob>, Refusal> {
        const INVALID: ReasonCode = ReasonCode::TopicAliasInvalid;
        let Some(alias) = publish.properties.topic_alias() else {
            return Ok(None);
        };
        if alias > self.config.limits.topic_aliases_in {
            return Err(Refusal::new(INVALID, "the Topic Alias is above Topic Alias Maximum [MQTT-3.3.2-9]"));
        }
        if publish.topic.is_empty() {
            let known = self.aliases.topic_of(handle, alias);
            return known.map(Some).ok_or(Refusal::new(
                ReasonCode::ProtocolError,
                "the Topic Alias was not set on this Network Connection (section 3.3.2.3.4)",
            ));
        }
        let list = &mut self.connections[handle].aliases;
        if !self.aliases.set_incoming(&mut self.messages.bytes, handle, list, alias, publish.topic) {
            return Err(Refusal::new(ReasonCode::QuotaExceeded, "no memory for another Topic Alias"));
        }
        Ok(None)
    }

    /// Routes a client's message if the client may publish it. Returns the fate of the message, or why it is refused.
    fn publish_from(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        topic: TopicName<'_>,
        publish: &Publish<'_>,
        properties: &[u8],
    ) -> Result<Routed, ReasonCode> {
        let client_id = self.sessions[session].client_id;
        let is_reserved = is_reserved_for_server(topic)
            && !connection_state_of(topic).is_some_and(|id| self.messages.bytes.equals(client_id, id));
        if is_reserved || !self.authorize.publish(&self.subject(session), topic, publish.qos, publish.retain) {
            self.drop_message(Some(session), LostMessage::Topic(topic.as_str()), DropReason::NotAuthorized);
            return Err(ReasonCode::NotAuthorized);
        }
        self.happened(Happening::Accepted {
            session,
            topic: topic.as_str(),
            qos: publish.qos,
            retain: publish.retain,
            payload_len: publish.payload.len(),
        });
        if publish.qos == QoS::ExactlyOnce {
            let is_unsafe = self.store_is_full && self.sessions[session].is_durable;
            if is_unsafe || !self.has_room_for_receipt(session) {
                return Err(ReasonCode::QuotaExceeded);
            }
        }
        if self.sessions[session].connection.is_some_and(|connection| self.take_refusal(connection)) {
            return Err(ReasonCode::QuotaExceeded);
        }
        let expires = match publish.properties.message_expiry_interval() {
            Some(seconds) => now.plus_secs(u64::from(seconds)),
            None => Instant::NEVER,
        };
        let draft = Message {
            topic_len: topic.as_str().len() as u16,
            properties_len: properties.len() as u32,
            qos: publish.qos,
            flags: Message::flags_of(publish.retain),
            expires,
            ..Message::default()
        };
        let publisher_key = self.publisher_key(session);
        let parts = [topic.as_str().as_bytes(), properties, publish.payload];
        // A message that is retained here is kept anyway.
        let asks = publish.qos > QoS::AtMostOnce && !(publish.retain && self.keeps_retained(topic));
        let mut routing = Routing::new(topic, draft, parts);
        (routing.publisher, routing.publisher_key, routing.asks) = (Some(session), publisher_key, asks);
        if self.store_is_full {
            let connection = self.sessions[session].connection;
            routing.is_unrecorded = connection.is_some_and(|connection| self.take_agreement(connection));
        }
        self.route(routing)
    }

    /// Answers with PUBACK or PUBREC. In MQTT 3.x these can't refuse, so a refusal ends the connection or is not answered; of a message that
    /// was not permitted the configuration decides.
    fn answer_publish(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        publish: &Publish<'_>,
        outcome: Result<Routed, ReasonCode>,
        changes: u32,
    ) -> Result<(), Refusal> {
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        let is_v5 = self.connections[handle].version.is_v5();
        if let Err(code) = outcome
            && !self.may_answer_refused(now, handle, session, publish.qos, code)
        {
            return Ok(());
        }
        let kind = match publish.qos {
            QoS::AtMostOnce => return Ok(()),
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        let waits = outcome.is_ok_and(|routed| self.asks_siblings(handle, session, (packet_id, kind), routed));
        let (code, why) = match outcome {
            Ok(_) if waits => (ReasonCode::Success, ReasonText::NONE),
            Ok(Routed { fate, .. }) => {
                if fate == Fate::Lost {
                    self.count_lost_publish(is_v5);
                }
                answer_to(&self.config, fate, is_v5)
            }
            Err(ReasonCode::NotAuthorized) => (ReasonCode::NotAuthorized, NOT_AUTHORIZED),
            Err(code) => (code, ReasonText::new("a queue, the store or the memory is full")),
        };
        if publish.qos == QoS::ExactlyOnce && !code.is_error() {
            let entry = &mut self.sessions[session];
            let receipt = self.receipts.insert(session, &mut entry.inbound, packet_id);
            debug_assert!(receipt.is_some(), "there was room before");
            if let (true, Some(receipt)) = (entry.is_durable, receipt) {
                self.messages.journal.mark(Kind::Receipt, receipt.index());
            }
        }
        // All records that the message caused are in the batch that is being gathered.
        let batch = self.messages.journal.batch_since(changes);
        self.owe(handle, Owed::new(Reply::Ack(kind), packet_id, code, why).after(batch));
        if let (true, Ok(Routed { asked, .. })) = (waits, outcome) {
            self.await_answer(handle, asked);
        }
        Ok(())
    }

    /// A PUBLISH is refused. Returns whether a PUBACK or PUBREC is due. In MQTT 5.0 it says so.
    fn may_answer_refused(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        qos: QoS,
        code: ReasonCode,
    ) -> bool {
        tally(&mut self.counters.publish_refused, 1);
        if qos == QoS::AtMostOnce {
            if code != ReasonCode::NotAuthorized {
                self.count_drop(Some(session), DropReason::QueueFull);
            }
            return false;
        }
        if self.connections[handle].version.is_v5() {
            return true;
        }
        if code == ReasonCode::NotAuthorized {
            // The client takes any answer for success. To answer is allowed, and to close `[MQTT-3.3.5-2]` of MQTT 3.1.1.
            if OWNED && !self.config.closes_denied_publishers {
                return true;
            }
            let refusal = Refusal { code, why: NOT_AUTHORIZED };
            self.close(now, handle, refusal, false);
        }
        // Otherwise the acknowledgement is withheld. The client keeps the message, and sends it again only after it has
        // connected again.
        self.connections[handle].has_reason = true;
        self.close_refused(now, handle);
        false
    }

    pub(crate) fn publish_local(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        // Until the greeting is over retained messages go to all other shards.
        if self.is_greeting() && !message.retain {
            return Err(Full);
        }
        let draft = Message {
            topic_len: message.topic.as_str().len() as u16,
            qos: message.qos,
            flags: Message::flags_of(message.retain),
            expires: message.expiry_secs.map_or(Instant::NEVER, |seconds| now.plus_secs(u64::from(seconds))),
            ..Message::default()
        };
        let parts = [message.topic.as_str().as_bytes(), &[], message.payload];
        let mut routing = Routing::new(message.topic, draft, parts);
        routing.is_unrecorded = self.store_is_full;
        self.route(routing).map(|_| ()).map_err(|_| Full)
    }

    /// Counts a message of QoS 1 or 2 that was lost to all subscribers.
    pub(crate) fn count_lost_publish(&mut self, is_refused: bool) {
        tally(&mut self.counters.publish_lost, 1);
        tally(&mut self.counters.publish_refused, usize::from(is_refused));
    }

    /// A number that identifies a Session as a publisher. Shared subscriptions that choose a member by the publisher
    /// hash this number.
    pub(crate) fn publisher_key(&self, session: Handle<Session>) -> u32 {
        crate::mem::Chained::<()>::hash(&self.sessions[session])
    }
}
