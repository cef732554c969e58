//! Sinks, which receive the bytes of an encoded packet: one writes to a slice, one writes a part of a packet, one counts.
//!
//! Each packet has one function that puts its body into a sink. It runs twice: into a sink that counts, for the Remaining
//! Length, and into the caller's sink.

/// The greatest Variable Byte Integer, 268,435,455 (section 1.5.5).
pub const MAX_VARINT: u32 = 0x0FFF_FFFF;

/// The length of `value` as a Variable Byte Integer: 1 to 4 bytes.
#[inline]
pub const fn varint_len(value: u32) -> u32 {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Receives the bytes of encoded packets in their order.
///
/// Receiving bytes cannot fail. A sink that has no room for them remembers that.
pub trait Sink {
    /// Receives these bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Receives one byte.
    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Receives a Two Byte Integer.
    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Receives a Four Byte Integer.
    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Receives a Variable Byte Integer, in as few bytes as it needs `[MQTT-1.5.5-1]`. For a value above [`MAX_VARINT`] the
    /// sink receives [`MAX_VARINT`].
    #[inline]
    fn put_varint(&mut self, value: u32) {
        let value = value.min(MAX_VARINT);
        let bits_from = |shift: u32| (value >> shift) as u8 & 0x7F;
        match varint_len(value) {
            1 => self.put(&[bits_from(0)]),
            2 => self.put(&[bits_from(0) | 0x80, bits_from(7)]),
            3 => self.put(&[bits_from(0) | 0x80, bits_from(7) | 0x80, bits_from(14)]),
            _ => self.put(&[bits_from(0) | 0x80, bits_from(7) | 0x80, bits_from(14) | 0x80, bits_from(21)]),
        }
    }

    /// Receives a UTF-8 Encoded String: a two-byte length and the text. A text of more than 65,535 bytes is cut off between
    /// two characters.
    #[inline]
    fn put_string(&mut self, text: &str) {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.put_binary(text.as_bytes().get(..end).unwrap_or_default());
    }

    /// Receives Binary Data: a two-byte length and the bytes. More than 65,535 bytes are cut off.
    #[inline]
    fn put_binary(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
        self.put_u16(bytes.len() as u16);
        self.put(bytes);
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        (**self).put(bytes);
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Copies as much of `source` as fits `target`. The compiler makes a call of memcpy of it; `copy_from_slice` would have a path
/// to a panic.
#[inline]
fn copy(target: &mut [u8], source: &[u8]) {
    for (to, from) in target.iter_mut().zip(source) {
        *to = *from;
    }
}

/// A sink that counts the bytes and keeps none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length(u32);

impl Length {
    /// The number of bytes that were put, at most `u32::MAX`.
    #[inline]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Sink for Length {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
}

/// A sink that writes to a slice, and remembers whether bytes did not fit.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// A sink that writes to `out`, from its beginning.
    #[inline]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, overflowed: false }
    }

    /// The bytes that were written; `None` if some did not fit. Then what was written is no packet.
    #[inline]
    pub fn finish(self) -> Option<&'a [u8]> {
        let Self { out, len, overflowed } = self;
        if overflowed { None } else { out.get(..len) }
    }

    /// The number of bytes that were written.
    #[inline]
    pub fn written(&self) -> usize {
        self.len
    }

    /// Whether bytes did not fit.
    #[inline]
    pub fn has_overflowed(&self) -> bool {
        self.overflowed
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        match self.out.get_mut(self.len..end) {
            Some(slot) => {
                copy(slot, bytes);
                self.len = end;
            }
            None => self.overflowed = true,
        }
    }
}

/// A sink that skips the first bytes of a packet and writes as many of the others as fit into a slice.
///
/// With it a packet can be sent in pieces without being stored: for each piece the packet is encoded again, and the window
/// skips what was sent.
#[derive(Debug)]
pub struct Window<'a> {
    /// The number of bytes that are still to be skipped.
    skip: usize,
    out: &'a mut [u8],
    /// The place in `out` for the next byte; `usize::MAX`, which is no place, while bytes are skipped.
    at: usize,
    /// The number of bytes that were skipped or did not fit.
    left_out: u32,
}

impl<'a> Window<'a> {
    /// A sink that skips `skip` bytes and then writes to `out`, from its beginning.
    #[inline]
    pub fn new(skip: u32, out: &'a mut [u8]) -> Self {
        Self { skip: skip as usize, out, at: if skip == 0 { 0 } else { usize::MAX }, left_out: 0 }
    }

    /// A sink that writes nothing and counts, as [`Length`] does. A program that encodes into windows alone uses it instead of
    /// [`Length`], so that the code for each packet is compiled for one sink, not for two.
    #[inline]
    pub fn closed() -> Self {
        Self::new(0, &mut [])
    }

    /// The number of bytes that were written to `out`.
    #[inline]
    pub fn written(&self) -> usize {
        if self.skip == 0 { self.at } else { 0 }
    }

    /// The number of bytes that were put, with those that were skipped or did not fit; at most `u32::MAX`.
    #[inline]
    pub fn total(&self) -> u32 {
        self.left_out.saturating_add(u32::try_from(self.written()).unwrap_or(u32::MAX))
    }

    /// The bytes that were written to `out`; `None` if some were skipped or did not fit.
    #[inline]
    pub fn finish(self) -> Option<&'a [u8]> {
        if self.left_out == 0 { self.out.get(..self.at) } else { None }
    }

    /// Receives bytes of which some are skipped or do not fit.
    #[cold]
    #[inline]
    fn put_partly(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip = self.skip.saturating_sub(skipped);
        if self.skip == 0 && skipped > 0 {
            self.at = 0;
        }
        let wanted = bytes.get(skipped..).unwrap_or(&[]);
        let room = self.out.get_mut(self.at..).unwrap_or(&mut []);
        let fits = wanted.len().min(room.len());
        if let (Some(slot), Some(head)) = (room.get_mut(..fits), wanted.get(..fits)) {
            copy(slot, head);
            self.at = self.at.saturating_add(fits);
        }
        let left_out = bytes.len().saturating_sub(fits);
        self.left_out = self.left_out.saturating_add(u32::try_from(left_out).unwrap_or(u32::MAX));
    }
}

impl Sink for Window<'_> {
    #[cfg_attr(feature = "fast", inline)]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        match self.out.get_mut(self.at..end) {
            Some(slot) => {
                copy(slot, bytes);
                self.at = end;
            }
            None => self.put_partly(bytes),
        }
    }
}
