//! Bytes on their way, first in, first out, in one piece.

/// At most `N` bytes.
pub(crate) struct Buffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Buffer<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Where more may be written, to be followed by [`Buffer::put`].
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.len..).unwrap_or(&mut [])
    }

    /// So many bytes were written to [`Buffer::space`].
    pub(crate) fn put(&mut self, count: usize) {
        self.len = self.len.saturating_add(count).min(N);
    }

    /// Forgets the first `count` bytes, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) {
        let count = count.min(self.len);
        self.bytes.copy_within(count..self.len, 0);
        self.len -= count;
    }
}
