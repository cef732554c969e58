//! Where entries lie: memory lent to us, or memory of our own.

use super::heap::{Claim, OwnedSlots};

/// A table of `T` with a limit.
#[derive(Debug)]
pub struct Slots<'m, T>(Backing<'m, T>);

#[derive(Debug)]
#[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
enum Backing<'m, T> {
    /// Memory lent to us; its length is the limit.
    Borrowed(&'m mut [T]),
    /// Memory of our own, which grows up to a limit.
    Owned(OwnedSlots<T>),
}

impl<T> Backing<'_, T> {
    const NONE: Self = Self::Borrowed(&mut []);
}

impl<'m, T: Default> Slots<'m, T> {
    /// No memory at all.
    pub(crate) const EMPTY: Self = Self(Backing::NONE);

    /// A table in the memory `entries`.
    pub fn borrowed(entries: &'m mut [T]) -> Self {
        Self(Backing::Borrowed(entries))
    }

    /// A table in memory of its own.
    #[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
    pub(super) fn in_owned(slots: OwnedSlots<T>) -> Self {
        Self(Backing::Owned(slots))
    }

    /// The memory, if it is our own.
    pub(super) fn as_owned(&self) -> Option<&OwnedSlots<T>> {
        match &self.0 {
            Backing::Borrowed(_) => None,
            Backing::Owned(slots) => Some(slots),
        }
    }

    /// The memory, if it is our own, to be changed.
    #[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
    pub(super) fn as_owned_mut(&mut self) -> Option<&mut OwnedSlots<T>> {
        match &mut self.0 {
            Backing::Borrowed(_) => None,
            Backing::Owned(slots) => Some(slots),
        }
    }

    /// Whether the memory is our own.
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self.0, Backing::Owned(_))
    }

    /// How many entries there may be.
    pub fn limit(&self) -> usize {
        match &self.0 {
            Backing::Borrowed(entries) => entries.len(),
            Backing::Owned(slots) => slots.limit(),
        }
    }

    /// The entries there are: all of borrowed memory, or what the table has grown to.
    #[inline(always)]
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Backing::Borrowed(entries) => entries,
            Backing::Owned(slots) => slots.as_slice(),
        }
    }

    /// The same, to be changed.
    #[inline(always)]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Backing::Borrowed(entries) => entries,
            Backing::Owned(slots) => slots.as_mut_slice(),
        }
    }

    /// How many entries there is memory for.
    #[inline(always)]
    pub(super) fn places(&self) -> usize {
        match &self.0 {
            Backing::Borrowed(entries) => entries.len(),
            Backing::Owned(slots) => slots.places(),
        }
    }

    /// Makes sure that there is memory for `len` entries. False, and nothing changed, if that is beyond the limit, or refused by the
    /// ceiling or the allocator.
    pub(crate) fn reserve(&mut self, len: usize, claim: Claim) -> bool {
        match &mut self.0 {
            Backing::Borrowed(entries) => len <= entries.len(),
            Backing::Owned(slots) => slots.reserve(len, claim),
        }
    }

    /// Makes sure that there are at least `len` entries; new ones are `T::default()`.
    ///
    /// False, and nothing changed, if that is beyond the limit, or refused by the ceiling or the allocator.
    pub fn grow_to(&mut self, len: usize) -> bool {
        match &mut self.0 {
            Backing::Borrowed(entries) => len <= entries.len(),
            Backing::Owned(slots) => slots.grow_to(len),
        }
    }
}

impl<T: Default> Slots<'_, T> {
    /// Whether a client that would hold so many bytes of what this memory is claimed for has no more than its share.
    pub(super) fn is_in_share(&self, holds: usize) -> bool {
        match &self.0 {
            Backing::Borrowed(_) => true,
            Backing::Owned(slots) => slots.is_in_share(holds),
        }
    }

    /// How many bytes may still be claimed of what this memory is claimed for.
    pub(super) fn available_bytes(&self) -> usize {
        match &self.0 {
            Backing::Borrowed(_) => usize::MAX,
            Backing::Owned(slots) => slots.available_bytes(),
        }
    }

    /// Takes the entries from `len` on away and gives their memory back, if it is our own.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Backing::Owned(slots) = &mut self.0 {
            slots.truncate(len);
        }
    }

    /// Takes all entries away and gives their memory back, if it is our own. Whether that was done.
    pub(super) fn give_back(&mut self) -> bool {
        match &mut self.0 {
            Backing::Borrowed(_) => false,
            Backing::Owned(slots) => {
                slots.give_back();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrowed_memory_is_its_own_limit() {
        let mut memory = [1u8, 2, 3];
        let mut slots = Slots::borrowed(&mut memory);
        assert_eq!(slots.limit(), 3);
        assert!(slots.grow_to(3));
        assert!(!slots.grow_to(4));
        assert_eq!(slots.as_slice(), [1, 2, 3]);
    }
}
