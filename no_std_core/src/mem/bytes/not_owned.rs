//! Without the feature `alloc` no bytes are in owned memory, and brokers do not share bytes with each other.

use core::convert::Infallible;

use super::{Blob, Bytes};
use crate::mem::{Claim, Handle, SharedBytes};

/// How many bytes each blob in owned memory needs besides its own.
pub(crate) const OWNED_BLOB: usize = 0;

#[derive(Debug)]
pub(super) struct OwnedBytes(Infallible);

impl OwnedBytes {
    pub(super) fn used(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn limit(&self) -> usize {
        match self.0 {}
    }

    pub(super) fn get(&self, _: Handle<()>) -> &[u8] {
        match self.0 {}
    }

    pub(super) fn has_room(&mut self, _: usize, _: Claim) -> bool {
        match self.0 {}
    }

    pub(super) fn set_restoring(&self, _: bool) {
        match self.0 {}
    }

    pub(super) fn make_room_for(&mut self, _: usize, _: usize, _: Claim) -> bool {
        match self.0 {}
    }

    pub(super) fn store(&mut self, _: &[&[u8]], _: usize) -> Option<Handle<()>> {
        match self.0 {}
    }

    pub(super) fn release(&mut self, _: Handle<()>, _: usize) {
        match self.0 {}
    }
}

impl Bytes<'_> {
    /// Borrowed memory is not given back.
    pub(crate) fn give_back(&mut self) {}

    /// Always `None`: brokers share no bytes here.
    pub(crate) fn share(&self, _: Blob) -> Option<SharedBytes> {
        None
    }

    /// Always `None`: there are no shared bytes.
    pub(crate) fn adopt(&mut self, _: SharedBytes) -> Option<Blob> {
        None
    }
}
