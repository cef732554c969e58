//! A client of the broker within the program that embeds the gateway.

use super::Gateway;
use crate::net::MemoryStream;
use goldcrest_core::codec::{
    Ack, Connect, Disconnect, Filters, MAX_PACKET_LEN, Packet, PacketId, Properties, Property, Publish, QoS,
    ReasonCode, Refusal, Subscribe, SubscriptionOptions, Topics, Unsubscribe, Version, split,
};
use goldcrest_core::{TopicFilter, TopicFilterError, TopicName, TopicNameError};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, timeout_at};

/// The Receive Maximum: how many messages of QoS 1 and 2 the broker sends before the program has called `next` for them.
const RECEIVE_MAXIMUM: u16 = 16;

/// The most bytes of QoS 0 messages that wait for the program, counting [`MESSAGE_BYTES`] for each. Messages beyond this bound are lost.
const WAITING_BYTES: usize = 1 << 20;

/// The bytes that a message takes besides its topic and payload.
const MESSAGE_BYTES: usize = size_of::<Untaken>();

/// An MQTT 5.0 client in the process of the gateway, without a network between them. The broker treats it like any other client. Its Session ends
/// with its connection.
///
/// One call is made at a time. Dropping a future before it is ready loses nothing: the next call sends the rest of its bytes. Messages arrive
/// while the program waits in any call, and then wait for [`LocalClient::next`]: at most 16 of QoS 1 and 2, while the broker keeps further ones,
/// and 1 MiB of QoS 0, beyond which messages are lost and counted.
#[derive(Debug)]
pub struct LocalClient {
    stream: MemoryStream,
    /// Bytes of a packet that has not arrived as a whole.
    received: Vec<u8>,
    /// Whole packets to the broker. The stream has accepted the first `sent` bytes of them.
    unsent: Vec<u8>,
    sent: usize,
    waiting: VecDeque<Untaken>,
    /// The bytes of the messages in `waiting` that have QoS 0.
    waiting_bytes: usize,
    lost: u64,
    /// The Packet Identifier of the packet that the broker has not answered yet.
    unanswered: Option<PacketId>,
    answer: Option<ReasonCode>,
    last_id: u16,
    packet_limit: u32,
    /// The Keep Alive; zero if there is none.
    keep_alive: Duration,
    last_sent: Instant,
}

/// A message that the program has not received from [`LocalClient::next`] yet.
#[derive(Debug)]
struct Untaken {
    packet_id: Option<PacketId>,
    message: ReceivedMessage,
}

/// A message that the broker has sent to a [`LocalClient`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// The Topic Name.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS with which the broker sent the message.
    pub qos: QoS,
    /// Whether this is a retained message that the broker had already when the client subscribed.
    pub retain: bool,
}

/// Why a call of a [`LocalClient`] failed. After [`LocalClientError::Closed`] and [`LocalClientError::Broken`] there is no connection any more.
#[derive(Debug)]
#[non_exhaustive]
pub enum LocalClientError {
    /// The gateway has no room for another connection.
    NoRoom(io::Error),
    /// The broker refused the connection, the message or the subscription.
    Refused(ReasonCode),
    /// The text is not a Topic Name.
    Topic(TopicNameError),
    /// The text is not a Topic Filter.
    Filter(TopicFilterError),
    /// The packet is too large: the bytes that it would have, and the most bytes that the broker accepts.
    TooLarge(u32, u32),
    /// The broker has closed the connection; the Reason Code says why, if the broker has sent one.
    Closed(Option<ReasonCode>),
    /// The broker has sent bytes that are not MQTT: a bug.
    Broken(Refusal),
}

impl fmt::Display for LocalClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(error) => error.fmt(f),
            Self::Refused(code) => write!(f, "the broker refused it: {code}"),
            Self::Topic(error) => error.fmt(f),
            Self::Filter(error) => error.fmt(f),
            Self::TooLarge(len, limit) => {
                write!(f, "the packet has {len} bytes, and the broker takes at most {limit}")
            }
            Self::Closed(Some(code)) => write!(f, "the broker closed the connection: {code}"),
            Self::Closed(None) => write!(f, "the broker closed the connection"),
            Self::Broken(refusal) => write!(f, "the broker broke the protocol: {refusal}"),
        }
    }
}

impl std::error::Error for LocalClientError {}

impl Gateway {
    /// Connects a client in this process, with a Client Identifier. If another client is connected with the same identifier, this one takes its
    /// Session over.
    ///
    /// # Errors
    /// The gateway has no room for the connection, or the broker refuses it.
    pub async fn client(&self, client_id: &str) -> Result<LocalClient, LocalClientError> {
        LocalClient::open(self.connect().map_err(LocalClientError::NoRoom)?, client_id).await
    }
}

impl LocalClient {
    /// Connects over a stream to the broker.
    ///
    /// # Errors
    /// The broker refuses the connection.
    pub(super) async fn open(stream: MemoryStream, client_id: &str) -> Result<Self, LocalClientError> {
        let mut client = Self::over(stream);
        client.put(&Packet::Connect(Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::new(&[Property::ReceiveMaximum(RECEIVE_MAXIMUM)]),
            client_id,
            will: None,
            user_name: None,
            password: None,
        }))?;
        match client.wait_for_answer().await? {
            code if code.is_error() => Err(LocalClientError::Refused(code)),
            _ => Ok(client),
        }
    }

    fn over(stream: MemoryStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            lost: 0,
            // CONNECT has no Packet Identifier. It is the first packet that is answered, so any identifier can stand for it here.
            unanswered: Some(PacketId::MIN),
            answer: None,
            last_id: 0,
            packet_limit: MAX_PACKET_LEN,
            keep_alive: Duration::ZERO,
            last_sent: Instant::now(),
        }
    }

    /// Publishes a message. With QoS 1 and 2 the broker has accepted the message when this returns; if the gateway has a store, the message
    /// is safe there.
    ///
    /// # Errors
    /// The broker refuses the message, or the connection is closed.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<(), LocalClientError> {
        TopicName::new(topic).map_err(LocalClientError::Topic)?;
        self.finish_last().await?;
        let packet_id = (qos > QoS::AtMostOnce).then(|| self.next_id());
        let properties = Properties::EMPTY;
        self.put(&Packet::Publish(Publish { dup: false, qos, retain, topic, packet_id, properties, payload }))?;
        self.unanswered = packet_id;
        match packet_id {
            Some(_) => self.wait_for_success().await.map(drop),
            None => self.flush().await,
        }
    }

    /// Subscribes. Returns the QoS that was granted.
    ///
    /// # Errors
    /// The broker refuses the subscription, or the connection is closed.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<QoS, LocalClientError> {
        TopicFilter::new(filter).map_err(LocalClientError::Filter)?;
        self.finish_last().await?;
        let packet_id = self.next_id();
        let filters = [(filter, SubscriptionOptions::with_qos(qos))];
        let (properties, filters) = (Properties::EMPTY, Filters::new(&filters));
        self.put(&Packet::Subscribe(Subscribe { packet_id, properties, filters }))?;
        self.unanswered = Some(packet_id);
        let granted = self.wait_for_success().await?;
        Ok(QoS::from_bits(granted.as_u8()).unwrap_or_default())
    }

    /// Ends a subscription. Messages that arrived before still wait for [`LocalClient::next`].
    ///
    /// # Errors
    /// The broker refuses the packet, or the connection is closed.
    pub async fn unsubscribe(&mut self, filter: &str) -> Result<(), LocalClientError> {
        TopicFilter::new(filter).map_err(LocalClientError::Filter)?;
        self.finish_last().await?;
        let (packet_id, filters) = (self.next_id(), [filter]);
        let (properties, filters) = (Properties::EMPTY, Topics::new(&filters));
        self.put(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }))?;
        self.unanswered = Some(packet_id);
        self.wait_for_success().await.map(drop)
    }

    /// Waits for the next message, and acknowledges it.
    ///
    /// A client that waits here is never closed for its Keep Alive. If [`Config::keep_alive_max`](goldcrest_core::Config::keep_alive_max) is set
    /// and the program makes no call for that time, the client is closed.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn next(&mut self) -> Result<ReceivedMessage, LocalClientError> {
        loop {
            if let Some(Untaken { packet_id, message }) = self.waiting.pop_front() {
                match (packet_id, message.qos) {
                    (None, _) => self.waiting_bytes -= bytes_of(&message),
                    (Some(id), QoS::ExactlyOnce) => self.put(&Packet::PubRec(Ack::new(id, ReasonCode::Success)))?,
                    (Some(id), _) => self.put(&Packet::PubAck(Ack::new(id, ReasonCode::Success)))?,
                }
                // The next call sends the bytes that the stream does not accept now.
                self.write(&mut Context::from_waker(Waker::noop()));
                return Ok(message);
            }
            self.go_on().await?;
        }
    }

    /// How many messages of QoS 0 were lost because the program did not call `next` in time for earlier ones.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Sends DISCONNECT. If a client is dropped instead, the broker counts its connection as lost.
    ///
    /// # Errors
    /// The broker has closed the connection already.
    pub async fn close(mut self) -> Result<(), LocalClientError> {
        self.finish_last().await?;
        self.put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)))?;
        self.flush().await
    }

    /// Waits for the answer to the request of a future that was dropped. So only one answer is awaited at a time, and the client never exceeds
    /// the broker's Receive Maximum `[MQTT-3.3.4-7]`.
    async fn finish_last(&mut self) -> Result<(), LocalClientError> {
        while self.unanswered.is_some() {
            self.go_on().await?;
        }
        self.answer = None;
        Ok(())
    }

    async fn wait_for_answer(&mut self) -> Result<ReasonCode, LocalClientError> {
        loop {
            if let Some(code) = self.answer.take() {
                return Ok(code);
            }
            self.go_on().await?;
        }
    }

    async fn wait_for_success(&mut self) -> Result<ReasonCode, LocalClientError> {
        match self.wait_for_answer().await? {
            code if code.is_error() => Err(LocalClientError::Refused(code)),
            code => Ok(code),
        }
    }

    async fn flush(&mut self) -> Result<(), LocalClientError> {
        while !self.unsent.is_empty() {
            std::future::poll_fn(|cx| self.poll_exchange(cx, true)).await?;
            self.handle_received()?;
        }
        Ok(())
    }

    /// Waits until bytes have arrived or a PINGREQ is due; sends waiting bytes, and handles the packets that have arrived.
    async fn go_on(&mut self) -> Result<(), LocalClientError> {
        if self.keep_alive.is_zero() {
            std::future::poll_fn(|cx| self.poll_exchange(cx, false)).await?;
        } else {
            let ping_at = self.last_sent + self.keep_alive / 2;
            let exchange = std::future::poll_fn(|cx| self.poll_exchange(cx, false));
            match timeout_at(ping_at, exchange).await {
                Ok(result) => result?,
                Err(_) => self.put(&Packet::PingReq)?,
            }
        }
        self.handle_received()
    }

    /// Ready when bytes were read; or, if `is_enough`, when all bytes are sent.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, is_enough: bool) -> Poll<Result<(), LocalClientError>> {
        self.write(cx);
        if is_enough && self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut chunk = [0; 8 * 1024];
        let mut read = ReadBuf::new(&mut chunk);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
            Ok(()) if !read.filled().is_empty() => {
                self.received.extend_from_slice(read.filled());
                Poll::Ready(Ok(()))
            }
            _ => Poll::Ready(Err(LocalClientError::Closed(None))),
        }
    }

    /// Writes as many bytes as the stream accepts.
    fn write(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(result) = Pin::new(&mut self.stream).poll_write(cx, &self.unsent[self.sent..]) {
            self.sent += result.as_ref().unwrap_or(&0);
            // After an error no bytes can be sent any more. The next read returns the reason.
            if self.sent == self.unsent.len() || result.is_err() {
                (self.unsent, self.sent) = (Vec::new(), 0);
                return;
            }
        }
    }

    fn put(&mut self, packet: &Packet<'_>) -> Result<(), LocalClientError> {
        let len = packet.encoded_len(Version::V5);
        if len > self.packet_limit {
            return Err(LocalClientError::TooLarge(len, self.packet_limit));
        }
        packet.encode(Version::V5, &mut self.unsent);
        self.last_sent = Instant::now();
        Ok(())
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).unwrap_or(PacketId::MIN)
    }

    fn handle_received(&mut self) -> Result<(), LocalClientError> {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((frame, len)) = split(rest, MAX_PACKET_LEN).map_err(LocalClientError::Broken)? {
            self.handle(Packet::decode(Version::V5, frame).map_err(LocalClientError::Broken)?)?;
            rest = &rest[len..];
        }
        let handled = received.len() - rest.len();
        self.received = received;
        self.received.drain(..handled);
        Ok(())
    }

    fn handle(&mut self, packet: Packet<'_>) -> Result<(), LocalClientError> {
        match packet {
            Packet::ConnAck(ack) => {
                self.packet_limit = ack.properties.maximum_packet_size().unwrap_or(MAX_PACKET_LEN);
                self.keep_alive = Duration::from_secs(ack.properties.server_keep_alive().unwrap_or(0).into());
                self.answered(PacketId::MIN, ack.code);
            }
            Packet::Publish(publish) => self.keep(&publish),
            Packet::PubRec(ack) if !ack.code.is_error() => {
                self.put(&Packet::PubRel(Ack::new(ack.packet_id, ReasonCode::Success)))?;
            }
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => self.answered(ack.packet_id, ack.code),
            Packet::PubRel(ack) => self.put(&Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)))?,
            Packet::SubAck(ack) => {
                let code = ack.codes.into_iter().next();
                self.answered(ack.packet_id, code.unwrap_or(ReasonCode::UnspecifiedError));
            }
            Packet::UnsubAck(ack) => {
                let code = ack.codes.into_iter().next();
                self.answered(ack.packet_id, code.unwrap_or(ReasonCode::UnspecifiedError));
            }
            Packet::Disconnect(disconnect) => return Err(LocalClientError::Closed(Some(disconnect.code))),
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, id: PacketId, code: ReasonCode) {
        if self.unanswered == Some(id) {
            (self.unanswered, self.answer) = (None, Some(code));
        }
    }

    fn keep(&mut self, publish: &Publish<'_>) {
        let Publish { topic, payload, qos, retain, packet_id, .. } = *publish;
        let message = ReceivedMessage { topic: topic.to_owned(), payload: payload.to_vec(), qos, retain };
        if packet_id.is_none() {
            let bytes = self.waiting_bytes.saturating_add(bytes_of(&message));
            // A single message always has room, however long it is.
            if bytes > WAITING_BYTES && self.waiting_bytes > 0 {
                self.lost += 1;
                return;
            }
            self.waiting_bytes = bytes;
        }
        self.waiting.push_back(Untaken { packet_id, message });
    }
}

/// How many bytes a message counts while it waits.
fn bytes_of(message: &ReceivedMessage) -> usize {
    message.topic.len() + message.payload.len() + MESSAGE_BYTES
}
