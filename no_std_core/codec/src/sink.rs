//! Where encoded bytes go: counted, written to memory, or written from the middle of a packet on.
//!
//! There is one encode function for each packet. It runs into a [`Length`] to learn the Remaining Length and then
//! into the caller's sink.

/// The greatest Variable Byte Integer, 268,435,455 (section 1.5.5).
pub const MAX_VARINT: u32 = 0x0FFF_FFFF;

/// The bytes that `value` takes as a Variable Byte Integer: 1 to 4.
#[inline]
pub const fn varint_len(value: u32) -> u32 {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Takes the bytes of an encoded packet in order.
pub trait Sink {
    /// Takes `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Takes one byte.
    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Takes a Two Byte Integer.
    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Takes a Four Byte Integer.
    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Takes a Variable Byte Integer in as few bytes as hold it `[MQTT-1.5.5-1]`; beyond [`MAX_VARINT`], that.
    #[inline]
    fn put_varint(&mut self, value: u32) {
        let value = value.min(MAX_VARINT);
        let group = |index: u32| (value >> (7 * index)) as u8 & 0x7F;
        match varint_len(value) {
            1 => self.put(&[group(0)]),
            2 => self.put(&[group(0) | 0x80, group(1)]),
            3 => self.put(&[group(0) | 0x80, group(1) | 0x80, group(2)]),
            _ => self.put(&[group(0) | 0x80, group(1) | 0x80, group(2) | 0x80, group(3)]),
        }
    }

    /// Takes a UTF-8 Encoded String. What does not fit its two-byte length is cut off between characters.
    #[inline]
    fn put_string(&mut self, text: &str) {
        let mut end = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.put_binary(text.as_bytes().get(..end).unwrap_or_default());
    }

    /// Takes Binary Data. What does not fit its two-byte length is cut off.
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

/// Copies as much of `source` as `target` has room for. `copy_from_slice` would have a path to a panic.
#[inline]
fn copy(target: &mut [u8], source: &[u8]) {
    for (to, from) in target.iter_mut().zip(source) {
        *to = *from;
    }
}

/// Counts bytes and keeps none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length(u32);

impl Length {
    /// The bytes put so far; `u32::MAX` where they were more.
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

/// Writes to memory of a fixed size, and remembers when it did not suffice.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'a> Writer<'a> {
    /// Writes to `out` from its beginning.
    #[inline]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, overflowed: false }
    }

    /// The bytes written; `None` if some did not fit, and then what was written is of no use.
    #[inline]
    pub fn finish(self) -> Option<&'a [u8]> {
        let Self { out, len, overflowed } = self;
        if overflowed { None } else { out.get(..len) }
    }

    /// The bytes written so far.
    #[inline]
    pub fn written(&self) -> usize {
        self.len
    }

    /// Whether some bytes did not fit.
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

/// Lets the first bytes of a packet pass and writes as many of the others as fit: a sender resumes in mid-packet by
/// encoding the packet again, and keeps no bytes in between.
#[derive(Debug)]
pub struct Window<'a> {
    skip: usize,
    out: &'a mut [u8],
    /// Where in `out` the next byte goes; nowhere while bytes are dropped.
    at: usize,
    /// Bytes that were dropped or did not fit.
    left_out: u32,
}

impl<'a> Window<'a> {
    /// Drops the first `skip` bytes, then writes to `out` from its beginning.
    #[inline]
    pub fn new(skip: u32, out: &'a mut [u8]) -> Self {
        Self { skip: skip as usize, out, at: if skip == 0 { 0 } else { usize::MAX }, left_out: 0 }
    }

    /// Writes nothing.
    #[inline]
    pub fn closed() -> Self {
        Self::new(0, &mut [])
    }

    /// The bytes written to `out`.
    #[inline]
    pub fn written(&self) -> usize {
        if self.skip == 0 { self.at } else { 0 }
    }

    /// The bytes put so far, also those that were dropped or did not fit; `u32::MAX` where they were more.
    #[inline]
    pub fn total(&self) -> u32 {
        self.left_out.saturating_add(u32::try_from(self.written()).unwrap_or(u32::MAX))
    }

    /// The bytes written to `out`; `None` if some were dropped or did not fit.
    #[inline]
    pub fn finish(self) -> Option<&'a [u8]> {
        if self.left_out == 0 { self.out.get(..self.at) } else { None }
    }

    /// What is to be dropped, or does not fit whole.
    #[cold]
    #[inline]
    fn put_partly(&mut self, bytes: &[u8]) {
        let dropped = self.skip.min(bytes.len());
        self.skip -= dropped;
        if self.skip == 0 && dropped > 0 {
            self.at = 0;
        }
        let wanted = bytes.get(dropped..).unwrap_or(&[]);
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
    #[cfg_attr(feature = "alloc", inline)]
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
