//! What owned memory is claimed from.

use alloc::sync::Arc;

use super::ceiling::{MemoryCeiling, MemoryUse};

/// The ceiling that memory of one use is claimed from; without one each claim is granted.
#[derive(Clone, Debug)]
pub(crate) struct MemoryAccount {
    ceiling: Option<Arc<MemoryCeiling>>,
    purpose: MemoryUse,
}

/// How much is left to others when a claim is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// What the rules of the ceiling say.
    Ordinary,
    /// The same, and seven eighths of what there is: for one thing that may be large.
    Share,
    /// From the reserve: little things without which a client can't go on, and what was stored before a restart.
    Reserved,
    /// Granted in any case, even beyond the ceiling: what is bounded otherwise, and can't be done without.
    Anyway,
}

impl MemoryAccount {
    /// No ceiling.
    pub(crate) const UNBOUNDED: Self = Self { ceiling: None, purpose: MemoryUse::Other };

    /// For memory of this use, below a ceiling.
    pub(crate) fn under(ceiling: &Arc<MemoryCeiling>, purpose: MemoryUse) -> Self {
        Self { ceiling: Some(ceiling.clone()), purpose }
    }

    /// The same ceiling for another use.
    pub(crate) fn with_purpose(&self, purpose: MemoryUse) -> Self {
        Self { ceiling: self.ceiling.clone(), purpose }
    }

    /// The bytes that nobody has claimed.
    pub(crate) fn free(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.free())
    }

    /// Whether there is a ceiling.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.ceiling.is_some()
    }

    /// What an ordinary claim may be at most, in bytes.
    pub(crate) fn available(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.available(self.purpose))
    }

    /// Whether what a client would hold is no more than its share; if not that is counted.
    pub(crate) fn is_in_share(&self, holds: usize) -> bool {
        self.is_within(self.share(), holds)
    }

    /// What one client may hold, in bytes.
    pub(crate) fn share(&self) -> usize {
        self.ceiling.as_ref().map_or(usize::MAX, |ceiling| ceiling.share(self.purpose))
    }

    /// Whether a client may hold so much; if not that is counted.
    pub(crate) fn is_within(&self, bound: usize, holds: usize) -> bool {
        let is_within = holds <= bound;
        if let Some(ceiling) = self.ceiling.as_ref().filter(|_| !is_within) {
            ceiling.refuse(self.purpose);
        }
        is_within
    }

    /// Claims so many bytes. Whether they are granted.
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

    /// What was there before a restart is taken back from now on: the rules of the ceiling are not for that.
    pub(crate) fn begin_restoring(&self) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.begin_restoring();
        }
    }

    /// It is taken back.
    pub(crate) fn end_restoring(&self) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.end_restoring();
        }
    }

    /// Gives back what was granted.
    pub(crate) fn give_back(&self, bytes: usize) {
        if let Some(ceiling) = &self.ceiling {
            ceiling.give_back(self.purpose, bytes);
        }
    }
}

/// Bytes that were granted, given back when this is dropped. The account is touched only where chunks are claimed or given back.
#[derive(Debug)]
pub(crate) struct MemoryCredit {
    account: MemoryAccount,
    granted: usize,
    taken: usize,
}

/// So many bytes are claimed at once where little is needed, and kept when they are not needed any more. Twice as many are never kept.
const CHUNK: usize = 64 << 10;

impl MemoryCredit {
    /// Nothing granted yet.
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

    /// Whether so many more may be taken without a claim.
    #[inline]
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        self.taken.saturating_add(bytes) <= self.granted
    }

    /// Whether so many more may be taken; they are claimed if need be, but not taken yet.
    #[inline]
    pub(crate) fn has(&mut self, bytes: usize, claim: Claim) -> bool {
        match self.taken.saturating_add(bytes).checked_sub(self.granted) {
            None | Some(0) => true,
            Some(missing) => self.claim(missing, claim),
        }
    }

    /// Takes so many more. Whether they are granted.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize, claim: Claim) -> bool {
        let granted = self.has(bytes, claim);
        if granted {
            self.taken = self.taken.saturating_add(bytes);
        }
        granted
    }

    /// Takes so many more, which are there already, whether they are granted or not.
    pub(crate) fn take_anyway(&mut self, bytes: usize) {
        let granted = self.take(bytes, Claim::Anyway);
        debug_assert!(granted, "it is granted in any case");
    }

    /// Whether there is a ceiling: without one nothing need be counted.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.account.is_bounded()
    }

    /// Gives back what was taken.
    #[inline]
    pub(crate) fn give(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_sub(bytes);
        if self.granted.saturating_sub(self.taken) > 2 * CHUNK {
            self.give_back();
        }
    }

    /// What was taken goes to another shard of the same ceiling, and its credit with it.
    pub(crate) fn hand_over(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken);
        self.taken = self.taken.saturating_sub(bytes);
        self.granted = self.granted.saturating_sub(bytes);
    }

    /// Another shard handed that over.
    pub(crate) fn receive(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
        self.granted = self.granted.saturating_add(bytes);
    }

    #[cold]
    fn claim(&mut self, missing: usize, claim: Claim) -> bool {
        let chunk = missing.max(CHUNK);
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

/// From so many bytes on an allocation is made of pages of its own, whose growth moves pages instead of copying bytes.
pub(crate) const PAGED: usize = 256 << 10;
const PAGE: usize = 4 << 10;

/// What an allocation of so many bytes takes, as common allocators do it: rounded up, and a word of their own.
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
    fn one_large_thing_leaves_seven_eighths_and_what_is_reserved_comes_to_the_end() {
        let ceiling = MemoryCeiling::new(960_000);
        let mut credit = credit(&ceiling);
        assert!(!credit.has(90_000, Claim::Share) && credit.has(90_000, Claim::Ordinary));
        assert!(credit.take(640_000, Claim::Ordinary) && !credit.take(1, Claim::Ordinary));
        assert!(credit.take(1, Claim::Reserved));
        assert_eq!(ceiling.taken_in_all(), 640_001);
    }

    #[test]
    fn what_is_handed_over_stays_counted_once() {
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
