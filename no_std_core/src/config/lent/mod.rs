//! Texts and lists of a configuration: lent to the broker, or shared with it.

#[cfg_attr(not(feature = "alloc"), path = "unshared.rs")]
mod shared;

use core::ops::Deref;

pub(crate) use shared::Shared;

/// A value that is lent to a broker for its life or, with the feature `alloc`, shared with it, so that a program need not leak memory.
///
/// A reference can be converted by `into()`; with the feature `alloc` also an `Arc`, a `Vec` and a `String`.
pub struct Lent<'m, T: ?Sized>(Held<'m, T>);

enum Held<'m, T: ?Sized> {
    Borrowed(&'m T),
    Shared(Shared<T>),
}

impl<'m, T: ?Sized> Lent<'m, T> {
    /// A value that is lent.
    pub const fn new(value: &'m T) -> Self {
        Self(Held::Borrowed(value))
    }

    /// A value that is shared.
    const fn shared(value: Shared<T>) -> Self {
        Self(Held::Shared(value))
    }
}

impl<T: ?Sized> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Held::Borrowed(value) => value,
            Held::Shared(value) => value,
        }
    }
}

// Not derived, because a derived impl would require `T: Clone`.
impl<T: ?Sized> Clone for Lent<'_, T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Held::Borrowed(value) => Held::Borrowed(value),
            Held::Shared(value) => Held::Shared(value.clone()),
        })
    }
}

impl<T: ?Sized + core::fmt::Debug> core::fmt::Debug for Lent<'_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

impl<'m, T: ?Sized> From<&'m T> for Lent<'m, T> {
    fn from(value: &'m T) -> Self {
        Self::new(value)
    }
}
