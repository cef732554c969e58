//! PUBLISH: checked, then routed to everybody who subscribed (section 3.3).

use crate::codec::{AckKind, Publish, QoS, ReasonCode, ReasonText, Refusal, Window};
use crate::config::{Config, Overflow};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Reply};
use crate::engine::deliver::Terms;
use crate::engine::messages::Message;
use crate::engine::neighbours::MayLiveElsewhere;
use crate::engine::neighbours::credit::Credit;
use crate::engine::outcomes::{Full, LocalPublish};
use crate::engine::receive::Taken;
use crate::engine::router::{Match, Matches, Subscription};
use crate::engine::sessions::Session;
use crate::mem::{Blob, Handle, Slots};
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::time::Instant;
use crate::topic::TopicName;

const NOT_AUTHORIZED: ReasonText = ReasonText::new("the client may not publish to this topic");
const LOST_TO_ALL: ReasonText = ReasonText::new("no subscriber has room for it: it is kept nowhere");

/// A message on its way to its subscribers.
pub(crate) struct Routing<'a> {
    pub(crate) topic: TopicName<'a>,
    /// The topic, the Properties that are forwarded, and the payload, as long as it is not stored.
    pub(crate) parts: [&'a [u8]; 3],
    pub(crate) draft: Message,
    /// It is stored once there is a subscriber, or a topic to retain it for.
    pub(crate) stored: Option<Handle<Message>>,
    pub(crate) publisher: Option<Handle<Session>>,
    /// The same for all messages of one publisher.
    pub(crate) publisher_key: u32,
    /// A sibling handed it over: the other siblings have it already.
    #[cfg(feature = "alloc")]
    pub(crate) from_sibling: bool,
    /// Its publisher hears what becomes of it.
    #[cfg(feature = "alloc")]
    pub(crate) asks: bool,
}

/// How far a walk through all matches of a message has come.
#[derive(Default)]
struct Turn {
    /// It is the second walk, for those that were left out in the first.
    is_late: bool,
    /// A Session whose turn is the first walk was met: it has the message, or has lost it.
    any_copy: bool,
    /// A match has to wait for the second walk.
    leaves_any: bool,
    /// What became of the message so far.
    fate: Fate,
}

/// What became of a message that was handed out, as far as its publisher is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub(crate) enum Fate {
    /// Nobody was to get it.
    #[default]
    Unwanted,
    /// All who were to get it had no room: it is kept nowhere.
    Lost,
    /// Somebody has it, in a queue, as a retained message, or a sibling for its subscribers.
    Kept,
}

impl Fate {
    /// What became of a message of which this and that became: who has it counts, before who has lost it.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Kept, _) | (_, Self::Kept) => Self::Kept,
            (Self::Lost, _) | (_, Self::Lost) => Self::Lost,
            (Self::Unwanted, Self::Unwanted) => Self::Unwanted,
        }
    }
}

/// What a publisher hears about a message of which this became.
pub(crate) fn answer_to(config: &Config<'_>, fate: Fate, is_v5: bool) -> (ReasonCode, ReasonText) {
    match fate {
        Fate::Unwanted if config.no_matching_subscribers => (ReasonCode::NoMatchingSubscribers, ReasonText::NONE),
        Fate::Lost if is_v5 => (ReasonCode::QuotaExceeded, LOST_TO_ALL),
        // Older versions can't say that it is lost: their clients would send it again and again.
        _ => (ReasonCode::Success, ReasonText::NONE),
    }
}

impl<'a> Routing<'a> {
    /// A message that is stored already, and held by the caller.
    pub(crate) fn stored(
        topic: TopicName<'a>,
        message: Handle<Message>,
        publisher: Option<Handle<Session>>,
        publisher_key: u32,
    ) -> Self {
        let draft = Message::default();
        Self {
            topic,
            parts: [&[]; 3],
            draft,
            stored: Some(message),
            publisher,
            publisher_key,
            #[cfg(feature = "alloc")]
            from_sibling: false,
            #[cfg(feature = "alloc")]
            asks: false,
        }
    }
}

impl Routing<'_> {
    /// Whether its publisher knows it to be kept: it is not refused any more.
    fn is_promised(&self) -> bool {
        #[cfg(feature = "alloc")]
        return self.from_sibling;
        #[cfg(not(feature = "alloc"))]
        false
    }

    /// Whether it has no payload: as a retained message it removes the one that is kept `[MQTT-3.3.1-6]`.
    pub(crate) fn clears(&self, messages: &crate::engine::messages::Messages<'_>) -> bool {
        match self.stored {
            Some(message) => messages.get(message).payload_len() == 0,
            None => self.parts.last().is_none_or(|payload| payload.is_empty()),
        }
    }
}

/// The topic of a packet, or the one that its Topic Alias stands for.
#[cfg(feature = "alloc")]
pub(crate) fn topic_text<'a>(publish: &Publish<'a>, aliased: Option<&'a [u8]>) -> &'a str {
    aliased.map_or(publish.topic, |topic| core::str::from_utf8(topic).unwrap_or(""))
}

/// Topics that only the server publishes to (section 4.7.2), but for [`connection_state_of`]. They tell of this run: what is retained
/// there is not recorded.
pub(crate) fn is_reserved_for_server(topic: TopicName<'_>) -> bool {
    topic.as_str().starts_with("$SYS/")
}

/// The Client Identifier in the one topic below `$SYS/` that a client may publish to, its own: bridges tell there that they are
/// connected, as Mosquitto's do, and have their Will tell that they are not.
pub(crate) fn connection_state_of(topic: TopicName<'_>) -> Option<&[u8]> {
    let rest = topic.as_str().as_bytes().strip_prefix(b"$SYS/broker/connection/")?;
    rest.strip_suffix(b"/state").filter(|client_id| !client_id.is_empty())
}

impl<'m> Engine<'m> {
    pub(crate) fn on_publish<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        publish: &Publish<'b>,
    ) -> Result<Taken<'b>, Refusal> {
        let Some(session) = self.connections[handle].session else {
            return Err(Refusal::protocol_error("until CONNACK a Client sends no PUBLISH [MQTT-3.1.2-30]"));
        };
        self.check_publish(publish)?;
        #[cfg(feature = "alloc")]
        if self.mesh.is_congested() {
            self.mesh.wait_for_room(self.id_of(handle));
            return Ok(Taken::NotNow);
        }
        if !self.has_credit_for(handle, publish) {
            return Ok(Taken::NotNow);
        }
        #[cfg(feature = "alloc")]
        if self.may_refuse && !self.siblings_have_room(handle, publish) {
            return Ok(Taken::NotNow);
        }
        // A packet that is a duplicate sets its alias all the same.
        let alias = if publish.properties.is_empty() { None } else { self.resolve_alias(handle, publish)? };
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        if publish.qos == QoS::ExactlyOnce {
            if self.receipts.contains(session, packet_id) {
                // Passed on already: only the answer was lost `[MQTT-4.3.3-10]`.
                let batch = self.messages.journal.barrier();
                let reply = Reply::Ack(AckKind::PubRec);
                self.owe(handle, Owed::new(reply, packet_id, ReasonCode::Success, ReasonText::NONE).after(batch));
                #[cfg(feature = "alloc")]
                self.await_answer(handle, session, packet_id);
                return Ok(Taken::Done);
            }
            let count = self.sessions[session].inbound.count();
            // Receive Maximum is of MQTT 5.0: who has never heard of it may use each Packet Identifier, until memory ends.
            if self.connections[handle].version.is_v5() && count >= self.config.limits.receive_maximum {
                return Err(Refusal::new(
                    ReasonCode::ReceiveMaximumExceeded,
                    "more QoS 2 messages wait for their PUBREL than the server's Receive Maximum allows",
                ));
            }
        }
        let changes = self.messages.journal.changes();
        let outcome = if publish.properties.is_empty() {
            // The frequent case: all parts of the body stand in the packet.
            let topic = TopicName::assume_valid(publish.topic);
            self.publish_from(now, session, topic, publish, &[])
        } else {
            self.publish_with_properties(now, session, publish, alias)
        };
        if let Some(count) = self.counters.publish_received.get_mut(publish.qos as usize) {
            *count += 1;
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

    /// Puts those Properties together that are forwarded. The topic is `alias`, where there is one.
    fn publish_with_properties(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        publish: &Publish<'_>,
        alias: Option<Blob>,
    ) -> Result<Fate, ReasonCode> {
        let topic_len = alias.map_or(0, |topic| topic.len());
        let verbatim = publish.properties.forwardable_verbatim();
        let properties_len = if verbatim.is_some() { 0 } else { publish.properties.forwardable_len() as usize };
        let mut scratch = core::mem::replace(&mut self.scratch, Slots::EMPTY);
        let mut outcome = Err(ReasonCode::QuotaExceeded);
        if scratch.grow_to(topic_len + properties_len) {
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

    /// The topic that a Topic Alias stands for, before the packet is taken; `None` where the packet names it.
    #[cfg(feature = "alloc")]
    pub(crate) fn aliased_topic(
        &self,
        handle: Handle<Connection>,
        publish: &Publish<'_>,
    ) -> Option<crate::mem::SharedBytes> {
        let alias = publish.properties.topic_alias().filter(|_| publish.topic.is_empty())?;
        self.messages.bytes.share(self.aliases.topic_of(handle, alias)?)
    }

    /// The topic that a Topic Alias stands for; `None` where the packet names it.
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

    /// Routes a client's message if the client may publish it. What became of it, or why it is refused.
    fn publish_from(
        &mut self,
        now: Instant,
        session: Handle<Session>,
        topic: TopicName<'_>,
        publish: &Publish<'_>,
        properties: &[u8],
    ) -> Result<Fate, ReasonCode> {
        let client_id = self.sessions[session].client_id;
        let is_reserved = is_reserved_for_server(topic)
            && !connection_state_of(topic).is_some_and(|id| self.messages.bytes.equals(client_id, id));
        if is_reserved || !self.authorize.publish(&self.subject(session), topic, publish.qos, publish.retain) {
            self.count_drop(Some(session), DropReason::NotAuthorized);
            return Err(ReasonCode::NotAuthorized);
        }
        let no_receipt = self.receipts.is_full() || (self.store_is_full && self.sessions[session].is_durable);
        if publish.qos == QoS::ExactlyOnce && no_receipt {
            return Err(ReasonCode::QuotaExceeded);
        }
        #[cfg(feature = "alloc")]
        if self.sessions[session].connection.is_some_and(|connection| self.take_sibling_refusal(connection)) {
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
        self.route(Routing {
            topic,
            parts,
            draft,
            stored: None,
            publisher: Some(session),
            publisher_key,
            #[cfg(feature = "alloc")]
            from_sibling: false,
            // A retained message is kept.
            #[cfg(feature = "alloc")]
            asks: publish.qos > QoS::AtMostOnce && !publish.retain,
        })
    }

    /// PUBACK or PUBREC; in MQTT 3.x, which has no refusing ones, the end of the connection or silence.
    fn answer_publish(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        session: Handle<Session>,
        publish: &Publish<'_>,
        outcome: Result<Fate, ReasonCode>,
        changes: u32,
    ) -> Result<(), Refusal> {
        let packet_id = publish.packet_id.map_or(0, |id| id.get());
        let is_v5 = self.connections[handle].version.is_v5();
        if let Err(code) = outcome {
            self.counters.publish_refused += 1;
            if publish.qos == QoS::AtMostOnce {
                if code != ReasonCode::NotAuthorized {
                    self.count_drop(Some(session), DropReason::QueueFull);
                }
                return Ok(());
            }
            if !is_v5 {
                if code == ReasonCode::NotAuthorized {
                    // Nobody could tell a success from it `[MQTT-3.3.5-2]` of MQTT 3.1.1.
                    let refusal = Refusal { code, why: NOT_AUTHORIZED };
                    self.close(now, handle, refusal, false);
                }
                // Otherwise the acknowledgement is withheld. The client keeps the message, and sends it again when it has
                // connected again: no sooner.
                self.connections[handle].has_reason = true;
                self.close_refused(now, handle);
                return Ok(());
            }
        }
        let kind = match publish.qos {
            QoS::AtMostOnce => return Ok(()),
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        #[cfg(feature = "alloc")]
        let waits = outcome.is_ok_and(|fate| self.asks_siblings(handle, session, packet_id, kind, fate));
        #[cfg(not(feature = "alloc"))]
        let waits = false;
        let (code, why) = match outcome {
            Ok(_) if waits => (ReasonCode::Success, ReasonText::NONE),
            Ok(fate) => {
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
        // Whatever has to survive is in the batch that is being gathered.
        let batch = self.messages.journal.batch_since(changes);
        self.owe(handle, Owed::new(Reply::Ack(kind), packet_id, code, why).after(batch));
        #[cfg(feature = "alloc")]
        if waits {
            self.await_answer(handle, session, packet_id);
        }
        Ok(())
    }

    pub(crate) fn publish_local(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        // Retained messages go to all siblings anyway.
        #[cfg(feature = "alloc")]
        if self.mesh.greeting != 0 && !message.retain {
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
        let routing = Routing {
            topic: message.topic,
            parts,
            draft,
            stored: None,
            publisher: None,
            publisher_key: 0,
            #[cfg(feature = "alloc")]
            from_sibling: false,
            #[cfg(feature = "alloc")]
            asks: false,
        };
        self.route(routing).map(|_| ()).map_err(|_| Full)
    }

    /// A PUBLISH with QoS 1 or 2 was lost to all who subscribed.
    pub(crate) fn count_lost_publish(&mut self, is_refused: bool) {
        self.counters.publish_lost += 1;
        self.counters.publish_refused += u64::from(is_refused);
    }

    /// Hands a message to all who subscribed to its topic, and retains it. What became of it; or why nobody was to get it.
    pub(crate) fn route(&mut self, routing: Routing<'_>) -> Result<Fate, ReasonCode> {
        let (retain, cost) = match routing.stored {
            Some(message) => (self.messages.get(message).retain(), self.messages.get(message).body.len() as u32),
            None => (routing.draft.retain(), routing.parts.iter().map(|part| part.len() as u32).sum()),
        };
        if retain {
            self.check_retain(routing.topic, &routing)?;
        }
        if self.store_is_full && !routing.is_promised() {
            let qos = routing.stored.map_or(routing.draft.qos, |message| self.messages.get(message).qos);
            if self.needs_record(routing.topic, qos, retain && !routing.clears(&self.messages)) {
                return Err(ReasonCode::QuotaExceeded);
            }
        }
        if self.may_refuse && self.config.overflow_for(routing.topic) == Overflow::Refuse {
            let qos = routing.stored.map_or(routing.draft.qos, |message| self.messages.get(message).qos);
            self.check_room(&routing, cost, qos)?;
        }
        let mut message = routing.stored;
        let mut matches = self.router.matches(routing.topic);
        let mut found = matches.next(&self.router);
        #[cfg_attr(not(feature = "alloc"), allow(unused_mut))]
        let mut anybody = found.is_some();
        #[cfg(feature = "alloc")]
        if self.mesh.has_siblings() && !routing.from_sibling {
            anybody |= self.mesh.begin_route(routing.topic.as_str());
            if found.is_none() && anybody && !retain && self.pass_on(&routing) {
                self.count_walk(&matches);
                return Ok(if routing.asks { Fate::Unwanted } else { Fate::Kept });
            }
        }
        if message.is_none() && (anybody || retain) {
            let mut stored = self.messages.store(routing.draft, &routing.parts);
            if stored.is_none() && retain && routing.clears(&self.messages) {
                // What is full of retained messages can be cleared all the same.
                self.unretain(routing.topic);
                stored = self.messages.store(routing.draft, &routing.parts);
            }
            let stored = stored.ok_or(ReasonCode::QuotaExceeded)?;
            // Held while it is handed out, so that it outlives every queue that drops it.
            self.messages.hold(stored);
            message = Some(stored);
        }
        let Some(message) = message else {
            self.count_walk(&matches);
            return Ok(Fate::Unwanted);
        };
        self.routed += 1;
        self.messages.set_order(message, self.routed);
        #[cfg(feature = "alloc")]
        if self.mesh.has_siblings() {
            self.begin_route(message, retain, &routing);
        }
        // First, since it may fail, and then nobody gets the message.
        if retain {
            if !self.retain(routing.topic, message) {
                if routing.stored.is_none() {
                    self.messages.release(message);
                }
                return Err(ReasonCode::QuotaExceeded);
            }
            self.count_walk(&matches);
            // The tree may have changed under the walk.
            matches = self.router.matches(routing.topic);
            found = matches.next(&self.router);
        }
        #[cfg(feature = "alloc")]
        if self.mesh.has_siblings() {
            self.forward_to_all(message, retain, &routing);
        }
        let mut turn = Turn { fate: if retain { Fate::Kept } else { Fate::Unwanted }, ..Turn::default() };
        loop {
            while let Some(matched) = found {
                self.hand_out(matched, message, &routing, &mut turn);
                found = matches.next(&self.router);
            }
            self.count_walk(&matches);
            if turn.is_late || !turn.leaves_any {
                break;
            }
            turn = Turn { is_late: true, fate: turn.fate, ..Turn::default() };
            matches = self.router.matches(routing.topic);
            found = matches.next(&self.router);
        }
        if routing.stored.is_none() {
            self.messages.release(message);
        }
        Ok(turn.fate)
    }

    /// A walk through the tree has come to its end, or is given up.
    #[inline]
    pub(crate) fn count_walk(&mut self, matches: &Matches<'_>) {
        self.work.count_walk(matches.visited(), matches.text_len());
    }

    /// Lets a match have the message, if it is its turn.
    #[inline]
    fn hand_out(&mut self, matched: Match, message: Handle<Message>, routing: &Routing<'_>, turn: &mut Turn) {
        let subscription = match matched {
            Match::Subscription(subscription) => subscription,
            Match::Group(group) if turn.any_copy == turn.is_late => {
                turn.fate = turn.fate.and(self.deliver_to_group(group, message, routing));
                return;
            }
            // What a group gives a member must not come between two matches of that one's own.
            Match::Group(_) => {
                turn.leaves_any = true;
                return;
            }
        };
        let subscriber = self.router.subscription(subscription).subscriber();
        let Some(session) = self.session_of(subscriber) else {
            #[cfg(feature = "alloc")]
            if !turn.is_late {
                self.forward(subscriber.0 as u16, message, routing);
            }
            return;
        };
        let Some(terms) = self.terms_of(subscription, session, message, routing) else {
            return;
        };
        let is_late = self.comes_late(session, message, terms);
        turn.any_copy |= !is_late;
        turn.leaves_any |= is_late;
        if is_late == turn.is_late {
            turn.fate = turn.fate.and(self.deliver(session, message, routing.topic, terms));
        }
    }

    /// How a Session gets the message through a subscription; `None` if it is its own, and not wanted.
    #[inline]
    fn terms_of(
        &self,
        subscription: Handle<Subscription>,
        session: Handle<Session>,
        message: Handle<Message>,
        routing: &Routing<'_>,
    ) -> Option<Terms> {
        let entry = self.router.subscription(subscription);
        let (options, identifier) = (entry.options(), entry.identifier());
        if options.no_local && routing.publisher == Some(session) {
            return None;
        }
        let (qos, retain) = {
            let message = self.messages.get(message);
            (message.qos, message.retain())
        };
        Some(Terms {
            qos: qos.min(QoS::from_bits(options.qos).unwrap_or_default()),
            retain: retain && options.retain_as_published,
            identifier,
            group: None,
            #[cfg(feature = "alloc")]
            foreign: None,
        })
    }

    /// Whether everybody who is to get the message has room, for a topic whose publisher is to be refused otherwise.
    pub(crate) fn check_room(&mut self, routing: &Routing<'_>, cost: u32, qos: QoS) -> Result<(), ReasonCode> {
        let mut matches = self.router.matches(routing.topic);
        while let Some(matched) = matches.next(&self.router) {
            let room = match matched {
                Match::Subscription(subscription) => {
                    let entry = self.router.subscription(subscription);
                    let own = entry.options().no_local;
                    let may_wait_in_store = qos > QoS::AtMostOnce && entry.options().qos > 0;
                    match self.session_of(entry.subscriber()) {
                        Some(session) if own && routing.publisher == Some(session) => true,
                        Some(session) => {
                            self.has_room(session, cost, may_wait_in_store)
                                || self.drop_expired(session, cost, may_wait_in_store)
                        }
                        None => true,
                    }
                }
                Match::Group(group) => self.group_has_room(group, cost) || self.drop_expired_of_group(group, cost),
            };
            if !room {
                self.count_walk(&matches);
                return Err(ReasonCode::QuotaExceeded);
            }
        }
        self.count_walk(&matches);
        Ok(())
    }

    /// Whether the message can't be handed out without a record: here, or with a sibling, which records it as soon as it
    /// hears of it.
    pub(crate) fn needs_record(&mut self, topic: TopicName<'_>, qos: QoS, is_kept: bool) -> bool {
        if !self.messages.journal.is_on() {
            return false;
        }
        if is_kept && !is_reserved_for_server(topic) {
            return true;
        }
        #[cfg(feature = "alloc")]
        if self.mesh.has_siblings() {
            self.mesh.begin_route(topic.as_str());
            if self.find_durable_siblings(qos, false, topic) {
                return true;
            }
        }
        let mut matches = self.router.matches(topic);
        while let (true, Some(matched)) = (qos > QoS::AtMostOnce, matches.next(&self.router)) {
            let needs = match matched {
                Match::Subscription(subscription) => self.is_durably_subscribed(subscription),
                Match::Group(group) => self.group_needs_record(group),
            };
            if needs {
                self.count_walk(&matches);
                return true;
            }
        }
        self.count_walk(&matches);
        false
    }

    /// Whether a message of QoS 1 or 2 for this subscription is recorded.
    pub(crate) fn is_durably_subscribed(&self, subscription: Handle<crate::engine::router::Subscription>) -> bool {
        let entry = self.router.subscription(subscription);
        let Some(session) = self.session_of(entry.subscriber()) else { return false };
        let session = &self.sessions[session];
        let is_durable = session.shards.elsewhere().map_or(session.is_durable, |elsewhere| elsewhere.is_durable);
        is_durable && entry.options().qos > 0
    }

    /// The same for all messages of one Session: what shared subscriptions that go by the publisher hash.
    pub(crate) fn publisher_key(&self, session: Handle<Session>) -> u32 {
        crate::mem::Chained::<()>::hash(&self.sessions[session])
    }
}
