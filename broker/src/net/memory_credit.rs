//! What bytes that wait in sockets claim from the ceiling on memory.
//!
//! Each thread has a credit that was claimed already, so that a few bytes that wait for a moment cost no shared atomic. Bytes may be taken on one thread and
//! given back on another: a credit has no owner.

use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::cell::Cell;

/// A credit is claimed in pieces of so many bytes, and twice as much is never kept.
const PIECE: usize = 64 * 1024;

thread_local! {
    static CREDIT: Cell<usize> = const { Cell::new(0) };
}

/// Takes `bytes` for something small that is there already, from the reserve too. False, and nothing taken, if even that is used up.
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

/// Takes `bytes` for a large packet of which `held` are taken already: not from the reserve, and not more than one client may have.
pub(super) fn take_for_packet(ceiling: &MemoryCeiling, held: usize, bytes: usize) -> bool {
    ceiling.take_for_client(MemoryUse::Receiving, held, bytes)
}

/// Takes `bytes` for the packet that has waited for longest: up to half of what there is.
pub(super) fn take_for_first(ceiling: &MemoryCeiling, bytes: usize) -> bool {
    let purpose = MemoryUse::Receiving;
    bytes <= ceiling.available(purpose) / 2 && ceiling.take(purpose, bytes)
}

/// Gives back what was taken, whichever way.
pub(super) fn give_back(ceiling: &MemoryCeiling, bytes: usize) {
    let credit = CREDIT.get() + bytes;
    if credit < 2 * PIECE {
        return CREDIT.set(credit);
    }
    CREDIT.set(PIECE);
    ceiling.give_back(MemoryUse::Receiving, credit - PIECE);
}

/// How many bytes may be read, or taken from the core, at once, `most` if there is enough memory: what a peer leaves unfinished, or does not take, is
/// in memory until that changes.
pub(super) fn most_at_once(ceiling: &MemoryCeiling, most: usize) -> usize {
    (ceiling.available(MemoryUse::Receiving) / 1024).clamp(LEAST_AT_ONCE, most)
}

const LEAST_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn few_bytes_cost_a_claim_now_and_then() {
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
    fn little_comes_from_the_reserve_and_a_packet_does_not() {
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
