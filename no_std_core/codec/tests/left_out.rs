//! The codec without the features `v3` and `reason-strings`: `cargo test -p goldcrest-codec --no-default-features --test
//! left_out`. With the features the same tests check that nothing is missing.

use goldcrest_codec::{Connect, Packet, ReasonCode, Version, split};

const HAS_V3: bool = cfg!(feature = "v3");
const HAS_REASON_STRINGS: bool = cfg!(feature = "reason-strings");

const CONNECT_OF_3_1: &[u8] = b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c";
const CONNECT_OF_3_1_1: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNECT_OF_5_0: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c";

#[test]
fn without_v3_a_connect_of_an_older_version_is_refused_in_that_version() {
    for (bytes, version) in [(CONNECT_OF_3_1, Version::V3_1), (CONNECT_OF_3_1_1, Version::V3_1_1)] {
        let (frame, _) = split(bytes, 100).unwrap().unwrap();
        let decoded = Connect::decode(frame);
        assert_eq!(decoded.is_ok(), HAS_V3, "{version}");
        match decoded {
            Ok(connect) => assert_eq!(connect.version, version),
            Err(refusal) => {
                assert_eq!(refusal.code, ReasonCode::UnsupportedProtocolVersion, "{version}");
                // The bytes of this CONNACK are the same in MQTT 3.1 and 3.1.1.
                assert_eq!(refusal.version, Some(Version::V3_1_1), "{version}");
            }
        }
    }
}

#[test]
fn mqtt_5_0_needs_no_feature() {
    let (frame, _) = split(CONNECT_OF_5_0, 100).unwrap().unwrap();
    assert_eq!(Connect::decode(frame).map(|connect| connect.version), Ok(Version::V5));
}

#[test]
fn a_refusal_has_a_sentence_only_with_reason_strings() {
    let refusal = split(b"\x36", 100).unwrap_err();
    assert_eq!(refusal.code, ReasonCode::MalformedPacket);
    assert_eq!(!refusal.why.is_empty(), HAS_REASON_STRINGS);
    assert_eq!(refusal.why.as_str().contains("QoS"), HAS_REASON_STRINGS);

    let (frame, _) = split(b"\xc0\x01\0", 100).unwrap().unwrap();
    let refusal = Packet::decode(Version::V5, frame).unwrap_err();
    assert_eq!(refusal.to_string().ends_with("(0x81): "), !HAS_REASON_STRINGS);
}
