//! Memory for everything that varies in length: texts, and bodies of messages.

mod blocks;
#[cfg_attr(not(feature = "alloc"), path = "not_owned.rs")]
mod owned;

use core::ops::Range;

use super::{Claim, Handle, OWNED, copy};
pub use blocks::Block;
use blocks::{BlockChunks, Blocks};
pub(crate) use owned::OWNED_BLOB;
use owned::OwnedBytes;

/// The longest text in borrowed memory with which [`Bytes::with`] calls its function.
pub(crate) const TEXT_ON_STACK: usize = 256;

/// The number of bytes in one [`Block`].
pub(crate) const BLOCK: usize = 60;

/// A string of bytes in [`Bytes`]. It is a reference: the owner has to release it, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// Where the bytes are; `None` if the blob is empty and occupies no memory.
    at: Option<Handle<()>>,
    len: u32,
}

impl Blob {
    /// The blob without bytes. It needs no memory and no release.
    pub const EMPTY: Self = Self { at: None, len: 0 };

    /// The length in bytes.
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether the blob has no bytes.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The parts of a blob, for [`Blob::from_parts`].
    pub(crate) const fn into_parts(self) -> (Option<Handle<()>>, u32) {
        (self.at, self.len)
    }

    /// The blob with these parts.
    pub(crate) const fn from_parts((at, len): (Option<Handle<()>>, u32)) -> Self {
        Self { at, len }
    }
}

/// Strings of bytes of any length, up to a limit in all.
///
/// In borrowed memory a blob is a chain of blocks of 60 bytes, so no memory is lost to fragmentation, and the limit
/// counts whole blocks. In owned memory a blob is one allocation, and the limit counts the bytes of the blobs.
#[derive(Debug)]
pub struct Bytes<'m>(Store<'m>);

/// Where the bytes are stored.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody makes owned memory without the feature alloc")]
enum Store<'m> {
    Borrowed(Blocks<'m>),
    Owned(OwnedBytes),
}

impl<'m> Bytes<'m> {
    /// An empty store in `blocks`, whatever their contents are.
    pub fn borrowed(blocks: &'m mut [Block]) -> Self {
        Self(Store::Borrowed(Blocks::new(blocks)))
    }

    /// The number of bytes in use. In borrowed memory whole blocks are counted.
    pub fn used(&self) -> usize {
        match &self.0 {
            Store::Borrowed(blocks) => blocks.used(),
            Store::Owned(owned) => owned.used(),
        }
    }

    /// The number of bytes for which there is room in all.
    pub fn limit(&self) -> usize {
        match &self.0 {
            Store::Borrowed(blocks) => blocks.limit(),
            Store::Owned(owned) => owned.limit(),
        }
    }

    /// Whether what is stored now, and whatever else is claimed from the same ceiling, was there before a restart.
    pub(crate) fn set_restoring(&self, is_restoring: bool) {
        if let Store::Owned(owned) = &self.0 {
            owned.set_restoring(is_restoring);
        }
    }

    /// Whether [`Bytes::store`] would take `len` bytes, which then stays so until some are stored. Below a ceiling they are claimed now.
    #[inline]
    pub(crate) fn has_room(&mut self, len: usize, claim: Claim) -> bool {
        match &mut self.0 {
            Store::Borrowed(blocks) => blocks.limit().saturating_sub(blocks.used()) >= len,
            Store::Owned(owned) => owned.has_room(len, claim),
        }
    }

    /// Whether there is memory for so many blobs with so many bytes together, which then stays so until some are stored.
    pub(crate) fn make_room(&mut self, blobs: usize, len: usize, claim: Claim) -> bool {
        match &mut self.0 {
            Store::Borrowed(_) => true,
            Store::Owned(owned) => owned.make_room_for(blobs, len, claim),
        }
    }

    /// Stores `bytes`, unless the ceiling refuses memory for these. Borrowed memory has no ceiling.
    #[inline(always)]
    pub(crate) fn store_claimed(&mut self, bytes: &[u8], claim: Claim) -> Option<Blob> {
        if OWNED && !self.has_room(bytes.len(), claim) {
            return None;
        }
        self.store(&[bytes])
    }

    /// Stores the bytes of all `parts` together. `None`, and nothing is stored, if there is no room.
    pub fn store(&mut self, parts: &[&[u8]]) -> Option<Blob> {
        let len = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len()))?;
        let stored = u32::try_from(len).ok()?;
        if len == 0 {
            return Some(Blob::EMPTY);
        }
        let at = match &mut self.0 {
            Store::Borrowed(blocks) => blocks.store(parts, len)?,
            Store::Owned(owned) => owned.store(parts, len)?,
        };
        Some(Blob { at: Some(at), len: stored })
    }

    /// Frees the memory of `blob`.
    pub fn release(&mut self, blob: Blob) {
        let Some(at) = blob.at else { return };
        match &mut self.0 {
            Store::Borrowed(blocks) => blocks.release(at),
            Store::Owned(owned) => owned.release(at, blob.len()),
        }
    }

    /// The bytes of `blob` in `range`, which is cut at the end of the blob, in contiguous pieces.
    pub fn chunks(&self, blob: Blob, range: Range<usize>) -> Chunks<'_> {
        let end = range.end.min(blob.len());
        let Some(at) = blob.at.filter(|_| range.start < end) else { return Chunks::NONE };
        match &self.0 {
            Store::Borrowed(blocks) => Chunks { blocks: blocks.chunks(at, range.start..end), ..Chunks::NONE },
            Store::Owned(owned) => Chunks { whole: owned.get(at).get(range.start..end), ..Chunks::NONE },
        }
    }

    /// Copies the bytes of `blob` from `offset` on to `out`. Returns how many bytes were copied.
    pub fn copy(&self, blob: Blob, offset: usize, out: &mut [u8]) -> usize {
        let mut copied: usize = 0;
        for chunk in self.chunks(blob, offset..offset.saturating_add(out.len())) {
            let end = copied.saturating_add(chunk.len());
            let Some(target) = out.get_mut(copied..end) else { break };
            copy(target, chunk);
            copied = end;
        }
        copied
    }

    /// Whether the bytes of `blob` are exactly `bytes`.
    pub fn equals(&self, blob: Blob, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        blob.len() == bytes.len()
            && self.chunks(blob, 0..bytes.len()).all(|chunk| {
                let Some((head, tail)) = rest.split_at_checked(chunk.len()) else { return false };
                rest = tail;
                head == chunk
            })
    }

    /// Calls `act` with the bytes in one piece. In borrowed memory the bytes are copied to the stack; `None` if they
    /// are more than [`TEXT_ON_STACK`].
    pub(crate) fn with<R>(&self, blob: Blob, act: impl FnOnce(&[u8]) -> R) -> Option<R> {
        if OWNED && let Some(whole) = self.contiguous(blob) {
            return Some(act(whole));
        }
        let mut copy = [0; TEXT_ON_STACK];
        let space = copy.get_mut(..blob.len())?;
        self.copy(blob, 0, space);
        Some(act(space))
    }

    /// Whether [`Bytes::with`] would call its function with this blob.
    pub(crate) fn comes_whole(&self, blob: Blob) -> bool {
        blob.len() <= TEXT_ON_STACK || OWNED && self.contiguous(blob).is_some()
    }

    /// The bytes of `blob`, if they are stored in one piece: always in owned memory, otherwise up to 60 bytes.
    pub fn contiguous(&self, blob: Blob) -> Option<&[u8]> {
        if blob.is_empty() {
            return Some(&[]);
        }
        self.chunks(blob, 0..blob.len()).next().filter(|chunk| chunk.len() == blob.len())
    }
}

/// Contiguous pieces of a blob; see [`Bytes::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    /// The pieces in borrowed memory.
    blocks: BlockChunks<'a>,
    /// The only piece, in owned memory.
    whole: Option<&'a [u8]>,
}

impl Chunks<'_> {
    const NONE: Self = Self { blocks: BlockChunks::NONE, whole: None };
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.blocks.is_at_end() { self.whole.take() } else { self.blocks.next() }
    }
}

#[cfg(test)]
mod tests;
