//! Sessions and messages that survive a crash: the broker's records are in one file, which is replaced as a whole for each batch. `cargo
//! run --example persist_to_file --features alloc`
//!
//! Writing all records for each batch is fine for some hundred records. The gateway appends to a log instead (`goldcrest-store`), and
//! firmware writes to NOR flash (`goldcrest-flash`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use goldcrest_core::record;
use goldcrest_core::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Polled, Shard, Then};

/// All records, by their keys, in memory and in the file.
struct Store {
    path: PathBuf,
    records: BTreeMap<u64, Vec<u8>>,
}

impl Store {
    /// Reads the file, if there is one. In the file each record follows its length.
    fn open(path: &Path) -> io::Result<Self> {
        let mut records = BTreeMap::new();
        if let Ok(bytes) = fs::read(path) {
            let mut rest = &bytes[..];
            while let Some((len, behind)) = rest.split_first_chunk() {
                let (sealed, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
                let record = record::open(sealed).map_err(|_| io::ErrorKind::InvalidData)?;
                records.insert(record.key().to_bits(), sealed.to_vec());
                rest = behind;
            }
        }
        Ok(Self { path: path.to_owned(), records })
    }

    /// Polls the next batch of the broker, and makes it safe. A crash leaves the file as it was before, or with the whole batch.
    fn commit(&mut self, broker: &mut Broker<'_>) -> io::Result<()> {
        if !broker.has_records() {
            return Ok(());
        }
        let mut space = vec![0; 4096];
        loop {
            match broker.poll_record(&mut space) {
                Polled::Record { key, delete: true, .. } => drop(self.records.remove(&key.to_bits())),
                Polled::Record { key, len, .. } => drop(self.records.insert(key.to_bits(), space[..len].to_vec())),
                Polled::TooSmall(needed) => space.resize(needed, 0),
                Polled::Nothing => break,
            }
        }
        let batch = broker.end_batch();
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        for sealed in self.records.values() {
            file.write_all(&(sealed.len() as u32).to_le_bytes())?;
            file.write_all(sealed)?;
        }
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        // The file's name must survive, too.
        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        broker.handle_persisted(batch);
        Ok(())
    }

    /// A broker with the state that the file holds.
    fn restore(&self, now: Instant) -> Broker<'static> {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config { durable: true, ..Config::gateway(1) }, &AllowAll);
        // The order of the keys is the order in which records must be restored.
        for sealed in self.records.values() {
            let record = record::open(sealed).expect("it was looked at when the file was read");
            if let Err(reason) = broker.restore(record) {
                println!("a record is left out: {reason:?}");
            }
        }
        let restored = broker.finish_restore(now);
        println!("restored {} Sessions and {} deliveries", restored.sessions, restored.deliveries);
        broker
    }
}

/// Hands in bytes of a client, commits, and returns the bytes that the broker sends the client then.
fn turn(broker: &mut Broker<'_>, store: &mut Store, now: Instant, id: ConnectionId, bytes: &[u8]) -> Vec<u8> {
    broker.handle_bytes(now, id, bytes);
    store.commit(broker).expect("the disk works");
    let (mut sent, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        let transmit = broker.poll_transmit(now, id, &mut buffer);
        sent.extend_from_slice(&buffer[..transmit.written]);
        if transmit.then != Then::More {
            return sent;
        }
    }
}

/// Runs the example.
pub fn main() {
    let path = std::env::temp_dir().join(format!("goldcrest-example-{}", std::process::id()));
    run(&path);
    fs::remove_file(&path).expect("the file is there");
}

/// Shows that a message for an absent client survives the sudden end of the broker.
pub fn run(path: &Path) {
    let now = Instant::from_millis(0);
    let mut store = Store::open(path).expect("the file can be read");
    let mut broker = store.restore(now);
    let sensor = broker.handle_connected(now).expect("there is room");
    turn(&mut broker, &mut store, now, sensor, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01p");

    // A client with a lasting Session (CleanSession 0) subscribes with QoS 1, and disconnects.
    let client = broker.handle_connected(now).expect("there is room");
    turn(&mut broker, &mut store, now, client, b"\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01c");
    turn(&mut broker, &mut store, now, client, b"\x82\x06\0\x01\0\x01t\x01");
    broker.handle_closed(now, client);

    // A client publishes with QoS 1. There is no PUBACK before the batch of the message is safe.
    broker.handle_bytes(now, sensor, b"\x32\x07\0\x01t\0\x07hi");
    let mut buffer = [0; 64];
    assert_eq!(broker.poll_transmit(now, sensor, &mut buffer).written, 0, "nothing is promised yet");
    assert_eq!(turn(&mut broker, &mut store, now, sensor, b""), b"\x40\x02\0\x07", "PUBACK 7");

    // The power is lost.
    drop((broker, store));

    let mut store = Store::open(path).expect("the file can be read");
    let mut broker = store.restore(now);
    let client = broker.handle_connected(now).expect("there is room");
    let sent = turn(&mut broker, &mut store, now, client, b"\x10\x0d\0\x04MQTT\x04\x00\0\0\0\x01c");
    assert!(sent.starts_with(b"\x20\x02\x01\0"), "CONNACK says that the Session is present");
    assert!(sent.ends_with(b"hi"), "the message comes");
}
