//! Cases in which two things happen at once, each of which once went wrong, or nearly.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use goldcrest_core::codec::*;
use goldcrest_core::record::Kind;
use goldcrest_core::{
    AllowAll, Authentication, Broker, Capacity, Config, DropReason, Limits, Memory, Next, Overflow, Shard, Verdict,
};
use goldcrest_tests::honest::{Got, Honest, Message, Opening};
use goldcrest_tests::memory::{MODEST, Storage};
use goldcrest_tests::world::{ClientId, World};

/// An MQTT 5.0 client that connected with Clean Start 1.
fn connect(world: &mut World, id: &str, properties: &[Property<'_>]) -> ClientId {
    let client = connecting(world, id, true, properties);
    let connack = take(world, client);
    assert_eq!(connack.first().map(|packet| packet[0]), Some(0x20), "{connack:02x?}");
    client
}

fn connecting(world: &mut World, id: &str, clean_start: bool, properties: &[Property<'_>]) -> ClientId {
    let client = world.open();
    let bytes = connect_bytes(id, clean_start, properties);
    world.send(client, &bytes);
    client
}

fn connect_bytes(id: &str, clean_start: bool, properties: &[Property<'_>]) -> Vec<u8> {
    bytes(&Packet::Connect(Connect {
        version: Version::V5,
        is_bridge: false,
        clean_start,
        keep_alive: 0,
        properties: Properties::new(properties),
        client_id: id,
        will: None,
        user_name: None,
        password: None,
    }))
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    bytes
}

fn subscribe_bytes(filter: &str, qos: QoS) -> Vec<u8> {
    let filters = [(filter, SubscriptionOptions::with_qos(qos))];
    bytes(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        filters: Filters::new(&filters),
    }))
}

fn subscribe(world: &mut World, client: ClientId, filter: &str, qos: QoS) {
    world.send(client, &subscribe_bytes(filter, qos));
    let suback = take(world, client);
    assert!(suback.iter().any(|packet| packet[0] == 0x90 && packet[packet.len() - 1] < 0x80), "{suback:02x?}");
}

fn publish_bytes(topic: &str, qos: QoS, id: u16, properties: &[Property<'_>], payload: &[u8]) -> Vec<u8> {
    bytes(&Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: (qos > QoS::AtMostOnce).then(|| PacketId::new(id).unwrap()),
        properties: Properties::new(properties),
        payload,
    }))
}

/// The packets that the client has received since the last call.
fn take(world: &mut World, client: ClientId) -> Vec<Vec<u8>> {
    let received = world.receive(client);
    let mut rest = &received[..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (_, len) = split(rest, u32::MAX).expect("well-formed").expect("whole");
        packets.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    packets
}

/// Topic, Topic Alias and payload of a PUBLISH.
fn read_publish(packet: &[u8]) -> (String, Option<u16>, Vec<u8>) {
    let (frame, _) = split(packet, u32::MAX).unwrap().unwrap();
    let Packet::Publish(publish) = Packet::decode(Version::V5, frame).unwrap() else { panic!("{packet:02x?}") };
    (publish.topic.into(), publish.properties.topic_alias(), publish.payload.into())
}

/// A client without an identifier sends CONNECT and, in the same write, a packet that ends its connection. The Session is gone
/// when CONNACK is transmitted, and CONNACK must still name the assigned identifier.
#[test]
fn connack_names_the_assigned_identifier_of_a_session_that_has_ended() {
    let mut world = World::new(1, Config::gateway(1));
    let client = world.open();
    world.send(client, &[connect_bytes("", true, &[]), vec![0xd0, 0]].concat());
    let packets = take(&mut world, client);
    let (frame, _) = split(&packets[0], u32::MAX).unwrap().unwrap();
    let Packet::ConnAck(connack) = Packet::decode(Version::V5, frame).unwrap() else { panic!() };
    let assigned = connack.properties.assigned_client_identifier().unwrap();
    assert!(assigned.starts_with("goldcrest-") && assigned.len() == 26, "{assigned}");
    assert_eq!(packets[1][0], 0xe0);
}

/// The broker sets an alias together with the first message of a topic. If that message is too large for the client and is
/// dropped, the client never learns of the alias.
#[test]
fn an_alias_is_not_set_by_a_message_that_is_too_large() {
    let mut world = World::new(1, Config::gateway(1));
    let limits = [Property::TopicAliasMaximum(5), Property::MaximumPacketSize(40)];
    let subscriber = connect(&mut world, "s", &limits);
    let publisher = connect(&mut world, "p", &[]);
    subscribe(&mut world, subscriber, "a/b", QoS::AtMostOnce);
    world.send(publisher, &publish_bytes("a/b", QoS::AtMostOnce, 0, &[], &[7; 40]));
    assert!(take(&mut world, subscriber).is_empty());
    world.send(publisher, &publish_bytes("a/b", QoS::AtMostOnce, 0, &[], b"1"));
    world.send(publisher, &publish_bytes("a/b", QoS::AtMostOnce, 0, &[], b"2"));
    let got: Vec<_> = take(&mut world, subscriber).iter().map(|packet| read_publish(packet)).collect();
    assert_eq!(got, [("a/b".into(), Some(1), b"1".to_vec()), (String::new(), Some(1), b"2".to_vec())]);
    // The PUBLISH has 40 bytes with the topic, and 3 more with an alias: it is sent without an alias.
    world.send(publisher, &publish_bytes("a/c", QoS::AtMostOnce, 0, &[], b""));
    subscribe(&mut world, subscriber, "a/c", QoS::AtMostOnce);
    world.send(publisher, &publish_bytes("a/c", QoS::AtMostOnce, 0, &[], &[7; 32]));
    let got: Vec<_> = take(&mut world, subscriber).iter().map(|packet| read_publish(packet)).collect();
    assert_eq!(got, [("a/c".into(), None, vec![7; 32])]);
}

/// A PUBLISH of QoS 2 that is sent again on a new Network Connection sets a Topic Alias there, although its message is not
/// delivered again.
#[test]
fn a_duplicate_publish_sets_its_topic_alias() {
    let mut world = World::new(1, Config::gateway(1));
    let lasting = [Property::SessionExpiryInterval(100)];
    let subscriber = connect(&mut world, "s", &[]);
    subscribe(&mut world, subscriber, "#", QoS::AtMostOnce);
    let publisher = connect(&mut world, "p", &lasting);
    let first = publish_bytes("a", QoS::ExactlyOnce, 1, &[Property::TopicAlias(1)], b"1");
    world.send(publisher, &first);
    world.cut(publisher);
    let publisher = connecting(&mut world, "p", false, &lasting);
    world.send(publisher, &first);
    world.send(publisher, &publish_bytes("", QoS::AtMostOnce, 0, &[Property::TopicAlias(1)], b"2"));
    assert!(!world.is_closed(publisher), "{:02x?}", take(&mut world, publisher));
    let got: Vec<_> = take(&mut world, subscriber).iter().map(|packet| read_publish(packet).2).collect();
    assert_eq!(got, [b"1".to_vec(), b"2".to_vec()]);
}

fn broker(config: Config<'static>) -> Broker<'static> {
    let memory = Memory::owned(&Capacity::GATEWAY, &config.limits, Shard::ONLY);
    Broker::new(memory, config, &goldcrest_core::AllowAll)
}

/// All bytes that a broker has to transmit on a connection.
fn transmit(broker: &mut Broker<'_>, now: goldcrest_core::Instant, id: goldcrest_core::ConnectionId) -> Vec<u8> {
    let mut out = [0; 1000];
    let transmit = broker.poll_transmit(now, id, &mut out);
    out[..transmit.written].to_vec()
}

/// The embedder decides about a re-authentication while another client takes over the Session. The verdict that comes then has
/// no effect, and no packet follows the DISCONNECT `[MQTT-3.14.4-1]`.
#[test]
fn a_verdict_after_a_takeover_is_ignored() {
    for refuse in [false, true] {
        let now = goldcrest_core::Instant::from_millis(1);
        let mut broker = broker(Config { authentication: Authentication::Ask, ..Config::gateway(1) });
        let accept = Verdict::accept(Default::default());
        let method = [Property::AuthenticationMethod("m")];
        let old = broker.handle_connected(now).unwrap();
        let bytes = connect_bytes("c", true, &method);
        assert!(matches!(broker.handle_bytes(now, old, &bytes).next, Next::Ask(_)));
        broker.handle_verdict(now, old, accept.clone());
        assert_eq!(transmit(&mut broker, now, old)[0], 0x20);
        let auth =
            self::bytes(&Packet::Auth(Auth { code: ReasonCode::ReAuthenticate, properties: Properties::new(&method) }));
        assert!(matches!(broker.handle_bytes(now, old, &auth).next, Next::Ask(_)));
        let new = broker.handle_connected(now).unwrap();
        broker.handle_bytes(now, new, &bytes);
        broker.handle_verdict(now, new, accept.clone());
        let goodbye = transmit(&mut broker, now, old);
        assert_eq!((goodbye[0], goodbye[2]), (0xe0, 0x8e));
        broker.handle_verdict(now, old, if refuse { Verdict::Refuse(ReasonCode::NotAuthorized) } else { accept });
        assert!(transmit(&mut broker, now, old).is_empty());
    }
}

/// A connection is closed, and `poll_ready` has not named it since. A shutdown must not close the connection again, because a
/// timer for that would outlive the connection.
#[test]
fn a_shutdown_skips_connections_that_are_closed_already() {
    let now = goldcrest_core::Instant::from_millis(1);
    let mut broker = broker(Config::gateway(1));
    let id = broker.handle_connected(now).unwrap();
    broker.handle_bytes(now, id, &connect_bytes("c", true, &[]));
    broker.handle_closed(now, id);
    broker.shut_down(now);
    assert_eq!(broker.poll_ready(), None);
    assert_eq!(broker.poll_timeout(), None);
    assert_eq!(broker.counters().connections, 0);
}

/// No packet exceeds the client's Maximum Packet Size `[MQTT-3.1.2-24]`. A client that can be sent no CONNACK or SUBACK is
/// closed. A CONNACK that refuses has 5 bytes.
#[test]
fn a_client_whose_answer_would_be_too_large_is_closed() {
    let mut world = World::new(1, Config::gateway(1));
    let client = connecting(&mut world, "small", true, &[Property::MaximumPacketSize(4)]);
    assert!(world.is_closed(client) && take(&mut world, client).is_empty());
    let client = connecting(&mut world, "small", true, &[Property::MaximumPacketSize(5)]);
    assert_eq!(take(&mut world, client), [[0x20, 3, 0, 0x83, 0]]);
    assert!(world.is_closed(client));

    let client = connect(&mut world, "larger", &[Property::MaximumPacketSize(30)]);
    let filters: Vec<_> = (0..40).map(|_| ("a", SubscriptionOptions::with_qos(QoS::AtMostOnce))).collect();
    let packet = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        filters: Filters::new(&filters),
    });
    world.send(client, &bytes(&packet));
    assert!(world.is_closed(client));
    let packets = take(&mut world, client);
    assert_eq!(packets.len(), 1, "{packets:02x?}");
    assert!(packets[0][0] == 0xe0 && packets[0].len() <= 30);
}

/// With several shards, a queue that is full on another shard refuses the message whose publisher's shard asked there. It must
/// not refuse the next message, even if the message that was asked for turns out to be a duplicate.
#[test]
fn a_refusal_by_another_shard_counts_for_one_message() {
    let limits = Limits::GATEWAY.with(|limits| {
        limits.queued_messages = 1;
        limits.inflight = 1;
    });
    let rule = goldcrest_core::OverflowRule::new("refuse/#", Overflow::Refuse).unwrap();
    let overflow_rules = vec![rule].into();
    let mut world = World::new(2, Config { limits, overflow_rules, ..Config::gateway(1) });
    let home = |id: &str| Shard::home_of(id.as_bytes(), 2);
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let here = names.iter().find(|name| home(name) == 0).unwrap();
    let there = names.iter().find(|name| home(name) == 1).unwrap();
    let publisher = connect(&mut world, here, &[]);
    let subscriber = connect(&mut world, there, &[]);
    subscribe(&mut world, subscriber, "refuse/x", QoS::AtLeastOnce);
    let first = publish_bytes("refuse/x", QoS::ExactlyOnce, 1, &[], b"1");
    world.send(publisher, &first);
    world.send(publisher, &publish_bytes("refuse/x", QoS::AtLeastOnce, 2, &[], b"2"));
    take(&mut world, publisher);
    // One message is in flight and one waits: the queue is full.
    let code = |packets: &[Vec<u8>]| packets[0].get(4).copied().unwrap_or(0);
    world.send(publisher, &publish_bytes("refuse/x", QoS::AtLeastOnce, 3, &[], b"3"));
    assert_eq!(code(&take(&mut world, publisher)), 0x97);
    world.send(publisher, &first);
    assert_eq!(code(&take(&mut world, publisher)), 0);
    world.send(publisher, &publish_bytes("other", QoS::AtLeastOnce, 4, &[], b"4"));
    assert_eq!(code(&take(&mut world, publisher)), 0x10);
    // The shard also asks for a message whose topic is given by an alias.
    let alias = [Property::TopicAlias(1)];
    world.send(publisher, &publish_bytes("refuse/x", QoS::AtLeastOnce, 5, &alias, b"5"));
    world.send(publisher, &publish_bytes("", QoS::AtLeastOnce, 6, &alias, b"6"));
    let codes: Vec<_> = take(&mut world, publisher).chunks(1).map(code).collect();
    assert_eq!(codes, [0x97, 0x97]);
}

/// Client Identifiers are often a word and a number. No shard gets many more of such clients than another.
#[test]
fn numbered_clients_spread_over_the_shards() {
    for (prefix, numbers) in [("c", 0..1000), ("sensor-", 10_000..11_000), ("", 0..1000)] {
        for count in [2, 3, 8] {
            let mut clients = vec![0; usize::from(count)];
            for number in numbers.clone() {
                clients[usize::from(Shard::home_of(format!("{prefix}{number}").as_bytes(), count))] += 1;
            }
            let fair = 1000 / i32::from(count);
            assert!(clients.iter().all(|many| (many - fair).abs() < fair / 3), "{prefix}: {clients:?}");
        }
    }
}

/// Two shards whose forwards wait until [`Pair::exchange`].
struct Pair {
    brokers: [Broker<'static>; 2],
    now: goldcrest_core::Instant,
}

impl Pair {
    fn new() -> Self {
        let broker = |index| {
            let shard = Shard { index, count: 2 };
            let config = Config { shard, ..Config::gateway(1) };
            Broker::new(Memory::owned(&Capacity::GATEWAY, &config.limits, shard), config, &goldcrest_core::AllowAll)
        };
        Self { brokers: [broker(0), broker(1)], now: goldcrest_core::Instant::from_millis(1) }
    }

    /// Connects a client whose Client Identifier is at home on this shard; `number` tells clients apart.
    fn connect(&mut self, shard: usize, number: usize) -> goldcrest_core::ConnectionId {
        let names = (0..).map(|suffix| format!("c{number}-{suffix}"));
        let name = names.into_iter().find(|name| usize::from(Shard::home_of(name.as_bytes(), 2)) == shard).unwrap();
        let id = self.brokers[shard].handle_connected(self.now).unwrap();
        self.send(shard, id, &connect_bytes(&name, true, &[]));
        id
    }

    fn send(&mut self, shard: usize, id: goldcrest_core::ConnectionId, bytes: &[u8]) -> usize {
        self.brokers[shard].handle_bytes(self.now, id, bytes).consumed
    }

    fn transmit(&mut self, shard: usize, id: goldcrest_core::ConnectionId) -> Vec<u8> {
        transmit(&mut self.brokers[shard], self.now, id)
    }

    fn exchange(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for from in 0..2 {
                while let Some((to, forward)) = self.brokers[from].poll_forward() {
                    self.brokers[usize::from(to)]
                        .handle_forward(self.now, from as u16, forward)
                        .expect("the same seed");
                    quiet = false;
                }
            }
        }
    }
}

/// MQTT.js in 3.1.1 sends all QoS 2 messages that its user has before it reads the first PUBREC. A bug of the past: the server
/// closed it for exceeding a Receive Maximum, which MQTT 3.1.1 does not have. MQTT.js connected again, sent all messages again,
/// and so on for ever.
#[test]
fn clients_before_mqtt_5_0_may_send_many_messages_at_once() {
    let config = Config::gateway(1);
    let burst = config.limits.receive_maximum + 100;
    for (version, level, name) in [(Version::V3_1, 3, "MQIsdp"), (Version::V3_1_1, 4, "MQTT")] {
        let mut world = World::new(1, config.clone());
        let client = world.open();
        let mut connect = vec![0x10, name.len() as u8 + 9, 0, name.len() as u8];
        connect.extend([name.as_bytes(), &[level, 2, 0, 0, 0, 1, b'c']].concat());
        world.send(client, &connect);
        assert_eq!(take(&mut world, client), [[0x20, 2, 0, 0]]);
        let mut publishes = Vec::new();
        for id in 1..=burst {
            Packet::Publish(Publish {
                dup: false,
                qos: QoS::ExactlyOnce,
                retain: false,
                topic: "t",
                packet_id: PacketId::new(id),
                properties: Properties::EMPTY,
                payload: b"",
            })
            .encode(version, &mut publishes);
        }
        world.send(client, &publishes);
        let expected: Vec<_> = (1..=burst).map(|id| vec![0x50, 2, (id >> 8) as u8, id as u8]).collect();
        assert_eq!(take(&mut world, client), expected);
    }
}

/// A client sends SUBSCRIBE and is closed before the other shards have answered. They must forget the filter again.
#[test]
fn a_subscribe_of_a_closed_client_leaves_no_interest_on_other_shards() {
    let mut pair = Pair::new();
    let client = pair.connect(0, 0);
    let subscribe = subscribe_bytes("some/filter", QoS::AtMostOnce);
    assert_eq!(pair.send(0, client, &subscribe), 0);
    pair.brokers[0].handle_closed(pair.now, client);
    pair.exchange();
    let publisher = pair.connect(1, 1);
    pair.transmit(1, publisher);
    pair.send(1, publisher, &publish_bytes("some/filter", QoS::AtLeastOnce, 1, &[], b""));
    let puback = pair.transmit(1, publisher);
    assert_eq!(puback.get(4).copied(), Some(0x10), "{puback:02x?}");
}

/// Two clients on one shard subscribe to one filter at once, and one of them is closed before the other gets its SUBACK. The
/// client that gets its SUBACK must get messages from the other shard from then on.
#[test]
fn other_shards_keep_the_interest_that_a_second_subscriber_waits_for() {
    let mut pair = Pair::new();
    let (leaver, stayer, publisher) = (pair.connect(0, 0), pair.connect(0, 1), pair.connect(1, 2));
    for (shard, id) in [(0, leaver), (0, stayer), (1, publisher)] {
        pair.transmit(shard, id);
    }
    let subscribe = subscribe_bytes("t", QoS::AtMostOnce);
    pair.send(0, leaver, &subscribe);
    pair.exchange();
    assert_eq!(pair.send(0, leaver, &subscribe), subscribe.len());
    // The other shard has not answered the stayer's SUBSCRIBE when the leaver is closed.
    assert_eq!(pair.send(0, stayer, &subscribe), 0);
    pair.brokers[0].handle_closed(pair.now, leaver);
    pair.exchange();
    assert_eq!(pair.send(0, stayer, &subscribe), subscribe.len());
    assert_eq!(pair.transmit(0, stayer)[0], 0x90);
    // A forward from the stayer's shard about the filter is still on its way when the publisher publishes.
    pair.send(1, publisher, &publish_bytes("t", QoS::AtMostOnce, 0, &[], b"x"));
    pair.exchange();
    assert_eq!(pair.transmit(0, stayer).first(), Some(&0x30));
}

/// A client subscribes again while it does not read. A bug of the past: the retained message was sent in the version of that
/// moment, before older live messages in the queue, and the client got 5, 1, 2, 3, 4, 5.
#[test]
fn a_retained_message_does_not_overtake_older_ones_in_the_queue() {
    for shards in [1, 2] {
        let mut world = World::new(shards, Config::gateway(11));
        let publisher = connect(&mut world, "p", &[]);
        let subscriber = connect(&mut world, "s", &[]);
        let retained = |world: &mut World, value: u8| {
            let mut packet = publish_bytes("t", QoS::AtLeastOnce, u16::from(value), &[], &[value]);
            packet[0] |= 1;
            world.send(publisher, &packet);
        };
        subscribe(&mut world, subscriber, "t", QoS::AtMostOnce);
        world.stall(subscriber, true);
        (1..=3).for_each(|value| retained(&mut world, value));
        world.send(subscriber, &subscribe_bytes("t", QoS::AtMostOnce));
        (4..=5).for_each(|value| retained(&mut world, value));
        world.stall(subscriber, false);
        let got = take(&mut world, subscriber);
        let values: Vec<u8> =
            got.iter().filter(|packet| packet[0] >> 4 == 3).map(|packet| packet[packet.len() - 1]).collect();
        assert!(values.is_sorted() && values.len() >= 5, "{shards} shards: {values:?}");
    }
}

/// A bug of the past: a closing connection lost its Session at once, and with the Session the Client Identifier that logs need.
#[test]
fn a_closing_connection_still_has_its_client_identifier() {
    let now = goldcrest_core::Instant::from_millis(1);
    let mut broker = broker(Config::gateway(1));
    let old = broker.handle_connected(now).unwrap();
    broker.handle_bytes(now, old, &connect_bytes("sensor", true, &[]));
    let new = broker.handle_connected(now).unwrap();
    broker.handle_bytes(now, new, &connect_bytes("sensor", true, &[]));
    for id in [old, new] {
        let mut text = [0; 16];
        let len = broker.client_id(id, &mut text);
        assert_eq!(&text[..len], b"sensor");
        broker.handle_closed(now, id);
    }
    assert_eq!(broker.counters().bytes, 0);
}

/// A member leaves a group that is at home on another shard. After its UNSUBACK the member gets no message of the group,
/// whether the group's home has learnt of the end or not `[MQTT-3.10.4-2]`.
#[test]
fn after_unsuback_no_message_comes_from_a_group_on_another_shard() {
    let mut pair = Pair::new();
    let (member, publisher) = (pair.connect(0, 0), pair.connect(1, 1));
    pair.transmit(0, member);
    pair.transmit(1, publisher);
    let filter = (0..)
        .map(|number| format!("$share/g{number}/t"))
        .find(|filter| Shard::home_of(filter.as_bytes(), 2) == 1)
        .unwrap();
    let subscribe = subscribe_bytes(&filter, QoS::AtMostOnce);
    pair.send(0, member, &subscribe);
    pair.exchange();
    pair.send(0, member, &subscribe);
    assert_eq!(pair.transmit(0, member)[0], 0x90);
    let topics = [&filter[..], &filter];
    let unsubscribe = bytes(&Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        filters: Topics::new(&topics),
    }));
    // The group's home has not learnt of the UNSUBSCRIBE, and has not answered.
    assert_eq!(pair.send(0, member, &unsubscribe), 0);
    pair.send(1, publisher, &publish_bytes("t", QoS::AtMostOnce, 0, &[], b"x"));
    pair.exchange();
    assert_eq!(pair.send(0, member, &unsubscribe), unsubscribe.len());
    let mut answer = pair.transmit(0, member);
    assert_eq!(answer.drain(..7).collect::<Vec<_>>(), [0xb0, 5, 0, 1, 0, 0, 0x11]);
    assert_eq!(answer.first(), Some(&0x30), "it was published before");
    pair.send(1, publisher, &publish_bytes("t", QoS::AtMostOnce, 0, &[], b"y"));
    pair.exchange();
    assert!(pair.transmit(0, member).is_empty());
}

/// A bug of the past: expired retained messages counted towards the quota until a client subscribed to them, so a publisher of
/// short-lived topics was refused for ever.
#[test]
fn expired_retained_messages_give_way_to_new_ones() {
    const QUOTA: u32 = 16;
    let limits = Limits::GATEWAY.with(|limits| limits.retained_messages = QUOTA);
    let mut world = World::new(1, Config { limits, ..Config::gateway(5) });
    let publisher = connect(&mut world, "p", &[]);
    let refused = |world: &mut World, round: u32| {
        (0..QUOTA)
            .filter(|number| {
                let topic = format!("{round}/{number}");
                let mut packet =
                    publish_bytes(&topic, QoS::AtLeastOnce, 1, &[Property::MessageExpiryInterval(1)], b"x");
                packet[0] |= 1;
                world.send(publisher, &packet);
                take(world, publisher).iter().any(|packet| packet.get(4) == Some(&0x97))
            })
            .count()
    };
    assert_eq!(refused(&mut world, 0), 0);
    assert_eq!(refused(&mut world, 1), QUOTA as usize);
    for round in 2..5 {
        world.advance(2_000);
        assert_eq!(refused(&mut world, round), 0, "round {round}");
    }
    assert!(world.shard(0).counters().retained <= QUOTA);
}

/// Subscribes to each filter with its QoS. The Subscription Identifiers are 1, 2 and so on.
fn subscribe_to_all(world: &mut World, client: &mut Honest, all: &[(&str, QoS)]) {
    for (number, (filter, qos)) in (1..).zip(all) {
        let identifier = [Property::SubscriptionIdentifier(number)];
        let filters = [(*filter, SubscriptionOptions::with_qos(*qos))];
        let (properties, filters) = (Properties::new(&identifier), Filters::new(&filters));
        client.send(world, &Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties, filters }));
    }
    let got = client.take(world);
    assert!(got.iter().all(|got| matches!(got, Got::SubAck(_, codes) if !codes[0].is_error())), "{got:?}");
}

fn messages(got: Vec<Got>) -> Vec<Message> {
    got.into_iter().filter_map(|got| if let Got::Message(message) = got { Some(message) } else { None }).collect()
}

/// An absent client has several matching subscriptions, and one with QoS 0 is found first. A bug of the past: the message was
/// counted as lost for that subscription, and then came by another one, without the Subscription Identifier of the first
/// `[MQTT-3.3.4-4]`.
#[test]
fn an_absent_client_gets_one_copy_for_all_its_subscriptions() {
    let (zero, two) = (QoS::AtMostOnce, QoS::ExactlyOnce);
    for shards in [1, 2] {
        for all in [
            [("a/#", zero), ("a/+", zero), ("a/b", two)],
            [("a/#", zero), ("a/+", two), ("a/b", zero)],
            [("a/#", two), ("a/+", zero), ("a/b", zero)],
        ] {
            let config = Config { durable: true, ..Config::gateway(1) };
            let mut world = World::in_storage(Storage::Owned(MODEST), shards, config, &AllowAll);
            let lasting = Opening { clean_start: false, expiry_secs: 100, ..Opening::new("s") };
            let last = Will { qos: two, retain: false, properties: Properties::EMPTY, topic: "a/b", payload: b"will" };
            let with_will = Opening { will: Some((last, 1)), ..lasting };
            let mut subscriber = Honest::accepted(&mut world, Version::V5, &with_will);
            subscribe_to_all(&mut world, &mut subscriber, &all);
            world.cut(subscriber.at);
            let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("p"));
            publisher.publish(&mut world, "a/b", b"message", QoS::AtLeastOnce, false, 1);
            // This publishes the client's own Will as well.
            world.advance(2_000);
            world.check_stores();
            world.crash();
            let mut subscriber = Honest::connect(&mut world, Version::V5, &lasting);
            let got = messages(subscriber.take(&mut world));
            let payloads: Vec<_> = got.iter().map(|message| &message.payload[..]).collect();
            assert_eq!(payloads, [&b"message"[..], b"will"], "{shards} shards, {all:?}");
            for message in &got {
                let identifiers: BTreeSet<_> = message.identifiers.iter().copied().collect();
                assert_eq!((identifiers, message.identifiers.len()), ([1, 2, 3].into(), 3), "{all:?}");
                assert!(message.qos > QoS::AtMostOnce);
            }
            let dropped: u64 = (0..world.shards()).map(|shard| world.shard(shard).counters().dropped.total()).sum();
            assert_eq!(dropped, 0, "{shards} shards, {all:?}");
        }
    }
}

/// The walk through the topic tree finds a group between two subscriptions of one of its members. A bug of the past: that
/// member got two copies for its own subscriptions, each with one of the identifiers.
#[test]
fn a_member_gets_one_copy_through_its_group_and_one_for_its_own_subscriptions() {
    for shards in [1, 2, 3] {
        let mut world = World::new(shards, Config::gateway(1));
        let mut member = Honest::accepted(&mut world, Version::V5, &Opening::new("m"));
        let one = QoS::AtLeastOnce;
        subscribe_to_all(&mut world, &mut member, &[("a/#", one), ("$share/g/a/b", one), ("a/+", one)]);
        let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("p"));
        publisher.publish(&mut world, "a/b", b"message", one, false, 1);
        let got = messages(member.take(&mut world)).into_iter();
        let got: BTreeSet<BTreeSet<u32>> = got.map(|message| message.identifiers.into_iter().collect()).collect();
        assert_eq!(got, [[1, 3].into(), [2].into()].into(), "{shards} shards");
    }
}

/// A message is lost to a client that is absent or whose queue is full. The loss is counted once, not once for each
/// subscription.
#[test]
fn a_lost_message_counts_once_however_many_subscriptions_match() {
    let limits = Limits::GATEWAY.with(|limits| limits.queued_messages = 1);
    for (qos, reason) in [(QoS::AtMostOnce, DropReason::Offline), (QoS::AtLeastOnce, DropReason::QueueFull)] {
        let mut world = World::new(1, Config { limits, ..Config::gateway(1) });
        let lasting = Opening { expiry_secs: 100, ..Opening::new("s") };
        let mut subscriber = Honest::accepted(&mut world, Version::V5, &lasting);
        subscribe_to_all(&mut world, &mut subscriber, &[("a/#", qos), ("a/+", qos), ("a/b", qos), ("first", qos)]);
        world.cut(subscriber.at);
        let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("p"));
        if reason == DropReason::QueueFull {
            publisher.publish(&mut world, "first", b"fills the queue", qos, false, 1);
        }
        for number in 2..4 {
            publisher.publish(&mut world, "a/b", b"message", QoS::AtLeastOnce, false, number);
        }
        let dropped = world.shard(0).counters().dropped;
        assert_eq!((dropped.by(reason), dropped.total()), (2, 2), "{reason:?}");
        let mut of_session = 0;
        world.shard(0).visit_sessions(0, |_, session| {
            of_session += session.dropped.total();
            ControlFlow::Continue(())
        });
        assert_eq!(of_session, 2);
    }
}

/// A group is at home on a shard where none of its members is. A bug of the past: the group kept a message, so the group was
/// recorded. When its last member's Session ended, the record stayed.
#[test]
fn the_record_of_a_group_ends_with_its_last_member_on_any_shard() {
    for shards in [1, 2, 3] {
        for name in 0..6 {
            let config = Config { durable: true, ..Config::gateway(1) };
            let mut world = World::in_storage(Storage::Owned(MODEST), shards, config, &AllowAll);
            let id = format!("member {name}");
            let lasting = Opening { expiry_secs: 100, ..Opening::new(&id) };
            let mut member = Honest::accepted(&mut world, Version::V5, &lasting);
            member.subscribe(&mut world, "$share/g/jobs", QoS::AtLeastOnce);
            member.disconnect(&mut world);
            let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("publisher"));
            publisher.publish(&mut world, "jobs", b"kept", QoS::AtLeastOnce, false, 1);
            world.check_stores();
            world.advance(101_000);
            world.check_stores();
            let left = (0..world.shards()).flat_map(|shard| world.store(shard).records());
            let groups = left.filter(|record| record.key().kind == Kind::Group).count();
            assert_eq!(groups, 0, "{shards} shards, {id}");
        }
    }
}

/// A bug of the past: a shared subscription was counted twice, on the shard of its client and on that of its group.
#[test]
fn a_shared_subscription_is_counted_once_on_whatever_shards() {
    for shards in [1, 2, 3] {
        let mut world = World::new(shards, Config::gateway(1));
        let count = |world: &World| {
            let all = (0..world.shards()).map(|shard| world.shard(shard).counters());
            let (sessions, subscriptions): (Vec<_>, Vec<_>) =
                all.map(|counters| (counters.sessions, counters.subscriptions)).unzip();
            (sessions.iter().sum::<u32>(), subscriptions.iter().sum::<u32>())
        };
        let mut members = Vec::new();
        for number in 1..=6 {
            let id = format!("member {number}");
            let mut member = Honest::accepted(&mut world, Version::V5, &Opening::new(&id));
            member.subscribe(&mut world, "$share/g/jobs", QoS::AtLeastOnce);
            member.subscribe(&mut world, "$share/h/jobs", QoS::AtLeastOnce);
            member.subscribe(&mut world, "jobs", QoS::AtLeastOnce);
            members.push(member);
            assert_eq!(count(&world), (number, 3 * number), "{shards} shards");
        }
        for (member, left) in members.iter_mut().zip((0..6).rev()) {
            member.unsubscribe(&mut world, "$share/g/jobs");
            assert_eq!(count(&world), (left + 1, 3 * left + 2), "{shards} shards");
            member.disconnect(&mut world);
            assert_eq!(count(&world), (left, 3 * left), "{shards} shards");
        }
    }
}

/// A bug of the past: expired retained messages took memory, and counted towards the quota, until other messages were retained.
#[test]
fn expired_retained_messages_are_removed_by_a_timer() {
    // More messages than the broker looks at in one call.
    const MANY: u32 = 2_500;
    let config = Config { durable: true, ..Config::gateway(1) };
    let mut world = World::in_storage(Storage::Owned(Capacity::GATEWAY), 2, config, &AllowAll);
    let publisher = connect(&mut world, "p", &[]);
    let retain = |world: &mut World, topic: &str, list: &[Property<'_>]| {
        let mut packet = publish_bytes(topic, QoS::AtMostOnce, 0, list, b"x");
        packet[0] |= 1;
        world.send_later(publisher, &packet);
    };
    for number in 0..MANY {
        // Half of the messages expire after two seconds, half after a minute.
        let secs = if number % 2 == 0 { 2 } else { 60 };
        retain(&mut world, &format!("t/{number}"), &[Property::MessageExpiryInterval(secs)]);
    }
    retain(&mut world, "stays", &[]);
    let kept = |world: &World| {
        let all = (0..world.shards()).map(|shard| world.shard(shard).counters());
        all.fold((0, 0), |sum, counters| (sum.0 + counters.retained, sum.1 + counters.messages))
    };
    world.drive();
    assert_eq!(kept(&world), (MANY + 1, MANY + 1));
    world.advance(1_999);
    assert_eq!(kept(&world), (MANY + 1, MANY + 1));
    world.advance(1_500);
    assert_eq!(kept(&world), (MANY / 2 + 1, MANY / 2 + 1));
    world.check_stores();
    world.crash();
    world.advance(60_000);
    assert_eq!(kept(&world), (1, 1));
    world.check_stores();
    // Without expiring messages there is no timer.
    assert_eq!((0..2).find_map(|shard| world.shard(shard).poll_timeout()), None);
}

/// A CONNECT is read when its Session has expired but the Session's timer has not fired yet. A bug of the past: the Session
/// went on, and its Will was not published `[MQTT-4.1.0-2]` `[MQTT-3.1.3-9]`.
#[test]
fn a_connect_finds_no_expired_session_even_before_its_timer() {
    const EXPIRY: u32 = 4;
    const DELAY: u32 = 2;
    for (after_secs, sends_will, goes_on) in [(1, false, true), (DELAY, true, true), (EXPIRY, true, false)] {
        let at = |secs: u32| goldcrest_core::Instant::from_millis(1 + 1000 * u64::from(secs));
        let mut broker = broker(Config::gateway(1));
        let watcher = broker.handle_connected(at(0)).unwrap();
        broker.handle_bytes(at(0), watcher, &connect_bytes("watcher", true, &[]));
        broker.handle_bytes(at(0), watcher, &subscribe_bytes("gone", QoS::AtMostOnce));
        transmit(&mut broker, at(0), watcher);
        let old = broker.handle_connected(at(0)).unwrap();
        let will_properties = [Property::WillDelayInterval(DELAY)];
        let connect = bytes(&Packet::Connect(Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(&[Property::SessionExpiryInterval(EXPIRY)]),
            client_id: "c",
            will: Some(Will {
                topic: "gone",
                payload: b"x",
                qos: QoS::AtMostOnce,
                retain: false,
                properties: Properties::new(&will_properties),
            }),
            user_name: None,
            password: None,
        }));
        broker.handle_bytes(at(0), old, &connect);
        transmit(&mut broker, at(0), old);
        broker.handle_closed(at(0), old);
        let new = broker.handle_connected(at(after_secs)).unwrap();
        broker.handle_bytes(at(after_secs), new, &connect_bytes("c", false, &[]));
        assert_eq!(transmit(&mut broker, at(after_secs), new)[2] == 1, goes_on, "after {after_secs} s");
        assert_eq!(!transmit(&mut broker, at(after_secs), watcher).is_empty(), sends_will, "after {after_secs} s");
    }
}
