//! Many power cuts in a row, while two publishers and two subscribers keep a broker of the firmware's size busy, on NOR flash.
//!
//! This is the load test of the board (`firmware/test_reset.py`) without a board and without real time. One client publishes with
//! QoS 1 and one with QoS 2. One subscriber is always there. The other one is away between every other pair of power cuts: it
//! disconnects, does not connect, or does not read. Bytes arrive in pieces, and bytes on their way are lost with the power.
//!
//! Every acknowledged message reaches both subscribers, in order, and those of QoS 2 once. No message is dropped, since the
//! publishers never send more than the queues have room for. (The board's test once did, and lost a message in one run of many: a
//! message of QoS 1 that is sent again is a new message for the broker `[MQTT-4.3.2-5]`, and takes another place in the queue.)
//!
//! `GOLDCREST_SIM_SEEDS=N` tries more seeds than usual.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use goldcrest_core::{AllowAll, Broker, Config, ConnectionId, Instant, Limits, Next, Then};
use goldcrest_flash::{Place, RECORD_BYTES, Store, places};
use goldcrest_tests::firmware as memory;
use goldcrest_tests::nor::{Chip, Nor};
use goldcrest_tests::random::{Random, setting};

const UNIT: usize = 4;
const SECTOR: usize = 1024;
const SECTORS: usize = 16;
const LIVES: usize = 30;
/// Messages that may wait for one Session. Room is left for messages that the Session has acknowledged, because these wait again
/// if the power is cut before the store has recorded the acknowledgement.
const QUEUE: usize = Limits::FIRMWARE.queued_messages as usize - Limits::FIRMWARE.inflight as usize;
/// The most messages by which a publisher may be ahead of a subscriber.
const AHEAD: usize = 6;
/// The server's Receive Maximum.
const RECEIVE_MAXIMUM: usize = Limits::FIRMWARE.receive_maximum as usize;
const TURNS: usize = 10_000;

#[test]
fn acknowledged_messages_come_to_everybody_over_many_power_cuts() {
    let (mut messages, mut again) = (0, 0);
    for seed in 1..=setting("GOLDCREST_SIM_SEEDS", 20) {
        println!("seed {seed}");
        let clients = run(seed);
        messages += clients.publishers.iter().map(|publisher| usize::from(publisher.next)).sum::<usize>();
        again += clients.publishers.iter().map(|publisher| publisher.again).sum::<usize>();
    }
    println!("{messages} messages, {again} sent again");
}

fn run(seed: u64) -> Clients {
    let mut random = Random::new(seed);
    let mut chip = Chip::new(UNIT, SECTOR, SECTORS);
    let mut clients = Clients::new();
    for life in 0..LIVES {
        clients.begin_life(life % 2 == 1, &mut random);
        let most = random.choose(&[20, 120]);
        let turns = 1 + random.below(most);
        chip = live(chip, &mut clients, &mut random, Some(turns));
    }
    clients.begin_life(false, &mut random);
    live(chip, &mut clients, &mut random, None);
    clients.check();
    clients
}

/// Runs the broker for `turns` turns and then cuts the power, or, for `None`, until all messages have arrived. Returns the flash
/// as it is then.
fn live(chip: Chip, clients: &mut Clients, random: &mut Random, turns: Option<usize>) -> Chip {
    let flash = Nor::<UNIT, SECTOR>::new(chip.clone(), random.draw());
    let mut resources = Box::new(memory::Memory::new());
    let memory = resources.memory();
    let mut table = [Place::NONE; places(&memory::Memory::ENTRIES)];
    let mut record = [0; RECORD_BYTES];
    let range = 0..(SECTOR * SECTORS) as u32;
    let (mut store, found) = Store::open(flash.clone(), range, &memory, &mut table).unwrap();
    assert_eq!(found.damaged, 0, "a power cut is no damage");
    let mut now = store.clock();
    let config = Config { durable: true, ..memory::config(random.draw().into()) };
    let mut broker = Broker::new(memory, config, &AllowAll);
    let restored = store.restore(now, &mut broker, &mut record).unwrap();
    assert_eq!(restored.dropped, 0, "a batch is in pieces");

    for turn in 0.. {
        now = now.plus_millis(10);
        // After the cut, publishers send again the messages whose acknowledgements they have not received. The queues must have
        // room for these.
        let is_last = turns.is_some_and(|turns| turn >= turns) && clients.has_room_for(0);
        clients.act(turns.is_some(), random);
        for wire in clients.wires() {
            wire.feed(now, &mut broker, random);
        }
        let before = flash.operations();
        store.persist(now, &mut broker, &mut record).unwrap();
        if is_last {
            // No client has received anything that depends on this turn.
            return cut(chip, &flash, before, random);
        }
        if random.percent(50) {
            store.idle().unwrap();
        }
        while let Some(id) = broker.poll_ready() {
            clients.wires().filter(|wire| wire.id == Some(id)).for_each(Wire::wake);
        }
        for wire in clients.wires() {
            wire.drain(now, &mut broker, random);
        }
        clients.receive(random);
        assert_eq!(broker.counters().dropped.total(), 0, "a queue was too short for what was sent");
        if turns.is_none() && clients.has_all() && !broker.has_records() {
            break;
        }
        assert!(turn < TURNS, "nothing more comes: {clients:#?}");
    }
    flash.chip()
}

/// The flash after a power cut during the operations from `before` on.
fn cut(mut chip: Chip, flash: &Nor<UNIT, SECTOR>, before: usize, random: &mut Random) -> Chip {
    let done = flash.done();
    let whole = before + random.below(done.len() - before + 1);
    done[..whole].iter().for_each(|operation| chip.apply(operation));
    if let Some(operation) = done.get(whole) {
        chip.tear(operation, random);
    }
    chip
}

/// One end of a Network Connection, with the bytes on their way.
#[derive(Clone, Debug, Default)]
struct Wire {
    id: Option<ConnectionId>,
    output: Vec<u8>,
    input: Vec<u8>,
    /// The broker reads nothing from the connection until `poll_ready` names it.
    is_waiting: bool,
    is_ready: bool,
    /// DISCONNECT was sent.
    is_leaving: bool,
}

impl Wire {
    /// Hands some of the client's bytes to the broker.
    fn feed(&mut self, now: Instant, broker: &mut Broker<'_>, random: &mut Random) {
        if self.output.is_empty() || self.is_waiting {
            return;
        }
        let id = *self.id.get_or_insert_with(|| broker.handle_connected(now).unwrap());
        let len = if random.percent(60) { self.output.len() } else { random.below(self.output.len() + 1) };
        let received = broker.handle_bytes(now, id, &self.output[..len]);
        self.is_waiting = !matches!(received.next, Next::Read | Next::Yield);
        let consumed = received.consumed;
        self.output.drain(..consumed);
    }

    fn wake(&mut self) {
        (self.is_ready, self.is_waiting) = (true, false);
    }

    /// Lets the broker transmit as many bytes as the socket has room for.
    fn drain(&mut self, now: Instant, broker: &mut Broker<'_>, random: &mut Random) {
        let Some(id) = self.id.filter(|_| self.is_ready) else { return };
        let mut buffer = [0; 256];
        // The socket of a client that does not read is full at last.
        let room = 512_usize.saturating_sub(self.input.len()).min(buffer.len());
        let size = if random.percent(50) { room } else { random.below(room + 1) };
        let transmit = broker.poll_transmit(now, id, &mut buffer[..size]);
        self.input.extend_from_slice(&buffer[..transmit.written]);
        self.is_ready = transmit.then == Then::More;
        if transmit.then == Then::Close {
            assert!(self.is_leaving, "the broker closes a connection");
            broker.handle_closed(now, id);
            *self = Self::default();
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    fn send_connect(&mut self, name: u8) {
        self.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, name]);
    }

    /// Receives some of the bytes on their way, and returns the packets that are whole.
    fn packets(&mut self, random: &mut Random) -> Vec<(u8, Vec<u8>)> {
        let limit = if random.percent(70) { self.input.len() } else { random.below(self.input.len() + 1) };
        let (mut packets, mut at) = (Vec::new(), 0);
        while let Some([kind, len, rest @ ..]) = self.input.get(at..limit)
            && let Some(body) = rest.get(..usize::from(*len))
        {
            packets.push((*kind, body.to_vec()));
            at += 2 + body.len();
        }
        self.input.drain(..at);
        packets
    }
}

#[derive(Clone, Debug)]
struct Clients {
    publishers: [Publisher; 2],
    subscribers: [Subscriber; 2],
}

/// Publishes 0, 1, 2 ... to the topic that is named by its QoS.
#[derive(Clone, Debug)]
struct Publisher {
    wire: Wire,
    qos: u8,
    is_connecting: bool,
    is_open: bool,
    next: u16,
    /// The numbers of messages in progress, and whether PUBREC has come. The Packet Identifier is the number plus one.
    pending: VecDeque<(u16, bool)>,
    /// The number in each PUBLISH that was sent, including those sent again.
    transmitted: Vec<u16>,
    again: usize,
}

/// How a subscriber behaves between two power cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Here,
    /// Disconnects as soon as it has connected.
    Leaves,
    DoesNotCome,
    DoesNotRead,
}

#[derive(Clone, Debug)]
struct Subscriber {
    wire: Wire,
    name: u8,
    mood: Mood,
    is_connecting: bool,
    is_open: bool,
    is_subscribed: bool,
    /// QoS 2 messages whose PUBREL has not come, by Packet Identifier.
    held: BTreeMap<u16, Vec<u8>>,
    /// For each QoS, the numbers received.
    got: [Vec<u16>; 3],
    /// The messages that came on this connection match, in order, messages among the first `scanned` QoS 1 PUBLISH packets of the
    /// publisher. It is a lower bound: a connection begins with old messages that were not acknowledged, and some PUBLISH packets
    /// never arrived.
    scanned: usize,
    /// The first `behind` PUBLISH packets of the publisher are no longer in the subscriber's queue.
    behind: usize,
}

impl Clients {
    fn new() -> Self {
        let publishers = [1, 2].map(|qos| Publisher {
            wire: Wire::default(),
            qos,
            is_connecting: false,
            is_open: false,
            next: 0,
            pending: VecDeque::new(),
            transmitted: Vec::new(),
            again: 0,
        });
        let subscribers = [b's', b'c'].map(|name| Subscriber {
            wire: Wire::default(),
            name,
            mood: Mood::Here,
            is_connecting: false,
            is_open: false,
            is_subscribed: false,
            held: BTreeMap::new(),
            got: Default::default(),
            scanned: 0,
            behind: 0,
        });
        Self { publishers, subscribers }
    }

    /// Closes all connections, and decides how the second subscriber behaves until the next power cut.
    fn begin_life(&mut self, is_one_away: bool, random: &mut Random) {
        for publisher in &mut self.publishers {
            (publisher.wire, publisher.is_connecting, publisher.is_open) = (Wire::default(), false, false);
        }
        for subscriber in &mut self.subscribers {
            (subscriber.wire, subscriber.is_connecting, subscriber.is_open) = (Wire::default(), false, false);
            subscriber.scanned = 0;
        }
        let away = [Mood::Leaves, Mood::DoesNotCome, Mood::DoesNotRead];
        let may_be_away = is_one_away && self.subscribers[1].is_subscribed;
        self.subscribers[1].mood = if may_be_away { random.choose(&away) } else { Mood::Here };
    }

    fn wires(&mut self) -> impl Iterator<Item = &mut Wire> {
        let publishers = self.publishers.iter_mut().map(|publisher| &mut publisher.wire);
        publishers.chain(self.subscribers.iter_mut().map(|subscriber| &mut subscriber.wire))
    }

    /// Lets each client connect, publish or leave at random.
    fn act(&mut self, publishes: bool, random: &mut Random) {
        for subscriber in &mut self.subscribers {
            if !subscriber.is_connecting && subscriber.mood != Mood::DoesNotCome && random.percent(30) {
                subscriber.wire.send_connect(subscriber.name);
                subscriber.is_connecting = true;
            }
            if subscriber.is_open && subscriber.mood == Mood::Leaves {
                subscriber.wire.send(&[0xE0, 0]);
                (subscriber.wire.is_leaving, subscriber.is_open) = (true, false);
            }
        }
        for index in 0..2 {
            let publisher = &self.publishers[index];
            if !publisher.is_connecting && random.percent(30) {
                self.publishers[index].wire.send_connect(b'0' + publisher.qos);
                self.publishers[index].is_connecting = true;
            } else if publishes && publisher.is_open && random.percent(50) {
                for _ in 0..1 + random.below(AHEAD) {
                    if self.may_publish(index) {
                        self.publishers[index].publish_next();
                    }
                }
            }
        }
    }

    fn may_publish(&self, index: usize) -> bool {
        let publisher = &self.publishers[index];
        // A message of QoS 1 that is sent again is a new message for the broker.
        let needed = if publisher.qos == 1 { 2 } else { 1 };
        let is_ahead = |subscriber: &Subscriber| usize::from(publisher.next - subscriber.next(publisher.qos)) >= AHEAD;
        self.subscribers.iter().all(|subscriber| subscriber.is_subscribed && !is_ahead(subscriber))
            && publisher.pending.len() < RECEIVE_MAXIMUM
            && self.has_room_for(needed)
    }

    /// Whether each subscriber's queue has room for the messages that may be in it, for those that publishers would send again
    /// after a power cut, and for `more` messages.
    fn has_room_for(&self, more: usize) -> bool {
        self.subscribers.iter().all(|subscriber| {
            let waiting = |publisher: &Publisher| publisher.waiting(subscriber);
            self.publishers.iter().map(waiting).sum::<usize>() + more <= QUEUE
        })
    }

    fn receive(&mut self, random: &mut Random) {
        for publisher in &mut self.publishers {
            for (kind, body) in publisher.wire.packets(random) {
                publisher.receive(kind, &body);
            }
        }
        let transmitted = &self.publishers[0].transmitted;
        for subscriber in self.subscribers.iter_mut().filter(|subscriber| subscriber.reads()) {
            for (kind, body) in subscriber.wire.packets(random) {
                subscriber.receive(kind, &body, transmitted);
            }
        }
    }

    fn has_all(&self) -> bool {
        let all = |publisher: &Publisher| {
            let came = |subscriber: &Subscriber| subscriber.next(publisher.qos) == publisher.next;
            publisher.pending.is_empty() && self.subscribers.iter().all(came)
        };
        self.publishers.iter().all(all) && self.subscribers.iter().all(|subscriber| subscriber.held.is_empty())
    }

    fn check(&self) {
        for (publisher, subscriber) in self.publishers.iter().flat_map(|p| self.subscribers.iter().map(move |s| (p, s)))
        {
            let mut got = subscriber.got[usize::from(publisher.qos)].clone();
            if publisher.qos == 1 {
                let mut seen = BTreeSet::new();
                got.retain(|number| seen.insert(*number));
            }
            let wrong = got.iter().zip(0..).find(|(came, due)| **came != *due);
            let (came, sent) = (got.len(), usize::from(publisher.next));
            assert_eq!((wrong, came), (None, sent), "QoS {}: the first that is wrong, and all", publisher.qos);
        }
    }
}

impl Publisher {
    fn publish_next(&mut self) {
        self.pending.push_back((self.next, false));
        self.publish(self.next, false);
        self.next += 1;
    }

    fn publish(&mut self, number: u16, dup: bool) {
        let [high, low] = (number + 1).to_be_bytes();
        let flags = 0x30 | self.qos << 1 | if dup { 8 } else { 0 };
        let [first, second] = number.to_be_bytes();
        self.wire.send(&[flags, 7, 0, 1, b'0' + self.qos, high, low, first, second]);
        self.transmitted.push(number);
        self.again += usize::from(dup);
    }

    fn release(&mut self, number: u16) {
        let [high, low] = (number + 1).to_be_bytes();
        self.wire.send(&[0x62, 2, high, low]);
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

    /// How many of the publisher's messages may be in the subscriber's queue, including those that a power cut may add.
    fn waiting(&self, subscriber: &Subscriber) -> usize {
        match self.qos {
            1 => self.transmitted.len() - subscriber.behind + self.pending.len(),
            _ => usize::from(self.next - subscriber.next(self.qos)),
        }
    }
}

impl Subscriber {
    fn reads(&self) -> bool {
        self.mood != Mood::DoesNotRead
    }

    /// The number that is due next.
    fn next(&self, qos: u8) -> u16 {
        self.got[usize::from(qos)].iter().max().map_or(0, |last| last + 1)
    }

    fn receive(&mut self, kind: u8, body: &[u8], transmitted: &[u16]) {
        match (kind & 0xF7, body) {
            (0x20, [present, 0]) => {
                self.is_open = true;
                assert!(*present == 1 || !self.is_subscribed, "the Session is lost");
                if !self.is_subscribed {
                    self.wire.send(&[0x82, 6, 0, 1, 0, 1, b'+', 2]);
                }
            }
            (0x90, [0, 1, 2]) => self.is_subscribed = true,
            (0x32, [0, 1, b'1', high, low, number @ ..]) => {
                let number = u16::from_be_bytes([number[0], number[1]]);
                self.got[1].push(number);
                let found = transmitted[self.scanned..].iter().position(|sent| *sent == number);
                self.scanned += found.expect("nothing comes more often than it was sent") + 1;
                self.behind = self.behind.max(self.scanned);
                self.wire.send(&[0x40, 2, *high, *low]);
            }
            (0x34, [0, 1, b'2', high, low, number @ ..]) => {
                let before = self.held.insert(u16::from_be_bytes([*high, *low]), number.to_vec());
                let is_new = before.is_none_or(|before| before == number);
                assert!(is_new, "a Packet Identifier is used again before PUBREL");
                self.wire.send(&[0x50, 2, *high, *low]);
            }
            // As paho does, the subscriber hands a QoS 2 message to its program when PUBREL comes.
            (0x62, [high, low]) => {
                if let Some(number) = self.held.remove(&u16::from_be_bytes([*high, *low])) {
                    self.got[2].push(u16::from_be_bytes([number[0], number[1]]));
                }
                self.wire.send(&[0x70, 2, *high, *low]);
            }
            other => panic!("a subscriber gets {other:?}"),
        }
    }
}
