//! Code beside the broker as a client of it.

use crate::api::broker::Broker;
use crate::codec::{
    Ack, AckKind, Answer, Connect, Disconnect, Encode, Frame, PacketId, PacketType, PingReq, Properties, Property,
    Publish, QoS, ReasonCode, SubscriptionOptions, Version, Window, split,
};
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::{Next, Then};
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::authorize::{Principal, Verdict};
use crate::time::Instant;
use crate::topic::TopicFilter;

/// A client without a wire: firmware that embeds a [`Broker`] subscribes with it and takes messages like anybody else, while
/// [`Broker::publish`] is the way in the other direction.
///
/// It is a Network Connection of MQTT 5.0 and counts as one. It starts without a Session and leaves none behind, sends PINGREQ if
/// the broker asks for it, and acknowledges a message of QoS 1 or 2 when the next one is asked for: until then the message is in
/// flight. The broker must be one without siblings.
///
/// ```
/// use goldcrest_core::codec::QoS;
/// use goldcrest_core::{AllowAll, Broker, Config, Instant, Local, LocalPublish, TopicFilter, TopicName, resources};
///
/// type Memory = resources! {
///     connections: 4, sessions: 4, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 16
/// };
/// let mut resources = Memory::new();
/// let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
/// let now = Instant::from_millis(0);
///
/// // The buffer is for the largest packet that is to be received.
/// let mut buffer = [0; 128];
/// let mut panel = Local::new("panel", &mut buffer);
/// panel.connect(&mut broker, now)?;
/// panel.subscribe(&mut broker, now, TopicFilter::new("led/set").unwrap(), QoS::AtLeastOnce)?;
///
/// // Somebody publishes; here it is the same firmware.
/// let command = LocalPublish {
///     topic: TopicName::new("led/set").unwrap(),
///     payload: b"on",
///     qos: QoS::AtLeastOnce,
///     retain: false,
///     expiry_secs: None,
/// };
/// broker.publish(now, command).unwrap();
///
/// // In each turn of the firmware's loop:
/// let mut led = false;
/// while let Some(publish) = panel.poll(&mut broker, now) {
///     led = publish.payload == b"on";
/// }
/// assert!(led);
/// # Ok::<(), goldcrest_core::codec::ReasonCode>(())
/// ```
#[derive(Debug)]
pub struct Local<'b> {
    identifier: &'b str,
    principal: Principal,
    connection: Option<ConnectionId>,
    /// Whole packets only, as the broker is told that this is the largest size.
    buffer: &'b mut [u8],
    /// What of the buffer has come and was not looked at.
    start: usize,
    end: usize,
    /// The message that [`Local::poll`] gave last.
    unanswered: Option<(AckKind, PacketId)>,
}

impl<'b> Local<'b> {
    /// A client with a Client Identifier, not connected. `buffer` bounds the packets it can take: a larger PUBLISH is dropped and
    /// counted `[MQTT-3.1.2-25]`. 64 bytes are the least that is of use.
    ///
    /// Where everybody may connect, another client with the same identifier takes its place `[MQTT-3.1.4-3]`; see
    /// [`Local::is_connected`].
    pub fn new(identifier: &'b str, buffer: &'b mut [u8]) -> Self {
        Self {
            identifier,
            principal: Principal::ANONYMOUS,
            connection: None,
            buffer,
            start: 0,
            end: 0,
            unanswered: None,
        }
    }

    /// The same as somebody: with [`Authentication::Ask`](crate::Authentication::Ask) it needs no verdict of the embedder's,
    /// and its permissions are those of `principal`.
    #[must_use]
    pub fn with_principal(self, principal: Principal) -> Self {
        Self { principal, ..self }
    }

    /// Opens a Network Connection, in place of an open one. `Err` says why the broker has refused it; without room it is
    /// [`ReasonCode::QuotaExceeded`], with too small a buffer [`ReasonCode::PacketTooLarge`].
    pub fn connect(&mut self, broker: &mut Broker<'_>, now: Instant) -> Result<(), ReasonCode> {
        self.disconnect(broker, now);
        let largest = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let properties = [Property::MaximumPacketSize(largest)];
        let connect = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(&properties),
            client_id: self.identifier,
            will: None,
            user_name: None,
            password: None,
        };
        let mut window = Window::new(0, self.buffer);
        connect.encode(Version::V5, &mut window);
        let bytes = window.finish().ok_or(ReasonCode::PacketTooLarge)?;
        let id = broker.handle_connected(now).map_err(|_| ReasonCode::QuotaExceeded)?;
        if let Next::Ask(_) = broker.handle_bytes(now, id, bytes).next {
            broker.handle_verdict(now, id, Verdict::accept(self.principal));
        }
        match broker.describe(id) {
            Some(info) if info.is_open => {
                self.connection = Some(id);
                Ok(())
            }
            info => {
                broker.handle_closed(now, id);
                let closing = info.and_then(|info| info.closing);
                Err(closing.map_or(ReasonCode::UnspecifiedError, |(code, _)| code))
            }
        }
    }

    /// Subscribes, and gets the retained messages that match. `Err` is the Reason Code that a SUBACK would have, or
    /// [`ReasonCode::ServerUnavailable`] without a connection.
    pub fn subscribe(
        &mut self,
        broker: &mut Broker<'_>,
        now: Instant,
        filter: TopicFilter<'_>,
        qos: QoS,
    ) -> Result<(), ReasonCode> {
        let (id, session) = self.session(broker)?;
        let code = broker.engine.subscribe(now, session, filter.as_str(), SubscriptionOptions::with_qos(qos), 0);
        if let Some(connection) = broker.engine.find(id) {
            broker.engine.mark_ready(connection);
        }
        if code.is_error() { Err(code) } else { Ok(()) }
    }

    /// Ends a subscription. `Err` is [`ReasonCode::NoSubscriptionExisted`] if there was none, or
    /// [`ReasonCode::ServerUnavailable`] without a connection.
    pub fn unsubscribe(&mut self, broker: &mut Broker<'_>, filter: TopicFilter<'_>) -> Result<(), ReasonCode> {
        let (_, session) = self.session(broker)?;
        if !broker.engine.unsubscribe(session, filter) {
            return Err(ReasonCode::NoSubscriptionExisted);
        }
        broker.engine.forget_left_groups(session);
        Ok(())
    }

    /// The next message, and the acknowledgement of the one before. To be called until there is none: in each turn, or after
    /// [`Broker::poll_ready`] has named [`Local::id`], and at least as often as the Server Keep Alive if the broker has one.
    pub fn poll(&mut self, broker: &mut Broker<'_>, now: Instant) -> Option<Publish<'_>> {
        if let Some((kind, packet_id)) = self.unanswered.take() {
            self.answer(broker, now, kind, packet_id);
        }
        self.keep_alive(broker, now);
        let publish = loop {
            let packet = self.next_packet(broker, now)?;
            let frame = frame(self.buffer.get(packet.clone())?)?;
            match frame.packet_type() {
                PacketType::Publish => break packet,
                PacketType::PubRel => {
                    let released = Ack::decode(Version::V5, frame).ok()?.packet_id;
                    self.answer(broker, now, AckKind::PubComp, released);
                }
                // CONNACK and PINGRESP were expected, DISCONNECT is followed by the end.
                _ => {}
            }
        };
        let publish = Publish::decode(Version::V5, frame(self.buffer.get(publish)?)?).ok()?;
        let kind = if publish.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
        self.unanswered = publish.packet_id.map(|packet_id| (kind, packet_id));
        Some(publish)
    }

    /// Whether the connection is open. The broker may have closed it, for another client with the same identifier or at
    /// [`Broker::shut_down`]; [`Local::poll`] finds that out. [`Local::connect`] opens it again, without subscriptions.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The Network Connection, as [`Broker::poll_ready`] names it.
    pub fn id(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Closes the connection. What was not polled is gone.
    pub fn disconnect(&mut self, broker: &mut Broker<'_>, now: Instant) {
        if let Some(id) = self.connection.take() {
            send(broker, now, id, &Disconnect::new(ReasonCode::Success));
            broker.handle_closed(now, id);
        }
        (self.start, self.end, self.unanswered) = (0, 0, None);
    }

    /// Where the next packet lies in the buffer.
    fn next_packet(&mut self, broker: &mut Broker<'_>, now: Instant) -> Option<core::ops::Range<usize>> {
        if self.start == self.end {
            let id = self.connection?;
            let transmit = broker.poll_transmit(now, id, self.buffer);
            (self.start, self.end) = (0, transmit.written);
            if transmit.then == Then::Close {
                broker.handle_closed(now, id);
                self.connection = None;
            }
        }
        let start = self.start;
        let (_, len) = split(self.buffer.get(start..self.end)?, u32::MAX).ok()??;
        self.start = start.saturating_add(len);
        Some(start..self.start)
    }

    fn session(&self, broker: &Broker<'_>) -> Result<(ConnectionId, Handle<Session>), ReasonCode> {
        let session = |id| broker.engine.connections[broker.engine.find(id)?].session.map(|session| (id, session));
        self.connection.and_then(session).ok_or(ReasonCode::ServerUnavailable)
    }

    fn answer(&mut self, broker: &mut Broker<'_>, now: Instant, kind: AckKind, packet_id: PacketId) {
        if let Some(id) = self.connection {
            send(broker, now, id, &Answer(kind, &Ack::new(packet_id, ReasonCode::Success)));
        }
    }

    /// Sends PINGREQ in time, if the broker has a Server Keep Alive `[MQTT-3.1.2-21]`.
    fn keep_alive(&mut self, broker: &mut Broker<'_>, now: Instant) {
        let Some((id, quiet, limit)) = self.connection.and_then(|id| {
            let connection = &broker.engine.connections[broker.engine.find(id)?];
            Some((id, now.millis_since(connection.last_active), connection.idle_limit_ms))
        }) else {
            return;
        };
        if limit != 0 && quiet.saturating_mul(3) >= u64::from(limit) {
            send(broker, now, id, &PingReq);
        }
    }
}

/// A packet of a few bytes. Of the answers to these the broker never owes so many that it would not take one.
fn send(broker: &mut Broker<'_>, now: Instant, id: ConnectionId, packet: &impl Encode) {
    let mut space = [0; 8];
    let mut window = Window::new(0, &mut space);
    packet.encode(Version::V5, &mut window);
    if let Some(bytes) = window.finish() {
        broker.handle_bytes(now, id, bytes);
    }
}

fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    split(bytes, u32::MAX).ok()?.map(|(frame, _)| frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AllowAll, Ask, Authentication, Config, LocalPublish, TopicName, resources};
    use std::string::{String, ToString};
    use std::vec::Vec;

    type Small = resources! {
        connections: 3,
        sessions: 3,
        subscriptions: 8,
        levels: 16,
        messages: 16,
        deliveries: 16,
        blocks: 64,
    };
    const NOW: Instant = Instant::from_millis(0);

    fn publish(broker: &mut Broker<'_>, topic: &str, payload: &[u8], qos: QoS, retain: bool) {
        let topic = TopicName::new(topic).unwrap();
        broker.publish(NOW, LocalPublish { topic, payload, qos, retain, expiry_secs: None }).unwrap();
    }

    fn filter(text: &str) -> TopicFilter<'_> {
        TopicFilter::new(text).unwrap()
    }

    fn poll_all(local: &mut Local<'_>, broker: &mut Broker<'_>) -> Vec<(String, Vec<u8>, QoS)> {
        let mut all = Vec::new();
        while let Some(publish) = local.poll(broker, NOW) {
            all.push((publish.topic.to_string(), publish.payload.to_vec(), publish.qos));
        }
        all
    }

    #[test]
    fn messages_of_each_qos_come_in_order_and_are_acknowledged() {
        let mut resources = Small::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let mut buffer = [0; 64];
        let mut local = Local::new("local", &mut buffer);
        local.connect(&mut broker, NOW).unwrap();
        local.subscribe(&mut broker, NOW, filter("a/+"), QoS::ExactlyOnce).unwrap();
        // More than what may be in flight or lie in the buffer.
        for round in 0..5_u8 {
            for (number, qos) in
                [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().cycle().take(12).enumerate()
            {
                publish(&mut broker, "a/b", &[round, number as u8], qos, false);
            }
            let payloads: Vec<_> =
                poll_all(&mut local, &mut broker).into_iter().map(|(_, payload, _)| payload).collect();
            let expected: Vec<_> = (0..12_u8).map(|number| std::vec![round, number]).collect();
            assert_eq!(payloads, expected);
            let counters = broker.counters();
            assert_eq!((counters.messages, counters.deliveries), (0, 0), "all are acknowledged");
            assert_eq!(counters.dropped.total(), 0);
        }
    }

    #[test]
    fn a_message_is_in_flight_until_the_next_one_is_asked_for() {
        let mut resources = Small::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let mut buffer = [0; 64];
        let mut local = Local::new("local", &mut buffer);
        local.connect(&mut broker, NOW).unwrap();
        local.subscribe(&mut broker, NOW, filter("a"), QoS::AtLeastOnce).unwrap();
        publish(&mut broker, "a", b"1", QoS::AtLeastOnce, false);
        assert_eq!(local.poll(&mut broker, NOW).unwrap().payload, b"1");
        assert_eq!(broker.counters().deliveries, 1);
        assert!(local.poll(&mut broker, NOW).is_none());
        assert_eq!(broker.counters().deliveries, 0);
    }

    #[test]
    fn retained_messages_come_with_the_subscription_and_none_after_its_end() {
        let mut resources = Small::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let mut buffer = [0; 64];
        let mut local = Local::new("local", &mut buffer);
        publish(&mut broker, "kept", b"value", QoS::AtLeastOnce, true);
        local.connect(&mut broker, NOW).unwrap();
        local.subscribe(&mut broker, NOW, filter("kept"), QoS::AtMostOnce).unwrap();
        assert_eq!(broker.poll_ready(), local.id());
        assert_eq!(poll_all(&mut local, &mut broker), [("kept".to_string(), b"value".to_vec(), QoS::AtMostOnce)]);
        local.unsubscribe(&mut broker, filter("kept")).unwrap();
        assert_eq!(local.unsubscribe(&mut broker, filter("kept")), Err(ReasonCode::NoSubscriptionExisted));
        publish(&mut broker, "kept", b"other", QoS::AtLeastOnce, true);
        assert!(local.poll(&mut broker, NOW).is_none());
    }

    #[test]
    fn what_exceeds_the_buffer_is_dropped_and_counted() {
        let mut resources = Small::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let mut buffer = [0; 64];
        let mut local = Local::new("local", &mut buffer);
        local.connect(&mut broker, NOW).unwrap();
        local.subscribe(&mut broker, NOW, filter("a"), QoS::AtLeastOnce).unwrap();
        // Around the payload: 2 bytes of fixed header, 3 of topic, 2 of Packet Identifier, 1 of Properties.
        publish(&mut broker, "a", &[1; 64 - 8 + 1], QoS::AtLeastOnce, false);
        publish(&mut broker, "a", &[2; 64 - 8], QoS::AtLeastOnce, false);
        assert_eq!(poll_all(&mut local, &mut broker), [("a".to_string(), std::vec![2; 56], QoS::AtLeastOnce)]);
        assert_eq!(broker.counters().dropped.by(crate::DropReason::TooLarge), 1);
    }

    #[test]
    fn refusals_are_told() {
        type Memory = resources! {
            connections: 1, sessions: 1, subscriptions: 8, levels: 2, messages: 8, deliveries: 8, blocks: 8
        };
        let mut resources = Memory::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let (mut one, mut two, mut tiny) = ([0; 64], [0; 64], [0; 8]);
        assert_eq!(Local::new("tiny", &mut tiny).connect(&mut broker, NOW), Err(ReasonCode::PacketTooLarge));
        let mut first = Local::new("first", &mut one);
        let unconnected = first.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce);
        assert_eq!(unconnected, Err(ReasonCode::ServerUnavailable));
        first.connect(&mut broker, NOW).unwrap();
        assert_eq!(Local::new("second", &mut two).connect(&mut broker, NOW), Err(ReasonCode::QuotaExceeded));
        let deep = first.subscribe(&mut broker, NOW, filter("a/b/c/d"), QoS::AtMostOnce);
        assert_eq!(deep, Err(ReasonCode::QuotaExceeded));
        first.disconnect(&mut broker, NOW);
        assert!(!first.is_connected());
        // The slot is free in the next turn.
        assert_eq!(broker.poll_ready(), None);
        let counters = broker.counters();
        assert_eq!((counters.connections, counters.sessions, counters.bytes), (0, 0, 0));
    }

    #[test]
    fn another_client_with_its_identifier_takes_its_place() {
        let mut resources = Small::new();
        let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let (mut one, mut two) = ([0; 64], [0; 64]);
        let mut first = Local::new("same", &mut one);
        first.connect(&mut broker, NOW).unwrap();
        let mut second = Local::new("same", &mut two);
        second.connect(&mut broker, NOW).unwrap();
        assert!(first.poll(&mut broker, NOW).is_none());
        assert!(!first.is_connected() && second.is_connected());
        first.connect(&mut broker, NOW).unwrap();
        first.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce).unwrap();
        publish(&mut broker, "a", b"x", QoS::AtMostOnce, false);
        assert_eq!(poll_all(&mut first, &mut broker).len(), 1);
    }

    #[test]
    fn a_server_keep_alive_is_obeyed_by_polling() {
        let mut resources = Small::new();
        let config = Config { keep_alive_max: 10, ..Config::firmware(1) };
        let mut broker = Broker::new(resources.memory(), config, &AllowAll);
        let mut buffer = [0; 64];
        let mut local = Local::new("local", &mut buffer);
        local.connect(&mut broker, NOW).unwrap();
        for second in 1..100 {
            let now = Instant::from_millis(second * 1000);
            broker.handle_timeout(now);
            assert!(local.poll(&mut broker, now).is_none());
            assert!(local.is_connected(), "closed after {second} s");
        }
        let late = Instant::from_millis(200_000);
        broker.handle_timeout(late);
        assert!(local.poll(&mut broker, late).is_none());
        assert!(!local.is_connected());
    }

    #[test]
    fn it_needs_no_verdict_and_has_the_permissions_of_its_principal() {
        struct OnlySeven;
        impl crate::Authorize for OnlySeven {
            fn publish(&self, _: &crate::Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
                false
            }
            fn subscribe(&self, who: &crate::Subject<'_>, _: TopicFilter<'_>, _: QoS) -> crate::Subscribable {
                crate::Subscribable::wholly_if(who.principal() == Principal(7))
            }
        }
        let mut resources = Small::new();
        let config = Config { authentication: Authentication::Ask, ..Config::firmware(1) };
        let mut broker = Broker::new(resources.memory(), config, &OnlySeven);
        let (mut one, mut two) = ([0; 64], [0; 64]);
        let mut seven = Local::new("seven", &mut one).with_principal(Principal(7));
        seven.connect(&mut broker, NOW).unwrap();
        seven.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce).unwrap();
        let mut anonymous = Local::new("anonymous", &mut two);
        anonymous.connect(&mut broker, NOW).unwrap();
        let refused = anonymous.subscribe(&mut broker, NOW, filter("a"), QoS::AtMostOnce);
        assert_eq!(refused, Err(ReasonCode::NotAuthorized));
        // Others are asked for as ever.
        let id = broker.handle_connected(NOW).unwrap();
        let received = broker.handle_bytes(NOW, id, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c");
        assert!(matches!(received.next, Next::Ask(Ask::Connect(_))));
    }
}
