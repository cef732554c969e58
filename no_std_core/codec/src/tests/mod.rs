//! Tests that decode and encode whole packets.

use crate::*;
use std::vec;
use std::vec::Vec;

mod laws;
mod refusals;
mod wire;

const NO_LIMIT: u32 = u32::MAX;

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = vec![0; packet.encoded_len(version) as usize];
    let mut writer = Writer::new(&mut out);
    packet.encode(version, &mut writer);
    assert_eq!(writer.finish().map(<[u8]>::len), Some(packet.encoded_len(version) as usize));
    out
}

fn decoded(version: Version, bytes: &[u8]) -> Result<Packet<'_>, Refusal> {
    let (frame, len) = split(bytes, NO_LIMIT)?.expect("a whole packet");
    assert_eq!(len, bytes.len());
    Packet::decode(version, frame)
}
