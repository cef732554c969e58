//! Commands of the embedder.

use super::broker::Broker;
use crate::codec::{QoS, ReasonCode, Refusal};
use crate::config::{Config, Unchangeable};
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::Full;
use crate::engine::outcomes::LocalPublish;
use crate::seam::authorize::Permissions;
use crate::time::Instant;
use crate::topic::TopicName;

impl<'m> Broker<'m> {
    /// Publishes a message of the embedder's own to all subscribers.
    ///
    /// # Errors
    /// There is no room for the message. With a full store this counts for the subscribers on this shard only: another shard that has to
    /// record the message counts it as lost. Or the message is not retained and, after a restart, the other shards have not told yet which
    /// subscriptions they have.
    pub fn publish(&mut self, now: Instant, message: LocalPublish<'_>) -> Result<(), Full> {
        self.engine.see(now);
        self.engine.publish_local(now, message)
    }

    /// To be called when the answers of [`Authorize`](crate::Authorize) may have changed. From now on it is asked again: about each message
    /// that the broker had before, when the message is transmitted, and about all subscriptions, a share in each
    /// [`Broker::handle_timeout`], which is due at once. A subscription that is not permitted any more ends, and the connection of its
    /// client is closed with 0x87 Not authorized. Without the feature `alloc` subscriptions stay, and
    /// [`Authorize::receive`](crate::Authorize::receive) is asked about each message from then on.
    pub fn rules_changed(&mut self, now: Instant) {
        self.engine.see(now);
        self.engine.begin_rules();
    }

    /// Asks these permissions from now on, and asks again about everything that was granted so far, see [`Broker::rules_changed`].
    pub fn set_authorize(&mut self, now: Instant, authorize: impl Into<Permissions<'m>>) {
        self.engine.authorize = authorize.into();
        self.rules_changed(now);
    }

    /// Closes the connection of a client, in MQTT 5.0 with a DISCONNECT of this Reason Code, which must be one that a Server may send
    /// (section 3.14.2.1). The client's Will is published. Returns whether the client was connected.
    pub fn disconnect(&mut self, now: Instant, client_id: &str, code: ReasonCode) -> bool {
        let session = self.engine.session_named(client_id);
        let connection = session.and_then(|session| self.engine.sessions[session].connection);
        if let Some(connection) = connection {
            self.engine.close(now, connection, Refusal::new(code, "an operator has closed the connection"), true);
        }
        connection.is_some()
    }

    /// Closes a connection that the embedder can't serve any more. An MQTT 5.0 client gets DISCONNECT with `code`, which has to be a Reason Code
    /// that a Server may send (section 3.14.2.1). The Will is published. `why` is for [`ConnectionInfo`](crate::ConnectionInfo) and for the client.
    /// The broker consumes no more bytes of the connection: the embedder forgets those that it still holds.
    pub fn disconnect_connection(&mut self, now: Instant, id: ConnectionId, code: ReasonCode, why: &'static str) {
        self.engine.see(now);
        if let Some(connection) = self.engine.find(id) {
            self.engine.close(now, connection, Refusal::new(code, why), true);
        }
    }

    /// Ends a Session with its subscriptions and its queue, and publishes its Will. A connected client gets DISCONNECT 0x98 Administrative
    /// action, and its Session ends with the connection. Returns whether there was such a Session.
    pub fn end_session(&mut self, now: Instant, client_id: &str) -> bool {
        let Some(session) = self.engine.session_named(client_id) else { return false };
        if self.engine.sessions[session].connection.is_some() {
            self.engine.sessions[session].expiry_secs = 0;
            self.engine.note_session(session);
            self.disconnect(now, client_id, ReasonCode::AdministrativeAction);
        } else {
            self.engine.end_session(now, session);
        }
        true
    }

    /// Removes the retained message of a topic, whichever shard keeps it. Clients that subscribed to the topic get an empty message, as if a client
    /// had removed the retained one `[MQTT-3.3.1-6]`.
    ///
    /// # Errors
    /// There is no room for the empty message.
    pub fn remove_retained(&mut self, now: Instant, topic: TopicName<'_>) -> Result<(), Full> {
        self.publish(now, LocalPublish { topic, payload: &[], qos: QoS::AtMostOnce, retain: true, expiry_secs: None })
    }

    /// Changes the configuration as a whole; after an error nothing has changed. Nothing is cut off at once: where more messages wait than
    /// a new limit allows, the overflow policy makes room when the next message comes. Settings that were agreed upon at CONNECT (Keep
    /// Alive, Session Expiry Interval, Receive Maximum, the verdict) hold for clients that connect from now on.
    ///
    /// # Errors
    /// The seed, the shard or `durable` differs: these can't change while a broker runs.
    pub fn reconfigure(&mut self, now: Instant, config: Config<'m>) -> Result<(), Unchangeable> {
        self.engine.see(now);
        self.engine.reconfigure(config)
    }

    /// Closes every connection, with DISCONNECT 0x8B in MQTT 5.0. Transmit the last packets, then drop the broker.
    pub fn shut_down(&mut self, now: Instant) {
        self.engine.close_all(now);
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::codec::QoS;
    use crate::topic::TopicFilter;
    use crate::{Authorize, LocalClient, LocalEvent, Subject, Subscribable, resources};

    const NOW: Instant = Instant::from_millis(0);

    /// Permits everything but the sending of messages to clients, which it counts and denies.
    struct Counting(AtomicU32);

    impl Authorize for Counting {
        fn publish(&self, _: &Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
            true
        }

        fn subscribe(&self, _: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
            Subscribable::Wholly
        }

        fn receive(&self, _: &Subject<'_>, _: TopicName<'_>) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            false
        }
    }

    /// Publishes a message, and returns whether the client gets it.
    fn gets_one(broker: &mut Broker<'_>, client: &mut LocalClient<'_>) -> bool {
        let topic = TopicName::new("t").unwrap();
        let message = LocalPublish { topic, payload: b"x", qos: QoS::AtMostOnce, retain: false, expiry_secs: None };
        broker.publish(NOW, message).unwrap();
        core::iter::from_fn(|| client.poll(broker, NOW).map(|event| matches!(event, LocalEvent::Message(_))))
            .any(|it| it)
    }

    #[test]
    fn after_a_change_of_rules_each_message_to_an_older_session_needs_permission() {
        type Memory = resources! {
            connections: 2, sessions: 2, subscriptions: 4, levels: 8, messages: 8, deliveries: 8, blocks: 16
        };
        let mut resources = Memory::new();
        let counting = Counting(AtomicU32::new(0));
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &counting);
        let (mut incoming, mut outgoing) = ([[0; 64]; 2], [[0; 64]; 2]);
        let mut buffers = incoming.iter_mut().zip(&mut outgoing);
        let mut client = |client_id, broker: &mut Broker<'_>| {
            let (incoming, outgoing) = buffers.next().unwrap();
            let mut client = LocalClient::new(client_id, incoming, outgoing);
            client.connect(broker, NOW).unwrap();
            client.subscribe(broker, NOW, TopicFilter::new("t").unwrap(), QoS::AtMostOnce).unwrap();
            client
        };

        let mut before = client("before", &mut broker);
        assert!(gets_one(&mut broker, &mut before));
        assert_eq!(counting.0.load(Ordering::Relaxed), 0);

        broker.rules_changed(NOW);
        for asked in 1..=3 {
            assert!(!gets_one(&mut broker, &mut before));
            assert_eq!(counting.0.load(Ordering::Relaxed), asked);
        }

        before.disconnect(&mut broker, NOW);
        let mut after = client("after", &mut broker);
        assert!(gets_one(&mut broker, &mut after));
        assert_eq!(counting.0.load(Ordering::Relaxed), 3);
    }
}
