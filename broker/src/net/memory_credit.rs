//! Claims memory below the ceiling for bytes that wait in sockets.
//!
//! Each thread has a credit: bytes that are claimed already, and not in use. A few bytes that wait for a moment are taken from the credit of their
//! thread, and touch no shared atomic. Bytes may be taken from the credit of one thread and given back to the credit of another.

use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::cell::Cell;

/// The bytes that a credit has after it has grown. A credit of twice as many bytes gives some back.
const PIECE: usize = 64 * 1024;

thread_local! {
    /// The credit of this thread, in bytes.
    static CREDIT: Cell<usize> = const { Cell::new(0) };
}

/// Takes `bytes` for a few bytes that are in memory already, from the reserve if need be. False, and nothing is taken, if the reserve is used up
/// too.
pub(super) fn take(ceiling: &MemoryCeiling, bytes: usize) -> bool {
    let credit = CREDIT.get();
    if credit >= bytes {
        CREDIT.set(credit - bytes);
        return true;
    }
    let missing = bytes - credit;
    let purpose = MemoryUse::Receiving;
    if ceiling.available(purpose) >= missing + PIECE && ceiling.take(purpose, missing + PIECE) {
        CREDIT.set(PIECE);
        return true;
    }
    let is_granted = ceiling.take_reserved(purpose, missing);
    if is_granted {
        CREDIT.set(0);
    }
    is_granted
}

/// Takes `bytes` for a large packet of which `held` bytes are taken already. False, and nothing is taken, if only the reserve has so many, or if the
/// client would hold more than its share.
pub(super) fn take_for_packet(ceiling: &MemoryCeiling, held: usize, bytes: usize) -> bool {
    ceiling.take_for_client(MemoryUse::Receiving, held, bytes)
}

/// Takes `bytes` for the packet that has waited for longest. The packet may take more than the share of a client: half of the bytes that may be
/// claimed.
pub(super) fn take_for_first(ceiling: &MemoryCeiling, bytes: usize) -> bool {
    let purpose = MemoryUse::Receiving;
    bytes <= ceiling.available(purpose) / 2 && ceiling.take(purpose, bytes)
}

/// Gives back `bytes` that were taken by any of the functions above.
pub(super) fn give_back(ceiling: &MemoryCeiling, bytes: usize) {
    let credit = CREDIT.get() + bytes;
    if credit < 2 * PIECE {
        return CREDIT.set(credit);
    }
    CREDIT.set(PIECE);
    ceiling.give_back(MemoryUse::Receiving, credit - PIECE);
}

/// How many bytes may be read from a socket, or taken from the core for a socket, at once: `most`, and fewer while memory is short. For the bytes of
/// an unfinished packet stay in memory, and so do bytes that the peer does not read.
pub(super) fn most_at_once(ceiling: &MemoryCeiling, most: usize) -> usize {
    (ceiling.available(MemoryUse::Receiving) / 1024).clamp(LEAST_AT_ONCE, most)
}

/// So many bytes may be read at once however short memory is.
const LEAST_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn few_bytes_are_claimed_in_pieces() {
        let ceiling = MemoryCeiling::new(64 * MIB);
        let taken = || ceiling.taken(MemoryUse::Receiving);
        assert!(take(&ceiling, 100) && taken() == PIECE + 100);
        assert!(take(&ceiling, PIECE) && taken() == PIECE + 100, "from the credit");
        give_back(&ceiling, PIECE);
        give_back(&ceiling, 100);
        assert_eq!(taken(), PIECE + 100);
        assert!(take(&ceiling, 10 * MIB));
        give_back(&ceiling, 10 * MIB);
        assert_eq!(taken(), PIECE);
    }

    #[test]
    fn a_few_bytes_come_from_the_reserve_and_a_large_packet_does_not() {
        let ceiling = MemoryCeiling::new(64 * MIB);
        ceiling.take_anyway(MemoryUse::Other, 60 * MIB);
        assert!(!take_for_packet(&ceiling, 0, PIECE));
        assert!(take(&ceiling, MIB) && ceiling.taken(MemoryUse::Receiving) == MIB);
        assert!(!take(&ceiling, 3 * MIB) && ceiling.taken(MemoryUse::Receiving) == MIB);
        assert_eq!(most_at_once(&ceiling, PIECE), LEAST_AT_ONCE);
        ceiling.give_back(MemoryUse::Other, 60 * MIB);
        assert_eq!(most_at_once(&ceiling, 8192), 8192);
    }
}
