//! Accounts from which owned memory is claimed, and credit of memory that was claimed already.

use alloc::sync::Arc;

use super::ceiling::{MemoryCeiling, MemoryUse};

/// The account of one use below a ceiling. Without a ceiling each claim is granted.
#[derive(Clone, Debug)]
pub(crate) struct MemoryAccount {
    ceiling: Option<Arc<MemoryCeiling>>,
    purpose: MemoryUse,
}

/// How much is left to others when a claim is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// As much as the rules of the ceiling leave.
    Ordinary,
    /// The same, and seven eighths of the bytes that may be claimed: for one message or one text, which may be large.
    Share,
    /// The claim may take the reserve: for the few bytes without which a client can't go on.
    Reserved,
    /// The claim is granted in any case, even beyond the ceiling: for bytes that another limit bounds, and that can't be refused.
    Anyway,
}

impl MemoryAccount {
    /// No ceiling.
    pub(crate) const UNBOUNDED: Self = Self { ceiling: None, purpose: MemoryUse::Other };

    /// The account of `purpose` below `ceiling`.
    pub(crate) fn under(ceiling: &Arc<MemoryCeiling>, purpose: MemoryUse) -> Self {
        Self { ceiling: Some(ceiling.clone()), purpose }
    }

    /// The account of another use below the same ceiling.
    pub(crate) fn with_purpose(&self, purpose: MemoryUse) -> Self {
        Self { ceiling: self.ceiling.clone(), purpose }
    }

    /// How many bytes nobody has claimed.
    pub(crate) fn free(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.free())
    }

    /// Whether there is a ceiling.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.ceiling.is_some()
    }

    /// The largest ordinary claim that would be granted, in bytes.
    pub(crate) fn available(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.available(self.purpose))
    }

    /// Whether `holds` bytes are within the share of one client. If not, a refusal is counted.
    pub(crate) fn is_in_share(&self, holds: usize) -> bool {
        self.is_within(self.share(), holds)
    }

    /// The share of one client: how many bytes it may hold.
    pub(crate) fn share(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.share(self.purpose))
    }

    /// Whether `holds` bytes are within `bound`. If not, a refusal is counted.
    pub(crate) fn is_within(&self, bound: usize, holds: usize) -> bool {
        let is_within = holds <= bound;
        if let Some(ceiling) = self.ceiling.as_ref().filter(|_| !is_within) {
            ceiling.refuse(self.purpose);
        }
        is_within
    }

    /// Claims `bytes`. Returns whether the claim is granted.
    pub(crate) fn take(&self, bytes: usize, claim: Claim) -> bool {
        let Some(ceiling) = &self.ceiling else { return true };
        match claim {
            Claim::Ordinary => ceiling.take(self.purpose, bytes),
            Claim::Share => ceiling.take_for_client(self.purpose, 0, bytes),
            Claim::Reserved => ceiling.take_reserved(self.purpose, bytes),
            Claim::Anyway => {
                ceiling.take_anyway(self.purpose, bytes);
                true
            }
        }
    }

    /// From now on the broker restores what was there before a restart: each claim may take the reserve.
    pub(crate) fn begin_restoring(&self) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.begin_restoring();
        }
    }

    /// All that was there before the restart is restored.
    pub(crate) fn end_restoring(&self) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.end_restoring();
        }
    }

    /// Gives back so many granted bytes.
    pub(crate) fn give_back(&self, bytes: usize) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.give_back(self.purpose, bytes);
        }
    }
}

/// Bytes that an account has granted, of which some are in use. The account is touched only when a chunk is claimed or given back. When the
/// credit is dropped all granted bytes are given back.
#[derive(Debug)]
pub(crate) struct MemoryCredit {
    account: MemoryAccount,
    granted: usize,
    /// How many of the granted bytes are in use.
    taken: usize,
}

/// A claim is for so many bytes where fewer are needed. When more than twice as many granted bytes are unused, all but so many are given back.
const CHUNK: usize = 64 << 10;

impl MemoryCredit {
    /// A credit of no bytes yet.
    pub(crate) const fn of(account: MemoryAccount) -> Self {
        Self { account, granted: 0, taken: 0 }
    }

    pub(crate) fn account(&self) -> &MemoryAccount {
        &self.account
    }

    /// The bytes that are in use.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Whether so many more bytes may be taken without a claim.
    #[inline]
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        self.taken.saturating_add(bytes) <= self.granted
    }

    /// Whether so many more bytes may be taken. They are claimed if need be, but not taken yet.
    #[inline]
    pub(crate) fn has(&mut self, bytes: usize, claim: Claim) -> bool {
        match self.taken.saturating_add(bytes).checked_sub(self.granted) {
            None | Some(0) => true,
            Some(missing) => self.claim(missing, claim),
        }
    }

    /// Takes so many more bytes; says whether they are granted.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize, claim: Claim) -> bool {
        let granted = self.has(bytes, claim);
        if granted {
            self.taken = self.taken.saturating_add(bytes);
        }
        granted
    }

    /// Takes so many more bytes, beyond the ceiling if need be: they are in memory already.
    pub(crate) fn take_anyway(&mut self, bytes: usize) {
        let granted = self.take(bytes, Claim::Anyway);
        debug_assert!(granted, "such a claim is always granted");
    }

    /// Whether there is a ceiling. Without one nothing need be counted.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.account.is_bounded()
    }

    /// Gives back so many taken bytes.
    #[inline]
    pub(crate) fn give(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
        if self.granted.saturating_sub(self.taken) > 2 * CHUNK {
            self.give_back();
        }
    }

    /// So many of the bytes in use go to another shard below the same ceiling, which calls [`MemoryCredit::receive`].
    pub(crate) fn hand_over(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken);
        self.taken = self.taken.saturating_sub(bytes);
        self.granted = self.granted.saturating_sub(bytes);
    }

    /// Another shard has handed over so many bytes. From now on they are in use here.
    pub(crate) fn receive(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
        self.granted = self.granted.saturating_add(bytes);
    }

    #[cold]
    fn claim(&mut self, missing: usize, claim: Claim) -> bool {
        let chunk = missing.max(CHUNK);
        // Nobody takes a whole chunk from the reserve, or beyond the ceiling.
        let first = if matches!(claim, Claim::Share | Claim::Ordinary) { claim } else { Claim::Ordinary };
        let bytes = if self.account.take(chunk, first) {
            chunk
        } else if self.account.take(missing, claim) {
            missing
        } else {
            return false;
        };
        self.granted = self.granted.saturating_add(bytes);
        true
    }

    #[cold]
    fn give_back(&mut self) {
        let kept = self.taken.saturating_add(CHUNK);
        self.account.give_back(self.granted.saturating_sub(kept));
        self.granted = self.granted.min(kept);
    }
}

impl Drop for MemoryCredit {
    fn drop(&mut self) {
        self.account.give_back(self.granted);
    }
}

/// From so many bytes on an allocation has pages of its own. It grows by moving pages instead of copying bytes.
pub(crate) const PAGED: usize = 256 << 10;
const PAGE: usize = 4 << 10;

/// The bytes that an allocation of so many bytes takes, as common allocators do it: rounded up, with a word of their own.
pub(crate) const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..PAGED => {
            let all = bytes.saturating_add(8).div_ceil(16).saturating_mul(16);
            if all < 32 { 32 } else { all }
        }
        _ => bytes.saturating_add(16).div_ceil(PAGE).saturating_mul(PAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credit(ceiling: &Arc<MemoryCeiling>) -> MemoryCredit {
        MemoryCredit::of(MemoryAccount::under(ceiling, MemoryUse::Messages))
    }

    #[test]
    fn credit_is_claimed_in_chunks_and_given_back_when_it_is_too_much() {
        let ceiling = MemoryCeiling::new(100 << 20);
        let mut credit = credit(&ceiling);
        assert!(credit.take(100, Claim::Share) && credit.take(1000, Claim::Ordinary));
        assert_eq!((credit.taken(), ceiling.taken_in_all()), (1100, CHUNK));
        assert!(credit.take(10 * CHUNK, Claim::Share));
        assert_eq!(ceiling.taken_in_all(), 10 * CHUNK + 1100);
        credit.give(10 * CHUNK);
        assert_eq!(ceiling.taken_in_all(), CHUNK + 1100);
        assert!(!credit.take(100 << 20, Claim::Ordinary));
        drop(credit);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn one_large_claim_leaves_seven_eighths_and_the_reserve_is_granted_when_nothing_else_is() {
        let ceiling = MemoryCeiling::new(960_000);
        let mut credit = credit(&ceiling);
        assert!(!credit.has(90_000, Claim::Share) && credit.has(90_000, Claim::Ordinary));
        assert!(credit.take(640_000, Claim::Ordinary) && !credit.take(1, Claim::Ordinary));
        assert!(credit.take(1, Claim::Reserved));
        assert_eq!(ceiling.taken_in_all(), 640_001);
    }

    #[test]
    fn bytes_that_are_handed_over_stay_counted_once() {
        let ceiling = MemoryCeiling::new(100 << 20);
        let (mut here, mut there) = (credit(&ceiling), credit(&ceiling));
        assert!(here.take(5000, Claim::Ordinary));
        let before = ceiling.taken_in_all();
        here.hand_over(5000);
        there.receive(5000);
        assert_eq!((here.taken(), there.taken(), ceiling.taken_in_all()), (0, 5000, before));
        there.take_anyway(200 << 20);
        assert_eq!(ceiling.taken_in_all(), there.taken().max(there.granted) + here.granted);
        drop((here, there));
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn an_allocation_is_rounded_up() {
        assert_eq!([0, 1, 24, 25, 1000, 1 << 20].map(allocated), [0, 32, 32, 48, 1008, (1 << 20) + PAGE]);
        let credit = MemoryCredit::of(MemoryAccount::UNBOUNDED);
        assert_eq!(credit.account().available(), usize::MAX);
    }
}
