//! Decodes any bytes as packets of any version, of clients and of servers. A decoded packet must encode to as many bytes
//! as it says, and these must decode to the same packet.

use goldcrest_core::codec::{Packet, Version, Window, split};

/// Runs the operations that `input` encodes.
pub fn run(input: &[u8]) {
    let Some(input) = super::read::<(u8, &[u8])>(input) else { return };
    let (version, mut bytes) = input;
    let version = [Version::V3_1, Version::V3_1_1, Version::V5][usize::from(version % 3)];
    while let Ok(Some((frame, len))) = split(bytes, 1 << 20) {
        bytes = &bytes[len..];
        let packet = match Packet::decode(version, frame) {
            Ok(packet) => packet,
            Err(refusal) => {
                assert!(refusal.code.is_error() && !refusal.why.is_empty());
                continue;
            }
        };
        let _ = packet.check_from_client();
        let mut again = Vec::new();
        packet.encode(version, &mut again);
        assert_eq!(again.len(), packet.encoded_len(version) as usize);
        let (frame, len) = split(&again, u32::MAX).unwrap().unwrap();
        assert_eq!(len, again.len());
        assert_eq!(Packet::decode(version, frame), Ok(packet));
        // A part of a payload must be the same bytes.
        let mut piece = [0; 16];
        let skip = again.len() / 2;
        let mut window = Window::new(skip as u32, &mut piece);
        packet.encode(version, &mut window);
        let written = window.written();
        assert_eq!(piece[..written], again[skip..again.len().min(skip + 16)]);
    }
}
