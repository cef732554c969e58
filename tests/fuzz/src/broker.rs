//! Several clients send any packets, well-formed or not, to one broker in either kind of memory. The broker must not
//! panic, must come to rest, and must send valid packets alone. When all clients have left, only retained messages may be
//! left.

use arbitrary::Arbitrary;
use goldcrest_core::codec::{
    Ack, AckKind, Connect, Filters, Packet, Properties, Property, Publish, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscriptionOptions, Topics, Unsubscribe, Version, Will, split,
};
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Overflow, ResendExpired, Shard, Then,
};

const CLIENTS: usize = 4;
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "", "$SYS/x", "a/a long level of more than fifteen bytes"];
const FILTERS: [&str; 9] = [
    "#",
    "a/+",
    "+/b",
    "a/#",
    "$share/g/a/#",
    "$share/g/+",
    "$share/h/a/b",
    "a/+/#/x",
    "a/a long level of more than fifteen bytes",
];

#[derive(Arbitrary, Debug)]
enum Step {
    Connect {
        client: u8,
        version: u8,
        id: u8,
        clean: bool,
        expiry: u8,
        window: u8,
        largest: u8,
        will: Option<(u8, u8, u8)>,
    },
    Publish {
        client: u8,
        topic: u8,
        qos: u8,
        retain: bool,
        dup: bool,
        number: u8,
        alias: u8,
        expiry: u8,
        len: u8,
    },
    Subscribe {
        client: u8,
        filter: u8,
        other: u8,
        options: u8,
        identifier: u8,
    },
    Unsubscribe {
        client: u8,
        filter: u8,
    },
    Acknowledge {
        client: u8,
        kind: u8,
        number: u8,
        refuse: bool,
    },
    Raw {
        client: u8,
        bytes: Vec<u8>,
    },
    Cut {
        client: u8,
    },
    Read {
        client: u8,
        room: u16,
    },
    Pass {
        millis: u16,
    },
    ShutDown,
}

#[derive(Arbitrary, Debug)]
struct Run {
    borrowed: bool,
    overflow: u8,
    steps: Vec<Step>,
}

#[derive(Default)]
struct Client {
    at: Option<ConnectionId>,
    version: Option<Version>,
    unread: Vec<u8>,
    received: Vec<u8>,
}

struct World<'m> {
    broker: Broker<'m>,
    now: Instant,
    clients: [Client; CLIENTS],
}

impl World<'_> {
    fn send(&mut self, client: u8, packet: &Packet<'_>) {
        let client = usize::from(client) % CLIENTS;
        let version = self.clients[client].version.unwrap_or(Version::V5);
        packet.encode(version, &mut self.clients[client].unread);
        self.feed(client);
    }

    fn feed(&mut self, client: usize) {
        let Client { at: Some(at), unread, .. } = &mut self.clients[client] else { return };
        let consumed = self.broker.handle_bytes(self.now, *at, unread).consumed;
        unread.drain(..consumed);
    }

    fn read(&mut self, client: usize, room: usize) {
        let Some(at) = self.clients[client].at else { return };
        let mut buffer = vec![0; room];
        let transmit = self.broker.poll_transmit(self.now, at, &mut buffer);
        self.clients[client].received.extend_from_slice(&buffer[..transmit.written]);
        self.check(client);
        if transmit.then == Then::Close {
            self.cut(client);
        }
    }

    /// Checks that all received bytes are whole packets and the beginning of another.
    fn check(&mut self, client: usize) {
        let Client { version, received, .. } = &mut self.clients[client];
        while let Some((frame, len)) = split(received, u32::MAX).expect("packets") {
            Packet::decode(version.unwrap_or(Version::V5), frame).expect("a packet of this version");
            received.drain(..len);
        }
    }

    fn cut(&mut self, client: usize) {
        if let Some(at) = self.clients[client].at {
            self.broker.handle_closed(self.now, at);
        }
        self.clients[client] = Client::default();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect { client, version, id, clean, expiry, window, largest, will } => {
                let client = usize::from(*client) % CLIENTS;
                self.cut(client);
                let Ok(at) = self.broker.handle_connected(self.now) else { return };
                let version = [Version::V3_1, Version::V3_1_1, Version::V5][usize::from(version % 3)];
                self.clients[client] = Client { at: Some(at), version: Some(version), ..Client::default() };
                let mut list = vec![Property::TopicAliasMaximum(u16::from(window % 4))];
                if *window > 0 {
                    list.push(Property::ReceiveMaximum(u16::from(*window)));
                }
                if *largest > 0 {
                    list.push(Property::MaximumPacketSize(u32::from(*largest)));
                }
                list.push(Property::SessionExpiryInterval(u32::from(*expiry)));
                let delay = [Property::WillDelayInterval(u32::from(*expiry / 2))];
                let will = will.map(|(topic, qos, retain)| Will {
                    qos: QoS::from_bits(qos % 3).unwrap(),
                    retain: retain % 2 == 0,
                    properties: if version.is_v5() { Properties::new(&delay) } else { Properties::EMPTY },
                    topic: TOPICS[usize::from(topic) % TOPICS.len()],
                    payload: b"gone",
                });
                let connect = Connect {
                    version,
                    is_bridge: false,
                    clean_start: *clean,
                    keep_alive: u16::from(*expiry),
                    properties: if version.is_v5() { Properties::new(&list) } else { Properties::EMPTY },
                    client_id: ["", "one", "two", "three"][usize::from(id % 4)],
                    will,
                    user_name: None,
                    password: None,
                };
                self.send(client as u8, &Packet::Connect(connect));
            }
            Step::Publish { client, topic, qos, retain, dup, number, alias, expiry, len } => {
                let v5 = self.clients[usize::from(*client) % CLIENTS].version == Some(Version::V5);
                let mut list = Vec::new();
                if *alias > 0 && v5 {
                    list.push(Property::TopicAlias(u16::from(alias % 6) + 1));
                }
                if *expiry > 0 && v5 {
                    list.push(Property::MessageExpiryInterval(u32::from(*expiry)));
                }
                let qos = QoS::from_bits(qos % 3).unwrap();
                let payload = vec![b'x'; usize::from(*len)];
                let packet_id =
                    Ack::new(u16::from(*number).try_into().unwrap_or(1.try_into().unwrap()), ReasonCode::Success);
                let publish = Publish {
                    dup: *dup && qos > QoS::AtMostOnce,
                    qos,
                    retain: *retain,
                    topic: TOPICS[usize::from(*topic) % TOPICS.len()],
                    packet_id: (qos > QoS::AtMostOnce).then_some(packet_id.packet_id),
                    properties: Properties::new(&list),
                    payload: &payload,
                };
                self.send(*client, &Packet::Publish(publish));
            }
            Step::Subscribe { client, filter, other, options, identifier } => {
                let options = SubscriptionOptions {
                    qos: QoS::from_bits(options % 3).unwrap(),
                    no_local: options & 8 != 0,
                    retain_as_published: options & 16 != 0,
                    retain_handling: if options & 32 == 0 { RetainHandling::Send } else { RetainHandling::SendIfNew },
                };
                let text = |filter: &u8| FILTERS[usize::from(*filter) % FILTERS.len()];
                let filters = [(text(filter), options), (text(other), SubscriptionOptions::with_qos(options.qos))];
                let list = [Property::SubscriptionIdentifier(u32::from(*identifier).max(1))];
                let subscribe = Subscribe {
                    packet_id: 9.try_into().unwrap(),
                    properties: Properties::new(&list),
                    filters: Filters::new(&filters),
                };
                self.send(*client, &Packet::Subscribe(subscribe));
            }
            Step::Unsubscribe { client, filter } => {
                let filters = [FILTERS[usize::from(*filter) % FILTERS.len()]];
                let (packet_id, properties) = (9.try_into().unwrap(), Properties::EMPTY);
                self.send(
                    *client,
                    &Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: Topics::new(&filters) }),
                );
            }
            Step::Acknowledge { client, kind, number, refuse } => {
                let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
                let kind = kinds[usize::from(kind % 4)];
                let refuse = *refuse && matches!(kind, AckKind::PubAck | AckKind::PubRec);
                let code = if refuse { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
                let Ok(number) = u16::from(*number).try_into() else { return };
                self.send(*client, &kind.of(Ack::new(number, code)));
            }
            Step::Raw { client, bytes } => {
                let client = usize::from(*client) % CLIENTS;
                if self.clients[client].version.is_some() {
                    self.clients[client].unread.extend_from_slice(bytes);
                    self.feed(client);
                }
            }
            Step::Cut { client } => self.cut(usize::from(*client) % CLIENTS),
            Step::Read { client, room } => self.read(usize::from(*client) % CLIENTS, usize::from(*room)),
            Step::Pass { millis } => {
                self.now = self.now.plus_millis(u64::from(*millis));
                self.broker.handle_timeout(self.now);
            }
            Step::ShutDown => self.broker.shut_down(self.now),
        }
        // A `poll_ready` that named connections for ever would be a fault.
        for _ in 0..100 {
            let Some(id) = self.broker.poll_ready() else { return };
            if let Some(client) = self.clients.iter().position(|client| client.at == Some(id)) {
                self.feed(client);
            }
        }
        panic!("the broker does not come to rest");
    }

    fn finish(mut self) {
        for client in 0..CLIENTS {
            self.cut(client);
        }
        while self.broker.poll_ready().is_some() {}
        // A Session of MQTT 3.1.1 lasts until a client with Clean Start takes it over.
        for id in ["one", "two", "three"] {
            for version in [Version::V3_1_1, Version::V5] {
                let at = self.broker.handle_connected(self.now).expect("nobody else is here");
                let mut bytes = Vec::new();
                let connect = Connect {
                    version,
                    is_bridge: false,
                    clean_start: true,
                    keep_alive: 0,
                    properties: Properties::EMPTY,
                    client_id: id,
                    will: None,
                    user_name: None,
                    password: None,
                };
                Packet::Connect(connect).encode(version, &mut bytes);
                self.broker.handle_bytes(self.now, at, &bytes);
                assert!(self.broker.describe(at).is_some_and(|info| info.is_open), "there is always room for one");
                self.broker.handle_closed(self.now, at);
                while self.broker.poll_ready().is_some() {}
            }
        }
        self.now = self.now.plus_secs(1 << 33);
        self.broker.handle_timeout(self.now);
        let counters = self.broker.counters();
        assert_eq!(
            (counters.connections, counters.sessions, counters.subscriptions, counters.deliveries),
            (0, 0, 0, 0)
        );
        assert_eq!(counters.messages, counters.retained);
        assert_eq!(self.broker.poll_timeout(), None);
    }
}

/// Runs the operations that `input` encodes.
pub fn run(input: &[u8]) {
    let Some(run) = super::read::<Run>(input) else { return };
    let policies = [Overflow::DropNewest, Overflow::DropOldest, Overflow::KeepLatest, Overflow::Refuse];
    let limits = Limits::FIRMWARE.with(|limits| {
        limits.queued_messages = 5;
        limits.topic_aliases_out = 3;
    });
    let overflow = policies[usize::from(run.overflow % 4)];
    let resends = [ResendExpired::Qos2, ResendExpired::Always, ResendExpired::Never];
    let resend_expired = resends[usize::from(run.overflow / 4 % 3)];
    let config = Config { limits, overflow, resend_expired, ..Config::firmware(3) };
    let play = |memory: Memory<'_>| {
        let broker = Broker::new(memory, config.clone(), &AllowAll);
        let mut world = World { broker, now: Instant::from_millis(0), clients: Default::default() };
        run.steps.iter().for_each(|step| world.step(step));
        world.finish();
    };
    if run.borrowed {
        type Small = goldcrest_core::resources! {
            connections: 4, sessions: 6, subscriptions: 10, levels: 12, messages: 16, deliveries: 12, blocks: 24
        };
        let mut resources = Box::new(Small::new());
        play(resources.memory());
    } else {
        let capacity = Capacity {
            connections: 4,
            sessions: 6,
            subscriptions: 10,
            topic_levels: 12,
            messages: 16,
            deliveries: 12,
            bytes: 1_440,
        };
        play(Memory::owned(&capacity, &limits, Shard::ONLY));
    }
}
