//! A refused CONNECT changes nothing, whatever the reason (section 3.1.4): the existing Session keeps its subscriptions, its
//! queue, its Network Connection and its Will.

use goldcrest_core::codec::*;
use goldcrest_core::{
    AllowAll, Ask, Authentication, Authorize, Capacity, Config, Limits, Shard, Subject, Subscribable, TopicFilter,
    TopicName,
};
use goldcrest_tests::honest::{Got, Honest, Message, Opening, bytes_of};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::world::{ClientId, Judgement, World};

/// A CONNECT with the Client Identifier of an existing Session, which must not be harmed.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    will: Option<(&'a str, QoS, bool, usize)>,
    properties: &'a [Property<'a>],
    user: Option<&'a str>,
    clean_start: bool,
    id: &'a str,
}

const PLAIN: Attempt<'static> = Attempt { will: None, properties: &[], user: None, clean_start: true, id: "c" };

const EXPIRES: Property<'static> = Property::SessionExpiryInterval(60);

/// Denies each client the permission to publish to one topic.
struct Rules;

impl Authorize for Rules {
    fn publish(&self, _: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        topic.as_str() != "forbidden"
    }

    fn subscribe(&self, _: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::Wholly
    }
}

fn config() -> Config<'static> {
    Config {
        durable: true,
        authentication: Authentication::Ask,
        maximum_qos: QoS::AtLeastOnce,
        limits: Limits::GATEWAY.with(|limits| {
            limits.packet_bytes = 4_096;
            limits.owed_replies = 64;
            limits.queued_messages = 100;
        }),
        ..Config::gateway(5)
    }
}

const ROOM: Capacity = Capacity {
    connections: 8,
    sessions: 4,
    subscriptions: 12,
    topic_levels: 24,
    messages: 40,
    deliveries: 60,
    bytes: 60 * 120,
};

fn world_in(storage: Storage, shards: u16) -> World {
    let mut world = World::in_storage(storage, shards, config(), &Rules);
    world.set_judge(Box::new(|ask| match ask {
        Ask::Connect(connect) => match connect.user_name {
            Some("unknown") => Judgement::Refuse(ReasonCode::BadUserNameOrPassword),
            Some("other") => Judgement::Accept(7, None),
            // More Authentication Data than a CONNACK can carry in borrowed memory, and more than the client accepts.
            Some("verbose") => Judgement::Accept(0, Some(vec![1; 3_000])),
            Some("undecided") => Judgement::Later,
            _ => Judgement::Accept(0, None),
        },
        Ask::Auth(_) => Judgement::Accept(0, None),
    }));
    world
}

fn begin(world: &mut World, attempt: &Attempt<'_>) -> ClientId {
    let payload = vec![b'x'; attempt.will.map_or(0, |(.., len)| len)];
    let packet = Packet::Connect(Connect {
        version: Version::V5,
        is_bridge: false,
        clean_start: attempt.clean_start,
        keep_alive: 0,
        properties: Properties::new(attempt.properties),
        client_id: attempt.id,
        will: attempt.will.map(|(topic, qos, retain, _)| Will {
            qos,
            retain,
            properties: Properties::EMPTY,
            topic,
            payload: &payload,
        }),
        user_name: attempt.user,
        password: None,
    });
    let at = world.open();
    world.send(at, &bytes_of(Version::V5, &packet));
    at
}

/// The code of the CONNACK, if there is one.
fn answer(world: &mut World, at: ClientId) -> Option<ReasonCode> {
    let bytes = world.receive(at);
    let (frame, _) = split(&bytes, u32::MAX).unwrap()?;
    match Packet::decode(Version::V5, frame).unwrap() {
        Packet::ConnAck(connack) => Some(connack.code),
        other => panic!("{other:?}"),
    }
}

/// The existing Session, and a client that watches for its Will.
struct Scene {
    old: Honest,
    watcher: Honest,
    is_connected: bool,
}

const WILL: Will<'static> =
    Will { qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY, topic: "will", payload: b"gone" };

const OLD: Opening<'static> =
    Opening { id: "c", clean_start: false, expiry_secs: 600, window: None, aliases: 0, will: Some((WILL, 300)) };

impl Scene {
    fn set(world: &mut World, is_connected: bool) -> Self {
        let mut watcher = Honest::accepted(world, Version::V5, &Opening::new("watcher"));
        watcher.subscribe(world, "will", QoS::AtLeastOnce);
        // If a CONNECT with Clean Start took over this connection, the Will would be published at once.
        let mut old = Honest::accepted(world, Version::V5, &OLD);
        old.subscribe(world, "t", QoS::AtLeastOnce);
        if !is_connected {
            world.cut(old.at);
            watcher.publish(world, "t", b"queued", QoS::AtLeastOnce, false, 1);
            watcher.take(world);
        }
        Self { old, watcher, is_connected }
    }

    /// Checks that the existing Session is unchanged.
    fn expect_unharmed(mut self, world: &mut World, why: &str) {
        assert_eq!(self.watcher.take(world), [], "{why}: no Will is published");
        let payloads = |got: Vec<Got>| -> Vec<Vec<u8>> {
            let messages = got.into_iter().filter_map(|got| match got {
                Got::Message(Message { payload, .. }) => Some(payload),
                _ => None,
            });
            messages.collect()
        };
        if self.is_connected {
            assert!(!world.is_closed(self.old.at), "{why}");
            assert_eq!(self.old.take(world), [], "{why}");
            self.watcher.publish(world, "t", b"next", QoS::AtLeastOnce, false, 2);
            assert_eq!(payloads(self.old.take(world)), [b"next"], "{why}");
            self.watcher.take(world);
            world.cut(self.old.at);
            world.advance(299_000);
            assert_eq!(self.watcher.take(world), [], "{why}");
            world.advance(2_000);
            assert_eq!(payloads(self.watcher.take(world)), [b"gone"], "{why}: the Will is what it was");
        } else {
            let again = Opening { will: None, ..OLD };
            let mut back = Honest::connect(world, Version::V5, &again);
            let mut got = back.take(world);
            assert_eq!(got.remove(0), Got::ConnAck(true, ReasonCode::Success), "{why}");
            assert_eq!(payloads(got), [b"queued"], "{why}");
            world.cut(back.at);
        }
        world.cut(self.watcher.at);
    }
}

/// Runs a test with a connected and with an absent client, in both kinds of memory, on one shard and on several.
fn everywhere(mut test: impl FnMut(&mut World, Scene)) {
    for (storage, shards) in
        [(Storage::Owned(Capacity::GATEWAY), 1), (Storage::Owned(Capacity::GATEWAY), 3), (Storage::Borrowed(ROOM), 1)]
    {
        for is_connected in [true, false] {
            let mut world = world_in(storage, shards);
            let scene = Scene::set(&mut world, is_connected);
            test(&mut world, scene);
        }
    }
}

/// The attempt with Clean Start 1 and with Clean Start 0.
fn both_ways<'a>(attempt: Attempt<'a>) -> [Attempt<'a>; 2] {
    [true, false].map(|clean_start| Attempt { clean_start, ..attempt })
}

#[track_caller]
fn expect_refusal(attempt: Attempt<'_>, code: ReasonCode) {
    for attempt in both_ways(attempt) {
        everywhere(|world, scene| {
            let at = begin(world, &attempt);
            assert_eq!(answer(world, at), Some(code));
            assert!(world.is_closed(at));
            scene.expect_unharmed(world, &format!("{code:?}"));
        });
    }
}

/// [MQTT-3.1.4-2]
#[test]
fn a_connect_with_a_bad_will_leaves_the_session_alone() {
    let wills = [
        (("$SYS/x", QoS::AtMostOnce, false, 1), ReasonCode::TopicNameInvalid),
        (("forbidden", QoS::AtMostOnce, false, 1), ReasonCode::NotAuthorized),
        (("a", QoS::ExactlyOnce, false, 1), ReasonCode::QoSNotSupported),
    ];
    for (will, code) in wills {
        expect_refusal(Attempt { will: Some(will), ..PLAIN }, code);
    }
}

/// [MQTT-3.1.4-2]
#[test]
fn a_connect_that_is_not_permitted_leaves_the_session_alone() {
    expect_refusal(Attempt { user: Some("unknown"), ..PLAIN }, ReasonCode::BadUserNameOrPassword);
    expect_refusal(Attempt { user: Some("other"), ..PLAIN }, ReasonCode::NotAuthorized);
}

/// With a full store, a Session that outlives its connection can't get its record. A bug of the past: the existing Session was
/// deleted, and its client closed, before the broker found that out.
#[test]
fn a_full_store_that_refuses_a_connect_leaves_the_session_alone() {
    everywhere(|world, scene| {
        for shard in 0..world.shards() {
            world.with_shard(shard, |broker| broker.set_store_full(true));
        }
        let at = begin(world, &Attempt { properties: &[EXPIRES], ..PLAIN });
        assert_eq!(answer(world, at), Some(ReasonCode::QuotaExceeded));
        for shard in 0..world.shards() {
            world.with_shard(shard, |broker| broker.set_store_full(false));
        }
        scene.expect_unharmed(world, "full");
    });
}

/// A CONNACK that accepts tells the client its limits, and may be too long for the client [MQTT-3.1.2-24]. A CONNACK that
/// refuses has 5 bytes; a client that accepts fewer gets none.
#[test]
fn a_maximum_packet_size_below_that_of_connack_leaves_the_session_alone() {
    let mut accepted = 0;
    for size in 1..40 {
        let list = [Property::MaximumPacketSize(size)];
        for attempt in both_ways(Attempt { properties: &list, ..PLAIN }) {
            everywhere(|world, scene| {
                let at = begin(world, &attempt);
                let code = answer(world, at);
                if code == Some(ReasonCode::Success) {
                    accepted += 1;
                    return;
                }
                assert_eq!(accepted, 0, "what fits into {size} bytes fits into more");
                assert_eq!(code, (size >= 5).then_some(ReasonCode::ImplementationSpecificError), "{size}");
                assert!(world.is_closed(at));
                scene.expect_unharmed(world, &format!("{size} bytes"));
            });
        }
    }
    assert!(accepted > 0);
}

/// An assigned identifier makes CONNACK longer, and so do Authentication Data.
#[test]
fn a_client_whose_connack_would_be_too_long_gets_no_session() {
    let mut world = world_in(Storage::Owned(Capacity::GATEWAY), 1);
    let at = begin(&mut world, &Attempt { id: "", properties: &[Property::MaximumPacketSize(30)], ..PLAIN });
    assert_eq!(answer(&mut world, at), Some(ReasonCode::ImplementationSpecificError));
    assert_eq!(world.shard(0).counters().sessions, 0);
    let method = [Property::AuthenticationMethod("m"), Property::MaximumPacketSize(100)];
    for attempt in both_ways(Attempt { user: Some("verbose"), properties: &method, ..PLAIN }) {
        everywhere(|world, scene| {
            let at = begin(world, &attempt);
            assert_eq!(answer(world, at), Some(ReasonCode::ImplementationSpecificError));
            scene.expect_unharmed(world, "long data");
        });
    }
}

/// Retained messages fill one table after the other, until there is no room for a Will, or none for a Client Identifier.
#[test]
fn a_connect_that_finds_no_memory_leaves_the_session_alone() {
    let few_messages = Capacity { messages: 12, connections: 40, sessions: 40, ..ROOM };
    let few_bytes = Capacity { messages: 40, bytes: 2_400, ..few_messages };
    for capacity in [few_messages, few_bytes] {
        for (storage, is_connected) in [
            (Storage::Owned(capacity), true),
            (Storage::Owned(capacity), false),
            (Storage::Borrowed(capacity), true),
            (Storage::Borrowed(capacity), false),
        ] {
            let mut world = world_in(storage, 1);
            let scene = Scene::set(&mut world, is_connected);
            let mut filler = Honest::accepted(&mut world, Version::V5, &Opening::new("filler"));
            let mut filled = 0;
            loop {
                let topic = format!("f{filled}");
                filler.publish(&mut world, &topic, &[b'x'; 40], QoS::AtLeastOnce, true, 1);
                match filler.take(&mut world)[..] {
                    [Got::Ack(_, _, ReasonCode::QuotaExceeded)] => break,
                    _ => filled += 1,
                }
            }
            // Wills have memory reserved for them.
            let will = Some(("w", QoS::AtMostOnce, false, 300));
            let mut others = Vec::new();
            loop {
                let at = begin(&mut world, &Attempt { will, id: &format!("other {}", others.len()), ..PLAIN });
                match answer(&mut world, at) {
                    Some(ReasonCode::Success) => others.push(at),
                    code => break assert_eq!(code, Some(ReasonCode::QuotaExceeded)),
                }
            }
            for attempt in both_ways(Attempt { will, ..PLAIN }) {
                let at = begin(&mut world, &attempt);
                assert_eq!(answer(&mut world, at), Some(ReasonCode::QuotaExceeded), "after {filled} messages");
            }
            for number in 0..filled {
                filler.publish(&mut world, &format!("f{number}"), b"", QoS::AtLeastOnce, true, 1);
            }
            for at in others.into_iter().chain([filler.at]) {
                world.cut(at);
            }
            scene.expect_unharmed(&mut world, "memory");
        }
    }
}

/// When one Session ends and another begins by the same CONNECT, the new one gets the old one's place in the table.
#[test]
fn a_full_table_of_sessions_refuses_strangers_and_lets_a_known_client_begin_anew() {
    for storage in [Storage::Owned(ROOM), Storage::Borrowed(ROOM)] {
        for is_connected in [true, false] {
            let mut world = world_in(storage, 1);
            let scene = Scene::set(&mut world, is_connected);
            for id in ["x", "y"] {
                let at = begin(&mut world, &Attempt { id, properties: &[EXPIRES], ..PLAIN });
                assert_eq!(answer(&mut world, at), Some(ReasonCode::Success));
            }
            let at = begin(&mut world, &Attempt { id: "stranger", ..PLAIN });
            assert_eq!(answer(&mut world, at), Some(ReasonCode::QuotaExceeded));
            let at = begin(&mut world, &Attempt { id: "x", ..PLAIN });
            assert_eq!(answer(&mut world, at), Some(ReasonCode::Success), "in the place that it had");
            scene.expect_unharmed(&mut world, "sessions");
        }
    }
}

/// The verdict on one connection comes when another connection has the Session already. The broker applies the verdict to the
/// Session as it is then.
#[test]
fn a_verdict_that_comes_late_finds_the_session_as_it_is_by_then() {
    for (is_connected, judgement) in [
        (true, Judgement::Refuse(ReasonCode::Banned)),
        (true, Judgement::Accept(7, None)),
        (false, Judgement::Refuse(ReasonCode::Banned)),
        (false, Judgement::Accept(7, None)),
    ] {
        let mut world = world_in(Storage::Owned(Capacity::GATEWAY), 1);
        let mut early = begin(&mut world, &Attempt { user: Some("undecided"), ..PLAIN });
        let scene = Scene::set(&mut world, is_connected);
        world.decide(early, &judgement);
        assert!(answer(&mut world, early).is_some_and(ReasonCode::is_error));
        early = begin(&mut world, &Attempt { user: Some("undecided"), clean_start: false, ..PLAIN });
        world.decide(early, &judgement);
        assert!(answer(&mut world, early).is_some_and(ReasonCode::is_error));
        scene.expect_unharmed(&mut world, "late");
    }
    // If the late verdict accepts, the connection takes the Session over.
    let mut world = world_in(Storage::Owned(Capacity::GATEWAY), 1);
    let early = begin(&mut world, &Attempt { user: Some("undecided"), clean_start: false, ..PLAIN });
    let mut scene = Scene::set(&mut world, true);
    world.decide(early, &Judgement::Accept(0, None));
    assert_eq!(answer(&mut world, early), Some(ReasonCode::Success));
    assert_eq!(scene.old.take(&mut world), [Got::Disconnect(ReasonCode::SessionTakenOver)]);
}

/// The home of the Session decides about a CONNECT, and the other shards learn nothing of a refused one. A member of a group on
/// another shard stays a member.
#[test]
fn a_refused_connect_leaves_the_member_of_a_group_on_another_shard_alone() {
    let mut world = World::in_storage(
        Storage::Owned(Capacity::GATEWAY),
        3,
        Config { authentication: Authentication::Open, ..config() },
        &AllowAll,
    );
    let home = Shard::home_of(b"c", 3);
    let elsewhere = |name: &String| Shard::home_of(name.as_bytes(), 3) != home;
    let filter = (0..).map(|number| format!("$share/g{number}/t")).find(elsewhere).unwrap();
    let mut member = Honest::accepted(&mut world, Version::V5, &OLD);
    assert!(!member.subscribe(&mut world, &filter, QoS::AtLeastOnce).is_error());
    for attempt in both_ways(Attempt { properties: &[Property::MaximumPacketSize(9)], ..PLAIN }) {
        let at = begin(&mut world, &attempt);
        assert_eq!(answer(&mut world, at), Some(ReasonCode::ImplementationSpecificError));
    }
    let publisher = Honest::accepted(&mut world, Version::V5, &Opening::new("p"));
    publisher.publish(&mut world, "t", b"x", QoS::AtLeastOnce, false, 1);
    assert!(matches!(&member.take(&mut world)[..], [Got::Message(message)] if message.payload == b"x"));
    assert!(!world.is_closed(member.at));
}

/// For the gateway's log: the Reason Code is 0x97 whichever table was full.
#[test]
fn the_embedder_learns_which_table_was_full_for_a_refused_client() {
    use goldcrest_core::{Broker, Instant, Memory, Shortage};
    use goldcrest_tests::packets::{Wire, client};
    let now = Instant::from_millis(1);
    for (shortage, sessions) in [(Shortage::Sessions, 1), (Shortage::Store, 100)] {
        let capacity = Capacity { sessions, ..Capacity::GATEWAY };
        let memory = Memory::owned(&capacity, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config { durable: true, ..Config::gateway(1) }, &AllowAll);
        let connect = |broker: &mut Broker<'_>, name: &str| {
            let id = broker.handle_connected(now).unwrap();
            let connect = client(name).with(&[Property::SessionExpiryInterval(60)]).wire(Version::V5);
            broker.handle_bytes(now, id, &connect);
            broker.describe(id).unwrap()
        };
        let first = connect(&mut broker, "first");
        assert!(first.is_open && first.shortage.is_none());
        broker.set_store_full(shortage == Shortage::Store);
        let second = connect(&mut broker, "second");
        assert_eq!((second.is_open, second.shortage), (false, Some(shortage)));
    }
}
