//! The transport below MQTT: the tests speak TCP, and a relay in this process speaks TLS or WebSocket for them if `GOLDCREST_TRANSPORT` is `tls`, `ws` or
//! `wss`. With `unix` they speak to a Unix socket.

use goldcrest::{Listener, TlsConfig, UnixAddress, WebSocketConfig};
use rcgen::generate_simple_self_signed;
use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

/// What the gateway is talked to over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
    WebSocket,
    WebSocketOverTls,
    Unix,
}

/// Where a gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// Reads what the program prints behind `listening on`.
    pub(crate) fn of_greeting(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            // What is spoken there follows.
            None => Self::Tcp(text.split(' ').next().unwrap_or_default().parse().expect("an address")),
        }
    }
}

/// The files of the server, and what a client trusts.
struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    trusting: Arc<ClientConfig>,
}

impl Transport {
    /// The transport that the environment wants.
    pub(crate) fn of_environment() -> Self {
        match std::env::var("GOLDCREST_TRANSPORT").as_deref() {
            Err(_) | Ok("tcp") => Self::Tcp,
            Ok("tls") => Self::Tls,
            Ok("ws") => Self::WebSocket,
            Ok("wss") => Self::WebSocketOverTls,
            Ok("unix") => Self::Unix,
            Ok(other) => panic!("GOLDCREST_TRANSPORT is {other}, and tcp, tls, ws, wss and unix are known"),
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::WebSocketOverTls)
    }

    /// A listener with this transport.
    pub(crate) fn listener(self, address: SocketAddr) -> Listener {
        let listener = Listener::new(address);
        let tls = || TlsConfig::new(&certificates().certificate, &certificates().key);
        match self {
            Self::Tcp => listener,
            Self::Tls => listener.with_tls(tls()),
            Self::WebSocket => listener.with_websocket(WebSocketConfig::default()),
            Self::WebSocketOverTls => listener.with_tls(tls()).with_websocket(WebSocketConfig::default()),
            Self::Unix => Listener::at(UnixAddress::new(new_path())),
        }
    }

    /// The table of the configuration file for such a listener.
    pub(crate) fn table(self) -> String {
        let word = match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::WebSocketOverTls => "wss",
            Self::Unix => return format!("[[listener]]\naddress = \"unix:{}\"\n", new_path().display()),
        };
        let mut table = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntransport = \"{word}\"\n");
        if self.has_tls() {
            let Certificates { certificate, key, .. } = certificates();
            table += &format!("certificate = {certificate:?}\nkey = {key:?}\n");
        }
        table
    }

    /// A connection whose bytes are those of MQTT.
    pub(crate) fn connect(self, place: &Place) -> io::Result<TcpStream> {
        let remote = match place {
            // Of a `TcpStream` tests use what each stream of the system can do.
            Place::Unix(path) => return Ok(OwnedFd::from(UnixStream::connect(path)?).into()),
            Place::Tcp(address) => TcpStream::connect(address)?,
        };
        remote.set_nodelay(true)?;
        if self == Self::Tcp {
            return Ok(remote);
        }
        let here = TcpListener::bind("127.0.0.1:0")?;
        let ours = TcpStream::connect(here.local_addr()?)?;
        ours.set_nodelay(true)?;
        let (theirs, _) = here.accept()?;
        theirs.set_nodelay(true)?;
        std::thread::spawn(move || {
            // An error of either side ends both, as a reset does.
            let _ = self.relay(&theirs, remote);
        });
        Ok(ours)
    }

    fn relay(self, local: &TcpStream, remote: TcpStream) -> io::Result<()> {
        let socket = remote.try_clone()?;
        let secure = |remote| {
            let session = ClientConnection::new(
                certificates().trusting.clone(),
                "localhost".try_into().map_err(io::Error::other)?,
            );
            Ok::<_, io::Error>(StreamOwned::new(session.map_err(io::Error::other)?, remote))
        };
        match self {
            Self::Tcp | Self::Unix => Ok(()),
            Self::Tls => exchange(local, &socket, &mut secure(remote)?),
            Self::WebSocket => exchange(local, &socket, &mut framed(remote)?),
            Self::WebSocketOverTls => exchange(local, &socket, &mut framed(secure(remote)?)?),
        }
    }
}

/// A path for a socket that nobody else uses.
fn new_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("goldcrest-test-{}-{number}.sock", std::process::id()))
}

fn certificates() -> &'static Certificates {
    static CERTIFICATES: OnceLock<Certificates> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        let own = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let file = |end| std::env::temp_dir().join(format!("goldcrest-test-{}-{end}", std::process::id()));
        let (certificate, key) = (file("server.pem"), file("server.key"));
        std::fs::write(&certificate, own.cert.pem()).expect("a writable temporary directory");
        std::fs::write(&key, own.signing_key.serialize_pem()).expect("a writable temporary directory");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(own.cert.der())).expect("it is one");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("there are some");
        Certificates {
            certificate,
            key,
            trusting: Arc::new(builder.with_root_certificates(roots).with_no_client_auth()),
        }
    })
}

/// One side of the relay, which does not wait.
trait Side {
    /// Reads once; 0 at the end.
    fn take(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes once.
    fn put(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes what it has accepted. Returns whether all is written.
    fn flush_all(&mut self) -> io::Result<bool>;

    /// Says that nothing follows.
    fn end(&mut self) -> io::Result<()>;
}

impl Side for StreamOwned<ClientConnection, TcpStream> {
    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.read(into) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn flush_all(&mut self) -> io::Result<bool> {
        is_done(self.flush())
    }

    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        let _ = self.flush();
        self.sock.shutdown(Shutdown::Write)
    }
}

/// MQTT over WebSocket.
struct Framed<S> {
    socket: WebSocket<S>,
    rest: Vec<u8>,
}

fn framed<S: Read + Write>(stream: S) -> io::Result<Framed<S>> {
    let mut request = "ws://localhost/mqtt".into_client_request().map_err(io::Error::other)?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", "mqtt".parse().map_err(io::Error::other)?);
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(Framed { socket, rest: Vec::new() })
}

impl<S: Read + Write> Side for Framed<S> {
    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.socket.read() {
                Ok(Message::Binary(contents)) => self.rest.extend_from_slice(&contents),
                Ok(Message::Close(_)) => {}
                Ok(other) => panic!("the broker has sent {other:?}"),
                Err(tungstenite::Error::ConnectionClosed) => return Ok(0),
                Err(error) => return Err(as_io(error)),
            }
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.send(Message::Binary(bytes.to_vec().into())).map_err(as_io) {
            // It keeps what the system does not take.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(bytes.len()),
            sent => sent.map(|()| bytes.len()),
        }
    }

    fn flush_all(&mut self) -> io::Result<bool> {
        is_done(self.socket.flush().map_err(as_io))
    }

    fn end(&mut self) -> io::Result<()> {
        match self.socket.close(None).map_err(as_io) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

fn as_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

fn is_done(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        result => result.map(|()| true),
    }
}

/// Bytes on their way to one side.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// No more bytes come, and whether that side was told.
    has_ended: bool,
    is_told: bool,
}

/// The most bytes that wait for one side: a client that does not read is to be noticed by the broker.
const MOST: usize = 16 * 1024;

/// Passes bytes in both directions until both sides have ended. `socket` is the one below `remote`.
fn exchange(local: &TcpStream, socket: &TcpStream, remote: &mut impl Side) -> io::Result<()> {
    local.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    let (mut to_remote, mut to_local) = (Queue::default(), Queue::default());
    let mut chunk = vec![0; MOST];
    while !(to_remote.is_told && to_local.is_told) {
        let mut has_moved = fill(&mut to_remote, &mut chunk, |into| (&*local).read(into))?;
        has_moved |= fill(&mut to_local, &mut chunk, |into| remote.take(into))?;
        has_moved |= drain(&mut to_remote, |bytes| remote.put(bytes))?;
        has_moved |= drain(&mut to_local, |bytes| (&*local).write(bytes))?;
        let is_flushed = remote.flush_all()?;
        if to_remote.has_ended && to_remote.bytes.is_empty() && is_flushed && !to_remote.is_told {
            (to_remote.is_told, has_moved) = (true, true);
            remote.end()?;
        }
        if to_local.has_ended && to_local.bytes.is_empty() && !to_local.is_told {
            (to_local.is_told, has_moved) = (true, true);
            local.shutdown(Shutdown::Write)?;
        }
        if !has_moved {
            wait(local, socket, &to_remote, &to_local, is_flushed)?;
        }
    }
    Ok(())
}

/// Waits until one of the sides can go on.
fn wait(
    local: &TcpStream,
    socket: &TcpStream,
    to_remote: &Queue,
    to_local: &Queue,
    is_flushed: bool,
) -> io::Result<()> {
    let flags = |reads: bool, writes: bool| {
        let reads = if reads { PollFlags::IN } else { PollFlags::empty() };
        if writes { reads | PollFlags::OUT } else { reads }
    };
    let reads_local = !to_remote.has_ended && to_remote.bytes.len() < MOST;
    let reads_remote = !to_local.has_ended && to_local.bytes.len() < MOST;
    let local_flags = flags(reads_local, !to_local.bytes.is_empty());
    let remote_flags = flags(reads_remote, !to_remote.bytes.is_empty() || !is_flushed);
    let mut both =
        [PollFd::from_borrowed_fd(local.as_fd(), local_flags), PollFd::from_borrowed_fd(socket.as_fd(), remote_flags)];
    poll(&mut both, None)?;
    // A side that has broken is reported again and again, though nothing can be done: its error comes with the next read or write.
    std::thread::yield_now();
    Ok(())
}

/// Reads once for a queue. Returns whether there was something.
fn fill(queue: &mut Queue, chunk: &mut [u8], read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<bool> {
    let room = MOST - queue.bytes.len();
    if queue.has_ended || room == 0 {
        return Ok(false);
    }
    match read(&mut chunk[..room]) {
        Ok(0) => queue.has_ended = true,
        Ok(count) => queue.bytes.extend_from_slice(&chunk[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Writes once from a queue. Returns whether something was written.
fn drain(queue: &mut Queue, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<bool> {
    if queue.bytes.is_empty() {
        return Ok(false);
    }
    match write(&queue.bytes) {
        Ok(count) => drop(queue.bytes.drain(..count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    Ok(true)
}
