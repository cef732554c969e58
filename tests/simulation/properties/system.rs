//! The system under test: brokers in a [`World`], devices that use them, and the model. Each transition is applied to
//! all three, and then the messages that the devices received are compared with the model.

use std::collections::{BTreeMap, BTreeSet};

use goldcrest_core::codec::*;
use goldcrest_core::{AllowAll, Config, DropReason, Shard};
use goldcrest_tests::honest::{Got, Honest, Message as Delivered, Opening, bytes_of, id, publication as packet_of};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::{Sync, World};

use super::model::{Message, Model, Number, Subscription};
use super::network::{Device, Seen, is_delivery, only_answers, payload};
use super::transitions::{Last, Mix, Publication, TOPICS, Transition};

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) shards: u16,
    pub(crate) storage: Storage,
    pub(crate) config: Config<'static>,
    pub(crate) transmit_size: usize,
    pub(crate) mix: Mix,
    /// Whether there is room for everything, so that no message may be refused or lost for lack of room.
    pub(crate) generous: bool,
    /// When records become safe.
    pub(crate) sync: Sync,
}

pub(crate) struct System {
    setup: Setup,
    world: World,
    devices: Vec<Device>,
    model: Model,
    last_number: Number,
    /// The newest message that came, by Session, publisher and topic.
    newest: BTreeMap<(u32, usize, &'static str), Number>,
    /// Messages that were lost without a Session that should have got them, which count for the publisher.
    refused: u64,
    /// The messages that came, by client and Session.
    pub(crate) came: BTreeSet<(usize, u32, Number)>,
    /// The number of transitions applied, without those that made no sense.
    pub(crate) happened: u64,
}

impl System {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut world = World::in_storage(setup.storage, setup.shards, setup.config.clone(), &AllowAll);
        world.transmit_size = setup.transmit_size;
        (world.sync, world.fetch) = (setup.sync, setup.sync);
        let versions = [Version::V5, Version::V3_1_1, Version::V5, Version::V5, Version::V3_1, Version::V5];
        let device = |number: usize| Device::new(format!("client {number}"), versions[number % versions.len()]);
        Self {
            world,
            devices: (0..setup.mix.clients).map(device).collect(),
            model: Model::default(),
            last_number: 0,
            newest: BTreeMap::new(),
            refused: 0,
            came: BTreeSet::new(),
            happened: 0,
            setup,
        }
    }

    /// Applies one transition, with all consequences.
    pub(crate) fn step(&mut self, transition: &Transition) {
        // No two transitions happen in the same millisecond.
        self.pass(1);
        if self.apply(transition) {
            self.happened += 1;
        }
        self.observe();
        if self.setup.config.durable && self.happened.is_multiple_of(20) {
            self.world.check_stores();
        }
    }

    /// Applies a transition. Returns whether it made sense.
    fn apply(&mut self, transition: &Transition) -> bool {
        match transition {
            Transition::Connect { client, clean, expiry_secs, window, aliases, will } => {
                self.connect(*client, *clean, *expiry_secs, *window, *aliases, *will);
                true
            }
            Transition::Disconnect { client, keeps_will } => self.disconnect(*client, *keeps_will),
            Transition::Cut { client } => {
                let Some(link) = self.devices[*client].link.take() else { return false };
                self.model.lose(*client);
                self.world.cut(link.at);
                true
            }
            Transition::Publish(publication) => self.publish(publication),
            Transition::Burst(all) => self.burst(all),
            Transition::Repeat { client, pick } => self.repeat(*client, *pick),
            Transition::Release { client, pick } => self.release(*client, *pick),
            Transition::Acknowledge { client, count, in_order, refuse, pick } => {
                self.acknowledge(*client, *count, *in_order, *refuse, *pick)
            }
            Transition::Subscribe { client, filter, options, identifier } => {
                self.subscribe(*client, filter, *options, *identifier)
            }
            Transition::Unsubscribe { client, filter } => self.unsubscribe(*client, filter),
            Transition::Read { client, room } => {
                let device = &mut self.devices[*client];
                let Some(link) = &device.link else { return false };
                device.throttled = room.is_some();
                device.was_throttled |= room.is_some();
                self.world.read_only(link.at, *room);
                true
            }
            Transition::Pass { millis } => {
                self.pass(*millis);
                true
            }
            Transition::Crash => {
                self.crash();
                true
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        for (client, device) in self.devices.iter().enumerate() {
            if let Some(session) = self.model.sessions.get_mut(&client) {
                session.unacknowledged = device.unacknowledged();
            }
        }
        self.model.advance(self.model.now + millis);
        self.world.advance(millis);
    }

    fn connect(
        &mut self,
        client: usize,
        clean: bool,
        expiry_secs: u32,
        window: Option<u16>,
        aliases: u16,
        last: Option<Last>,
    ) {
        let version = self.devices[client].version;
        // Before MQTT 5.0 one bit stands for both.
        let clean = if version.is_v5() { clean } else { expiry_secs == 0 };
        let expiry_secs = if version.is_v5() || expiry_secs == 0 { expiry_secs } else { u32::MAX };
        let number = self.fresh_number();
        let text = payload(number, 0);
        let delay = last.map_or(0, |last| if version.is_v5() { last.delay_secs } else { 0 });
        let will = last.map(|Last { topic, qos, retain, .. }| {
            self.refused += u64::from(!self.setup.generous);
            (Will { qos, retain, properties: Properties::EMPTY, topic, payload: &text }, delay)
        });
        let opening = Opening {
            id: &self.devices[client].id,
            clean_start: clean,
            expiry_secs,
            window: window.filter(|_| version.is_v5()),
            aliases,
            will,
        };
        let mut link = Honest::connect(&mut self.world, version, &opening);
        let promised = last.map(|Last { topic, qos, retain, .. }| {
            let message = Message { number, publisher: client, is_will: true, topic, qos, retain, expires: None };
            (message, delay)
        });
        let window = opening.window.unwrap_or(u16::MAX);
        let present = self.model.connect(client, clean, expiry_secs, promised);
        if let Some(mut old) = self.devices[client].link.take() {
            if !self.devices[client].throttled {
                let got = old.take(&mut self.world);
                let told: &[Got] = if version.is_v5() { &[Got::Disconnect(ReasonCode::SessionTakenOver)] } else { &[] };
                assert_eq!(got, told, "to the connection that was taken over");
            }
            self.world.cut(old.at);
        }
        let got = link.take(&mut self.world);
        // MQTT 3.1 has no Session Present.
        let said = present && version != Version::V3_1;
        assert_eq!(got.first(), Some(&Got::ConnAck(said, ReasonCode::Success)), "client {client}");
        self.devices[client].connected(link, window, present);
        for got in got.into_iter().skip(1) {
            self.take(client, got);
        }
    }

    fn disconnect(&mut self, client: usize, keeps_will: bool) -> bool {
        let device = &mut self.devices[client];
        let Some(link) = device.link.take() else { return false };
        let keeps_will = keeps_will && device.version.is_v5();
        let code = if keeps_will { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
        link.send(&mut self.world, &Packet::Disconnect(Disconnect { code, properties: Properties::EMPTY }));
        if keeps_will {
            self.model.lose(client);
        } else {
            self.model.disconnect(client);
        }
        assert!(self.world.is_closed(link.at) || device.throttled);
        self.world.cut(link.at);
        true
    }

    fn crash(&mut self) {
        // This also records the counters.
        self.world.check_stores();
        self.world.crash();
        for device in &mut self.devices {
            if let Some(link) = device.link.take() {
                self.world.cut(link.at);
            }
        }
        self.model.crash(|client| self.devices[client].was_throttled);
        self.pass(0);
        self.world.check_stores();
    }

    fn fresh_number(&mut self) -> Number {
        self.last_number += 1;
        self.last_number
    }

    fn publish(&mut self, publication: &Publication) -> bool {
        let device = &mut self.devices[publication.client];
        // The client must be able to receive the answer.
        if device.link.is_none() || device.throttled || device.held.len() > 20 {
            return false;
        }
        let (refused, lost) = self.publish_refused_and_lost();
        let (message, packet_id, body) = self.send_publication(publication);
        self.world.drive();
        let after = self.publish_refused_and_lost();
        // The loss shows that the message was routed and no subscriber had room.
        let is_lost = after.1 > lost;
        let accepted = is_lost || after.0 == refused;
        assert!((accepted && !is_lost) || !self.setup.generous);
        let mut is_kept = false;
        if accepted {
            is_kept = self.model.publish(message);
        } else if message.qos == QoS::AtMostOnce {
            self.refused += 1;
        }
        let device = &mut self.devices[publication.client];
        let got = device.link.as_mut().unwrap().take(&mut self.world);
        let code = match (accepted && !is_lost, is_kept) {
            _ if !device.version.is_v5() => ReasonCode::Success,
            (true, true) => ReasonCode::Success,
            (true, false) => ReasonCode::NoMatchingSubscribers,
            (false, _) => ReasonCode::QuotaExceeded,
        };
        let kind = if message.qos == QoS::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
        let answer = Got::Ack(kind, packet_id, code);
        let withheld = !accepted && !device.version.is_v5();
        let expected: &[&Got] = if message.qos == QoS::AtMostOnce || withheld { &[] } else { &[&answer] };
        assert_eq!(only_answers(&got), expected, "{message:?}");
        if message.qos == QoS::ExactlyOnce && accepted && !code.is_error() {
            device.held.insert(packet_id, (message.topic, body));
        }
        self.take_rest(publication.client, got);
        if withheld && message.qos > QoS::AtMostOnce {
            self.leave_unanswered(publication.client);
        }
        true
    }

    /// The broker closes a client sooner or later if a message of it was not acknowledged. Here the client disconnects
    /// before, if it is still connected.
    fn leave_unanswered(&mut self, client: usize) {
        let closed = self.devices[client].link.take_if(|link| self.world.is_closed(link.at));
        match closed {
            Some(link) => {
                self.model.lose(client);
                self.world.cut(link.at);
            }
            None => assert!(self.disconnect(client, false)),
        }
    }

    /// Several clients publish, and the brokers receive all messages before anything else happens.
    fn burst(&mut self, all: &[Publication]) -> bool {
        if !self.setup.generous {
            return false;
        }
        for publication in all {
            let device = &self.devices[publication.client];
            if device.link.is_none() || device.held.len() > 20 {
                continue;
            }
            let (message, packet_id, body) = self.send_publication(publication);
            self.model.publish(message);
            if message.qos == QoS::ExactlyOnce {
                self.devices[publication.client].held.insert(packet_id, (message.topic, body));
            }
        }
        self.world.drive();
        true
    }

    /// Puts a PUBLISH on its way to the broker.
    fn send_publication(&mut self, publication: &Publication) -> (Message, u16, Vec<u8>) {
        let Publication { client, topic, qos, retain, empty, size, expiry_secs } = *publication;
        let number = if empty { 0 } else { self.fresh_number() };
        let body = if empty { Vec::new() } else { payload(number, size) };
        let device = &mut self.devices[client];
        let packet_id = if qos == QoS::AtMostOnce { 0 } else { device.fresh_id() };
        let expiry_secs = expiry_secs.filter(|_| device.version.is_v5() && !empty);
        let list = expiry_secs.map(Property::MessageExpiryInterval);
        let mut packet = packet_of(topic, &body, qos, retain, packet_id.max(1));
        if let Packet::Publish(publish) = &mut packet {
            publish.properties = Properties::new(list.as_slice());
        }
        let bytes = bytes_of(device.version, &packet);
        self.world.send_later(device.link.as_ref().unwrap().at, &bytes);
        let expires = expiry_secs.map(|seconds| self.model.now + u64::from(seconds) * 1_000);
        (Message { number, publisher: client, is_will: false, topic, qos, retain, expires }, packet_id, body)
    }

    fn publish_refused_and_lost(&self) -> (u64, u64) {
        let counters = (0..self.setup.shards).map(|shard| self.world.shard(usize::from(shard)).counters());
        counters.fold((0, 0), |sum, counters| (sum.0 + counters.publish_refused, sum.1 + counters.publish_lost))
    }

    /// Sends the same QoS 2 message again, which no client may get twice.
    fn repeat(&mut self, client: usize, pick: usize) -> bool {
        let device = &mut self.devices[client];
        if device.throttled || device.held.is_empty() {
            return false;
        }
        let Some(link) = &mut device.link else { return false };
        let (packet_id, (topic, body)) = device.held.iter().nth(pick % device.held.len()).unwrap();
        let mut packet = packet_of(topic, body, QoS::ExactlyOnce, false, *packet_id);
        if let Packet::Publish(publish) = &mut packet {
            publish.dup = true;
        }
        link.send(&mut self.world, &packet);
        let got = link.take(&mut self.world);
        assert_eq!(only_answers(&got), [&Got::Ack(AckKind::PubRec, *packet_id, ReasonCode::Success)]);
        self.take_rest(client, got);
        true
    }

    fn release(&mut self, client: usize, pick: usize) -> bool {
        let device = &mut self.devices[client];
        if device.throttled || device.held.is_empty() {
            return false;
        }
        let Some(link) = &mut device.link else { return false };
        let packet_id = *device.held.keys().nth(pick % device.held.len()).unwrap();
        device.held.remove(&packet_id);
        link.ack(&mut self.world, AckKind::PubRel, packet_id);
        let got = link.take(&mut self.world);
        assert_eq!(only_answers(&got), [&Got::Ack(AckKind::PubComp, packet_id, ReasonCode::Success)]);
        self.take_rest(client, got);
        true
    }

    fn acknowledge(&mut self, client: usize, count: usize, in_order: bool, refuse: bool, pick: usize) -> bool {
        let mut happened = false;
        for _ in 0..count {
            let device = &mut self.devices[client];
            let Some(link) = &device.link else { break };
            if device.due.is_empty() {
                break;
            }
            let at = link.at;
            let index = if in_order { 0 } else { pick % device.due.len() };
            let (kind, packet_id, code) = device.acknowledge(index, refuse);
            self.model.slack += u64::from(code.is_error());
            let packet = kind.of(Ack::new(id(packet_id), code));
            self.world.send(at, &bytes_of(self.devices[client].version, &packet));
            self.observe();
            happened = true;
        }
        happened
    }

    fn subscribe(
        &mut self,
        client: usize,
        filter: &'static str,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> bool {
        let device = &mut self.devices[client];
        let exact = if device.is_idle() { usize::from(device.window) } else { 0 };
        let Some(link) = &mut device.link else { return false };
        if device.throttled {
            return false;
        }
        let (options, identifier) = match device.version {
            Version::V5 => (options, identifier),
            _ => (SubscriptionOptions::with_qos(options.qos), 0),
        };
        let options = SubscriptionOptions { no_local: options.no_local && !filter.starts_with("$share"), ..options };
        let list = [Property::SubscriptionIdentifier(identifier)];
        let filters = [(filter, options)];
        let packet = Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Properties::new(if identifier == 0 { &[] } else { &list }),
            filters: Filters::new(&filters),
        });
        link.send(&mut self.world, &packet);
        let got = link.take(&mut self.world);
        match only_answers(&got)[..] {
            [Got::SubAck(1, codes)] if !codes[0].is_error() => {
                assert_eq!(codes[..], [ReasonCode::from_u8(options.qos.bits()).unwrap()]);
                self.model.subscribe(client, filter, Subscription { options, identifier }, exact);
            }
            [Got::SubAck(1, _)] if !self.setup.generous => {
                self.model.sessions.get_mut(&client).unwrap().subscriptions.remove(filter);
            }
            ref other => panic!("SUBSCRIBE to {filter}: {other:?}"),
        }
        self.take_rest(client, got);
        true
    }

    fn unsubscribe(&mut self, client: usize, filter: &'static str) -> bool {
        let device = &mut self.devices[client];
        let Some(link) = &mut device.link else { return false };
        if device.throttled {
            return false;
        }
        let filters = [filter];
        let packet = Packet::Unsubscribe(Unsubscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: Topics::new(&filters),
        });
        link.send(&mut self.world, &packet);
        let got = link.take(&mut self.world);
        let session = self.model.sessions.get_mut(&client).unwrap();
        let code = match session.subscriptions.remove(filter) {
            Some(_) => ReasonCode::Success,
            None => ReasonCode::NoSubscriptionExisted,
        };
        let codes = if device.version.is_v5() { vec![code] } else { Vec::new() };
        assert_eq!(only_answers(&got), [&Got::UnsubAck(1, codes)]);
        self.take_rest(client, got);
        true
    }

    /// Compares all packets that have arrived with the model.
    fn observe(&mut self) {
        for client in 0..self.devices.len() {
            let Some(link) = &mut self.devices[client].link else { continue };
            let got = link.take(&mut self.world);
            assert!(!self.world.is_closed(link.at), "client {client} was closed: {got:?}");
            got.into_iter().for_each(|got| self.take(client, got));
            let device = &self.devices[client];
            let session = self.model.sessions.get_mut(&client).expect("who is connected has a Session");
            session.unacknowledged = device.unacknowledged();
        }
    }

    /// Receives the packets that came beside an answer.
    fn take_rest(&mut self, client: usize, all: Vec<Got>) {
        let rest = all.into_iter().filter(is_delivery);
        rest.for_each(|got| self.take(client, got));
    }

    fn take(&mut self, client: usize, got: Got) {
        match got {
            Got::Message(delivered) => match self.devices[client].receive(delivered) {
                Seen::New(delivered, number) => self.check(client, &delivered, number),
                Seen::Again => {}
            },
            Got::Ack(AckKind::PubRel, packet_id, code) => self.devices[client].released(packet_id, code),
            // These are the answers to a burst.
            Got::Ack(_, _, code) => assert!(!code.is_error()),
            other => panic!("client {client}: {other:?}"),
        }
    }

    /// Checks a message that came for the first time.
    fn check(&mut self, client: usize, delivered: &Delivered, number: Number) {
        let session = self.model.sessions.get_mut(&client).unwrap();
        self.came.insert((client, session.incarnation, number));
        if delivered.topic.starts_with("s/") {
            let shared = self.model.shared.get_mut(&number).expect("it was published to a group");
            shared.got += 1;
            shared.got_once += u32::from(delivered.qos != QoS::AtLeastOnce);
            assert!(shared.got_once <= shared.wanted, "{number} came twice through a group");
            return;
        }
        let expected = session.expected.get_mut(&number);
        let expected = expected.unwrap_or_else(|| panic!("client {client} was not to get {delivered:?}"));
        expected.got += 1;
        assert!(expected.got <= expected.most, "client {client}: {delivered:?} came too often: {expected:?}");
        if number == 0 {
            return;
        }
        let message = expected.message;
        assert_eq!(delivered.topic, message.topic);
        let device = &self.devices[client];
        // A message that had a Packet Identifier when the power was lost is sent again, even if it has expired.
        assert!(!delivered.dup || expected.may_be_sent, "client {client}: DUP, and never seen: {delivered:?}");
        let may_be_late = device.was_throttled || delivered.dup;
        if let (Some(expires), false) = (message.expires, may_be_late) {
            assert!(expires > self.model.now, "it has expired: {delivered:?}");
            let left = (expires - self.model.now).div_ceil(1_000) as u32;
            assert_eq!(delivered.expiry, device.version.is_v5().then_some(left));
        }
        if delivered.retain {
            return;
        }
        assert_eq!(delivered.qos, expected.qos, "client {client}: {delivered:?}");
        if device.version.is_v5() && self.setup.generous {
            let identifiers: BTreeSet<u32> = delivered.identifiers.iter().copied().collect();
            assert_eq!(identifiers, expected.identifiers, "client {client}: {delivered:?}");
        }
        if !message.is_will {
            let key = (session.incarnation, message.publisher, message.topic);
            if let Some(before) = self.newest.insert(key, number) {
                assert!(before < number, "client {client}: {number} after {before}");
            }
        }
    }

    /// Connects all clients, which receive all messages. Then brokers, devices and model must agree, and all clients
    /// leave.
    pub(crate) fn finish(&mut self) {
        for client in 0..self.devices.len() {
            if self.devices[client].link.is_some() {
                self.apply(&Transition::Read { client, room: None });
            } else if self.model.sessions.contains_key(&client) {
                self.pass(1);
                if self.model.sessions.contains_key(&client) {
                    self.connect(client, false, u32::MAX, None, 0, None);
                }
            }
            self.observe();
        }
        while (0..self.devices.len()).any(|client| self.acknowledge(client, usize::MAX, true, false, 0)) {}
        self.pass(120_000);
        self.observe();
        while (0..self.devices.len()).any(|client| self.acknowledge(client, usize::MAX, true, false, 0)) {}
        self.account();
        self.check_retained();
        self.leave();
    }

    /// Checks that the missing messages were counted as lost, and no others.
    fn account(&mut self) {
        let all = (0..self.setup.shards).map(|shard| self.world.shard(usize::from(shard)).counters().dropped);
        let all: Vec<_> = all.collect();
        let lost: u64 = all.iter().map(|dropped| dropped.total()).sum();
        let by = |reason| all.iter().map(|dropped| u64::from(dropped.by(reason))).sum::<u64>();
        let missing = self.model.missing();
        let reasons: Vec<_> = DropReason::ALL.iter().map(|reason| (reason.as_str(), by(*reason))).collect();
        if self.setup.generous {
            assert_eq!((by(DropReason::QueueFull), by(DropReason::OutOfMemory)), (0, 0));
            for (client, session) in &self.model.sessions {
                for (number, expected) in &session.expected {
                    let had_to = expected.qos > QoS::AtMostOnce && expected.message.expires.is_none() && *number != 0;
                    assert!(!had_to || expected.got >= expected.wanted, "client {client} lacks {number}: {expected:?}");
                }
            }
        }
        // With several shards and little room fewer losses may be counted than messages are missing: a shard that has no memory for a
        // message of another shard counts one loss for all its clients.
        if self.setup.generous || self.setup.shards == 1 {
            assert!(lost >= missing, "{missing} are missing, {lost} were counted: {reasons:?}");
        }
        let most = missing + self.refused + self.model.slack;
        assert!(
            lost <= most || self.setup.mix.shared,
            "{missing} are missing, {} were refused, {} may be counted besides, {lost} were counted: {reasons:?}",
            self.refused,
            self.model.slack
        );
    }

    /// Checks that every broker has the same retained messages as the model.
    fn check_retained(&mut self) {
        let now = self.model.now;
        let kept = self.model.retained.iter();
        let kept = kept.filter(|(_, message)| message.expires.is_none_or(|expires| expires > now));
        let kept: BTreeMap<&str, Number> = kept.map(|(topic, message)| (*topic, message.number)).collect();
        for shard in 0..self.setup.shards {
            let id = (0..).map(|number| format!("checker {number}"));
            let id = id.into_iter().find(|id| Shard::home_of(id.as_bytes(), self.setup.shards) == shard).unwrap();
            let mut checker = Honest::accepted(&mut self.world, Version::V5, &Opening::new(&id));
            let mut found = BTreeMap::new();
            for topic in TOPICS {
                let filters = [(topic, SubscriptionOptions::with_qos(QoS::AtMostOnce))];
                let filters = Filters::new(&filters);
                let (packet_id, properties) = (goldcrest_tests::honest::id(1), Properties::EMPTY);
                checker.send(&mut self.world, &Packet::Subscribe(Subscribe { packet_id, properties, filters }));
                for got in checker.take(&mut self.world) {
                    if let Got::Message(message) = got {
                        let text = String::from_utf8(message.payload).unwrap();
                        found.insert(topic, text.split(':').next().unwrap().parse::<Number>().unwrap());
                    }
                }
            }
            checker.disconnect(&mut self.world);
            self.world.cut(checker.at);
            assert_eq!(found, kept, "retained by shard {shard}");
        }
    }

    fn leave(&mut self) {
        for client in 0..self.devices.len() {
            if self.model.sessions.contains_key(&client) {
                self.connect(client, true, 0, None, 0, None);
                self.disconnect(client, false);
                // The clients that left may have had Wills.
                self.observe();
            }
        }
        let clearer = Honest::accepted(&mut self.world, Version::V5, &Opening::new("clearer"));
        for topic in TOPICS {
            clearer.publish(&mut self.world, topic, b"", QoS::AtMostOnce, true, 1);
        }
        clearer.disconnect(&mut self.world);
        self.world.cut(clearer.at);
        for shard in 0..self.setup.shards {
            let counters = self.world.shard(usize::from(shard)).counters();
            let things = [
                counters.connections,
                counters.sessions,
                counters.connected,
                counters.subscriptions,
                counters.retained,
            ];
            assert_eq!((things, counters.messages, counters.deliveries, counters.bytes), ([0; 5], 0, 0, 0));
        }
    }
}
