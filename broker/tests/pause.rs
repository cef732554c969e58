//! A gateway whose process is stopped for a while, as by a debugger, a snapshot of its machine, or a busy host. Packets that clients
//! sent meanwhile are handled before timers fire.

mod support;

use goldcrest_core::codec::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Client, connect_packet};

struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    /// Starts a gateway in memory, with two seconds for CONNECT.
    fn start(shards: u16) -> Self {
        // Each test runs in a thread of its own.
        let name = format!("pause-{:?}.toml", std::thread::current().id());
        let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&config, "[session]\nconnect_timeout_ms = 2000\n").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_goldcrest"))
            .args(["--memory-only", "--listen", "127.0.0.1:0", "--shards", &shards.to_string(), "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("listening on ") {
            assert!(out.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        let address = said.lines().last().unwrap().strip_prefix("listening on ").unwrap().parse().unwrap();
        Self { child, address }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Stops the gateway for some seconds, and calls `each_second` after each of them.
    fn pause(&self, seconds: u32, mut each_second: impl FnMut(u32)) {
        self.signal("-STOP");
        for second in 1..=seconds {
            std::thread::sleep(Duration::from_secs(1));
            each_second(second);
        }
        self.signal("-CONT");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accepted(packet: Packet<'_>) -> bool {
    match packet {
        Packet::ConnAck(connack) if connack.code == ReasonCode::Success => connack.session_present,
        other => panic!("{other:?}"),
    }
}

/// [MQTT-3.1.2-22]
#[test]
fn clients_that_ping_while_the_process_is_stopped_stay_connected() {
    for shards in [1, 2] {
        let gateway = Gateway::start(shards);
        let connect = |number| {
            let mut client = Client::open(gateway.address);
            let id = format!("c{number}");
            client.send(Packet::Connect(Connect { keep_alive: 2, ..connect_packet(&id) }));
            assert!(!client.receive(accepted));
            client
        };
        let mut clients: Vec<_> = (0..50).map(connect).collect();
        gateway.pause(6, |_| clients.iter_mut().for_each(|client| client.send(Packet::PingReq)));
        for client in &mut clients {
            (0..6).for_each(|_| client.expect(Packet::PingResp));
        }
        clients.iter_mut().for_each(|client| client.send(Packet::PingReq));
        clients.iter_mut().for_each(|client| client.expect(Packet::PingResp));
        // Clients that send no more are still closed in the end.
        for client in &mut clients {
            assert_eq!(client.receive(|packet| packet.packet_type()), PacketType::Disconnect);
        }
    }
}

/// [MQTT-3.1.3-9] [MQTT-3.1.2-5]
#[test]
fn a_client_that_returns_while_the_process_is_stopped_keeps_its_session_and_its_will_is_not_sent() {
    for shards in [1, 2] {
        let gateway = Gateway::start(shards);
        let mut watcher = Client::connect(gateway.address, "watcher");
        watcher.subscribe("will", QoS::AtMostOnce);
        let delay = [Property::WillDelayInterval(1)];
        let will = Will {
            qos: QoS::AtMostOnce,
            retain: false,
            properties: Properties::new(&delay),
            topic: "will",
            payload: b"gone",
        };
        let expiry = [Property::SessionExpiryInterval(2)];
        let ids: Vec<_> = (0..10).map(|number| format!("away{number}")).collect();
        let come = |id: &str, clean_start| {
            let mut client = Client::open(gateway.address);
            let properties = Properties::new(&expiry);
            client.send(Packet::Connect(Connect { clean_start, properties, will: Some(will), ..connect_packet(id) }));
            client
        };
        for id in &ids {
            assert!(!come(id, true).receive(accepted));
        }
        let mut back = Vec::new();
        gateway.pause(6, |second| {
            if second == 1 {
                back.extend(ids.iter().map(|id| come(id, false)));
            }
        });
        for client in &mut back {
            assert!(client.receive(accepted), "the Session is there");
        }
        // Longer than the delay of the Will, and longer than timers wait after a pause.
        std::thread::sleep(Duration::from_secs(4));
        watcher.send(Packet::PingReq);
        watcher.expect(Packet::PingResp);
    }
}

#[test]
fn a_connect_that_came_while_the_process_was_stopped_is_accepted() {
    let gateway = Gateway::start(1);
    let mut clients: Vec<_> = (0..50).map(|_| Client::open(gateway.address)).collect();
    // All connections were accepted: the last one has its answer.
    let mut last = Client::open(gateway.address);
    last.send(Packet::Connect(connect_packet("last")));
    assert!(!last.receive(accepted));
    let mut halves = Vec::new();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut bytes = Vec::new();
        Packet::Connect(connect_packet(&format!("c{number}"))).encode(Version::V5, &mut bytes);
        let rest = bytes.split_off(5);
        client.stream.write_all(&bytes).unwrap();
        halves.push(rest);
    }
    let finish = |stream: &mut TcpStream, rest: &[u8]| stream.write_all(rest).unwrap();
    gateway.pause(4, |second| {
        if second == 1 {
            clients.iter_mut().zip(&halves).for_each(|(client, rest)| finish(&mut client.stream, rest));
        }
    });
    for client in &mut clients {
        assert!(!client.receive(accepted));
    }
}
