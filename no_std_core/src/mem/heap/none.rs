//! Replaces owned memory without the feature `alloc`: types without values, so that the compiler leaves out the code that
//! uses them. With the feature the folder of this file has the real types.

use core::convert::Infallible;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use super::{Handle, Initial};

/// Whether memory can be owned. A condition on this constant keeps code that only a server needs out of an image for a
/// microcontroller.
pub(crate) const OWNED: bool = false;

#[derive(Debug)]
pub(super) struct OwnedSlots<T>(Infallible, PhantomData<T>);

impl<T> OwnedSlots<T> {
    pub(super) fn free_rows(&self) -> FreeRows {
        match self.0 {}
    }

    pub(super) fn limit(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn as_slice(&self) -> &[T] {
        match self.0 {}
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        match self.0 {}
    }

    pub(super) fn places(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn grow_to(&mut self, _: usize) -> bool {
        match self.0 {}
    }

    pub(super) fn reserve(&mut self, _: usize, _: Claim) -> bool {
        match self.0 {}
    }

    pub(super) fn is_in_share(&self, _: usize) -> bool {
        match self.0 {}
    }

    pub(super) fn available_bytes(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn give_back(&mut self) {
        match self.0 {}
    }

    pub(super) fn truncate(&mut self, _: usize) {
        match self.0 {}
    }
}

/// How much is left to others when memory is claimed, which borrowed memory is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Ordinary,
    Share,
    Reserved,
}

#[derive(Debug)]
pub(super) struct FreeRows(Infallible);

impl FreeRows {
    pub(super) fn take(&mut self) -> Option<usize> {
        match self.0 {}
    }

    pub(super) fn put(&mut self, _: usize) {
        match self.0 {}
    }

    pub(super) fn grow_to(&mut self, _: usize) -> bool {
        match self.0 {}
    }

    pub(super) fn clear(&mut self) {
        match self.0 {}
    }

    pub(super) fn look(&mut self, _: bool) -> bool {
        match self.0 {}
    }

    pub(super) fn fill_from_begin(&mut self) {
        match self.0 {}
    }

    pub(super) fn end_without_free(&self, _: usize, _: usize) -> usize {
        match self.0 {}
    }

    pub(super) fn truncate(&mut self, _: usize) {
        match self.0 {}
    }
}

/// Bytes that several brokers share.
#[derive(Clone, Debug)]
pub(crate) struct SharedBytes(Infallible);

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

/// A value that exists only with the feature `alloc`: here it always is the default of its type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnedOnly<T>(PhantomData<T>);

impl<T: Copy + Default> OwnedOnly<T> {
    pub(crate) const fn new(_: T) -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    pub(crate) fn get(self) -> T {
        T::default()
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, _: T) {}
}

/// A value that is kept in place. With the feature `alloc` it is allocated, and only while it is not [`Initial::INITIAL`].
#[derive(Debug)]
pub(crate) struct LazyBox<T>(T);

impl<T: Initial> LazyBox<T> {
    pub(crate) const EMPTY: Self = Self(*T::INITIAL);

    pub(crate) fn get(&self) -> &T {
        &self.0
    }

    /// The value, to be changed.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.0
    }

    /// The value, to be changed. Here it always has memory.
    pub(crate) fn allocated(&mut self) -> Option<&mut T> {
        Some(&mut self.0)
    }

    /// Called when the value is not needed any more.
    pub(crate) fn free(&mut self) {}
}

/// An index that finds entries of a queue by a text. There is none here, because the queues are short enough to be
/// searched.
#[derive(Debug)]
pub(crate) struct QueueIndex<T>(PhantomData<T>);

impl<T> QueueIndex<T> {
    pub(crate) const NONE: Self = Self(PhantomData);

    pub(crate) fn is_made(&self) -> bool {
        false
    }

    pub(crate) fn make<B: AsRef<[u8]>>(&mut self, _: impl Iterator<Item = (Handle<T>, B)>) {}

    pub(crate) fn push(&mut self, _: Handle<T>, _: &[u8]) {}

    pub(crate) fn remove(&mut self, _: Handle<T>, _: Option<Handle<T>>) {}

    pub(crate) fn first(&self, _: &[u8]) -> Option<(Option<Handle<T>>, Handle<T>)> {
        None
    }
}

/// With owned memory a vector; here a list that stays empty, so that pushed entries are not kept.
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

impl<T> AsRef<[T]> for GrowingList<T> {
    fn as_ref(&self) -> &[T] {
        self
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

/// Nothing is kept in a list here, so no place is needed.
pub(crate) fn reserve_an_eighth<T>(_: &mut GrowingList<T>) {}

/// With owned memory an ordered map; here a map that stays empty.
#[derive(Debug)]
pub(crate) struct GrowingMap<K, V>(PhantomData<(K, V)>);

impl<K, V> Default for GrowingMap<K, V> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<K, V> GrowingMap<K, V> {
    pub(crate) fn get(&self, _: &K) -> Option<&V> {
        None
    }

    pub(crate) fn insert(&mut self, _: K, _: V) -> Option<V> {
        None
    }

    pub(crate) fn remove(&mut self, _: &K) -> Option<V> {
        None
    }
}
