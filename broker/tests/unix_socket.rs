//! Listeners at Unix sockets, and at sockets that the process was started with.

use crate::support::folder::Folder;
use crate::support::server::goldcrest;
use crate::support::{Client, local, message, runtime};
use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, Listener, StartError, UnixAddress};
use goldcrest_core::Principal;
use goldcrest_core::codec::{Packet, QoS};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn open(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn clients_at_a_unix_socket_and_over_tcp_get_each_others_messages_and_the_decider_knows_the_user() {
    for shards in [1, 3] {
        let folder = Folder::made("unix-socket");
        let path = folder.path().join("mqtt.sock");
        let uids = Arc::new(Mutex::new(Vec::new()));
        let tell = uids.clone();
        let access = Access::new().decided_by(move |request: AccessRequest, reply: Reply| {
            tell.lock().unwrap().push((request.peer_uid, request.peer.is_some(), request.listener));
            reply.send(Decision::accept(Principal(1)));
        });
        let mut config = Config { shards, ..local() };
        config.listeners.push(Listener::at(UnixAddress { mode: 0o600, ..UnixAddress::new(&path) }));
        let gateway = Gateway::start_with(&config, access).unwrap();
        assert_eq!(gateway.paths_of_listeners().collect::<Vec<_>>(), [(1, &*path)]);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let mut here = Client::on(open(&path)).connected("here");
        let mut there = Client::connect(gateway.addresses()[0], "there");
        here.subscribe("to/here", QoS::AtMostOnce);
        there.subscribe("to/there", QoS::AtMostOnce);
        for len in [0, 1000, 100_000, 3_000_000] {
            let payload = vec![7; len];
            here.send(Packet::Publish(message("to/there", &payload, QoS::AtMostOnce)));
            there.send(Packet::Publish(message("to/here", &payload, QoS::AtMostOnce)));
            there.expect(Packet::Publish(message("to/there", &payload, QoS::AtMostOnce)));
            here.expect(Packet::Publish(message("to/here", &payload, QoS::AtMostOnce)));
        }
        let own = std::fs::metadata("/proc/self").unwrap().uid();
        assert_eq!(*uids.lock().unwrap(), [(Some(own), false, Some(1)), (None, true, Some(0))]);
        runtime().block_on(gateway.shut_down());
        here.receive(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
        here.expect_end();
        assert!(!path.exists());
    }
}

/// A gateway that was started with these options, and what it listens on.
struct Started {
    child: Child,
    places: Vec<String>,
}

impl Started {
    fn new(command: &mut Command, listeners: usize) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let places = lines.filter_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let places: Vec<_> = places.take(listeners).collect();
        assert_eq!(places.len(), listeners, "it ended");
        Self { child, places }
    }

    fn end(&mut self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_socket_that_a_killed_gateway_left_is_taken_over_and_one_in_use_is_not() {
    let folder = Folder::made("unix-socket");
    let path = folder.path().join("mqtt.sock");
    let address = format!("unix:{}", path.display());
    let command = || goldcrest(&["--memory-only", "--listen", &address]);
    let mut first = Started::new(&mut command(), 1);
    assert!(first.places == [&*address]);
    drop(Client::on(open(&path)).connected("a"));
    let second = command().output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("cannot listen on {address}: another process listens there")), "{said}");
    drop(Client::on(open(&path)).connected("b"));
    first.end("KILL");
    assert!(path.exists());
    let mut third = Started::new(&mut command(), 1);
    drop(Client::on(open(&path)).connected("c"));
    third.end("TERM");
    assert!(!path.exists());
}

/// The program with `socket` as its descriptor 3, as systemd starts it.
fn started_with(socket: OwnedFd, name: &str, options: &[&str]) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES={name} LISTEN_PID=$$; exec \"$@\"");
    let program = goldcrest(options);
    command.args(["-c", &script, "sh"]).arg(program.get_program()).args(program.get_args());
    command.stdin(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", "/dev/null").env_remove("RUST_LOG");
    command
}

#[test]
fn sockets_that_systemd_hands_over_are_listened_on() {
    let options = ["--memory-only", "--listen", "systemd:mqtt"];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Who connects before the gateway has started is served too.
    let mut early = Client::open(address);
    let mut server = Started::new(&mut started_with(listener.into(), "mqtt", &options), 1);
    assert_eq!(server.places, [address.to_string()]);
    early = early.connected("early");
    drop((early, Client::connect(address, "late")));
    server.end("TERM");

    let folder = Folder::made("unix-socket");
    let path = folder.path().join("mqtt.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let kept = listener.try_clone().unwrap();
    let both = [&options[..], &["--listen", "127.0.0.1:0"]].concat();
    let mut server = Started::new(&mut started_with(listener.into(), "mqtt", &both), 1);
    drop(Client::on(open(&path)).connected("a"));
    server.end("TERM");
    assert!(path.exists(), "the path belongs to systemd");
    drop(kept);
}

#[test]
fn a_socket_that_was_not_handed_over_or_that_others_reach_ends_the_start_with_the_reason() {
    let said = |mut command: Command| String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned();
    let options = ["--memory-only", "--listen", "systemd:mqtt"];
    let without = said(goldcrest(&options));
    assert!(without.contains("cannot listen on systemd:mqtt: the process was started without sockets"), "{without}");
    let socket = || TcpListener::bind("0.0.0.0:0").unwrap();
    let other = said(started_with(socket().into(), "http", &options));
    assert!(other.contains("cannot listen on systemd:mqtt: the process was started with http"), "{other}");
    let open = said(started_with(socket().into(), "mqtt", &options));
    assert!(open.contains("will not listen on systemd:mqtt: "), "{open}");
    let local = Config { listeners: vec![Listener::at(UnixAddress::new("/no/such/folder/mqtt.sock"))], ..local() };
    assert!(matches!(Gateway::start(&local), Err(StartError::Listen(..))));
}
