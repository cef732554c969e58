//! Message ordering (section 4.6).

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;
use goldcrest_tests::peer::Peer;

/// Receives messages and completes their handshakes, until nothing more comes. Returns the QoS and the number in the
/// payload of each message.
pub(super) fn take_all(s: &mut Peer, expected: usize) -> Vec<(u8, u32)> {
    let mut got = Vec::new();
    while got.len() < expected {
        let packet = s.expect();
        match packet.packet() {
            Packet::Publish(publish) => {
                let number = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
                got.push((publish.qos.bits(), number));
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => s.send(puback(packet.id())),
                    QoS::ExactlyOnce => s.send(pubrec(packet.id())),
                }
            }
            Packet::PubRel(_) => s.send(pubcomp(packet.id())),
            other => s.fail(&format!("not {other:?}")),
        }
    }
    while let [packet, ..] = &s.drain()[..] {
        assert_eq!(packet.packet().packet_type(), PacketType::PubRel);
        s.send(pubcomp(packet.id()));
    }
    got
}

fn assert_ordered(got: &[(u8, u32)], numbers: impl Iterator<Item = u32> + Clone) {
    for level in 0..3 {
        let of_level: Vec<u32> = got.iter().filter(|(qos, _)| *qos == level).map(|(_, number)| *number).collect();
        let expected: Vec<u32> = numbers.clone().filter(|number| number % 3 == u32::from(level)).collect();
        assert_eq!(of_level, expected, "QoS {level}");
    }
}

/// [MQTT-4.6.0-5] [MQTT-4.6.0-6]
/// v3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
#[conformance]
fn messages_of_one_qos_and_topic_keep_their_order(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    let count = bed.queue(300);
    for number in 1..=count {
        p.publish("a", number.to_string(), (number % 3) as u8);
    }
    assert_ordered(&take_all(&mut s, count as usize), 1..=count);
}

/// First come the messages from the queue of the absent client, then those published after its return. The client
/// accepts few messages at a time.
/// [MQTT-4.6.0-5] [MQTT-4.6.0-6]
/// v3.1.1 [MQTT-4.6.0-5] [MQTT-4.6.0-6]
#[conformance]
fn messages_keep_their_order_through_the_queue_of_an_absent_client(bed: &mut Bed) {
    let few = [Property::ReceiveMaximum(3)];
    let subscriber = if bed.is_v5() { client("s").keep().with(&few) } else { client("s").keep() };
    let mut s = bed.connect(subscriber);
    s.subscribe(1, "a", 2);
    s.cut();
    let mut p = bed.connect("p");
    let sent: Vec<u32> = (1..=bed.queue(100)).filter(|number| number % 3 > 0).collect();
    let (absent, present) = sent.split_at(sent.len() / 2);
    for number in absent {
        p.publish("a", number.to_string(), (number % 3) as u8);
    }
    let mut s = bed.connect(subscriber);
    for number in present {
        p.publish("a", number.to_string(), (number % 3) as u8);
    }
    assert_ordered(&take_all(&mut s, sent.len()), sent.iter().copied());
}

/// However small the pieces in which the server writes, the client receives the same stream of bytes.
/// [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-4.6.0-6]
#[conformance(in_memory = "the test sets the size of the server's writes")]
fn messages_keep_their_order_over_a_small_output_buffer(bed: &mut Bed) {
    let mut s = bed.connect("s");
    s.subscribe(1, "a", 2);
    let mut p = bed.connect("p");
    for size in [1, 2, 3, 4, 5, 6, 7, 1000] {
        bed.world().transmit_size = size;
        for number in 1..=9_u32 {
            p.publish("a", number.to_string(), (number % 3) as u8);
        }
        assert_ordered(&take_all(&mut s, 9), 1..=9);
    }
}

/// Publishers and subscribers are spread over all shards.
/// [MQTT-4.6.0-5]
/// v3.1.1 [MQTT-4.6.0-6]
#[conformance]
fn every_subscriber_gets_each_publishers_messages_in_order(bed: &mut Bed) {
    let mut subscribers: Vec<Peer> = (0..4)
        .map(|number| {
            let mut s = bed.connect(client(&format!("s{number}")));
            s.subscribe(1, "a/+", 1);
            s
        })
        .collect();
    let mut publishers: Vec<Peer> = (0..4).map(|number| bed.connect(client(&format!("p{number}")))).collect();
    let each = bed.queues(120, subscribers.len()) as u16 / 4;
    for count in 1..=each {
        for (number, p) in publishers.iter_mut().enumerate() {
            p.send(publish(&format!("a/{number}"), &count.to_string()).q1(count));
        }
    }
    for s in &mut subscribers {
        let mut last = [0; 4];
        for _ in 0..4 * each {
            let got = s.expect_type(PacketType::Publish);
            let publisher: usize = got.topic()[2..].parse().unwrap();
            let count: u32 = std::str::from_utf8(got.publish().payload).unwrap().parse().unwrap();
            assert_eq!(count, last[publisher] + 1);
            last[publisher] = count;
            s.send(puback(got.id()));
        }
        s.expect_quiet();
    }
}
