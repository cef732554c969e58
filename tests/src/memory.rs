//! Both kinds of memory for brokers under test, and a broker together with the memory that it borrows.

use std::any::Any;

use self_cell::{MutBorrow, self_cell};

use crate::firmware;
use goldcrest_core::internals::{Block, Bytes, JournalMemory, RouterMemory, Slots, Tables};
use goldcrest_core::{Authorize, Broker, Capacity, Config, Limits, Memory, Shard};

/// The kind of memory of a broker, and its size.
#[derive(Clone, Copy, Debug)]
pub enum Storage {
    /// On the heap, growing up to the capacity.
    Owned(Capacity),
    /// Tables of that length, allocated once and lent to the broker, as firmware does.
    Borrowed(Capacity),
    /// Exactly the tables of the firmware example.
    Firmware,
}

self_cell! {
    /// A broker and the memory that it borrows, which are dropped together.
    pub struct Housed {
        owner: MutBorrow<Shelf>,
        #[covariant]
        dependent: Broker,
    }
}

impl Housed {
    /// The broker that `make` makes. `make` may put memory for it on the shelf.
    pub fn made(make: impl for<'m> FnOnce(&'m mut Shelf) -> Broker<'m>) -> Self {
        Self::new(MutBorrow::new(Shelf::default()), |shelf| make(shelf.borrow_mut()))
    }

    /// A broker in memory of this kind.
    pub fn stored(storage: Storage, config: Config<'static>, authorize: &'static dyn Authorize) -> Self {
        Self::made(|shelf| Broker::new(storage.memory(shelf, &config.limits, config.shard), config, authorize))
    }

    /// The broker, to be read.
    pub fn get(&self) -> &Broker<'_> {
        self.borrow_dependent()
    }

    /// Calls `act` with the broker.
    pub fn with<R>(&mut self, act: impl for<'m> FnOnce(&mut Broker<'m>) -> R) -> R {
        self.with_dependent_mut(|_, broker| act(broker))
    }
}

/// Holds memory that is lent: up to `PLACES` values of any type.
pub struct Shelf([Box<dyn Any>; PLACES]);

/// More than the tables of a [`Memory`].
const PLACES: usize = 48;

impl Default for Shelf {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Box::new(()) as Box<dyn Any>))
    }
}

impl Shelf {
    /// Stores `thing` for as long as it is lent.
    pub fn put<T: Any>(&mut self, thing: T) -> &mut T {
        put(&mut self.0.iter_mut(), thing)
    }
}

type Places<'m> = std::slice::IterMut<'m, Box<dyn Any>>;

fn put<'m, T: Any>(places: &mut Places<'m>, thing: T) -> &'m mut T {
    let place = places.next().expect("a shelf has more places than there are tables");
    *place = Box::new(thing);
    place.downcast_mut().expect("it was put there just now")
}

/// Enough for any test of a few clients.
pub const MODEST: Capacity = Capacity {
    connections: 24,
    sessions: 48,
    subscriptions: 512,
    topic_levels: 2_048,
    messages: 2_048,
    deliveries: 4_096,
    bytes: 2 << 20,
};

impl Storage {
    /// Memory for one broker. Tables to be borrowed are put on the shelf, which must be empty.
    pub fn memory<'m>(&self, shelf: &'m mut Shelf, limits: &Limits, shard: Shard) -> Memory<'m> {
        match self {
            Self::Owned(capacity) => Memory::owned(capacity, limits, shard),
            Self::Borrowed(capacity) => borrowed(&mut shelf.0.iter_mut(), capacity, limits, shard),
            Self::Firmware => shelf.put(firmware::Memory::new()).memory(),
        }
    }
}

/// As [`Memory::owned`], with tables that have their full length from the start.
fn borrowed<'m>(on: &mut Places<'m>, capacity: &Capacity, limits: &Limits, shard: Shard) -> Memory<'m> {
    let per_connection = |each: u16| capacity.connections * usize::from(each);
    let aliases = per_connection(limits.topic_aliases_in + limits.topic_aliases_out);
    let receipts = capacity.sessions * usize::from(limits.receive_maximum);
    let timers = capacity.connections + capacity.sessions;
    let siblings = if shard.count > 1 { usize::from(shard.count) } else { 0 };
    Memory::from(Tables {
        connections: table(on, capacity.connections),
        sessions: table(on, capacity.sessions),
        session_buckets: table(on, capacity.sessions),
        messages: table(on, capacity.messages),
        deliveries: table(on, capacity.deliveries),
        bytes: blocks(on, capacity.bytes),
        owed: table(on, per_connection(limits.owed_replies)),
        receipts: table(on, receipts),
        receipt_buckets: table(on, receipts / 4),
        aliases: table(on, aliases),
        alias_buckets: table(on, aliases / 4),
        replays: table(on, capacity.subscriptions),
        group_queues: table(on, capacity.subscriptions),
        timers: table(on, timers),
        timer_heap: table(on, timers),
        router: RouterMemory {
            nodes: table(on, capacity.topic_levels + 1),
            node_buckets: table(on, capacity.topic_levels),
            subscriptions: table(on, capacity.subscriptions),
            subscription_buckets: table(on, capacity.subscriptions),
            subscribers: table(on, capacity.sessions + siblings),
            groups: table(on, capacity.subscriptions),
            group_buckets: table(on, capacity.subscriptions),
            texts: blocks(on, capacity.topic_levels * 60),
        },
        scratch: table(on, limits.packet_bytes as usize),
        journal: JournalMemory {
            sessions: table(on, capacity.sessions),
            groups: table(on, capacity.subscriptions),
            subscriptions: table(on, capacity.subscriptions),
            messages: table(on, capacity.messages),
            retained: table(on, capacity.messages),
            deliveries: table(on, capacity.deliveries),
            receipts: table(on, receipts),
        },
    })
}

fn table<'m, T: Default + Any>(on: &mut Places<'m>, len: usize) -> Slots<'m, T> {
    Slots::borrowed(put(on, (0..len).map(|_| T::default()).collect::<Vec<T>>()))
}

fn blocks<'m>(on: &mut Places<'m>, bytes: usize) -> Bytes<'m> {
    Bytes::borrowed(put(on, vec![Block::EMPTY; bytes.div_ceil(60)]))
}
