//! The gateway as clients see it: sockets, shards, limits, start and stop. Other tests cover the protocol.

use crate::support::{Client, connect_packet, local, message, runtime, with_gateways};
use goldcrest::{Gateway, Listener, ListenerAddress, StartError};
use goldcrest_core::codec::{Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, QoS, ReasonCode, Will};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn messages_reach_clients_of_all_shards() {
    with_gateways(
        |_| {},
        |address| {
            let mut subscribers: Vec<Client> = (0..9)
                .map(|n| {
                    let mut client = Client::connect(address, &format!("subscriber {n}"));
                    client.subscribe("demo/#", QoS::ExactlyOnce);
                    client
                })
                .collect();
            for (n, qos) in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().enumerate() {
                let mut publisher = Client::connect(address, &format!("publisher {n}"));
                publisher.send(Packet::Publish(message("demo/room", b"21.5", qos)));
                let ack = Ack::new(PacketId::MIN, ReasonCode::Success);
                match qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => publisher.expect(Packet::PubAck(ack)),
                    QoS::ExactlyOnce => {
                        publisher.expect(Packet::PubRec(ack));
                        publisher.send(Packet::PubRel(ack));
                        publisher.expect(Packet::PubComp(ack));
                    }
                }
                for subscriber in &mut subscribers {
                    subscriber.receive(|packet| match packet {
                        Packet::Publish(publish) => {
                            assert_eq!((publish.topic, publish.payload, publish.qos), ("demo/room", &b"21.5"[..], qos));
                        }
                        other => panic!("a message was expected, not {other:?}"),
                    });
                }
            }
        },
    );
}

#[test]
fn messages_keep_their_order_from_one_shard_to_another() {
    with_gateways(
        |_| {},
        |address| {
            const COUNT: u32 = 5_000;
            let mut subscriber = Client::connect(address, "subscriber");
            subscriber.subscribe("n", QoS::AtMostOnce);
            let mut publishers: Vec<_> = (0..4).map(|n| Client::connect(address, &format!("publisher {n}"))).collect();
            for publisher in &mut publishers {
                let mut bytes = Vec::new();
                for n in 0..COUNT {
                    let payload = n.to_be_bytes();
                    Packet::Publish(message("n", &payload, QoS::AtMostOnce))
                        .encode(goldcrest_core::codec::Version::V5, &mut bytes);
                }
                publisher.stream.write_all(&bytes).unwrap();
                for n in 0..COUNT {
                    subscriber.receive(|packet| match packet {
                        Packet::Publish(publish) => assert_eq!(publish.payload, n.to_be_bytes()),
                        other => panic!("a message was expected, not {other:?}"),
                    });
                }
            }
        },
    );
}

/// The last packets of a client are handled before its next connection takes over the old one: no message that it published
/// is lost, and its DISCONNECT counts, so there is no Will.
#[test]
fn the_last_packets_of_a_client_count_though_it_connects_again_at_once() {
    with_gateways(
        |_| {},
        |address| {
            const ROUNDS: u32 = 1_000;
            let mut subscriber = Client::connect(address, "subscriber");
            subscriber.subscribe("n", QoS::AtMostOnce);
            let will =
                Will { qos: QoS::AtMostOnce, retain: false, properties: Properties::EMPTY, topic: "n", payload: b"" };
            for n in 0..ROUNDS {
                let mut sensor = Client::open(address);
                sensor.send(Packet::Connect(Connect { will: Some(will), ..connect_packet("sensor") }));
                sensor.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
                sensor.send(Packet::Publish(message("n", &n.to_be_bytes(), QoS::AtMostOnce)));
                sensor.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
            }
            for n in 0..ROUNDS {
                subscriber.receive(|packet| match packet {
                    Packet::Publish(publish) => assert_eq!(publish.payload, n.to_be_bytes()),
                    other => panic!("a message was expected, not {other:?}"),
                });
            }
        },
    );
}

#[test]
fn packets_are_understood_byte_by_byte_and_all_at_once() {
    with_gateways(
        |_| {},
        |address| {
            let mut bytes = Vec::new();
            for packet in [Packet::Connect(connect_packet("")), Packet::PingReq, Packet::PingReq] {
                packet.encode(goldcrest_core::codec::Version::V5, &mut bytes);
            }
            let mut slow = Client::open(address);
            for byte in &bytes {
                slow.stream.write_all(&[*byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut quick = Client::open(address);
            quick.stream.write_all(&bytes).unwrap();
            for client in [&mut slow, &mut quick] {
                client.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
                client.expect(Packet::PingResp);
                client.expect(Packet::PingResp);
            }
        },
    );
}

#[test]
fn a_large_message_arrives_whole() {
    with_gateways(
        |_| {},
        |address| {
            let payload: Vec<u8> = (0..1_048_576_u32).map(|n| (n % 251) as u8).collect();
            let mut subscriber = Client::connect(address, "subscriber");
            subscriber.subscribe("large", QoS::AtLeastOnce);
            let mut publisher = Client::connect(address, "publisher");
            publisher.send(Packet::Publish(message("large", &payload, QoS::AtLeastOnce)));
            publisher.expect(Packet::PubAck(Ack::new(PacketId::MIN, ReasonCode::Success)));
            subscriber.receive(|packet| match packet {
                Packet::Publish(publish) => assert!(publish.payload == payload),
                other => panic!("a message was expected, not {other:?}"),
            });
        },
    );
}

#[test]
fn a_client_that_closes_its_side_still_gets_its_answers() {
    with_gateways(
        |_| {},
        |address| {
            let mut client = Client::open(address);
            let mut bytes = Vec::new();
            for packet in [Packet::Connect(connect_packet("half")), Packet::PingReq] {
                packet.encode(goldcrest_core::codec::Version::V5, &mut bytes);
            }
            client.stream.write_all(&bytes).unwrap();
            client.stream.shutdown(Shutdown::Write).unwrap();
            client.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
            client.expect(Packet::PingResp);
            client.expect_end();
            // In some of so many rounds the end of the stream has arrived already when the gateway reads the packet.
            for _ in 0..100 {
                let mut client = Client::connect(address, "half");
                client.send(Packet::PingReq);
                client.stream.shutdown(Shutdown::Write).unwrap();
                client.expect(Packet::PingResp);
                client.expect_end();
            }
        },
    );
}

#[test]
fn a_client_reads_the_last_packet_before_the_connection_ends() {
    with_gateways(
        |_| {},
        |address| {
            let mut first = Client::connect(address, "same");
            let _second = Client::connect(address, "same");
            first.expect(Packet::Disconnect(Disconnect::new(ReasonCode::SessionTakenOver)));
            first.expect_end();

            let mut wrong = Client::connect(address, "wrong");
            wrong.stream.write_all(&[0xFF; 100_000]).unwrap();
            wrong.expect(Packet::Disconnect(Disconnect::new(ReasonCode::MalformedPacket)));
            // A client may go on sending until it has read the DISCONNECT; a careless close would answer with a reset.
            for _ in 0..3 {
                wrong.stream.write_all(&[0xFF; 10]).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
            wrong.expect_end();
        },
    );
}

#[test]
fn a_subscriber_that_does_not_read_makes_no_other_client_wait() {
    with_gateways(
        |config| config.broker.limits.queued_messages = 100,
        |address| {
            let mut stuck = Client::connect(address, "stuck");
            stuck.subscribe("flood", QoS::AtMostOnce);
            let mut reader = Client::connect(address, "reader");
            reader.subscribe("flood", QoS::AtMostOnce);
            let mut publisher = Client::connect(address, "publisher");
            let payload = vec![7; 100_000];
            for n in 0..500_u32 {
                publisher.send(Packet::Publish(message("flood", &payload, QoS::AtMostOnce)));
                reader.receive(|packet| match packet {
                    Packet::Publish(publish) => assert_eq!(publish.payload.len(), 100_000, "message {n}"),
                    other => panic!("a message was expected, not {other:?}"),
                });
            }
            // When the client reads again it gets the messages that fitted into its queue, each one whole.
            for _ in 0..100 {
                stuck.receive(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
            }
            stuck.send(Packet::PingReq);
            while !stuck.receive(|packet| packet == Packet::PingResp) {}
        },
    );
}

#[test]
fn the_connection_of_a_client_that_neither_reads_nor_leaves_ends() {
    with_gateways(
        |_| {},
        |address| {
            let mut stuck = Client::connect(address, "stuck");
            stuck.subscribe("flood", QoS::AtMostOnce);
            let mut publisher = Client::connect(address, "publisher");
            let payload = vec![7; 1_000_000];
            for _ in 0..30 {
                publisher.send(Packet::Publish(message("flood", &payload, QoS::AtLeastOnce)));
                publisher.receive(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
            }
            // A DISCONNECT tells the client that its Session was taken over, but the client does not read that either.
            let _other = Client::connect(address, "stuck");
            let deadline = Instant::now() + Duration::from_secs(20);
            stuck.stream.set_nonblocking(true).unwrap();
            // A failed write shows that the connection is gone: bytes for a closed socket are answered with a reset.
            while stuck.stream.write_all(&[0xC0, 0]).is_ok() {
                assert!(Instant::now() < deadline, "the connection is still there");
                std::thread::sleep(Duration::from_millis(50));
            }
        },
    );
}

#[test]
fn silent_connections_keep_no_client_out() {
    with_gateways(
        |config| config.unfinished_connections = 8,
        |address| {
            let mut silent: Vec<Client> = (0..20).map(|_| Client::open(address)).collect();
            let before = Instant::now();
            Client::connect(address, "honest");
            assert!(before.elapsed() < Duration::from_secs(8), "{:?}", before.elapsed());
            assert!(silent.iter_mut().any(|client| client.is_gone_within(Duration::from_millis(1))));
        },
    );
}

#[test]
fn a_connection_without_connect_is_closed_in_time() {
    with_gateways(
        |config| config.broker.connect_timeout_ms = 300,
        |address| {
            let mut nothing = Client::open(address);
            let mut something = Client::open(address);
            something.stream.write_all(&[0x10, 20, 0]).unwrap();
            assert!(nothing.is_gone_within(Duration::from_secs(3)));
            assert!(something.is_gone_within(Duration::from_secs(3)));
        },
    );
}

#[test]
fn a_first_packet_that_is_not_connect_is_refused_at_once() {
    with_gateways(
        |_| {},
        |address| {
            for wrong in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xC0, 0], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], &[0, 0]] {
                let mut client = Client::open(address);
                client.stream.write_all(wrong).unwrap();
                client.expect_end();
            }
        },
    );
}

#[test]
fn connections_beyond_the_capacity_are_closed_and_the_others_stay() {
    with_gateways(
        |config| {
            config.capacity.connections = Some(4);
            config.shards = 1;
        },
        |address| {
            let mut clients: Vec<_> = (0..4).map(|n| Client::connect(address, &format!("client {n}"))).collect();
            let mut beyond = Client::open(address);
            assert!(beyond.is_gone_within(Duration::from_secs(5)));
            for client in &mut clients {
                client.send(Packet::PingReq);
                client.expect(Packet::PingResp);
            }
            drop(clients.pop());
            // The place is free as soon as the gateway has noticed that the connection is gone.
            std::thread::sleep(Duration::from_millis(300));
            Client::connect(address, "next");
        },
    );
}

#[test]
fn a_stopping_gateway_disconnects_its_clients() {
    for shards in [1, 3] {
        let gateway = Gateway::start(&goldcrest::Config { shards, ..local() }).unwrap();
        let address = gateway.addresses()[0];
        let mut clients: Vec<_> = (0..6).map(|n| Client::connect(address, &format!("client {n}"))).collect();
        let _silent = Client::open(address);
        let stopping = std::thread::spawn(move || runtime().block_on(gateway.shut_down()));
        for client in &mut clients {
            client.expect(Packet::Disconnect(Disconnect::new(ReasonCode::ServerShuttingDown)));
            client.expect_end();
        }
        drop(clients);
        stopping.join().unwrap();
        assert!(std::net::TcpStream::connect(address).is_err());
        // The port is free again at once.
        drop(Gateway::start(&goldcrest::Config { listeners: vec![Listener::new(address)], ..local() }).unwrap());
    }
}

#[test]
fn the_error_of_a_gateway_that_cannot_listen_names_address_and_cause() {
    let gateway = Gateway::start(&local()).unwrap();
    let taken = gateway.addresses()[0];
    let error = Gateway::start(&goldcrest::Config { listeners: vec![Listener::new(taken)], ..local() }).unwrap_err();
    assert!(matches!(&error, StartError::Listen(address, _) if *address == ListenerAddress::from(taken)));
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: Address already in use")), "{error}");

    let open = Listener::new("0.0.0.0:0".parse().unwrap());
    let error = Gateway::start(&goldcrest::Config { listeners: vec![open.clone()], ..local() }).unwrap_err();
    assert!(matches!(error, StartError::OpenToAll(_)), "{error}");
    let meant = Listener { allow_anonymous: Some(true), ..open };
    Gateway::start(&goldcrest::Config { listeners: vec![meant], ..local() }).unwrap();
}

/// The first gateway has no listener that clients could use, and the second gateway would refuse all clients. The other
/// gateways have a limit of 0, so they have no room for any client.
#[test]
fn a_gateway_that_no_client_could_use_does_not_start() {
    let error = Gateway::start(&goldcrest::Config { listeners: Vec::new(), ..local() }).unwrap_err();
    assert!(error.to_string().starts_with("there is no listener, so nobody could connect"), "{error}");
    let mut asking = local();
    asking.broker.authentication = goldcrest_core::Authentication::Ask;
    let error = Gateway::start(&asking).unwrap_err();
    assert!(error.to_string().contains("authentication = Ask"), "{error}");
    type TakeAway = fn(&mut goldcrest::Config);
    let without: [(&str, TakeAway); 5] = [
        ("capacity.connections", |config| config.capacity.connections = Some(0)),
        ("capacity.sessions", |config| config.capacity.sessions = Some(0)),
        ("unfinished_connections", |config| config.unfinished_connections = 0),
        ("broker.connect_timeout_ms", |config| config.broker.connect_timeout_ms = 0),
        ("broker.limits.packet_bytes", |config| config.broker.limits.packet_bytes = 0),
    ];
    for (field, take_away) in without {
        let mut config = local();
        take_away(&mut config);
        let error = Gateway::start(&config).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{field} = 0: no client would ever get in")), "{error}");
    }
}

#[test]
fn both_loopback_addresses_get_the_same_port() {
    let listeners = ["127.0.0.1:0", "[::1]:0"].map(|address| Listener::new(address.parse().unwrap()));
    let gateway = Gateway::start(&goldcrest::Config { listeners: listeners.to_vec(), ..local() }).unwrap();
    let [v4, v6] = gateway.addresses() else { panic!("{:?}", gateway.addresses()) };
    assert_eq!(v4.port(), v6.port());
    Client::connect(*v4, "");
    Client::connect(*v6, "");
}

#[test]
fn all_listeners_lead_to_the_same_broker() {
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listeners = vec![Listener::new(any), Listener::new("[::1]:0".parse().unwrap()), Listener::new(any)];
    let gateway = Gateway::start(&goldcrest::Config { listeners, shards: 2, ..local() }).unwrap();
    let mut subscribers: Vec<_> = gateway.addresses().iter().map(|address| Client::connect(*address, "")).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("a", QoS::AtMostOnce);
    }
    let mut publisher = Client::connect(gateway.addresses()[1], "publisher");
    publisher.send(Packet::Publish(message("a", b"hi", QoS::AtMostOnce)));
    for subscriber in &mut subscribers {
        subscriber.receive(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
    }
    let mut rest = Vec::new();
    drop(publisher.stream.shutdown(Shutdown::Write));
    publisher.stream.read_to_end(&mut rest).unwrap();
}
