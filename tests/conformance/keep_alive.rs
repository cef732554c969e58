//! Keep Alive (section 3.1.2.10), and the time to connect.

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const TIMEOUT: &[ReasonCode] = &[ReasonCode::KeepAliveTimeout];

/// The client is given one and a half times the Keep Alive from its last whole packet on.
/// [MQTT-3.1.2-22] [MQTT-3.2.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn keep_alive(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep_alive(0));
    s.subscribe(1, "w", 0);
    let mut c = bed.connect(client("c").keep_alive(10).will(will("w", "lost", 0)));
    bed.wait(14_900);
    c.ping();
    bed.wait(14_900);
    c.publish("a", "x", 0);
    bed.wait(14_900);
    // Half a packet is no packet.
    c.send([0x30, 0x08]);
    s.expect_quiet();
    bed.wait(99);
    assert!(!c.is_closed());
    bed.wait(1);
    c.expect_refused(TIMEOUT);
    s.expect_publish("w", "lost", 0);
}

/// A client can't send PINGREQ in the midst of a packet: what has arrived of that shows as well that the client is there.
/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn a_packet_that_takes_longer_than_the_keep_alive(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep_alive(0));
    s.subscribe(1, "a", 0);
    let mut c = bed.connect(client("c").keep_alive(2));
    let payload = "x".repeat((bed.limits().packet_bytes as usize).min(200_000) * 3 / 4);
    let bytes = publish("a", payload.as_str()).wire(c.version());
    // 20 KB a second, or less where packets are short.
    for piece in bytes.chunks((bytes.len() / 30).clamp(64, 20_000)) {
        bed.wait(1_000);
        c.send(piece);
    }
    s.expect_publish("a", payload, 0);
    c.ping();
}

/// Who sends a byte now and then, to hold a connection with a packet that never ends, is no such client.
/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn a_packet_that_comes_byte_by_byte(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep_alive(10));
    c.send([0x30, 0x7f, 0x00, 0x01]);
    for _ in 0..14 {
        bed.wait(1_000);
        c.send([b'a'; 3]);
    }
    assert!(!c.is_closed());
    bed.wait(1_000);
    c.expect_refused(TIMEOUT);
}

/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance]
fn keep_alive_1_and_2(bed: &mut Bed) {
    let mut one = bed.connect(client("one").keep_alive(1));
    let mut two = bed.connect(client("two").keep_alive(2));
    bed.wait(1_200);
    assert!(!one.is_closed());
    bed.wait(400);
    one.expect_refused(TIMEOUT);
    bed.wait(1_000);
    assert!(!two.is_closed());
    bed.wait(500);
    two.expect_refused(TIMEOUT);
}

/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a month")]
fn keep_alive_0(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep_alive(0));
    bed.wait(30 * 24 * 3600 * 1000);
    c.ping();
}

/// [MQTT-3.1.2-22] [MQTT-3.2.2-22]
#[conformance(v5, in_memory = "it takes a minute")]
fn server_keep_alive(bed: &mut Bed) {
    bed.configure(|config| config.keep_alive_max = 30);
    let (mut asked, connack) = bed.connect_for(client("asked").keep_alive(600));
    assert_eq!(connack.properties().server_keep_alive(), Some(30));
    let (_never, connack) = bed.connect_for(client("never").keep_alive(0));
    assert_eq!(connack.properties().server_keep_alive(), Some(30));
    let (mut modest, connack) = bed.connect_for(client("modest").keep_alive(20));
    assert_eq!(connack.properties().server_keep_alive(), None);
    bed.wait(29_999);
    assert!(!modest.is_closed());
    bed.wait(1);
    modest.expect_refused(TIMEOUT);
    bed.wait(14_999);
    assert!(!asked.is_closed());
    bed.wait(1);
    asked.expect_refused(TIMEOUT);
}

/// Before MQTT 5.0 a client can't be told of a bound. Without one, dead connections stayed for as long as they had asked for; a
/// server may close whom it finds inactive "regardless of the Keep Alive value provided by that Client" (section 3.1.2.10).
#[conformance(v3, in_memory = "it takes a minute")]
fn a_longer_keep_alive_than_allowed_in_v3(bed: &mut Bed) {
    bed.configure(|config| config.keep_alive_max = 30);
    let mut asked = bed.connect(client("asked").keep_alive(600));
    let mut never = bed.connect(client("never").keep_alive(0));
    let mut pings = bed.connect(client("pings").keep_alive(600));
    let mut modest = bed.connect(client("modest").keep_alive(20));
    bed.wait(29_999);
    pings.ping();
    assert!(!modest.is_closed());
    bed.wait(1);
    modest.expect_refused(TIMEOUT);
    bed.wait(14_999);
    assert!(!asked.is_closed() && !never.is_closed());
    bed.wait(1);
    asked.expect_refused(TIMEOUT);
    never.expect_refused(TIMEOUT);
    pings.ping();
}

/// [MQTT-3.2.2-22]
#[conformance(v5)]
fn no_server_keep_alive(bed: &mut Bed) {
    let (_c, connack) = bed.connect_for(client("c").keep_alive(600));
    assert_eq!(connack.properties().server_keep_alive(), None);
}

/// Who sends nothing, or not enough, is not waited for.
#[conformance]
fn silent_socket(bed: &mut Bed) {
    bed.configure(|config| config.connect_timeout_ms = 1_000);
    let mut silent = bed.open("silent");
    let mut slow = bed.open("slow");
    for byte in [0x10, 0x20, 0x00] {
        slow.send([byte]);
        bed.wait(200);
    }
    assert!(!silent.is_closed() && !slow.is_closed());
    bed.wait(700);
    silent.expect_closed();
    slow.expect_closed();
}
