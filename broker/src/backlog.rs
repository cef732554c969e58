//! Bytes that wait: read and not consumed yet, or not written yet.

/// A first-in, first-out queue of bytes that stand in one piece. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: Vec<u8>,
    /// How many of `bytes` have left already.
    left: usize,
}

impl Backlog {
    /// Capacity that is not worth giving back while anything waits.
    const KEEP: usize = 16 * 1024;

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.left..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.left
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.left > 0 {
            self.bytes.drain(..self.left);
            self.left = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets the first `count` bytes leave.
    pub(crate) fn consume(&mut self, count: usize) {
        self.left += count;
        if self.left >= self.bytes.len() {
            *self = Self::default();
        } else if self.bytes.capacity() > Self::KEEP && self.len() < self.bytes.capacity() / 4 {
            *self = Self { bytes: self.as_slice().to_vec(), left: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcdef");
        backlog.consume(2);
        assert_eq!((backlog.as_slice(), backlog.len()), (&b"cdef"[..], 4));
        backlog.push(b"gh");
        assert_eq!(backlog.as_slice(), b"cdefgh");
        backlog.consume(6);
        assert!(backlog.is_empty() && backlog.as_slice().is_empty());
    }

    #[test]
    fn memory_is_given_back() {
        let mut backlog = Backlog::default();
        backlog.push(&vec![7; 1 << 20]);
        backlog.consume((1 << 20) - 10);
        assert_eq!(backlog.as_slice(), [7; 10]);
        assert!(backlog.bytes.capacity() <= Backlog::KEEP);
        backlog.consume(10);
        assert_eq!(backlog.bytes.capacity(), 0);
    }
}
