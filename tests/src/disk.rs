//! The disk that the stores of all brokers are on, and that is full for a while: what each broker may promise, and that
//! together they keep to it.

use goldcrest_core::Broker;

use crate::memory::Housed;

/// See [`World::use_disk`](crate::world::World::use_disk). What each broker may promise stands in its own account.
pub struct Disk {
    /// What each broker may promise, as long as nobody wants more.
    share: i64,
    /// By broker, what went to acknowledgements and the like. They can't be refused, and have room of their own.
    others: Vec<i64>,
    /// By broker, the balance that was lost with the power.
    lost: Vec<i64>,
    /// Nothing is granted.
    pub is_full: bool,
    /// What was granted to all, less what was handed in of messages: so much it takes while it is full.
    left: i64,
}

impl Disk {
    /// One with room.
    pub fn new(brokers: usize, share: i64) -> Self {
        Self { share, others: vec![0; brokers], lost: vec![0; brokers], is_full: false, left: 0 }
    }

    /// From now on there is room for what was granted and for nothing else; or there is plenty.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Grants what brokers lack; whether that was anything. Those of which a message waits come first.
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

    /// A broker has handed in a batch: so many bytes in all, and so many of messages.
    ///
    /// # Panics
    /// If it was more than there is.
    pub fn take(&mut self, index: usize, broker: &mut Broker<'_>, (all, messages): (usize, usize)) {
        broker.spend_store_credit(all as u64);
        self.others[index] += (all - messages) as i64;
        self.left -= messages as i64;
        assert!(!self.is_full || self.left >= 0, "more was promised than there is room for");
    }

    /// The power goes, and the accounts of all brokers with it.
    pub fn lose_power(&mut self, brokers: &[Housed]) {
        self.lost = brokers.iter().map(|broker| broker.get().store_credit().balance()).collect();
    }

    /// Batches were lost with the power. To the brokers that come now nothing is granted yet, and they hear at once
    /// if there is nothing.
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
