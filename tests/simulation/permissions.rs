//! When a permission is revoked, it is revoked at once, on all shards, even for messages that are queued, in flight or retained. As
//! long as no rule changes, no permission is asked for at delivery.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use goldcrest_core::codec::{AckKind, QoS, ReasonCode, Version};
use goldcrest_core::{Authorize, Config, Shard, Subject, Subscribable, TopicFilter, TopicName};
use goldcrest_tests::honest::{Got, Honest, Opening};
use goldcrest_tests::world::World;

/// Denies the delivery of some topics, and counts how often the broker asked whether a message may be delivered.
#[derive(Default)]
struct Rules {
    denied: Mutex<BTreeSet<String>>,
    asked: AtomicUsize,
}

impl Rules {
    fn deny(&self, topic: &str) {
        self.denied.lock().unwrap().insert(topic.to_owned());
    }

    fn allow_all(&self) {
        self.denied.lock().unwrap().clear();
    }
}

impl Authorize for Rules {
    fn publish(&self, _: &Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
        true
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        assert!(who.with_client_id(|id| !id.is_empty()), "each Session has a Client Identifier");
        let denied = self.denied.lock().unwrap();
        if denied.contains(filter.proper()) {
            return Subscribable::No;
        }
        if denied.iter().any(|topic| filter.matches(TopicName::new(topic).unwrap())) {
            return Subscribable::Partly;
        }
        Subscribable::Wholly
    }

    fn receive(&self, _: &Subject<'_>, topic: TopicName<'_>) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed);
        !self.denied.lock().unwrap().contains(topic.as_str())
    }
}

fn worlds(mut test: impl FnMut(&mut World, &'static Rules)) {
    for shards in [1, 3] {
        for durable in [false, true] {
            let rules: &'static Rules = Box::leak(Box::default());
            let config = Config { durable, ..Config::gateway(1) };
            test(&mut World::with_authorize(shards, config, rules), rules);
        }
    }
}

/// A client on that shard, or on the last one if there are fewer shards.
fn client_on(world: &mut World, shard: u16, name: &str, expiry_secs: u32, window: Option<u16>) -> Honest {
    let mut client = connect_on(world, shard, name, expiry_secs, window);
    let got = client.take(world);
    assert!(matches!(got[..], [Got::ConnAck(_, ReasonCode::Success)]), "{name}: {got:?}");
    client
}

/// The same client before it has received anything.
fn connect_on(world: &mut World, shard: u16, name: &str, expiry_secs: u32, window: Option<u16>) -> Honest {
    let shards = world.shards() as u16;
    let shard = shard.min(shards - 1);
    let home = |id: &String| Shard::home_of(id.as_bytes(), shards) == shard;
    let id = (0..).map(|number| format!("{name} {number}")).find(home).unwrap();
    Honest::connect(world, Version::V5, &Opening { expiry_secs, window, clean_start: false, ..Opening::new(&id) })
}

fn tell(world: &mut World) {
    let now = world.now();
    for shard in 0..world.shards() {
        world.with_shard(shard, |broker| broker.rules_changed(now));
    }
    world.advance(1);
}

fn topics(client: &mut Honest, world: &mut World) -> Vec<String> {
    client.take_messages(world).into_iter().map(|message| message.topic).collect()
}

#[test]
fn no_permission_is_asked_for_at_delivery_while_the_rules_are_unchanged() {
    worlds(|world, rules| {
        let (mut s, p) = (client_on(world, 0, "s", 60, None), client_on(world, 1, "p", 0, None));
        assert_eq!(s.subscribe(world, "a/#", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        for number in 1..=20 {
            p.publish(world, "a/b", b"x", QoS::AtLeastOnce, false, number);
        }
        assert_eq!(s.take_messages(world).len(), 20);
        assert_eq!(rules.asked.load(Ordering::Relaxed), 0);
        // A change that revokes nothing: later messages are delivered without a question, too.
        tell(world);
        p.publish(world, "a/b", b"x", QoS::AtLeastOnce, false, 21);
        assert_eq!(s.take_messages(world).len(), 1);
        assert_eq!(rules.asked.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_subscription_to_partly_denied_topics_delivers_the_others() {
    worlds(|world, rules| {
        rules.deny("a/secret");
        let (mut s, p) = (client_on(world, 0, "s", 60, None), client_on(world, 1, "p", 0, None));
        assert_eq!(s.subscribe(world, "a/#", QoS::AtMostOnce), ReasonCode::Success);
        assert_eq!(s.subscribe(world, "a/secret", QoS::AtMostOnce), ReasonCode::NotAuthorized);
        for topic in ["a/b", "a/secret", "a/c"] {
            p.publish(world, topic, b"x", QoS::AtMostOnce, false, 0);
        }
        assert_eq!(topics(&mut s, world), ["a/b", "a/c"]);
    });
}

#[test]
fn messages_queued_retained_or_in_flight_are_not_sent_after_a_denial() {
    worlds(|world, rules| {
        let mut s = client_on(world, 0, "s", 600, Some(1));
        let p = client_on(world, 1, "p", 0, None);
        assert_eq!(s.subscribe(world, "a/+", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        p.publish(world, "a/kept", b"x", QoS::AtLeastOnce, true, 1);
        p.publish(world, "a/in-flight", b"x", QoS::AtLeastOnce, false, 2);
        p.publish(world, "a/secret", b"x", QoS::AtLeastOnce, false, 3);
        p.publish(world, "a/open", b"x", QoS::AtLeastOnce, false, 4);
        // The client has a Receive Maximum of 1, and acknowledges nothing: the first message is in flight, the others are queued.
        let sent = s.take(world).iter().filter(|got| matches!(got, Got::Message(_))).count();
        assert_eq!(sent, 1);
        s.disconnect(world);
        for topic in ["a/secret", "a/kept"] {
            rules.deny(topic);
        }
        tell(world);
        let mut s = connect_on(world, 0, "s", 600, None);
        let got = topics(&mut s, world);
        assert!(!got.iter().any(|topic| topic == "a/secret" || topic == "a/kept"), "{got:?}");
        assert!(got.iter().any(|topic| topic == "a/open"), "{got:?}");
        let mut late = client_on(world, 2, "late", 0, None);
        assert_eq!(late.subscribe(world, "a/+", QoS::AtMostOnce), ReasonCode::Success);
        assert_eq!(topics(&mut late, world), Vec::<String>::new(), "the retained message is denied");
    });
}

#[test]
fn a_revoked_subscription_ends_and_its_client_is_told() {
    worlds(|world, rules| {
        let mut s = client_on(world, 0, "s", 600, None);
        let mut other = client_on(world, 2, "other", 600, None);
        let p = client_on(world, 1, "p", 0, None);
        for filter in ["a", "b", "$share/g/a"] {
            assert_eq!(s.subscribe(world, filter, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        }
        assert_eq!(other.subscribe(world, "b", QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        rules.deny("a");
        tell(world);
        let got = s.take(world);
        assert!(matches!(got[..], [Got::Disconnect(ReasonCode::NotAuthorized)]), "{got:?}");
        assert!(!world.is_closed(other.at), "who may have all that it has goes on");
        rules.allow_all();
        tell(world);
        let mut s = client_on(world, 0, "s", 600, None);
        for (number, topic) in (1..).zip(["a", "b"]) {
            p.publish(world, topic, b"x", QoS::AtLeastOnce, false, number);
        }
        assert_eq!(topics(&mut s, world), ["b"], "what has ended does not come back by itself");
    });
}

#[test]
fn after_pubrec_a_denied_message_still_completes_its_handshake() {
    worlds(|world, rules| {
        let mut s = client_on(world, 0, "s", 600, None);
        let p = client_on(world, 1, "p", 0, None);
        assert_eq!(s.subscribe(world, "a/+", QoS::ExactlyOnce), ReasonCode::GrantedQoS2);
        p.publish(world, "a/b", b"x", QoS::ExactlyOnce, false, 1);
        let got = s.take(world);
        let number = got.iter().find_map(|got| match got {
            Got::Message(message) => Some(message.packet_id),
            _ => None,
        });
        s.ack(world, AckKind::PubRec, number.unwrap());
        rules.deny("a/b");
        tell(world);
        let got = s.take(world);
        assert!(got.iter().any(|got| matches!(got, Got::Ack(AckKind::PubRel, ..))), "{got:?}");
    });
}

#[test]
fn messages_queued_for_a_revoked_subscription_are_not_sent() {
    worlds(|world, rules| {
        let mut s = client_on(world, 0, "s", 600, None);
        let p = client_on(world, 1, "p", 0, None);
        for filter in ["secret", "open"] {
            assert_eq!(s.subscribe(world, filter, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
        }
        s.disconnect(world);
        p.publish(world, "secret", b"x", QoS::AtLeastOnce, false, 1);
        p.publish(world, "open", b"x", QoS::AtLeastOnce, false, 2);
        rules.deny("secret");
        tell(world);
        let mut s = connect_on(world, 0, "s", 600, None);
        assert_eq!(topics(&mut s, world), ["open"]);
    });
}
