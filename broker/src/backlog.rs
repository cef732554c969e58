//! Bytes that wait: read and not consumed yet, or not written yet.

use std::cell::RefCell;

/// A first-in, first-out queue of bytes that stand in one piece. Empty, it holds no memory and is as small as a pointer:
/// most connections have nothing in it most of the time.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many of `bytes` have left already; never all.
    left: usize,
}

/// How many emptied ones a shard keeps for whoever needs one next.
const SPARE: usize = 16;

/// The capacity of the largest that it keeps.
const LARGEST_SPARE: usize = 64 * 1024;

thread_local! {
    // A burst is cut wherever a chunk ends, and each time some bytes wait for a moment.
    #[expect(clippy::vec_box, reason = "a box goes from one backlog to the next")]
    static SPARES: RefCell<Vec<Box<Waiting>>> = const { RefCell::new(Vec::new()) };
}

impl Backlog {
    /// What all spare ones of a shard take at most.
    pub(crate) const SPARE_BYTES: usize = SPARE * (LARGEST_SPARE + size_of::<Waiting>());

    /// Capacity that is not worth giving back while anything waits.
    const KEEP: usize = 16 * 1024;

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.left..])
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let waiting = self.0.get_or_insert_with(|| SPARES.with_borrow_mut(Vec::pop).unwrap_or_default());
        if waiting.left > 0 {
            waiting.bytes.drain(..waiting.left);
            waiting.left = 0;
        }
        waiting.bytes.extend_from_slice(bytes);
    }

    /// Lets the first `count` bytes leave.
    pub(crate) fn consume(&mut self, count: usize) {
        let Some(waiting) = &mut self.0 else { return };
        waiting.left += count;
        let Some(rest) = waiting.bytes.get(waiting.left..).filter(|rest| !rest.is_empty()) else {
            return self.clear();
        };
        if waiting.bytes.capacity() > Self::KEEP && rest.len() < waiting.bytes.capacity() / 4 {
            **waiting = Waiting { bytes: rest.to_vec(), left: 0 };
        }
    }

    /// Lets all bytes leave.
    pub(crate) fn clear(&mut self) {
        let Some(mut waiting) = self.0.take().filter(|waiting| waiting.bytes.capacity() <= LARGEST_SPARE) else {
            return;
        };
        waiting.bytes.clear();
        waiting.left = 0;
        SPARES.with_borrow_mut(|spares| {
            if spares.len() < SPARE {
                spares.push(waiting);
            }
        });
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
        assert!(backlog.0.as_ref().unwrap().bytes.capacity() <= Backlog::KEEP);
        backlog.consume(10);
        assert!(backlog.0.is_none());
    }

    #[test]
    fn what_was_emptied_is_used_again_with_nothing_in_it() {
        let mut backlog = Backlog::default();
        backlog.push(b"abcdef");
        backlog.consume(2);
        let memory = backlog.as_slice().as_ptr();
        backlog.clear();
        assert!(backlog.is_empty());
        backlog.push(b"gh");
        assert_eq!((backlog.as_slice(), backlog.as_slice().as_ptr().addr() + 2), (&b"gh"[..], memory.addr()));
    }

    #[test]
    fn few_and_small_ones_are_kept() {
        let fill = |bytes: usize| {
            let mut backlog = Backlog::default();
            backlog.push(&vec![7; bytes]);
            backlog
        };
        fill(LARGEST_SPARE + 1).clear();
        assert_eq!(SPARES.with_borrow(Vec::len), 0);
        let mut many: Vec<_> = (0..2 * SPARE).map(|_| fill(100)).collect();
        many.iter_mut().for_each(Backlog::clear);
        assert_eq!(SPARES.with_borrow(Vec::len), SPARE);
    }
}
