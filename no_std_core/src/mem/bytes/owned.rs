//! Bytes in owned memory: each blob has an allocation of its own.

use super::{Blob, Bytes, Store};
use crate::mem::heap::{BufferPool, HeapBuffer, MemoryAccount, SpareBuffers};
use crate::mem::{Claim, Handle, Pool, PoolSlot, SharedBytes, Slots};

/// How many bytes a blob needs besides its own: its slot, and the counts of its allocation.
pub(crate) const OWNED_BLOB: usize = size_of::<PoolSlot<Option<HeapBuffer>>>() + 2 * size_of::<usize>();

/// Buffers with one blob each, and spare buffers for further blobs.
#[derive(Debug)]
pub(super) struct OwnedBytes {
    blobs: Pool<'static, Option<HeapBuffer>>,
    spare: BufferPool,
    used: usize,
    limit: usize,
}

impl OwnedBytes {
    fn new(limit: usize) -> Self {
        let blobs = Pool::new(Slots::<PoolSlot<_>>::owned(u32::MAX as usize));
        Self { blobs, spare: BufferPool::new(MemoryAccount::UNBOUNDED), used: 0, limit }
    }

    fn under(limit: usize, account: MemoryAccount) -> Self {
        let mut blobs = Slots::<PoolSlot<_>>::owned(u32::MAX as usize);
        blobs.set_account(account.clone());
        Self { blobs: Pool::new(blobs), spare: BufferPool::new(account), used: 0, limit }
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The buffer of a blob, which may be longer than the blob.
    pub(super) fn get(&self, at: Handle<()>) -> &[u8] {
        self.blobs[at.cast()].as_deref().unwrap_or(&[])
    }

    /// Whether `len` bytes would be stored. The answer holds until something is stored.
    #[inline]
    pub(super) fn has_room(&mut self, len: usize, claim: Claim) -> bool {
        self.limit.saturating_sub(self.used) >= len
            && self.blobs.reserve(self.blobs.len().saturating_add(1), claim)
            && self.spare.has_room(len, claim)
    }

    pub(super) fn set_restoring(&self, is_restoring: bool) {
        let account = self.spare.account();
        if is_restoring { account.begin_restoring() } else { account.end_restoring() }
    }

    pub(super) fn make_room_for(&mut self, blobs: usize, len: usize, claim: Claim) -> bool {
        // Beside the bytes of its blob a buffer takes less than that.
        let all = len.saturating_add(blobs.saturating_mul(64));
        self.blobs.reserve(self.blobs.len().saturating_add(blobs), claim) && self.spare.has_room(all, claim)
    }

    /// Stores `parts`, in the reserve if need be: whoever stores many bytes has asked [`OwnedBytes::has_room`] before.
    pub(super) fn store(&mut self, parts: &[&[u8]], len: usize) -> Option<Handle<()>> {
        self.make_room(len)?;
        self.store_beyond(parts, len, Claim::Reserved)
    }

    #[inline(always)]
    fn store_beyond(&mut self, parts: &[&[u8]], len: usize, claim: Claim) -> Option<Handle<()>> {
        if self.blobs.len() >= self.blobs.places() && !self.blobs.reserve(self.blobs.len().saturating_add(1), claim) {
            return None;
        }
        let buffer = self.spare.store(parts.iter().copied(), len, claim)?;
        self.insert(buffer, len)
    }

    fn adopt(&mut self, bytes: SharedBytes) -> Option<Handle<()>> {
        let len = bytes.len();
        self.make_room(len)?;
        let buffer = bytes.into_buffer();
        let has_place = self.blobs.len() < self.blobs.places() || self.blobs.has_room(0);
        if !has_place || !self.spare.adopt(&buffer, Claim::Reserved) {
            return None;
        }
        self.insert(buffer, len)
    }

    fn shared(&self, at: Handle<()>, len: usize) -> Option<SharedBytes> {
        Some(SharedBytes::new(self.blobs[at.cast()].clone()?, len))
    }

    /// Frees spare buffers if there is no room for `len` more bytes beside these. `None` if the limit does not allow so many bytes.
    fn make_room(&mut self, len: usize) -> Option<()> {
        let room = self.limit.checked_sub(self.used)?.checked_sub(len)?;
        if self.spare.bytes() > room {
            self.spare.clear();
        }
        Some(())
    }

    fn insert(&mut self, buffer: HeapBuffer, len: usize) -> Option<Handle<()>> {
        let at = self.blobs.insert(Some(buffer))?;
        self.used = self.used.saturating_add(len);
        Some(at.cast())
    }

    pub(super) fn release(&mut self, at: Handle<()>, len: usize) {
        if let Some(buffer) = self.blobs.remove(at.cast()) {
            self.used = self.used.saturating_sub(len);
            self.spare.put(buffer, self.limit.saturating_sub(self.used));
        }
    }
}

/// Functions that need owned memory, or are of use only with it.
impl Bytes<'_> {
    /// An empty store on the heap, for `limit` bytes in all.
    pub fn owned(limit: usize) -> Self {
        Self(Store::Owned(OwnedBytes::new(limit)))
    }

    /// Gives back memory of the table of blobs; see [`Pool::give_back`]. Spare buffers stay: they are bounded, and are freed for new blobs.
    pub(crate) fn give_back(&mut self) {
        if let Store::Owned(owned) = &mut self.0 {
            owned.blobs.give_back(0);
        }
    }

    /// The same bytes, whose memory is claimed from `account`. Nothing may be stored yet. Borrowed memory stays as it is.
    pub(crate) fn under(self, account: MemoryAccount) -> Self {
        match self.0 {
            Store::Owned(owned) => Self(Store::Owned(OwnedBytes::under(owned.limit, account))),
            Store::Borrowed(_) => self,
        }
    }

    /// The account from which the bytes are claimed; `None` in borrowed memory.
    pub(crate) fn account(&self) -> Option<&MemoryAccount> {
        match &self.0 {
            Store::Owned(owned) => Some(owned.spare.account()),
            Store::Borrowed(_) => None,
        }
    }

    /// The bytes of `blob`, to be used even after its release. They are not copied if they are on the heap already.
    /// `None` if there is no such blob.
    pub fn share(&self, blob: Blob) -> Option<SharedBytes> {
        match (&self.0, blob.into_parts().0) {
            (Store::Owned(owned), Some(at)) => owned.shared(at, blob.len()),
            _ => {
                let mut unbounded = BufferPool::new(MemoryAccount::UNBOUNDED);
                let buffer = unbounded.store(self.chunks(blob, 0..blob.len()), blob.len(), Claim::Ordinary)?;
                Some(SharedBytes::new(buffer, blob.len()))
            }
        }
    }

    /// Stores bytes that are on the heap already, in owned memory without a copy. `None` if there is no room.
    pub fn adopt(&mut self, bytes: SharedBytes) -> Option<Blob> {
        match &mut self.0 {
            Store::Owned(owned) if !bytes.is_empty() => {
                let len = u32::try_from(bytes.len()).ok()?;
                Some(Blob::from_parts((Some(owned.adopt(bytes)?), len)))
            }
            _ => self.store(&[&bytes]),
        }
    }

    /// The bytes of all `parts` together on the heap, stored in no blob. `None` in borrowed memory.
    pub(crate) fn make_shared(&mut self, parts: &[&[u8]]) -> Option<SharedBytes> {
        let len = parts.iter().map(|part| part.len()).sum();
        match &mut self.0 {
            Store::Owned(owned) => {
                let buffer = owned.spare.store(parts.iter().copied(), len, Claim::Share)?;
                owned.spare.give_away(&buffer);
                Some(SharedBytes::new(buffer, len))
            }
            Store::Borrowed(_) => None,
        }
    }

    /// Removes the buffers that this shard does not need. They are given to another shard.
    pub(crate) fn take_spare_buffers(&mut self) -> SpareBuffers {
        match &mut self.0 {
            Store::Owned(owned) => owned.spare.take_spare(),
            Store::Borrowed(_) => SpareBuffers::default(),
        }
    }

    /// Keeps buffers that another shard did not need, within the limit, for later blobs.
    pub(crate) fn put_spare_buffers(&mut self, buffers: SpareBuffers) {
        if let Store::Owned(owned) = &mut self.0 {
            owned.spare.put_spare(buffers, owned.limit.saturating_sub(owned.used));
        }
    }
}

/// Functions that only bodies on disk need.
mod paged {
    use super::*;

    impl Bytes<'_> {
        /// Whether the bytes are on the heap.
        pub(crate) fn is_owned(&self) -> bool {
            matches!(self.0, Store::Owned(_))
        }

        /// Stores bytes again that were stored before, in owned memory even beyond the limit.
        pub(crate) fn store_beyond(&mut self, bytes: &[u8]) -> Option<Blob> {
            match &mut self.0 {
                Store::Owned(owned) if !bytes.is_empty() => {
                    let len = u32::try_from(bytes.len()).ok()?;
                    Some(Blob::from_parts((Some(owned.store_beyond(&[bytes], bytes.len(), Claim::Anyway)?), len)))
                }
                _ => self.store(&[bytes]),
            }
        }
    }

    impl Blob {
        /// The same blob without its bytes in memory: it shows none, and needs no release.
        pub(crate) const fn absent(self) -> Self {
            Self::absent_of(self.into_parts().1)
        }

        /// A blob of so many bytes that are not in memory.
        pub(crate) const fn absent_of(len: u32) -> Self {
            Self::from_parts((None, len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_bytes_outlive_their_blob() {
        let mut blocks = [crate::mem::Block::EMPTY; 10];
        for mut bytes in [Bytes::borrowed(&mut blocks), Bytes::owned(600)] {
            let blob = bytes.store(&[b"payload of ", &[b'x'; 100]]).unwrap();
            let shared = bytes.share(blob).unwrap();
            assert!(bytes.equals(blob, &shared));
            bytes.release(blob);
            assert_eq!((shared.len(), bytes.used()), (111, 0));
            let adopted = bytes.adopt(shared.clone()).unwrap();
            assert!(bytes.equals(adopted, &shared));
            let too_long = SharedBytes::new(std::vec![0; 601].into(), 601);
            assert!(bytes.adopt(too_long).is_none());
            assert_eq!(bytes.share(Blob::EMPTY).unwrap().len(), 0);
        }
        let mut bytes = Bytes::owned(100);
        let shared = SharedBytes::new(b"abc".as_slice().into(), 3);
        let blob = bytes.adopt(shared.clone()).unwrap();
        assert_eq!(bytes.share(blob).unwrap().as_ptr(), shared.as_ptr(), "no copy in owned memory");
    }

    #[test]
    fn spare_buffers_are_within_the_limit_and_are_freed_for_new_blobs() {
        let mut bytes = Bytes::owned(1_000);
        let spare = |bytes: &Bytes<'_>| match &bytes.0 {
            Store::Owned(owned) => owned.spare.bytes(),
            Store::Borrowed(_) => 0,
        };
        let first = bytes.store(&[&[1; 400]]).unwrap();
        bytes.release(first);
        assert!((400..500).contains(&spare(&bytes)));
        // This blob has another length, so that it does not use the spare buffer.
        let second = bytes.store(&[&[2; 700]]).unwrap();
        assert_eq!(spare(&bytes), 0);
        let third = bytes.store(&[&[3; 250]]).unwrap();
        bytes.release(second);
        bytes.release(third);
        assert!(spare(&bytes) <= 1_000 && spare(&bytes) > 0);
    }
}
