//! How often one address may begin a handshake, so that no address takes the time of all others.
//!
//! Each address has a bucket in each of two tables of fixed size, at a place that nobody outside can tell. Where addresses share a bucket in one table, they hardly
//! share the other; a client is refused only if both buckets are used up. So the memory is bounded whoever comes, and an attacker with many addresses keeps few
//! others out.

use super::address_group::AddressGroup;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The buckets of one table, in 32 KiB.
const BUCKETS_OF_TABLE: usize = 4096;
/// An address that was silent may begin as many handshakes at once as in so many seconds.
const BURST_SECONDS: u32 = 10;

/// The handshakes of one listener.
pub(super) struct HandshakeRate {
    start: Instant,
    /// The microseconds between two handshakes of an address, in the long run.
    interval: u64,
    tables: [Buckets; 2],
}

struct Buckets {
    hasher: RandomState,
    /// When each bucket is full again, in microseconds since the start.
    full_at: Box<[AtomicU64]>,
}

impl HandshakeRate {
    /// `per_second` handshakes for each address; `None` if that is 0, which is no bound.
    pub(super) fn new(per_second: u32) -> Option<Self> {
        let table = || Buckets {
            hasher: RandomState::new(),
            full_at: (0..BUCKETS_OF_TABLE).map(|_| AtomicU64::new(0)).collect(),
        };
        let interval = 1_000_000_u64.checked_div(per_second.into())?;
        Some(Self { start: Instant::now(), interval, tables: [table(), table()] })
    }

    /// Counts a handshake of this address. Returns whether it may begin. Clients of this machine always may: they include proxies that do not tell for whom they
    /// connect.
    pub(super) fn pass(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() || self.pass_at(AddressGroup::of(address), self.start.elapsed())
    }

    fn pass_at(&self, group: AddressGroup, now: Duration) -> bool {
        let now = now.as_micros() as u64;
        let burst = u64::from(BURST_SECONDS) * 1_000_000;
        let mut passes = false;
        for table in &self.tables {
            let bucket = &table.full_at[table.hasher.hash_one(group) as usize % BUCKETS_OF_TABLE];
            let take = |full_at: u64| {
                let then = full_at.max(now) + self.interval;
                (then <= now + burst).then_some(then)
            };
            passes |= bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        }
        passes
    }
}

impl fmt::Debug for HandshakeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeRate").field("interval", &self.interval).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(number: u32) -> AddressGroup {
        AddressGroup::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn an_address_has_a_burst_and_then_its_rate() {
        assert!(HandshakeRate::new(0).is_none());
        let rate = HandshakeRate::new(5).unwrap();
        let passed = |seconds: u64, tries: usize| {
            (0..tries).filter(|_| rate.pass_at(group(1), Duration::from_secs(seconds))).count()
        };
        assert_eq!(passed(0, 1000), 50);
        assert_eq!(passed(1, 1000), 5);
        assert_eq!(passed(3, 1000), 10);
        assert_eq!(passed(3600, 1000), 50);
        assert!((0..1000).all(|_| rate.pass("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn an_attacker_with_many_addresses_keeps_few_others_out() {
        let rate = HandshakeRate::new(1).unwrap();
        let now = Duration::from_secs(1);
        for attacker in 0..400 {
            while rate.pass_at(group(attacker), now) {}
        }
        let kept_out = (1 << 20..(1 << 20) + 1000).filter(|client| !rate.pass_at(group(*client), now)).count();
        assert!(kept_out < 50, "{kept_out} of 1,000");
    }
}
