//! One disk for the stores of all brokers, which may be full for a while. It grants each broker the bytes that the
//! broker may promise to store, and checks that the brokers together promise no more.

use goldcrest_core::Broker;

use crate::memory::Housed;

/// See [`World::use_disk`](crate::world::World::use_disk). The bytes granted to a broker stand in the broker's own
/// credit account.
pub struct Disk {
    /// The bytes that each broker may promise while no broker needs more.
    share: i64,
    /// For each broker, the bytes of records other than messages, such as acknowledgements. The disk can't refuse
    /// these, and has room set aside for them.
    others: Vec<i64>,
    /// For each broker, the balance of its account when the power was lost.
    lost: Vec<i64>,
    /// A full disk grants nothing.
    pub is_full: bool,
    /// All bytes granted to brokers, less the bytes of messages that were handed in: as much the disk still accepts
    /// while it is full.
    left: i64,
}

impl Disk {
    /// A disk that is not full.
    pub fn new(brokers: usize, share: i64) -> Self {
        Self { share, others: vec![0; brokers], lost: vec![0; brokers], is_full: false, left: 0 }
    }

    /// A full disk has room for the bytes that were granted, and for no more.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Grants brokers the bytes that they lack: all brokers with `to_all`, otherwise those that need bytes for a
    /// message that waits. Returns whether any bytes were granted.
    pub fn grant(&mut self, brokers: &mut [Housed], to_all: bool) -> bool {
        let mut any = false;
        for (broker, others) in brokers.iter_mut().zip(&mut self.others).filter(|_| !self.is_full) {
            let credit = broker.get().store_credit();
            let (wanted, balance) = (credit.wanted() as i64, credit.balance());
            let aim = self.share.max(wanted);
            if (to_all || wanted > 0) && balance < aim {
                let before = *others + balance;
                *others = (before - aim).max(0);
                self.left += aim + *others - before;
                broker.with(|broker| broker.grant_store_credit((aim - balance).unsigned_abs()));
                any = true;
            }
        }
        any
    }

    /// A broker has handed in a batch of `all` bytes, `messages` of them for messages.
    ///
    /// # Panics
    /// If a full disk has not granted as many bytes.
    pub fn take(&mut self, index: usize, broker: &mut Broker<'_>, (all, messages): (usize, usize)) {
        broker.spend_store_credit(all as u64);
        self.others[index] += (all - messages) as i64;
        self.left -= messages as i64;
        assert!(!self.is_full || self.left >= 0, "more was promised than there is room for");
    }

    /// The power is lost, and with it the accounts of all brokers.
    pub fn lose_power(&mut self, brokers: &[Housed]) {
        self.lost = brokers.iter().map(|broker| broker.get().store_credit().balance()).collect();
    }

    /// New brokers start after a loss of power, which lost batches of these sizes too. Nothing is granted to a new
    /// broker yet, and it learns at once whether the disk is full.
    pub fn restart(&mut self, brokers: &mut [Housed], lost: &[(usize, usize)]) {
        let accounts = self.lost.iter().zip(&mut self.others);
        for ((broker, (balance, others)), (_, messages)) in brokers.iter_mut().zip(accounts).zip(lost) {
            *others += *balance + *messages as i64;
            self.left += *messages as i64;
            broker.with(|broker| {
                broker.grant_store_credit(0);
                broker.set_store_full(self.is_full);
            });
        }
    }
}
