//! Tests of the `goldcrest` command under a low limit of file descriptors, in processes of their own.

use crate::support::server::{Server, goldcrest, text};
use crate::support::{Client, message, wait_until};
use goldcrest_core::codec::{Packet, Publish, QoS, ReasonCode};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The most that is waited for something.
const PATIENCE: Duration = Duration::from_secs(20);

const SHARDS: &str = "2";

/// A directory for a test, removed after it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("goldcrest-descriptors-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        // Segments of 1 MiB, so that little data takes many files.
        let config = "[limits]\npacket_bytes = \"64KiB\"\n[store]\nsegment_bytes = \"1MiB\"\nsync = \"never\"\n";
        std::fs::write(path.join("config"), config).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn segments(&self) -> usize {
        let entries = std::fs::read_dir(self.0.join("data")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|it| it == "segment")).count()
    }

    /// A gateway whose process has this limit of open files from its beginning.
    fn gateway(&self, limit: u64, more: &[&str]) -> Command {
        let (config, data) = (self.path("config"), self.path("data"));
        under(limit, &[&["--shards", SHARDS, "--config", &config, "--data-dir", &data], more].concat())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The command in a process with this limit of open files.
fn under(limit: u64, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string(), env!("CARGO_BIN_EXE_goldcrest")])
        .args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command.env_remove("STATE_DIRECTORY").env("XDG_STATE_HOME", "/dev/null");
    command
}

/// The least limit that works, as the error under a far too low limit names it.
fn least_limit(store: bool) -> u64 {
    let place = if store { ["--data-dir", "/dev/null/none"].as_slice() } else { &["--memory-only"] };
    let output = under(20, &[&["--listen", "127.0.0.1:0", "--shards", SHARDS], place].concat()).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.starts_with("goldcrest: this process may have 20 files and connections open, and needs "), "{said}");
    assert!(said.contains("ulimit -n") && said.contains("LimitNOFILE="), "{said}");
    assert_eq!((said.lines().count(), output.status.code()), (1, Some(1)), "{said}");
    said.split("needs ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap()
}

/// Publishes a retained message of 60,000 bytes, and waits until it is acknowledged.
fn keep(client: &mut Client, number: usize) -> ReasonCode {
    let payload = vec![number as u8; 60_000];
    let topic = format!("kept/{number}");
    client.send(Packet::Publish(Publish { retain: true, ..message(&topic, &payload, QoS::AtLeastOnce) }));
    client.receive(|packet| match packet {
        Packet::PubAck(ack) => ack.code,
        other => panic!("PUBACK was expected, not {other:?}"),
    })
}

fn http_address(server: &Server) -> SocketAddr {
    let url = server.greeting.split("http://").nth(1).unwrap();
    url.split('/').next().unwrap().parse().unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// Gives a running process another limit, up to the one that it began with.
fn limit(server: &Server, limit: u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let maximum = line.split_whitespace().nth(1).unwrap().parse().ok();
    let pid = Pid::from_raw(server.child.id().try_into().unwrap());
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
}

fn open_files(server: &Server) -> u64 {
    std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count() as u64
}

#[test]
fn a_descriptor_limit_without_room_for_a_connection_is_refused_with_the_needed_number() {
    for store in [false, true] {
        let least = least_limit(store);
        assert!(least < 200, "{least}");
        let folder = Folder::new(if store { "least" } else { "least-memory" });
        let data = folder.path("data");
        let place: &[&str] = if store { &["--data-dir", &data] } else { &["--memory-only"] };
        // A limit that is higher by one leaves a place for one connection.
        let server = Server::run(&mut under(least + 1, &[&["--shards", SHARDS], place].concat()));
        let client = Client::connect(server.address, "one");
        drop(client);
    }
}

#[test]
fn a_store_of_more_files_than_the_descriptor_limit_works_beside_many_connections() {
    const KEPT: usize = 1_500;
    let limit = least_limit(true) + 6;
    let folder = Folder::new("grown");
    let server = Server::run(&mut folder.gateway(limit, &[]));
    let mut publisher = Client::connect(server.address, "publisher");
    // More connections than there are places for: they take all that they can get.
    let greedy: Vec<_> = (0..300).filter_map(|_| TcpStream::connect(server.address).ok()).collect();
    for number in 0..KEPT {
        assert_eq!(keep(&mut publisher, number), ReasonCode::Success, "{number}");
    }
    let segments = folder.segments() as u64;
    assert!(segments > limit - 30, "{segments} files under a limit of {limit}");
    assert!(open_files(&server) < limit);
    drop(greedy);
    server.signal("KILL");
    server.wait();

    let server = Server::run(&mut folder.gateway(limit, &[]));
    let mut subscriber = Client::connect(server.address, "subscriber");
    subscriber.subscribe("kept/#", QoS::AtMostOnce);
    let mut seen = vec![false; KEPT];
    for _ in 0..KEPT {
        subscriber.receive(|packet| match packet {
            Packet::Publish(publish) => {
                let number: usize = publish.topic["kept/".len()..].parse().unwrap();
                assert!(publish.payload == vec![number as u8; 60_000] && !seen[number], "{number}");
                seen[number] = true;
            }
            other => panic!("PUBLISH was expected, not {other:?}"),
        });
    }
    assert_eq!(keep(&mut Client::connect(server.address, "publisher"), 0), ReasonCode::Success);

    // The operator's commands have the same low limit, beside a gateway that runs.
    let (data, copy) = (folder.path("data"), folder.path("copy"));
    let store = |args: &[&str]| -> Output { under(32, &[&["store"], args].concat()).output().unwrap() };
    for args in [
        ["check", "--data-dir", &data].as_slice(),
        &["stats", "--data-dir", &data],
        &["backup", &copy, "--data-dir", &data],
    ] {
        let output = store(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    }
    assert!(text(&store(&["check", "--data-dir", &copy]).stdout).ends_with("sound\n"));
}

#[test]
fn ready_names_a_lack_of_descriptors_while_it_lasts() {
    let folder = Folder::new("reason");
    let server = Server::run(&mut folder.gateway(400, &["--http", "127.0.0.1:0"]));
    let http = http_address(&server);
    let mut publisher = Client::connect(server.address, "publisher");
    wait_until(PATIENCE, "it is ready", || get(http, "/ready").starts_with("HTTP/1.1 200"));
    assert_eq!(keep(&mut publisher, 0), ReasonCode::Success);
    let unfinished = format!("{}/unfinished: Too many open files", folder.path("data"));
    // Files that are open stay open; no other can be opened.
    limit(&server, 12);
    let taken = (1..600).find(|number| keep(&mut publisher, *number) != ReasonCode::Success);
    let taken = taken.expect("without new files the store is full at last");
    // Now there are descriptors, but creating the file fails for another reason: its name is taken.
    let other = folder.0.join("data/unfinished");
    wait_until(PATIENCE, "the name is free", || std::fs::create_dir(&other).is_ok());
    limit(&server, 400);
    let is_told = || get(http, "/ready").contains(&format!("{}: Is a directory", other.display()));
    wait_until(PATIENCE, "the other reason is told", is_told);
    assert!(get(http, "/metrics").contains("goldcrest_store_full_cause{cause=\"other\"} 1"));
    std::fs::remove_dir(&other).unwrap();
    wait_until(PATIENCE, "it is ready again", || get(http, "/ready").starts_with("HTTP/1.1 200"));
    assert!(get(http, "/metrics").contains("goldcrest_store_full_cause{cause=\"descriptors\"} 0"));
    assert_eq!(keep(&mut publisher, taken), ReasonCode::Success);
    let (_, stderr) = end(server);
    assert!(stderr.contains(&unfinished), "{stderr}");
    assert!(stderr.contains("ulimit -n") && !stderr.contains("max_bytes"), "{stderr}");
}

/// Stops the gateway. Returns its exit code, and its output on standard error.
fn end(mut server: Server) -> (Option<i32>, String) {
    let mut log = server.child.stderr.take().unwrap();
    server.signal("TERM");
    let (_, code) = server.wait();
    let mut logged = String::new();
    log.read_to_string(&mut logged).unwrap();
    (code, logged)
}

#[test]
fn without_descriptors_neither_listeners_nor_http_spin_or_fill_the_log() {
    let server = Server::run(&mut goldcrest(&["--memory-only", "--shards", "2", "--http", "127.0.0.1:0"]));
    let http = http_address(&server);
    limit(&server, 8);
    let waiting: Vec<_> =
        (0..40).map(|number| TcpStream::connect(if number % 2 == 0 { http } else { server.address })).collect();
    let before = processor_time(server.child.id());
    std::thread::sleep(Duration::from_secs(3));
    let used = processor_time(server.child.id()) - before;
    assert!(used < Duration::from_millis(600), "{used:?} of processor time in 3 s");
    drop(waiting);
    limit(&server, 400);
    wait_until(PATIENCE, "HTTP answers again", || get(http, "/live").starts_with("HTTP/1.1 200"));
    drop(Client::connect(server.address, "late"));
    let (code, stderr) = end(server);
    assert_eq!(code, Some(0));
    let lines = stderr.lines().filter(|line| line.contains("Too many open files")).count();
    assert!((1..=16).contains(&lines), "{lines} lines: {stderr}");
}

/// The processor time of all threads of a process.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // The fields are in hundredths of a second, on every Linux.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_huge_descriptor_limit_costs_no_memory_or_time() {
    // The highest limit that this process may set; in containers it is sometimes a thousand million.
    let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 30);
    let mut sizes = Vec::new();
    for limit in [400, most] {
        let folder = Folder::new(&format!("huge-{limit}"));
        let started = Instant::now();
        let server = Server::run(&mut folder.gateway(limit, &[]));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?} under a limit of {limit}", started.elapsed());
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
        sizes.push(size.trim_end_matches(" kB").parse::<u64>().unwrap());
    }
    assert!(sizes[1] < sizes[0] + 4_096, "{sizes:?} kB under a limit of 400, and of {most}");
}
