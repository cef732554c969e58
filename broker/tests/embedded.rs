//! A program that embeds the gateway: its requests and decisions while the gateway runs.

#[path = "../examples/embedded.rs"]
mod example;

use crate::support::{self, Client, connect_as, local, message, runtime};
use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, Happened, ReloadError};
use goldcrest_core::codec::{ConnAck, Connect, Disconnect, Packet, QoS, ReasonCode};
use goldcrest_core::{Authorize, EventSet, Principal, Subject, Subscribable, TopicFilter, TopicName};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

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

/// No client may publish to a topic below `secret/`. While `strict` is set no client may subscribe to such a topic
/// either.
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

/// Client Identifiers that have all shards as homes.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[test]
fn the_counters_of_a_gateway_are_those_of_all_its_shards() {
    with_gateways(Access::new, async |gateway, _| {
        assert_eq!(gateway.counters().await.unwrap().connected, 0);
        let _clients = NAMES.map(|name| Client::connect(gateway.addresses()[0], name));
        let counters = gateway.counters().await.unwrap();
        assert_eq!((counters.connected, counters.sessions, counters.connections_opened), (4, 4, 4));
    });
}

#[test]
fn a_changed_configuration_holds_for_new_clients_of_all_shards() {
    with_gateways(Access::new, async |gateway, config| {
        let mut other = config.clone();
        other.broker.keep_alive_max = 7;
        gateway.reload(&other).await.unwrap();
        for name in NAMES {
            let mut client = Client::open(gateway.addresses()[0]);
            client.send(Packet::Connect(support::connect_packet(name)));
            client.receive_connack(|ack| assert_eq!(ack.properties.server_keep_alive(), Some(7)));
        }
    });
}

#[test]
fn a_configuration_that_needs_a_restart_is_refused_as_a_whole() {
    with_gateways(Access::new, async |gateway, config| {
        let mut other = config.clone();
        other.broker.keep_alive_max = 7;
        other.capacity.sessions = Some(7);
        assert_eq!(gateway.reload(&other).await, Err(ReloadError::Unchangeable("capacity")));
        let mut client = Client::open(gateway.addresses()[0]);
        client.send(Packet::Connect(support::connect_packet("a")));
        client.receive_connack(|ack| assert_eq!(ack.properties.server_keep_alive(), None));
        other.capacity = config.capacity;
        gateway.reload(&other).await.expect("it is compared with what is in force");
    });
}

#[test]
fn permissions_of_the_embedding_program_hold_from_the_first_client_on() {
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

/// Granted subscriptions end on all shards, and their clients are told why.
#[test]
fn changed_permissions_end_subscriptions_granted_before() {
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

#[test]
fn the_embedding_program_decides_who_may_connect() {
    let decide = |request: AccessRequest, reply: Reply| {
        let connect = request.connect.expect("no client authenticates in steps");
        match (connect.user_name.as_deref(), connect.password.as_deref()) {
            (Some("ann"), Some(b"secret")) => reply.send(Decision::accept(Principal(7))),
            (Some("ann"), _) => reply.send(Decision::Refuse(ReasonCode::BadUserNameOrPassword)),
            // Dropping the reply refuses the client.
            (Some(_), _) => drop(reply),
            (None, _) => {
                assert_eq!(request.peer, None, "a client in this process");
                reply.send(Decision::accept(Principal::ANONYMOUS));
            }
        }
    };
    with_gateways(
        || Access::new().decided_by(decide),
        async |gateway, _| {
            for name in NAMES {
                let (mut client, code) = connect_as(gateway.addresses()[0], name, Some("ann"), Some("secret"));
                assert_eq!(code, ReasonCode::Success);
                client.subscribe("t", QoS::AtMostOnce);
                assert_eq!(
                    connect_as(gateway.addresses()[0], name, Some("ann"), Some("wrong")).1,
                    ReasonCode::BadUserNameOrPassword
                );
                assert_eq!(
                    connect_as(gateway.addresses()[0], name, Some("bob"), Some("secret")).1,
                    ReasonCode::NotAuthorized
                );
                assert!(!client.is_gone_within(Duration::from_millis(1)), "nobody has taken it over");
            }
            gateway.client("in_process").await.unwrap().publish("t", b"", QoS::AtLeastOnce, false).await.unwrap();
        },
    );
}

/// The decision takes long, on another thread. Only its client waits for it.
#[test]
fn other_clients_are_served_while_one_waits_for_a_decision() {
    let (ask, asked) = std::sync::mpsc::channel::<Reply>();
    let ask = std::sync::Mutex::new(ask);
    let config = Config { shards: 1, ..local() };
    let decide = move |request: AccessRequest, reply: Reply| match request.connect.expect("a CONNECT").user_name {
        Some(_) => ask.lock().unwrap().send(reply).unwrap(),
        None => reply.send(Decision::accept(Principal::ANONYMOUS)),
    };
    let gateway = Gateway::start_with(&config, Access::new().decided_by(decide)).unwrap();
    let mut waiting = Client::open(gateway.addresses()[0]);
    waiting.send(Packet::Connect(Connect { user_name: Some("ann"), ..support::connect_packet("waiting") }));
    let reply = asked.recv_timeout(Duration::from_secs(10)).expect("it is asked");
    let mut other = Client::connect(gateway.addresses()[0], "other");
    other.subscribe("t", QoS::AtMostOnce);
    assert!(!waiting.is_gone_within(Duration::from_millis(20)), "it waits");
    waiting.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    reply.send(Decision::accept(Principal(1)));
    waiting.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
    runtime().block_on(gateway.shut_down());
}

#[test]
fn a_client_whose_grant_expires_is_closed() {
    let lasts = Some(Duration::from_millis(100));
    let decide = move |_: AccessRequest, reply: Reply| match Decision::accept(Principal(1)) {
        Decision::Accept { principal, grant, data, .. } => {
            reply.send(Decision::Accept { principal, grant, data, lasts })
        }
        other => reply.send(other),
    };
    with_gateways(
        || Access::new().decided_by(decide),
        async |gateway, _| {
            let mut client = Client::connect(gateway.addresses()[0], "a");
            client.receive(|packet| match packet {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
                other => panic!("DISCONNECT was expected, not {other:?}"),
            });
        },
    );
}

#[test]
fn events_of_all_shards_reach_the_embedding_program() {
    for shards in [1, 3] {
        let mut config = Config { shards, sys_interval_s: 0, ..local() };
        config.broker.events = EventSet::CONNECTED | EventSet::SUBSCRIBED | EventSet::DISCONNECTED;
        let mut gateway = Gateway::start(&config).unwrap();
        let mut events = gateway.take_events().expect("nobody has taken them");
        assert!(gateway.take_events().is_none());
        runtime().block_on(async {
            for name in NAMES {
                let mut client = Client::connect(gateway.addresses()[0], name);
                client.subscribe("t", QoS::AtLeastOnce);
                client.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
                client.expect_end();
                let mut told = Vec::new();
                for _ in 0..3 {
                    let event =
                        timeout(Duration::from_secs(10), events.next()).await.expect("an event in time").unwrap();
                    assert_eq!(event.client_id.as_deref(), Some(name));
                    told.push((event.topic, event.what));
                }
                let subscribed = (Some("t".to_owned()), Happened::Subscribed { qos: QoS::AtLeastOnce });
                let connected = (None, Happened::Connected { session_present: false });
                assert_eq!(
                    told,
                    [connected, subscribed, (None, Happened::Disconnected { code: Some(ReasonCode::Success) })]
                );
            }
            gateway.shut_down().await;
            assert_eq!((events.next().await, events.lost()), (None, 0));
        });
    }
}

#[test]
fn events_beyond_the_queue_are_lost_and_counted() {
    let mut config = Config { shards: 2, sys_interval_s: 0, ..local() };
    config.broker.events = EventSet::ACCEPTED;
    let mut gateway = Gateway::start(&config).unwrap();
    let mut events = gateway.take_events().expect("nobody has taken them");
    runtime().block_on(async {
        let mut client = gateway.client("a").await.unwrap();
        for _ in 0..1_500 {
            client.publish("t", b"", QoS::AtLeastOnce, false).await.unwrap();
        }
        gateway.shut_down().await;
        let mut taken = 0;
        while events.next().await.is_some() {
            taken += 1;
        }
        assert_eq!((taken, events.lost()), (1_024, 476));
    });
}

#[test]
fn the_example_embedded_runs() {
    runtime().block_on(async { timeout(Duration::from_secs(20), example::run()).await }).expect("it ends").unwrap();
}
