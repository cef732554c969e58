//! Who has failed to prove who they are: after a few failures in a row the next try has to wait, and after more the user is banned at that address.
//!
//! Nobody is locked out by the name of a user alone: whoever knows a name could lock its owner out. What counts is the name together with the
//! address, and the address by itself for those who try many names.

use crate::config::BanLimits;
use crate::net::AddressGroup;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many failures in a row cost nothing: people mistype.
const FREE: u32 = 3;
/// How long the next try waits after the first failure that costs something. Each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// An address is banned for all users after so many times the failures of one user. Many clients may share it.
const TIMES_FOR_ADDRESS: u32 = 20;
/// So many checks of the same user at the same address may be under way.
const MOST_OF_USER: u32 = 8;
/// So many checks of all users at one address may be under way: a quarter of those that may wait.
const MOST_OF_ADDRESS: u32 = 128;
/// The most that is remembered. More is forgotten, the oldest first.
const MOST: usize = 16_384;
/// Failures that are older are forgotten, if no ban is longer.
const MEMORY: Duration = Duration::from_secs(600);

/// Failures of users by address, and checks that are under way.
#[derive(Debug)]
pub(super) struct Failures {
    limits: BanLimits,
    hasher: RandomState,
    table: Mutex<HashMap<u64, Record>>,
}

/// What is known of a user at an address, or of an address.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// In a row.
    failures: u32,
    under_way: u32,
    last: Instant,
}

/// Whether credentials may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// The last failure was a moment ago, or many checks are under way.
    MustWait,
    /// Nothing but a token is looked at: nobody guesses those.
    AddressBanned,
    Banned,
}

/// A user at an address, or nobody in particular for a client that is in the process of the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    /// The places in the table of the user at the address, and of the address.
    places: Option<(u64, Option<u64>)>,
}

impl Failures {
    pub(super) fn new(limits: BanLimits) -> Self {
        Self { limits, hasher: RandomState::new(), table: Mutex::default() }
    }

    pub(super) fn suspect(&self, user: &str, address: Option<IpAddr>) -> Suspect {
        let places = address.filter(|_| self.limits.failures > 0).map(|address| {
            let network = AddressGroup::of(address);
            // Behind a proxy on this machine are all clients.
            let by_address = (!address.to_canonical().is_loopback()).then(|| self.hasher.hash_one(network));
            (self.hasher.hash_one((user, network)), by_address)
        });
        Suspect { places }
    }

    pub(super) fn standing(&self, suspect: Suspect, now: Instant) -> Standing {
        let Some((user, address)) = suspect.places else { return Standing::Good };
        let table = self.table();
        let of_user = table.get(&user);
        if of_user.is_some_and(|it| self.is_banned(it, 1, now)) {
            return Standing::Banned;
        }
        let of_address = address.and_then(|address| table.get(&address));
        if of_address.is_some_and(|it| self.is_banned(it, TIMES_FOR_ADDRESS, now)) {
            return Standing::AddressBanned;
        }
        let must_wait =
            of_user.is_some_and(|it| it.under_way >= MOST_OF_USER || now < it.last + wait_after(it.failures));
        if must_wait || of_address.is_some_and(|it| it.under_way >= MOST_OF_ADDRESS) {
            return Standing::MustWait;
        }
        Standing::Good
    }

    /// A check is under way from now on. Each call is followed by one of [`Failures::end`].
    pub(super) fn begin(&self, suspect: Suspect, now: Instant) {
        self.change(suspect, now, |record| record.under_way = record.under_way.saturating_add(1));
    }

    /// The check is over. `is_right` is `None` if nothing came out. Returns whether a ban begins.
    pub(super) fn end(&self, suspect: Suspect, is_right: Option<bool>, now: Instant) -> bool {
        self.change(suspect, now, |record| record.under_way = record.under_way.saturating_sub(1));
        match is_right {
            Some(true) => {
                self.forgive(suspect);
                false
            }
            Some(false) => self.fail(suspect, now),
            None => false,
        }
    }

    /// The user has failed. Returns whether a ban begins.
    pub(super) fn fail(&self, suspect: Suspect, now: Instant) -> bool {
        let mut begins = false;
        self.change_both(suspect, now, |record, times| {
            let was_banned = self.is_banned(record, times, now);
            // What was long ago is no failure in a row.
            if now.saturating_duration_since(record.last) > self.memory() {
                record.failures = 0;
            }
            record.failures = record.failures.saturating_add(1);
            record.last = now;
            begins |= !was_banned && self.is_banned(record, times, now);
        });
        begins
    }

    /// The user has proved who they are.
    pub(super) fn forgive(&self, suspect: Suspect) {
        if let Some((user, _)) = suspect.places
            && let Some(record) = self.table().get_mut(&user)
        {
            record.failures = 0;
        }
    }

    /// For how long a ban lasts.
    pub(super) fn ban(&self) -> Duration {
        Duration::from_secs(u64::from(self.limits.minutes) * 60)
    }

    fn is_banned(&self, record: &Record, times: u32, now: Instant) -> bool {
        record.failures >= self.limits.failures.saturating_mul(times) && now < record.last + self.ban()
    }

    fn memory(&self) -> Duration {
        MEMORY.max(self.ban())
    }

    fn change(&self, suspect: Suspect, now: Instant, change: impl Fn(&mut Record)) {
        self.change_both(suspect, now, |record, _| change(record));
    }

    /// Changes what is known of the user at the address, and of the address, with how many times more failures it takes until that is banned.
    fn change_both(&self, suspect: Suspect, now: Instant, mut change: impl FnMut(&mut Record, u32)) {
        let Some((user, address)) = suspect.places else { return };
        let mut table = self.table();
        for (place, times) in [(Some(user), 1), (address, TIMES_FOR_ADDRESS)] {
            let Some(place) = place else { continue };
            if table.len() >= MOST && !table.contains_key(&place) {
                self.make_room(&mut table, now);
            }
            change(table.entry(place).or_insert(Record { failures: 0, under_way: 0, last: now }), times);
        }
    }

    fn make_room(&self, table: &mut HashMap<u64, Record>, now: Instant) {
        let is_recent = |record: &Record| now.saturating_duration_since(record.last) <= self.memory();
        table.retain(|_, record| record.under_way > 0 || record.failures > 0 && is_recent(record));
        if table.len() >= MOST {
            let mut ages: Vec<Instant> = table.values().map(|record| record.last).collect();
            let (_, median, _) = ages.select_nth_unstable(MOST / 2);
            let median = *median;
            table.retain(|_, record| record.under_way > 0 || record.last > median);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Record>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the next try waits after so many failures in a row.
fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE + 1) {
        Some(more) => FIRST_WAIT.saturating_mul(1 << more.min(10)).min(LONGEST_WAIT),
        None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BanLimits = BanLimits { failures: 6, minutes: 5 };

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_failure_beyond_the_first_few_doubles_the_wait_and_a_ban_ends_by_itself() {
        let (failures, start) = (Failures::new(LIMITS), Instant::now());
        let at = |secs: f64| start + Duration::from_secs_f64(secs);
        let ann = failures.suspect("ann", address("192.0.2.1"));
        for _ in 0..FREE {
            assert!(!failures.fail(ann, at(0.0)));
            assert_eq!(failures.standing(ann, at(0.0)), Standing::Good);
        }
        for (begins, wait) in [(false, 1.0), (false, 2.0), (true, 300.0)] {
            assert_eq!(failures.fail(ann, at(0.0)), begins);
            let meanwhile = if begins { Standing::Banned } else { Standing::MustWait };
            assert_eq!(failures.standing(ann, at(wait - 0.1)), meanwhile);
            assert_eq!(failures.standing(ann, at(wait)), Standing::Good);
        }
        // The next failure begins a ban at once: those before are not forgotten yet.
        assert!(failures.fail(ann, at(301.0)));
        assert_eq!(failures.standing(ann, at(302.0)), Standing::Banned);
        // Others are not concerned: the same user elsewhere, another user here.
        assert_eq!(failures.standing(failures.suspect("ann", address("192.0.2.2")), at(302.0)), Standing::Good);
        assert_eq!(failures.standing(failures.suspect("ben", address("192.0.2.1")), at(302.0)), Standing::Good);
        failures.forgive(ann);
        assert_eq!(failures.standing(ann, at(302.0)), Standing::Good);
        for _ in 0..LIMITS.failures {
            failures.fail(ann, at(400.0));
        }
        assert!(!failures.fail(ann, at(1100.0)), "what was long ago does not count");
    }

    #[test]
    fn an_address_that_tries_many_names_is_banned_and_one_that_many_share_is_not_soon() {
        let (failures, now) = (Failures::new(LIMITS), Instant::now());
        let (most, mut bans) = (LIMITS.failures * TIMES_FOR_ADDRESS, 0);
        for number in 0..most {
            // The last 64 bits of an IPv6 address are those of one machine.
            let here = address(&format!("2001:db8::{number:x}"));
            let suspect = failures.suspect(&format!("u{number}"), here);
            assert_eq!(failures.standing(suspect, now), Standing::Good, "{number}");
            bans += u32::from(failures.fail(suspect, now));
        }
        assert_eq!(bans, 1);
        let of = |text| failures.standing(failures.suspect("new", address(text)), now);
        assert_eq!((of("2001:db8::ffff:1"), of("2001:db8:0:1::1")), (Standing::AddressBanned, Standing::Good));
        // Loopback is the address of a proxy.
        for number in 0..most {
            failures.fail(failures.suspect(&format!("u{number}"), address("127.0.0.1")), now);
        }
        assert_eq!(of("127.0.0.1"), Standing::Good);
        assert_eq!(failures.standing(failures.suspect("ann", None), now), Standing::Good);
    }

    #[test]
    fn checks_of_one_address_leave_room_for_those_of_others() {
        let (failures, now) = (Failures::new(LIMITS), Instant::now());
        let user = |number: u32| failures.suspect(&format!("u{number}"), address("192.0.2.1"));
        for _ in 0..MOST_OF_USER {
            assert_eq!(failures.standing(user(0), now), Standing::Good);
            failures.begin(user(0), now);
        }
        assert_eq!(
            (failures.standing(user(0), now), failures.standing(user(1), now)),
            (Standing::MustWait, Standing::Good)
        );
        for number in MOST_OF_USER..MOST_OF_ADDRESS {
            failures.begin(user(number), now);
        }
        assert_eq!(failures.standing(user(1), now), Standing::MustWait);
        assert_eq!(failures.standing(failures.suspect("u1", address("192.0.2.2")), now), Standing::Good);
        failures.end(user(0), None, now);
        assert_eq!(
            (failures.standing(user(0), now), failures.standing(user(1), now)),
            (Standing::Good, Standing::Good)
        );
    }

    #[test]
    fn a_crowd_of_failures_needs_bounded_memory_and_the_latest_are_remembered() {
        let (failures, start) = (Failures::new(LIMITS), Instant::now());
        for number in 0..100_000_u32 {
            let now = start + Duration::from_millis(number.into());
            let suspect = failures.suspect("ann", Some(IpAddr::from(number.to_be_bytes())));
            for _ in 0..LIMITS.failures {
                failures.fail(suspect, now);
            }
            assert_eq!(failures.standing(suspect, now), Standing::Banned);
            assert!(failures.table().len() <= MOST);
        }
    }
}
