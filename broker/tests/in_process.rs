//! Clients in the process of the gateway, through its real shards, without a network between them.

use crate::support::{connect_packet, local, message, runtime};
use goldcrest::{Config, Gateway, MemoryStream};
use goldcrest_core::codec::{
    ConnAck, Filters, MAX_PACKET_LEN, Packet, PacketId, Properties, QoS, ReasonCode, Subscribe, SubscriptionOptions,
    Version, Will, split,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Time for messages that should come at once, even on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Runs a test with a gateway of this configuration, and stops the gateway in order.
fn with_gateway(config: Config, test: impl AsyncFnOnce(&Gateway)) {
    let gateway = Gateway::start(&config).unwrap();
    runtime().block_on(async {
        test(&gateway).await;
        gateway.shut_down().await;
    });
}

fn shards(shards: u16) -> Config {
    Config { shards, ..local() }
}

struct Client {
    stream: MemoryStream,
    received: Vec<u8>,
}

impl Client {
    fn open(gateway: &Gateway) -> Self {
        Self { stream: gateway.connect().unwrap(), received: Vec::new() }
    }

    async fn connect(gateway: &Gateway, client_id: &str) -> Self {
        let mut client = Self::open(gateway);
        client.send(Packet::Connect(connect_packet(client_id))).await;
        client.expect_success().await;
        client
    }

    async fn expect_success(&mut self) {
        self.receive(|packet| match packet {
            Packet::ConnAck(ConnAck { code: ReasonCode::Success, .. }) => {}
            other => panic!("CONNACK was expected, not {other:?}"),
        })
        .await;
    }

    async fn send(&mut self, packet: Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(Version::V5, &mut bytes);
        timeout(SOON, self.stream.write_all(&bytes)).await.unwrap().unwrap();
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        let filters = [(filter, SubscriptionOptions::with_qos(qos))];
        let filters = Filters::new(&filters);
        self.send(Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, properties: Properties::EMPTY, filters }))
            .await;
        self.receive(|packet| assert!(matches!(packet, Packet::SubAck(_)), "{packet:?}")).await;
    }

    async fn receive<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Some((frame, len)) = split(&self.received, MAX_PACKET_LEN).unwrap() {
                let taken = take(Packet::decode(Version::V5, frame).unwrap());
                self.received.drain(..len);
                return taken;
            }
            let read =
                timeout(SOON, self.stream.read_buf(&mut self.received)).await.expect("a packet in time").unwrap();
            assert_ne!(read, 0, "the connection was closed");
        }
    }

    /// The payload of the next packet, a PUBLISH.
    async fn receive_publish(&mut self) -> Vec<u8> {
        self.receive(|packet| match packet {
            Packet::Publish(publish) => publish.payload.to_vec(),
            other => panic!("PUBLISH was expected, not {other:?}"),
        })
        .await
    }
}

/// Client Identifiers that have all shards as homes, so that connections move to other threads.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn messages_pass_between_in_process_clients_of_all_shards() {
    for count in [1, 3] {
        with_gateway(shards(count), async |gateway| {
            let mut clients = Vec::new();
            for name in NAMES {
                let mut client = Client::connect(gateway, name).await;
                client.subscribe("all", QoS::AtLeastOnce).await;
                clients.push(client);
            }
            let mut publisher = Client::connect(gateway, "publisher").await;
            publisher.send(Packet::Publish(message("all", b"hello", QoS::AtLeastOnce))).await;
            publisher.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}")).await;
            for client in &mut clients {
                assert_eq!(client.receive_publish().await, b"hello");
            }
        });
    }
}

/// A publisher goes on while a subscriber does not read: messages for which the stream has no room wait in the subscriber's
/// queue, in order.
#[test]
fn an_in_process_client_gets_its_queue_when_it_reads_again() {
    const MESSAGES: u32 = 500;
    with_gateway(shards(2), async |gateway| {
        let mut subscriber = Client::connect(gateway, "slow").await;
        subscriber.subscribe("t", QoS::AtLeastOnce).await;
        let mut publisher = Client::connect(gateway, "publisher").await;
        let mut payload = vec![7; 4_000];
        for number in 0..MESSAGES {
            payload[..4].copy_from_slice(&number.to_be_bytes());
            publisher.send(Packet::Publish(message("t", &payload, QoS::AtLeastOnce))).await;
            publisher.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}")).await;
        }
        for number in 0..MESSAGES {
            let packet_id = subscriber
                .receive(|packet| match packet {
                    Packet::Publish(publish) => {
                        assert_eq!(publish.payload[..4], number.to_be_bytes());
                        publish.packet_id.unwrap()
                    }
                    other => panic!("PUBLISH was expected, not {other:?}"),
                })
                .await;
            let [high, low] = packet_id.get().to_be_bytes();
            subscriber.stream.write_all(&[0x40, 2, high, low]).await.unwrap();
        }
    });
}

/// A packet that is longer than the stream's buffer arrives whole, in both directions.
#[test]
fn packets_longer_than_the_streams_buffer_arrive_whole() {
    with_gateway(shards(2), async |gateway| {
        let mut client = Client::connect(gateway, "a").await;
        client.subscribe("t", QoS::AtMostOnce).await;
        let payload: Vec<u8> = (0..1_000_000_u32).map(|at| (at / 253 + at) as u8).collect();
        client.send(Packet::Publish(message("t", &payload, QoS::AtMostOnce))).await;
        assert!(client.receive_publish().await == payload);
    });
}

/// A client that drops its end without DISCONNECT has its Will sent [MQTT-3.1.2-8], as if the network had lost it.
#[test]
fn dropping_an_in_process_connection_publishes_the_will() {
    with_gateway(shards(2), async |gateway| {
        let mut watcher = Client::connect(gateway, "watcher").await;
        watcher.subscribe("gone", QoS::AtMostOnce).await;
        let mut client = Client::open(gateway);
        let (qos, properties) = (QoS::AtMostOnce, Properties::EMPTY);
        let will = Will { topic: "gone", payload: b"will", qos, retain: false, properties };
        client.send(Packet::Connect(goldcrest_core::codec::Connect { will: Some(will), ..connect_packet("a") })).await;
        client.expect_success().await;
        drop(client);
        assert_eq!(watcher.receive_publish().await, b"will");
    });
}

/// The broker sends its last packet before it closes a connection.
#[test]
fn an_in_process_client_reads_the_brokers_disconnect_and_then_the_end() {
    with_gateway(shards(2), async |gateway| {
        let mut first = Client::connect(gateway, "same").await;
        let _second = Client::connect(gateway, "same").await;
        first
            .receive(|packet| match packet {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::SessionTakenOver),
                other => panic!("DISCONNECT was expected, not {other:?}"),
            })
            .await;
        assert_eq!(timeout(SOON, first.stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    });
}

/// Clients in the process count like any others, and are told that the gateway stops.
#[test]
fn in_process_connections_are_bounded_and_end_with_the_gateway() {
    let mut config = shards(1);
    config.capacity.connections = Some(2);
    let gateway = Gateway::start(&config).unwrap();
    runtime().block_on(async {
        let mut client = Client::connect(&gateway, "a").await;
        let unfinished = Client::open(&gateway);
        let error = gateway.connect().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(unfinished);
        let free = async {
            while gateway.connect().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, free).await.expect("whoever leaves makes room");
        gateway.shut_down().await;
        client
            .receive(|packet| match packet {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::ServerShuttingDown),
                other => panic!("DISCONNECT was expected, not {other:?}"),
            })
            .await;
        assert_eq!(timeout(SOON, client.stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    });
}
