//! Why clients were refused or disconnected: the lines in the log at the default level, and the metrics.

use crate::support::{Client, connect_packet, local, message, runtime};
use goldcrest::{Config, Gateway};
use goldcrest_core::codec::{Connect, Disconnect, Packet, Properties, Property, QoS, ReasonCode};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The command without a store, with its log at the default level.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_goldcrest"));
        command.args(["--memory-only", "--listen", "127.0.0.1:0"]).env_remove("RUST_LOG").stdin(Stdio::null());
        command.args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some(address) = line.trim().strip_prefix("listening on ") {
                break address.parse().unwrap();
            }
        };
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| *into.lock().unwrap() += &(line + "\n"))
        });
        Self { child, address, log }
    }

    /// Waits until there is a line with all of these words. Returns all such lines.
    pub(crate) fn lines(&self, words: &[&str]) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log.lock().unwrap().clone();
            let found: Vec<_> =
                log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect();
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "no line with {words:?} in {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bug of the past: the default level showed no line at all. A client reconnected without end, and the log did not say
/// why.
#[test]
fn the_log_has_one_line_for_each_client_and_reason_with_name_and_address() {
    let server = Server::start();
    // A device that sends a packet that is too large, again and again. MQTT 3.1.1 has no way to tell it why it is closed.
    let mut peer = None;
    for _ in 0..20 {
        let mut camera = TcpStream::connect(server.address).unwrap();
        peer = Some(camera.local_addr().unwrap().ip().to_string());
        camera.write_all(b"\x10\x13\0\x04MQTT\x04\x02\0\x3c\0\x07cam\xe2\x80\xae1").unwrap();
        camera.read_exact(&mut [0; 4]).unwrap();
        camera.write_all(b"\x30\xff\xff\xff\x7f\0\x01t").unwrap();
        assert_eq!(camera.read(&mut [0]).unwrap_or(0), 0);
    }
    let lines = server.lines(&["WARN", "closed the connection", "268435460 bytes"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let limit = goldcrest_core::Limits::GATEWAY.packet_bytes.to_string();
    for part in [r"client=cam\u{202e}1", peer.as_deref().unwrap(), "packet_bytes", &limit] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }

    let mut wrong = Client::connect(server.address, "wrong");
    wrong.stream.write_all(&[0xF0, 0]).unwrap();
    server.lines(&["WARN", "closed the connection", "client=wrong"]);

    let mut refused = Client::open(server.address);
    let filter = goldcrest_core::codec::Will {
        qos: QoS::AtMostOnce,
        retain: false,
        properties: goldcrest_core::codec::Properties::EMPTY,
        topic: "$SYS/mine",
        payload: b"",
    };
    refused.send(Packet::Connect(Connect { will: Some(filter), ..connect_packet("refused") }));
    server.lines(&["WARN", "refused a client", "client=refused"]);

    let _first = Client::connect(server.address, "twice");
    let _second = Client::connect(server.address, "twice");
    server.lines(&["INFO", "closed the connection", "client=twice", "another Network Connection"]);

    let mut silent = Client::open(server.address);
    silent.send(Packet::Connect(Connect { keep_alive: 1, ..connect_packet("silent") }));
    server.lines(&["INFO", "closed the connection", "client=silent", "Keep Alive"]);

    let mut garbage = TcpStream::connect(server.address).unwrap();
    garbage.write_all(b"garbage").unwrap();
    server.lines(&["WARN", "refused a client", "127.0.0.1"]);

    let mut unhappy = Client::connect(server.address, "unhappy");
    unhappy.send(Packet::Disconnect(Disconnect::new(ReasonCode::MalformedPacket)));
    server.lines(&["INFO", "client=unhappy", "0x81 Malformed Packet"]);
}

/// A line that only says "quota exceeded" would not tell the operator what to change.
#[test]
fn the_log_line_for_a_full_table_of_sessions_names_the_key_to_change() {
    let config = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("sessions.toml");
    std::fs::write(&config, "[capacity]\nsessions = 16\n").unwrap();
    let server = Server::start_with(&["--shards", "1", "--config", config.to_str().unwrap()]);
    let kept = [Property::SessionExpiryInterval(3600)];
    for number in 0..=16 {
        let mut client = Client::open(server.address);
        let id = format!("kept{number}");
        let properties = Properties::new(&kept);
        client.send(Packet::Connect(Connect { properties, ..connect_packet(&id) }));
        client.receive(|_| ());
    }
    let lines = server.lines(&["WARN", "refused a client", "client=kept16"]);
    assert!(lines[0].contains("sessions in [capacity] allows 16 on each shard"), "{lines:?}");
}

/// A device with `mqtts://`, a browser, a load balancer: the error "a field reaches beyond the end of the packet" would not
/// help the user who set it up.
#[test]
fn the_log_line_for_a_client_of_another_protocol_names_the_protocol() {
    let server = Server::start();
    for (bytes, name) in [
        (&b"\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03"[..], "it speaks TLS"),
        (b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "it speaks HTTP"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY protocol"),
    ] {
        for _ in 0..5 {
            let mut foreign = TcpStream::connect(server.address).unwrap();
            foreign.write_all(bytes).unwrap();
            assert_eq!(foreign.read(&mut [0]).unwrap_or(0), 0, "{name}");
        }
        let lines = server.lines(&["WARN", "refused a client", "127.0.0.1", name]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

/// Unlike a health check, this connection has begun a CONNECT.
#[test]
fn the_log_has_a_line_for_a_client_lost_amid_its_connect() {
    let server = Server::start();
    for _ in 0..5 {
        let mut half = TcpStream::connect(server.address).unwrap();
        half.write_all(b"\x10\x13\0\x04MQTT").unwrap();
    }
    let lines = server.lines(&["INFO", "lost a client", "127.0.0.1", "8 bytes, in the midst of its CONNECT"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
}

/// Health checks that connect each second, and clients that come and go, are not worth a line.
#[test]
fn the_log_has_no_lines_for_health_checks_and_clients_that_leave() {
    let server = Server::start();
    for _ in 0..50 {
        drop(TcpStream::connect(server.address).unwrap());
        drop(Client::connect(server.address, "gone"));
        Client::connect(server.address, "leaves").send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    }
    // A client that is worth a line, and comes last.
    let mut wrong = Client::connect(server.address, "wrong");
    wrong.stream.write_all(&[0xF0, 0]).unwrap();
    let told = server.lines(&["client=wrong"]);
    let log = server.log.lock().unwrap().clone();
    // The start logs that there is no store, the ceiling on memory, and the number of shards.
    let is_of_the_start =
        |line: &&str| ["memory only", " memory: ", " shards: "].iter().any(|told| line.contains(told));
    assert_eq!(log.lines().filter(|line| !is_of_the_start(line)).count(), told.len(), "{log}");
}

#[test]
fn ends_of_connections_are_counted_by_reason() {
    for shards in [1, 3] {
        let mut config = Config { shards, ..local() };
        config.http.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let gateway = Gateway::start(&config).unwrap();
        let address = gateway.addresses()[0];
        for number in 0..3 {
            let mut wrong = Client::connect(address, &format!("wrong {number}"));
            wrong.stream.write_all(&[0xF0, 0, 0xF0, 0]).unwrap();
            wrong.expect(Packet::Disconnect(Disconnect::new(ReasonCode::ProtocolError)));
        }
        drop(Client::connect(address, "gone"));
        drop(TcpStream::connect(address).unwrap());
        let mut leaves = Client::connect(address, "leaves");
        leaves.send(Packet::Publish(message("t", b"", QoS::AtMostOnce)));
        leaves.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        let wanted = [
            ("protocol_error", 3),
            ("lost", 1),
            ("lost_before_connect", 1),
            ("disconnected", 1),
            ("packet_too_large", 0),
        ];
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let metrics = metrics(&gateway);
            let has = |(reason, count): &(&str, u64)| {
                let line = format!("goldcrest_ended_connections_total{{reason=\"{reason}\"}} {count}");
                metrics.lines().any(|known| known == line)
            };
            if wanted.iter().all(has) {
                break;
            }
            assert!(Instant::now() < deadline, "{metrics}");
            std::thread::sleep(Duration::from_millis(20));
        }
        runtime().block_on(gateway.shut_down());
    }
}

fn metrics(gateway: &Gateway) -> String {
    let mut stream = TcpStream::connect(gateway.http_addresses()[0]).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
