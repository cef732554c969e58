//! One account for all memory of a process.
//!
//! Each table has a limit, and the sum of all limits is far more than a machine has. So the brokers of a process, and the gateway around
//! them, claim from one account all memory that clients can make grow, before they allocate it. They touch the account rarely: when a table
//! grows, when a broker's credit for bodies is used up, when a large packet begins. No message costs a shared atomic.
//!
//! A claim is refused by two rules.
//!
//! **The order of uses.** Each use may claim until a certain part of the ceiling is taken in all. The last parts are left to the needs of known
//! clients: first to Sessions, then to connections, mail between shards and operators.
//!
//! **The dynamic threshold** of buffers that several share (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", 1998): one use holds at most twice the memory that is free. So a use that is alone gets two thirds, two greedy uses get two
//! fifths each, and there is always memory for uses that hold little. The same rule applies to one client within its use: see
//! [`MemoryCeiling::share`].

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A use of memory: what it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum MemoryUse {
    /// Network Connections, the replies that they are owed, their Topic Aliases, and a gateway's state of each.
    Connections,
    /// Packets that were received in part, and other bytes on their way in and out of sockets.
    Receiving,
    /// Sessions, QoS 2 receipts, timers.
    Sessions,
    /// Topic Filters with their levels and texts, and the levels of retained topics.
    Subscriptions,
    /// Stored Application Messages, their bodies and deliveries, Wills, Client Identifiers.
    Messages,
    /// Messages and news that sibling brokers hand each other.
    Mail,
    /// Requests of operators and their answers.
    Http,
    /// Memory that is taken once, at start.
    Other,
}

const USES: usize = MemoryUse::ALL.len();
/// One use holds at most so many times the memory that is free.
const TIMES_FREE: usize = 2;
/// One client may hold one part in so many of the memory that its use could still claim.
const SHARES: usize = 8;
/// The parts into which the order of uses divides the ceiling.
const PARTS: usize = 64;
/// Claims from the reserve leave so many [`PARTS`].
const BEYOND_RESERVE: usize = 1;

impl MemoryUse {
    /// All uses.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Receiving,
        Self::Sessions,
        Self::Subscriptions,
        Self::Messages,
        Self::Mail,
        Self::Http,
        Self::Other,
    ];

    /// A name for logs, metrics and topics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Receiving => "receiving",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Messages => "messages",
            Self::Mail => "mail",
            Self::Http => "http",
            Self::Other => "other",
        }
    }

    /// How many of [`PARTS`] may be taken in all once a claim for this use is granted: the order of uses.
    const fn parts(self) -> usize {
        match self {
            Self::Receiving => 56,
            Self::Messages | Self::Subscriptions => 58,
            Self::Sessions => 60,
            Self::Connections | Self::Mail | Self::Http => 62,
            Self::Other => PARTS,
        }
    }
}

/// A ceiling on the memory of a process, in bytes, and the memory that is taken below it.
///
/// All brokers of the process share it ([`Memory::under`](crate::Memory::under)), and so does the program around them. A claim comes before the
/// allocation, and counts the bytes that the allocator gives, as far as they can be known. Nobody claims the program itself, stacks, and
/// fragments that the allocator can't use: they are outside of the ceiling.
#[derive(Debug)]
pub struct MemoryCeiling {
    bytes: usize,
    /// The sum of `taken`, never beyond `bytes` but by [`MemoryCeiling::take_anyway`].
    total: AtomicUsize,
    taken: [AtomicUsize; USES],
    refused: [AtomicUsize; USES],
    /// How many brokers are restoring what was there before a restart.
    restoring: AtomicUsize,
}

impl MemoryCeiling {
    /// A ceiling of so many bytes, none of which is taken.
    pub fn new(bytes: usize) -> Arc<Self> {
        let (total, restoring) = Default::default();
        Arc::new(Self { bytes, total, taken: Default::default(), refused: Default::default(), restoring })
    }

    /// How many bytes may be taken in all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes are taken for `purpose`.
    pub fn taken(&self, purpose: MemoryUse) -> usize {
        load(&self.taken, purpose)
    }

    /// How many bytes are taken in all.
    pub fn taken_in_all(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// How many bytes are not taken.
    pub fn free(&self) -> usize {
        self.bytes.saturating_sub(self.taken_in_all())
    }

    /// How many claims for `purpose` were refused, or not made because a client had its share already. The count wraps around.
    pub fn refused(&self, purpose: MemoryUse) -> usize {
        load(&self.refused, purpose)
    }

    /// The largest claim for `purpose` that would be granted now, in bytes.
    pub fn available(&self, purpose: MemoryUse) -> usize {
        let total = self.taken_in_all();
        if self.restoring.load(Ordering::Relaxed) > 0 {
            return self.part(PARTS.saturating_sub(BEYOND_RESERVE)).saturating_sub(total);
        }
        let by_order = self.part(purpose.parts()).saturating_sub(total);
        if purpose == MemoryUse::Other {
            return by_order;
        }
        // After a claim of x bytes the use holds at most TIMES_FREE times what is free then: taken + x <= TIMES_FREE * (free - x).
        let allowed = self.bytes.saturating_sub(total).saturating_mul(TIMES_FREE);
        let by_threshold = allowed.saturating_sub(self.taken(purpose)) / (TIMES_FREE + 1);
        by_order.min(by_threshold)
    }

    /// How many bytes of `purpose` one client may hold now, beside the few bytes that each client may hold in any case: an eighth of the bytes that
    /// are [available](Self::available). So a client that takes much leaves enough for clients that take little.
    pub fn share(&self, purpose: MemoryUse) -> usize {
        self.available(purpose) / SHARES
    }

    /// Claims `bytes` for `purpose`. Returns whether the claim is granted. A refusal is counted, and nothing may be allocated then.
    #[must_use]
    pub fn take(&self, purpose: MemoryUse, bytes: usize) -> bool {
        self.count(purpose, bytes, || bytes <= self.available(purpose))
    }

    /// As [`MemoryCeiling::take`], but the claim may take the reserve: for the few bytes that known Sessions and clients without a lasting Session
    /// need to connect, and for answers.
    #[must_use]
    pub fn take_reserved(&self, purpose: MemoryUse, bytes: usize) -> bool {
        let most = self.part(PARTS.saturating_sub(BEYOND_RESERVE));
        self.count(purpose, bytes, || bytes <= most.saturating_sub(self.taken_in_all()))
    }

    /// As [`MemoryCeiling::take`], for a client that holds `held` bytes of this use already. The claim is refused too if the client would hold more
    /// than its [share](Self::share).
    #[must_use]
    pub fn take_for_client(&self, purpose: MemoryUse, held: usize, bytes: usize) -> bool {
        let holds = held.saturating_add(bytes);
        self.count(purpose, bytes, || holds <= self.share(purpose) && bytes <= self.available(purpose))
    }

    /// Counts `bytes` that are in memory already, even beyond the ceiling: they were allocated at the start, or can't be refused any more.
    pub fn take_anyway(&self, purpose: MemoryUse, bytes: usize) {
        add(&self.total, bytes);
        if let Some(taken) = self.taken.get(purpose as usize) {
            add(taken, bytes);
        }
    }

    /// Gives back `bytes` that were taken for `purpose`. If that is more than were taken, all are given back.
    pub fn give_back(&self, purpose: MemoryUse, bytes: usize) {
        if let Some(taken) = self.taken.get(purpose as usize) {
            let before = change(taken, |taken| Some(taken.saturating_sub(bytes))).unwrap_or(0);
            let given = bytes.min(before);
            let _ = change(&self.total, |total| Some(total.saturating_sub(given)));
        }
    }

    /// Counts a refusal for `purpose` where no claim was made because a client has its [share](Self::share) already.
    pub fn refuse(&self, purpose: MemoryUse) {
        if let Some(refused) = self.refused.get(purpose as usize) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`MemoryCeiling::take`]. The bytes are given back when the claim is dropped.
    #[must_use]
    pub fn claim(self: &Arc<Self>, purpose: MemoryUse, bytes: usize) -> Option<MemoryClaim> {
        self.take(purpose, bytes).then(|| MemoryClaim { ceiling: self.clone(), purpose, bytes })
    }

    /// As [`MemoryCeiling::take_reserved`]. The bytes are given back when the claim is dropped.
    #[must_use]
    pub fn claim_reserved(self: &Arc<Self>, purpose: MemoryUse, bytes: usize) -> Option<MemoryClaim> {
        self.take_reserved(purpose, bytes).then(|| MemoryClaim { ceiling: self.clone(), purpose, bytes })
    }

    /// A claim of no bytes yet, to be [resized](MemoryClaim::resize).
    pub fn no_claim(self: &Arc<Self>, purpose: MemoryUse) -> MemoryClaim {
        MemoryClaim { ceiling: self.clone(), purpose, bytes: 0 }
    }

    /// Until [`MemoryCeiling::end_restoring`] each claim may take the reserve: what was there before a restart is to have room again, in whatever
    /// order it is restored.
    pub(super) fn begin_restoring(&self) {
        self.restoring.fetch_add(1, Ordering::Relaxed);
    }

    /// One broker has restored all that was there before the restart.
    pub(super) fn end_restoring(&self) {
        let _ = change(&self.restoring, |count| count.checked_sub(1));
    }

    /// So many parts of the ceiling, in bytes.
    fn part(&self, parts: usize) -> usize {
        (self.bytes / PARTS).saturating_mul(parts).saturating_add(self.bytes % PARTS)
    }

    /// Takes `bytes` if `is_granted` at that moment.
    fn count(&self, purpose: MemoryUse, bytes: usize, is_granted: impl Fn() -> bool) -> bool {
        let within = |total: usize| total.checked_add(bytes).filter(|sum| *sum <= self.bytes && is_granted());
        if change(&self.total, within).is_none() {
            self.refuse(purpose);
            return false;
        }
        if let Some(taken) = self.taken.get(purpose as usize) {
            add(taken, bytes);
        }
        true
    }
}

/// Bytes that are claimed from a [`MemoryCeiling`], and given back when the claim is dropped.
#[derive(Debug)]
#[must_use]
pub struct MemoryClaim {
    ceiling: Arc<MemoryCeiling>,
    purpose: MemoryUse,
    bytes: usize,
}

impl MemoryClaim {
    /// How many bytes are claimed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Claims more bytes, or gives some back, until `bytes` are claimed. False, and nothing changed, if more bytes are refused.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes && !self.ceiling.take(self.purpose, bytes.saturating_sub(self.bytes)) {
            return false;
        }
        self.ceiling.give_back(self.purpose, self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
        true
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.ceiling.give_back(self.purpose, self.bytes);
    }
}

fn load(counts: &[AtomicUsize; USES], purpose: MemoryUse) -> usize {
    counts.get(purpose as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}

fn add(count: &AtomicUsize, bytes: usize) {
    let _ = change(count, |count| Some(count.saturating_add(bytes)));
}

/// Changes `count` to what `to` makes of it. Returns the count before; `None`, and nothing is changed, if `to` returns `None`. Threads share only
/// the counts, so no memory order is needed.
fn change(count: &AtomicUsize, to: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to).ok()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    /// Claims until nothing more is granted. Returns how much is taken then.
    fn fill(ceiling: &MemoryCeiling, purpose: MemoryUse) -> usize {
        let mut step = MIB;
        while step > 0 {
            if !ceiling.take(purpose, step) {
                step /= 2;
            }
        }
        ceiling.taken(purpose)
    }

    #[test]
    fn one_greedy_use_leaves_a_third_and_two_leave_a_fifth() {
        let ceiling = MemoryCeiling::new(90 * MIB);
        assert_eq!(fill(&ceiling, MemoryUse::Messages), 60 * MIB);
        assert_eq!(ceiling.free(), 30 * MIB);
        assert!(ceiling.refused(MemoryUse::Messages) > 0 && ceiling.refused(MemoryUse::Sessions) == 0);
        // The second use gets what the rule leaves. Before it may claim more the first use has to give some back.
        assert_eq!(fill(&ceiling, MemoryUse::Subscriptions), 20 * MIB);
        ceiling.give_back(MemoryUse::Messages, 30 * MIB);
        assert_eq!(fill(&ceiling, MemoryUse::Subscriptions), 40 * MIB);
        assert_eq!(ceiling.free(), 20 * MIB);
    }

    #[test]
    fn the_last_parts_of_the_ceiling_are_left_to_sessions_then_to_connections_and_then_to_the_reserve() {
        let ceiling = MemoryCeiling::new(64 * MIB);
        ceiling.take_anyway(MemoryUse::Other, 58 * MIB);
        assert!(!ceiling.take(MemoryUse::Messages, 1) && !ceiling.take(MemoryUse::Receiving, 1));
        assert_eq!(fill(&ceiling, MemoryUse::Sessions), 2 * MIB);
        assert!(ceiling.take(MemoryUse::Connections, MIB));
        assert!(ceiling.take_reserved(MemoryUse::Messages, 2 * MIB));
        assert!(!ceiling.take_reserved(MemoryUse::Messages, 1));
        ceiling.take_anyway(MemoryUse::Messages, 2 * MIB);
        assert_eq!((ceiling.free(), ceiling.taken_in_all()), (0, 65 * MIB));
    }

    #[test]
    fn what_was_there_before_a_restart_may_take_the_reserve() {
        let ceiling = MemoryCeiling::new(64 * MIB);
        ceiling.begin_restoring();
        assert_eq!(fill(&ceiling, MemoryUse::Messages), 63 * MIB);
        ceiling.end_restoring();
        assert_eq!(ceiling.available(MemoryUse::Sessions), 0);
    }

    #[test]
    fn a_share_is_an_eighth_of_what_may_still_be_claimed() {
        let ceiling = MemoryCeiling::new(96 * MIB);
        assert_eq!(ceiling.share(MemoryUse::Messages), 8 * MIB);
        ceiling.take_anyway(MemoryUse::Messages, 32 * MIB);
        assert_eq!(ceiling.available(MemoryUse::Messages), 32 * MIB);
        assert_eq!(ceiling.share(MemoryUse::Messages), 4 * MIB);
        assert!(!ceiling.take_for_client(MemoryUse::Messages, 3 * MIB, 2 * MIB));
        assert!(ceiling.take_for_client(MemoryUse::Messages, 2 * MIB, 2 * MIB));
    }

    #[test]
    fn a_claim_is_given_back_when_it_is_dropped_and_may_change() {
        let ceiling = MemoryCeiling::new(MIB);
        let mut claim = ceiling.claim(MemoryUse::Receiving, 1000).unwrap();
        assert!(ceiling.claim(MemoryUse::Receiving, MIB).is_none());
        assert!(claim.resize(5000) && !claim.resize(MIB) && claim.bytes() == 5000);
        let mut other = ceiling.no_claim(MemoryUse::Http);
        assert_eq!(ceiling.claim_reserved(MemoryUse::Http, 1000).map(|claim| claim.bytes()), Some(1000));
        assert!(other.resize(7));
        assert_eq!((ceiling.taken(MemoryUse::Receiving), ceiling.taken_in_all()), (5000, 5007));
        assert!(claim.resize(10));
        assert_eq!(ceiling.taken_in_all(), 17);
        drop((claim, other));
        assert_eq!(ceiling.taken_in_all(), 0);
        ceiling.give_back(MemoryUse::Receiving, 1);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn several_threads_together_never_take_more_than_the_ceiling() {
        let ceiling = MemoryCeiling::new(100_000);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (ceiling, purpose) = (&ceiling, MemoryUse::ALL[thread]);
                scope.spawn(move || {
                    for round in 0..20_000 {
                        if ceiling.take(purpose, 700) {
                            assert!(ceiling.taken_in_all() <= 100_000);
                            if round % 3 > 0 {
                                ceiling.give_back(purpose, 700);
                            }
                        }
                    }
                });
            }
        });
        let sum: usize = MemoryUse::ALL.map(|purpose| ceiling.taken(purpose)).iter().sum();
        assert_eq!(sum, ceiling.taken_in_all());
        assert!(sum > 50_000);
    }

    proptest! {
        #[test]
        fn all_claims_together_stay_below_the_ceiling_and_are_counted(
            bytes in 0..1_000_000usize,
            claims in prop::collection::vec((0..USES, 0..200_000usize, 0..4u8), 0..200),
        ) {
            let ceiling = MemoryCeiling::new(bytes);
            let mut held = Vec::new();
            for (which, size, how) in claims {
                let purpose = MemoryUse::ALL[which];
                let available = ceiling.available(purpose);
                let granted = match how {
                    0 => ceiling.take_reserved(purpose, size),
                    1 if !held.is_empty() => {
                        let (purpose, size) = held.swap_remove(size % held.len());
                        ceiling.give_back(purpose, size);
                        false
                    }
                    _ => {
                        let granted = ceiling.take(purpose, size);
                        prop_assert_eq!(granted, size <= available);
                        if granted && purpose != MemoryUse::Other {
                            prop_assert!(ceiling.taken(purpose) <= TIMES_FREE * ceiling.free());
                        }
                        granted
                    }
                };
                if granted {
                    held.push((purpose, size));
                }
                prop_assert!(ceiling.taken_in_all() <= bytes);
                for purpose in MemoryUse::ALL {
                    let sum: usize = held.iter().filter(|(of, _)| *of == purpose).map(|(_, size)| size).sum();
                    prop_assert_eq!(ceiling.taken(purpose), sum);
                }
            }
            for (purpose, size) in held {
                ceiling.give_back(purpose, size);
            }
            prop_assert_eq!((ceiling.taken_in_all(), ceiling.free()), (0, bytes));
        }
    }
}
