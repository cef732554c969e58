//! A queue of bytes, first in, first out, which are in one piece of memory.

/// A queue of at most as many bytes as the memory that it was given.
#[derive(Debug)]
pub(super) struct Buffer<'b> {
    bytes: &'b mut [u8],
    len: usize,
}

impl<'b> Buffer<'b> {
    pub(super) fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// The free memory behind the bytes in the queue. Write there and call [`Buffer::put`] afterwards.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or(&mut [])
    }

    /// Adds the first `count` bytes of [`Buffer::space`] to the queue.
    pub(super) fn put(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(self.bytes.len());
    }

    /// Removes the first `count` bytes, or all if there are fewer.
    pub(super) fn take(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len = self.len.saturating_sub(count);
    }
}
