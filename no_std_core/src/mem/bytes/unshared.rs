//! Without the feature `alloc` brokers do not share bytes with each other.

use super::{Blob, Bytes};
use crate::mem::SharedBytes;

impl Bytes<'_> {
    /// Always `None`: brokers share no bytes here.
    pub(crate) fn share(&self, _: Blob) -> Option<SharedBytes> {
        None
    }

    /// Always `None`: there are no shared bytes.
    pub(crate) fn adopt(&mut self, _: SharedBytes) -> Option<Blob> {
        None
    }
}
