//! An embedding program that decides who may connect, also in several steps; and changes of its configuration while the gateway has
//! a store.

use crate::support::folder::Folder;
use crate::support::{Client, connect_packet, local, message, runtime};
use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, Listener, ReloadError, StartError};
use goldcrest_core::codec::{Ack, Auth, Connect, Disconnect, Packet, Properties, Property, QoS, ReasonCode, Will};
use goldcrest_core::{Grant, Mount, Principal};
use std::sync::Mutex;

const METHOD: Property<'static> = Property::AuthenticationMethod("TWO STEPS");

/// Asks two questions, and checks that every step names the connection that the first one named.
fn in_two_steps() -> Access {
    let connections = Mutex::new(Vec::new());
    Access::new().decided_by(move |request: AccessRequest, reply: Reply| {
        assert_eq!(request.method.as_deref(), Some("TWO STEPS"));
        let mut connections = connections.lock().unwrap();
        assert_eq!(
            connections.contains(&request.connection),
            request.connect.is_none(),
            "each step names its connection"
        );
        reply.send(match request.data.as_deref() {
            None => {
                connections.push(request.connection);
                Decision::Continue(b"first?".to_vec())
            }
            Some(b"one") => Decision::Continue(b"second?".to_vec()),
            Some(b"two") => match Decision::accept(Principal(7)) {
                Decision::Accept { principal, grant, lasts, .. } => {
                    Decision::Accept { principal, grant, lasts, data: Some(b"welcome".to_vec()) }
                }
                other => other,
            },
            Some(b"somebody else") => Decision::accept(Principal(8)),
            Some(_) => Decision::Refuse(ReasonCode::NotAuthorized),
        });
    })
}

/// Sends an AUTH with this Authentication Data.
fn say(client: &mut Client, code: ReasonCode, data: &str) {
    let list = [METHOD, Property::AuthenticationData(data.as_bytes())];
    client.send(Packet::Auth(Auth { code, properties: Properties::new(&list) }));
}

/// Expects an AUTH that asks for the next step with this Authentication Data.
fn expect_question(client: &mut Client, data: &str) {
    client.receive(|packet| match packet {
        Packet::Auth(auth) => {
            assert_eq!(auth.code, ReasonCode::ContinueAuthentication);
            assert_eq!(auth.properties.authentication_data(), Some(data.as_bytes()));
        }
        other => panic!("AUTH was expected, not {other:?}"),
    });
}

/// Connects a client, and returns it when the gateway has asked for its first step.
fn begun(gateway: &Gateway, client_id: &str) -> Client {
    let mut client = Client::open(gateway.addresses()[0]);
    let list = [METHOD];
    client.send(Packet::Connect(Connect { properties: Properties::new(&list), ..connect_packet(client_id) }));
    expect_question(&mut client, "first?");
    client
}

#[test]
fn a_decider_can_authenticate_a_client_in_several_steps() {
    for shards in [1, 3] {
        let gateway = Gateway::start_with(&Config { shards, ..local() }, in_two_steps()).unwrap();
        for name in ["a", "b", "c", "d"] {
            let mut client = begun(&gateway, name);
            say(&mut client, ReasonCode::ContinueAuthentication, "one");
            expect_question(&mut client, "second?");
            say(&mut client, ReasonCode::ContinueAuthentication, "two");
            client.receive_connack(|ack| {
                let data = ack.properties.authentication_data();
                assert_eq!((ack.code, data), (ReasonCode::Success, Some(&b"welcome"[..])));
            });
            client.subscribe("t", QoS::AtMostOnce);

            let mut liar = begun(&gateway, "liar");
            say(&mut liar, ReasonCode::ContinueAuthentication, "wrong");
            liar.receive_connack(|ack| assert_eq!(ack.code, ReasonCode::NotAuthorized));

            // A re-authentication as another principal than that of the Session is refused.
            say(&mut client, ReasonCode::ReAuthenticate, "somebody else");
            client.receive(|packet| match packet {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.code, ReasonCode::NotAuthorized),
                other => panic!("DISCONNECT was expected, not {other:?}"),
            });
        }
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_listener_that_other_machines_reach_needs_a_decider_or_allow_anonymous() {
    let config = Config { listeners: vec![Listener::new("0.0.0.0:0".parse().unwrap())], ..local() };
    assert!(matches!(Gateway::start(&config), Err(StartError::OpenToAll(_))));
    let nobody = |_: AccessRequest, reply: Reply| reply.send(Decision::Refuse(ReasonCode::Banned));
    let gateway = Gateway::start_with(&config, Access::new().decided_by(nobody)).expect("somebody decides");
    let mut client = Client::open(gateway.addresses()[0]);
    client.send(Packet::Connect(connect_packet("a")));
    client.receive_connack(|ack| assert_eq!(ack.code, ReasonCode::Banned));
    runtime().block_on(gateway.shut_down());
}

/// Mounts each client below its User Name; a client without a User Name gets the whole tree.
fn below_user_names() -> Access {
    Access::new().decided_by(|request: AccessRequest, reply: Reply| {
        let user_name = request.connect.and_then(|connect| connect.user_name);
        let grant = match user_name {
            Some(name) => Grant::default().below(Mount::new(&[&name, "/"].concat()).unwrap()),
            None => Grant::default(),
        };
        reply.send(match Decision::accept(Principal(1)) {
            Decision::Accept { principal, lasts, data, .. } => Decision::Accept { principal, grant, lasts, data },
            other => other,
        });
    })
}

/// Connects a client with this User Name, whose Will has the topic `gone`.
fn connect_of<'a>(gateway: &Gateway, client_id: &'a str, user_name: Option<&'a str>) -> Client {
    let mut client = Client::open(gateway.addresses()[0]);
    let will =
        Will { topic: "gone", qos: QoS::AtLeastOnce, retain: false, properties: Properties::EMPTY, payload: b"!" };
    client.send(Packet::Connect(Connect { user_name, will: Some(will), ..connect_packet(client_id) }));
    client.receive_connack(|ack| assert_eq!(ack.code, ReasonCode::Success));
    client
}

/// Publishes with QoS 1, and waits for the PUBACK.
fn publish(client: &mut Client, topic: &str, payload: &[u8]) {
    client.send(Packet::Publish(message(topic, payload, QoS::AtLeastOnce)));
    client.receive(|packet| assert!(matches!(packet, Packet::PubAck(ack) if !ack.code.is_error()), "{topic}"));
}

/// Expects a message to this topic as the next packet, and acknowledges it.
fn expect_message(client: &mut Client, topic: &str, payload: &[u8]) {
    let packet_id = client.receive(|packet| match packet {
        Packet::Publish(publish) => {
            assert_eq!((publish.topic, publish.payload), (topic, payload));
            publish.packet_id.unwrap()
        }
        other => panic!("PUBLISH was expected, not {other:?}"),
    });
    client.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::Success)));
}

#[test]
fn a_decider_can_mount_a_client_below_a_topic() {
    for shards in [1, 3] {
        let gateway = Gateway::start_with(&Config { shards, ..local() }, below_user_names()).unwrap();
        let mut reader = connect_of(&gateway, "reader", Some("site"));
        let mut writer = connect_of(&gateway, "writer", Some("site"));
        let mut elsewhere = connect_of(&gateway, "elsewhere", Some("other"));
        let mut whole = connect_of(&gateway, "whole", None);
        for client in [&mut reader, &mut elsewhere, &mut whole] {
            client.subscribe("#", QoS::AtLeastOnce);
        }
        publish(&mut writer, "t/u", b"from inside");
        expect_message(&mut reader, "t/u", b"from inside");
        expect_message(&mut whole, "site/t/u", b"from inside");

        let mut outside = connect_of(&gateway, "outside", None);
        for (topic, payload) in [("t", &b"for nobody below"[..]), ("site/t", b"from outside")] {
            publish(&mut outside, topic, payload);
            expect_message(&mut whole, topic, payload);
        }
        // The message that was published to `t` does not come: the next one is that from `site/t`.
        expect_message(&mut reader, "t", b"from outside");

        drop(writer);
        expect_message(&mut reader, "gone", b"!");
        expect_message(&mut whole, "site/gone", b"!");

        // This client, with another mount, got none of the messages so far.
        publish(&mut outside, "other/t", b"for the other");
        expect_message(&mut elsewhere, "t", b"for the other");
        runtime().block_on(gateway.shut_down());
    }
}

/// Connects with a Session that outlives the connection. Returns whether there was a Session already.
fn connect_lasting(gateway: &Gateway) -> (Client, bool) {
    let mut client = Client::open(gateway.addresses()[0]);
    let list = [Property::SessionExpiryInterval(u32::MAX)];
    let properties = Properties::new(&list);
    client.send(Packet::Connect(Connect { properties, clean_start: false, ..connect_packet("reader") }));
    let present = client.receive_connack(|ack| ack.session_present);
    (client, present)
}

/// Changed limits also hold for queues in the store, and messages that were acknowledged before the change are delivered after a
/// restart.
#[test]
fn a_gateway_with_a_store_accepts_another_configuration_while_it_runs() {
    for shards in [1, 3] {
        let folder = Folder::new("reload");
        let mut config = Config { shards, data_dir: Some(folder.path().to_owned()), ..local() };
        let gateway = Gateway::start(&config).unwrap();
        let (mut reader, _) = connect_lasting(&gateway);
        reader.subscribe("t", QoS::AtLeastOnce);
        // The broker has closed the connection, so no message is in flight: messages in flight would not count as queued.
        reader.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        reader.expect_end();
        let mut publisher = Client::connect(gateway.addresses()[0], "publisher");
        let mut publish = |payload: u8| {
            let payload = [payload];
            let sent = message("t", &payload, QoS::AtLeastOnce);
            let packet_id = sent.packet_id.unwrap();
            publisher.send(Packet::Publish(sent));
            publisher.receive(|packet| match packet {
                Packet::PubAck(Ack { packet_id: acknowledged, code, .. }) => {
                    assert_eq!(acknowledged, packet_id);
                    code
                }
                other => panic!("PUBACK was expected, not {other:?}"),
            })
        };
        assert_eq!([0, 1].map(&mut publish), [ReasonCode::Success; 2]);
        runtime().block_on(async {
            let mut other = config.clone();
            other.store.max_bytes += 1;
            assert_eq!(gateway.reload(&other).await, Err(ReloadError::Unchangeable("store")));
            config.broker.limits.queued_messages = 3;
            config.store.body_bytes /= 2;
            gateway.reload(&config).await.unwrap();
        });
        assert_eq!([2, 3].map(&mut publish), [ReasonCode::Success, ReasonCode::QuotaExceeded]);
        // A gateway that stops waits two seconds for clients that have not closed their side.
        drop((reader, publisher));
        runtime().block_on(gateway.shut_down());

        let gateway = Gateway::start(&config).unwrap();
        let (mut reader, present) = connect_lasting(&gateway);
        assert!(present);
        for payload in [0, 1, 2] {
            let packet_id = reader.receive(|packet| match packet {
                Packet::Publish(publish) => {
                    assert_eq!(publish.payload, [payload]);
                    publish.packet_id.unwrap()
                }
                other => panic!("PUBLISH was expected, not {other:?}"),
            });
            reader.send(Packet::PubAck(Ack::new(packet_id, ReasonCode::Success)));
        }
        drop(reader);
        runtime().block_on(gateway.shut_down());
    }
}
