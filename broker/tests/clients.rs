//! `goldcrest pub` and `goldcrest sub` with brokers that demand or refuse something: a listener in the test plays the
//! broker.

use crate::support::server::{goldcrest, text};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBLISH_QOS_2: u8 = 0x34;
const PUBREL: u8 = 0x62;
const SUBSCRIBE: u8 = 0x82;
const PINGREQ: u8 = 0xC0;
const DISCONNECT: u8 = 0xE0;
const PINGRESP: [u8; 2] = [0xD0, 0];

/// The broker's end of a client's connection.
struct Link(TcpStream);

impl Link {
    /// The first byte and the body of the next packet; `None` at the end of the connection.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut first = [0];
        if self.0.read(&mut first).expect("a packet or the end comes in time") == 0 {
            return None;
        }
        let (mut len, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            len |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        Some((first[0], body))
    }

    fn expect(&mut self, first: u8) -> Vec<u8> {
        let (got, body) = self.next().expect("a packet");
        assert_eq!(got, first, "{got:#x} and not {first:#x} came");
        body
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }
}

/// Starts an MQTT 5.0 client, and accepts it with these Properties in CONNACK. Returns the client and the broker's end of
/// its connection.
fn accepted(args: &[&str], properties: &[u8]) -> (Child, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let child = goldcrest(&[args, &["-h", "127.0.0.1", "-p", &port]].concat()).stdin(Stdio::piped()).spawn().unwrap();
    let mut link = Link(listener.accept().unwrap().0);
    link.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    link.expect(0x10);
    let len = properties.len() as u8;
    link.send(&[&[0x20, 3 + len, 0, 0, len], properties].concat());
    (child, link)
}

/// The exit code of a client, and its output on standard error.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

fn expect_failure(child: Child, complaint: &str) {
    assert_eq!(end(child), (Some(1), format!("goldcrest: {complaint}\n")));
}

/// A message that comes after an hour of silence is not lost.
/// [MQTT-3.1.2-20] [MQTT-3.2.2-21]
#[test]
fn pub_keeps_its_connection_alive_while_standard_input_is_silent() {
    let (mut child, mut link) = accepted(&["pub", "-t", "a"], &[0x13, 0, 1]);
    for _ in 0..3 {
        link.expect(PINGREQ);
        link.send(&PINGRESP);
    }
    child.stdin.as_mut().unwrap().write_all(b"late\n").unwrap();
    let message = loop {
        match link.next().unwrap() {
            (PINGREQ, _) => link.send(&PINGRESP),
            (PUBLISH, body) => break body,
            (other, _) => panic!("{other:#x} came"),
        }
    };
    assert!(message.ends_with(b"late"));
    drop(child.stdin.take());
    while link.next().unwrap().0 != DISCONNECT {
        link.send(&PINGRESP);
    }
    drop(link);
    assert_eq!(end(child), (Some(0), String::new()));
}

/// [MQTT-3.1.2-20] [MQTT-3.2.2-21]
#[test]
fn sub_keeps_its_connection_alive_while_messages_stream_in() {
    let (mut child, mut link) = accepted(&["sub", "-t", "a"], &[0x13, 0, 1]);
    link.expect(SUBSCRIBE);
    link.send(&[0x90, 4, 0, 1, 0, 0]);
    let mut printed = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut printed, &mut std::io::sink()));
    // More messages than the client can print: there is always something to read.
    let mut sender = link.0.try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = is_over.clone();
    let messages = std::thread::spawn(move || {
        let beginning = Instant::now();
        let many = [PUBLISH, 6, 0, 1, b'a', 0, b'h', b'i'].repeat(1_000);
        while !over.load(Ordering::Relaxed) && beginning.elapsed() < Duration::from_secs(20) {
            sender.write_all(&many).unwrap();
        }
        over.load(Ordering::Relaxed)
    });
    link.expect(PINGREQ);
    is_over.store(true, Ordering::Relaxed);
    assert!(messages.join().unwrap(), "PINGREQ came when the messages had ended");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap().unwrap();
}

/// The output goes to a pager that waits for its reader. A bug of the past: the broker cut the client off, and later
/// messages were lost.
/// [MQTT-3.1.2-20] [MQTT-3.2.2-21]
#[test]
fn sub_keeps_its_connection_alive_while_nobody_reads_what_it_prints() {
    let (mut child, mut link) = accepted(&["sub", "-t", "a", "-C", "1", "-q", "1"], &[0x13, 0, 1]);
    link.expect(SUBSCRIBE);
    link.send(&[0x90, 4, 0, 1, 0, 1]);
    // More bytes than a pipe has room for.
    let payload = vec![b'x'; 300_000];
    let len = 6 + payload.len();
    let len = [len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8];
    let message = [&[PUBLISH_QOS_1], &len[..], &[0, 1, b'a', 0, 7, 0], &payload].concat();
    link.send(&message);
    for _ in 0..3 {
        link.expect(PINGREQ);
        link.send(&PINGRESP);
    }
    let mut printed = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        printed.read_to_end(&mut text).map(|_| text)
    });
    // The message is acknowledged once it is printed. Until then only PINGREQs come.
    while let (PINGREQ, _) = link.next().unwrap() {
        link.send(&PINGRESP);
    }
    while link.next().unwrap().0 != DISCONNECT {}
    drop(link);
    assert_eq!(end(child), (Some(0), String::new()));
    assert!(reader.join().unwrap().unwrap() == [&payload[..], b"\n"].concat());
}

#[test]
fn pub_with_silent_standard_input_notices_that_its_broker_is_gone() {
    let (child, mut link) = accepted(&["pub", "-t", "a"], &[]);
    link.send(&[0xE0, 1, 0x8B]);
    expect_failure(child, "the broker closed the connection: Server shutting down (0x8B)");
    let (child, link) = accepted(&["pub", "-t", "a"], &[]);
    drop(link);
    expect_failure(child, "the broker closed the connection");
}

/// Messages and subscriptions that the broker does not support are not sent, and the error says why.
/// [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15]
#[test]
fn pub_and_sub_send_no_packets_that_the_broker_does_not_support() {
    for (args, properties, complaint) in [
        (
            &["pub", "-t", "a", "-m", "0123456789"][..],
            &[0x27, 0, 0, 0, 15][..],
            "the message is too large: the broker takes packets of at most 15 bytes, and 16 are needed",
        ),
        (
            &["pub", "-t", "a", "-m", "m", "-q", "2"],
            &[0x24, 1],
            "the broker takes no message of QoS 2; its Maximum QoS is 1",
        ),
        (&["pub", "-t", "a", "-q", "1"], &[0x24, 0], "the broker takes no message of QoS 1; its Maximum QoS is 0"),
        (&["pub", "-t", "a", "-m", "m", "-r"], &[0x25, 0], "the broker keeps no retained messages (-r)"),
        (
            &["sub", "-t", "a", "-t", "abcdefgh"],
            &[0x27, 0, 0, 0, 19],
            "the broker takes packets of at most 19 bytes, and 20 are needed",
        ),
        (&["sub", "-t", "b", "-t", "a/+"], &[0x28, 0], "the broker has no subscriptions with wildcards, as a/+ is"),
        (&["sub", "-t", "$share/g/a"], &[0x2A, 0], "the broker has no shared subscriptions, as $share/g/a is"),
    ] {
        let (child, mut link) = accepted(args, properties);
        assert_eq!(link.next(), None, "{args:?}");
        expect_failure(child, complaint);
    }
}

/// The lines before the too large line were published: the error must tell the user where to go on.
#[test]
fn pub_names_the_line_of_its_input_that_is_too_large() {
    let (mut child, mut link) = accepted(&["pub", "-t", "a"], &[0x27, 0, 0, 0, 15]);
    child.stdin.as_mut().unwrap().write_all(b"one\n0123456789\nthree\n").unwrap();
    assert!(link.expect(PUBLISH).ends_with(b"one"));
    assert_eq!(link.next(), None);
    expect_failure(
        child,
        "line 2 of standard input is too large: the broker takes packets of at most 15 bytes, and 16 are needed",
    );
}

/// A packet of exactly the Maximum Packet Size, with the Maximum QoS, is sent.
#[test]
fn pub_sends_the_largest_packet_that_the_broker_accepts() {
    let properties = [0x27, 0, 0, 0, 17, 0x24, 1, 0x21, 0, 1];
    let (child, mut link) = accepted(&["pub", "-t", "a", "-m", "012345678", "-q", "1"], &properties);
    assert!(link.expect(PUBLISH_QOS_1).ends_with(b"012345678"));
    link.send(&[0x40, 2, 0, 1]);
    link.expect(DISCONNECT);
    drop(link);
    assert_eq!(end(child), (Some(0), String::new()));
}

/// QoS 0 has no acknowledgement, and a broker that refuses a message closes the connection.
#[test]
fn pub_reports_a_refused_message_of_qos_0_as_an_error() {
    let (child, mut link) = accepted(&["pub", "-t", "a", "-m", "m"], &[]);
    link.expect(PUBLISH);
    link.send(&[0xE0, 1, 0x97]);
    drop(link);
    expect_failure(child, "the broker closed the connection: Quota exceeded (0x97)");

    let (child, mut link) = accepted(&["pub", "-t", "a", "-m", "m"], &[]);
    link.expect(PUBLISH);
    link.expect(PINGREQ);
    drop(link);
    expect_failure(child, "the broker closed the connection");

    // The broker's DISCONNECT is on its way when the client sends its own.
    let (child, mut link) = accepted(&["pub", "-t", "a", "-m", "m"], &[]);
    link.expect(PUBLISH);
    link.expect(PINGREQ);
    link.send(&PINGRESP);
    link.expect(DISCONNECT);
    link.send(&[0xE0, 1, 0x97]);
    drop(link);
    expect_failure(child, "the broker closed the connection: Quota exceeded (0x97)");
}

/// Any acknowledgement with an error, of whatever type, ends in an error with the broker's own words.
#[test]
fn pub_and_sub_report_an_acknowledgement_with_an_error_code() {
    let full = [0x40, 9, 0, 1, 0x97, 5, 0x1F, 0, 2, b'n', b'o'];
    let (child, mut link) = accepted(&["pub", "-t", "a", "-m", "m", "-q", "1"], &[]);
    link.expect(PUBLISH_QOS_1);
    link.send(&full);
    expect_failure(child, "the broker refused the message: Quota exceeded (0x97) (no)");

    let (mut child, mut link) = accepted(&["pub", "-t", "a", "-q", "2"], &[]);
    child.stdin.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
    link.expect(PUBLISH_QOS_2);
    link.send(&[0x50, 2, 0, 1]);
    link.expect(PUBREL);
    link.send(&[0x70, 2, 0, 1]);
    link.expect(PUBLISH_QOS_2);
    link.send(&[0x50, 2, 0, 2]);
    link.expect(PUBREL);
    link.send(&[0x70, 3, 0, 2, 0x92]);
    expect_failure(child, "the broker refused line 2 of standard input: Packet Identifier not found (0x92)");

    let (child, mut link) = accepted(&["sub", "-t", "a"], &[]);
    link.expect(SUBSCRIBE);
    link.send(&[0x90, 9, 0, 1, 5, 0x1F, 0, 2, b'n', b'o', 0x87]);
    expect_failure(child, "the broker refused the subscription to a: Not authorized (0x87) (no)");
}

#[test]
fn pub_reports_standard_input_that_cannot_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = goldcrest(&["pub", "-t", "a", "-h", "127.0.0.1", "-p", &port]);
    let child = command.stdin(std::fs::File::open("/").unwrap()).spawn().unwrap();
    let mut link = Link(listener.accept().unwrap().0);
    link.expect(0x10);
    link.send(&[0x20, 3, 0, 0, 0]);
    expect_failure(child, "cannot read standard input: Is a directory (os error 21)");
}
