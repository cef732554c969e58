//! The places of records: the log's memory.

use crate::Key;

/// One of the two areas of the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    A,
    B,
}

impl Area {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Where the live record of a key is, in 2 bytes. The log works in a table with one place for each slot of [`Slots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u16);

impl Place {
    /// The place of no record.
    pub const NONE: Self = Self(0);
    /// How many units of an area can be told apart.
    pub(crate) const UNITS: u32 = 1 << 15;

    /// `unit` is above 0, as an area begins with its entries.
    pub(crate) fn new(area: Area, unit: u32) -> Self {
        let side = if area == Area::B { 1 << 15 } else { 0 };
        Self(side | (unit & 0x7FFF) as u16)
    }

    /// The area and the unit.
    pub(crate) fn get(self) -> Option<(Area, u32)> {
        let unit = u32::from(self.0 & 0x7FFF);
        let area = if self.0 >> 15 == 1 { Area::B } else { Area::A };
        (unit > 0).then_some((area, unit))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::NONE
    }
}

/// How many slots each kind has. This decides which [`Place`] in the table belongs to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    counts: [u16; Key::KINDS],
}

impl Slots {
    /// `counts` begins with kind 1. A kind has at most [`Key::SLOTS`] slots.
    pub const fn new(counts: [u16; Key::KINDS]) -> Self {
        Self { counts }
    }

    /// How many places the table must have.
    pub fn total(&self) -> usize {
        self.counts.iter().map(|count| usize::from(*count)).sum()
    }

    /// The index of the key's place in the table. Indices ascend with kind and slot. `None` if the kind has no such slot.
    pub(crate) fn index(&self, key: Key) -> Option<usize> {
        let kind = usize::from(key.kind()).checked_sub(1)?;
        let before: usize = self.counts.iter().take(kind).map(|count| usize::from(*count)).sum();
        (key.slot() < *self.counts.get(kind)?).then_some(before + usize::from(key.slot()))
    }
}
