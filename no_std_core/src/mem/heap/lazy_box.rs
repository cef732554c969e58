//! Values that most entries of a table do not have most of the time.

use alloc::boxed::Box;

use crate::mem::Initial;

/// A value that is [`Initial::INITIAL`] most of the time. It is a pointer, and needs more memory only while it has another value.
/// Without the feature `alloc` the value itself is here.
#[derive(Debug)]
pub(crate) struct LazyBox<T>(Option<Box<T>>);

impl<T: Initial> LazyBox<T> {
    pub(crate) const EMPTY: Self = Self(None);

    pub(crate) fn get(&self) -> &T {
        self.0.as_deref().unwrap_or(T::INITIAL)
    }

    /// The value, to be changed. From now on it has memory.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(*T::INITIAL))
    }

    /// The value, to be changed; `None` if it has no memory.
    pub(crate) fn allocated(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Sets the value to `INITIAL`, and frees its memory.
    pub(crate) fn free(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::testing::Large;

    #[test]
    fn a_lazy_box_takes_memory_only_while_it_has_another_value() {
        let mut lazy = LazyBox::<Large>::EMPTY;
        assert_eq!(size_of_val(&lazy), size_of::<usize>());
        assert!(lazy.allocated().is_none());
        lazy.get_mut();
        assert!(lazy.allocated().is_some());
        lazy.free();
        assert!(lazy.allocated().is_none());
        assert_eq!(lazy.get(), Large::INITIAL);
    }
}
