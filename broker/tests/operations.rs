//! The numbers that operators see over HTTP and below `$SYS/` match the events of the test.

use crate::support::folder::Folder;
use crate::support::{Client, connect_packet, local, message, runtime, wait_until};
use goldcrest::{Config, Gateway, HttpConfig, StartError};
use goldcrest_core::codec::{ConnAck, Connect, Packet, Properties, Property, Publish, QoS, ReasonCode};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The most that is waited for something.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway with an HTTP endpoint, which publishes its `$SYS` topics each second.
fn config(shards: u16) -> Config {
    let http = HttpConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], ..HttpConfig::default() };
    Config { shards, http, sys_interval_s: 1, ..local() }
}

/// Runs a test with one shard, and with two.
fn with_gateways(change: impl Fn(&mut Config), test: impl Fn(&Gateway)) {
    for shards in [1, 2] {
        let mut config = config(shards);
        change(&mut config);
        let gateway = Gateway::start(&config).unwrap();
        test(&gateway);
        runtime().block_on(gateway.shut_down());
    }
}

/// Sends this text as a request. Returns the status and the body.
fn request(address: SocketAddr, head: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

pub(crate) fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    request(gateway.http_addresses()[0], &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

/// The value of a metric, by its name and labels.
pub(crate) fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (status, text) = get(gateway, "/metrics");
    assert_eq!(status, 200, "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
}

/// Connects a client whose Session outlives the connection.
fn connect_durably(address: SocketAddr, client_id: &str) -> Client {
    let expiry = [Property::SessionExpiryInterval(3600)];
    let mut client = Client::open(address);
    client.send(Packet::Connect(Connect { properties: Properties::new(&expiry), ..connect_packet(client_id) }));
    client.expect(Packet::ConnAck(ConnAck::new(ReasonCode::Success)));
    client
}

/// Publishes with QoS 1. Returns the Reason Code of PUBACK.
fn publish(client: &mut Client, topic: &str, payload: &[u8], retain: bool) -> ReasonCode {
    client.send(Packet::Publish(Publish { retain, ..message(topic, payload, QoS::AtLeastOnce) }));
    client.receive(|packet| match packet {
        Packet::PubAck(ack) => ack.code,
        other => panic!("PUBACK was expected, not {other:?}"),
    })
}

/// Waits until a topic below `$SYS/broker/` has a value.
fn wait_for_topic(watcher: &mut Client, topic: &str, wanted: &str) {
    let topic = format!("$SYS/broker/{topic}");
    let started = Instant::now();
    let mut last = None;
    while last.as_deref() != Some(wanted) {
        assert!(started.elapsed() < Duration::from_secs(20), "{topic} is {last:?}, not {wanted}");
        watcher.receive(|packet| match packet {
            Packet::Publish(publish) if publish.topic == topic => {
                last = Some(String::from_utf8(publish.payload.to_vec()).unwrap());
            }
            Packet::Publish(_) => {}
            other => panic!("a message was expected, not {other:?}"),
        });
    }
}

#[test]
fn metrics_sys_topics_and_sessions_match_the_traffic() {
    // Room for the messages that the watcher of the topics gets at once.
    const QUEUED: usize = 100;
    const LOST: usize = 15;
    with_gateways(
        |config| {
            config.broker.limits.queued_messages = QUEUED as u32;
            // Identifiers with control characters are shown escaped.
            config.broker.allow_control_characters = true;
        },
        |gateway| {
            let address = gateway.addresses()[0];
            let mut watcher = Client::connect(address, "watcher");
            watcher.subscribe("$SYS/broker/#", QoS::AtMostOnce);
            for absent in 0..4 {
                let mut client = connect_durably(address, &format!("absent {absent}\u{1b}[31m"));
                client.subscribe("to/all", QoS::AtLeastOnce);
            }
            wait_until(PATIENCE, "they are gone", || metric(gateway, "goldcrest_connected_sessions") == 1.0);
            let mut publisher = Client::connect(address, "publisher");
            for number in 0..QUEUED + LOST {
                // A message that all subscribers lose is refused.
                let wanted = if number < QUEUED { ReasonCode::Success } else { ReasonCode::QuotaExceeded };
                assert_eq!(publish(&mut publisher, "to/all", &number.to_be_bytes(), false), wanted);
            }
            assert_eq!(publish(&mut publisher, "to/nobody", b"", false), ReasonCode::NoMatchingSubscribers);
            publish(&mut publisher, "kept", b"x", true);
            publisher.send(Packet::Publish(message("to/nobody", b"", QoS::AtMostOnce)));
            publisher.send(Packet::PingReq);
            publisher.expect(Packet::PingResp);

            for (name, wanted) in [
                ("goldcrest_received_publish_total{qos=\"0\"}", 1.0),
                ("goldcrest_received_publish_total{qos=\"1\"}", (QUEUED + LOST + 2) as f64),
                ("goldcrest_received_publish_total{qos=\"2\"}", 0.0),
                ("goldcrest_dropped_messages_total{reason=\"queue_full\"}", (4 * LOST) as f64),
                ("goldcrest_dropped_messages_total{reason=\"expired\"}", 0.0),
                ("goldcrest_sessions", 6.0),
                ("goldcrest_connected_sessions", 2.0),
                ("goldcrest_subscriptions", 5.0),
                ("goldcrest_retained_messages", 1.0),
                ("goldcrest_shards", f64::from(gateway_shards(gateway))),
            ] {
                // Messages for another shard are handed over a moment later.
                wait_until(PATIENCE, &format!("{name} is {wanted}"), || metric(gateway, name) == wanted);
            }

            wait_for_topic(&mut watcher, "publish/messages/dropped/queue_full", "60");
            let mut late = Client::connect(address, "late");
            late.subscribe("$SYS/broker/+/total", QoS::AtLeastOnce);
            wait_for_topic(&mut late, "clients/total", "7");

            let (status, lines) = get(gateway, "/sessions?queued=1");
            assert_eq!((status, lines.lines().count()), (200, 4), "{lines}");
            let (_, line) = get(gateway, "/sessions?client_id=absent%202%1B%5B31m");
            for part in [
                "{\"client_id\":\"absent 2\\u001b[31m\",",
                "\"connected\":false,\"subscriptions\":1,\"queued_messages\":100,",
                "\"in_flight\":0,\"receipts\":0,\"dropped\":{\"queue_full\":15}}\n",
            ] {
                assert!(line.contains(part), "{part}: {line}");
            }
            assert_eq!(get(gateway, "/sessions?client_id=nobody"), (200, String::new()));
        },
    );
}

fn gateway_shards(gateway: &Gateway) -> u16 {
    metric(gateway, "goldcrest_shards") as u16
}

#[test]
fn all_sessions_are_shown_in_portions() {
    with_gateways(
        |_| {},
        |gateway| {
            for number in 0..25 {
                connect_durably(gateway.addresses()[0], &format!("client {number}"));
            }
            let (mut seen, mut from) = (Vec::new(), "0.0".to_owned());
            loop {
                let (status, lines) = get(gateway, &format!("/sessions?limit=10&from={from}"));
                assert_eq!(status, 200);
                let ids = lines.lines().filter_map(|line| line.strip_prefix("{\"client_id\":\"")?.split('"').next());
                let before = seen.len();
                seen.extend(ids.map(str::to_owned));
                assert!(seen.len() - before <= 10);
                match lines.lines().find_map(|line| line.strip_prefix("{\"next\":\"")?.strip_suffix("\"}")) {
                    Some(next) => from = next.to_owned(),
                    None => break,
                }
            }
            seen.sort();
            let mut expected: Vec<_> = (0..25).map(|number| format!("client {number}")).collect();
            expected.sort();
            assert_eq!(seen, expected);
        },
    );
}

/// Dashboards that were made for Mosquitto show these topics.
#[test]
fn message_rates_and_bytes_have_the_sys_topics_of_mosquitto() {
    with_gateways(
        |_| {},
        |gateway| {
            let address = gateway.addresses()[0];
            let mut watcher = Client::connect(address, "watcher");
            watcher.subscribe("$SYS/broker/publish/bytes/+", QoS::AtMostOnce);
            let mut subscriber = Client::connect(address, "subscriber");
            subscriber.subscribe("t", QoS::AtMostOnce);
            let mut publisher = Client::connect(address, "publisher");
            for _ in 0..100 {
                assert_eq!(publish(&mut publisher, "t", &[7; 50], false), ReasonCode::Success);
                subscriber.expect(Packet::Publish(message("t", &[7; 50], QoS::AtMostOnce)));
            }
            // The bytes of each packet: fixed header, topic, Packet Identifier, Properties and payload.
            wait_for_topic(&mut watcher, "publish/bytes/received", &(100 * (2 + 3 + 2 + 1 + 50)).to_string());
            assert_eq!(metric(gateway, "goldcrest_received_publish_bytes_total"), 5800.0);
            // The watcher was sent the values of these topics too.
            assert!(metric(gateway, "goldcrest_sent_publish_bytes_total") >= 5600.0);
            // This connection counts too, though it sends no CONNECT.
            drop(std::net::TcpStream::connect(address).unwrap());
            wait_until(PATIENCE, "all are counted", || metric(gateway, "goldcrest_accepted_connections_total") == 4.0);
            // The watcher's packets count too, so these are above 0 from now on.
            for topic in [
                "publish/received",
                "publish/sent",
                "bytes/received",
                "bytes/sent",
                "messages/received",
                "messages/sent",
            ] {
                for span in ["1min", "5min", "15min"] {
                    let rate = |topic: &str| value(address, topic).parse::<f64>().unwrap();
                    wait_until(PATIENCE, topic, || rate(&format!("load/{topic}/{span}")) > 0.0);
                }
            }
            let heap = |which: &str| value(address, &format!("heap/{which} size")).parse::<u64>().unwrap();
            assert!(heap("current") > 1 << 16 && heap("maximum") >= 1 << 16);
        },
    );
}

/// The value of a topic below `$SYS/broker/`.
fn value(address: SocketAddr, topic: &str) -> String {
    let topic = format!("$SYS/broker/{topic}");
    let mut reader = Client::connect(address, "reader");
    reader.subscribe(&topic, QoS::AtMostOnce);
    reader.receive(|packet| match packet {
        Packet::Publish(publish) if publish.topic == topic => String::from_utf8(publish.payload.to_vec()).unwrap(),
        other => panic!("a message was expected, not {other:?}"),
    })
}

/// A new subscriber gets all values at once; later only changed values come; and no client can publish one.
#[test]
fn sys_topics_are_retained_and_clients_cannot_publish_them() {
    with_gateways(
        |_| {},
        |gateway| {
            let address = gateway.addresses()[0];
            for _ in 0..2 {
                let mut late = Client::connect(address, "late");
                late.subscribe("$SYS/broker/version", QoS::AtLeastOnce);
                wait_for_topic(&mut late, "version", concat!("goldcrest version ", env!("CARGO_PKG_VERSION")));
            }
            let mut everything = Client::connect(address, "everything");
            everything.subscribe("#", QoS::AtMostOnce);
            let mut watcher = Client::connect(address, "watcher");
            watcher.subscribe("$SYS/broker/+", QoS::AtMostOnce);
            wait_for_topic(&mut watcher, "version", concat!("goldcrest version ", env!("CARGO_PKG_VERSION")));
            let mut uptimes = 0;
            while uptimes < 3 {
                watcher.receive(|packet| match packet {
                    Packet::Publish(publish) if publish.topic == "$SYS/broker/uptime" => uptimes += 1,
                    other => panic!("only the uptime changes, not {other:?}"),
                });
            }
            assert_eq!(publish(&mut watcher, "$SYS/broker/version", b"forged", true), ReasonCode::NotAuthorized);
            assert_eq!(publish(&mut watcher, "end", b"", false), ReasonCode::Success);
            everything.receive(|packet| match packet {
                Packet::Publish(publish) => assert_eq!(publish.topic, "end"),
                other => panic!("a message was expected, not {other:?}"),
            });
        },
    );
}

#[test]
fn sys_topics_and_http_can_be_turned_off() {
    let gateway = Gateway::start(&Config { sys_interval_s: 0, ..config(1) }).unwrap();
    let mut late = Client::connect(gateway.addresses()[0], "late");
    late.subscribe("$SYS/#", QoS::AtLeastOnce);
    late.send(Packet::PingReq);
    late.expect(Packet::PingResp);
    assert_eq!(get(&gateway, "/ready"), (200, "it is ready\n".to_owned()));
    drop(gateway);
    let gateway = Gateway::start(&Config { http: HttpConfig::default(), ..config(1) }).unwrap();
    assert!(gateway.http_addresses().is_empty());
}

#[test]
fn http_answers_other_machines_only_if_configured() {
    let mut open = config(1);
    open.http.listen = vec!["0.0.0.0:0".parse().unwrap()];
    assert!(matches!(Gateway::start(&open), Err(StartError::HttpOpenToAll(_))));
    open.http.allow_anonymous = true;
    assert_eq!(Gateway::start(&open).unwrap().http_addresses().len(), 1);
}

#[test]
fn a_gateway_with_a_full_store_is_not_ready_until_there_is_room() {
    const KEPT: usize = 200;
    let folder = Folder::new("full");
    with_gateways(
        |config| {
            config.data_dir = Some(folder.path().join(config.shards.to_string()));
            config.broker.limits.packet_bytes = 64 << 10;
            config.store.segment_bytes = 1 << 20;
            config.store.max_bytes = 6 << 20;
        },
        |gateway| {
            let mut watcher = Client::connect(gateway.addresses()[0], "watcher");
            watcher.subscribe("$SYS/broker/store/full", QoS::AtMostOnce);
            wait_for_topic(&mut watcher, "store/full", "0");
            let mut publisher = Client::connect(gateway.addresses()[0], "publisher");
            // Restored shards first tell each other who has subscribed.
            wait_until(PATIENCE, "it is ready", || get(gateway, "/ready") == (200, "it is ready\n".to_owned()));
            // One refusal does not mean that the store stays full: it may lack the room only until a batch that is under way is written.
            let (mut tried, mut refused_in_a_row) = (0, 0);
            while refused_in_a_row < 10 {
                assert!(tried < KEPT, "the store becomes full");
                let payload = vec![tried as u8; 60_000];
                let code = publish(&mut publisher, &format!("kept/{tried}"), &payload, true);
                refused_in_a_row = if code == ReasonCode::QuotaExceeded { refused_in_a_row + 1 } else { 0 };
                tried += 1;
            }
            let took = wait_until(PATIENCE, "it is not ready", || get(gateway, "/ready").0 == 503);
            assert!(took < Duration::from_secs(1), "{took:?}");
            let words = "the store has no room, and what needs more is refused: its files take what max_bytes allows, 6291456 bytes\n";
            assert_eq!(get(gateway, "/ready").1, words);
            assert_eq!(get(gateway, "/live"), (200, "it lives\n".to_owned()));
            assert_eq!(metric(gateway, "goldcrest_store_full"), 1.0);
            // The topic says so though nothing can be recorded.
            wait_for_topic(&mut watcher, "store/full", "1");

            for number in 0..tried {
                publish(&mut publisher, &format!("kept/{number}"), b"", true);
            }
            let took = wait_until(PATIENCE, "it is ready again", || get(gateway, "/ready").0 == 200);
            assert!(took < Duration::from_secs(1), "{took:?}");
            wait_for_topic(&mut watcher, "store/full", "0");
            assert_eq!(metric(gateway, "goldcrest_store_full"), 0.0);
        },
    );
}

#[test]
fn a_flipped_bit_in_the_store_is_reported_after_the_next_start() {
    let folder = Folder::new("damage");
    let start =
        |shards| Gateway::start(&Config { data_dir: Some(folder.path().join(format!("{shards}"))), ..config(shards) });
    for shards in [1, 2] {
        let gateway = start(shards).unwrap();
        let mut publisher = Client::connect(gateway.addresses()[0], "publisher");
        publish(&mut publisher, "kept", b"a payload that is looked for", true);
        publish(&mut publisher, "other", b"x", true);
        wait_until(PATIENCE, "it is written", || metric(&gateway, "goldcrest_store_commits_total") > 0.0);
        assert_eq!(metric(&gateway, "goldcrest_store_damaged_bytes"), 0.0);
        assert!(metric(&gateway, "goldcrest_store_sync_seconds_count") > 0.0);
        runtime().block_on(gateway.shut_down());

        let mut flipped = 0;
        for entry in std::fs::read_dir(folder.path().join(format!("{shards}"))).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let found: Vec<usize> = bytes
                .windows(28)
                .enumerate()
                .filter(|(_, w)| *w == b"a payload that is looked for")
                .map(|(at, _)| at)
                .collect();
            for at in &found {
                bytes[*at] ^= 1;
            }
            flipped += found.len();
            if !found.is_empty() {
                std::fs::write(&path, bytes).unwrap();
            }
        }
        assert!(flipped > 0);

        let gateway = start(shards).unwrap();
        assert!(metric(&gateway, "goldcrest_store_damaged_bytes") > 28.0);
        assert_eq!(metric(&gateway, "goldcrest_store_damaged_places"), flipped as f64);
        assert_eq!(metric(&gateway, "goldcrest_store_damaged_records{kind=\"Message\"}"), flipped as f64);
        // The records that made the damaged messages retained now refer to nothing.
        assert!(metric(&gateway, "goldcrest_store_left_out_records") > 0.0);
        let mut watcher = Client::connect(gateway.addresses()[0], "watcher");
        watcher.subscribe("$SYS/broker/store/damaged/+", QoS::AtMostOnce);
        wait_for_topic(&mut watcher, "store/damaged/records", &flipped.to_string());
        wait_until(PATIENCE, "what is left is served", || get(&gateway, "/ready").0 == 200);
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_stopping_gateway_is_not_ready() {
    for shards in [1, 2] {
        let gateway = Gateway::start(&config(shards)).unwrap();
        let http = gateway.http_addresses()[0];
        // This client is told that the gateway stops, and does not close.
        let _client = Client::connect(gateway.addresses()[0], "stays");
        let stopping = std::thread::spawn(move || runtime().block_on(gateway.shut_down()));
        let ready = || request(http, "GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = ready();
        wait_until(PATIENCE, "it is being stopped", || {
            answer = ready();
            answer.0 == 503
        });
        assert_eq!(answer.1, "it is being stopped\n");
        stopping.join().unwrap();
        assert!(TcpStream::connect(http).is_err(), "nobody listens any more");
    }
}

#[test]
fn wrong_http_requests_are_answered_or_cut_off() {
    let gateway = Gateway::start(&config(1)).unwrap();
    let http = gateway.http_addresses()[0];
    assert_eq!(get(&gateway, "/").0, 404);
    assert_eq!(get(&gateway, "/sessions?limit=0").0, 400);
    assert_eq!(request(http, "POST /ready HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").0, 405);
    for path in ["/ready", "/nowhere"] {
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("405 Method Not Allowed") && answer.contains("allow: GET,HEAD\r\n"), "{answer}");
    }
    assert_eq!(request(http, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"), (200, String::new()));
    let long = format!("GET /ready HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(7_000));
    assert_eq!(request(http, &long).0, 200);
    let too_long = format!("GET /ready HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    assert_eq!(request(http, &too_long).0, 431);
    let many: String = (0..100).map(|number| format!("X{number}: y\r\n")).collect();
    assert_eq!(request(http, &format!("GET /ready HTTP/1.1\r\n{many}\r\n")).0, 431);
}

/// A web page whose name resolves to this machine (DNS rebinding) gets no data.
#[test]
fn http_requests_for_other_hosts_are_not_answered() {
    let mut config = config(1);
    config.http.host_names = vec!["broker.example".to_owned()];
    let gateway = Gateway::start(&config).unwrap();
    let http = gateway.http_addresses()[0];
    for (head, status) in [
        ("GET /sessions HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /live HTTP/1.1\r\nHost: evil.example:9883\r\n\r\n", 421),
        ("GET /sessions HTTP/1.0\r\nHost: evil.example\r\n\r\n", 421),
        ("GET http://evil.example/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost/live HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET http://evil.example/sessions HTTP/1.0\r\n\r\n", 421),
        ("POST /live HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n", 421),
        ("GET /live HTTP/1.1\r\n\r\n", 400),
        ("GET http://localhost/live HTTP/1.1\r\n\r\n", 400),
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("GET /live HTTP/1.1\r\nHost: localhost:x\r\n\r\n", 400),
        ("GET /live HTTP/1.0\r\n\r\n", 200),
        ("GET /live HTTP/1.1\r\nHost: 127.0.0.1:9883\r\n\r\n", 200),
        ("GET /live HTTP/1.1\r\nHost: [::1]\r\n\r\n", 200),
        ("GET /live HTTP/1.1\r\nhost: LOCALHOST:1\r\n\r\n", 200),
        ("GET /live HTTP/1.1\r\nHost: broker.example\r\n\r\n", 200),
        ("GET http://localhost/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
    ] {
        assert_eq!(request(http, head).0, status, "{head}");
        let mut stream = TcpStream::connect(http).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("cross-origin-resource-policy: same-origin\r\n"), "{answer}");
    }
}

/// A health check with a time limit of 1 s is answered: the oldest unfinished request is closed for it.
#[test]
fn a_health_check_is_answered_beside_500_slow_connections() {
    let gateway = Gateway::start(&config(1)).unwrap();
    let http = gateway.http_addresses()[0];
    let slow: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut stream = TcpStream::connect(http).unwrap();
            let _ = stream.write_all(b"GET /live HT");
            stream
        })
        .collect();
    for _ in 0..5 {
        let started = Instant::now();
        assert_eq!(get(&gateway, "/live"), (200, "it lives\n".to_owned()));
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    drop(slow);
}

/// Clients that send nothing have a bounded number of places, for a bounded time.
#[test]
fn slow_http_clients_keep_others_out_only_for_a_short_time() {
    let gateway = Gateway::start(&config(1)).unwrap();
    let http = gateway.http_addresses()[0];
    let mut slow: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = TcpStream::connect(http).unwrap();
            stream.write_all(b"GET /ready HT").unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(get(&gateway, "/ready").0, 200);
    assert!(started.elapsed() < Duration::from_secs(10));
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "it is closed without an answer");
        let _ = stream.shutdown(Shutdown::Both);
    }
}
