//! rumqttc with MQTT 3.1.1.

use super::{KEEP_ALIVE, LARGE, PATIENCE, REQUESTS, port, unique};
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, LastWill, MqttOptions, Outgoing, Publish, QoS};
use std::collections::VecDeque;
use tokio::time::timeout;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

struct Client {
    client: AsyncClient,
    events: EventLoop,
    session_present: bool,
    arrived: VecDeque<Publish>,
}

impl Client {
    async fn connect() -> Self {
        Self::connect_with(&unique("client"), |_| {}).await
    }

    async fn connect_with(client_id: &str, set: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", port());
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(2 * LARGE, 2 * LARGE);
        set(&mut options);
        let (client, events) = AsyncClient::new(options, REQUESTS);
        let mut this = Self { client, events, session_present: false, arrived: VecDeque::new() };
        this.session_present = this
            .until(|event| match event {
                Event::Incoming(Incoming::ConnAck(connack)) => Some(connack.session_present),
                _ => None,
            })
            .await;
        this
    }

    /// Runs the client until `wanted` accepts an event. Messages that come meanwhile are kept for [`Client::next`].
    async fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            let event = timeout(PATIENCE, self.events.poll()).await.expect("an event in time").expect("a connection");
            if let Event::Incoming(Incoming::Publish(message)) = &event {
                self.arrived.push_back(message.clone());
            }
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }

    async fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).await.unwrap();
        self.until(|event| matches!(event, Event::Incoming(Incoming::SubAck(_))).then_some(())).await;
    }

    /// Publishes, and returns when the message is acknowledged, or written for QoS 0.
    async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, qos, retain, payload).await.unwrap();
        self.until(|event| {
            let is_over = match qos {
                QoS::AtMostOnce => matches!(event, Event::Outgoing(Outgoing::Publish(_))),
                QoS::AtLeastOnce => matches!(event, Event::Incoming(Incoming::PubAck(_))),
                QoS::ExactlyOnce => matches!(event, Event::Incoming(Incoming::PubComp(_))),
            };
            is_over.then_some(())
        })
        .await;
    }

    async fn next(&mut self) -> Publish {
        while self.arrived.is_empty() {
            self.until(|event| matches!(event, Event::Incoming(Incoming::Publish(_))).then_some(())).await;
        }
        self.arrived.pop_front().unwrap()
    }

    async fn disconnect(mut self) {
        self.client.disconnect().await.unwrap();
        self.until(|event| matches!(event, Event::Outgoing(Outgoing::Disconnect)).then_some(())).await;
    }
}

#[tokio::test]
async fn rumqttc_publishes_and_receives_every_qos() {
    let topic = unique("qos");
    let mut client = Client::connect().await;
    client.subscribe(&topic, QoS::ExactlyOnce).await;
    for (payload, qos) in ["0", "1", "2"].into_iter().zip(QOS) {
        client.publish(&topic, qos, false, payload).await;
        let message = client.next().await;
        assert_eq!((&message.payload[..], message.qos, message.dup), (payload.as_bytes(), qos, false));
    }
}

#[tokio::test]
async fn rumqttc_sets_replaces_and_clears_retained_messages() {
    let topic = unique("retained");
    let mut publisher = Client::connect().await;
    publisher.publish(&topic, QoS::AtLeastOnce, true, "first").await;
    publisher.publish(&topic, QoS::AtLeastOnce, true, "second").await;
    let mut early = Client::connect().await;
    early.subscribe(&topic, QoS::AtLeastOnce).await;
    let message = early.next().await;
    assert_eq!((&message.payload[..], message.retain), (&b"second"[..], true));
    publisher.publish(&topic, QoS::AtLeastOnce, true, "").await;
    let mut late = Client::connect().await;
    late.subscribe(&topic, QoS::AtLeastOnce).await;
    publisher.publish(&topic, QoS::AtLeastOnce, false, "live").await;
    assert_eq!(&late.next().await.payload[..], b"live");
}

#[tokio::test]
async fn rumqttc_gets_the_will_of_a_lost_connection() {
    let topic = unique("will");
    let mut watcher = Client::connect().await;
    watcher.subscribe(&topic, QoS::ExactlyOnce).await;
    let will = LastWill::new(&topic, "gone", QoS::AtLeastOnce, false);
    let client_id = unique("lost");
    let lost = Client::connect_with(&client_id, |options| {
        options.set_last_will(will);
    });
    drop(lost.await);
    let message = watcher.next().await;
    assert_eq!((&message.payload[..], message.qos), (&b"gone"[..], QoS::AtLeastOnce));
}

#[tokio::test]
async fn rumqttc_gets_messages_that_waited_for_its_session() {
    let (topic, client_id) = (unique("resume"), unique("absent"));
    let keep = |options: &mut MqttOptions| {
        options.set_clean_session(false);
    };
    let mut first = Client::connect_with(&client_id, keep).await;
    assert!(!first.session_present);
    first.subscribe(&topic, QoS::ExactlyOnce).await;
    first.disconnect().await;
    let mut publisher = Client::connect().await;
    for number in 0..50 {
        publisher.publish(&topic, QOS[1 + number % 2], false, number.to_string()).await;
    }
    let mut again = Client::connect_with(&client_id, keep).await;
    assert!(again.session_present);
    for number in 0..50 {
        let message = again.next().await;
        assert_eq!((&message.payload[..], message.qos), (number.to_string().as_bytes(), QOS[1 + number % 2]));
    }
}

#[tokio::test]
async fn rumqttc_exchanges_a_payload_of_a_mebibyte() {
    let topic = unique("large");
    let mut client = Client::connect().await;
    client.subscribe(&topic, QoS::ExactlyOnce).await;
    let payload: Vec<u8> = (0..LARGE).map(|index| index as u8).collect();
    for qos in QOS {
        client.publish(&topic, qos, false, payload.clone()).await;
        assert!(client.next().await.payload == payload);
    }
}
