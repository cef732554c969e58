//! What went wrong since the start: counted where it happens, shown once a second at most.

use core::fmt;

use crate::shown::Decimal;

/// Counts that wrap at 2^32.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Faults {
    /// UARTs: bytes were lost or damaged.
    pub(crate) damages: u32,
    /// TCP clients for whom the broker had no room.
    pub(crate) refused: u32,
    /// Ethernet frames that were too long.
    pub(crate) oversized: u32,
    /// Messages that the broker dropped, for one Session each.
    pub(crate) dropped: u32,
    /// Readings that the broker had no room for.
    pub(crate) publishes: u32,
    /// Times that the board could not connect or subscribe.
    pub(crate) connects: u32,
    /// Commands that are none.
    pub(crate) commands: u32,
    /// 1: the flash has failed. What would have to survive a reset is refused, or not confirmed, until the next start.
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
