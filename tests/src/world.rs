//! Brokers, byte-level clients and one virtual clock in one struct, driven until nothing is left to do.
//!
//! One or several core brokers stand in for the shards of a gateway. No code here sleeps, reads a clock or draws random numbers: the
//! same calls make the same run.

use std::collections::{BTreeMap, VecDeque};

use goldcrest_core::codec::{Connect, split};
use goldcrest_core::{
    AllowAll, Ask, Authorize, Broker, Capacity, CommitUrgency, Config, ConnectionId, Counters, Forward, Grant, Instant,
    Limits, Next, Principal, Shard, Then, Verdict,
};

use crate::disk::Disk;
use crate::memory::{Housed, MODEST, Storage};
use crate::store::Store;

/// Answers [`Next::Ask`] in place of an embedder.
pub type Judge = Box<dyn FnMut(&Ask<'_>) -> Judgement>;

/// A [`Verdict`] that owns its data.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// See [`Verdict::Accept`].
    Accept(u32, Option<Vec<u8>>),
    /// As [`Verdict::Accept`], for an anonymous client with this grant.
    Grant(Grant),
    /// See [`Verdict::Continue`].
    Continue(Vec<u8>),
    /// See [`Verdict::Refuse`].
    Refuse(goldcrest_core::codec::ReasonCode),
    /// The test answers later, with [`World::decide`].
    Later,
}

/// More rounds of work than any test needs for the consequences of one step.
const MAX_BEATS: usize = 1_000_000;

/// Identifies a client of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(usize);

/// When a batch of records becomes safe, or a body is read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the same round of work.
    AtOnce,
    /// When no other work is left.
    Late,
    /// When the test calls [`World::sync`] or [`World::fetch_one`].
    ByHand,
}

/// The brokers of a gateway, their stores and their clients.
pub struct World {
    now: Instant,
    shards: Vec<Housed>,
    /// The store of each broker.
    stores: Vec<Store>,
    /// When batches of records become safe.
    pub sync: Sync,
    /// Whether records that may turn out unnecessary wait for the next [`World::sync`], or for a record that is necessary.
    is_patient: bool,
    /// The disk of all stores, if its room is limited.
    disk: Option<Disk>,
    /// When requested bodies are read from the stores.
    pub fetch: Sync,
    /// Messages on their way from one shard to another, by the two shards.
    links: BTreeMap<(usize, usize), Link>,
    /// Makes new brokers after a crash; `None` for brokers that a test made.
    remake: Option<Box<dyn Fn() -> Vec<Housed>>>,
    clients: BTreeMap<ClientId, Client>,
    /// Connections that brokers have named in `poll_ready` and that are not clients of the world, but local clients of a broker.
    named: Vec<(usize, ConnectionId)>,
    next_client: usize,
    connect_timeout_ms: u64,
    judge: Judge,
    /// Bytes that a broker may hand out by one call. A small number cuts every packet.
    pub transmit_size: usize,
    /// Whether long payloads are written from the broker's memory, at most [`transmit_size`](Self::transmit_size) bytes at a time.
    pub payloads_apart: bool,
    /// The buffer that brokers encode into.
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Link {
    on_the_way: VecDeque<Forward>,
    /// While true, nothing on this link arrives.
    is_slow: bool,
}

#[derive(Default)]
struct Client {
    /// The client's shard and its connection there; `None` until the first packet tells the shard.
    at: Option<(usize, ConnectionId)>,
    /// Bytes that the client has sent and its broker has not received.
    to_broker: Vec<u8>,
    /// Bytes that the client has received and the test has not read.
    from_broker: Vec<u8>,
    /// The broker closed the Network Connection.
    closed: bool,
    /// How many bytes the client still reads; `None` for no limit. Further output stays in the broker.
    room: Option<usize>,
    waits: bool,
    /// The client has closed its sending side, and the broker does not know yet.
    ends: bool,
    /// When the world closes the connection if no first packet has told the shard.
    deadline: Instant,
}

impl World {
    /// A gateway of `shards` brokers with this configuration, in which all is permitted. The field `shard` of the configuration is set
    /// here.
    pub fn new(shards: u16, config: Config<'static>) -> Self {
        Self::with_authorize(shards, config, &AllowAll)
    }

    /// As [`World::new`], in memory that was handed in once, as in firmware.
    pub fn borrowed(shards: u16, config: Config<'static>) -> Self {
        Self::in_storage(Storage::Borrowed(MODEST), shards, config, &AllowAll)
    }

    /// As [`World::new`], with these permissions.
    pub fn with_authorize(shards: u16, config: Config<'static>, authorize: &'static dyn Authorize) -> Self {
        Self::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, authorize)
    }

    /// A gateway of `shards` brokers, each in memory of this kind.
    pub fn in_storage(
        storage: Storage,
        shards: u16,
        config: Config<'static>,
        authorize: &'static dyn Authorize,
    ) -> Self {
        let connect_timeout_ms = u64::from(config.connect_timeout_ms);
        let make = move || {
            let one = |index| {
                let shard = Shard { index, count: shards };
                let config = Config { shard, ..config.clone() };
                Housed::stored(storage, config, authorize)
            };
            (0..shards).map(one).collect()
        };
        Self { connect_timeout_ms, remake: Some(Box::new(make.clone())), ..Self::of(make()) }
    }

    /// A world of these brokers. Several brokers are the shards of one gateway, in this order.
    pub fn of(shards: Vec<Housed>) -> Self {
        Self {
            now: Instant::from_millis(1_000),
            stores: shards.iter().map(|_| Store::default()).collect(),
            sync: Sync::AtOnce,
            is_patient: false,
            disk: None,
            fetch: Sync::AtOnce,
            links: BTreeMap::new(),
            remake: None,
            shards,
            clients: BTreeMap::new(),
            named: Vec::new(),
            next_client: 0,
            connect_timeout_ms: 10_000,
            judge: Box::new(|_| Judgement::Accept(0, None)),
            transmit_size: 64 * 1024,
            payloads_apart: false,
            buffer: Vec::new(),
        }
    }

    /// Lets `judge` answer each [`Next::Ask`] from now on.
    pub fn set_judge(&mut self, judge: Judge) {
        self.judge = judge;
    }

    /// Gives the verdict on this client for which the judge answered [`Judgement::Later`].
    pub fn decide(&mut self, id: ClientId, judgement: &Judgement) {
        let (shard, connection) = self.client(id).at.expect("a client that was asked for");
        let now = self.now;
        self.shards[shard].with(|broker| answer(broker, now, connection, judgement));
        self.drive();
    }

    /// The number of brokers.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A broker, to be read.
    pub fn shard(&self, index: usize) -> &Broker<'_> {
        self.shards[index].get()
    }

    /// Calls `act` with a broker. Call [`World::drive`] afterwards.
    pub fn with_shard<R>(&mut self, index: usize, act: impl for<'m> FnOnce(&mut Broker<'m>) -> R) -> R {
        self.shards[index].with(act)
    }

    /// Expects that the first broker has given all its memory back.
    ///
    /// # Panics
    /// If it holds some.
    pub fn expect_nothing_left(&self) {
        let Counters { connections, sessions, connected, subscriptions, retained, messages, deliveries, bytes, .. } =
            self.shard(0).counters();
        let left = (connections, sessions, connected, subscriptions, retained, messages, deliveries, bytes);
        assert_eq!(left, (0, 0, 0, 0, 0, 0, 0, 0));
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Whether `poll_ready` of this broker has named this connection since the last call. For connections of local clients, which are
    /// not clients of the world.
    pub fn take_named(&mut self, shard: usize, connection: ConnectionId) -> bool {
        let before = self.named.len();
        self.named.retain(|named| *named != (shard, connection));
        self.named.len() < before
    }

    /// Opens a new Network Connection.
    pub fn open(&mut self) -> ClientId {
        let id = ClientId(self.next_client);
        self.next_client += 1;
        let mut client = Client { deadline: self.now.plus_millis(self.connect_timeout_ms), ..Client::default() };
        if let [only] = &mut self.shards[..] {
            match only.with(|broker| broker.handle_connected(self.now)) {
                Ok(connection) => client.at = Some((0, connection)),
                Err(_) => client.closed = true,
            }
        }
        self.clients.insert(id, client);
        id
    }

    /// The client sends bytes, and all consequences happen.
    pub fn send(&mut self, id: ClientId, bytes: &[u8]) {
        self.client(id).to_broker.extend_from_slice(bytes);
        self.drive();
    }

    /// The client sends bytes. Nothing happens before [`World::drive`].
    pub fn send_later(&mut self, id: ClientId, bytes: &[u8]) {
        self.client(id).to_broker.extend_from_slice(bytes);
    }

    /// The bytes that the client has received since the last call.
    pub fn receive(&mut self, id: ClientId) -> Vec<u8> {
        core::mem::take(&mut self.client(id).from_broker)
    }

    /// Whether the broker closed the connection.
    pub fn is_closed(&mut self, id: ClientId) -> bool {
        self.client(id).closed
    }

    /// The client stops reading, or reads again.
    pub fn stall(&mut self, id: ClientId, stalled: bool) {
        self.read_only(id, stalled.then_some(0));
    }

    /// The client reads this many bytes and then stops; without end for `None`.
    pub fn read_only(&mut self, id: ClientId, room: Option<usize>) {
        self.client(id).room = room;
        // The broker may have output that it could not write while the client did not read.
        self.flush(id);
        self.drive();
    }

    /// The client closes its side of the connection, and goes on reading.
    pub fn half_close(&mut self, id: ClientId) {
        self.client(id).ends = true;
        self.drive();
    }

    /// Breaks the connection without a DISCONNECT.
    pub fn cut(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id)
            && let Some((shard, connection)) = client.at
            && !client.closed
        {
            self.shards[shard].with(|broker| broker.handle_closed(self.now, connection));
        }
        self.drive();
    }

    /// The power is lost and returns: new brokers restore the safe records, and all Network Connections are closed.
    ///
    /// # Panics
    /// If a test made the brokers by itself.
    pub fn crash(&mut self) {
        let remake = self.remake.as_ref().expect("brokers that the world made");
        if let Some(disk) = &mut self.disk {
            disk.lose_power(&self.shards);
        }
        // Drops the old brokers first, so that memory for the brokers is needed only once.
        self.shards.clear();
        self.shards = remake();
        self.links.values_mut().for_each(|link| link.on_the_way.clear());
        self.named.clear();
        for client in self.clients.values_mut() {
            client.closed = true;
            client.at = None;
        }
        let mut lost = Vec::new();
        for (broker, store) in self.shards.iter_mut().zip(&mut self.stores) {
            lost.push(store.lose_power());
            broker.with(|broker| store.restore(self.now, broker));
        }
        if let Some(disk) = &mut self.disk {
            disk.restart(&mut self.shards, &lost);
        }
        self.drive();
    }

    /// Holds messages from one shard to another from now on, even after a crash, or lets them arrive again.
    pub fn slow_down(&mut self, from: usize, to: usize, is_slow: bool) {
        self.links.entry((from, to)).or_default().is_slow = is_slow;
        self.drive();
    }

    /// Makes the oldest batch of each broker safe, with all consequences. Returns whether there was a batch.
    pub fn sync(&mut self) -> bool {
        let is_patient = self.is_patient;
        if is_patient {
            self.set_patient(false);
            self.is_patient = true;
        }
        let synced = self.sync_oldest();
        self.drive();
        synced
    }

    /// Makes the oldest batch of this broker safe, with all consequences. Returns whether there was a batch.
    pub fn sync_one(&mut self, shard: usize) -> bool {
        let store = &mut self.stores[shard];
        let synced = self.shards[shard].with(|broker| store.sync(broker));
        self.drive();
        synced
    }

    fn sync_oldest(&mut self) -> bool {
        let synced = self.of_each_store(Store::sync);
        if let Some(disk) = self.disk.as_mut().filter(|_| synced) {
            disk.grant(&mut self.shards, true);
        }
        synced
    }

    /// Sets whether records that may turn out unnecessary wait.
    pub fn set_patient(&mut self, is_patient: bool) {
        self.is_patient = is_patient;
        self.drive();
    }

    /// From now on brokers promise only as many bytes as the disk has room for. Each broker is granted `share` bytes, and more where a
    /// message needs more.
    pub fn use_disk(&mut self, share: u32) {
        let mut disk = Disk::new(self.shards.len(), share.into());
        disk.grant(&mut self.shards, true);
        self.disk = Some(disk);
        self.drive();
    }

    /// A full disk accepts only the bytes that it has granted. Brokers learn of it by [`World::tell_full`].
    pub fn set_disk_full(&mut self, is_full: bool) {
        if let Some(disk) = &mut self.disk {
            disk.set_full(is_full);
        }
        self.drive();
    }

    /// Whether the disk is full.
    pub fn disk_is_full(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_full)
    }

    /// Tells a broker whether the disk is full.
    pub fn tell_full(&mut self, shard: usize) {
        let is_full = self.disk_is_full();
        self.shards[shard].with(|broker| broker.set_store_full(is_full));
        self.drive();
    }

    /// Calls `act` for each store. Returns whether any call returned true.
    fn of_each_store(&mut self, act: fn(&mut Store, &mut Broker<'_>) -> bool) -> bool {
        let all = self.stores.iter_mut().zip(&mut self.shards);
        all.fold(false, |any, (store, broker)| any | broker.with(|broker| act(store, broker)))
    }

    /// Answers the oldest request for a body of each broker, with all consequences. Returns whether there was one.
    pub fn fetch_one(&mut self) -> bool {
        let fetched = self.fetch_oldest();
        self.drive();
        fetched
    }

    fn fetch_oldest(&mut self) -> bool {
        self.of_each_store(Store::fetch)
    }

    /// The store of a broker, to be changed.
    pub fn store_mut(&mut self, shard: usize) -> &mut Store {
        &mut self.stores[shard]
    }

    /// The store of a broker.
    pub fn store(&self, shard: usize) -> &Store {
        &self.stores[shard]
    }

    /// Compares all stores with their brokers; every record must be safe.
    pub fn check_stores(&mut self) {
        for (broker, store) in self.shards.iter_mut().zip(&mut self.stores) {
            broker.with(|broker| store.check(broker));
        }
    }

    /// Shuts all brokers down.
    pub fn shut_down(&mut self) {
        for shard in &mut self.shards {
            shard.with(|broker| broker.shut_down(self.now));
        }
        self.drive();
    }

    /// Lets time pass, with everything that falls due meanwhile.
    pub fn advance(&mut self, millis: u64) {
        let end = self.now.plus_millis(millis);
        loop {
            self.drive();
            let homeless = self.clients.values().filter(|client| client.at.is_none() && !client.closed);
            let deadlines = homeless.map(|client| client.deadline);
            let due = self.shards.iter().filter_map(|shard| shard.get().poll_timeout()).chain(deadlines).min();
            match due.filter(|due| *due <= end) {
                Some(due) => {
                    self.now = self.now.max(due);
                    let now = self.now;
                    for client in self.clients.values_mut() {
                        client.closed |= client.at.is_none() && client.deadline <= now;
                    }
                    for shard in &mut self.shards {
                        shard.with(|broker| broker.handle_timeout(now));
                    }
                }
                None => break,
            }
        }
        self.now = end;
        self.drive();
    }

    /// Runs all brokers until nothing is left to do.
    ///
    /// # Panics
    /// If that takes more than `MAX_BEATS` rounds.
    pub fn drive(&mut self) {
        let mut beats = 0;
        let mut beat = || {
            beats += 1;
            assert!(beats < MAX_BEATS, "the brokers don't come to rest");
        };
        loop {
            let mut quiet = true;
            beat();
            let ids: Vec<_> = self.clients.keys().copied().collect();
            for id in ids {
                quiet &= !self.feed(id);
            }
            for (index, (broker, store)) in self.shards.iter_mut().zip(&mut self.stores).enumerate() {
                if self.is_patient {
                    let urgency = broker.with(|broker| broker.poll_commit_urgency());
                    quiet &= urgency != CommitUrgency::Settled;
                    if urgency != CommitUrgency::Lasting {
                        continue;
                    }
                }
                if broker.with(|broker| store.take(broker)) {
                    if let Some(disk) = &mut self.disk {
                        broker.with(|broker| disk.take(index, broker, store.last_bytes()));
                    }
                    beat();
                    quiet = false;
                }
            }
            while self.sync == Sync::AtOnce && self.sync_oldest() {}
            for (broker, store) in self.shards.iter_mut().zip(&mut self.stores) {
                quiet &= !broker.with(|broker| store.take_fetches(broker));
            }
            while self.fetch == Sync::AtOnce && self.fetch_oldest() {
                quiet = false;
            }
            for from in 0..self.shards.len() {
                while let Some((to, forward)) = self.shards[from].with(|broker| broker.poll_forward()) {
                    beat();
                    self.links.entry((from, usize::from(to))).or_default().on_the_way.push_back(forward);
                }
            }
            for ((from, to), link) in self.links.iter_mut().filter(|(_, link)| !link.is_slow) {
                for forward in link.on_the_way.drain(..) {
                    let handled =
                        self.shards[*to].with(|broker| broker.handle_forward(self.now, *from as u16, forward));
                    handled.expect("all shards have the same seed");
                    quiet = false;
                }
            }
            for shard in 0..self.shards.len() {
                while let Some(connection) = self.shards[shard].with(|broker| broker.poll_ready()) {
                    beat();
                    let found = self.clients.iter().find(|(_, client)| client.at == Some((shard, connection)));
                    if let Some((id, _)) = found {
                        let id = *id;
                        self.client(id).waits = false;
                        self.feed(id);
                        self.flush(id);
                    } else if !self.named.contains(&(shard, connection)) {
                        self.named.push((shard, connection));
                    }
                    quiet = false;
                }
            }
            if let Some(disk) = self.disk.as_mut().filter(|_| quiet) {
                quiet = !disk.grant(&mut self.shards, false);
            }
            if quiet
                && !(self.sync == Sync::Late && self.sync_oldest())
                && !(self.fetch == Sync::Late && self.fetch_oldest())
            {
                self.check_credit();
                return;
            }
        }
    }

    /// Credit with the store goes from one shard to another with each message, and the sum stays the same. Credit on its way between
    /// two shards, or of a message that waits for a batch, is counted by neither: then there is nothing to compare.
    fn check_credit(&self) {
        let is_settled = self.sync != Sync::ByHand
            && !self.is_patient
            && self.links.values().all(|link| link.on_the_way.is_empty())
            && self.shards.iter().all(|shard| shard.get().is_serving());
        if is_settled {
            let accounts = || self.shards.iter().map(|shard| shard.get().store_credit());
            let passed: u64 = accounts().map(|credit| credit.passed_to_siblings()).sum();
            let taken: u64 = accounts().map(|credit| credit.taken_from_siblings()).sum();
            assert_eq!(passed, taken, "credit that brokers passed on, and that siblings got with messages");
        }
    }

    /// Hands the client's bytes to its broker. Returns whether any were.
    fn feed(&mut self, id: ClientId) -> bool {
        let now = self.now;
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        if client.closed || client.waits || (client.to_broker.is_empty() && !client.ends) {
            return false;
        }
        let (shard, connection) = match client.at {
            Some(at) => at,
            None => {
                let Some(shard) = home(&client.to_broker, self.shards.len()) else {
                    return false;
                };
                let Ok(connection) = self.shards[shard].with(|broker| broker.handle_connected(now)) else {
                    client.closed = true;
                    return true;
                };
                client.at = Some((shard, connection));
                (shard, connection)
            }
        };
        let judge = &mut self.judge;
        self.shards[shard].with(|broker| {
            let received = broker.handle_bytes(now, connection, &client.to_broker);
            let progress = received.consumed > 0;
            match received.next {
                Next::Ask(ask) => {
                    let judgement = judge(&ask);
                    client.waits = true;
                    client.to_broker.drain(..received.consumed);
                    answer(broker, now, connection, &judgement);
                    return true;
                }
                Next::Wait => client.waits = true,
                Next::Read if client.ends => {
                    client.ends = false;
                    broker.handle_input_end(now, connection);
                    return true;
                }
                Next::Yield => {}
                Next::Read | Next::Close => client.ends = false,
            }
            client.to_broker.drain(..received.consumed);
            progress
        })
    }

    fn flush(&mut self, id: ClientId) {
        self.buffer.resize(self.transmit_size, 0);
        let out = &mut self.buffer[..];
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some((shard, connection)) = client.at else {
            return;
        };
        if client.closed {
            return;
        }
        loop {
            // The broker can write nothing to a client that does not read.
            let room = client.room.unwrap_or(usize::MAX).min(out.len());
            // A connection that is closing may have no more output.
            let closing = |broker: &Broker<'_>| broker.describe(connection).is_some_and(|info| info.closing.is_some());
            if room == 0 && !closing(self.shards[shard].get()) {
                return;
            }
            let out = &mut out[..room];
            let before = client.from_broker.len();
            let transmit = self.shards[shard].with(|broker| {
                if !self.payloads_apart {
                    let transmit = broker.poll_transmit(self.now, connection, out);
                    client.from_broker.extend_from_slice(&out[..transmit.written]);
                    return transmit;
                }
                let (transmit, payload) = broker.poll_transmit_apart(self.now, connection, out);
                client.from_broker.extend_from_slice(&out[..transmit.written]);
                let taken = payload.len().min(room - transmit.written);
                client.from_broker.extend_from_slice(&payload[..taken]);
                broker.handle_payload_written(connection, taken);
                transmit
            });
            if let Some(room) = &mut client.room {
                *room -= client.from_broker.len() - before;
            }
            match transmit.then {
                Then::More if room > 0 => {}
                Then::More | Then::Idle => return,
                Then::Close => {
                    client.closed = true;
                    self.shards[shard].with(|broker| broker.handle_closed(self.now, connection));
                    return;
                }
            }
        }
    }

    fn client(&mut self, id: ClientId) -> &mut Client {
        self.clients.get_mut(&id).expect("the client's connection was cut before")
    }
}

fn answer(broker: &mut Broker<'_>, now: Instant, connection: ConnectionId, judgement: &Judgement) {
    let verdict = match judgement {
        Judgement::Accept(principal, data) => {
            Verdict::Accept { principal: Principal(*principal), data: data.as_deref(), grant: Grant::default() }
        }
        Judgement::Grant(grant) => {
            Verdict::Accept { principal: Principal::ANONYMOUS, data: None, grant: grant.clone() }
        }
        Judgement::Continue(data) => Verdict::Continue { data },
        Judgement::Refuse(code) => Verdict::Refuse(*code),
        Judgement::Later => return,
    };
    broker.handle_verdict(now, connection, verdict);
}

/// The shard of a client, by its first packet and the rule of the gateway; `None` until the packet is whole.
fn home(bytes: &[u8], shards: usize) -> Option<usize> {
    match split(bytes, Limits::OTHER_PACKET_BYTES) {
        Ok(None) => None,
        Ok(Some((frame, _))) => match Connect::decode(frame) {
            Ok(connect) if !connect.client_id.is_empty() => {
                Some(usize::from(Shard::home_of(connect.client_id.as_bytes(), shards as u16)))
            }
            _ => Some(0),
        },
        Err(_) => Some(0),
    }
}
