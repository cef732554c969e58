//! Without the feature `alloc` no bytes are shared beyond the memory of one broker.

use super::{Blob, Bytes};
use crate::mem::SharedBytes;

impl Bytes<'_> {
    /// None: there is nowhere to share them.
    pub(crate) fn share(&self, _: Blob) -> Option<SharedBytes> {
        None
    }

    /// Nobody has any to be adopted.
    pub(crate) fn adopt(&mut self, _: SharedBytes) -> Option<Blob> {
        None
    }
}
