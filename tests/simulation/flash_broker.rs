//! A broker of the firmware's size keeps its records on NOR flash while 1,000 messages of QoS 1 and 2 pass through it. The
//! power is cut at every operation on the flash, and again while the broker recovers.
//!
//! Both clients follow the protocol. After each power cut they connect again and go on. In the end every acknowledged message
//! has arrived, in order, and those of QoS 2 once.
//!
//! For one in [`STEP`] operations the recovery is cut once as well. `GOLDCREST_POWER_STEP=1` does so for all operations, and
//! `GOLDCREST_POWER_AGAIN=N` cuts each recovery at N operations, or at all of them for 0.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use goldcrest_core::{AllowAll, Broker, Config, ConnectionId, Instant, Then};
use goldcrest_flash::{Place, RECORD_BYTES, Store, places};
use goldcrest_tests::firmware as memory;
use goldcrest_tests::nor::{Chip, Nor, Operation};
use goldcrest_tests::random::{Random, setting};

const SECTOR: usize = 512;
const SECTORS: usize = 16;
const MESSAGES: u16 = 1_000;
/// Messages published after each recovery.
const AFTERWARDS: u16 = 2;
/// The default of `GOLDCREST_POWER_STEP`.
const STEP: u64 = 10;

#[test]
fn no_acknowledged_message_is_lost_on_flash_with_units_of_1_byte() {
    cut_everywhere::<1>(0);
}

#[test]
fn no_acknowledged_message_is_lost_on_flash_with_units_of_4_bytes() {
    cut_everywhere::<4>(1);
}

#[test]
fn no_acknowledged_message_is_lost_on_flash_with_units_of_8_bytes() {
    cut_everywhere::<8>(2);
}

fn cut_everywhere<const UNIT: usize>(first: usize) {
    let (step, again) = (setting("GOLDCREST_POWER_STEP", STEP) as usize, setting("GOLDCREST_POWER_AGAIN", 1));
    let mut chip = Chip::new(UNIT, SECTOR, SECTORS);
    let whole = Life::live::<UNIT>(chip.clone(), 0, Clients::default(), MESSAGES);
    let mut states = 0;
    for (index, operation) in whole.operations.iter().enumerate() {
        if (index + first).is_multiple_of(step) {
            let mut random = Random::new(index as u64);
            let mut torn = chip.clone();
            torn.tear(operation, &mut random);
            let clients = whole.clients_at(index);
            let life = recover::<UNIT>(&torn, clients, &mut random);
            states += 1;
            let count = life.operations.len();
            let cuts: BTreeSet<usize> =
                if again == 0 { (0..count).collect() } else { (0..again).map(|_| random.below(count)).collect() };
            for (index, operation) in life.operations.iter().enumerate() {
                if cuts.contains(&index) {
                    let mut torn_again = torn.clone();
                    torn_again.tear(operation, &mut random);
                    recover::<UNIT>(&torn_again, life.clients_at(index), &mut random);
                    states += 1;
                }
                torn.apply(operation);
            }
        }
        chip.apply(operation);
    }
    println!("{states} states after power cuts, of {} operations, with units of {UNIT}", whole.operations.len());
}

/// Starts the broker again, and runs it until all messages that are due have arrived.
fn recover<const UNIT: usize>(torn: &Chip, clients: &Clients, random: &mut Random) -> Life {
    let mut clients = clients.clone();
    clients.lose_connections();
    let goal = clients.publisher.next + AFTERWARDS;
    Life::live::<UNIT>(torn.clone(), random.draw(), clients, goal)
}

/// The time between two power cuts.
struct Life {
    operations: Vec<Operation>,
    /// For ranges of flash operations, what the clients had sent and received when the operations were complete.
    seen: Vec<(Range<usize>, Clients)>,
}

impl Life {
    fn clients_at(&self, operation: usize) -> &Clients {
        let at = self.seen.partition_point(|(range, _)| range.end <= operation);
        &self.seen[at].1
    }

    /// Publishes all messages before `goal`, and runs until nothing more happens.
    fn live<const UNIT: usize>(chip: Chip, seed: u64, mut clients: Clients, goal: u16) -> Self {
        let flash = Nor::<UNIT, SECTOR>::new(chip, seed);
        let mut resources = Box::new(memory::Memory::new());
        let memory = resources.memory();
        let mut table = [Place::NONE; places(&memory::Memory::ENTRIES)];
        let mut record = [0; RECORD_BYTES];
        let range = 0..(SECTOR * SECTORS) as u32;
        let (mut store, found) = Store::open(flash.clone(), range, &memory, &mut table).unwrap();
        assert_eq!(found.damaged, 0, "a power cut is no damage");
        let mut now = store.clock();
        let config = Config { durable: true, ..memory::config(seed.into()) };
        let mut broker = Broker::new(memory, config, &AllowAll);
        let restored = store.restore(now, &mut broker, &mut record).unwrap();
        assert_eq!(restored.dropped, 0, "a batch is in pieces");

        let mut seen = Vec::new();
        let mut quiet = 0;
        while quiet < 3 {
            now = now.plus_millis(10);
            let mut has_moved = clients.go_on(goal);
            let Clients { publisher, subscriber } = &mut clients;
            for wire in [&mut publisher.wire, &mut subscriber.wire] {
                has_moved |= wire.feed(now, &mut broker);
            }
            let before = flash.operations();
            store.persist(now, &mut broker, &mut record).unwrap();
            if flash.operations() > before {
                seen.push((before..flash.operations(), clients.clone()));
            }
            let before = flash.operations();
            store.idle().unwrap();
            if flash.operations() > before {
                seen.push((before..flash.operations(), clients.clone()));
            }
            while let Some(id) = broker.poll_ready() {
                has_moved = true;
                clients.take(now, &mut broker, id);
            }
            quiet = if has_moved { 0 } else { quiet + 1 };
        }
        clients.check(goal);
        Self { operations: flash.done(), seen }
    }
}

/// One end of a Network Connection.
#[derive(Clone, Default)]
struct Wire {
    id: Option<ConnectionId>,
    output: Vec<u8>,
}

impl Wire {
    fn feed(&mut self, now: Instant, broker: &mut Broker<'_>) -> bool {
        if self.output.is_empty() {
            return false;
        }
        let id = *self.id.get_or_insert_with(|| broker.handle_connected(now).unwrap());
        let consumed = broker.handle_bytes(now, id, &self.output).consumed;
        self.output.drain(..consumed);
        consumed > 0
    }
}

#[derive(Clone, Default)]
struct Clients {
    publisher: Publisher,
    subscriber: Subscriber,
}

#[derive(Clone, Default)]
struct Publisher {
    wire: Wire,
    is_connecting: bool,
    is_open: bool,
    /// The number of the next message. Odd numbers have QoS 2.
    next: u16,
    /// The numbers of messages in progress, and whether PUBREC has come. The Packet Identifier is the number plus one.
    pending: VecDeque<(u16, bool)>,
    acknowledged: BTreeSet<u16>,
}

#[derive(Clone, Default)]
struct Subscriber {
    wire: Wire,
    is_connecting: bool,
    is_open: bool,
    is_subscribed: bool,
    /// Packet Identifiers of QoS 2 messages whose PUBREL has not come.
    held: BTreeSet<u16>,
    /// For each number, how often the message came.
    got: Vec<u8>,
}

impl Clients {
    fn lose_connections(&mut self) {
        let (publisher, subscriber) = (&mut self.publisher, &mut self.subscriber);
        (publisher.wire, publisher.is_connecting, publisher.is_open) = (Wire::default(), false, false);
        (subscriber.wire, subscriber.is_connecting, subscriber.is_open) = (Wire::default(), false, false);
    }

    /// Sends the packets that are due. Returns whether there were any.
    fn go_on(&mut self, goal: u16) -> bool {
        let (publisher, subscriber) = (&mut self.publisher, &mut self.subscriber);
        if !publisher.is_connecting || !subscriber.is_connecting {
            for (wire, name) in [(&mut publisher.wire, b'p'), (&mut subscriber.wire, b's')] {
                wire.output.extend([0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, name]);
            }
            (publisher.is_connecting, subscriber.is_connecting) = (true, true);
            return true;
        }
        // Two messages at a time, so that the broker handles both together.
        let may_publish = publisher.is_open && subscriber.is_subscribed && publisher.pending.len() < 2;
        if !may_publish || publisher.next >= goal {
            return false;
        }
        let number = publisher.next;
        publisher.next += 1;
        publisher.pending.push_back((number, false));
        publisher.publish(number, false);
        true
    }

    /// Receives the bytes that the broker has for a connection.
    fn take(&mut self, now: Instant, broker: &mut Broker<'_>, id: ConnectionId) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 256];
        loop {
            let transmit = broker.poll_transmit(now, id, &mut buffer);
            bytes.extend_from_slice(&buffer[..transmit.written]);
            match transmit.then {
                Then::More => {}
                Then::Idle => break,
                Then::Close => panic!("the broker closes a connection"),
            }
        }
        let mut rest = &bytes[..];
        while let [kind, len, following @ ..] = rest {
            let (body, following) = following.split_at(usize::from(*len));
            if self.publisher.wire.id == Some(id) {
                self.publisher.receive(*kind, body);
            } else {
                self.subscriber.receive(*kind, body);
            }
            rest = following;
        }
    }

    fn check(&self, goal: u16) {
        let Self { publisher, subscriber } = self;
        assert_eq!((publisher.next, publisher.pending.len()), (goal, 0), "messages are not acknowledged");
        for number in 0..goal {
            let times = subscriber.got[usize::from(number)];
            assert!(times > 0, "message {number} was acknowledged and is lost");
            assert!(times == 1 || number.is_multiple_of(2), "message {number} of QoS 2 came {times} times");
        }
        assert_eq!(publisher.acknowledged.len(), usize::from(goal));
    }
}

impl Publisher {
    fn publish(&mut self, number: u16, dup: bool) {
        let [high, low] = (number + 1).to_be_bytes();
        let flags = if number.is_multiple_of(2) { 0x32 } else { 0x34 } | if dup { 8 } else { 0 };
        let [first, second] = number.to_be_bytes();
        self.wire.output.extend([flags, 7, 0, 1, b't', high, low, first, second]);
    }

    fn receive(&mut self, kind: u8, body: &[u8]) {
        match (kind, body) {
            (0x20, [_, 0]) => {
                self.is_open = true;
                for (number, is_released) in self.pending.clone() {
                    if is_released {
                        self.release(number);
                    } else {
                        self.publish(number, true);
                    }
                }
            }
            // PUBACK and PUBCOMP complete the handshake.
            (0x40 | 0x70, [high, low]) => {
                let number = u16::from_be_bytes([*high, *low]) - 1;
                self.pending.retain(|(pending, _)| *pending != number);
                self.acknowledged.insert(number);
            }
            (0x50, [high, low]) => {
                let number = u16::from_be_bytes([*high, *low]) - 1;
                if let Some(entry) = self.pending.iter_mut().find(|(pending, _)| *pending == number) {
                    entry.1 = true;
                }
                self.release(number);
            }
            other => panic!("the publisher gets {other:?}"),
        }
    }

    fn release(&mut self, number: u16) {
        let [high, low] = (number + 1).to_be_bytes();
        self.wire.output.extend([0x62, 2, high, low]);
    }
}

impl Subscriber {
    fn receive(&mut self, kind: u8, body: &[u8]) {
        match (kind & 0xF6, body) {
            (0x20, [present, 0]) => {
                self.is_open = true;
                assert!(*present == 1 || !self.is_subscribed, "the Session is lost");
                if !self.is_subscribed {
                    self.wire.output.extend([0x82, 6, 0, 1, 0, 1, b't', 2]);
                }
            }
            (0x90, [0, 1, 2]) => self.is_subscribed = true,
            (0x32, [0, 1, b't', high, low, number @ ..]) => {
                self.take(number);
                self.wire.output.extend([0x40, 2, *high, *low]);
            }
            (0x34, [0, 1, b't', high, low, number @ ..]) => {
                if self.held.insert(u16::from_be_bytes([*high, *low])) {
                    self.take(number);
                }
                self.wire.output.extend([0x50, 2, *high, *low]);
            }
            (0x62, [high, low]) => {
                self.held.remove(&u16::from_be_bytes([*high, *low]));
                self.wire.output.extend([0x70, 2, *high, *low]);
            }
            other => panic!("the subscriber gets {other:?}"),
        }
    }

    fn take(&mut self, number: &[u8]) {
        let number = usize::from(u16::from_be_bytes([number[0], number[1]]));
        self.got.resize(self.got.len().max(number + 1), 0);
        assert!(self.got[number] > 0 || self.got[..number].iter().all(|times| *times > 0), "{number} came early");
        self.got[number] += 1;
    }
}
