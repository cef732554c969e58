//! What most entries of a table do without most of the time.

use alloc::boxed::Box;

use crate::mem::Initial;

/// A value that mostly is [`Initial::INITIAL`]: there is a pointer for it, and memory only while it is something else. Without the
/// feature `alloc` it stands in place.
#[derive(Debug)]
pub(crate) struct LazyBox<T>(Option<Box<T>>);

impl<T: Initial> LazyBox<T> {
    pub(crate) const EMPTY: Self = Self(None);

    pub(crate) fn get(&self) -> &T {
        self.0.as_deref().unwrap_or(T::INITIAL)
    }

    /// The value, which takes memory from now on.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(*T::INITIAL))
    }

    /// The value, to be changed if it takes memory.
    pub(crate) fn allocated(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// The value is not needed any more: it takes no memory from now on.
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
