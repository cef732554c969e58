//! Keep Alive (section 3.1.2.10), and the time limit for CONNECT.

use goldcrest_core::codec::*;
use goldcrest_tests::bed::Bed;
use goldcrest_tests::conformance;
use goldcrest_tests::packets::*;

const TIMEOUT: &[ReasonCode] = &[ReasonCode::KeepAliveTimeout];

/// The server waits one and a half times the Keep Alive after the last whole packet of the client.
/// [MQTT-3.1.2-22] [MQTT-3.2.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn a_client_silent_for_one_and_a_half_keep_alives_is_disconnected(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep_alive(0));
    s.subscribe(1, "w", 0);
    let mut c = bed.connect(client("c").keep_alive(10).will(will("w", "lost", 0)));
    bed.wait(14_900);
    c.ping();
    bed.wait(14_900);
    c.publish("a", "x", 0);
    bed.wait(14_900);
    // Half a packet does not prolong the wait.
    c.send([0x30, 0x08]);
    s.expect_quiet();
    bed.wait(99);
    assert!(!c.is_closed());
    bed.wait(1);
    c.expect_refused(TIMEOUT);
    s.expect_publish("w", "lost", 0);
}

/// A client can't send PINGREQ in the middle of another packet. So the bytes of a long packet show as well that the client is
/// there.
/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn a_client_may_take_longer_than_its_keep_alive_to_send_one_packet(bed: &mut Bed) {
    let mut s = bed.connect(client("s").keep_alive(0));
    s.subscribe(1, "a", 0);
    let mut c = bed.connect(client("c").keep_alive(2));
    let payload = "x".repeat((bed.limits().packet_bytes as usize).min(200_000) * 3 / 4);
    let bytes = publish("a", payload.as_str()).wire(c.version());
    // At least 20 KB a second, or 64 bytes where the packets are short.
    for piece in bytes.chunks((bytes.len() / 30).clamp(64, 20_000)) {
        bed.wait(1_000);
        c.send(piece);
    }
    s.expect_publish("a", payload, 0);
    c.ping();
}

/// A client that sends a byte now and then, to hold a connection by a packet that never ends, is disconnected.
/// [MQTT-3.1.2-22]
/// v3.1.1 [MQTT-3.1.2-24]
#[conformance(in_memory = "it takes a minute")]
fn a_packet_sent_byte_by_byte_does_not_keep_a_connection_alive(bed: &mut Bed) {
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
fn the_shortest_keep_alives_are_kept(bed: &mut Bed) {
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
fn keep_alive_0_turns_the_timeout_off(bed: &mut Bed) {
    let mut c = bed.connect(client("c").keep_alive(0));
    bed.wait(30 * 24 * 3600 * 1000);
    c.ping();
}

/// [MQTT-3.1.2-22] [MQTT-3.2.2-22]
#[conformance(v5, in_memory = "it takes a minute")]
fn a_keep_alive_above_the_maximum_is_replaced_by_server_keep_alive(bed: &mut Bed) {
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

/// Before MQTT 5.0 the server can't tell a client its maximum. A bug of the past: without a maximum, dead connections stayed
/// as long as their clients had asked for. The standard allows the maximum: a server may close a client that it finds
/// inactive "regardless of the Keep Alive value provided by that Client" (section 3.1.2.10).
#[conformance(v3, in_memory = "it takes a minute")]
fn the_maximum_keep_alive_holds_for_clients_before_mqtt_5_0(bed: &mut Bed) {
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
fn without_a_maximum_there_is_no_server_keep_alive(bed: &mut Bed) {
    let (_c, connack) = bed.connect_for(client("c").keep_alive(600));
    assert_eq!(connack.properties().server_keep_alive(), None);
}

/// A socket that sends nothing, or not a whole CONNECT, is closed after the time limit.
#[conformance]
fn a_socket_without_a_connect_in_time_is_closed(bed: &mut Bed) {
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
