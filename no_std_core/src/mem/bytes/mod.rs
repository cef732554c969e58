//! The arena of everything that varies in size.

use core::ops::Range;

#[cfg(feature = "alloc")]
use super::spares::{Memory, Spares, Surplus};
use super::{Handle, Slots, copy};
#[cfg(feature = "alloc")]
use super::{Pool, PoolSlot, SharedBytes};

/// See [`Bytes::with`].
pub(crate) const TEXT_ON_STACK: usize = 256;

/// Bytes in one [`Block`].
pub(crate) const BLOCK: usize = 60;

/// Bytes that each blob in owned memory takes beside its own: its slot, and the counts of its allocation.
#[cfg(feature = "alloc")]
pub(crate) const OWNED_BLOB: usize = size_of::<PoolSlot<Option<Memory>>>() + 2 * size_of::<usize>();
#[cfg(not(feature = "alloc"))]
pub(crate) const OWNED_BLOB: usize = 0;

/// A string of bytes in [`Bytes`]. It is a reference: whoever stored it releases it, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Blob {
    /// None if the blob is empty: then it occupies no memory.
    at: Option<Handle<()>>,
    len: u32,
}

impl Blob {
    /// The blob without bytes. It needs no memory and no release.
    pub const EMPTY: Self = Self { at: None, len: 0 };

    /// Its length in bytes.
    pub const fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it has no bytes.
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The same without its bytes in memory: it shows none, and needs no release.
    #[cfg(feature = "paging")]
    pub(crate) const fn absent(self) -> Self {
        Self::absent_of(self.len)
    }

    /// One of so many bytes that are not in memory.
    #[cfg(feature = "paging")]
    pub(crate) const fn absent_of(len: u32) -> Self {
        Self { at: None, len }
    }

    /// What it is made of, for [`Blob::from_parts`].
    pub(crate) const fn into_parts(self) -> (Option<Handle<()>>, u32) {
        (self.at, self.len)
    }

    /// The blob that had these parts.
    pub(crate) const fn from_parts((at, len): (Option<Handle<()>>, u32)) -> Self {
        Self { at, len }
    }
}

/// 64 bytes of borrowed memory: a blob is a chain of these.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The next block of the same blob, or the next free block.
    next: Option<Handle<Block>>,
    data: [u8; BLOCK],
}

impl Block {
    /// A block as firmware declares it.
    pub const EMPTY: Self = Self { next: None, data: [0; BLOCK] };
}

impl Default for Block {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Strings of bytes, stored once, of any length, up to a limit in all.
///
/// In borrowed memory a blob is a chain of blocks of 60 bytes, so nothing is lost to fragmentation and the limit
/// counts whole blocks. In owned memory a blob is one allocation, and the limit counts the bytes of the blobs.
#[derive(Debug)]
pub struct Bytes<'m>(Kind<'m>);

#[derive(Debug)]
enum Kind<'m> {
    Blocks(Blocks<'m>),
    #[cfg(feature = "alloc")]
    Owned(Owned),
}

impl<'m> Bytes<'m> {
    /// An arena in `blocks`, whatever they hold.
    pub fn borrowed(blocks: &'m mut [Block]) -> Self {
        Self(Kind::Blocks(Blocks { blocks: Slots::borrowed(blocks), free: None, fresh: 0, used: 0 }))
    }

    /// An arena on the heap for `limit` bytes in all.
    #[cfg(feature = "alloc")]
    pub fn owned(limit: usize) -> Self {
        let blobs = Pool::new(Slots::<PoolSlot<_>>::owned(u32::MAX as usize));
        Self(Kind::Owned(Owned { blobs, spares: Spares::default(), used: 0, limit }))
    }

    /// Whether it is on the heap.
    #[cfg(feature = "paging")]
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self.0, Kind::Owned(_))
    }

    /// Bytes in use; in borrowed memory those of whole blocks.
    pub fn used(&self) -> usize {
        match &self.0 {
            Kind::Blocks(blocks) => blocks.used * BLOCK,
            #[cfg(feature = "alloc")]
            Kind::Owned(owned) => owned.used,
        }
    }

    /// Bytes there is room for in all.
    pub fn limit(&self) -> usize {
        match &self.0 {
            Kind::Blocks(blocks) => blocks.blocks.limit().saturating_mul(BLOCK),
            #[cfg(feature = "alloc")]
            Kind::Owned(owned) => owned.limit,
        }
    }

    /// Stores the concatenation of `parts`. None, and nothing stored, if that would exceed the limit.
    pub fn store(&mut self, parts: &[&[u8]]) -> Option<Blob> {
        let len = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(part.len()))?;
        let stored = u32::try_from(len).ok()?;
        if len == 0 {
            return Some(Blob::EMPTY);
        }
        let at = match &mut self.0 {
            Kind::Blocks(blocks) => blocks.store(parts, len)?,
            #[cfg(feature = "alloc")]
            Kind::Owned(owned) => owned.store(parts, len)?,
        };
        Some(Blob { at: Some(at), len: stored })
    }

    /// Stores what was stored before and is needed again, even beyond the limit in owned memory.
    #[cfg(feature = "paging")]
    pub(crate) fn store_beyond(&mut self, bytes: &[u8]) -> Option<Blob> {
        match &mut self.0 {
            Kind::Owned(owned) if !bytes.is_empty() => {
                let len = u32::try_from(bytes.len()).ok()?;
                Some(Blob { at: Some(owned.store_beyond(&[bytes], bytes.len())?), len })
            }
            _ => self.store(&[bytes]),
        }
    }

    /// Gives the memory of `blob` back.
    pub fn release(&mut self, blob: Blob) {
        let Some(at) = blob.at else { return };
        match &mut self.0 {
            Kind::Blocks(blocks) => blocks.release(at),
            #[cfg(feature = "alloc")]
            Kind::Owned(owned) => owned.release(at, blob.len()),
        }
    }

    /// The bytes of `blob` in `range` (cut at its end), in contiguous pieces.
    pub fn chunks(&self, blob: Blob, range: Range<usize>) -> Chunks<'_> {
        let end = range.end.min(blob.len());
        let left = end.saturating_sub(range.start);
        let Some(at) = blob.at.filter(|_| left > 0) else { return Chunks::NONE };
        match &self.0 {
            Kind::Blocks(blocks) => {
                let mut next = Some(at.cast());
                let mut skip = range.start;
                while skip >= BLOCK {
                    next = next.and_then(|handle| blocks.get(handle)).and_then(|block| block.next);
                    skip -= BLOCK;
                }
                Chunks { blocks: blocks.blocks.as_slice(), next, skip, left, whole: None }
            }
            #[cfg(feature = "alloc")]
            Kind::Owned(owned) => Chunks { whole: owned.get(at).get(range.start..end), ..Chunks::NONE },
        }
    }

    /// Copies bytes of `blob`, from `offset` on, to `out`; says how many that were.
    pub fn copy(&self, blob: Blob, offset: usize, out: &mut [u8]) -> usize {
        let mut copied = 0;
        for chunk in self.chunks(blob, offset..offset.saturating_add(out.len())) {
            let Some(target) = out.get_mut(copied..copied + chunk.len()) else { break };
            copy(target, chunk);
            copied += chunk.len();
        }
        copied
    }

    /// Whether `blob` holds exactly `bytes`.
    pub fn equals(&self, blob: Blob, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        blob.len() == bytes.len()
            && self.chunks(blob, 0..bytes.len()).all(|chunk| {
                let Some((head, tail)) = rest.split_at_checked(chunk.len()) else { return false };
                rest = tail;
                head == chunk
            })
    }

    /// Calls `act` with the bytes in one piece. In borrowed memory they are copied to the stack for that; `None` if
    /// they are more than [`TEXT_ON_STACK`] there.
    pub(crate) fn with<R>(&self, blob: Blob, act: impl FnOnce(&[u8]) -> R) -> Option<R> {
        #[cfg(feature = "alloc")]
        if let Some(whole) = self.contiguous(blob) {
            return Some(act(whole));
        }
        let mut copy = [0; TEXT_ON_STACK];
        let space = copy.get_mut(..blob.len())?;
        self.copy(blob, 0, space);
        Some(act(space))
    }

    /// Whether [`Bytes::with`] gives it.
    pub(crate) fn comes_whole(&self, blob: Blob) -> bool {
        blob.len() <= TEXT_ON_STACK || cfg!(feature = "alloc") && self.contiguous(blob).is_some()
    }

    /// The bytes of `blob` in one piece, if they lie so: always in owned memory, else up to 60 bytes.
    pub fn contiguous(&self, blob: Blob) -> Option<&[u8]> {
        if blob.is_empty() {
            return Some(&[]);
        }
        self.chunks(blob, 0..blob.len()).next().filter(|chunk| chunk.len() == blob.len())
    }

    /// The bytes of `blob` to be held beyond its release: without copying if they are on the heap already.
    /// None if there is no such blob.
    #[cfg(feature = "alloc")]
    pub fn share(&self, blob: Blob) -> Option<SharedBytes> {
        match (&self.0, blob.at) {
            (Kind::Owned(owned), Some(at)) => owned.shared(at, blob.len()),
            _ => {
                let memory = Spares::default().store(self.chunks(blob, 0..blob.len()), blob.len());
                Some(SharedBytes::new(memory, blob.len()))
            }
        }
    }

    /// The concatenation of `parts` on the heap, stored nowhere. None in borrowed memory.
    #[cfg(feature = "alloc")]
    pub(crate) fn make_shared(&mut self, parts: &[&[u8]]) -> Option<SharedBytes> {
        let len = parts.iter().map(|part| part.len()).sum();
        match &mut self.0 {
            Kind::Owned(owned) => Some(SharedBytes::new(owned.spares.store(parts.iter().copied(), len), len)),
            Kind::Blocks(_) => None,
        }
    }

    /// Memory that there is more of than is needed here.
    #[cfg(feature = "alloc")]
    pub(crate) fn take_surplus(&mut self) -> Surplus {
        match &mut self.0 {
            Kind::Owned(owned) => owned.spares.take_surplus(),
            Kind::Blocks(_) => Surplus::default(),
        }
    }

    /// Memory that another has more of than it needs: used for what is stored next, within the limit.
    #[cfg(feature = "alloc")]
    pub(crate) fn put_surplus(&mut self, surplus: Surplus) {
        if let Kind::Owned(owned) = &mut self.0 {
            owned.spares.put_surplus(surplus, owned.limit.saturating_sub(owned.used));
        }
    }

    /// Stores bytes that are on the heap already: without copying in owned memory. None beyond the limit.
    #[cfg(feature = "alloc")]
    pub fn adopt(&mut self, bytes: SharedBytes) -> Option<Blob> {
        match &mut self.0 {
            Kind::Owned(owned) if !bytes.is_empty() => {
                let len = u32::try_from(bytes.len()).ok()?;
                Some(Blob { at: Some(owned.adopt(bytes)?), len })
            }
            _ => self.store(&[&bytes]),
        }
    }
}

/// Contiguous pieces of a blob; see [`Bytes::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    blocks: &'a [Block],
    next: Option<Handle<Block>>,
    /// Bytes of the next block that are not wanted.
    skip: usize,
    /// Bytes still wanted from blocks.
    left: usize,
    /// The only piece, in owned memory.
    whole: Option<&'a [u8]>,
}

impl Chunks<'_> {
    const NONE: Self = Self { blocks: &[], next: None, skip: 0, left: 0, whole: None };
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return self.whole.take();
        }
        let block = self.blocks.get(self.next?.index())?;
        let end = BLOCK.min(self.skip + self.left);
        let chunk = block.data.get(self.skip..end)?;
        self.next = block.next;
        self.skip = 0;
        self.left -= chunk.len();
        Some(chunk)
    }
}

/// Borrowed memory: blocks with a free list.
#[derive(Debug)]
struct Blocks<'m> {
    blocks: Slots<'m, Block>,
    free: Option<Handle<Block>>,
    /// Blocks that were ever used: those from here on are not in the free list.
    fresh: usize,
    /// Blocks in use.
    used: usize,
}

impl Blocks<'_> {
    fn get(&self, handle: Handle<Block>) -> Option<&Block> {
        self.blocks.as_slice().get(handle.index())
    }

    fn get_mut(&mut self, handle: Handle<Block>) -> Option<&mut Block> {
        self.blocks.as_mut_slice().get_mut(handle.index())
    }

    fn store(&mut self, parts: &[&[u8]], len: usize) -> Option<Handle<()>> {
        if len.div_ceil(BLOCK) > self.blocks.limit() - self.used {
            return None;
        }
        let first = self.take()?;
        let (mut block, mut filled) = (first, 0);
        for part in parts {
            let mut part = *part;
            while !part.is_empty() {
                if filled == BLOCK {
                    let next = self.take()?;
                    self.get_mut(block)?.next = Some(next);
                    (block, filled) = (next, 0);
                }
                let (head, tail) = part.split_at_checked(BLOCK - filled).unwrap_or((part, &[]));
                copy(self.get_mut(block)?.data.get_mut(filled..)?, head);
                filled += head.len();
                part = tail;
            }
        }
        Some(first.cast())
    }

    /// A block with no other behind it. There is one as long as `used` is below the limit.
    fn take(&mut self) -> Option<Handle<Block>> {
        let handle = match self.free {
            Some(handle) => handle,
            None => Handle::from_index(self.fresh),
        };
        let block = self.get_mut(handle)?;
        let next = block.next.take();
        match self.free {
            Some(_) => self.free = next,
            None => self.fresh += 1,
        }
        self.used += 1;
        Some(handle)
    }

    fn release(&mut self, at: Handle<()>) {
        let mut next = Some(at.cast());
        while let Some(handle) = next {
            let free = self.free;
            let Some(block) = self.get_mut(handle) else { return };
            next = core::mem::replace(&mut block.next, free);
            self.free = Some(handle);
            self.used = self.used.saturating_sub(1);
        }
    }
}

/// Owned memory: a slab of allocations.
#[cfg(feature = "alloc")]
#[derive(Debug)]
struct Owned {
    blobs: Pool<'static, Option<Memory>>,
    spares: Spares,
    used: usize,
    limit: usize,
}

#[cfg(feature = "alloc")]
impl Owned {
    /// With what may stand behind the blob.
    fn get(&self, at: Handle<()>) -> &[u8] {
        self.blobs[at.cast()].as_deref().unwrap_or(&[])
    }

    fn shared(&self, at: Handle<()>, len: usize) -> Option<SharedBytes> {
        Some(SharedBytes::new(self.blobs[at.cast()].clone()?, len))
    }

    fn store(&mut self, parts: &[&[u8]], len: usize) -> Option<Handle<()>> {
        self.make_room(len)?;
        self.store_beyond(parts, len)
    }

    fn store_beyond(&mut self, parts: &[&[u8]], len: usize) -> Option<Handle<()>> {
        let memory = self.spares.store(parts.iter().copied(), len);
        self.insert(memory, len)
    }

    fn adopt(&mut self, bytes: SharedBytes) -> Option<Handle<()>> {
        let len = bytes.len();
        self.make_room(len)?;
        self.insert(bytes.into_memory(), len)
    }

    /// Whether there is room for so much more. What is spare gives way to what is needed.
    fn make_room(&mut self, len: usize) -> Option<()> {
        let room = self.limit.checked_sub(self.used)?.checked_sub(len)?;
        if self.spares.bytes() > room {
            self.spares.clear();
        }
        Some(())
    }

    fn insert(&mut self, memory: Memory, len: usize) -> Option<Handle<()>> {
        let at = self.blobs.insert(Some(memory))?;
        self.used += len;
        Some(at.cast())
    }

    fn release(&mut self, at: Handle<()>, len: usize) {
        if let Some(memory) = self.blobs.remove(at.cast()) {
            self.used = self.used.saturating_sub(len);
            self.spares.put(memory, self.limit.saturating_sub(self.used));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::testing::Random;
    use super::*;

    /// Runs `test` on both kinds of memory, with room for `blocks` times 60 bytes.
    fn with_bytes(blocks: usize, mut test: impl FnMut(Bytes<'_>)) {
        let mut memory = std::vec![Block::EMPTY; blocks];
        test(Bytes::borrowed(&mut memory));
        #[cfg(feature = "alloc")]
        test(Bytes::owned(blocks * BLOCK));
    }

    #[test]
    fn what_was_stored_comes_back_until_it_is_released() {
        with_bytes(40, |mut bytes| {
            let mut random = Random::new(7);
            let mut model: Vec<(Blob, Vec<u8>)> = Vec::new();
            let mut refused = 0;
            for step in 0..5_000 {
                if random.below(100) < if step / 250 % 2 == 0 { 60 } else { 40 } {
                    let text: Vec<u8> = (0..random.below(400)).map(|_| random.next() as u8).collect();
                    let (one, rest) = text.split_at(random.below(text.len() + 1));
                    let (two, three) = rest.split_at(random.below(rest.len() + 1));
                    let before = bytes.used();
                    match bytes.store(&[one, two, three]) {
                        Some(blob) => model.push((blob, text)),
                        None => {
                            assert_eq!(bytes.used(), before);
                            refused += 1;
                        }
                    }
                } else if !model.is_empty() {
                    let (blob, _) = model.swap_remove(random.below(model.len()));
                    bytes.release(blob);
                }
                if let Some((blob, text)) = random.choose(model.iter()) {
                    assert_eq!(blob.len(), text.len());
                    assert!(bytes.equals(*blob, text));
                    let (start, end) = (random.below(text.len() + 2), random.below(text.len() + 9));
                    let pieces: Vec<_> = bytes.chunks(*blob, start..end).collect();
                    assert!(pieces.iter().all(|piece| !piece.is_empty()));
                    let end = end.min(text.len());
                    assert_eq!(pieces.concat(), text.get(start..end).unwrap_or(&[]));
                    let mut out = [0; 100];
                    let copied = bytes.copy(*blob, start, &mut out);
                    assert_eq!(out[..copied], text[start.min(text.len())..(start + 100).min(text.len())]);
                    if let Some(whole) = bytes.contiguous(*blob) {
                        assert_eq!(whole, text);
                    } else {
                        assert!(text.len() > BLOCK);
                    }
                }
                let stored: usize = model.iter().map(|(_, text)| text.len()).sum();
                assert!(bytes.used() >= stored && bytes.used() <= bytes.limit());
            }
            assert!(refused > 0, "the limit was never met");
            for (blob, _) in model {
                bytes.release(blob);
            }
            assert_eq!(bytes.used(), 0);
            let all = std::vec![1; bytes.limit()];
            assert!(bytes.store(&[&all, &[0]]).is_none());
            let whole = bytes.store(&[&all]).unwrap();
            assert_eq!(bytes.used(), bytes.limit());
            assert!(bytes.store(&[&[0]]).is_none());
            assert!(bytes.equals(whole, &all));
        });
    }

    #[test]
    fn nothing_needs_no_memory() {
        with_bytes(0, |mut bytes| {
            assert_eq!(bytes.store(&[]), Some(Blob::EMPTY));
            let blob = bytes.store(&[&[], &[]]).unwrap();
            assert!(blob.is_empty() && bytes.equals(blob, &[]) && !bytes.equals(blob, &[0]));
            assert_eq!(bytes.contiguous(blob), Some(&[][..]));
            bytes.release(blob);
            assert!(bytes.store(&[&[0]]).is_none());
        });
    }

    #[test]
    fn texts_of_equal_length_are_told_apart() {
        with_bytes(10, |mut bytes| {
            let mut text = [b'x'; 150];
            let blob = bytes.store(&[&text]).unwrap();
            for at in [0, 59, 60, 149] {
                text[at] = b'y';
                assert!(!bytes.equals(blob, &text));
                text[at] = b'x';
            }
            assert!(bytes.equals(blob, &text));
        });
    }

    #[test]
    fn memory_that_was_used_before_is_as_good_as_new() {
        let mut memory = [Block { next: Some(Handle::from_index(0)), data: [9; BLOCK] }; 3];
        let mut bytes = Bytes::borrowed(&mut memory);
        let blob = bytes.store(&[&[1; 100]]).unwrap();
        assert!(bytes.equals(blob, &[1; 100]));
        bytes.release(blob);
        assert!(bytes.store(&[&[2; 180]]).is_some());
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn shared_bytes_outlive_their_blob() {
        with_bytes(10, |mut bytes| {
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
        });
        let mut bytes = Bytes::owned(100);
        let shared = SharedBytes::new(b"abc".as_slice().into(), 3);
        let blob = bytes.adopt(shared.clone()).unwrap();
        assert_eq!(bytes.share(blob).unwrap().as_ptr(), shared.as_ptr(), "no copy in owned memory");
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn spare_memory_is_within_the_limit_and_gives_way() {
        let mut bytes = Bytes::owned(1_000);
        let spare = |bytes: &Bytes<'_>| match &bytes.0 {
            Kind::Owned(owned) => owned.spares.bytes(),
            Kind::Blocks(_) => 0,
        };
        let first = bytes.store(&[&[1; 400]]).unwrap();
        bytes.release(first);
        assert!((400..500).contains(&spare(&bytes)));
        // Of another size, so that it does not take that.
        let second = bytes.store(&[&[2; 700]]).unwrap();
        assert_eq!(spare(&bytes), 0);
        let third = bytes.store(&[&[3; 250]]).unwrap();
        bytes.release(second);
        bytes.release(third);
        assert!(spare(&bytes) <= 1_000 && spare(&bytes) > 0);
    }
}
