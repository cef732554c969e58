//! A client's Network Connection, with blocking calls.

use super::ClientOptions;
use crate::config::interface_exists;
use goldcrest_core::codec::{
    Ack, Connect, Disconnect, MAX_PACKET_LEN, Packet, PacketId, Properties, QoS, ReasonCode, Refusal, Version, split,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// The Keep Alive of the client, in seconds.
const KEEP_ALIVE: u16 = 60;

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a client gives up.
#[derive(Debug)]
pub(crate) enum ClientError {
    NoConnection(String, io::Error),
    Lost(io::Error),
    /// The broker closed the connection, and said why if it speaks MQTT 5.0.
    Disconnected(Option<(ReasonCode, String)>),
    Refused(ReasonCode, String),
    /// The broker sent bytes that the protocol does not allow.
    Broken(Refusal),
    Input(io::Error),
    Output(io::Error),
    Unanswered,
    /// The broker refused this subscription or message: its name, the Reason Code, and the Reason String as the end of a sentence.
    Rejected(String, ReasonCode, String),
    /// The CONNECT or SUBSCRIBE is too large: the bytes that the packet has, and the most bytes that the broker accepts.
    TooLarge(u32, u32),
    /// A message is too large: its name, the bytes that its packet has, and the most bytes that the broker accepts.
    MessageTooLarge(String, u32, u32),
    /// A feature that the broker does not have, as its CONNACK said.
    Unavailable(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Lost(error) => write!(f, "the connection broke: {error}"),
            Self::Disconnected(None) => write!(f, "the broker closed the connection"),
            Self::Disconnected(Some((code, why))) => write!(f, "the broker closed the connection: {code}{why}"),
            Self::Refused(code, why) => write!(f, "the broker refused the connection: {code}{why}"),
            Self::Broken(refusal) => write!(f, "the broker broke the protocol: {refusal}"),
            Self::Input(error) => write!(f, "cannot read standard input: {error}"),
            Self::Output(error) => write!(f, "cannot write standard output: {error}"),
            Self::Unanswered => write!(f, "the broker did not answer in {} seconds", PATIENCE.as_secs()),
            Self::Rejected(what, code, why) => write!(f, "the broker refused {what}: {code}{why}"),
            Self::TooLarge(u32::MAX, limit) => write!(f, "a packet has at most {limit} bytes, and more are needed"),
            Self::TooLarge(len, limit) => {
                write!(f, "the broker takes packets of at most {limit} bytes, and {len} are needed")
            }
            Self::MessageTooLarge(what, len, limit) => {
                write!(
                    f,
                    "{what} is too large: the broker takes packets of at most {limit} bytes, and {len} are needed"
                )
            }
            Self::Unavailable(what) => write!(f, "the broker {what}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// What the broker accepts, as its CONNACK says (section 3.2.2.3).
///
/// Its Receive Maximum is not here, since neither client sends a message before the one before it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) packet_len: u32,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) wildcards: bool,
    pub(crate) shared_subscriptions: bool,
}

/// A connection that was accepted by the broker.
pub(crate) struct Connection {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    /// How many of the `received` bytes belong to packets that were handled.
    taken: usize,
    last_sent: Instant,
    /// When the PINGREQ was sent, if nothing has arrived from the broker since.
    unanswered_since: Option<Instant>,
    keep_alive: Duration,
    pub(crate) limits: Limits,
    next_id: u16,
}

impl Connection {
    pub(crate) fn open(options: &ClientOptions) -> Result<Self, ClientError> {
        let stream = connect(&options.host, options.port)?;
        let mut connection = Self {
            stream,
            version: options.version,
            received: Vec::new(),
            taken: 0,
            last_sent: Instant::now(),
            unanswered_since: None,
            keep_alive: Duration::from_secs(KEEP_ALIVE.into()),
            limits: Limits {
                packet_len: MAX_PACKET_LEN,
                qos: QoS::ExactlyOnce,
                retain: true,
                wildcards: true,
                shared_subscriptions: true,
            },
            next_id: 0,
        };
        // MQTT 3.1 does not allow an empty Client Identifier.
        let made_up = format!("goldcrest-{}", std::process::id());
        let client_id = match options.version {
            Version::V3_1 if options.client_id.is_empty() => &made_up,
            _ => &options.client_id,
        };
        connection.send(Packet::Connect(Connect {
            version: options.version,
            is_bridge: false,
            clean_start: true,
            keep_alive: KEEP_ALIVE,
            properties: Properties::EMPTY,
            client_id,
            will: None,
            user_name: None,
            password: None,
        }))?;
        let answer = connection.wait_for(|packet| match packet {
            Packet::ConnAck(answer) if answer.code.is_error() => {
                Some(Err(ClientError::Refused(answer.code, reason(&answer.properties))))
            }
            Packet::ConnAck(answer) => {
                let said = answer.properties;
                let limits = Limits {
                    packet_len: said.maximum_packet_size().unwrap_or(MAX_PACKET_LEN).min(MAX_PACKET_LEN),
                    qos: said.maximum_qos().unwrap_or(QoS::ExactlyOnce),
                    retain: said.retain_available().unwrap_or(true),
                    wildcards: said.wildcard_subscription_available().unwrap_or(true),
                    shared_subscriptions: said.shared_subscription_available().unwrap_or(true),
                };
                Some(Ok((limits, said.server_keep_alive())))
            }
            _ => None,
        })?;
        let (limits, server_keep_alive) = answer?;
        connection.limits = limits;
        if let Some(seconds) = server_keep_alive {
            connection.keep_alive = Duration::from_secs(seconds.into());
        }
        Ok(connection)
    }

    /// The next Packet Identifier. It is free, because few identifiers are in use at a time.
    pub(crate) fn next_packet_id(&mut self) -> PacketId {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.next_id).unwrap_or(PacketId::MIN)
    }

    /// Sends a packet. A packet that is larger than the broker accepts is an error, and is not sent [MQTT-3.2.2-15].
    pub(crate) fn send(&mut self, packet: Packet<'_>) -> Result<(), ClientError> {
        let len = packet.encoded_len(self.version);
        if len > self.limits.packet_len {
            return Err(ClientError::TooLarge(len, self.limits.packet_len));
        }
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.last_sent = Instant::now();
        self.stream.write_all(&bytes).map_err(|error| match error.kind() {
            // A DISCONNECT that the broker sent before tells more than this error.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.last_words(error),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Unanswered,
            _ => ClientError::Lost(error),
        })
    }

    /// Waits for one packet until `deadline`, or for ever without a deadline, and gives the packet to `handle`.
    pub(crate) fn next<T>(
        &mut self,
        deadline: Option<Instant>,
        handle: impl FnOnce(Packet<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            if let Some(packet) = self.take()? {
                return handle(packet);
            }
            self.fill(deadline)?;
        }
    }

    /// The next packet that has arrived as a whole, if there is one.
    fn take(&mut self) -> Result<Option<Packet<'_>>, ClientError> {
        let bytes = &self.received[self.taken..];
        let Some((frame, len)) = split(bytes, MAX_PACKET_LEN).map_err(ClientError::Broken)? else { return Ok(None) };
        let packet = Packet::decode(self.version, frame).map_err(ClientError::Broken)?;
        self.taken += len;
        if let Packet::Disconnect(last) = packet {
            return Err(ClientError::Disconnected(Some((last.code, reason(&last.properties)))));
        }
        Ok(Some(packet))
    }

    /// Waits for a packet for which `wanted` returns a value. Other packets are dropped.
    pub(crate) fn wait_for<T>(&mut self, mut wanted: impl FnMut(Packet<'_>) -> Option<T>) -> Result<T, ClientError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.next(Some(deadline), |packet| Ok(wanted(packet)))? {
                return Ok(value);
            }
        }
    }

    /// Waits until `input` can be read. Packets of the broker that come meanwhile are dropped.
    pub(crate) fn wait_for_input(&mut self, input: BorrowedFd<'_>) -> Result<(), ClientError> {
        loop {
            while self.take()?.is_some() {}
            if self.wait(Some(input), None)? {
                return Ok(());
            }
        }
    }

    /// Writes to `out`, which may be slow, and keeps the connection alive meanwhile. Nothing is read from the broker meanwhile, so the
    /// broker sends no more than the client can write.
    pub(crate) fn write_out(&mut self, out: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), ClientError> {
        /// PIPE_BUF in Linux: a pipe that is ready accepts so many bytes without making the writer wait.
        const PIECE: usize = 4096;
        while !bytes.is_empty() {
            let mut watched = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
            wait_for_any(&mut watched, self.ping_at())?;
            if !watched[0].revents().is_empty() {
                match rustix::io::write(out, &bytes[..bytes.len().min(PIECE)]) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(error) => return Err(ClientError::Output(error.into())),
                }
            }
            self.ping_if_due()?;
        }
        Ok(())
    }

    /// Waits until the broker has read all packets that were sent. Messages of QoS 0 have no acknowledgement, and a broker that refuses one
    /// closes the connection.
    pub(crate) fn confirm(&mut self) -> Result<(), ClientError> {
        self.send(Packet::PingReq)?;
        self.wait_for(|packet| matches!(packet, Packet::PingResp).then_some(()))
    }

    /// Sends DISCONNECT. If the broker has sent a DISCONNECT with an error before, returns that error.
    pub(crate) fn close(mut self) -> Result<(), ClientError> {
        self.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)))?;
        let _ = self.stream.shutdown(Shutdown::Write);
        self.keep_alive = Duration::ZERO;
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        loop {
            match self.next(deadline, |_| Ok(())) {
                Ok(()) => {}
                Err(objection @ ClientError::Disconnected(Some((code, _)))) if code.is_error() => {
                    return Err(objection);
                }
                Err(_) => return Ok(()),
            }
        }
    }

    /// Reads more bytes, and keeps the connection alive meanwhile.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), ClientError> {
        self.wait(None, deadline).map(|_| ())
    }

    /// Waits for bytes of the broker and reads them, or returns `true` once `input` can be read. Sends a PINGREQ when one is due, so that
    /// the broker hears of this client whatever the client waits for, and however much the client receives.
    fn wait(&mut self, input: Option<BorrowedFd<'_>>, deadline: Option<Instant>) -> Result<bool, ClientError> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let answered_by = self.unanswered_since.map(|since| since + PATIENCE);
        let mut watched = vec![PollFd::new(&self.stream, PollFlags::IN)];
        watched.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        wait_for_any(&mut watched, [deadline, self.ping_at(), answered_by].into_iter().flatten().min())?;
        let ready: Vec<bool> = watched.iter().map(|watched| !watched.revents().is_empty()).collect();
        if ready.first() == Some(&true) {
            self.read()?;
        } else if deadline.is_some_and(|deadline| deadline <= Instant::now())
            || answered_by.is_some_and(|by| by <= Instant::now())
        {
            return Err(ClientError::Unanswered);
        }
        if self.ping_if_due()? {
            self.unanswered_since.get_or_insert_with(Instant::now);
        }
        Ok(ready.get(1) == Some(&true))
    }

    /// When the next PINGREQ is due: after half of the Keep Alive, so that the PINGREQ has the other half to reach the broker.
    fn ping_at(&self) -> Option<Instant> {
        (!self.keep_alive.is_zero()).then(|| self.last_sent + self.keep_alive / 2)
    }

    fn ping_if_due(&mut self) -> Result<bool, ClientError> {
        let is_due = self.ping_at().is_some_and(|at| at <= Instant::now());
        if is_due {
            self.send(Packet::PingReq)?;
        }
        Ok(is_due)
    }

    fn read(&mut self) -> Result<(), ClientError> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(ClientError::Disconnected(None)),
            Ok(read) => {
                self.received.extend_from_slice(&chunk[..read]);
                self.unanswered_since = None;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(ClientError::Lost(error)),
        }
    }

    /// The DISCONNECT that a broker sent before it closed the connection, or else `error`.
    fn last_words(&mut self, error: io::Error) -> ClientError {
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        loop {
            match self.next(deadline, |_| Ok(())) {
                Ok(()) => {}
                Err(said @ ClientError::Disconnected(Some(_))) => return said,
                Err(_) => return ClientError::Lost(error),
            }
        }
    }
}

/// Waits until one of the watched descriptors is ready, or until the time `until`.
fn wait_for_any(watched: &mut [PollFd<'_>], until: Option<Instant>) -> Result<(), ClientError> {
    // One millisecond more than needed: a wait that ends a little early would be followed by many short ones.
    let wait = until.map(|until| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
    let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
    match poll(watched, wait.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(ClientError::Lost(error.into())),
    }
}

fn connect(host: &str, port: u16) -> Result<TcpStream, ClientError> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let failed = |error| ClientError::NoConnection(format!("{bracketed}:{port}"), error);
    check_interface(host).map_err(failed)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(ClientError::Lost)?;
                stream.set_write_timeout(Some(PATIENCE)).map_err(ClientError::Lost)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Refuses a link-local address without the name of its interface. Every interface has link-local addresses, so such an address needs the
/// name: `fe80::1%eth0`. The system's error for a wrong or missing name does not say so.
fn check_interface(host: &str) -> io::Result<()> {
    let (address, interface) = host.split_once('%').map_or((host, None), |(address, name)| (address, Some(name)));
    let Ok(address) = address.parse::<Ipv6Addr>() else { return Ok(()) };
    let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    match interface {
        None if address.is_unicast_link_local() => {
            wrong(format!("the address is one of a link, and the network interface is missing: {address}%eth0"))
        }
        Some(name) if !interface_exists(name) => wrong(format!("there is no network interface {name:?}")),
        _ => Ok(()),
    }
}

/// The Reason String of the broker, as the end of a sentence; empty if there is none.
pub(crate) fn reason(properties: &Properties<'_>) -> String {
    properties.reason_string().map_or(String::new(), |why| format!(" ({why})"))
}

/// Fails if the acknowledgement of `what` has a Reason Code that is an error.
pub(crate) fn check(what: &str, ack: Ack<'_>) -> Result<(), ClientError> {
    if ack.code.is_error() {
        return Err(ClientError::Rejected(what.to_owned(), ack.code, reason(&ack.properties)));
    }
    Ok(())
}
