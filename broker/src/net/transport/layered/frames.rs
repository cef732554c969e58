//! Frames of WebSocket (RFC 6455, section 5) on the side of the server: of a client's frames only the contents are left.
//!
//! A frame is decoded as its bytes come, wherever they are cut, and never gathered: its length may be anything. What is kept between two calls is the beginning
//! of a header, or of the contents of a control frame.

use std::fmt;

/// Decodes the frames of one client.
#[derive(Debug)]
pub(super) struct FrameDecoder {
    /// The beginning of a header, of which `header_len` bytes have come.
    header: [u8; MOST_HEADER],
    header_len: u8,
    /// The frame whose contents are coming.
    frame: Option<Frame>,
    /// A message has begun, and more of it follows in frames of their own.
    is_fragmented: bool,
    /// The contents of a control frame, of which `control_len` bytes have come.
    control: [u8; MOST_CONTROL],
    control_len: u8,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    mask: [u8; 4],
    /// How many bytes of contents have come, and how many are to come.
    come: u64,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    /// Contents of a message.
    Data,
    Close,
    Ping,
    Pong,
}

/// Two bytes, eight of length, four of mask.
const MOST_HEADER: usize = 14;
const MOST_CONTROL: usize = 125;

/// What the frames of a client ask for, besides their contents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The contents of the last ping, which wants the same in a pong. Earlier ones need none (section 5.5.3).
    pub(super) ping: Option<Vec<u8>>,
    /// The client closes the connection, with this code.
    pub(super) close: Option<u16>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameError {
    /// A frame that breaks RFC 6455.
    Protocol(&'static str),
    /// Text, where MQTT has to be in binary frames [MQTT-6.0.0-1].
    Text,
}

impl FrameError {
    /// The code that tells the client why.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Text => 1003,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(what) => write!(f, "a WebSocket frame is wrong: {what}"),
            Self::Text => f.write_str("it sends MQTT in text frames of WebSocket, and binary ones are wanted"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Default for FrameDecoder {
    fn default() -> Self {
        let (header, control) = ([0; MOST_HEADER], [0; MOST_CONTROL]);
        Self { header, header_len: 0, frame: None, is_fragmented: false, control, control_len: 0 }
    }
}

impl FrameDecoder {
    /// Decodes `bytes`, the next ones of the client, and hands the contents of messages to `give`. After a close nothing more is decoded.
    ///
    /// # Errors
    /// A frame breaks the protocol, or is none that carries MQTT.
    pub(super) fn receive(&mut self, mut bytes: &[u8], mut give: impl FnMut(&[u8])) -> Result<Asked, FrameError> {
        let mut asked = Asked::default();
        while asked.close.is_none() {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.take_header(&mut bytes)? {
                    Some(frame) => frame,
                    None => break,
                },
            };
            let (contents, rest) = bytes.split_at(bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX)));
            bytes = rest;
            self.take_contents(&mut frame, contents, &mut give);
            if frame.left > 0 {
                self.frame = Some(frame);
                break;
            }
            let control = &self.control[..usize::from(self.control_len)];
            match frame.opcode {
                Opcode::Ping => asked.ping = Some(control.to_vec()),
                Opcode::Close => asked.close = Some(close_code(control)?),
                Opcode::Data | Opcode::Pong => {}
            }
            self.control_len = 0;
        }
        Ok(asked)
    }

    /// Takes bytes of a header. Returns the frame once its header is whole.
    fn take_header(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        loop {
            let len = usize::from(self.header_len);
            if len >= 2 {
                self.check_header()?;
                if len == header_len(self.header[1]) {
                    break;
                }
            }
            let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
            self.header[len] = *first;
            self.header_len += 1;
            *bytes = rest;
        }
        let len = std::mem::take(&mut self.header_len).into();
        let header = &self.header[..len];
        let mask = [header[len - 4], header[len - 3], header[len - 2], header[len - 1]];
        let in_number = header[2..len - 4].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let left = match header[1] & 0x7f {
            126 if in_number < 126 => return Err(LONG_FORM),
            127 if in_number <= u64::from(u16::MAX) => return Err(LONG_FORM),
            127 if in_number >> 63 != 0 => return Err(FrameError::Protocol("its length has the highest bit set")),
            126 | 127 => in_number,
            short => short.into(),
        };
        let (is_last, opcode) = (header[0] & 0x80 != 0, header[0] & 0x0f);
        let opcode = match opcode {
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => Opcode::Data,
        };
        if opcode == Opcode::Data {
            self.is_fragmented = !is_last;
        }
        Ok(Some(Frame { opcode, mask, come: 0, left }))
    }

    /// Checks the first two bytes of a header.
    fn check_header(&self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        let wrong = |what| Err(FrameError::Protocol(what));
        match first & 0x0f {
            _ if first & 0x70 != 0 => return wrong("it wants an extension that was not agreed on"),
            0 if !self.is_fragmented => return wrong("it goes on with a message that has not begun"),
            1 | 2 if self.is_fragmented => return wrong("it begins a message amid another"),
            0 | 2 => {}
            1 => return Err(FrameError::Text),
            8..=10 if first & 0x80 == 0 || second & 0x7f > 125 => return wrong("a control frame is long or in parts"),
            8..=10 => {}
            _ => return wrong("its opcode is reserved"),
        }
        if second & 0x80 == 0 { wrong("a client has to mask it") } else { Ok(()) }
    }

    /// Takes contents of a frame, which are masked.
    fn take_contents(&mut self, frame: &mut Frame, mut contents: &[u8], give: &mut impl FnMut(&[u8])) {
        let mut plain = [0; 4096];
        while !contents.is_empty() {
            let (now, later) = contents.split_at(contents.len().min(plain.len()));
            // The mask begins anew with each frame; this is a multiple of four bytes into the frame or its end.
            let shift = (frame.come % 4) as usize;
            let mask = [0, 1, 2, 3].map(|at| frame.mask[(at + shift) % 4]);
            for (plain, masked) in plain.chunks_mut(4).zip(now.chunks(4)) {
                for ((plain, masked), mask) in plain.iter_mut().zip(masked).zip(mask) {
                    *plain = masked ^ mask;
                }
            }
            let plain = &plain[..now.len()];
            match frame.opcode {
                Opcode::Data => give(plain),
                // The header was checked: there are at most 125 bytes.
                Opcode::Close | Opcode::Ping | Opcode::Pong => {
                    let at = usize::from(self.control_len);
                    self.control[at..at + plain.len()].copy_from_slice(plain);
                    self.control_len += plain.len() as u8;
                }
            }
            (frame.come, frame.left) = (frame.come + now.len() as u64, frame.left - now.len() as u64);
            contents = later;
        }
    }
}

const LONG_FORM: FrameError = FrameError::Protocol("its length is written with more bytes than it needs");

/// The length of a header with this second byte.
fn header_len(second: u8) -> usize {
    match second & 0x7f {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

/// The code in a close frame; 1005 stands for none (section 7.4.1).
fn close_code(contents: &[u8]) -> Result<u16, FrameError> {
    match contents {
        [] => Ok(1005),
        [_] => Err(FrameError::Protocol("a close frame has half a code")),
        [high, low, ..] => Ok(u16::from_be_bytes([*high, *low])),
    }
}

/// The header of a frame of the server with a whole binary message of so many bytes; and how long the header is.
pub(super) fn binary_header(contents: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x82;
    let len = match contents {
        ..126 => {
            header[1] = contents as u8;
            2
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(contents as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(contents as u64).to_be_bytes());
            10
        }
    };
    (header, len)
}

/// A pong with these contents, at most 125 bytes.
pub(super) fn pong(contents: &[u8]) -> Vec<u8> {
    [&[0x8a, contents.len() as u8], contents].concat()
}

/// A close frame. Code 1005 stands for none.
pub(super) fn close(code: u16) -> Vec<u8> {
    if code == 1005 { vec![0x88, 0] } else { [&[0x88, 2][..], &code.to_be_bytes()].concat() }
}

/// For fuzzing: decodes any bytes, whole and in pieces. The contents, and the end, must be the same.
pub(super) fn check_any(bytes: &[u8], piece: usize) {
    let decode = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut decoder, mut contents) = (FrameDecoder::default(), Vec::new());
        for piece in pieces {
            match decoder.receive(piece, |plain| contents.extend_from_slice(plain)) {
                Ok(Asked { close: None, ping }) => assert!(ping.is_none_or(|ping| ping.len() <= MOST_CONTROL)),
                Ok(Asked { close, .. }) => return (contents, close, None),
                Err(error) => return (contents, None, Some(error)),
            }
        }
        (contents, None, None)
    };
    let whole = decode(&mut std::iter::once(bytes));
    assert!(whole.0.len() <= bytes.len() && whole == decode(&mut bytes.chunks(piece.max(1))));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// A frame of a client.
    fn frame(first: u8, contents: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match contents.len() {
            len @ ..126 => bytes.push(0x80 | len as u8),
            len @ ..=0xffff => bytes.extend([&[0xfe][..], &(len as u16).to_be_bytes()].concat()),
            len => bytes.extend([&[0xff][..], &(len as u64).to_be_bytes()].concat()),
        }
        bytes.extend(MASK);
        bytes.extend(contents.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// What is left of frames: contents, pings and the code of a close.
    type Decoded = (Vec<u8>, Vec<Vec<u8>>, Option<u16>);

    /// What is left of frames that come in these pieces.
    fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<Decoded, FrameError> {
        let mut decoder = FrameDecoder::default();
        let (mut contents, mut pings, mut closed) = (Vec::new(), Vec::new(), None);
        for piece in pieces {
            if closed.is_some() {
                break;
            }
            let asked = decoder.receive(piece, |plain| contents.extend_from_slice(plain))?;
            pings.extend(asked.ping);
            closed = asked.close;
        }
        Ok((contents, pings, closed))
    }

    /// A broker that looked at whole reads only lost packets whose frames were cut in the header, and hung at frames without contents.
    #[test]
    fn frames_are_decoded_wherever_their_bytes_are_cut() {
        let long: Vec<u8> = (0..70_000_u32).map(|at| (at / 253 + at) as u8).collect();
        let all = [
            frame(0x82, b"one"),
            frame(0x82, b""),
            frame(0x02, b"be"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x8a, b"nobody asked"),
            frame(0x80, b"gun"),
            frame(0x82, &long[..126]),
            frame(0x82, &long[..300]),
            frame(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let wanted = [&b"onebegun"[..], &long[..126], &long[..300]].concat();
        let wanted = (wanted, vec![b"ping".to_vec()], Some(1000));
        assert_eq!(decode([&all[..]]).unwrap(), wanted);
        assert_eq!(decode(all.chunks(1)).unwrap(), wanted);
        for cut in 0..=all.len() {
            assert_eq!(decode([&all[..cut], &all[cut..]]).unwrap(), wanted, "{cut}");
        }
        let large = frame(0x82, &long);
        for piece in [1, 3, 4_095, 4_097, 70_014] {
            assert!(decode(large.chunks(piece)).unwrap().0 == long, "{piece}");
        }
    }

    #[test]
    fn frames_that_break_the_protocol_are_refused_at_their_first_bytes() {
        let reserved_length = [&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &MASK].concat();
        for (bytes, code) in [
            (&b"\x82\x03one"[..], 1002),
            (b"\xc2\x83", 1002),
            (b"\x92\x83", 1002),
            (b"\xa2\x83", 1002),
            (b"\x81\x83", 1003),
            (b"\x01\x83", 1003),
            (b"\x80\x83", 1002),
            (b"\x83\x83", 1002),
            (b"\x8b\x80", 1002),
            (b"\x09\x80", 1002),
            (b"\x89\xfe", 1002),
            (b"\x88\xff", 1002),
            (b"\x82\xfe\0\x7d\0\0\0\0", 1002),
            (b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0", 1002),
            (&reserved_length, 1002),
            (&frame(0x88, b"\x03"), 1002),
            (&[frame(0x02, b"a"), frame(0x82, b"b")].concat(), 1002),
        ] {
            for piece in [1, bytes.len()] {
                let error = decode(bytes.chunks(piece)).expect_err("it is wrong");
                assert_eq!(error.code(), code, "{bytes:x?}: {error}");
            }
        }
    }

    #[test]
    fn a_frame_of_any_length_takes_no_memory() {
        let mut decoder = FrameDecoder::default();
        let header = [&[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255][..], &MASK].concat();
        let mut count = 0;
        assert_eq!(decoder.receive(&header, |plain| count += plain.len()), Ok(Asked::default()));
        assert_eq!(decoder.receive(&[0; 100_000], |plain| count += plain.len()), Ok(Asked::default()));
        assert_eq!(count, 100_000);
    }

    #[test]
    fn any_bytes_are_decoded_to_the_same_in_whole_and_in_pieces() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |most: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % (most as u64 + 1)) as usize
        };
        for _ in 0..20_000 {
            let first = [0x82, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0x81];
            let frames = (0..=next(5)).flat_map(|_| {
                let contents: Vec<u8> = (0..next(140)).map(|at| at as u8).collect();
                frame(first[next(7)], &contents)
            });
            let mut bytes: Vec<u8> = frames.collect();
            for _ in 0..next(2) {
                let at = next(bytes.len() - 1);
                bytes[at] = next(255) as u8;
            }
            check_any(&bytes, next(9));
        }
    }

    #[test]
    fn frames_of_the_server_have_the_shortest_header() {
        let header = |len| {
            let (header, count) = binary_header(len);
            header[..count].to_vec()
        };
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(0xffff), [0x82, 126, 255, 255]);
        assert_eq!(header(0x10000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(
            (pong(b"x"), close(1000), close(1005)),
            (b"\x8a\x01x".to_vec(), b"\x88\x02\x03\xe8".to_vec(), b"\x88\0".to_vec())
        );
    }
}
