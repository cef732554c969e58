//! A queue of bytes that wait: bytes that were read and not consumed yet, or bytes that were not written yet.

use std::cell::{Cell, RefCell};

/// A first-in, first-out queue of bytes that stand in one piece. An empty queue holds no memory and is as small as a pointer: the queues of most
/// connections are empty most of the time.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue(Option<Box<QueuedBytes>>);

#[derive(Debug, Default)]
struct QueuedBytes {
    bytes: Vec<u8>,
    /// How many bytes at the front of `bytes` were consumed already; never all of them.
    left: usize,
    /// How many of the waiting bytes were looked at.
    seen: usize,
}

thread_local! {
    // The memory is kept, because a read often ends amid a packet, so some bytes wait for a moment after most reads. Long packets come in
    // parts.
    static SPARES: RefCell<Spares> = RefCell::default();
    /// The most bytes of it on this thread.
    static MOST_SPARE_BYTES: Cell<usize> = const { Cell::new(Spares::MOST_BYTES) };
}

/// The memory of emptied queues, which a shard keeps for the next ones.
#[derive(Debug, Default)]
struct Spares {
    #[expect(clippy::vec_box, reason = "a box goes from one backlog to the next")]
    list: Vec<Box<QueuedBytes>>,
    /// The capacity of all queues in `list` together.
    bytes: usize,
}

impl Spares {
    /// The most spare queues that are kept, and the most bytes of all of them together.
    const MOST: usize = 16;
    const MOST_BYTES: usize = 4 << 20;

    /// Takes the smallest spare queue that has room for `bytes` bytes, or else the largest. A much larger queue is not used, because the
    /// new owner may keep its memory for long.
    fn take(&mut self, bytes: usize) -> Box<QueuedBytes> {
        let most = ByteQueue::most_bytes(bytes);
        let capacities = self.list.iter().map(|spare| spare.bytes.capacity()).enumerate();
        let capacities = capacities.filter(|(_, capacity)| *capacity <= most);
        let best = capacities.min_by_key(|&(_, capacity)| (capacity < bytes, capacity.abs_diff(bytes)));
        let Some((place, capacity)) = best else { return Box::default() };
        self.bytes -= capacity;
        self.list.swap_remove(place)
    }

    fn keep(&mut self, mut spare: Box<QueuedBytes>) {
        let bytes = self.bytes + spare.bytes.capacity();
        if self.list.len() < Self::MOST && bytes <= MOST_SPARE_BYTES.get() {
            spare.bytes.clear();
            (spare.left, spare.seen) = (0, 0);
            self.bytes = bytes;
            self.list.push(spare);
        }
    }
}

impl ByteQueue {
    /// The most bytes of spare memory that a shard keeps.
    pub(crate) const SPARE_BYTES: usize = Spares::MOST * size_of::<QueuedBytes>() + Spares::MOST_BYTES;

    /// A capacity up to which memory is kept while any byte waits: freeing less is not worth the trouble.
    const KEEP: usize = 16 * 1024;

    /// The most bytes of memory that a queue holds if `expected` bytes are expected, or have come.
    pub(crate) const fn most_bytes(expected: usize) -> usize {
        let twice = expected.saturating_mul(2);
        if twice > Self::KEEP { twice } else { Self::KEEP }
    }

    /// Has this thread keep spare memory of up to so many bytes, where that is less than [`ByteQueue::SPARE_BYTES`].
    pub(crate) fn keep_spares(bytes: usize) {
        MOST_SPARE_BYTES.set(bytes.min(Spares::MOST_BYTES));
    }

    /// The bytes of memory that it holds.
    pub(crate) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes.capacity())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |waiting| &waiting.bytes[waiting.left..])
    }

    /// The bytes that wait and were not looked at yet.
    pub(crate) fn unseen(&self) -> &[u8] {
        let seen = self.0.as_ref().map_or(0, |waiting| waiting.seen);
        self.as_slice().get(seen..).unwrap_or(&[])
    }

    /// Notes that `count` more bytes were looked at.
    pub(crate) fn see(&mut self, count: usize) {
        if let Some(waiting) = &mut self.0 {
            waiting.seen += count;
        }
    }

    /// Puts `bytes` behind the waiting ones. `goal` is how many bytes there may be in the end.
    pub(crate) fn push(&mut self, bytes: &[u8], goal: usize) {
        if !bytes.is_empty() {
            let waiting = self.compact(goal.max(bytes.len()));
            waiting.reserve_exact(bytes.len());
            waiting.extend_from_slice(bytes);
        }
    }

    /// The waiting bytes, with room behind them to read more: as much as is missing up to `goal`, but no more than there is already. So no
    /// peer gets much memory by merely announcing a long packet.
    pub(crate) fn with_room(&mut self, goal: usize) -> &mut Vec<u8> {
        let waiting = self.compact(goal);
        if waiting.len() == waiting.capacity() {
            let missing = goal.saturating_sub(waiting.len()).max(1);
            waiting.reserve_exact(missing.min(waiting.len().max(Self::KEEP)));
        }
        waiting
    }

    /// Moves the waiting bytes to the front, into spare memory for `goal` bytes if there is some. Returns them.
    fn compact(&mut self, goal: usize) -> &mut Vec<u8> {
        let waiting = self.0.get_or_insert_with(|| SPARES.with_borrow_mut(|spares| spares.take(goal)));
        if waiting.left > 0 {
            waiting.bytes.drain(..waiting.left);
            waiting.left = 0;
        }
        &mut waiting.bytes
    }

    /// Removes the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        let Some(waiting) = self.0.as_mut().filter(|_| count > 0) else { return };
        waiting.left += count;
        waiting.seen = waiting.seen.saturating_sub(count);
        let Some(rest) = waiting.bytes.get(waiting.left..).filter(|rest| !rest.is_empty()) else {
            return self.clear();
        };
        if waiting.bytes.capacity() > Self::KEEP && rest.len() < waiting.bytes.capacity() / 4 {
            **waiting = QueuedBytes { bytes: rest.to_vec(), left: 0, seen: waiting.seen };
        }
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        if let Some(waiting) = self.0.take() {
            SPARES.with_borrow_mut(|spares| spares.keep(waiting));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(backlog: &ByteQueue) -> usize {
        backlog.capacity()
    }

    fn filled(bytes: usize) -> ByteQueue {
        let mut backlog = ByteQueue::default();
        backlog.push(&vec![7; bytes], 0);
        backlog
    }

    #[test]
    fn bytes_leave_the_queue_in_the_order_in_which_they_came() {
        let mut backlog = ByteQueue::default();
        backlog.push(b"abcdef", 0);
        backlog.consume(2);
        assert_eq!(backlog.as_slice(), b"cdef");
        backlog.push(b"gh", 0);
        assert_eq!(backlog.as_slice(), b"cdefgh");
        backlog.consume(1);
        backlog.with_room(8).push(b'i');
        assert_eq!(backlog.as_slice(), b"defghi");
        backlog.consume(6);
        assert!(backlog.is_empty() && backlog.as_slice().is_empty());
    }

    #[test]
    fn memory_is_freed_as_bytes_leave_the_queue() {
        let mut backlog = filled(1 << 20);
        backlog.consume((1 << 20) - 10);
        assert_eq!(backlog.as_slice(), [7; 10]);
        assert!(capacity(&backlog) <= ByteQueue::KEEP);
        backlog.consume(10);
        assert!(backlog.0.is_none());
    }

    #[test]
    fn memory_of_an_emptied_queue_is_used_again_and_is_empty() {
        let mut backlog = ByteQueue::default();
        backlog.push(b"abcdef", 0);
        backlog.consume(2);
        let memory = backlog.as_slice().as_ptr();
        backlog.clear();
        assert!(backlog.is_empty());
        backlog.push(b"gh", 0);
        assert_eq!((backlog.as_slice(), backlog.as_slice().as_ptr().addr() + 2), (&b"gh"[..], memory.addr()));
    }

    #[test]
    fn the_smallest_spare_queue_that_suffices_is_used_or_else_the_largest() {
        for mut backlog in [100, 3000, 50_000].map(filled) {
            backlog.clear();
        }
        let used = [(b"ab", 2000), (b"ef", 60_000), (b"cd", 0), (b"gh", 0)].map(|(bytes, goal)| {
            let mut backlog = ByteQueue::default();
            backlog.push(bytes, goal);
            (backlog.as_slice().to_vec(), capacity(&backlog), backlog)
        });
        assert_eq!(
            used.map(|(bytes, capacity, _)| (bytes, capacity)),
            [(b"ab".to_vec(), 3000), (b"ef".to_vec(), 50_000), (b"cd".to_vec(), 100), (b"gh".to_vec(), 2)]
        );
    }

    #[test]
    fn spare_queues_are_bounded_in_number_and_in_bytes() {
        let mut many: Vec<_> = (0..2 * Spares::MOST).map(|_| filled(100)).collect();
        many.iter_mut().for_each(ByteQueue::clear);
        assert_eq!(SPARES.with_borrow(|spares| (spares.list.len(), spares.bytes)), (Spares::MOST, 100 * Spares::MOST));
        SPARES.take();
        let mut large: Vec<_> = (0..5).map(|_| filled(1 << 20)).collect();
        large.iter_mut().for_each(ByteQueue::clear);
        assert_eq!(SPARES.with_borrow(|spares| (spares.list.len(), spares.bytes)), (4, 4 << 20));
        assert_eq!(capacity(&filled(1)), 1, "a large one is not for few bytes");
        let again = filled(1 << 19);
        assert_eq!((capacity(&again), SPARES.with_borrow(|spares| spares.bytes)), (1 << 20, 3 << 20));
        SPARES.take();
        ByteQueue::keep_spares(1 << 20);
        let mut large: Vec<_> = (0..5).map(|_| filled(1 << 19)).collect();
        large.iter_mut().for_each(ByteQueue::clear);
        assert_eq!(SPARES.with_borrow(|spares| (spares.list.len(), spares.bytes)), (2, 1 << 20));
    }

    #[test]
    fn memory_for_a_packet_is_kept_while_nothing_of_it_is_consumed() {
        filled(1 << 20).clear();
        let mut backlog = ByteQueue::default();
        backlog.push(&[7; 20_000], 1 << 20);
        backlog.consume(0);
        assert_eq!((capacity(&backlog), backlog.as_slice().len()), (1 << 20, 20_000));
    }

    #[test]
    fn a_long_packet_gets_memory_as_it_comes() {
        const PACKET: usize = 10 << 20;
        let mut backlog = filled(1000);
        let mut grown = 0;
        while backlog.as_slice().len() < PACKET {
            let come = backlog.as_slice().len();
            let room = backlog.with_room(PACKET);
            assert!(room.capacity() > come && room.capacity() <= (2 * come).max(come + ByteQueue::KEEP));
            assert!(room.capacity() <= PACKET);
            grown += usize::from(room.spare_capacity_mut().len() > 1000);
            let added = (room.capacity() - come).min(1000);
            room.resize(come + added, 7);
        }
        assert!(grown > 0 && backlog.as_slice() == vec![7; PACKET]);
    }
}
