//! Values that only a broker that owns its memory has.

/// A value that exists only with the feature `alloc`. Without the feature it needs no memory, and always is the default of its type.
/// So the compiler leaves out the code that uses it.
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
