//! Wills through `kill -9`: the gateway's process ends while clients are connected, and starts again.

use crate::support::Client;
use goldcrest_core::codec::{Packet, QoS};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A CONNECT of MQTT 3.1.1 with Clean Session and the retained Will `offline` for `dev1/st`.
const CONNECT: &[u8] = b"\x10\x22\0\x04MQTT\x04\x2e\0\x3c\0\x04dev1\0\x07dev1/st\0\x07offline";

/// A PUBLISH of `online`, retained, with QoS 1.
const ONLINE: &[u8] = b"\x33\x11\0\x07dev1/st\0\x01online";

struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(folder: &Path, shards: u16) -> Self {
        let config = folder.join("goldcrest.toml");
        std::fs::write(&config, "[session]\nwill_grace_s = 4\n").unwrap();
        let mut child = command(&["--listen", "127.0.0.1:0", "--shards", &shards.to_string()])
            .arg("--config")
            .arg(config)
            .arg("--data-dir")
            .arg(folder.join("data"))
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

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Connects a device that publishes that it is online, and waits for the acknowledgement.
    fn device(&self, number: u8) -> TcpStream {
        let mut device = self.connect(&of_device(number, CONNECT));
        device.write_all(&of_device(number, ONLINE)).unwrap();
        let mut puback = [0; 4];
        device.read_exact(&mut puback).unwrap();
        assert_eq!(puback, [0x40, 2, 0, 1]);
        device
    }

    fn connect(&self, connect: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(connect).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        stream
    }

    /// Connects a client that gets the retained messages and the new ones for a filter.
    fn watch(&self, filter: &str) -> Client {
        let mut client = Client::connect(self.address, "watcher");
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.subscribe(filter, QoS::AtMostOnce);
        client
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_goldcrest"));
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// The same packet, sent by another device.
fn of_device(number: u8, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for at in 0..packet.len() - 3 {
        if packet[at..].starts_with(b"dev1") {
            packet[at + 3] = b'0' + number;
        }
    }
    packet
}

#[track_caller]
fn expect(client: &mut Client, payload: &[u8]) {
    client.receive(|packet| match packet {
        Packet::Publish(publish) => assert_eq!(publish.payload, payload),
        other => panic!("a message was expected, not {other:?}"),
    });
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("goldcrest-wills-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The output of a store command while no gateway runs; the command has to succeed.
fn store_says(folder: &Path, subcommand: &str) -> String {
    let output = command(&["store", subcommand, "--data-dir"]).arg(folder.join("data")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A bug of the past: the store had recorded "online" but not the Will "offline", so a client that never came back was
/// online for ever.
#[test]
fn the_will_of_a_client_that_does_not_return_after_kill_9_is_published() {
    for (before, after) in [(1, 3), (2, 2)] {
        let folder = folder(&format!("{before}-{after}"));
        let gateway = Gateway::start(&folder, before);
        let device = gateway.device(1);
        gateway.kill();
        drop(device);
        assert!(store_says(&folder, "dump").contains("dev1"));
        assert!(store_says(&folder, "check").contains("sound"));
        let gateway = Gateway::start(&folder, after);
        let mut watcher = gateway.watch("dev1/st");
        expect(&mut watcher, b"online");
        expect(&mut watcher, b"offline");
        // "offline" is retained too, in this run and after the next start.
        drop(watcher);
        let mut watcher = gateway.watch("dev1/st");
        expect(&mut watcher, b"offline");
        gateway.kill();
        let gateway = Gateway::start(&folder, after);
        expect(&mut gateway.watch("dev1/st"), b"offline");
        drop(gateway);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn the_will_of_a_client_that_returns_in_time_after_kill_9_is_not_published() {
    for shards in [1, 2] {
        let folder = folder(&format!("back-{shards}"));
        let gateway = Gateway::start(&folder, shards);
        let device = gateway.device(1);
        // A second device does not come back: its Will shows when the time is over.
        let other = gateway.device(2);
        gateway.kill();
        drop((device, other));
        let gateway = Gateway::start(&folder, shards);
        let _device = gateway.connect(CONNECT);
        let mut watcher = gateway.watch("dev2/st");
        expect(&mut watcher, b"online");
        expect(&mut watcher, b"offline");
        drop(watcher);
        std::thread::sleep(Duration::from_millis(500));
        expect(&mut gateway.watch("dev1/st"), b"online");
        drop(gateway);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
