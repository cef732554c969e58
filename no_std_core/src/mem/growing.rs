//! A list that grows: a vector, or where no memory can be owned one that stays empty.

#[cfg(feature = "alloc")]
pub(crate) use alloc::vec::Vec as GrowingList;

#[cfg(not(feature = "alloc"))]
pub(crate) use without_alloc::GrowingList;

/// Whether memory can be owned: whoever asks keeps what only a server needs out of an image for a microcontroller.
pub(crate) const OWNED: bool = cfg!(feature = "alloc");

#[cfg(not(feature = "alloc"))]
mod without_alloc {
    use core::marker::PhantomData;
    use core::ops::{Deref, DerefMut};

    /// Always empty: what is pushed is not kept.
    #[derive(Debug)]
    pub(crate) struct GrowingList<T>(PhantomData<T>);

    impl<T> Default for GrowingList<T> {
        fn default() -> Self {
            Self(PhantomData)
        }
    }

    impl<T> GrowingList<T> {
        pub(crate) fn push(&mut self, _: T) {}

        pub(crate) fn pop(&mut self) -> Option<T> {
            None
        }
    }

    impl<T> Deref for GrowingList<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &[]
        }
    }

    impl<T> DerefMut for GrowingList<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut []
        }
    }
}
