//! Retained messages of a gateway with several shards, and with another number of shards after each start.

use crate::support::folder::Folder;
use crate::support::{Client, local, message, runtime};
use goldcrest::{Config, Gateway};
use goldcrest_core::Shard;
use goldcrest_core::codec::{Packet, Publish, QoS};
use std::collections::BTreeMap;

const MESSAGES: usize = 60;

/// A Client Identifier of this shard.
fn name_on(shard: u16, shards: u16) -> String {
    (0..).map(|number| format!("c{number}")).find(|id| Shard::home_of(id.as_bytes(), shards) == shard).unwrap()
}

/// Publishes with QoS 1 and RETAIN, and waits for the acknowledgement.
fn retain(client: &mut Client, topic: &str, payload: &[u8]) {
    client.send(Packet::Publish(Publish { retain: true, ..message(topic, payload, QoS::AtLeastOnce) }));
    client.receive(|packet| match packet {
        Packet::PubAck(ack) => assert!(!ack.code.is_error(), "{:?}", ack.code),
        other => panic!("PUBACK was expected, not {other:?}"),
    });
}

/// The retained messages that a client of this shard gets.
fn retained_for(gateway: &Gateway, shard: u16, shards: u16, count: usize) -> BTreeMap<String, Vec<u8>> {
    let mut client = Client::connect(gateway.addresses()[0], &name_on(shard, shards));
    client.subscribe("#", QoS::AtMostOnce);
    let mut all = BTreeMap::new();
    for _ in 0..count {
        let (topic, payload) = client.receive(|packet| match packet {
            Packet::Publish(publish) => (publish.topic.to_owned(), publish.payload.to_vec()),
            other => panic!("a message was expected, not {other:?}"),
        });
        assert_eq!(all.insert(topic.clone(), payload), None, "{topic} comes twice");
    }
    // Nothing comes between the last of them and the answer.
    client.send(Packet::PingReq);
    client.receive(|packet| assert!(matches!(packet, Packet::PingResp), "{packet:?}"));
    all
}

#[test]
fn retained_messages_are_kept_once_each_whatever_the_number_of_shards_at_each_start() {
    let folder = Folder::new("restarts");
    let mut expected = BTreeMap::new();
    for (run, shards) in [1, 3, 2, 4, 4, 1, 2].into_iter().enumerate() {
        let mut config = Config { shards, sys_interval_s: 0, ..local() };
        config.data_dir = Some(folder.path().to_owned());
        let gateway = Gateway::start(&config).unwrap();
        runtime().block_on(async {
            assert_eq!(gateway.counters().await.unwrap().retained as usize, expected.len(), "run {run}");
            for shard in 0..shards {
                assert_eq!(retained_for(&gateway, shard, shards, expected.len()), expected, "run {run}, shard {shard}");
            }
            // Some messages are new, some are replaced, and some are removed.
            for shard in 0..shards {
                let mut client = Client::connect(gateway.addresses()[0], &name_on(shard, shards));
                for number in (usize::from(shard)..MESSAGES).step_by(usize::from(shards)) {
                    let topic = format!("t/{number}");
                    let payload = match (number + run) % 3 {
                        0 => Vec::new(),
                        1 => format!("{number} of run {run}").into_bytes(),
                        _ => continue,
                    };
                    retain(&mut client, &topic, &payload);
                    if payload.is_empty() {
                        expected.remove(&topic)
                    } else {
                        expected.insert(topic, payload)
                    };
                }
            }
            for shard in 0..shards {
                assert_eq!(retained_for(&gateway, shard, shards, expected.len()), expected, "run {run}, shard {shard}");
            }
            assert_eq!(gateway.counters().await.unwrap().retained as usize, expected.len(), "run {run}");
            gateway.shut_down().await;
        });
    }
}

#[test]
fn a_slow_client_gets_thousands_of_retained_messages_of_all_shards_and_what_is_published_meanwhile() {
    const MANY: usize = 3_000;
    let gateway = Gateway::start(&Config { shards: 3, sys_interval_s: 0, ..local() }).unwrap();
    runtime().block_on(async {
        let mut publisher = Client::connect(gateway.addresses()[0], &name_on(0, 3));
        for number in 0..MANY {
            retain(&mut publisher, &format!("t/{number}"), b"retained");
        }
        let mut reader = Client::connect(gateway.addresses()[0], &name_on(1, 3));
        reader.subscribe("#", QoS::AtMostOnce);
        retain(&mut publisher, "t/0", b"new");
        let mut got = BTreeMap::<String, Vec<(bool, Vec<u8>)>>::new();
        while got.get("t/0").is_none_or(|all| all.last().is_none_or(|(retain, _)| *retain)) {
            let (topic, message) = reader.receive(|packet| match packet {
                Packet::Publish(publish) => (publish.topic.to_owned(), (publish.retain, publish.payload.to_vec())),
                other => panic!("a message was expected, not {other:?}"),
            });
            got.entry(topic).or_default().push(message);
        }
        let first = got.remove("t/0").unwrap();
        assert_eq!(first.last(), Some(&(false, b"new".to_vec())));
        assert_eq!(got.len(), MANY - 1);
        assert!(got.values().all(|all| *all == [(true, b"retained".to_vec())]));
        gateway.shut_down().await;
    });
}
