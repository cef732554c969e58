//! An honest pair beside clients whose packets cost the broker far more than their bytes.

mod support;

use goldcrest::Config;
use goldcrest_core::codec::{
    Ack, Filters, Packet, PacketId, Properties, QoS, ReasonCode, Subscribe, SubscriptionOptions, Version,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::{Client, message, with_gateways};

/// Messages of the honest pair.
const MESSAGES: usize = 100;

/// What the slowest but one of them may take. In a release build on a machine that does nothing else it is 20 ms.
const BOUND: Duration = Duration::from_millis(700);

/// In which the load has begun to bite.
const BEFORE: usize = 5;

/// The times that messages of QoS 1 take from PUBLISH to PUBACK at both ends, in order of length.
fn honest_pair(address: SocketAddr) -> Vec<Duration> {
    let mut subscriber = Client::connect(address, "honest subscriber");
    subscriber.subscribe("honest", QoS::AtLeastOnce);
    let mut publisher = Client::connect(address, "honest publisher");
    let mut times = Vec::new();
    for _ in 0..BEFORE + MESSAGES {
        let begun = Instant::now();
        publisher.send(Packet::Publish(message("honest", b"m", QoS::AtLeastOnce)));
        let packet_id = subscriber.receive(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id.unwrap(),
            other => panic!("PUBLISH was expected, not {other:?}"),
        });
        subscriber.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::Success)));
        publisher.expect(Packet::PubAck(Ack::new(PacketId::MIN, ReasonCode::Success)));
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    times.drain(..BEFORE);
    times.sort_unstable();
    times
}

fn expect_fair(address: SocketAddr) {
    let times = honest_pair(address);
    assert!(times[MESSAGES - 2] < BOUND, "{:?}", &times[MESSAGES - 5..]);
}

/// Sends `bytes` over and over, and reads whatever comes, until the connection ends.
fn flood(mut client: Client, bytes: Vec<u8>) -> impl FnOnce() {
    let mut reading = client.stream.try_clone().unwrap();
    let stream = client.stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || while reading.read(&mut [0; 65_536]).is_ok_and(|read| read > 0) {});
    let writer = std::thread::spawn(move || while client.stream.write_all(&bytes).is_ok() {});
    move || {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        writer.join().unwrap();
        reader.join().unwrap();
    }
}

/// All filters of so many levels, each `+` or `a`, with `/b` behind.
fn subscribe_crossed(client: &mut Client, levels: u32) {
    let level = |filter: u32, at: u32| if filter >> at & 1 == 0 { "+" } else { "a" };
    let filter = |filter| (0..levels).map(|at| level(filter, at)).collect::<Vec<_>>().join("/") + "/b";
    let all: Vec<String> = (0..1 << levels).map(filter).collect();
    for filters in all.chunks(1_000) {
        let options = SubscriptionOptions::with_qos(QoS::AtMostOnce);
        let filters: Vec<_> = filters.iter().map(|filter| (&**filter, options)).collect();
        let (packet_id, properties) = (PacketId::MIN, Properties::EMPTY);
        client.send(Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(&filters) }));
        client.receive(|packet| match packet {
            Packet::SubAck(ack) => {
                assert!(ack.codes.into_iter().all(|code| code == ReasonCode::granted(QoS::AtMostOnce)))
            }
            other => panic!("SUBACK was expected, not {other:?}"),
        });
    }
}

/// Messages that each come by thousands of levels of the tree, from several clients: all that one read had brought were routed in one
/// turn, which took seconds.
#[test]
fn an_honest_pair_is_served_beside_messages_that_are_dear_to_match() {
    let change = |config: &mut Config| config.broker.limits.filter_cost = u32::MAX;
    with_gateways(change, |address| {
        let mut subscriber = Client::connect(address, "attacker");
        subscribe_crossed(&mut subscriber, 12);
        let topic = ["a"; 12].join("/");
        let mut bytes = Vec::new();
        Packet::Publish(message(&topic, b"", QoS::AtMostOnce)).encode(Version::V5, &mut bytes);
        let attackers = (0..4).map(|number| Client::connect(address, &format!("attacker {number}")));
        let floods: Vec<_> = attackers.map(|attacker| flood(attacker, bytes.repeat(1_000))).collect();
        expect_fair(address);
        floods.into_iter().for_each(|end| end());
    });
}
