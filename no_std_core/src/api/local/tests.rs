use super::*;
use crate::{AllowAll, Ask, Authentication, Config, Limits, TopicName, resources};
use std::string::{String, ToString};
use std::vec::Vec;

type Small =
    resources! { connections: 3, sessions: 3, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 64 };
const NOW: Instant = Instant::from_millis(0);

fn publish(broker: &mut Broker<'_>, topic: &str, payload: &[u8], qos: QoS, retain: bool) {
    let topic = TopicName::new(topic).unwrap();
    broker.publish(NOW, LocalPublish { topic, payload, qos, retain, expiry_secs: None }).unwrap();
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

/// Polls all messages that have come.
fn poll_all(local: &mut LocalClient<'_>, broker: &mut Broker<'_>) -> Vec<(String, Vec<u8>, QoS)> {
    let mut all = Vec::new();
    while let Some(event) = local.poll(broker, NOW) {
        let LocalEvent::Message(publish) = event else { panic!("{event:?}") };
        all.push((publish.topic.to_string(), publish.payload.to_vec(), publish.qos));
    }
    all
}

/// The answer to the request with this Packet Identifier, which must come next.
#[track_caller]
fn answer_to(local: &mut LocalClient<'_>, broker: &mut Broker<'_>, asked: PacketId) -> ReasonCode {
    match local.poll(broker, NOW) {
        Some(LocalEvent::Answer { packet_id, code }) if packet_id == asked => code,
        other => panic!("{other:?}"),
    }
}

/// Subscribes, and expects the answer at once.
#[track_caller]
fn subscribe(local: &mut LocalClient<'_>, broker: &mut Broker<'_>, text: &str, qos: QoS) {
    let asked = local.subscribe(broker, NOW, filter(text), qos).unwrap();
    assert_eq!(answer_to(local, broker, asked), ReasonCode::granted(qos));
    assert!(!local.is_waiting());
}

#[test]
fn a_local_client_gets_messages_of_each_qos_in_order() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    local.connect(&mut broker, NOW).unwrap();
    subscribe(&mut local, &mut broker, "a/+", QoS::ExactlyOnce);
    // More messages than may be in flight or fit into the buffer.
    for round in 0..5_u8 {
        for (number, qos) in
            [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().cycle().take(12).enumerate()
        {
            publish(&mut broker, "a/b", &[round, number as u8], qos, false);
        }
        let payloads: Vec<_> = poll_all(&mut local, &mut broker).into_iter().map(|(_, payload, _)| payload).collect();
        let expected: Vec<_> = (0..12_u8).map(|number| std::vec![round, number]).collect();
        assert_eq!(payloads, expected);
        let counters = broker.counters();
        assert_eq!((counters.messages, counters.deliveries), (0, 0), "all are acknowledged");
        assert_eq!(counters.dropped.total(), 0);
    }
}

#[test]
fn a_message_to_a_local_client_is_in_flight_until_the_next_poll() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    local.connect(&mut broker, NOW).unwrap();
    subscribe(&mut local, &mut broker, "a", QoS::AtLeastOnce);
    publish(&mut broker, "a", b"1", QoS::AtLeastOnce, false);
    let Some(LocalEvent::Message(message)) = local.poll(&mut broker, NOW) else { panic!("no message") };
    assert_eq!(message.payload, b"1");
    assert_eq!(broker.counters().deliveries, 1);
    assert!(local.poll(&mut broker, NOW).is_none());
    assert_eq!(broker.counters().deliveries, 0);
}

#[test]
fn a_local_client_gets_retained_messages_and_none_after_unsubscribing() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    publish(&mut broker, "kept", b"value", QoS::AtLeastOnce, true);
    local.connect(&mut broker, NOW).unwrap();
    subscribe(&mut local, &mut broker, "kept", QoS::AtMostOnce);
    assert_eq!(broker.poll_ready(), local.id());
    assert_eq!(poll_all(&mut local, &mut broker), [("kept".to_string(), b"value".to_vec(), QoS::AtMostOnce)]);
    let asked = local.unsubscribe(&mut broker, NOW, filter("kept")).unwrap();
    assert_eq!(answer_to(&mut local, &mut broker, asked), ReasonCode::Success);
    let asked = local.unsubscribe(&mut broker, NOW, filter("kept")).unwrap();
    assert_eq!(answer_to(&mut local, &mut broker, asked), ReasonCode::NoSubscriptionExisted);
    publish(&mut broker, "kept", b"other", QoS::AtLeastOnce, true);
    assert!(local.poll(&mut broker, NOW).is_none());
}

#[test]
fn a_message_larger_than_the_local_clients_buffer_is_dropped_and_counted() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    local.connect(&mut broker, NOW).unwrap();
    subscribe(&mut local, &mut broker, "a", QoS::AtLeastOnce);
    // Around the payload: 2 bytes of fixed header, 3 of topic, 2 of Packet Identifier, 1 of Properties.
    publish(&mut broker, "a", &[1; 64 - 8 + 1], QoS::AtLeastOnce, false);
    publish(&mut broker, "a", &[2; 64 - 8], QoS::AtLeastOnce, false);
    assert_eq!(poll_all(&mut local, &mut broker), [("a".to_string(), std::vec![2; 56], QoS::AtLeastOnce)]);
    assert_eq!(broker.counters().dropped.by(crate::DropReason::TooLarge), 1);
}

#[test]
fn a_local_client_is_told_why_it_is_refused() {
    type Memory =
        resources! { connections: 1, sessions: 1, subscriptions: 8, levels: 2, messages: 8, deliveries: 8, blocks: 8 };
    let mut resources = Memory::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let mut buffers = [[0; 64]; 4];
    let [one, one_out, two, two_out] = &mut buffers;
    let mut tiny = [0; 8];
    assert_eq!(LocalClient::new("tiny", two, &mut tiny).connect(&mut broker, NOW), Err(ReasonCode::PacketTooLarge));
    let mut first = LocalClient::new("first", one, one_out);
    let unconnected = first.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce);
    assert_eq!(unconnected, Err(ReasonCode::ServerUnavailable));
    first.connect(&mut broker, NOW).unwrap();
    assert_eq!(LocalClient::new("second", two, two_out).connect(&mut broker, NOW), Err(ReasonCode::QuotaExceeded));
    let deep = first.subscribe(&mut broker, NOW, filter("a/b/c/d"), QoS::AtMostOnce).unwrap();
    assert_eq!(answer_to(&mut first, &mut broker, deep), ReasonCode::QuotaExceeded);
    let long = [b'a'; 64];
    let long = filter(core::str::from_utf8(&long).unwrap());
    assert_eq!(first.subscribe(&mut broker, NOW, long, QoS::AtMostOnce), Err(ReasonCode::PacketTooLarge));
    assert!(!first.is_waiting());
    first.disconnect(&mut broker, NOW);
    assert!(!first.is_connected());
    // The slot is free in the next turn.
    assert_eq!(broker.poll_ready(), None);
    let counters = broker.counters();
    assert_eq!((counters.connections, counters.sessions, counters.bytes), (0, 0, 0));
}

#[test]
fn a_local_client_is_told_that_another_client_has_taken_over() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let mut buffers = [[0; 64]; 4];
    let [one, one_out, two, two_out] = &mut buffers;
    let mut first = LocalClient::new("same", one, one_out);
    first.connect(&mut broker, NOW).unwrap();
    let mut second = LocalClient::new("same", two, two_out);
    second.connect(&mut broker, NOW).unwrap();
    assert_eq!(first.poll(&mut broker, NOW), Some(LocalEvent::Closed(ReasonCode::SessionTakenOver)));
    assert!(first.poll(&mut broker, NOW).is_none());
    assert!(!first.is_connected() && second.is_connected());
    first.connect(&mut broker, NOW).unwrap();
    subscribe(&mut first, &mut broker, "a", QoS::AtMostOnce);
    publish(&mut broker, "a", b"x", QoS::AtMostOnce, false);
    assert_eq!(poll_all(&mut first, &mut broker).len(), 1);
}

#[test]
fn a_local_client_that_polls_keeps_to_the_server_keep_alive() {
    let mut resources = Small::new();
    let config = Config { keep_alive_max: 10, ..Config::firmware(1) };
    let mut broker = Broker::new(resources.memory(), config, &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    local.connect(&mut broker, NOW).unwrap();
    for second in 1..100 {
        let now = Instant::from_millis(second * 1000);
        broker.handle_timeout(now);
        assert!(local.poll(&mut broker, now).is_none());
        assert!(local.is_connected(), "closed after {second} s");
    }
    let late = Instant::from_millis(200_000);
    broker.handle_timeout(late);
    assert_eq!(local.poll(&mut broker, late), Some(LocalEvent::Closed(ReasonCode::KeepAliveTimeout)));
    assert!(!local.is_connected());
}

fn message<'a>(payload: &'a [u8], qos: QoS) -> LocalPublish<'a> {
    LocalPublish { topic: TopicName::new("a").unwrap(), payload, qos, retain: false, expiry_secs: None }
}

#[test]
fn a_local_client_gets_its_own_messages_of_each_qos_and_their_answers() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    assert_eq!(local.publish(&mut broker, NOW, message(b"x", QoS::AtMostOnce)), Err(ReasonCode::ServerUnavailable));
    local.connect(&mut broker, NOW).unwrap();
    subscribe(&mut local, &mut broker, "a", QoS::ExactlyOnce);
    let all = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for (number, qos) in all.into_iter().cycle().take(300).enumerate() {
        let sent = local.publish(&mut broker, NOW, message(&[number as u8], qos)).unwrap();
        assert_eq!(sent.is_some(), qos > QoS::AtMostOnce);
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        while let Some(event) = local.poll(&mut broker, NOW) {
            match event {
                LocalEvent::Message(publish) => messages.push((publish.payload.to_vec(), publish.qos)),
                LocalEvent::Answer { packet_id, code } => answers.push((packet_id, code)),
                LocalEvent::Closed(code) => panic!("{code:?}"),
            }
        }
        assert_eq!(messages, [(std::vec![number as u8], qos)]);
        assert_eq!(answers, sent.map(|sent| (sent, ReasonCode::Success)).into_iter().collect::<Vec<_>>());
        assert!(!local.is_waiting());
    }
    assert_eq!((broker.counters().messages, broker.counters().dropped.total()), (0, 0));
}

/// The broker may owe the client few replies, and the client requests as much as it can before it reads anything: they must not
/// wait for each other for ever.
#[test]
fn a_local_client_never_stops_with_work_left() {
    for owed_replies in 2..=9 {
        for (inflight, buffer) in [(1, 64), (3, 64), (20, 64), (20, 1000)] {
            let limits = Limits::FIRMWARE.with(|limits| {
                limits.owed_replies = owed_replies;
                limits.inflight = inflight;
                limits.queued_messages = 60;
                limits.receive_maximum = 20;
            });
            let config = Config { limits, ..Config::firmware(1) };
            type Memory = resources! { connections: 3, sessions: 3, subscriptions: 8, levels: 100, messages: 100, deliveries: 100, blocks: 64 };
            let mut resources = Memory::new();
            let mut broker = Broker::new(resources.memory(), config, &AllowAll);
            let (mut incoming, mut outgoing) = ([0; 1000], [0; 200]);
            let mut local = LocalClient::new("local", &mut incoming[..buffer], &mut outgoing);
            local.connect(&mut broker, NOW).unwrap();
            local.subscribe(&mut broker, NOW, filter("a"), QoS::ExactlyOnce).unwrap();
            let (mut sent, mut got, mut answered) = (0_u8, 0, 0);
            while let Some(LocalEvent::Answer { .. }) = local.poll(&mut broker, NOW) {
                answered += 1;
            }
            while sent < 40 {
                publish(&mut broker, "a", &[sent], QoS::ExactlyOnce, false);
                (sent, answered) = (sent + 1, answered + 1);
            }
            while got < 200 || answered < 201 {
                let mut has_done = false;
                while sent < 200
                    && let Ok(_) = local.publish(&mut broker, NOW, message(&[sent], QoS::ExactlyOnce))
                {
                    (sent, has_done) = (sent + 1, true);
                }
                while let Some(event) = local.poll(&mut broker, NOW) {
                    has_done = true;
                    match event {
                        LocalEvent::Message(publish) => {
                            assert_eq!(publish.payload, [got]);
                            got += 1;
                        }
                        LocalEvent::Answer { code, .. } => {
                            assert!(!code.is_error(), "{code:?}");
                            answered += 1;
                        }
                        LocalEvent::Closed(code) => panic!("{code:?}"),
                    }
                }
                assert!(
                    has_done,
                    "{owed_replies} {inflight} {buffer}: stuck after {sent} sent, {got} got, {answered} answered"
                );
            }
            assert!(!local.is_waiting());
        }
    }
}

#[test]
fn requests_of_a_local_client_wait_in_its_buffer_up_to_the_limits() {
    let mut resources = Small::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 2000]);
    let mut local = LocalClient::new("local", &mut incoming, &mut outgoing);
    local.connect(&mut broker, NOW).unwrap();
    let mut subscribe = |broker: &mut Broker<'_>| local.subscribe(broker, NOW, filter("a"), QoS::AtMostOnce);
    for _ in 0..LocalClient::MAX_REQUESTS {
        subscribe(&mut broker).unwrap();
    }
    assert_eq!(subscribe(&mut broker), Err(ReasonCode::ServerBusy));
    let mut answers = 0;
    while let Some(event) = local.poll(&mut broker, NOW) {
        assert!(matches!(event, LocalEvent::Answer { code: ReasonCode::Success, .. }), "{event:?}");
        answers += 1;
    }
    assert_eq!(answers, LocalClient::MAX_REQUESTS);
    for _ in 0..4 {
        local.publish(&mut broker, NOW, message(&[0; 300], QoS::AtMostOnce)).unwrap();
    }
    assert!(!local.is_waiting());
}

#[test]
fn a_local_client_needs_no_verdict_and_has_the_permissions_of_its_principal() {
    struct OnlySeven;
    impl crate::Authorize for OnlySeven {
        fn publish(&self, _: &crate::Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
            false
        }
        fn subscribe(&self, who: &crate::Subject<'_>, _: TopicFilter<'_>, _: QoS) -> crate::Subscribable {
            crate::Subscribable::wholly_if(who.principal() == Principal(7))
        }
    }
    let mut resources = Small::new();
    let config = Config { authentication: Authentication::Ask, ..Config::firmware(1) };
    let mut broker = Broker::new(resources.memory(), config, &OnlySeven);
    let mut buffers = [[0; 64]; 6];
    let [one, one_out, two, two_out, three, three_out] = &mut buffers;
    let mut seven = LocalClient::new("seven", one, one_out).with_principal(Principal(7));
    seven.connect(&mut broker, NOW).unwrap();
    subscribe(&mut seven, &mut broker, "a", QoS::AtMostOnce);
    let mut anonymous = LocalClient::new("anonymous", two, two_out).with_principal(Principal::ANONYMOUS);
    anonymous.connect(&mut broker, NOW).unwrap();
    let asked = anonymous.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce).unwrap();
    assert_eq!(answer_to(&mut anonymous, &mut broker, asked), ReasonCode::NotAuthorized);
    let mut nobody = LocalClient::new("nobody", three, three_out);
    anonymous.disconnect(&mut broker, NOW);
    assert_eq!(nobody.connect(&mut broker, NOW), Err(ReasonCode::NotAuthorized));
    assert!(!nobody.is_connected() && nobody.poll(&mut broker, NOW).is_none());
    // The broker asks the embedder about all other clients.
    let id = broker.handle_connected(NOW).unwrap();
    let received = broker.handle_bytes(NOW, id, b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c");
    assert!(matches!(received.next, Next::Ask(Ask::Connect(_))));
}
