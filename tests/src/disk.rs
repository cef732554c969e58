//! The disk that the stores of all brokers are on, and that is full for a while: what each broker may promise, and that
//! together they keep to it.

use goldcrest_core::Broker;

use crate::memory::Housed;

/// See [`World::use_disk`](crate::world::World::use_disk).
pub struct Disk {
    /// What each broker may promise, as long as nobody wants more.
    share: i64,
    /// By broker, what was granted to it less what it handed in, and with what siblings passed on to it.
    rooms: Vec<i64>,
    /// What of that went to acknowledgements and the like. They can't be refused, and have room of their own.
    others: Vec<i64>,
    /// Nothing is granted.
    pub is_full: bool,
    /// What was granted to all, less what was handed in of messages: so much it takes while it is full.
    left: i64,
}

impl Disk {
    /// One with room.
    pub fn new(brokers: usize, share: i64) -> Self {
        Self { share, rooms: vec![0; brokers], others: vec![0; brokers], is_full: false, left: 0 }
    }

    /// From now on there is room for what was granted and for nothing else; or there is plenty.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Grants what brokers lack; whether that was anything. Those of which a message waits come first.
    pub fn grant(&mut self, brokers: &mut [Housed], to_all: bool) -> bool {
        let mut any = false;
        let rooms = self.rooms.iter_mut().zip(&mut self.others);
        for (broker, (room, others)) in brokers.iter_mut().zip(rooms).filter(|_| !self.is_full) {
            let passed = broker.with(|broker| broker.take_passed_room());
            *room += passed;
            let wanted = broker.get().store_room_wanted() as i64;
            if (to_all || wanted > 0) && *room < self.share.max(wanted) {
                let granted = self.share.max(wanted);
                let before = *others + *room;
                *others = (before - granted).max(0);
                self.left += granted + *others - before;
                *room = granted;
                any = true;
            } else if passed == 0 {
                continue;
            }
            broker.with(|broker| tell(broker, *room));
        }
        any
    }

    /// A broker has handed in a batch: so many bytes in all, and so many of messages.
    ///
    /// # Panics
    /// If it was more than there is.
    pub fn take(&mut self, index: usize, broker: &mut Broker<'_>, (all, messages): (usize, usize)) {
        self.rooms[index] += broker.take_passed_room() - all as i64;
        self.others[index] += (all - messages) as i64;
        tell(broker, self.rooms[index]);
        self.left -= messages as i64;
        assert!(!self.is_full || self.left >= 0, "more was promised than there is room for");
    }

    /// Batches were lost with the power. To the brokers that come now nothing is granted yet, and they hear at once
    /// if there is nothing.
    pub fn restart(&mut self, brokers: &mut [Housed], lost: &[(usize, usize)]) {
        let rooms = self.rooms.iter_mut().zip(&mut self.others);
        for ((broker, (room, others)), (_, messages)) in brokers.iter_mut().zip(rooms).zip(lost) {
            *others += *room + *messages as i64;
            *room = 0;
            self.left += *messages as i64;
            broker.with(|broker| {
                tell(broker, 0);
                broker.set_store_full(self.is_full);
            });
        }
    }
}

fn tell(broker: &mut Broker<'_>, room: i64) {
    broker.set_store_room(room.max(0).unsigned_abs());
}
