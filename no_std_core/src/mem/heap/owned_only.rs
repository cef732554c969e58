//! What only a broker that owns its memory remembers.

/// A value that is there only where memory can be owned. Without the feature `alloc` it takes no room, is never changed, and always is
/// the default of its type: what is done with it is left out by the compiler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnedOnly<T>(T);

impl<T: Copy + Default> OwnedOnly<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> T {
        self.0
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, value: T) {
        self.0 = value;
    }
}
