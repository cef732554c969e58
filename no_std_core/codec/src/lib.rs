//! A strict, zero-copy codec for MQTT 3.1, 3.1.1 and 5.0, and types for Topic Names and Topic Filters.
//!
//! Every packet can be decoded and encoded, so a Server, a Client, a bridge, tests and fuzzers can share this crate. It is
//! `no_std`, has no memory of its own and does not allocate; it has no `unsafe` code, and no input makes it panic.
//!
//! # Decoding
//!
//! 1. [`split`] cuts the first packet off the bytes that have arrived. The result is a [`Frame`].
//! 2. [`Connect::decode`] decodes the first packet of a Network Connection, which names the [`Version`].
//! 3. [`Packet::decode`] decodes all other packets in that version.
//!
//! A decoded packet borrows its strings, its Properties and its payload from the bytes that it was decoded from.
//!
//! # Encoding
//!
//! [`Packet::encode`] puts the bytes of a packet into a [`Sink`]. A [`Writer`] writes them to a slice. A [`Window`] writes a
//! part of them, for a packet that is sent in pieces. A [`Length`] counts them. With the feature `alloc` a `Vec<u8>` takes
//! them all. [`DeliveryHead`] encodes a PUBLISH whose topic, Properties and payload are stored in different places.
//!
//! # Versions
//!
//! All packets have the shape of MQTT 5.0, and only this crate has to ask for the version. What an older version lacks is
//! empty (Properties), mapped (Reason Codes to Return Codes) or translated (Clean Session to Clean Start and Session Expiry
//! Interval).
//!
//! # Refusals
//!
//! A packet that the specification forbids is a [`Refusal`] with the Reason Code to answer it with (sections 1.2 and 4.13):
//!
//! - Malformed Packet (0x81): the bytes cannot be parsed, reserved bits are set, or a Property does not belong in the packet.
//! - Protocol Error (0x82): the packet can be parsed, but says what the protocol does not allow.
//! - Another code, where the specification names one for the case.
//!
//! # What it does not do
//!
//! - It keeps no state. Rules that concern more than one packet are the caller's: Packet Identifiers in use, Topic Aliases,
//!   Receive Maximum, Keep Alive, the order of packets.
//! - It does not know who sent a packet. A Server calls [`Packet::check_from_client`].
//! - It does not decide whether the strings in SUBSCRIBE and UNSUBSCRIBE are valid Topic Filters, because a Server answers
//!   each of them with its own Reason Code: [`TopicFilter::new`](topic::TopicFilter::new) decides.
//! - It does not compare a payload with the Payload Format Indicator.
//! - It encodes what the caller has put together, and does not check again what decoding would refuse.
//!
//! # Bounds
//!
//! - A packet has at most [`MAX_PACKET_LEN`] bytes: 268,435,460. [`split`] takes a lower limit.
//! - A string and Binary Data have at most 65,535 bytes. What is longer is cut off when it is encoded.
//! - `split` looks at 5 bytes at most. Decoding and encoding take time in proportion to the bytes of the packet.
//! - A value that counts bytes and does not fit its type stays at the greatest value of the type; nothing wraps around.
//!
//! # Example
//!
//! ```
//! use goldcrest_codec::{Ack, Connect, Packet, PacketId, Publish, ReasonCode, Refusal, Writer, split};
//!
//! // A Client has sent a CONNECT of MQTT 5.0, and a PUBLISH of "hi" to "a/b" with QoS 1.
//! let received = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c\x32\x0a\0\x03a/b\0\x07\0hi";
//!
//! // At most 1,000 bytes are taken for a packet. `None` would mean that more bytes are needed.
//! let (frame, len) = split(received, 1_000)?.expect("a whole packet");
//! let connect = Connect::decode(frame)?;
//! assert_eq!((connect.client_id, connect.keep_alive), ("c", 60));
//!
//! let (frame, _) = split(&received[len..], 1_000)?.expect("a whole packet");
//! let packet = Packet::decode(connect.version, frame)?;
//! packet.check_from_client()?;
//! let Packet::Publish(Publish { topic, payload, packet_id: Some(id), .. }) = packet else { panic!("not QoS 1") };
//! assert_eq!((topic, payload), ("a/b", &b"hi"[..]));
//!
//! // The answer: a PUBACK that says success.
//! let mut buffer = [0; 16];
//! let mut writer = Writer::new(&mut buffer);
//! Packet::PubAck(Ack::new(id, ReasonCode::Success)).encode(connect.version, &mut writer);
//! assert_eq!(writer.finish(), Some(&b"\x40\x02\0\x07"[..]));
//!
//! // A PUBLISH with QoS 3 is refused at its first byte.
//! assert_eq!(split(b"\x36", 1_000).unwrap_err().code, ReasonCode::MalformedPacket);
//! # assert_eq!(PacketId::new(7), Some(id));
//! # Ok::<(), Refusal>(())
//! ```
//!
//! # Features
//!
//! - `v3` (default): MQTT 3.1 and 3.1.1. Without it their CONNECT is refused with Unsupported Protocol Version.
//! - `reason-strings` (default): a [`Refusal`] has a sentence for people. Without it there is the Reason Code alone.
//! - `alloc`: `Vec<u8>` is a [`Sink`].
//! - `fast`: code is laid out for speed where that costs size. Without it the code is small.

#![no_std]
#![forbid(unsafe_code)]
// No input may reach a panic, and no count may wrap around. Tests may do both.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]
// Functions are `#[inline]`: they are compiled in the crate that uses them. Were they compiled here, the small ones among
// them would stand twice in the image of a firmware.

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod topic;

mod frame;
mod packet_type;
mod packets;
mod properties;
mod property;
mod qos;
mod reader;
mod reason_code;
mod reason_text;
mod refusal;
mod sink;
mod version;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod tests;

pub use frame::{Frame, MAX_PACKET_LEN, packet_len, peek_type, split, split_in};
pub use packet_type::PacketType;
pub use packets::{
    Ack, AckKind, Answer, Auth, Codes, CodesIter, ConnAck, Connect, ConnectRefusal, DeliveryHead, Disconnect, Encode,
    Filters, FiltersIter, Packet, PingReq, PingResp, Publish, RetainHandling, SubAck, Subscribe, SubscriptionOptions,
    Topics, TopicsIter, UnsubAck, Unsubscribe, Will,
};
pub use properties::{Properties, PropertiesIter};
pub use property::{Property, PropertyId};
pub use qos::{PacketId, QoS};
pub use reason_code::ReasonCode;
pub use reason_text::ReasonText;
pub use refusal::Refusal;
pub use sink::{Length, MAX_VARINT, Sink, Window, Writer, varint_len};
pub use version::Version;

/// Remaining Lengths are used as `usize`.
const _: () = assert!(usize::BITS >= 32);
