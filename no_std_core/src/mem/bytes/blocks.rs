//! Bytes in borrowed memory, kept in chains of blocks.

use core::ops::Range;

use super::BLOCK;
use crate::mem::{Handle, Slots, copy, one_less, one_more};

/// A block of 64 bytes of borrowed memory. The bytes of a blob are in a chain of blocks.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The next block of the same blob, or the next free block.
    pub(super) next: Option<Handle<Block>>,
    pub(super) data: [u8; BLOCK],
}

impl Block {
    /// The value of a block in an array that firmware declares.
    pub const EMPTY: Self = Self { next: None, data: [0; BLOCK] };
}

impl Default for Block {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// All blocks, with a list of those that are free.
#[derive(Debug)]
pub(in crate::mem) struct Blocks<'m> {
    blocks: Slots<'m, Block>,
    free: Option<Handle<Block>>,
    /// How many blocks were ever used. The blocks behind them are free, but not in the free list.
    fresh: u32,
    /// The number of blocks in use.
    used: u32,
}

impl<'m> Blocks<'m> {
    pub(super) fn new(blocks: &'m mut [Block]) -> Self {
        Self { blocks: Slots::borrowed(blocks), free: None, fresh: 0, used: 0 }
    }

    /// The length of all blocks in use, in bytes.
    pub(super) fn used(&self) -> usize {
        (self.used as usize).saturating_mul(BLOCK)
    }

    /// The length of all blocks, in bytes.
    pub(super) fn limit(&self) -> usize {
        self.blocks.limit().saturating_mul(BLOCK)
    }

    fn get(&self, handle: Handle<Block>) -> Option<&Block> {
        self.blocks.as_slice().get(handle.index())
    }

    fn get_mut(&mut self, handle: Handle<Block>) -> Option<&mut Block> {
        self.blocks.as_mut_slice().get_mut(handle.index())
    }

    pub(super) fn store(&mut self, parts: &[&[u8]], len: usize) -> Option<Handle<()>> {
        if len.div_ceil(BLOCK) > self.blocks.limit().saturating_sub(self.used as usize) {
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
                let (head, tail) = part.split_at_checked(BLOCK.saturating_sub(filled)).unwrap_or((part, &[]));
                copy(self.get_mut(block)?.data.get_mut(filled..)?, head);
                filled = filled.saturating_add(head.len());
                part = tail;
            }
        }
        Some(first.cast())
    }

    /// Takes a free block, and makes it the end of a chain. As long as `used` is below the limit, there is one.
    fn take(&mut self) -> Option<Handle<Block>> {
        let handle = match self.free {
            Some(handle) => handle,
            None => Handle::from_index(self.fresh as usize),
        };
        let block = self.get_mut(handle)?;
        let next = block.next.take();
        match self.free {
            Some(_) => self.free = next,
            None => self.fresh = one_more(self.fresh),
        }
        self.used = one_more(self.used);
        Some(handle)
    }

    pub(super) fn release(&mut self, at: Handle<()>) {
        let mut next = Some(at.cast());
        while let Some(handle) = next {
            let free = self.free;
            let Some(block) = self.get_mut(handle) else { return };
            next = core::mem::replace(&mut block.next, free);
            self.free = Some(handle);
            self.used = one_less(self.used);
        }
    }

    /// The bytes in `range` of the blob whose first block is `at`. The blob must be long enough.
    pub(super) fn chunks(&self, at: Handle<()>, range: Range<usize>) -> BlockChunks<'_> {
        let mut next = Some(at.cast());
        let mut skip = range.start;
        while let Some(behind) = skip.checked_sub(BLOCK) {
            next = next.and_then(|handle| self.get(handle)).and_then(|block| block.next);
            skip = behind;
        }
        BlockChunks { blocks: self.blocks.as_slice(), next, skip, left: range.end.saturating_sub(range.start) }
    }
}

/// The bytes in a chain of blocks, one block at a time.
#[derive(Clone, Debug)]
pub(super) struct BlockChunks<'a> {
    blocks: &'a [Block],
    next: Option<Handle<Block>>,
    /// How many bytes of the next block come before the range.
    skip: usize,
    /// How many bytes of the range are still to be returned.
    left: usize,
}

impl<'a> BlockChunks<'a> {
    pub(super) const NONE: Self = Self { blocks: &[], next: None, skip: 0, left: 0 };

    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.left == 0
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<&'a [u8]> {
        let block = self.blocks.get(self.next?.index())?;
        let end = BLOCK.min(self.skip.saturating_add(self.left));
        let chunk = block.data.get(self.skip..end)?;
        self.next = block.next;
        self.skip = 0;
        self.left = self.left.saturating_sub(chunk.len());
        Some(chunk)
    }
}
