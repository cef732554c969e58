//! Brokers, byte-level clients and one virtual clock in one struct, driven until quiet.
//!
//! One or several core brokers stand in for the gateway's shards. Nothing here sleeps or reads a clock, and nothing is
//! random: a run is its calls.

use std::collections::{BTreeMap, VecDeque};

use goldcrest_core::codec::{Connect, split};
use goldcrest_core::{
    AllowAll, Ask, Authorize, Broker, Capacity, CommitUrgency, Config, ConnectionId, Counters, Forward, Grant, Instant,
    Limits, Next, Principal, Shard, Then, Verdict,
};

use crate::disk::Disk;
use crate::memory::{Housed, MODEST, Storage};
use crate::store::Store;

/// How the embedder answers [`Next::Ask`].
pub type Judge = Box<dyn FnMut(&Ask<'_>) -> Judgement>;

/// A [`Verdict`] that owns its data.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// See [`Verdict::Accept`].
    Accept(u32, Option<Vec<u8>>),
    /// The same for an anonymous client with a grant of its own.
    Grant(Grant),
    /// See [`Verdict::Continue`].
    Continue(Vec<u8>),
    /// See [`Verdict::Refuse`].
    Refuse(goldcrest_core::codec::ReasonCode),
    /// The answer comes with [`World::decide`].
    Later,
}

/// More turns than any test needs for the consequences of one step.
const MAX_BEATS: usize = 1_000_000;

/// A client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(usize);

/// When a batch of records becomes safe, or a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// In the same turn.
    AtOnce,
    /// When nothing else is left to be done.
    Late,
    /// With [`World::sync`] or [`World::fetch_one`].
    ByHand,
}

/// Everything at once.
pub struct World {
    now: Instant,
    shards: Vec<Housed>,
    /// What survives of each broker.
    stores: Vec<Store>,
    /// When it is safe.
    pub sync: Sync,
    /// What may turn out not to be worth a record is recorded with the next [`World::sync`] only, or with something that is.
    is_patient: bool,
    /// Where all stores are, if it may be full.
    disk: Option<Disk>,
    /// When a body that was asked for comes.
    pub fetch: Sync,
    /// What brokers sent to siblings and is not there yet, by both.
    links: BTreeMap<(usize, usize), Link>,
    /// Makes the brokers anew.
    remake: Option<Box<dyn Fn() -> Vec<Housed>>>,
    clients: BTreeMap<ClientId, Client>,
    /// Connections that brokers have named and that no client here has: those of clients beside a broker.
    named: Vec<(usize, ConnectionId)>,
    next_client: usize,
    connect_timeout_ms: u64,
    judge: Judge,
    /// Bytes handed out at once; small values cut every packet.
    pub transmit_size: usize,
    /// Long payloads are written from where they stand, also no more at once.
    pub payloads_apart: bool,
    /// What brokers transmit into.
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Link {
    on_the_way: VecDeque<Forward>,
    /// Nothing comes through.
    is_slow: bool,
}

#[derive(Default)]
struct Client {
    /// The shard and the connection there, once the first packet has shown where it belongs.
    at: Option<(usize, ConnectionId)>,
    /// Sent by the client and not taken yet.
    to_broker: Vec<u8>,
    /// Received and not read yet.
    from_broker: Vec<u8>,
    /// The broker closed the Network Connection.
    closed: bool,
    /// How many bytes the client still reads; the broker's further output stays where it is.
    room: Option<usize>,
    waits: bool,
    /// The client sends no more, which its broker has not heard yet.
    ends: bool,
    /// When it is closed if nothing shows yet where it belongs.
    deadline: Instant,
}

impl World {
    /// A gateway of `shards` brokers with this configuration (its shard is set here) and everything permitted.
    pub fn new(shards: u16, config: Config<'static>) -> Self {
        Self::with_authorize(shards, config, &AllowAll)
    }

    /// The same in memory that was handed in once, as in firmware.
    pub fn borrowed(shards: u16, config: Config<'static>) -> Self {
        Self::in_storage(Storage::Borrowed(MODEST), shards, config, &AllowAll)
    }

    /// As [`World::new`] with permissions.
    pub fn with_authorize(shards: u16, config: Config<'static>, authorize: &'static dyn Authorize) -> Self {
        Self::in_storage(Storage::Owned(Capacity::GATEWAY), shards, config, authorize)
    }

    /// A gateway of `shards` brokers, each with memory like that.
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

    /// A world of these brokers, which are siblings in this order, or one alone.
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

    /// Has `judge` answer what is asked from now on.
    pub fn set_judge(&mut self, judge: Judge) {
        self.judge = judge;
    }

    /// The answer to what was asked for this client and left for later.
    pub fn decide(&mut self, id: ClientId, judgement: &Judgement) {
        let (shard, connection) = self.client(id).at.expect("a client that was asked for");
        let now = self.now;
        self.shards[shard].with(|broker| answer(broker, now, connection, judgement));
        self.drive();
    }

    /// How many brokers there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A broker, for its getters.
    pub fn shard(&self, index: usize) -> &Broker<'_> {
        self.shards[index].get()
    }

    /// Has a broker do something; [`World::drive`] afterwards.
    pub fn with_shard<R>(&mut self, index: usize, act: impl for<'m> FnOnce(&mut Broker<'m>) -> R) -> R {
        self.shards[index].with(act)
    }

    /// Everything the first broker held was given back.
    ///
    /// # Panics
    /// If not.
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

    /// Whether a broker has named a connection since the last call that is no client's here: that of a client beside the broker.
    pub fn take_named(&mut self, shard: usize, connection: ConnectionId) -> bool {
        let before = self.named.len();
        self.named.retain(|named| *named != (shard, connection));
        self.named.len() < before
    }

    /// A new Network Connection.
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

    /// The client sends bytes; all of their consequences happen.
    pub fn send(&mut self, id: ClientId, bytes: &[u8]) {
        self.client(id).to_broker.extend_from_slice(bytes);
        self.drive();
    }

    /// The client sends bytes, and nothing happens before [`World::drive`].
    pub fn send_later(&mut self, id: ClientId, bytes: &[u8]) {
        self.client(id).to_broker.extend_from_slice(bytes);
    }

    /// What the client has received since the last call.
    pub fn receive(&mut self, id: ClientId) -> Vec<u8> {
        core::mem::take(&mut self.client(id).from_broker)
    }

    /// Whether the broker closed the connection.
    pub fn is_closed(&mut self, id: ClientId) -> bool {
        self.client(id).closed
    }

    /// The client stops to read, or reads again.
    pub fn stall(&mut self, id: ClientId, stalled: bool) {
        self.read_only(id, stalled.then_some(0));
    }

    /// The client reads so many bytes and then no more, or reads on without end.
    pub fn read_only(&mut self, id: ClientId, room: Option<usize>) {
        self.client(id).room = room;
        // What it was named for meanwhile is still to be done.
        self.flush(id);
        self.drive();
    }

    /// The client closes its side of the connection, and goes on reading.
    pub fn half_close(&mut self, id: ClientId) {
        self.client(id).ends = true;
        self.drive();
    }

    /// The connection breaks without a DISCONNECT.
    pub fn cut(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id)
            && let Some((shard, connection)) = client.at
            && !client.closed
        {
            self.shards[shard].with(|broker| broker.handle_closed(self.now, connection));
        }
        self.drive();
    }

    /// The power goes and comes back: what is safe is taken back by new brokers, and all Network Connections are gone.
    ///
    /// # Panics
    /// Where the brokers were made elsewhere.
    pub fn crash(&mut self) {
        let remake = self.remake.as_ref().expect("brokers that the world made");
        if let Some(disk) = &mut self.disk {
            disk.lose_power(&self.shards);
        }
        // So that there is no more memory than that of as many brokers.
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

    /// What a broker sends to a sibling stays on the way from now on, also after a crash; or it arrives again.
    pub fn slow_down(&mut self, from: usize, to: usize, is_slow: bool) {
        self.links.entry((from, to)).or_default().is_slow = is_slow;
        self.drive();
    }

    /// The oldest batch of each broker becomes safe, with all consequences; whether there was one.
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

    /// The oldest batch of this broker alone becomes safe, with all consequences; whether there was one.
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

    /// Stores wait from now on with what may not be worth a record, or don't.
    pub fn set_patient(&mut self, is_patient: bool) {
        self.is_patient = is_patient;
        self.drive();
    }

    /// From now on brokers promise only what the disk has room for. Each has so many bytes as its share of that, and more
    /// where a message wants it.
    pub fn use_disk(&mut self, share: u32) {
        let mut disk = Disk::new(self.shards.len(), share.into());
        disk.grant(&mut self.shards, true);
        self.disk = Some(disk);
        self.drive();
    }

    /// The disk takes only what it was said to have room for, or more again. Brokers hear of it with [`World::tell_full`].
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

    /// A broker hears whether the disk is full.
    pub fn tell_full(&mut self, shard: usize) {
        let is_full = self.disk_is_full();
        self.shards[shard].with(|broker| broker.set_store_full(is_full));
        self.drive();
    }

    /// Does it to all stores; whether there was anything for one of them.
    fn of_each_store(&mut self, act: fn(&mut Store, &mut Broker<'_>) -> bool) -> bool {
        let all = self.stores.iter_mut().zip(&mut self.shards);
        all.fold(false, |any, (store, broker)| any | broker.with(|broker| act(store, broker)))
    }

    /// The oldest body that each broker asked for comes, with all consequences; whether there was one.
    pub fn fetch_one(&mut self) -> bool {
        let fetched = self.fetch_oldest();
        self.drive();
        fetched
    }

    fn fetch_oldest(&mut self) -> bool {
        self.of_each_store(Store::fetch)
    }

    /// The same, to be changed.
    pub fn store_mut(&mut self, shard: usize) -> &mut Store {
        &mut self.stores[shard]
    }

    /// What survives of a broker.
    pub fn store(&self, shard: usize) -> &Store {
        &self.stores[shard]
    }

    /// Holds what is stored against what is; everything must be safe.
    pub fn check_stores(&mut self) {
        for (broker, store) in self.shards.iter_mut().zip(&mut self.stores) {
            broker.with(|broker| store.check(broker));
        }
    }

    /// All brokers shut down.
    pub fn shut_down(&mut self) {
        for shard in &mut self.shards {
            shard.with(|broker| broker.shut_down(self.now));
        }
        self.drive();
    }

    /// Time passes, with everything that falls due on the way.
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

    /// All consequences of what happened so far happen.
    ///
    /// # Panics
    /// If they never end.
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
                    self.shards[*to].with(|broker| broker.handle_forward(self.now, *from as u16, forward));
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

    /// Credit with the store goes from one broker to another with each message, and none is created or lost by that. What is on its way
    /// between them, or waits for a batch before it is, has left one and not reached the other: then there is nothing to be compared.
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

    /// Hands the client's bytes to its broker; whether there was any progress.
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
            // A client that does not read leaves no room to write to.
            let room = client.room.unwrap_or(usize::MAX).min(out.len());
            // A closing connection may have nothing more to say.
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

/// Where a client belongs by its first packet, as the gateway finds it out; `None` while that is not whole.
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
