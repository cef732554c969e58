//! What most entries of a table do without most of the time.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

/// A value that mostly is [`Vacant::VACANT`]: owned memory holds a pointer for it, and the value only while it is something
/// else. Without the feature `alloc` it stands in place.
#[derive(Debug)]
pub(crate) struct Rare<T>(#[cfg(feature = "alloc")] Option<Box<T>>, #[cfg(not(feature = "alloc"))] T);

/// What is not worth any memory.
pub(crate) trait Vacant: Copy + 'static {
    /// The value that a [`Rare`] begins with.
    const VACANT: &'static Self;
}

#[cfg(feature = "alloc")]
impl<T: Vacant> Rare<T> {
    pub(crate) const EMPTY: Self = Self(None);

    pub(crate) fn get(&self) -> &T {
        self.0.as_deref().unwrap_or(T::VACANT)
    }

    /// The value, which takes memory from now on.
    pub(crate) fn make(&mut self) -> &mut T {
        self.0.get_or_insert_with(|| Box::new(*T::VACANT))
    }

    /// The value, to be changed if it takes memory.
    pub(crate) fn made(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// The value is not needed any more: it takes no memory from now on.
    pub(crate) fn shed(&mut self) {
        self.0 = None;
    }
}

#[cfg(not(feature = "alloc"))]
impl<T: Vacant> Rare<T> {
    pub(crate) const EMPTY: Self = Self(*T::VACANT);

    pub(crate) fn get(&self) -> &T {
        &self.0
    }

    pub(crate) fn make(&mut self) -> &mut T {
        &mut self.0
    }

    pub(crate) fn made(&mut self) -> Option<&mut T> {
        Some(&mut self.0)
    }

    pub(crate) fn shed(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Big([u64; 8]);

    impl Vacant for Big {
        const VACANT: &Self = &Self([7; 8]);
    }

    #[test]
    fn it_is_vacant_until_it_is_made_something_else() {
        let mut rare = Rare::<Big>::EMPTY;
        assert_eq!(rare.get(), Big::VACANT);
        rare.make().0[3] = 1;
        assert_eq!(rare.get().0[2..5], [7, 1, 7]);
        assert_eq!(rare.made().map(|big| big.0[3]), Some(1));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn it_takes_memory_only_while_it_is_something_else() {
        let mut rare = Rare::<Big>::EMPTY;
        assert_eq!(size_of_val(&rare), size_of::<usize>());
        assert!(rare.made().is_none());
        rare.make();
        assert!(rare.made().is_some());
        rare.shed();
        assert!(rare.made().is_none());
        assert_eq!(rare.get(), Big::VACANT);
    }
}
