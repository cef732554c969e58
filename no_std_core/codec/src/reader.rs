//! Reads the fields of a packet: the data representations of section 1.5.

use crate::topic::has_control_characters;
use crate::{PacketId, PacketType, ReasonCode, Refusal};

/// Whether strings are checked first in a loop that processors with wide registers run over many bytes at a time, and then
/// byte by byte only if the loop finds a suspect byte. Without the feature the code is small.
const FAST: bool = cfg!(feature = "fast");

const OVERRUN: Refusal = Refusal::malformed("a field reaches beyond the end of the packet");

/// Reads the fields of a packet one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// The bytes that were not read yet.
    rest: &'a [u8],
    /// Whether strings with control characters or noncharacters are refused.
    plain_text: bool,
}

impl<'a> Reader<'a> {
    /// A reader that accepts control characters and noncharacters.
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, plain_text: false }
    }

    /// A reader that refuses strings with control characters or noncharacters if `plain_text` says so.
    #[inline]
    pub(crate) const fn with_plain_text(bytes: &'a [u8], plain_text: bool) -> Self {
        Self { rest: bytes, plain_text }
    }

    /// A reader of the next `len` bytes, which this reader goes past.
    #[inline]
    pub(crate) fn part(&mut self, len: usize) -> Result<Self, Refusal> {
        Ok(Self { rest: self.take(len)?, ..*self })
    }

    /// Whether all was read.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that were not read yet.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses the packet if there are bytes behind the last field.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.rest.is_empty() { Ok(()) } else { Err(Refusal::malformed("the packet goes on after its last field")) }
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A byte.
    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Refusal> {
        self.array().map(u8::from_be_bytes)
    }

    /// A Two Byte Integer.
    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_be_bytes)
    }

    /// A Four Byte Integer.
    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    /// A Variable Byte Integer in as few bytes as hold it `[MQTT-1.5.5-1]`.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Refusal> {
        let (value, len) = varint(self.rest)?.ok_or(OVERRUN)?;
        self.take(len)?;
        Ok(value)
    }

    /// A Packet Identifier, which is never 0 `[MQTT-2.2.1-3]`.
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Refusal> {
        PacketId::new(self.u16()?).ok_or(Refusal::protocol_error("a Packet Identifier is not 0 [MQTT-2.2.1-3]"))
    }

    /// A Reason Code that a packet of this type may have.
    #[inline]
    pub(crate) fn reason_code(&mut self, packet: PacketType) -> Result<ReasonCode, Refusal> {
        match ReasonCode::from_u8(self.u8()?) {
            Some(code) if code.is_allowed_in(packet) => Ok(code),
            _ => Err(Refusal::protocol_error("the packet does not have this Reason Code (section 2.4)")),
        }
    }

    /// Binary Data: a two-byte length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Refusal> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 Encoded String: well-formed and so without surrogates `[MQTT-1.5.4-1]`, without U+0000 `[MQTT-1.5.4-2]`. The
    /// character U+FEFF stays in it `[MQTT-1.5.4-3]`.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Refusal> {
        self.string_or(ReasonCode::MalformedPacket)
    }

    /// As [`Reader::string`]; `code` is the Reason Code for control characters and noncharacters, where they are refused.
    #[inline]
    pub(crate) fn string_or(&mut self, code: ReasonCode) -> Result<&'a str, Refusal> {
        let text = utf8(self.binary()?)?;
        if !FAST || text.bytes().fold(false, |found, byte| found | !is_printable(byte)) {
            self.check_text(text, code)?;
        }
        Ok(text)
    }

    /// A string used as Topic Name: without U+0000 and without wildcards `[MQTT-3.3.2-2]`. It may be empty.
    ///
    /// A wildcard is a Protocol Error: the text is well-formed, and the protocol does not allow it. Topic Name invalid (0x90)
    /// is for names that are correctly formed and not accepted.
    #[inline]
    pub(crate) fn topic_name(&mut self) -> Result<&'a str, Refusal> {
        let text = utf8(self.binary()?)?;
        let is_suspect = |byte| !is_printable(byte) | matches!(byte, b'+' | b'#');
        let found = if FAST {
            // The loop has no early end, because an end would keep the compiler from handling many bytes at a time.
            text.bytes().fold(false, |found, byte| found | is_suspect(byte))
        } else {
            text.bytes().any(is_suspect)
        };
        if found {
            self.check_text(text, ReasonCode::TopicNameInvalid)?;
            if text.bytes().any(|byte| matches!(byte, b'+' | b'#')) {
                return Err(Refusal::protocol_error("a Topic Name has no wildcard '+' or '#' [MQTT-3.3.2-2]"));
            }
        }
        Ok(text)
    }

    /// Checks a string that is not all printable ASCII.
    #[cold]
    #[inline]
    fn check_text(&self, text: &str, code: ReasonCode) -> Result<(), Refusal> {
        if text.bytes().any(|byte| byte == 0) {
            return Err(NULL);
        }
        if self.plain_text && has_control_characters(text) {
            return Err(Refusal::new(
                code,
                "a string has no control characters and noncharacters here (section 1.5.4)",
            ));
        }
        Ok(())
    }
}

const NULL: Refusal = Refusal::malformed("a string has no U+0000 [MQTT-1.5.4-2]");

/// Whether the byte is printable ASCII.
#[inline]
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// `bytes` as text.
#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    core::str::from_utf8(bytes)
        .map_err(|_| Refusal::malformed("a string is well-formed UTF-8 without surrogates [MQTT-1.5.4-1]"))
}

pub(crate) const OVERLONG_VARINT: Refusal =
    Refusal::malformed("a Variable Byte Integer takes as few bytes as hold it [MQTT-1.5.5-1]");

/// The Variable Byte Integer that `bytes` begin with, and its length in bytes; `None` if it is not complete.
///
/// It has at most four bytes, and no more than its value needs `[MQTT-1.5.5-1]`.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Refusal> {
    match any_varint(bytes)? {
        Some((_, _, true)) => Err(OVERLONG_VARINT),
        Some((value, len, false)) => Ok(Some((value, len))),
        None => Ok(None),
    }
}

/// As [`varint`], but it may have more bytes than its value needs; the `bool` says whether it has.
#[inline]
#[expect(clippy::arithmetic_side_effects, reason = "`len` is 4 at most")]
pub(crate) fn any_varint(bytes: &[u8]) -> Result<Option<(u32, usize, bool)>, Refusal> {
    let mut value = 0;
    let mut len = 0;
    for &byte in bytes.iter().take(4) {
        value |= u32::from(byte & 0x7F) << (7 * len);
        len += 1;
        if byte & 0x80 == 0 {
            return Ok(Some((value, len, byte == 0 && len > 1)));
        }
    }
    if len == 4 {
        return Err(Refusal::malformed("a Variable Byte Integer has at most four bytes (section 1.5.5)"));
    }
    Ok(None)
}
