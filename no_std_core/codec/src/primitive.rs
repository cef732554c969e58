//! The data representations of section 1.5, read from a packet.

use crate::topic::has_control_characters;
use crate::{PacketId, ReasonCode, Refusal};

/// Whether a quick look at a string comes before the one that finds all that is wrong: with the feature `alloc` fast, without it small.
const LOOKS_TWICE: bool = cfg!(feature = "fast");

const OVERRUN: Refusal = Refusal::malformed("a field reaches beyond the end of the packet");

/// Reads the fields of a packet one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Strings have no control characters and no noncharacters.
    plain_text: bool,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, plain_text: false }
    }

    /// A reader that may refuse strings with control characters or noncharacters.
    #[inline]
    pub(crate) const fn with_plain_text(bytes: &'a [u8], plain_text: bool) -> Self {
        Self { rest: bytes, plain_text }
    }

    /// Takes `len` bytes to be read by themselves.
    #[inline]
    pub(crate) fn part(&mut self, len: usize) -> Result<Self, Refusal> {
        Ok(Self { rest: self.take(len)?, ..*self })
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that was not read yet.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes behind the last field.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        if self.rest.is_empty() { Ok(()) } else { Err(Refusal::malformed("the packet goes on after its last field")) }
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(OVERRUN)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Refusal> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Refusal> {
        let (value, len) = varint(self.rest)?.ok_or(OVERRUN)?;
        self.take(len)?;
        Ok(value)
    }

    /// A Packet Identifier, which is not 0 `[MQTT-2.2.1-3]`.
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, Refusal> {
        PacketId::new(self.u16()?).ok_or(Refusal::protocol_error("a Packet Identifier is not 0 [MQTT-2.2.1-3]"))
    }

    /// Binary Data: a two-byte length and as many bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Refusal> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 Encoded String: well-formed, hence without surrogates `[MQTT-1.5.4-1]`, and without U+0000
    /// `[MQTT-1.5.4-2]`. U+FEFF is kept as the character that it is `[MQTT-1.5.4-3]`.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Refusal> {
        self.string_or(ReasonCode::MalformedPacket)
    }

    /// A string that is refused with `code` if it contains what plain text does not.
    #[inline]
    pub(crate) fn string_or(&mut self, code: ReasonCode) -> Result<&'a str, Refusal> {
        let text = utf8(self.binary()?)?;
        if !LOOKS_TWICE || text.bytes().fold(false, |found, byte| found | !is_printable(byte)) {
            self.check_text(text, code)?;
        }
        Ok(text)
    }

    /// A string used as Topic Name: no U+0000, no wildcards `[MQTT-3.3.2-2]`. It may be empty.
    ///
    /// A wildcard here is well-formed text that the protocol does not allow, so a Protocol Error; Topic Name invalid
    /// (0x90) is for names that are correctly formed but not accepted.
    #[inline]
    pub(crate) fn topic_name(&mut self) -> Result<&'a str, Refusal> {
        let text = utf8(self.binary()?)?;
        let is_suspect = |byte| !is_printable(byte) | matches!(byte, b'+' | b'#');
        // A loop that goes on to the end in any case can be made wide, where the processor has wide registers.
        let found = if cfg!(feature = "fast") {
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

    /// Looks closely at a string that is not all printable ASCII.
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

#[inline]
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, Refusal> {
    core::str::from_utf8(bytes)
        .map_err(|_| Refusal::malformed("a string is well-formed UTF-8 without surrogates [MQTT-1.5.4-1]"))
}

pub(crate) const OVERLONG_VARINT: Refusal =
    Refusal::malformed("a Variable Byte Integer takes as few bytes as hold it [MQTT-1.5.5-1]");

/// The Variable Byte Integer at the beginning of `bytes` and its length; `None` if more bytes are needed to tell.
///
/// At most four bytes, and no more than the value needs `[MQTT-1.5.5-1]`.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Refusal> {
    match any_varint(bytes)? {
        Some((_, _, true)) => Err(OVERLONG_VARINT),
        Some((value, len, false)) => Ok(Some((value, len))),
        None => Ok(None),
    }
}

/// As [`varint`], but it may take more bytes than it needs; whether it does.
#[inline]
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
