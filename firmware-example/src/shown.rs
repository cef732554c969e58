//! Formats texts and numbers for the console and the topics. `core` can pad all of these too, with 1.9 KB of code that is
//! not needed here.

use core::fmt::{Display, Formatter, Result};

/// A text, which is shown unchanged.
pub(crate) struct Words<'a>(pub(crate) &'a str);

/// A number in decimal digits.
pub(crate) struct Decimal(pub(crate) u32);

/// An address: `0x` and eight hexadecimal digits.
pub(crate) struct Address(pub(crate) u32);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.0)
    }
}

impl Display for Decimal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        show(self.0, 10, 1, f)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("0x")?;
        show(self.0, 16, 8, f)
    }
}

/// Writes `number` with at least `least` digits.
fn show(number: u32, base: u32, least: usize, f: &mut Formatter<'_>) -> Result {
    // The largest 32-bit number has ten decimal digits.
    let mut digits = [0; 10];
    let (mut left, mut count) = (number, 0);
    for place in digits.iter_mut().rev() {
        if left == 0 && count >= least {
            break;
        }
        let digit = (left % base) as u8;
        *place = if digit < 10 { b'0' + digit } else { b'a' - 10 + digit };
        left /= base;
        count += 1;
    }
    let (_, shown) = digits.split_at(digits.len() - count);
    f.write_str(core::str::from_utf8(shown).unwrap_or(""))
}
