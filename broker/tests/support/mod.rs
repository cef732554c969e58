//! A gateway on a port of its own, and a client that sends and expects packets.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod certificates;
pub(crate) mod folder;
pub(crate) mod server;

use goldcrest::{Config, Gateway, Listener};
use goldcrest_core::codec::{
    Ack, AckKind, ConnAck, Connect, Filters, MAX_PACKET_LEN, Packet, PacketId, Properties, Publish, QoS, ReasonCode,
    Subscribe, SubscriptionOptions, Version, split,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Runs a test against a gateway with one shard, and against one with three.
pub(crate) fn with_gateways(change: impl Fn(&mut Config), test: impl Fn(SocketAddr)) {
    for shards in [1, 3] {
        let mut config = Config { shards, ..local() };
        change(&mut config);
        let gateway = Gateway::start(&config).unwrap();
        test(gateway.addresses()[0]);
        let stopping = Instant::now();
        runtime().block_on(gateway.shut_down());
        assert!(stopping.elapsed() < Duration::from_secs(4));
    }
}

/// The default configuration, on a port that the system chooses.
pub(crate) fn local() -> Config {
    Config { listeners: vec![Listener::new("127.0.0.1:0".parse().unwrap())], ..Config::default() }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Waits until `is_so`, for at most `limit`. Returns how long that took.
pub(crate) fn wait_until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}

/// Connects with this user name and password. Returns the client and the Reason Code of its CONNACK.
pub(crate) fn connect_as(
    address: SocketAddr,
    client_id: &str,
    user_name: Option<&str>,
    password: Option<&str>,
) -> (Client, ReasonCode) {
    let mut client = Client::open(address);
    let password = password.map(str::as_bytes);
    client.send(Packet::Connect(Connect { user_name, password, ..connect_packet(client_id) }));
    let code = client.receive_connack(|ack| ack.code);
    (client, code)
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    version: Version,
    received: Vec<u8>,
}

impl Client {
    /// Opens a Network Connection without sending CONNECT.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { stream, version: Version::V5, received: Vec::new() }
    }

    /// Connects an MQTT 5.0 client with a new Session.
    pub(crate) fn connect(address: SocketAddr, client_id: &str) -> Self {
        let mut client = Self::open(address);
        client.send(Packet::Connect(connect_packet(client_id)));
        client.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
        client
    }

    /// The version of MQTT in which packets are sent and expected.
    pub(crate) fn speaks(&mut self, version: Version) {
        self.version = version;
    }

    /// Whether the connection is gone, whatever the reason.
    pub(crate) fn is_gone_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let read = self.stream.read(&mut [0; 16]);
        !matches!(&read, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a Network Connection that was opened already.
    pub(crate) fn on(stream: S) -> Self {
        Self { stream, version: Version::V5, received: Vec::new() }
    }

    /// Sends CONNECT, and expects a new Session.
    pub(crate) fn connected(mut self, client_id: &str) -> Self {
        self.send(Packet::Connect(connect_packet(client_id)));
        self.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
        self
    }

    pub(crate) fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filters = [(filter, SubscriptionOptions::with_qos(qos))];
        let properties = Properties::EMPTY;
        let filters = Filters::new(&filters);
        self.send(Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties, filters }));
        self.receive(|packet| match packet {
            Packet::SubAck(ack) => assert_eq!(ack.codes.into_iter().collect::<Vec<_>>(), [ReasonCode::granted(qos)]),
            other => panic!("SUBACK was expected, not {other:?}"),
        });
    }

    /// Sends a PUBACK, PUBREC, PUBREL or PUBCOMP with success.
    pub(crate) fn acknowledge(&mut self, kind: AckKind, packet_id: PacketId) {
        let ack = Ack { packet_id, code: ReasonCode::Success, properties: Properties::EMPTY };
        self.send(match kind {
            AckKind::PubAck => Packet::PubAck(ack),
            AckKind::PubRec => Packet::PubRec(ack),
            AckKind::PubRel => Packet::PubRel(ack),
            AckKind::PubComp => Packet::PubComp(ack),
        });
    }

    /// Receives the next packet, and passes it to `take`.
    pub(crate) fn receive<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Some((frame, len)) = split(&self.received, MAX_PACKET_LEN).unwrap() {
                let taken = take(Packet::decode(self.version, frame).unwrap());
                self.received.drain(..len);
                return taken;
            }
            let mut chunk = [0; 65_536];
            let read = self.stream.read(&mut chunk).expect("a packet in time");
            assert_ne!(read, 0, "the connection was closed");
            self.received.extend_from_slice(&chunk[..read]);
        }
    }

    /// Receives a CONNACK, and returns what `take` takes from it.
    pub(crate) fn receive_connack<T>(&mut self, take: impl FnOnce(ConnAck<'_>) -> T) -> T {
        self.receive(|packet| match packet {
            Packet::ConnAck(ack) => take(ack),
            other => panic!("CONNACK was expected, not {other:?}"),
        })
    }

    /// Expects `wanted` as the next packet, apart from its Properties.
    pub(crate) fn expect(&mut self, wanted: Packet<'_>) {
        self.receive(|mut packet| {
            match &mut packet {
                Packet::ConnAck(ack) => ack.properties = Properties::EMPTY,
                Packet::Disconnect(disconnect) => disconnect.properties = Properties::EMPTY,
                _ => {}
            }
            assert_eq!(packet, wanted);
        });
    }

    /// Expects that the broker closes the connection, with no packet before and without a reset.
    pub(crate) fn expect_end(&mut self) {
        assert!(self.received.is_empty());
        assert_eq!(self.stream.read(&mut [0; 16]).expect("an orderly end"), 0);
    }
}

pub(crate) fn connect_packet(client_id: &str) -> Connect<'_> {
    Connect {
        version: Version::V5,
        is_bridge: false,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        user_name: None,
        password: None,
    }
}

pub(crate) fn message<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Publish<'a> {
    let packet_id = (qos > QoS::AtMostOnce).then_some(PacketId::MIN);
    Publish { dup: false, qos, retain: false, topic, packet_id, properties: Properties::EMPTY, payload }
}
