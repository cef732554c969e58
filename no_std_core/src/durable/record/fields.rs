//! The fields of records, in the format of postcard: numbers are varints, texts have their length before them, and fields have no
//! names or tags.
//!
//! Neither writing nor reading stops at an error. The error is kept, and checked once at the end: so a field costs a call and no
//! branch.

use crate::mem::copy;
use crate::time::Instant;

/// A record that is being written.
pub(super) struct Output<'o> {
    space: &'o mut [u8],
    /// How many bytes were written so far, including those that found no space.
    len: usize,
}

impl<'o> Output<'o> {
    /// Writes to the beginning of `space`.
    pub(super) fn new(space: &'o mut [u8]) -> Self {
        Self { space, len: 0 }
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// Writes bytes without their length before them.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        if let Some(space) = self.space.get_mut(self.len..) {
            copy(space, bytes);
        }
        self.len = self.len.saturating_add(bytes.len());
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number > 0x7F {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    /// All bytes that were written; `None` if the space was too short.
    pub(super) fn finish(self) -> Option<&'o [u8]> {
        self.space.get(..self.len)
    }
}

/// A record that is being read.
pub(super) struct Input<'a> {
    rest: &'a [u8],
    is_damaged: bool,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, is_damaged: false }
    }

    /// Whether no bytes are left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next `len` bytes; an empty slice if fewer are left.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            self.is_damaged = true;
            return &[];
        };
        self.rest = rest;
        bytes
    }

    /// All bytes that are left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Reads a number up to `most`. A greater one, or one that is cut off, damages the input.
    pub(super) fn number(&mut self, most: u64) -> u64 {
        let (mut number, mut shift) = (0, 0_u32);
        loop {
            let byte = self.byte();
            let bits = u64::from(byte & 0x7F);
            number |= bits << shift;
            if byte < 0x80 || shift == 63 {
                self.is_damaged |= byte > 0x7F || number >> shift != bits || number > most;
                return number;
            }
            // The shift is 63 at most.
            shift = shift.saturating_add(7);
        }
    }

    /// Notes that the bytes that were read make no sense.
    pub(super) fn damage(&mut self) {
        self.is_damaged = true;
    }

    /// Whether all bytes were read, and made sense.
    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty() && !self.is_damaged
    }

    /// The bytes that are left; `None` if the bytes that were read made no sense.
    pub(super) fn undamaged(self) -> Option<&'a [u8]> {
        (!self.is_damaged).then_some(self.rest)
    }
}

/// A field of a record.
pub(super) trait Field<'a> {
    fn put(&self, out: &mut Output<'_>);
    /// Reads the field. Returns any value if the input is damaged.
    fn take(input: &mut Input<'a>) -> Self;
}

/// A struct is written as its fields, in this order, which never changes. A field behind a `;` is not written; reading gives it
/// all bytes that are left.
macro_rules! fields {
    ($($name:ty { $($field:ident),* $(; $rest:ident)? })*) => {$(
        impl<'a> Field<'a> for $name {
            fn put(&self, out: &mut Output<'_>) {
                $(self.$field.put(out);)*
            }

            fn take(input: &mut Input<'a>) -> Self {
                Self { $($field: Field::take(input),)* $($rest: input.rest())? }
            }
        }
    )*};
}
pub(super) use fields;

macro_rules! number {
    ($($name:ty)*) => {$(
        impl Field<'_> for $name {
            fn put(&self, out: &mut Output<'_>) {
                out.number((*self).into());
            }

            fn take(input: &mut Input<'_>) -> Self {
                input.number(Self::MAX.into()) as Self
            }
        }
    )*};
}
number!(u16 u32 u64);

impl Field<'_> for u8 {
    fn put(&self, out: &mut Output<'_>) {
        out.byte(*self);
    }

    fn take(input: &mut Input<'_>) -> Self {
        input.byte()
    }
}

impl Field<'_> for bool {
    fn put(&self, out: &mut Output<'_>) {
        out.byte((*self).into());
    }

    fn take(input: &mut Input<'_>) -> Self {
        let byte = input.byte();
        input.is_damaged |= byte > 1;
        byte != 0
    }
}

/// [`Instant::NEVER`] takes one byte, because it is frequent.
impl Field<'_> for Instant {
    fn put(&self, out: &mut Output<'_>) {
        self.as_millis().wrapping_add(1).put(out);
    }

    fn take(input: &mut Input<'_>) -> Self {
        Self::from_millis(u64::take(input).wrapping_sub(1))
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, out: &mut Output<'_>) {
        out.number(self.len() as u64);
        out.bytes(self);
    }

    fn take(input: &mut Input<'a>) -> Self {
        let len = u32::take(input);
        input.bytes(len as usize)
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(&self, out: &mut Output<'_>) {
        self.as_bytes().put(out);
    }

    fn take(input: &mut Input<'a>) -> Self {
        let text = core::str::from_utf8(Field::take(input));
        input.is_damaged |= text.is_err();
        text.unwrap_or("")
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn put(&self, out: &mut Output<'_>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Input<'a>) -> Self {
        bool::take(input).then(|| T::take(input))
    }
}

impl<const N: usize> Field<'_> for [u32; N] {
    fn put(&self, out: &mut Output<'_>) {
        for number in self {
            number.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Self {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = u32::take(input);
        }
        numbers
    }
}
