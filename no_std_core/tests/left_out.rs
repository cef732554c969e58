//! What clients are told where features of the core are left out: `cargo test -p goldcrest-core --no-default-features
//! --test left_out`. With the features the same tests check that nothing is missing.

use goldcrest_core::{AllowAll, Broker, Config, Instant, Then};

const V3: bool = cfg!(feature = "v3");
const SHARED: bool = cfg!(feature = "shared-subscriptions");

/// The answer to a client that sends these bytes, and whether its connection is closed.
fn answer(sent: &[u8]) -> (Vec<u8>, bool) {
    type Memory = goldcrest_core::resources! {
        connections: 2, sessions: 2, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 16
    };
    let mut resources = Memory::new();
    let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
    let now = Instant::from_millis(0);
    let id = broker.handle_connected(now).unwrap();
    let mut sent = sent.to_vec();
    let (mut got, mut buffer) = (Vec::new(), [0; 128]);
    loop {
        let consumed = broker.handle_bytes(now, id, &sent).consumed;
        sent.drain(..consumed);
        while broker.poll_ready().is_some() {
            loop {
                let transmit = broker.poll_transmit(now, id, &mut buffer);
                got.extend_from_slice(&buffer[..transmit.written]);
                match transmit.then {
                    Then::More => {}
                    Then::Idle => break,
                    Then::Close => return (got, true),
                }
            }
        }
        if consumed == 0 {
            return (got, false);
        }
    }
}

const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\0\0\0\x01c";

#[test]
fn without_v3_older_clients_are_refused_in_their_own_version() {
    for connect in [&b"\x10\x0f\0\x06MQIsdp\x03\x02\0\0\0\x01c"[..], b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c"] {
        let accepted = (b"\x20\x02\0\0".to_vec(), false);
        // Unacceptable protocol version (section 3.2.2.3 of MQTT 3.1.1).
        let refused = (b"\x20\x02\0\x01".to_vec(), true);
        assert_eq!(answer(connect), if V3 { accepted } else { refused });
    }
}

#[test]
fn garbage_before_connect_gets_no_answer() {
    assert_eq!(answer(b"\xff\xff\xff\xff\xff\xff"), (Vec::new(), true));
    assert_eq!(answer(b"\xc0\0"), (Vec::new(), true));
}

#[test]
fn connack_tells_whether_shared_subscriptions_are_available() {
    let (got, closed) = answer(CONNECT_5);
    assert_eq!((&got[..1], got[3], closed), (&b"\x20"[..], 0, false));
    // The Property Shared Subscription Available (section 3.2.2.3.13); without the Property they are available.
    assert_eq!(got.windows(2).any(|pair| pair == b"\x2a\0"), !SHARED, "{got:x?}");
}

#[test]
fn a_shared_subscription_is_refused_without_the_feature_and_a_plain_one_works() {
    let subscribe = [CONNECT_5, b"\x82\x14\0\x01\0\0\x0a$share/g/a\x01\0\x01a\x01"].concat();
    let (got, closed) = answer(&subscribe);
    let first = if SHARED { 1 } else { 0x9e };
    assert!(got.ends_with(&[0x90, 5, 0, 1, 0, first, 1]) && !closed, "{got:x?}");
    // The client publishes to itself: its plain subscription works.
    let publish = [&subscribe[..], b"\x30\x05\0\x01a\0x"].concat();
    let (got, _) = answer(&publish);
    let copies = got.windows(7).filter(|bytes| *bytes == b"\x30\x05\0\x01a\0x").count();
    assert_eq!(copies, if SHARED { 2 } else { 1 }, "{got:x?}");
}

#[test]
fn a_refused_client_gets_a_reason_string_only_with_the_feature() {
    // A second CONNECT `[MQTT-3.1.0-2]`: DISCONNECT with 0x82.
    let (got, closed) = answer(&[CONNECT_5, CONNECT_5].concat());
    let disconnect = got.get(usize::from(got[1]) + 2..).unwrap();
    assert_eq!((disconnect[0], disconnect[2], closed), (0xe0, 0x82, true), "{got:x?}");
    // Reason String (section 3.14.2.2.3).
    assert_eq!(disconnect.contains(&0x1f), cfg!(feature = "reason-strings"), "{disconnect:x?}");
}
