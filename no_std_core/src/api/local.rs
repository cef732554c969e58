//! A local client: a client in the program that embeds the broker.

use crate::api::broker::Broker;
use crate::codec::{
    Connect, Encode, PacketId, PacketType, Properties, Property, Publish, QoS, ReasonCode, SubscriptionOptions, Version,
};
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::{LocalPublish, Next, Then};
use crate::seam::authorize::{Principal, Verdict};
use crate::time::Instant;
use crate::topic::TopicFilter;
use packets::{DISCONNECT, OneFilter, PINGREQ, Packets, acknowledgement, answer};

mod packets;

/// A client without a wire: a program that embeds a [`Broker`] subscribes, publishes and receives messages as any other client does.
/// [`Broker::publish`] is simpler for a program that needs no answer.
///
/// The client has a Network Connection of MQTT 5.0, which counts as any other. It starts without a Session and leaves none behind, sends
/// PINGREQ if the broker asks for it, and acknowledges a message of QoS 1 or 2 when the next message is polled: until then the message is
/// in flight.
///
/// The client waits where other clients wait: until the other shards know of a subscription, until a message is safe in the store, until
/// there is room. No call blocks: [`LocalClient::poll`] does what is possible, and [`Broker::poll_ready`] names [`LocalClient::id`] when
/// more is possible. With several shards the client connects to the one on which its Client Identifier is at home, see
/// [`Shard::home_of`](crate::Shard::home_of).
///
/// ```
/// use goldcrest_core::codec::QoS;
/// use goldcrest_core::{AllowAll, Broker, Config, Instant, LocalClient, LocalEvent, LocalPublish};
/// use goldcrest_core::{TopicFilter, TopicName, resources};
///
/// type Memory = resources! {
///     connections: 4, sessions: 4, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 16
/// };
/// let mut resources = Memory::new();
/// let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
/// let now = Instant::from_millis(0);
///
/// // The first buffer has room for the largest packet to be received, the second for the largest packet to be sent.
/// let (mut incoming, mut outgoing) = ([0; 128], [0; 64]);
/// let mut panel = LocalClient::new("panel", &mut incoming, &mut outgoing);
/// panel.connect(&mut broker, now)?;
/// panel.subscribe(&mut broker, now, TopicFilter::new("led/set").unwrap(), QoS::AtLeastOnce)?;
///
/// // A client publishes; here it is the local client itself.
/// let command = LocalPublish {
///     topic: TopicName::new("led/set").unwrap(),
///     payload: b"on",
///     qos: QoS::ExactlyOnce,
///     retain: false,
///     expiry_secs: None,
/// };
/// let sent = panel.publish(&mut broker, now, command)?;
///
/// // In each turn of the program's loop:
/// let (mut led, mut is_kept) = (false, false);
/// while let Some(event) = panel.poll(&mut broker, now) {
///     match event {
///         LocalEvent::Message(publish) => led = publish.payload == b"on",
///         // The broker has granted the subscription, or has accepted the message.
///         LocalEvent::Answer { packet_id, code } => is_kept |= Some(packet_id) == sent && !code.is_error(),
///         LocalEvent::Closed(code) => panic!("{code:?}"),
///         _ => {}
///     }
/// }
/// assert!(led && is_kept && !panel.is_waiting());
/// # Ok::<(), goldcrest_core::codec::ReasonCode>(())
/// ```
#[derive(Debug)]
pub struct LocalClient<'b> {
    client_id: &'b str,
    /// The client's principal, for a broker that asks who connects.
    identity: Option<Identity>,
    connection: Option<ConnectionId>,
    /// Whole packets from the broker. No packet is larger than the buffer, whose size is the client's Maximum Packet Size.
    incoming: Packets<'b>,
    /// CONNECT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH that the broker has not consumed yet.
    outgoing: Packets<'b>,
    /// The acknowledgement of the message that [`LocalClient::poll`] returned last.
    unanswered: Option<[u8; 4]>,
    /// The Packet Identifiers of requests that are not answered; bit 0 stands for identifier 1.
    requests: u32,
    /// The Packet Identifiers among them that belong to a PUBLISH of QoS 2.
    twofold: u32,
    /// The code with which the connection was closed, until the caller is told.
    closed: Option<ReasonCode>,
}

/// A result of [`LocalClient::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalEvent<'a> {
    /// A message has come. The next [`LocalClient::poll`] acknowledges it.
    Message(Publish<'a>),
    /// The broker has granted the request with this Packet Identifier, or has refused it: then the code is an error. For a subscription the
    /// code is the granted QoS. An answered message is as safe as the broker makes it.
    Answer {
        /// The Packet Identifier that [`LocalClient::subscribe`], [`LocalClient::unsubscribe`] or [`LocalClient::publish`] returned.
        packet_id: PacketId,
        /// The code of SUBACK, UNSUBACK, PUBACK, PUBREC or PUBCOMP.
        code: ReasonCode,
    },
    /// The broker has closed the connection, or has refused it, with this code. Requests without an answer will get none.
    Closed(ReasonCode),
}

/// The client's principal, and the call that accepts the client. `accept` is a function pointer, so that a program that never calls
/// `with_principal` does not link `handle_verdict`, which would take flash.
#[derive(Clone, Copy, Debug)]
struct Identity {
    principal: Principal,
    accept: Accept,
}

type Accept = for<'a, 'm, 'v> fn(&'a mut Broker<'m>, Instant, ConnectionId, Verdict<'v>);

impl<'b> LocalClient<'b> {
    /// The most requests that may wait for their answers.
    pub const MAX_REQUESTS: u32 = u32::BITS;

    /// A client with a Client Identifier, not connected.
    ///
    /// `incoming` bounds the packets that the client can receive: a larger PUBLISH is dropped and counted `[MQTT-3.1.2-25]`. At least 64
    /// bytes are useful. `outgoing` bounds the packets that the client can send, which stay in it while they wait for the broker. CONNECT
    /// takes 20 bytes and the Client Identifier.
    ///
    /// If any client may connect, another client with the same identifier can take over `[MQTT-3.1.4-3]`; see
    /// [`LocalClient::is_connected`].
    pub fn new(client_id: &'b str, incoming: &'b mut [u8], outgoing: &'b mut [u8]) -> Self {
        Self {
            client_id,
            identity: None,
            connection: None,
            incoming: Packets { bytes: incoming, start: 0, end: 0 },
            outgoing: Packets { bytes: outgoing, start: 0, end: 0 },
            unanswered: None,
            requests: 0,
            twofold: 0,
            closed: None,
        }
    }

    /// The same client with a principal. A broker with [`Authentication::Ask`](crate::Authentication::Ask) accepts it without a verdict of
    /// the embedder, and its permissions are those of `principal`, which may be [`Principal::ANONYMOUS`]. Without a principal such a broker
    /// refuses the client.
    #[must_use]
    pub fn with_principal(self, principal: Principal) -> Self {
        Self {
            identity: Some(Identity {
                principal,
                accept: |broker, now, id, verdict| broker.handle_verdict(now, id, verdict),
            }),
            ..self
        }
    }

    /// Opens a Network Connection, and closes an open one first. Requests may follow at once.
    ///
    /// # Errors
    /// The Reason Code with which the broker refuses the connection: [`ReasonCode::QuotaExceeded`] without room,
    /// [`ReasonCode::PacketTooLarge`] if the buffer is too small, and [`ReasonCode::UseAnotherServer`] if the Client Identifier is at home
    /// on another shard. If the connection has to wait, a refusal comes later as [`LocalEvent::Closed`].
    pub fn connect(&mut self, broker: &mut Broker<'_>, now: Instant) -> Result<(), ReasonCode> {
        self.disconnect(broker, now);
        if !self.client_id.is_empty() && !broker.engine.config.shard.is_home_of(self.client_id.as_bytes()) {
            return Err(ReasonCode::UseAnotherServer);
        }
        let largest = u32::try_from(self.incoming.bytes.len()).unwrap_or(u32::MAX);
        let properties =
            [Property::MaximumPacketSize(largest), Property::ReceiveMaximum(for_handshakes(broker).max(1))];
        self.outgoing.put(&Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(&properties),
            client_id: self.client_id,
            will: None,
            user_name: None,
            password: None,
        })?;
        let Ok(id) = broker.handle_connected(now) else {
            self.outgoing.clear();
            return Err(ReasonCode::QuotaExceeded);
        };
        self.connection = Some(id);
        self.hand_in(broker, now);
        match self.closed.take().or_else(|| closing(broker, id)) {
            None => Ok(()),
            Some(code) => {
                self.end_connection(broker, now);
                Err(code)
            }
        }
    }

    /// Asks for a subscription and for the retained messages that match. The Packet Identifier comes back with the [`LocalEvent::Answer`].
    ///
    /// # Errors
    /// [`ReasonCode::ServerUnavailable`] without a connection, [`ReasonCode::PacketTooLarge`] if the packet exceeds the buffer.
    /// [`ReasonCode::ServerBusy`] if the buffer has no room now, or if [`LocalClient::MAX_REQUESTS`] requests wait for an answer: try again
    /// after some calls of [`LocalClient::poll`].
    pub fn subscribe(
        &mut self,
        broker: &mut Broker<'_>,
        now: Instant,
        filter: TopicFilter<'_>,
        qos: QoS,
    ) -> Result<PacketId, ReasonCode> {
        let packet_id = self.free_packet_id()?;
        let options = SubscriptionOptions::with_qos(qos).bits();
        self.request(broker, now, Some(packet_id), &OneFilter { packet_id, filter, options: Some(options) })?;
        Ok(packet_id)
    }

    /// Asks for the end of a subscription. The code of the [`LocalEvent::Answer`] is [`ReasonCode::NoSubscriptionExisted`] if there was none.
    ///
    /// # Errors
    /// As [`LocalClient::subscribe`].
    pub fn unsubscribe(
        &mut self,
        broker: &mut Broker<'_>,
        now: Instant,
        filter: TopicFilter<'_>,
    ) -> Result<PacketId, ReasonCode> {
        let packet_id = self.free_packet_id()?;
        self.request(broker, now, Some(packet_id), &OneFilter { packet_id, filter, options: None })?;
        Ok(packet_id)
    }

    /// Publishes with the permissions of this client. With QoS 1 and 2 the Packet Identifier comes back with the [`LocalEvent::Answer`].
    ///
    /// # Errors
    /// As [`LocalClient::subscribe`]; [`ReasonCode::ServerBusy`] also if as many messages of QoS 2 are on their way as
    /// [`Limits::receive_maximum`](crate::Limits::receive_maximum) allows.
    pub fn publish(
        &mut self,
        broker: &mut Broker<'_>,
        now: Instant,
        message: LocalPublish<'_>,
    ) -> Result<Option<PacketId>, ReasonCode> {
        let LocalPublish { topic, payload, qos, retain, expiry_secs } = message;
        let packet_id = if qos == QoS::AtMostOnce { None } else { Some(self.free_packet_id()?) };
        let is_twofold = qos == QoS::ExactlyOnce;
        if is_twofold && self.twofold.count_ones() >= u32::from(broker.engine.config.limits.receive_maximum) {
            return Err(ReasonCode::ServerBusy);
        }
        let expiry = [Property::MessageExpiryInterval(expiry_secs.unwrap_or(0))];
        let properties = if expiry_secs.is_some() { Properties::new(&expiry) } else { Properties::EMPTY };
        let topic = topic.as_str();
        self.request(
            broker,
            now,
            packet_id,
            &Publish { dup: false, qos, retain, topic, packet_id, properties, payload },
        )?;
        if let Some(packet_id) = packet_id.filter(|_| is_twofold) {
            self.twofold |= bit(packet_id);
        }
        Ok(packet_id)
    }

    /// Continues requests that wait, acknowledges the message before, and returns what has come. To be called until it returns `None`: in
    /// each turn, or after [`Broker::poll_ready`] has named [`LocalClient::id`] and after each request, and at least as often as the Server
    /// Keep Alive if the broker has one.
    pub fn poll(&mut self, broker: &mut Broker<'_>, now: Instant) -> Option<LocalEvent<'_>> {
        if let Some(packet) = self.unanswered {
            if !self.send(broker, now, &packet) {
                return None;
            }
            self.unanswered = None;
        }
        let publish = loop {
            if self.incoming.is_empty() && !self.receive(broker, now) {
                return self.closed.take().map(LocalEvent::Closed);
            }
            let start = self.incoming.start;
            let (frame, len) = self.incoming.packet_at(start)?;
            let end = start.saturating_add(len);
            let kind = frame.packet_type();
            let answer = match kind {
                PacketType::Publish => {
                    self.incoming.start = end;
                    break start;
                }
                PacketType::SubAck | PacketType::UnsubAck => answer(frame, frame.body().last()),
                PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
                    answer(frame, frame.body().get(2))
                }
                // CONNACK and PINGRESP were expected; DISCONNECT is followed by the end of the connection.
                _ => None,
            };
            let Some((packet_id, code)) = answer else {
                self.incoming.start = end;
                continue;
            };
            let next = match kind {
                PacketType::PubRel => Some(PacketType::PubComp),
                PacketType::PubRec if !code.is_error() => Some(PacketType::PubRel),
                _ => None,
            };
            if next.is_some_and(|next| !self.send(broker, now, &acknowledgement(next, packet_id))) {
                return None;
            }
            self.incoming.start = end;
            if next.is_none() {
                self.requests &= !bit(packet_id);
                self.twofold &= !bit(packet_id);
                return Some(LocalEvent::Answer { packet_id, code });
            }
        };
        let (frame, _) = self.incoming.packet_at(publish)?;
        let publish = Publish::decode(Version::V5, frame).ok()?;
        let kind = if publish.qos == QoS::ExactlyOnce { PacketType::PubRec } else { PacketType::PubAck };
        self.unanswered = publish.packet_id.map(|packet_id| acknowledgement(kind, packet_id));
        Some(LocalEvent::Message(publish))
    }

    /// Whether the broker has not consumed or not answered a request of the client: [`LocalClient::poll`] goes on with it.
    pub fn is_waiting(&self) -> bool {
        !self.outgoing.is_empty() || self.requests != 0
    }

    /// Whether the client has a Network Connection. The broker may have closed it, because of another client with the same identifier or at
    /// [`Broker::shut_down`]; [`LocalClient::poll`] finds that out. [`LocalClient::connect`] opens a new one, without subscriptions.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The Network Connection, as [`Broker::poll_ready`] names it.
    pub fn id(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Closes the connection. Messages that were not polled are lost, and so are requests that the broker has not consumed yet.
    pub fn disconnect(&mut self, broker: &mut Broker<'_>, now: Instant) {
        self.send(broker, now, &DISCONNECT);
        self.end_connection(broker, now);
        self.incoming.clear();
        (self.unanswered, self.closed) = (None, None);
    }

    /// The lowest Packet Identifier that no request uses.
    fn free_packet_id(&self) -> Result<PacketId, ReasonCode> {
        let used = self.requests.trailing_ones();
        let free = if used < Self::MAX_REQUESTS { PacketId::new((used as u16).saturating_add(1)) } else { None };
        free.ok_or(ReasonCode::ServerBusy)
    }

    fn request(
        &mut self,
        broker: &mut Broker<'_>,
        now: Instant,
        packet_id: Option<PacketId>,
        packet: &impl Encode,
    ) -> Result<(), ReasonCode> {
        if self.connection.is_none() {
            return Err(ReasonCode::ServerUnavailable);
        }
        self.outgoing.put(packet)?;
        self.requests |= packet_id.map_or(0, bit);
        self.hand_in(broker, now);
        Ok(())
    }

    /// Hands in the packets that the broker accepts now.
    fn hand_in(&mut self, broker: &mut Broker<'_>, now: Instant) {
        let Some(id) = self.connection else { return };
        while let Some(bytes) = self.outgoing.first()
            && has_room_for_reply(broker, id)
        {
            // One packet in each call, so that no call ends between packets with `Next::Yield`.
            let received = broker.handle_bytes(now, id, bytes);
            let consumed = received.consumed;
            let is_asked = matches!(received.next, Next::Ask(_));
            self.outgoing.start = self.outgoing.start.saturating_add(consumed);
            if consumed == 0 {
                return;
            }
            if is_asked {
                let Some(Identity { principal, accept }) = self.identity else {
                    self.closed = Some(ReasonCode::NotAuthorized);
                    self.end_connection(broker, now);
                    return;
                };
                accept(broker, now, id, Verdict::accept(principal));
            }
        }
    }

    /// Receives what the broker has for this client. Returns whether there was anything.
    fn receive(&mut self, broker: &mut Broker<'_>, now: Instant) -> bool {
        self.hand_in(broker, now);
        let Some(id) = self.connection else { return false };
        if self.outgoing.is_empty() && is_quiet(broker, now, id) {
            self.send(broker, now, &PINGREQ);
        }
        let transmit = broker.poll_transmit(now, id, self.incoming.room());
        self.incoming.end = self.incoming.end.saturating_add(transmit.written);
        match transmit.then {
            Then::Close => {
                self.closed = Some(closing(broker, id).unwrap_or(ReasonCode::UnspecifiedError));
                self.end_connection(broker, now);
            }
            // The broker searches for retained messages: other clients have their turn before it goes on.
            Then::More if transmit.written == 0 => {
                if let Some(connection) = broker.engine.find(id) {
                    broker.engine.mark_ready(connection);
                }
            }
            Then::More | Then::Idle => {}
        }
        transmit.written > 0
    }

    /// The connection is gone. Packets that came before are still to be polled.
    fn end_connection(&mut self, broker: &mut Broker<'_>, now: Instant) {
        if let Some(id) = self.connection.take() {
            broker.handle_closed(now, id);
        }
        self.outgoing.clear();
        (self.requests, self.twofold) = (0, 0);
    }

    /// Sends a packet of a few bytes, which overtakes requests that wait. Returns whether the packet is done with: the broker has consumed
    /// it, or the connection is gone.
    fn send(&self, broker: &mut Broker<'_>, now: Instant, packet: &[u8]) -> bool {
        self.connection.is_none_or(|id| broker.handle_bytes(now, id, packet).consumed > 0)
    }
}

/// The Reason Code with which the broker closes the connection, if it does.
fn closing(broker: &Broker<'_>, id: ConnectionId) -> Option<ReasonCode> {
    broker.describe(id)?.closing.map(|(code, _)| code)
}

/// The bit of a request's Packet Identifier; 0 if this client has no such request.
fn bit(packet_id: PacketId) -> u32 {
    1_u32.checked_shl(u32::from(packet_id.get()).saturating_sub(1)).unwrap_or(0)
}

/// How many of the replies that the broker may owe are left for the handshakes of its messages to this client, which it is told as Receive
/// Maximum.
fn for_handshakes(broker: &Broker<'_>) -> u16 {
    broker.engine.config.limits.owed_replies / 2
}

/// Whether the broker may owe one more reply to a request, which takes at most two entries, beside the replies to all acknowledgements and
/// a PINGREQ. So an acknowledgement never waits until something is read that itself waits for the acknowledgement.
fn has_room_for_reply(broker: &Broker<'_>, id: ConnectionId) -> bool {
    let Some(connection) = broker.engine.find(id) else { return true };
    let owed = broker.engine.connections[connection].owed.len();
    let most = usize::from(broker.engine.config.limits.owed_replies);
    owed <= most.saturating_sub((most / 2).saturating_add(3))
}

/// Whether it is time for PINGREQ, if the broker has a Server Keep Alive `[MQTT-3.1.2-21]`.
fn is_quiet(broker: &Broker<'_>, now: Instant, id: ConnectionId) -> bool {
    let Some(connection) = broker.engine.find(id) else { return false };
    let connection = &broker.engine.connections[connection];
    let limit = u64::from(connection.idle_limit_ms);
    limit != 0 && now.millis_since(connection.last_active).saturating_mul(3) >= limit
}

#[cfg(test)]
mod tests;
