//! Values that a program shares with a broker, so that it need not leak memory.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Lent;

pub(crate) use alloc::sync::Arc as Shared;

impl<T: ?Sized> From<Arc<T>> for Lent<'_, T> {
    fn from(value: Arc<T>) -> Self {
        Self::shared(value)
    }
}

impl<T> From<Vec<T>> for Lent<'_, [T]> {
    fn from(values: Vec<T>) -> Self {
        Self::shared(values.into())
    }
}

impl From<String> for Lent<'_, str> {
    fn from(text: String) -> Self {
        Self::shared(text.into())
    }
}
