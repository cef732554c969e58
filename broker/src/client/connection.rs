//! A client's Network Connection, with blocking calls.

use super::Options;
use goldcrest_core::codec::{
    ConnAck, Connect, Disconnect, MAX_PACKET_LEN, Packet, PacketId, Properties, ReasonCode, Refusal, Version, split,
};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Seconds between two packets of ours at most.
const KEEP_ALIVE: u16 = 60;

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a client gives up.
#[derive(Debug)]
pub(crate) enum Failure {
    NoConnection(String, io::Error),
    Lost(io::Error),
    /// The broker closed the connection, and said why if it speaks MQTT 5.0.
    Disconnected(Option<(ReasonCode, String)>),
    Refused(ReasonCode, String),
    /// The broker sent something that the protocol does not allow.
    Broken(Refusal),
    Input(io::Error),
    Output(io::Error),
    Unanswered,
    /// The broker refused this subscription or message.
    Rejected(String, ReasonCode),
}

impl fmt::Display for Failure {
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
            Self::Rejected(what, code) => write!(f, "the broker refused {what}: {code}"),
        }
    }
}

impl std::error::Error for Failure {}

/// A connection that was accepted by the broker.
pub(crate) struct Connection {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    /// How many of `received` were handed out.
    taken: usize,
    last_sent: Instant,
    keep_alive: Duration,
    next_id: u16,
}

impl Connection {
    pub(crate) fn open(options: &Options) -> Result<Self, Failure> {
        let stream = connect(&options.host, options.port)?;
        let mut connection = Self {
            stream,
            version: options.version,
            received: Vec::new(),
            taken: 0,
            last_sent: Instant::now(),
            keep_alive: Duration::from_secs(KEEP_ALIVE.into()),
            next_id: 0,
        };
        // MQTT 3.1 has no empty Client Identifiers.
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
            Packet::ConnAck(answer) => Some((answer.code, reason(answer), answer.properties.server_keep_alive())),
            _ => None,
        })?;
        if let (code, why, _) = &answer
            && code.is_error()
        {
            return Err(Failure::Refused(*code, why.clone()));
        }
        if let (_, _, Some(seconds)) = answer {
            connection.keep_alive = Duration::from_secs(seconds.into());
        }
        Ok(connection)
    }

    /// A Packet Identifier that is not in use, as long as few are.
    pub(crate) fn next_packet_id(&mut self) -> PacketId {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.next_id).unwrap_or(PacketId::MIN)
    }

    pub(crate) fn send(&mut self, packet: Packet<'_>) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.last_sent = Instant::now();
        self.stream.write_all(&bytes).map_err(|error| match error.kind() {
            // What the broker said last is more telling, if it said anything.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.last_words(error),
            _ => Failure::Lost(error),
        })
    }

    /// Waits for one packet, for ever if there is no deadline, and has it handled.
    pub(crate) fn next<T>(
        &mut self,
        deadline: Option<Instant>,
        handle: impl FnOnce(Packet<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        loop {
            let bytes = &self.received[self.taken..];
            if let Some((frame, len)) = split(bytes, MAX_PACKET_LEN).map_err(Failure::Broken)? {
                let packet = Packet::decode(self.version, frame).map_err(Failure::Broken)?;
                self.taken += len;
                if let Packet::Disconnect(last) = packet {
                    let why = last.properties.reason_string().map_or(String::new(), |why| format!(" ({why})"));
                    return Err(Failure::Disconnected(Some((last.code, why))));
                }
                return handle(packet);
            }
            self.fill(deadline)?;
        }
    }

    /// Waits for the one packet that `wanted` takes, and passes over others.
    pub(crate) fn wait_for<T>(&mut self, mut wanted: impl FnMut(Packet<'_>) -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = self.next(Some(deadline), |packet| Ok(wanted(packet)))? {
                return Ok(value);
            }
        }
    }

    /// Says goodbye.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)))
    }

    /// Reads more, and keeps the connection alive meanwhile.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), Failure> {
        self.received.drain(..self.taken);
        self.taken = 0;
        // Half of the time leaves the other half for the way.
        let ping_at = (!self.keep_alive.is_zero()).then(|| self.last_sent + self.keep_alive / 2);
        let until = [deadline, ping_at].into_iter().flatten().min();
        // A time-out of 0 would mean none.
        let wait = until.map(|until| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        self.stream.set_read_timeout(wait).map_err(Failure::Lost)?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(Failure::Disconnected(None)),
            Ok(read) => {
                self.received.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return Err(Failure::Unanswered);
                }
                if ping_at.is_some_and(|at| at <= Instant::now()) {
                    self.send(Packet::PingReq)?;
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(Failure::Lost(error)),
        }
    }

    /// What a broker that takes no more bytes has said before.
    fn last_words(&mut self, error: io::Error) -> Failure {
        let deadline = Some(Instant::now() + Duration::from_secs(1));
        loop {
            match self.next(deadline, |_| Ok(())) {
                Ok(()) => {}
                Err(said @ Failure::Disconnected(Some(_))) => return said,
                Err(_) => return Failure::Lost(error),
            }
        }
    }
}

fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let failed = |error| Failure::NoConnection(format!("{bracketed}:{port}"), error);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(Failure::Lost)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn reason(answer: ConnAck<'_>) -> String {
    answer.properties.reason_string().map_or(String::new(), |why| format!(" ({why})"))
}
