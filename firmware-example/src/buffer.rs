//! Bytes on their way, first in, first out, in one piece.

/// At most `N` bytes.
pub(crate) struct Buffer<const N: usize> {
    bytes: [u8; N],
    /// Where those begin that were not taken, and where they end; both 0 if there are none.
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

    /// Where more may be written, to be followed by [`Buffer::put`]. Empty if all is filled.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // Moved as seldom as can be.
        if self.end == N && self.start > 0 {
            self.bytes.copy_within(self.start.., 0);
            (self.start, self.end) = (0, N - self.start);
        }
        self.bytes.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// So many bytes were written to [`Buffer::space`].
    pub(crate) fn put(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(N);
    }

    /// Forgets the first `count` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) {
        self.start = self.start.saturating_add(count);
        if self.start >= self.end {
            (self.start, self.end) = (0, 0);
        }
    }
}
