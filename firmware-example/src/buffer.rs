//! A queue of bytes, first in, first out, which are in one piece of memory.

/// A queue of at most `N` bytes.
pub(crate) struct Buffer<const N: usize> {
    bytes: [u8; N],
    /// The bytes `start..end` are in the queue. Both are 0 if it is empty.
    start: usize,
    end: usize,
}

impl<const N: usize> Buffer<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], start: 0, end: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// The free memory behind the bytes in the queue. Write there and call [`Buffer::put`] afterwards. Empty if the
    /// queue is full.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // Moves the bytes to the front as seldom as possible.
        if self.end == N && self.start > 0 {
            self.bytes.copy_within(self.start.., 0);
            (self.start, self.end) = (0, N - self.start);
        }
        self.bytes.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// Adds the first `count` bytes of [`Buffer::space`] to the queue.
    pub(crate) fn put(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(N);
    }

    /// Removes the first `count` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}
