//! A program that embeds the gateway: what it asks and decides while the gateway runs.

mod support;

use goldcrest::{Access, Config, Gateway, ReloadError};
use goldcrest_core::codec::{Packet, QoS, ReasonCode};
use goldcrest_core::{Authorize, Subject, Subscribable, TopicFilter, TopicName};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Client, local, message, runtime};

/// Runs a test with a gateway that has one shard, and with one that has three.
fn with_gateways(access: impl Fn() -> Access, test: impl AsyncFn(&Gateway, &Config)) {
    for shards in [1, 3] {
        let config = Config { shards, ..local() };
        let gateway = Gateway::start_with(&config, access()).unwrap();
        runtime().block_on(async {
            test(&gateway, &config).await;
            gateway.shut_down().await;
        });
    }
}

/// Nobody may publish to a topic below `secret/`, and while it is `strict` nobody may subscribe to one.
#[derive(Default)]
struct Rules {
    strict: AtomicBool,
}

impl Authorize for Rules {
    fn publish(&self, _: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        !topic.as_str().starts_with("secret/")
    }

    fn subscribe(&self, _: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::wholly_if(!self.strict.load(Ordering::Relaxed) || !filter.as_str().starts_with("secret/"))
    }
}

/// Identifiers whose homes are all shards.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn counters_are_those_of_all_shards() {
    with_gateways(Access::new, async |gateway, _| {
        assert_eq!(gateway.counters().await.unwrap().connected, 0);
        let _clients = NAMES.map(|name| Client::connect(gateway.addresses()[0], name));
        let counters = gateway.counters().await.unwrap();
        assert_eq!((counters.connected, counters.sessions, counters.connections_opened), (4, 4, 4));
    });
}

#[test]
fn another_configuration_holds_for_clients_of_all_shards_that_connect_from_then_on() {
    with_gateways(Access::new, async |gateway, config| {
        let mut other = config.clone();
        other.broker.keep_alive_max = 7;
        gateway.reload(&other).await.unwrap();
        for name in NAMES {
            let mut client = Client::open(gateway.addresses()[0]);
            client.send(Packet::Connect(support::connect_packet(name)));
            client.receive(|packet| match packet {
                Packet::ConnAck(ack) => assert_eq!(ack.properties.server_keep_alive(), Some(7)),
                other => panic!("CONNACK was expected, not {other:?}"),
            });
        }
    });
}

#[test]
fn a_configuration_that_needs_a_restart_is_refused_as_a_whole() {
    with_gateways(Access::new, async |gateway, config| {
        let mut other = config.clone();
        other.broker.keep_alive_max = 7;
        other.capacity.sessions += 1;
        assert_eq!(gateway.reload(&other).await, Err(ReloadError::Unchangeable("capacity")));
        let mut client = Client::open(gateway.addresses()[0]);
        client.send(Packet::Connect(support::connect_packet("a")));
        client.receive(|packet| match packet {
            Packet::ConnAck(ack) => assert_eq!(ack.properties.server_keep_alive(), None),
            other => panic!("CONNACK was expected, not {other:?}"),
        });
        other.capacity = config.capacity;
        gateway.reload(&other).await.expect("it is compared with what is in force");
    });
}

#[test]
fn permissions_of_the_program_are_asked_from_the_first_client_on() {
    let access = || Access::new().authorized_by(Arc::new(Rules::default()));
    with_gateways(access, async |gateway, _| {
        for name in NAMES {
            let mut client = Client::connect(gateway.addresses()[0], name);
            for (topic, code) in
                [("open/t", ReasonCode::NoMatchingSubscribers), ("secret/t", ReasonCode::NotAuthorized)]
            {
                client.send(Packet::Publish(message(topic, b"", QoS::AtLeastOnce)));
                client.receive(|packet| match packet {
                    Packet::PubAck(ack) => assert_eq!(ack.code, code),
                    other => panic!("PUBACK was expected, not {other:?}"),
                });
            }
        }
    });
}

/// What was granted before ends on all shards, and who had it is told why.
#[test]
fn permissions_that_change_take_back_what_was_granted() {
    let rules = Arc::new(Rules::default());
    with_gateways(Access::new, async |gateway, _| {
        rules.strict.store(false, Ordering::Relaxed);
        let mut clients = NAMES.map(|name| Client::connect(gateway.addresses()[0], name));
        clients.iter_mut().for_each(|client| client.subscribe("secret/t", QoS::AtMostOnce));
        let mut harmless = Client::connect(gateway.addresses()[0], "harmless");
        harmless.subscribe("open/t", QoS::AtMostOnce);
        rules.strict.store(true, Ordering::Relaxed);
        gateway.set_authorize(rules.clone()).await.unwrap();
        for client in &mut clients {
            client.receive(|packet| match packet {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
                other => panic!("DISCONNECT was expected, not {other:?}"),
            });
        }
        assert!(!harmless.is_gone_within(Duration::from_millis(50)));
    });
}
