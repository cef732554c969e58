//! Takes any bytes for those of a WebSocket client: the request that begins it, and frames. Frames must be decoded to the same contents in whole and in
//! pieces.

/// Runs the decoders on what `input` encodes.
pub fn run(input: &[u8]) {
    let Some((piece, bytes)) = super::read::<(u8, &[u8])>(input) else { return };
    goldcrest::check_websocket(bytes, piece.into());
}
