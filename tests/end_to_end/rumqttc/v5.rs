//! rumqttc with MQTT 5.

use super::{KEEP_ALIVE, LARGE, PATIENCE, REQUESTS, port, unique};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, DisconnectReasonCode, Filter, LastWill, Publish, PublishProperties, RetainForwardRule,
    SubscribeProperties,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming, MqttOptions, StateError};
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
        let mut properties = ConnectProperties::new();
        properties.max_packet_size = Some(2 * LARGE as u32);
        options.set_keep_alive(KEEP_ALIVE).set_connect_properties(properties);
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

    async fn subscribe(&mut self, filter: Filter, identifier: Option<usize>) {
        let properties = SubscribeProperties { id: identifier, user_properties: Vec::new() };
        self.client.subscribe_many_with_properties([filter], properties).await.unwrap();
        self.until(|event| matches!(event, Event::Incoming(Incoming::SubAck(_))).then_some(())).await;
    }

    async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: impl Into<Vec<u8>>) {
        self.publish_with(topic, qos, retain, payload, PublishProperties::default()).await;
    }

    /// Publishes, and returns when the message is acknowledged, or written for QoS 0.
    async fn publish_with(
        &mut self,
        topic: &str,
        qos: QoS,
        retain: bool,
        payload: impl Into<Vec<u8>>,
        properties: PublishProperties,
    ) {
        let payload = payload.into();
        self.client.publish_with_properties(topic, qos, retain, payload, properties).await.unwrap();
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
    client.subscribe(Filter::new(&topic, QoS::ExactlyOnce), Some(7)).await;
    for (payload, qos) in ["0", "1", "2"].into_iter().zip(QOS) {
        client.publish(&topic, qos, false, payload).await;
        let message = client.next().await;
        assert_eq!((&message.payload[..], message.qos, message.dup), (payload.as_bytes(), qos, false));
        assert_eq!(message.properties.unwrap().subscription_identifiers, [7]);
    }
}

#[tokio::test]
async fn rumqttc_uses_retain_handling_and_retain_as_published() {
    let topic = unique("retained");
    let mut publisher = Client::connect().await;
    publisher.publish(&topic, QoS::AtLeastOnce, true, "kept").await;
    let mut subscriber = Client::connect().await;
    let mut filter = Filter::new(&topic, QoS::AtLeastOnce);
    filter.retain_forward_rule = RetainForwardRule::Never;
    filter.preserve_retain = true;
    subscriber.subscribe(filter.clone(), None).await;
    publisher.publish(&topic, QoS::AtLeastOnce, true, "new").await;
    let message = subscriber.next().await;
    assert_eq!((&message.payload[..], message.retain), (&b"new"[..], true));
    filter.retain_forward_rule = RetainForwardRule::OnEverySubscribe;
    subscriber.subscribe(filter, None).await;
    assert_eq!(&subscriber.next().await.payload[..], b"new");
}

#[tokio::test]
async fn rumqttc_gets_the_will_of_a_lost_connection() {
    let topic = unique("will");
    let mut watcher = Client::connect().await;
    watcher.subscribe(Filter::new(&topic, QoS::ExactlyOnce), None).await;
    let will = LastWill::new(&topic, "gone", QoS::ExactlyOnce, false, None);
    let client_id = unique("lost");
    let lost = Client::connect_with(&client_id, |options| {
        options.set_last_will(will);
    });
    drop(lost.await);
    let message = watcher.next().await;
    assert_eq!((&message.payload[..], message.qos), (&b"gone"[..], QoS::ExactlyOnce));
}

#[tokio::test]
async fn rumqttc_gets_messages_that_waited_for_its_session() {
    let (topic, client_id) = (unique("resume"), unique("absent"));
    let keep = |options: &mut MqttOptions| {
        options.set_clean_start(false).set_session_expiry_interval(Some(300));
    };
    let mut first = Client::connect_with(&client_id, keep).await;
    assert!(!first.session_present);
    first.subscribe(Filter::new(&topic, QoS::ExactlyOnce), None).await;
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
async fn rumqttc_clients_share_messages_of_a_shared_subscription() {
    let (topic, group) = (unique("shared"), unique("group"));
    let mut members = [Client::connect().await, Client::connect().await];
    for member in &mut members {
        member.subscribe(Filter::new(format!("$share/{group}/{topic}"), QoS::AtLeastOnce), None).await;
    }
    let mut publisher = Client::connect().await;
    for number in 0..40u8 {
        publisher.publish(&topic, QoS::AtLeastOnce, false, [number]).await;
    }
    let mut received = Vec::new();
    for member in &mut members {
        for _ in 0..20 {
            received.push(member.next().await.payload[0]);
        }
    }
    received.sort_unstable();
    assert!(received.into_iter().eq(0..40));
}

#[tokio::test]
async fn rumqttc_uses_a_topic_alias_and_ordered_user_properties() {
    let topic = unique("alias");
    let mut subscriber = Client::connect().await;
    subscriber.subscribe(Filter::new(&topic, QoS::AtLeastOnce), None).await;
    let mut publisher = Client::connect().await;
    let pairs: Vec<_> = [("b", "1"), ("a", "2"), ("b", "1")].map(|(name, value)| (name.into(), value.into())).into();
    let properties = PublishProperties {
        topic_alias: Some(3),
        user_properties: pairs.clone(),
        correlation_data: Some(vec![0, 255].into()),
        response_topic: Some("answers".into()),
        ..PublishProperties::default()
    };
    publisher.publish_with(&topic, QoS::AtLeastOnce, false, "by name", properties.clone()).await;
    publisher.publish_with("", QoS::AtLeastOnce, false, "by alias", properties).await;
    for payload in ["by name", "by alias"] {
        let message = subscriber.next().await;
        assert_eq!((&message.topic[..], &message.payload[..]), (topic.as_bytes(), payload.as_bytes()));
        let given = message.properties.unwrap();
        assert_eq!(given.user_properties, pairs);
        assert_eq!(given.correlation_data.as_deref(), Some(&[0, 255][..]));
        assert_eq!(given.response_topic.as_deref(), Some("answers"));
    }
}

#[tokio::test]
async fn rumqttc_exchanges_a_payload_of_a_mebibyte() {
    let topic = unique("large");
    let mut client = Client::connect().await;
    client.subscribe(Filter::new(&topic, QoS::ExactlyOnce), None).await;
    let payload: Vec<u8> = (0..LARGE).map(|index| index as u8).collect();
    for qos in QOS {
        client.publish(&topic, qos, false, payload.clone()).await;
        assert!(client.next().await.payload == payload);
    }
}

#[tokio::test]
async fn rumqttc_is_told_of_a_takeover() {
    let client_id = unique("taken");
    let mut older = Client::connect_with(&client_id, |_| {}).await;
    let _newer = Client::connect_with(&client_id, |_| {}).await;
    let end = timeout(PATIENCE, async {
        loop {
            if let Err(error) = older.events.poll().await {
                return error;
            }
        }
    });
    let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = end.await.unwrap() else {
        panic!("it is told by a DISCONNECT");
    };
    assert_eq!(reason_code, DisconnectReasonCode::SessionTakenOver);
}
