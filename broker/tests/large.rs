//! Long payloads between short ones over TCP: they arrive in order and unharmed, whether a subscriber reads at once or late and
//! slowly.

use crate::support::{Client, local, runtime, with_gateways};
use goldcrest::{Config, Gateway};
use goldcrest_core::codec::{Ack, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Version};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const MESSAGES: u16 = 120;

/// The payload of each message: some long, most of them not.
fn payload(number: u16) -> Vec<u8> {
    const SIZES: [usize; 10] = [0, 20, 70_000, 1_000, 28_672, 300_000, 5, 65_535, 28_671, 1 << 20];
    let len = SIZES[usize::from(number) % SIZES.len()];
    (0..len).map(|at| (at / 251 + at + usize::from(number)) as u8).collect()
}

fn publish(number: u16, qos: QoS, payload: &[u8]) -> Packet<'_> {
    let packet_id = (qos > QoS::AtMostOnce).then(|| PacketId::new(number + 1).unwrap());
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id,
        properties: Properties::EMPTY,
        payload,
    })
}

/// Publishes with QoS 1, in writes that end anywhere in a packet, and reads the acknowledgements.
fn publish_all(address: SocketAddr) {
    let mut publisher = Client::connect(address, "publisher");
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        publish(number, QoS::AtLeastOnce, &payload(number)).encode(Version::V5, &mut bytes);
    }
    for (turn, piece) in bytes.chunks(77_777).enumerate() {
        publisher.stream.write_all(piece).unwrap();
        if turn % 64 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for number in 0..MESSAGES {
        publisher.expect(Packet::PubAck(Ack::new(PacketId::new(number + 1).unwrap(), ReasonCode::Success)));
    }
}

#[test]
fn subscribers_that_read_at_once_or_late_get_all_large_messages_in_order() {
    with_gateways(
        |_| {},
        |address| {
            let mut subscribers: Vec<_> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtMostOnce]
                .into_iter()
                .enumerate()
                .map(|(n, qos)| {
                    let mut client = Client::connect(address, &format!("subscriber {n}"));
                    client.subscribe("t", qos);
                    (client, qos)
                })
                .collect();
            let (mut late, _) = subscribers.pop().unwrap();
            let reading: Vec<_> = subscribers
                .into_iter()
                .map(|(mut client, qos)| {
                    std::thread::spawn(move || {
                        for number in 0..MESSAGES {
                            // The Packet Identifiers count from 1, as the publisher's do.
                            client.expect(publish(number, qos, &payload(number)));
                            if qos == QoS::AtLeastOnce {
                                let id = PacketId::new(number + 1).unwrap();
                                client.send(Packet::PubAck(Ack::new(id, ReasonCode::Success)));
                            }
                        }
                    })
                })
                .collect();
            publish_all(address);
            for thread in reading {
                thread.join().unwrap();
            }
            // This subscriber has not read anything so far, and reads in small pieces.
            let mut wanted = Vec::new();
            for number in 0..MESSAGES {
                publish(number, QoS::AtMostOnce, &payload(number)).encode(Version::V5, &mut wanted);
            }
            let mut come = vec![0; wanted.len()];
            let mut at = 0;
            while at < come.len() {
                let end = come.len().min(at + 9_999);
                let read = late.stream.read(&mut come[at..end]).expect("bytes in time");
                assert_ne!(read, 0, "{at} of {}", wanted.len());
                at += read;
            }
            assert!(come == wanted);
        },
    );
}

/// A client that stops reading later gets as many messages as there was memory for, whole and in order, and the message that
/// was being written when it stopped.
#[test]
fn the_queue_of_a_client_that_does_not_read_keeps_to_the_capacity() {
    const SENT: u16 = 400;
    const KEPT: usize = 3 << 20;
    with_gateways(
        |config| config.capacity.bytes = Some(KEPT),
        |address| {
            let mut stalled = Client::connect(address, "stalled");
            stalled.subscribe("t", QoS::AtMostOnce);
            let mut publisher = Client::connect(address, "publisher");
            for number in 0..SENT {
                let payload = [&number.to_be_bytes()[..], &[7; 100_000]].concat();
                publisher.send(publish(0, QoS::AtMostOnce, &payload));
            }
            // The broker has received all messages. Since some of them have been sent, there is room for one more.
            publisher.send(Packet::PingReq);
            publisher.expect(Packet::PingResp);
            let mut last = None;
            let mut come = 0;
            while last != Some(SENT) {
                if last == Some(SENT - 1) || come >= 10 {
                    publisher.send(publish(0, QoS::AtMostOnce, &SENT.to_be_bytes()));
                }
                let number = stalled.receive(|packet| match packet {
                    Packet::Publish(publish) => {
                        let (number, rest) = publish.payload.split_first_chunk().unwrap();
                        assert!(rest.len() == 100_000 && rest.iter().all(|byte| *byte == 7) || rest.is_empty());
                        u16::from_be_bytes(*number)
                    }
                    other => panic!("{other:?}"),
                });
                assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
                last = Some(number);
                come += 1;
            }
            // More messages arrive than the broker's memory keeps, because the sockets hold some too.
            assert!((KEPT / 100_000 / 2..usize::from(SENT)).contains(&come), "{come}");
        },
    );
}

/// A peer announces a long packet and sends only its beginning: no other client waits, and the end of the connection is
/// noticed.
#[test]
fn a_packet_that_never_ends_harms_no_other_client() {
    with_gateways(
        |_| {},
        |address| {
            let mut begun = Vec::new();
            publish(0, QoS::AtMostOnce, &[7; 1 << 20]).encode(Version::V5, &mut begun);
            let stuck: Vec<TcpStream> = (0..20)
                .map(|n| {
                    let mut client = Client::connect(address, &format!("stuck {n}"));
                    client.stream.write_all(&begun[..20_000 * (n + 1)]).unwrap();
                    client.stream
                })
                .collect();
            let mut subscriber = Client::connect(address, "subscriber");
            subscriber.subscribe("t", QoS::AtMostOnce);
            publish_all_to(address, &mut subscriber);
            for mut stream in stuck {
                stream.write_all(&begun[..10]).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let since = Instant::now();
                let end = stream.read(&mut [0; 16]);
                assert!(matches!(&end, Ok(0)) || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
                assert!(since.elapsed() < Duration::from_secs(5));
            }
        },
    );
}

/// A client that is sending a PUBLISH that is too large is told why it is closed, even if it sends the packet to its end first.
#[test]
fn a_client_that_sends_a_too_large_packet_to_its_end_is_told_why_it_is_closed() {
    with_gateways(
        |_| {},
        |address| {
            let mut client = Client::connect(address, "client");
            let mut packet = Vec::new();
            publish(0, QoS::AtMostOnce, &vec![7; 11 << 20]).encode(Version::V5, &mut packet);
            client.stream.write_all(&packet).expect("all of it is taken");
            let code = client.receive(|packet| match packet {
                Packet::Disconnect(disconnect) => disconnect.code,
                other => panic!("{other:?}"),
            });
            assert_eq!(code, ReasonCode::PacketTooLarge);
        },
    );
}

/// One message may need more room in the store than the share of its shard: the message waits until the room is granted.
#[test]
fn a_message_larger_than_a_shards_share_of_the_store_is_accepted() {
    let folder = std::env::temp_dir().join(format!("goldcrest-large-{}", std::process::id()));
    let config = Config { shards: 8, data_dir: Some(folder.clone()), ..local() };
    let gateway = Gateway::start(&config).unwrap();
    let mut publisher = Client::connect(gateway.addresses()[0], "publisher");
    for number in 0..4 {
        let Packet::Publish(message) = publish(number, QoS::AtLeastOnce, &[7; 700_000]) else { unreachable!() };
        publisher.send(Packet::Publish(Publish { retain: true, ..message }));
        let id = PacketId::new(number + 1).unwrap();
        publisher.expect(Packet::PubAck(Ack::new(id, ReasonCode::Success)));
    }
    runtime().block_on(gateway.shut_down());
    std::fs::remove_dir_all(folder).unwrap();
}

fn publish_all_to(address: SocketAddr, subscriber: &mut Client) {
    std::thread::scope(|scope| {
        scope.spawn(|| publish_all(address));
        for number in 0..MESSAGES {
            subscriber.expect(publish(number, QoS::AtMostOnce, &payload(number)));
        }
    });
}
