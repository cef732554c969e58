use std::vec::Vec;

use super::super::testing::*;
use super::*;
use crate::{AllowAll, Authentication, Config, LocalPublish, TopicName};

/// Runs `test` with a broker and with a link of either kind over a wire.
fn with_link(is_line: bool, config: Config<'static>, test: impl FnOnce(&mut Broker<'_>, Link<'_, Wire>, Peer)) {
    let mut resources = Memory::new();
    let mut broker = Broker::new(resources.memory(), config, &AllowAll);
    let (wire, peer) = wire();
    let (mut input, mut output) = ([0; 1024], [0; 7]);
    let link =
        if is_line { Link::line(wire, &mut input, &mut output) } else { Link::socket(wire, &mut input, &mut output) };
    test(&mut broker, link, peer);
    // The last slot becomes free when `poll_ready` is called.
    while broker.poll_ready().is_some() {}
    assert_eq!(broker.counters().connections, 0);
}

fn drive(broker: &mut Broker<'_>, link: &mut Link<'_, Wire>) {
    while turn(NOW, broker, core::slice::from_mut(link)) {}
}

#[test]
fn a_client_of_a_link_is_served_whatever_the_pieces_of_its_bytes() {
    for is_line in [false, true] {
        for (read, write) in [(1, 1), (3, 2), (1000, 1000)] {
            with_link(is_line, Config::firmware(1), |broker, mut link, peer| {
                peer.cut_into(read, write);
                peer.send(&[CONNECT, SUBSCRIBE, PUBLISH].concat());
                drive(broker, &mut link);
                assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat());
                peer.send(DISCONNECT);
                drive(broker, &mut link);
                assert_eq!((link.has_ended(), link.id()), (!is_line, None));
            });
        }
    }
}

#[test]
fn a_peer_of_a_link_that_stops_reading_gets_the_rest_later() {
    with_link(false, Config::firmware(1), |broker, mut link, peer| {
        peer.take_only(5);
        peer.send(&[CONNECT, SUBSCRIBE, PUBLISH].concat());
        drive(broker, &mut link);
        assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat()[..5]);
        peer.take_only(usize::MAX);
        drive(broker, &mut link);
        assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat()[5..]);
        peer.send(DISCONNECT);
        drive(broker, &mut link);
    });
}

#[test]
fn an_error_of_the_transport_ends_the_connection_and_is_returned_once() {
    for is_line in [false, true] {
        for fails_reading in [true, false] {
            with_link(is_line, Config::firmware(1), |broker, link, peer| {
                let (wire, watcher) = wire();
                let (mut input, mut output) = ([0; 1024], [0; 64]);
                let mut links = [link, Link::socket(wire, &mut input, &mut output)];
                peer.send(CONNECT_WITH_WILL);
                watcher.send(&[CONNECT_OTHER, SUBSCRIBE_WILL].concat());
                while turn(NOW, broker, &mut links) {}
                assert_eq!((peer.received(), watcher.received()), (CONNACK.into(), [CONNACK, SUBACK].concat()));
                peer.fail(fails_reading);
                if !fails_reading {
                    peer.send(PING);
                }
                while turn(NOW, broker, &mut links) {}
                assert_eq!((links[0].take_error(), links[0].take_error()), (Some(Broken), None));
                assert_eq!((links[0].has_ended(), links[0].id()), (!is_line, None));
                assert_eq!(watcher.received(), WILL, "the Will is published");
                watcher.send(DISCONNECT);
                while turn(NOW, broker, &mut links) {}
            });
        }
    }
}

#[test]
fn the_end_of_the_stream_ends_a_socket_after_its_last_packets() {
    with_link(false, Config::firmware(1), |broker, mut link, peer| {
        peer.send(&[CONNECT, PUBLISH].concat());
        peer.close();
        drive(broker, &mut link);
        assert!(link.has_ended() && link.take_error().is_none());
        assert_eq!(broker.counters().publish_received, [1, 0, 0]);
    });
}

/// A bug of the past: not even CONNACK was sent, because the end of the stream ended the connection at once.
#[test]
fn a_client_that_closes_its_side_still_gets_its_answers() {
    with_link(false, Config::firmware(1), |broker, mut link, peer| {
        peer.send(&[CONNECT, SUBSCRIBE, PING].concat());
        peer.close();
        drive(broker, &mut link);
        assert_eq!(peer.received(), [CONNACK, SUBACK, b"\xd0\0"].concat());
        assert!(link.has_ended());
    });
}

#[test]
fn a_second_connect_on_a_line_begins_another_connection() {
    with_link(true, Config::firmware(1), |broker, mut link, peer| {
        peer.send(&[CONNECT, SUBSCRIBE].concat());
        drive(broker, &mut link);
        let first = link.id();
        peer.send(CONNECT);
        drive(broker, &mut link);
        assert_ne!((link.id(), link.id().is_some()), (first, false));
        assert_eq!(peer.received(), [CONNACK, SUBACK, CONNACK].concat());
        peer.send(DISCONNECT);
        drive(broker, &mut link);
    });
}

#[test]
fn a_packet_larger_than_the_links_buffer_ends_the_connection() {
    for is_line in [false, true] {
        let mut config = Config::firmware(1);
        config.limits.packet_bytes = 4096;
        with_link(is_line, config, |broker, mut link, peer| {
            let mut large: Vec<u8> = std::vec![0x30, 0x80, 0x10, 0, 1, b't'];
            large.resize(2048 + 3, b'x');
            peer.send(CONNECT);
            drive(broker, &mut link);
            assert!(link.id().is_some());
            peer.send(&large);
            // The rest of the packet is noise on a line, and is discarded or refused.
            drive(broker, &mut link);
            assert_eq!(link.has_ended(), !is_line);
            peer.fail(true);
            drive(broker, &mut link);
        });
    }
}

#[test]
fn a_full_broker_ends_a_socket_and_makes_a_line_wait() {
    for is_line in [false, true] {
        let mut resources = Memory::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let others: Vec<_> = core::iter::from_fn(|| broker.handle_connected(NOW).ok()).collect();
        let (wire, peer) = wire();
        let (mut input, mut output) = ([0; 1024], [0; 64]);
        let mut link = if is_line {
            Link::line(wire, &mut input, &mut output)
        } else {
            Link::socket(wire, &mut input, &mut output)
        };
        peer.send(CONNECT);
        drive(&mut broker, &mut link);
        assert_eq!((link.has_ended(), link.id()), (!is_line, None));
        others.into_iter().for_each(|id| broker.handle_closed(NOW, id));
        drive(&mut broker, &mut link);
        drive(&mut broker, &mut link);
        assert_eq!(peer.received(), if is_line { CONNACK } else { b"" });
    }
}

#[test]
fn a_link_asks_whether_a_client_may_connect() {
    let config = Config { authentication: Authentication::Ask, ..Config::firmware(1) };
    for accept in [true, false] {
        with_link(false, config.clone(), |broker, mut link, peer| {
            peer.send(CONNECT);
            let mut decide = |ask: &Ask<'_>| {
                assert!(matches!(ask, Ask::Connect(connect) if connect.client_id == "c"));
                let accepted = Verdict::accept(crate::Principal(7));
                Some(if accept { accepted } else { Verdict::Refuse(ReasonCode::NotAuthorized) })
            };
            link.receive_asking(NOW, broker, &mut decide);
            drive(broker, &mut link);
            assert_eq!(peer.received(), if accept { CONNACK } else { b"\x20\x02\0\x05" });
            peer.send(DISCONNECT);
            drive(broker, &mut link);
            assert!(link.has_ended());
        });
    }
}

#[test]
fn a_message_published_by_the_embedder_reaches_a_client_on_a_link() {
    with_link(false, Config::firmware(1), |broker, mut link, peer| {
        peer.send(&[CONNECT, SUBSCRIBE].concat());
        drive(broker, &mut link);
        peer.received();
        let topic = TopicName::new("t").unwrap();
        let qos = crate::codec::QoS::AtMostOnce;
        let message = LocalPublish { topic, payload: b"hi", qos, retain: false, expiry_secs: None };
        broker.publish(NOW, message).unwrap();
        drive(broker, &mut link);
        assert_eq!(peer.received(), PUBLISH);
        peer.send(DISCONNECT);
        drive(broker, &mut link);
    });
}
