//! What the firmware shows of words and numbers. `core` can pad all of them too, with 1.9 KB of code that nobody here needs.

use core::fmt::{Display, Formatter, Result};

/// Words as they are.
pub(crate) struct Words<'a>(pub(crate) &'a str);

/// A number in decimal digits.
pub(crate) struct Decimal(pub(crate) u32);

/// Where something is: eight hexadecimal digits behind `0x`.
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

/// Shows at least so many digits.
fn show(number: u32, base: u32, least: usize, f: &mut Formatter<'_>) -> Result {
    // The largest number has as many in decimal.
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
