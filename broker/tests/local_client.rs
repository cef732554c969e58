//! A program publishes and subscribes through clients in its own process.

use crate::support::{local, runtime};
use goldcrest::{Config, Gateway, LocalClient, LocalClientError};
use goldcrest_core::codec::{QoS, ReasonCode};
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::timeout;

/// Time for messages that should come at once, even on a busy machine.
const SOON: Duration = Duration::from_secs(10);

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Runs a test with a gateway that has one shard, and with one that has three.
fn with_gateways(change: impl Fn(&mut Config), test: impl AsyncFn(&Gateway)) {
    for shards in [1, 3] {
        let mut config = Config { shards, ..local() };
        change(&mut config);
        let gateway = Gateway::start(&config).unwrap();
        runtime().block_on(async {
            test(&gateway).await;
            gateway.shut_down().await;
        });
    }
}

async fn receive(client: &mut LocalClient) -> (String, Vec<u8>, QoS) {
    let message = timeout(SOON, client.next()).await.expect("a message in time").unwrap();
    (message.topic, message.payload, message.qos)
}

#[test]
fn messages_of_each_qos_pass_between_gateway_clients_in_order() {
    with_gateways(
        |_| {},
        async |gateway| {
            for qos in ALL_QOS {
                let mut subscriber = gateway.client("subscriber").await.unwrap();
                let mut publisher = gateway.client("publisher").await.unwrap();
                assert_eq!(subscriber.subscribe("t/#", qos).await.unwrap(), qos);
                // More messages than the broker sends before some are acknowledged.
                for number in 0..100_u8 {
                    publisher.publish("t/a", &[number], qos, false).await.unwrap();
                }
                for number in 0..100_u8 {
                    assert_eq!(receive(&mut subscriber).await, ("t/a".to_owned(), vec![number], qos));
                }
                publisher.close().await.unwrap();
            }
        },
    );
}

/// Messages that arrive while a client waits for an answer are kept, and the answer still arrives.
#[test]
fn a_gateway_client_may_publish_to_itself() {
    with_gateways(
        |_| {},
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            client.subscribe("t", QoS::ExactlyOnce).await.unwrap();
            for number in 0..40_u8 {
                client.publish("t", &[number], ALL_QOS[usize::from(number % 3)], false).await.unwrap();
            }
            let mut numbers = Vec::new();
            for _ in 0..40 {
                numbers.push(receive(&mut client).await.1[0]);
            }
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..40), "each came once");
            client.unsubscribe("t").await.unwrap();
            client.publish("t", b"", QoS::AtLeastOnce, false).await.unwrap();
            assert!(timeout(Duration::from_millis(50), client.next()).await.is_err());
        },
    );
}

/// Drops a call while it waits for room in the stream or for its answer. If the answer has come at once from the other thread, calls again.
fn begin_and_drop(mut call: impl AsyncFnMut()) {
    let mut is_pending = || pin!(call()).poll(&mut Context::from_waker(Waker::noop())).is_pending();
    assert!((0..100).any(|_| is_pending()), "no call had to wait");
}

#[test]
fn a_dropped_call_leaves_a_gateway_client_usable() {
    with_gateways(
        |_| {},
        async |gateway| {
            let mut subscriber = gateway.client("subscriber").await.unwrap();
            subscriber.subscribe("t", QoS::AtLeastOnce).await.unwrap();
            let mut publisher = gateway.client("publisher").await.unwrap();
            // Longer than the stream's buffer, so the call is dropped amid the packet.
            let payload = vec![7; 1_000_000];
            begin_and_drop(async || _ = publisher.publish("t", &payload, QoS::AtLeastOnce, false).await);
            publisher.publish("t", b"next", QoS::AtLeastOnce, false).await.unwrap();
            assert_eq!(receive(&mut subscriber).await.1, payload);
            assert_eq!(receive(&mut subscriber).await.1, b"next");
        },
    );
}

#[test]
fn a_call_of_a_gateway_client_after_a_dropped_one_returns_its_own_answer() {
    with_gateways(
        |_| {},
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            begin_and_drop(async || _ = client.publish("t", b"", QoS::AtLeastOnce, false).await);
            assert_eq!(client.subscribe("t", QoS::ExactlyOnce).await.unwrap(), QoS::ExactlyOnce);
        },
    );
}

/// A client that did not wait for the answer to the dropped call would be closed with 0x93.
#[test]
fn a_gateway_client_with_a_dropped_call_stays_within_the_receive_maximum() {
    with_gateways(
        |config| config.broker.limits.receive_maximum = 1,
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            begin_and_drop(async || _ = client.publish("t", b"1", QoS::ExactlyOnce, false).await);
            client.publish("t", b"2", QoS::ExactlyOnce, false).await.unwrap();
        },
    );
}

#[test]
fn messages_of_qos_0_beyond_a_gateway_clients_queue_are_counted_as_lost() {
    with_gateways(
        |_| {},
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            client.subscribe("t", QoS::AtMostOnce).await.unwrap();
            let payload = vec![7; 100_000];
            for _ in 0..30 {
                // When the answer has come, all messages that were published before have come too.
                client.publish("t", &payload, QoS::AtLeastOnce, false).await.unwrap();
                client.unsubscribe("other").await.unwrap();
            }
            let mut received = 0;
            while timeout(Duration::from_millis(200), client.next()).await.is_ok() {
                received += 1;
            }
            assert!((5..=10).contains(&received), "{received} of 100 KB in 1 MiB");
            assert!(client.lost() >= 10, "{} were lost", client.lost());
        },
    );
}

#[test]
fn a_gateway_client_returns_a_refusal_as_an_error_and_stays_usable() {
    let packet_bytes = 10_000;
    with_gateways(
        |config| config.broker.limits.packet_bytes = packet_bytes,
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            let wildcard = client.publish("t/#", b"", QoS::AtLeastOnce, false).await;
            assert!(matches!(wildcard, Err(LocalClientError::Topic(_))), "{wildcard:?}");
            let filter = client.subscribe("t/#/a", QoS::AtLeastOnce).await;
            assert!(matches!(filter, Err(LocalClientError::Filter(_))), "{filter:?}");
            let system = client.publish("$SYS/t", b"", QoS::AtLeastOnce, false).await;
            assert!(matches!(system, Err(LocalClientError::Refused(ReasonCode::NotAuthorized))), "{system:?}");
            let long = client.publish("t", &[0; 10_000], QoS::AtLeastOnce, false).await;
            assert!(matches!(long, Err(LocalClientError::TooLarge(_, limit)) if limit == packet_bytes), "{long:?}");
            client.publish("t", b"", QoS::AtLeastOnce, false).await.unwrap();
        },
    );
}

#[test]
fn a_gateway_client_that_is_taken_over_learns_why_it_is_closed() {
    with_gateways(
        |_| {},
        async |gateway| {
            let mut first = gateway.client("same").await.unwrap();
            let _second = gateway.client("same").await.unwrap();
            let end = timeout(SOON, first.next()).await.expect("an end in time");
            assert!(matches!(end, Err(LocalClientError::Closed(Some(ReasonCode::SessionTakenOver)))), "{end:?}");
        },
    );
}

#[test]
fn a_waiting_gateway_client_sends_pings_to_keep_alive() {
    with_gateways(
        |config| config.broker.keep_alive_max = 1,
        async |gateway| {
            let mut client = gateway.client("a").await.unwrap();
            let waited = timeout(Duration::from_millis(2_500), client.next()).await;
            assert!(waited.is_err(), "it was closed: {waited:?}");
            client.publish("t", b"", QoS::AtLeastOnce, false).await.unwrap();
        },
    );
}
