//! Without the feature `alloc` nothing is shared with a broker. The type of shared values has no values then, so that the compiler
//! leaves out all code for them.

use core::convert::Infallible;
use core::marker::PhantomData;
use core::ops::Deref;

pub(crate) struct Shared<T: ?Sized>(Infallible, PhantomData<T>);

impl<T: ?Sized> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self.0 {}
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.0 {}
    }
}
