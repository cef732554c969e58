//! Packets that cost a broker more than their bytes suggest. The broker does the work in portions, and the client that causes it waits, not
//! the others.
//!
//! Time does not matter here: the core counts its work ([`Broker::work`]), and the count is the same on each machine.

use std::collections::VecDeque;

use goldcrest_core::codec::*;
use goldcrest_core::{
    AllowAll, Broker, Capacity, Config, ConnectionId, DropReason, Instant, Limits, Memory, Next, Overflow, Shard, Then,
};
use goldcrest_tests::honest::{bytes_of, id, publication};

const NOW: Instant = Instant::from_millis(1);
const SHARE: u64 = Config::WORK_SHARE as u64;
/// The most work that one packet, one timer or one message from another shard may cost: none of these is cut.
const MOST_AT_ONCE: u64 = 2 * SHARE;

fn broker(limits: Limits, shard: Shard) -> Broker<'static> {
    let memory = Memory::owned(&Capacity::GATEWAY, &limits, shard);
    Broker::new(memory, Config { limits, shard, ..Config::gateway(5) }, &AllowAll)
}

/// A broker and its connections, whose bytes come in one piece. The broker is called as in the gateway: a connection with more bytes waits
/// for its next turn behind the others.
struct Turns {
    broker: Broker<'static>,
    waiting: VecDeque<(ConnectionId, Vec<u8>)>,
    /// The most work that one call did.
    most: u64,
    /// How many calls ended although more whole packets were left.
    yielded: usize,
}

impl Turns {
    fn new(limits: Limits) -> Self {
        Self { broker: broker(limits, Shard::ONLY), waiting: VecDeque::new(), most: 0, yielded: 0 }
    }

    /// Connects a client; `expiry` is the Session Expiry Interval in seconds.
    fn connect(&mut self, client_id: &str, expiry: u32) -> ConnectionId {
        let id = self.broker.handle_connected(NOW).unwrap();
        let properties = [Property::SessionExpiryInterval(expiry)];
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(&properties),
            client_id,
            will: None,
            user_name: None,
            password: None,
        };
        self.send(id, &bytes_of(Version::V5, &Packet::Connect(connect)));
        self.run();
        assert!(self.broker.describe(id).unwrap().is_open);
        id
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.waiting.push_back((id, bytes.to_vec()));
    }

    /// Subscribes to all these filters, a thousand in each packet. Returns the codes.
    fn subscribe(&mut self, id: ConnectionId, filters: &[String]) -> Vec<u8> {
        let mut codes = Vec::new();
        for filters in filters.chunks(1_000) {
            self.send(id, &subscribe(filters));
            let got = self.run();
            let [.., (_, got)] = &got[..] else { panic!("no SUBACK") };
            codes.extend_from_slice(&got[got.len() - filters.len()..]);
        }
        codes
    }

    /// Makes one call for the connection that has waited longest. Returns false if none waits.
    fn turn(&mut self) -> bool {
        let Some((id, mut bytes)) = self.waiting.pop_front() else { return false };
        let before = self.broker.work();
        let received = self.broker.handle_bytes(NOW, id, &bytes);
        self.most = self.most.max(self.broker.work() - before);
        let consumed = received.consumed;
        let goes_on = match received.next {
            Next::Yield => {
                self.yielded += 1;
                assert!(consumed > 0, "each call gets on");
                true
            }
            Next::Wait => true,
            Next::Read | Next::Close => false,
            Next::Ask(_) => unreachable!("this broker is open to everybody"),
        };
        if goes_on {
            bytes.drain(..consumed);
            self.waiting.push_back((id, bytes));
        }
        true
    }

    /// Transmits to all connections that `poll_ready` names. Returns the bytes for each.
    fn transmit(&mut self) -> Vec<(ConnectionId, Vec<u8>)> {
        let mut got: Vec<(ConnectionId, Vec<u8>)> = Vec::new();
        let mut out = vec![0; 65_536];
        while let Some(id) = self.broker.poll_ready() {
            loop {
                let before = self.broker.work();
                let transmit = self.broker.poll_transmit(NOW, id, &mut out);
                self.most = self.most.max(self.broker.work() - before);
                if transmit.written > 0 {
                    got.push((id, out[..transmit.written].to_vec()));
                }
                match transmit.then {
                    Then::More => {}
                    Then::Idle => break,
                    Then::Close => {
                        let before = self.broker.work();
                        self.broker.handle_closed(NOW, id);
                        self.most = self.most.max(self.broker.work() - before);
                        break;
                    }
                }
            }
        }
        got
    }

    /// Makes calls until no connection waits. Returns the bytes for each connection.
    fn run(&mut self) -> Vec<(ConnectionId, Vec<u8>)> {
        let mut got = Vec::new();
        loop {
            let goes_on = self.turn();
            let more = self.transmit();
            if !goes_on && more.is_empty() {
                return got;
            }
            got.extend(more);
        }
    }
}

fn subscribe(filters: &[String]) -> Vec<u8> {
    let filters: Vec<_> =
        filters.iter().map(|filter| (&**filter, SubscriptionOptions::with_qos(QoS::AtMostOnce))).collect();
    let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: Filters::new(&filters) };
    bytes_of(Version::V5, &Packet::Subscribe(subscribe))
}

fn publish(topic: &str, qos: QoS, number: u16) -> Vec<u8> {
    bytes_of(Version::V5, &publication(topic, b"x", qos, false, number))
}

/// All filters of `levels` levels, each of which is `+` or `a`, followed by `end`.
fn crossed(levels: u32, end: &str) -> Vec<String> {
    let level = |filter: u32, at: u32| if filter >> at & 1 == 0 { "+" } else { "a" };
    let filter = |filter| (0..levels).map(|at| level(filter, at)).collect::<Vec<_>>().join("/") + end;
    (0..1 << levels).map(filter).collect()
}

fn topic(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

/// A bug of the past: one client subscribed to the 65,536 filters of `{+,a}^16/b`. Each message to `a/a/…/a` then visited 131,071 levels
/// of the tree, and 431 such messages, 16 KiB, kept a shard busy for 16 s.
#[test]
fn filters_that_make_each_message_visit_too_much_are_refused() {
    let mut turns = Turns::new(Limits::GATEWAY.with(|limits| limits.subscriptions = 100_000));
    let attacker = turns.connect("attacker", 0);
    let codes = turns.subscribe(attacker, &crossed(16, "/b"));
    let refused = codes.iter().filter(|code| **code == 0x97).count();
    assert!(refused > 60_000, "{refused}");
    // All allowed filters of this shape together do not make a message visit many levels either.
    for levels in 1..=15 {
        turns.subscribe(attacker, &crossed(levels, "/b"));
        turns.subscribe(attacker, &crossed(levels, "/#"));
    }
    let publisher = turns.connect("publisher", 0);
    for levels in 1..=40 {
        let before = turns.broker.work();
        turns.send(publisher, &publish(&topic(levels), QoS::AtMostOnce, 1));
        turns.run();
        let cost = turns.broker.work() - before;
        assert!(cost < MOST_AT_ONCE, "a message with {levels} levels costs {cost}");
    }
}

/// The filters of ordinary users are accepted: many, deep ones, and some `+`.
#[test]
fn filters_of_ordinary_users_are_accepted() {
    let mut turns = Turns::new(Limits::GATEWAY);
    let client = turns.connect("client", 0);
    let deep = |plus: &[usize], levels| {
        let level = |at| if plus.contains(&at) { "+".into() } else { format!("level {at}") };
        (0..levels).map(level).collect::<Vec<_>>().join("/")
    };
    let mut filters = vec![
        deep(&[], 256),
        deep(&[100], 126),
        deep(&[0, 17], 35),
        deep(&[3, 5, 7], 20),
        deep(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 12),
        "+/+/+/+/+/+/+/+/#".into(),
        "$share/group/+/+/+/+".into(),
    ];
    filters.extend((filters.len()..10_000).map(|number| format!("site/{}/+/{number}/#", number % 10)));
    let codes = turns.subscribe(client, &filters);
    assert_eq!(codes, vec![0; 10_000]);
    assert_eq!(turns.subscribe(client, &["one/too/many".into()]), [0x97]);
}

/// A bug of the past: all messages of one read were routed in one call, whatever each of them cost.
#[test]
fn expensive_messages_are_routed_in_portions_between_those_of_others() {
    // A configuration that allows expensive filters.
    let mut turns = Turns::new(Limits::GATEWAY.with(|limits| {
        limits.subscriptions = 100_000;
        limits.filter_cost = u32::MAX;
    }));
    let attacker = turns.connect("attacker", 0);
    assert!(turns.subscribe(attacker, &crossed(13, "/b")).iter().all(|code| *code == 0));
    let publisher = turns.connect("attacker's publisher", 0);
    let (honest, subscriber) = (turns.connect("honest", 0), turns.connect("honest subscriber", 0));
    turns.subscribe(subscriber, &["honest".into()]);
    (turns.most, turns.yielded) = (0, 0);
    turns.send(publisher, &publish(&topic(13), QoS::AtMostOnce, 1).repeat(400));
    let mut delivered = 0;
    let mut beside = 0;
    while turns.waiting.iter().any(|(id, _)| *id == publisher) || delivered == 0 {
        turns.send(honest, &publish("honest", QoS::AtMostOnce, 1));
        for _ in 0..2 {
            turns.turn();
            delivered += turns.transmit().iter().filter(|(id, _)| *id == subscriber).count();
        }
        beside += 1;
        assert_eq!(delivered, beside, "the honest message arrives in the turn after it was sent");
    }
    assert!(turns.yielded > 50, "{}", turns.yielded);
    assert!(turns.most < MOST_AT_ONCE, "{}", turns.most);
}

/// Few bytes may lead to many deliveries, which cost more than the bytes.
#[test]
fn messages_with_many_deliveries_are_routed_in_portions() {
    let mut turns = Turns::new(Limits::GATEWAY);
    for number in 0..1_000 {
        let subscriber = turns.connect(&format!("subscriber {number}"), 0);
        turns.subscribe(subscriber, &["fan".into()]);
    }
    let publisher = turns.connect("publisher", 0);
    (turns.most, turns.yielded) = (0, 0);
    turns.send(publisher, &publish("fan", QoS::AtMostOnce, 1).repeat(300));
    let got = turns.run();
    let messages: usize = got.iter().map(|(_, bytes)| bytes.len() / publish("fan", QoS::AtMostOnce, 1).len()).sum();
    assert_eq!(messages, 300_000);
    assert!(turns.yielded >= 3 && turns.most < MOST_AT_ONCE, "{} {}", turns.yielded, turns.most);
}

/// Each SUBSCRIBE searched the whole tree for retained messages in one call: 1,000 of them for `+/…/+/c`, over 65,536 topics with other
/// ends, stopped a shard for 10 s.
#[test]
fn the_search_for_retained_messages_is_done_in_portions() {
    let mut turns = Turns::new(Limits::GATEWAY.with(|limits| limits.filter_cost = u32::MAX));
    let publisher = turns.connect("publisher", 0);
    for filter in crossed(13, "/b") {
        let topic = filter.replace('+', "x");
        turns.send(publisher, &bytes_of(Version::V5, &publication(&topic, b"x", QoS::AtMostOnce, true, 1)));
    }
    turns.run();
    assert_eq!(turns.broker.counters().retained, 1 << 13);
    let client = turns.connect("client", 0);
    (turns.most, turns.yielded) = (0, 0);
    // The filter matches all topics up to the last level, and no topic's last level. Then one topic is added that matches.
    let begin = ["+"; 13].join("/");
    let filters = [format!("{begin}/c"), format!("{begin}/b")];
    turns.send(client, &subscribe(&filters[..1]).repeat(100));
    turns.send(client, &subscribe(&filters[1..]));
    let got = turns.run();
    let got: Vec<u8> = got.into_iter().flat_map(|(_, bytes)| bytes).collect();
    let (mut subacks, mut messages, mut rest) = (0, 0, &got[..]);
    while let Ok(Some((frame, len))) = split(rest, 1 << 20) {
        subacks += usize::from(frame.packet_type() == PacketType::SubAck);
        messages += usize::from(frame.packet_type() == PacketType::Publish);
        rest = &rest[len..];
    }
    assert_eq!((subacks, messages), (101, 1 << 13));
    assert!(turns.most < SHARE / 3, "{}", turns.most);
}

/// A bug of the past: each SUBSCRIBE began to send the retained messages from the first. A client that subscribed again and again got the
/// first messages repeatedly, and never the last.
#[test]
fn a_client_that_subscribes_again_and_again_gets_all_retained_messages() {
    const TOPICS: usize = 300;
    let mut turns = Turns::new(Limits::GATEWAY);
    let publisher = turns.connect("publisher", 0);
    for number in 0..TOPICS {
        let topic = format!("r/{number:03}");
        turns.send(publisher, &bytes_of(Version::V5, &publication(&topic, b"x", QoS::AtMostOnce, true, 1)));
    }
    turns.run();
    let client = turns.connect("client", 0);
    let length = bytes_of(Version::V5, &publication("r/000", b"x", QoS::AtMostOnce, true, 1)).len();
    let other = turns.connect("other", 0);
    let mut subscribed = 0;
    let mut copies = vec![0; TOPICS];
    let mut read = |turns: &mut Turns, most: usize| {
        let mut out = vec![0; length];
        let mut numbers = Vec::new();
        while numbers.len() < most {
            let transmit = turns.broker.poll_transmit(NOW, client, &mut out);
            if transmit.written == length && out[0] >> 4 == 3 {
                numbers.push(std::str::from_utf8(&out[6..9]).unwrap().parse::<usize>().unwrap());
            }
            if transmit.then == Then::Idle {
                break;
            }
        }
        for number in &numbers {
            copies[*number] += 1;
        }
        (numbers.len(), copies.clone())
    };
    // Ten messages are received between two SUBSCRIBEs, for much longer than one SUBSCRIBE needs for all.
    for _ in 0..100 {
        turns.send(client, &subscribe(&["r/+".into()]));
        assert!(turns.turn());
        subscribed += 1;
        read(&mut turns, 10);
    }
    let (_, before) = read(&mut turns, 0);
    assert!(before.iter().all(|copies| (3..=4).contains(copies)), "each comes as often: {before:?}");
    // The messages of the last SUBSCRIBE are completed, and then no more come.
    let (mut came, mut copies) = (1, before.clone());
    while came > 0 {
        (came, copies) = read(&mut turns, 1_000);
    }
    for (before, after) in before.iter().zip(&copies) {
        assert!((before + 1..=before + 2).contains(after) && *after <= subscribed, "{before} and {after}");
    }
    // Two SUBSCRIBEs with time in between bring all messages twice. UNSUBSCRIBE ends the sending.
    for expected in [1, 2] {
        turns.send(other, &subscribe(&["r/+".into()]).repeat(expected));
        turns.turn();
        let messages: usize = turns.transmit().iter().map(|(_, bytes)| bytes.len() / length).sum();
        assert!((expected * TOPICS..expected * TOPICS + 5).contains(&messages), "{messages}");
    }
}

/// Each shared subscription that ended searched the client's whole queue.
#[test]
fn an_unsubscribe_from_many_groups_searches_the_queue_once() {
    let mut turns = Turns::new(Limits::GATEWAY);
    let client = turns.connect("client", 0);
    let filters: Vec<_> = (0..2_000).map(|number| format!("$share/group/q/{number}")).collect();
    assert_eq!(turns.subscribe(client, &filters), vec![0; 2_000]);
    turns.subscribe(client, &["q/0".into()]);
    let publisher = turns.connect("publisher", 0);
    // The member reads nothing, so its queue grows.
    turns.send(publisher, &publish("q/0", QoS::AtMostOnce, 1).repeat(4_000));
    while turns.turn() {}
    assert_eq!(turns.broker.session("client").unwrap().queued, 8_000);
    turns.most = 0;
    let filters: Vec<_> = filters.iter().map(|filter| &**filter).collect();
    let unsubscribe = Unsubscribe { packet_id: id(1), properties: Properties::EMPTY, filters: Topics::new(&filters) };
    turns.send(client, &bytes_of(Version::V5, &Packet::Unsubscribe(unsubscribe)));
    while turns.turn() {}
    assert_eq!(turns.broker.session("client").unwrap().subscriptions, 1);
    assert!(turns.most < MOST_AT_ONCE, "{}", turns.most);
}

/// A bug of the past: Sessions that expired at the same moment were all ended in one call.
#[test]
fn sessions_that_end_together_end_in_portions() {
    let mut turns = Turns::new(Limits::GATEWAY);
    for number in 0..20 {
        let client = turns.connect(&format!("client {number}"), 60);
        let filters: Vec<_> = (0..5_000).map(|filter| format!("{number}/{filter}")).collect();
        turns.subscribe(client, &filters);
        turns.broker.handle_closed(NOW, client);
    }
    let due = NOW.plus_secs(60);
    let (mut calls, mut most) = (0, 0);
    while turns.broker.poll_timeout().is_some_and(|timeout| timeout <= due) {
        let before = turns.broker.work();
        turns.broker.handle_timeout(due);
        most = most.max(turns.broker.work() - before);
        calls += 1;
    }
    assert_eq!((turns.broker.counters().sessions, turns.broker.counters().subscriptions), (0, 0));
    assert!(calls >= 10 && most < MOST_AT_ONCE, "{calls} calls, at most {most}");
}

/// A forward from another shard costs this broker more work than the sender. A bug of the past: all forwards were handled in one call.
#[test]
fn forwards_from_another_shard_are_handled_in_portions_and_in_order() {
    let shards = [0, 1].map(|index| Shard { index, count: 2 });
    let mut brokers = shards.map(|shard| broker(Limits::GATEWAY.with(|limits| limits.owed_replies = 65_000), shard));
    let mut connect = |home: u16| {
        let client_id = (0..).map(|n| format!("client {n}")).find(|id| Shard::home_of(id.as_bytes(), 2) == home);
        let broker = &mut brokers[usize::from(home)];
        let id = broker.handle_connected(NOW).unwrap();
        let bytes = [b"\x10\x14\0\x04MQTT\x04\x02\0\0\0\x08", client_id.unwrap().as_bytes()].concat();
        broker.handle_bytes(NOW, id, &bytes);
        id
    };
    let (publisher, subscriber) = (connect(0), connect(1));
    let carry = |brokers: &mut [Broker<'static>; 2]| {
        let mut list = VecDeque::new();
        for from in [1, 0, 1] {
            brokers[from].poll_forwards(&mut list);
            while !list.is_empty() {
                brokers[1 - from].handle_forwards(NOW, from as u16, &mut list).expect("the same seed");
            }
        }
    };
    // The same message matches many filters of one client, and visits a level for each.
    let filters = crossed(10, "");
    for filters in filters.chunks(500) {
        let v3: Vec<u8> = subscribe(filters);
        // The packet has no Property Length, as MQTT 3.1.1 has none.
        let (_, len) = split(&v3, 1 << 20).unwrap().unwrap();
        let header = len - (3 + filters.iter().map(|filter| filter.len() + 3).sum::<usize>());
        let body = [&v3[header..header + 2], &v3[header + 3..]].concat();
        let packet = [&[0x82][..], &length(body.len()), &body].concat();
        let mut rest = &packet[..];
        while !rest.is_empty() {
            let received = brokers[1].handle_bytes(NOW, subscriber, rest);
            rest = &rest[received.consumed..];
            carry(&mut brokers);
        }
    }
    // The client gets no message before the other shard has said that it retains none.
    let mut out = vec![0; 1 << 20];
    while brokers[1].poll_transmit(NOW, subscriber, &mut out).written > 0 || brokers[1].poll_ready().is_some() {
        carry(&mut brokers);
    }
    let publish = |broker: &mut Broker<'static>, topic: &str, numbers: std::ops::Range<u8>| {
        for number in numbers {
            let length = length(2 + topic.len() + 1);
            let packet = [&[0x30][..], &length, &[0, topic.len() as u8], topic.as_bytes(), &[number]].concat();
            assert_eq!(broker.handle_bytes(NOW, publisher, &packet).consumed, packet.len());
        }
    };
    // Messages that nobody wants are little work. So more and more may be in transit.
    for _ in 0..40 {
        publish(&mut brokers[0], "a/in/vain", 0..20);
        carry(&mut brokers);
    }
    publish(&mut brokers[0], &topic(10), 0..200);
    let mut list = VecDeque::new();
    assert_eq!(brokers[0].poll_forwards(&mut list), Some(1));
    assert_eq!(list.len(), 200);
    let (mut calls, mut most) = (0, 0);
    while !list.is_empty() {
        let before = brokers[1].work();
        brokers[1].handle_forwards(NOW, 0, &mut list).expect("the same seed");
        most = most.max(brokers[1].work() - before);
        calls += 1;
    }
    assert!(calls > 5 && most < MOST_AT_ONCE, "{calls} calls, at most {most}");
    let mut got = Vec::new();
    loop {
        let transmit = brokers[1].poll_transmit(NOW, subscriber, &mut out);
        got.extend_from_slice(&out[..transmit.written]);
        if transmit.then != Then::More {
            break;
        }
    }
    let mut rest = &got[..];
    let mut numbers = Vec::new();
    while let Ok(Some((frame, len))) = split(rest, 1 << 20) {
        if frame.packet_type() == PacketType::Publish {
            numbers.push(rest[len - 1]);
        }
        rest = &rest[len..];
    }
    assert_eq!(numbers, (0..200).collect::<Vec<u8>>());
}

/// A Remaining Length.
fn length(len: usize) -> Vec<u8> {
    if len < 128 {
        vec![len as u8]
    } else if len < 16_384 {
        vec![len as u8 | 0x80, (len >> 7) as u8]
    } else {
        vec![len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]
    }
}

/// A bug of the past: each message for a full queue searched the whole queue for an older message of its topic, even where there was none.
#[test]
fn a_full_queue_with_keep_latest_is_not_searched_for_each_message() {
    const WAITING: u32 = 2_000;
    let limits = Limits::GATEWAY.with(|limits| limits.queued_messages = WAITING);
    let memory = Memory::owned(&Capacity::GATEWAY, &limits, Shard::ONLY);
    let config = Config { limits, overflow: Overflow::KeepLatest, ..Config::gateway(5) };
    let mut turns = Turns { broker: Broker::new(memory, config, &AllowAll), ..Turns::new(limits) };
    let subscriber = turns.connect("subscriber", 3_600);
    let filters = [("#", SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
    let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: Filters::new(&filters) };
    turns.send(subscriber, &bytes_of(Version::V5, &Packet::Subscribe(subscribe)));
    turns.run();
    turns.broker.handle_closed(NOW, subscriber);
    let publisher = turns.connect("publisher", 0);
    let mut publish_all = |names: std::ops::Range<u32>| {
        let before = turns.broker.work();
        for number in names {
            turns.send(publisher, &publish(&format!("t/{number}"), QoS::AtLeastOnce, 1));
            turns.run();
        }
        turns.broker.work() - before
    };
    let filling = publish_all(0..WAITING);
    // First no topic has an older message in the queue, so that the oldest messages are dropped. In the end each topic has an older message
    // somewhere in the middle of the queue.
    for (topics, what) in
        [(WAITING..WAITING + WAITING / 2, "no"), (WAITING / 2 * 3..WAITING * 2, "no"), (WAITING..WAITING * 2, "an")]
    {
        let work = publish_all(topics);
        assert!(work < 3 * filling, "{what} older message: {work} steps, to fill the queue took {filling}");
    }
    assert_eq!(turns.broker.counters().dropped.by(DropReason::QueueFull), 2 * WAITING);
}
