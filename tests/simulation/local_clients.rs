//! Local clients: clients in the process of a broker, without a connection. Here the broker has other shards and a store, and its local
//! clients wait for these as other clients do.
//!
//! A local client is polled after its own requests and when its broker has named it, and at no other time.

use goldcrest_core::codec::{PacketId, QoS, ReasonCode, Version};
use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, LocalClient, LocalEvent, LocalPublish, Shard};
use goldcrest_core::{TopicFilter, TopicName};
use goldcrest_tests::honest::{Honest, Opening};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::random::{Random, seeds, setting};
use goldcrest_tests::world::{Sync, World};

const EACH_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn world(shards: u16, durable: bool) -> World {
    let config = Config { durable, ..Config::gateway(1) };
    World::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, &AllowAll)
}

/// A Client Identifier that is at home on this shard.
fn name_on(world: &World, shard: usize, name: &str) -> String {
    let shards = world.shards() as u16;
    let is_home = |id: &String| usize::from(Shard::home_of(id.as_bytes(), shards)) == shard;
    (0..).map(|number| format!("{name} {number}")).find(is_home).unwrap()
}

/// A client on the network whose Session is at home on this shard.
fn client_on(world: &mut World, shard: usize, name: &str) -> Honest {
    let id = name_on(world, shard, name);
    Honest::accepted(world, Version::V5, &Opening::new(&id))
}

/// The memory that a local client borrows.
struct Room {
    name: String,
    incoming: [u8; 200],
    outgoing: [u8; 2_500],
}

impl Room {
    fn on(world: &World, shard: usize) -> Self {
        Self { name: name_on(world, shard, "local"), incoming: [0; 200], outgoing: [0; 2_500] }
    }
}

/// A local client of a shard's broker, and what it has received.
struct Beside<'r> {
    shard: usize,
    client: LocalClient<'r>,
    messages: Vec<(Vec<u8>, QoS)>,
    answers: Vec<(PacketId, ReasonCode)>,
    closed: Option<ReasonCode>,
}

impl<'r> Beside<'r> {
    fn connected(world: &mut World, shard: usize, room: &'r mut Room) -> Self {
        let client = LocalClient::new(&room.name, &mut room.incoming, &mut room.outgoing);
        let mut beside = Self { shard, client, messages: Vec::new(), answers: Vec::new(), closed: None };
        beside.with(world, |client, broker, now| client.connect(broker, now)).unwrap();
        beside
    }

    fn with<R>(
        &mut self,
        world: &mut World,
        act: impl FnOnce(&mut LocalClient<'r>, &mut Broker<'_>, Instant) -> R,
    ) -> R {
        let now = world.now();
        let client = &mut self.client;
        let result = world.with_shard(self.shard, |broker| act(client, broker, now));
        self.poll(world);
        self.settle(world);
        result
    }

    fn poll(&mut self, world: &mut World) {
        let now = world.now();
        world.with_shard(self.shard, |broker| {
            while let Some(event) = self.client.poll(broker, now) {
                match event {
                    LocalEvent::Message(publish) => self.messages.push((publish.payload.to_vec(), publish.qos)),
                    LocalEvent::Answer { packet_id, code } => self.answers.push((packet_id, code)),
                    LocalEvent::Closed(code) => self.closed = Some(code),
                    other => panic!("{other:?}"),
                }
            }
        });
    }

    /// Runs the world until it is quiet, and polls the client when it is named.
    fn settle(&mut self, world: &mut World) {
        world.drive();
        while self.client.id().is_some_and(|id| world.take_named(self.shard, id)) {
            self.poll(world);
            world.drive();
        }
    }

    fn subscribe(&mut self, world: &mut World, filter: &str, qos: QoS) -> PacketId {
        let filter = TopicFilter::new(filter).unwrap();
        self.with(world, |client, broker, now| client.subscribe(broker, now, filter, qos)).unwrap()
    }

    fn publish(
        &mut self,
        world: &mut World,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<Option<PacketId>, ReasonCode> {
        let topic = TopicName::new(topic).unwrap();
        let message = LocalPublish { topic, payload, qos, retain: false, expiry_secs: None };
        self.with(world, |client, broker, now| client.publish(broker, now, message))
    }

    /// The code of the answer to a request, which must have come.
    #[track_caller]
    fn answer_to(&mut self, asked: PacketId) -> ReasonCode {
        let place = self.answers.iter().position(|(packet_id, _)| *packet_id == asked);
        self.answers.remove(place.expect("an answer")).1
    }
}

#[test]
fn messages_of_a_local_client_reach_subscribers_on_all_shards() {
    for durable in [false, true] {
        let mut world = world(3, durable);
        let mut subscribers: Vec<_> = (0..3).map(|shard| client_on(&mut world, shard, "subscriber")).collect();
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.subscribe(&mut world, "a/#", QoS::ExactlyOnce), ReasonCode::GrantedQoS2);
        }
        for shard in 0..3 {
            let mut room = Room::on(&world, shard);
            let mut local = Beside::connected(&mut world, shard, &mut room);
            let mut expected = Vec::new();
            for number in 0..30_u8 {
                let qos = EACH_QOS[usize::from(number) % 3];
                let sent = local.publish(&mut world, "a/b", &[number], qos).unwrap();
                assert_eq!(sent.is_some(), qos > QoS::AtMostOnce);
                if let Some(sent) = sent {
                    assert_eq!(local.answer_to(sent), ReasonCode::Success);
                }
                expected.push((vec![number], qos));
            }
            assert!(!local.client.is_waiting() && local.answers.is_empty());
            for subscriber in &mut subscribers {
                let messages = subscriber.take_messages(&mut world).into_iter();
                let messages: Vec<_> = messages.map(|message| (message.payload, message.qos)).collect();
                assert_eq!(messages, expected);
            }
        }
    }
}

#[test]
fn a_subscription_of_a_local_client_is_answered_when_all_shards_know_it() {
    for slow in [1, 2] {
        let mut world = world(3, false);
        let publishers: Vec<_> = (0..3).map(|shard| client_on(&mut world, shard, "publisher")).collect();
        publishers[1].publish(&mut world, "a/kept", b"kept", QoS::AtLeastOnce, true, 1);
        let mut room = Room::on(&world, 0);
        let mut local = Beside::connected(&mut world, 0, &mut room);
        world.slow_down(0, slow, true);
        let asked = local.subscribe(&mut world, "a/#", QoS::ExactlyOnce);
        assert!(local.answers.is_empty() && local.client.is_waiting());
        world.slow_down(0, slow, false);
        local.settle(&mut world);
        assert_eq!(local.answer_to(asked), ReasonCode::GrantedQoS2);
        assert!(!local.client.is_waiting());
        let mut expected = vec![(b"kept".to_vec(), QoS::AtLeastOnce)];
        for (shard, publisher) in publishers.iter().enumerate() {
            for (number, qos) in EACH_QOS.into_iter().enumerate() {
                publisher.publish(&mut world, "a/b", &[shard as u8, number as u8], qos, false, 10 + number as u16);
                expected.push((vec![shard as u8, number as u8], qos));
            }
        }
        local.settle(&mut world);
        assert_eq!(local.messages, expected);
        let counters = world.shard(0).counters();
        assert_eq!((counters.deliveries, counters.dropped.total()), (0, 0), "all are acknowledged");

        let filter = TopicFilter::new("a/#").unwrap();
        let asked = local.with(&mut world, |client, broker, now| client.unsubscribe(broker, now, filter)).unwrap();
        assert_eq!(local.answer_to(asked), ReasonCode::Success);
        publishers[2].publish(&mut world, "a/b", b"late", QoS::AtLeastOnce, false, 20);
        local.settle(&mut world);
        assert_eq!(local.messages.len(), expected.len());
    }
}

/// More messages come than may be in flight, so acknowledgements must overtake the waiting SUBSCRIBE.
#[test]
fn a_local_client_gets_messages_while_its_subscription_waits() {
    let mut world = world(2, false);
    let mut room = Room::on(&world, 0);
    let mut local = Beside::connected(&mut world, 0, &mut room);
    let first = local.subscribe(&mut world, "a", QoS::ExactlyOnce);
    assert_eq!(local.answer_to(first), ReasonCode::GrantedQoS2);
    world.slow_down(0, 1, true);
    let second = local.subscribe(&mut world, "b", QoS::AtLeastOnce);
    let publisher = client_on(&mut world, 0, "publisher");
    let mut expected = Vec::new();
    for number in 0..600_u16 {
        let qos = EACH_QOS[usize::from(number) % 3];
        let payload = number.to_be_bytes();
        publisher.publish(&mut world, "a", &payload, qos, false, number + 1);
        expected.push((payload.to_vec(), qos));
    }
    local.settle(&mut world);
    assert_eq!(local.messages, expected);
    assert_eq!(world.shard(0).counters().deliveries, 0, "all are acknowledged");
    assert!(local.answers.is_empty() && local.client.is_waiting());
    world.slow_down(0, 1, false);
    local.settle(&mut world);
    assert_eq!(local.answer_to(second), ReasonCode::GrantedQoS1);
}

#[test]
fn a_message_of_a_local_client_is_answered_when_it_is_safe() {
    let mut world = world(2, true);
    let name = name_on(&world, 1, "subscriber");
    let opening = Opening { clean_start: false, expiry_secs: 1_000, ..Opening::new(&name) };
    let mut subscriber = Honest::accepted(&mut world, Version::V5, &opening);
    subscriber.subscribe(&mut world, "a", QoS::ExactlyOnce);
    subscriber.disconnect(&mut world);
    let mut room = Room::on(&world, 0);
    let mut local = Beside::connected(&mut world, 0, &mut room);
    world.sync = Sync::ByHand;
    let sent = [QoS::AtLeastOnce, QoS::ExactlyOnce]
        .map(|qos| local.publish(&mut world, "a", &[qos.bits()], qos).unwrap().unwrap());
    assert!(local.answers.is_empty() && local.client.is_waiting());
    while world.sync() {
        local.settle(&mut world);
    }
    assert_eq!(sent.map(|sent| local.answer_to(sent)), [ReasonCode::Success; 2]);
    assert!(!local.client.is_waiting());
    drop(local);

    world.crash();
    world.sync = Sync::AtOnce;
    let mut subscriber = Honest::connect(&mut world, Version::V5, &opening);
    let mut local = Beside::connected(&mut world, 0, &mut room);
    let asked = local.subscribe(&mut world, "a", QoS::ExactlyOnce);
    assert_eq!(local.answer_to(asked), ReasonCode::GrantedQoS2);
    local.publish(&mut world, "a", b"after", QoS::ExactlyOnce).unwrap();
    let messages = subscriber.take_messages(&mut world).into_iter();
    let messages: Vec<_> = messages.map(|message| message.payload).collect();
    assert_eq!(messages, [vec![1], vec![2], b"after".to_vec()]);
    assert_eq!(local.messages, [(b"after".to_vec(), QoS::ExactlyOnce)]);
}

#[test]
fn messages_of_a_local_client_wait_for_room_in_the_store() {
    let mut world = world(2, true);
    let name = name_on(&world, 1, "subscriber");
    let opening = Opening { clean_start: false, expiry_secs: 1_000, ..Opening::new(&name) };
    let mut subscriber = Honest::accepted(&mut world, Version::V5, &opening);
    subscriber.subscribe(&mut world, "a", QoS::AtLeastOnce);
    let mut room = Room::on(&world, 0);
    let mut local = Beside::connected(&mut world, 0, &mut room);
    world.use_disk(3_000);
    world.set_disk_full(true);
    let mut sent = Vec::new();
    let refused = loop {
        let mut payload = vec![0; 1_000];
        payload[0] = sent.len() as u8;
        match local.publish(&mut world, "a", &payload, QoS::AtLeastOnce) {
            Ok(packet_id) => sent.push(packet_id.unwrap()),
            Err(code) => break code,
        }
        assert!(sent.len() < 20, "they wait");
    };
    assert_eq!(refused, ReasonCode::ServerBusy);
    assert!(local.client.is_waiting());
    assert!(local.answers.iter().all(|(_, code)| !code.is_error()), "{:?}", local.answers);
    world.set_disk_full(false);
    local.settle(&mut world);
    assert_eq!(local.answers.len(), sent.len());
    assert!(local.answers.iter().all(|(_, code)| !code.is_error()) && !local.client.is_waiting());
    let messages = subscriber.take_messages(&mut world).into_iter();
    let numbers: Vec<_> = messages.map(|message| message.payload[0]).collect();
    assert_eq!(numbers, (0..sent.len() as u8).collect::<Vec<_>>());
}

#[test]
fn after_a_restart_a_local_client_connects_when_the_other_shards_are_ready() {
    let mut world = world(2, true);
    for (from, to) in [(0, 1), (1, 0)] {
        world.slow_down(from, to, true);
    }
    world.crash();
    let mut room = Room::on(&world, 0);
    let mut local = Beside::connected(&mut world, 0, &mut room);
    assert!(!world.shard(0).is_serving());
    let asked = local.subscribe(&mut world, "a", QoS::ExactlyOnce);
    let sent = local.publish(&mut world, "a", b"early", QoS::ExactlyOnce).unwrap().unwrap();
    assert!(local.answers.is_empty() && local.client.is_waiting());
    for (from, to) in [(0, 1), (1, 0)] {
        world.slow_down(from, to, false);
    }
    local.settle(&mut world);
    assert_eq!(local.answer_to(asked), ReasonCode::GrantedQoS2);
    assert_eq!(local.answer_to(sent), ReasonCode::Success);
    assert_eq!(local.messages, [(b"early".to_vec(), QoS::ExactlyOnce)]);
}

#[test]
fn a_local_client_is_refused_where_its_client_identifier_is_not_at_home() {
    let mut world = world(2, false);
    let mut room = Room::on(&world, 1);
    let mut client = LocalClient::new(&room.name, &mut room.incoming, &mut room.outgoing);
    let now = world.now();
    let refused = world.with_shard(0, |broker| client.connect(broker, now));
    assert_eq!(refused, Err(ReasonCode::UseAnotherServer));
    assert!(!client.is_connected());
    assert_eq!(world.shard(0).counters().connections, 0);
}

#[test]
fn a_local_client_is_told_of_a_takeover() {
    let mut world = world(2, false);
    let mut room = Room::on(&world, 1);
    let name = room.name.clone();
    let mut local = Beside::connected(&mut world, 1, &mut room);
    Honest::accepted(&mut world, Version::V5, &Opening::new(&name));
    local.settle(&mut world);
    assert_eq!(local.closed, Some(ReasonCode::SessionTakenOver));
    assert!(!local.client.is_connected());
}

/// Every client sends numbered messages to all, with slow links and a slow store. Each message of QoS 1 and 2 comes once and in order.
#[test]
fn local_clients_get_all_messages_once_and_in_order_whatever_is_slow() {
    for seed in seeds(10) {
        for durable in [false, true] {
            let mut random = Random::new(9_000 + seed);
            let mut world = world(3, durable);
            let mut rooms: Vec<_> = (0..3).map(|shard| Room::on(&world, shard)).collect();
            let rooms = rooms.iter_mut().enumerate();
            let mut all: Vec<_> = rooms.map(|(shard, room)| Beside::connected(&mut world, shard, room)).collect();
            for local in &mut all {
                let asked = local.subscribe(&mut world, "t/#", QoS::ExactlyOnce);
                assert_eq!(local.answer_to(asked), ReasonCode::GrantedQoS2);
            }
            let mut sent = [0_u16; 3];
            let mut asked = [0; 3];
            for _ in 0..setting("GOLDCREST_SIM_STEPS", 600) {
                let shard = random.below(3);
                match random.below(100) {
                    0..=69 => {
                        let qos = random.choose(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
                        let payload = [[shard as u8].as_slice(), &sent[shard].to_be_bytes()].concat();
                        match all[shard].publish(&mut world, "t/x", &payload, qos) {
                            Ok(_) => (sent[shard], asked[shard]) = (sent[shard] + 1, asked[shard] + 1),
                            Err(code) => assert_eq!(code, ReasonCode::ServerBusy),
                        }
                    }
                    70..=89 => world.slow_down(shard, (shard + 1 + random.below(2)) % 3, random.percent(50)),
                    90..=94 if durable => world.sync = random.choose(&[Sync::AtOnce, Sync::ByHand]),
                    95..=99 if durable => drop(world.sync_one(shard)),
                    _ => world.advance(10),
                }
                all.iter_mut().for_each(|local| local.settle(&mut world));
            }
            for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
                world.slow_down(from, to, false);
            }
            world.sync = Sync::AtOnce;
            while world.sync() {}
            for _ in 0..3 {
                all.iter_mut().for_each(|local| local.settle(&mut world));
            }
            for (shard, local) in all.iter().enumerate() {
                assert!(!local.client.is_waiting(), "seed {seed}: {shard}");
                assert_eq!(local.answers.len(), asked[shard], "seed {seed}: {shard}");
                assert!(local.answers.iter().all(|(_, code)| *code == ReasonCode::Success));
                for (from, sent) in sent.iter().enumerate() {
                    let numbers = local.messages.iter().filter(|(payload, _)| usize::from(payload[0]) == from);
                    let numbers: Vec<_> = numbers.map(|(payload, _)| [payload[1], payload[2]]).collect();
                    let expected: Vec<_> = (0..*sent).map(u16::to_be_bytes).collect();
                    assert_eq!(numbers, expected, "seed {seed}: from {from} to {shard}");
                }
            }
        }
    }
}
