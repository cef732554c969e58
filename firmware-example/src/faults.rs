//! Counts of faults since the start. They are published at most once a second.

use core::fmt;

use crate::shown::Decimal;

/// The counts, which wrap at 2^32.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// How often bytes were lost or damaged on a UART.
    pub(crate) damages: u32,
    /// TCP clients that were refused because the broker had no room.
    pub(crate) refused: u32,
    /// Ethernet frames that were too long.
    pub(crate) oversized: u32,
    /// Messages that the broker dropped; a message counts once for each Session that should have got it.
    pub(crate) dropped: u32,
    /// Readings that were not published because the broker had no room.
    pub(crate) publishes: u32,
    /// How often the board's own client could not connect or subscribe.
    pub(crate) connects: u32,
    /// Commands that the board does not know.
    pub(crate) commands: u32,
    /// 1 after the flash has failed. Until the next start the broker refuses or does not acknowledge what would have to
    /// survive a reset.
    pub(crate) flash: u32,
}

impl Faults {
    pub(crate) const NONE: Self =
        Self { damages: 0, refused: 0, oversized: 0, dropped: 0, publishes: 0, connects: 0, commands: 0, flash: 0 };
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("damaged lines", self.damages),
            ("refused clients", self.refused),
            ("oversized frames", self.oversized),
            ("dropped messages", self.dropped),
            ("lost readings", self.publishes),
            ("failed connects", self.connects),
            ("unknown commands", self.commands),
            ("flash failure", self.flash),
        ];
        let mut separator = "";
        for (name, count) in all.iter().filter(|(_, count)| *count > 0) {
            f.write_str(separator)?;
            write!(f, "{} ", Decimal(*count))?;
            f.write_str(name)?;
            separator = ", ";
        }
        Ok(())
    }
}
