//! Listeners with WebSocket, and WebSocket over TLS, with a client that others wrote.

use crate::support::certificates::{Authority, TlsStream, open};
use crate::support::{Client, local, message, runtime};
use goldcrest::{Config, Gateway, Listener, TlsConfig, WebSocketConfig};
use goldcrest_core::codec::{Packet, QoS};
use rustls::version::TLS13;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{HandshakeError, Message, WebSocket, client};

/// A listener in clear, one with WebSocket and one with WebSocket over TLS.
fn start(authority: &Authority, shards: u16) -> Gateway {
    let listener = || Listener::new("127.0.0.1:0".parse().unwrap());
    let websocket = WebSocketConfig { origins: vec!["https://page.example".to_owned()] };
    let tls = TlsConfig::new(authority.file("server.pem"), authority.file("server.key"));
    let ws = listener().with_websocket(websocket);
    let listeners = vec![listener(), ws.clone(), ws.with_tls(tls)];
    Gateway::start(&Config { listeners, shards, ..local() }).unwrap_or_else(|error| panic!("{error}"))
}

/// MQTT over WebSocket: each write goes in frames of at most `frame` bytes, which need not be packets.
struct Framed<S> {
    socket: WebSocket<S>,
    frame: usize,
    come: Vec<u8>,
}

impl<S: Read + Write> Framed<S> {
    fn open(stream: S, subprotocol: &str, origin: Option<&str>, frame: usize) -> Result<Self, u16> {
        let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("Origin", origin.parse().unwrap());
        }
        match client(request, stream) {
            Ok((socket, answer)) => {
                assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], subprotocol);
                Ok(Self { socket, frame, come: Vec::new() })
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

impl<S: Read + Write> Read for Framed<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.come.is_empty() {
            match self.socket.read().map_err(io::Error::other)? {
                Message::Binary(contents) => self.come.extend_from_slice(&contents),
                Message::Close(frame) => {
                    assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1000));
                    return Ok(0);
                }
                Message::Pong(contents) => assert_eq!(contents, "still there?"),
                other => panic!("{other:?}"),
            }
        }
        let count = self.come.len().min(into.len());
        into[..count].copy_from_slice(&self.come[..count]);
        self.come.drain(..count);
        Ok(count)
    }
}

impl<S: Read + Write> Write for Framed<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.chunks(self.frame) {
            self.socket.send(Message::Binary(part.to_vec().into())).map_err(io::Error::other)?;
            self.socket.send(Message::Ping("still there?".into())).map_err(io::Error::other)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn secure(gateway: &Gateway, authority: &Authority) -> TlsStream {
    open(gateway.addresses()[2], &authority.client(&[&TLS13], None))
}

fn exchange<S: Read + Write>(gateway: Gateway, stream: Framed<S>, most: usize) {
    let mut web = Client::on(stream).connected("web");
    let mut clear = Client::connect(gateway.addresses()[0], "clear");
    web.subscribe("to/web", QoS::AtMostOnce);
    clear.subscribe("to/clear", QoS::AtMostOnce);
    for len in [0, 1, 120, 126, 16_384, 65_530, 70_000, 300_000].into_iter().filter(|len| *len <= most) {
        let payload: Vec<u8> = (0..len).map(|at| (at / 253 + at) as u8).collect();
        web.send(Packet::Publish(message("to/clear", &payload, QoS::AtMostOnce)));
        clear.expect(Packet::Publish(message("to/clear", &payload, QoS::AtMostOnce)));
        clear.send(Packet::Publish(message("to/web", &payload, QoS::AtMostOnce)));
        web.expect(Packet::Publish(message("to/web", &payload, QoS::AtMostOnce)));
    }
    runtime().block_on(gateway.shut_down());
    web.receive(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    web.expect_end();
}

#[test]
fn messages_of_any_length_go_over_websocket_whatever_the_frames_are() {
    let authority = Authority::new();
    for (shards, frame, most) in [(1, 1, 200), (3, 7, 70_000), (1, 1 << 20, 300_000)] {
        let gateway = start(&authority, shards);
        let stream = Framed::open(tcp(gateway.addresses()[1]), "mqtt", None, frame).unwrap();
        exchange(gateway, stream, most);
        let gateway = start(&authority, shards);
        let stream = Framed::open(secure(&gateway, &authority), "mqttv3.1", None, frame).unwrap();
        exchange(gateway, stream, most);
    }
}

#[test]
fn pages_of_other_sites_and_other_subprotocols_are_refused() {
    let authority = Authority::new();
    let gateway = start(&authority, 1);
    let status = |subprotocol, origin| Framed::open(tcp(gateway.addresses()[1]), subprotocol, origin, 9).err();
    assert_eq!(status("mqtt", Some("https://page.example")), None);
    assert_eq!(status("mqtt", Some("http://localhost")), None);
    assert_eq!(status("mqtt", Some("https://other.example")), Some(403));
    assert_eq!(status("chat", None), Some(400));
    let over_tls = |origin| Framed::open(secure(&gateway, &authority), "mqtt", Some(origin), 9).err();
    assert_eq!((over_tls("https://page.example"), over_tls("https://other.example")), (None, Some(403)));
}

/// [MQTT-6.0.0-1]
#[test]
fn a_client_that_breaks_the_protocol_of_websocket_is_told_by_a_close_frame() {
    let authority = Authority::new();
    let gateway = start(&authority, 1);
    let mut text = Framed::open(tcp(gateway.addresses()[1]), "mqtt", None, 9).unwrap();
    text.socket.send(Message::Text("CONNECT".into())).unwrap();
    match text.socket.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1003),
        other => panic!("{other:?}"),
    }
    // MQTT without WebSocket, and TLS.
    for first in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a"[..], b"\x16\x03\x01\x00\xa5\x01"] {
        let mut stream = tcp(gateway.addresses()[1]);
        stream.write_all(first).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
}

/// The head of a request may take as long as CONNECT may, and be as long as 8 KiB.
#[test]
fn a_request_that_does_not_end_is_refused() {
    let authority = Authority::new();
    let gateway = start(&authority, 1);
    let mut stream = tcp(gateway.addresses()[1]);
    let _ = stream.write_all(&[b"GET / HTTP/1.1\r\nA: "[..].to_vec(), vec![b'x'; 9_000]].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
}
