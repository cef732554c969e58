//! What the tests of the store share: a disk with faults, a random workload, and a simple model of the records in a store.

mod churn;
mod common;
mod copy;
mod credit;
mod damage;
mod faulty;
mod files;
mod folder;
mod interval;
mod layout;
mod power;
mod random;
mod refusal;
mod time;

use crate::disk::Disk as _;
use crate::{Batch, Cause, Failure, Key, LogStore, OpenError, Options, Report, Store, Sync};
use faulty::{FaultyDisk, Files};
pub(crate) use folder::Folder;
use random::Random;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// The records that a store holds.
type Model = BTreeMap<Key, Vec<u8>>;

const SEGMENT: u64 = Options::SEGMENT_MIN;

fn options(sync: Sync) -> Options {
    Options {
        sync,
        segment_bytes: SEGMENT,
        max_bytes: 64 * SEGMENT,
        shards: 2,
        time: Arc::new(|| (7, 1_800_000_000_000)),
        thread: false,
        gives_up: Arc::default(),
    }
}

fn open(disk: &FaultyDisk, options: Options) -> Result<(LogStore, Report), OpenError> {
    LogStore::open(Arc::new(disk.clone()), options)
}

fn open_files(files: Files) -> (LogStore, Report) {
    open(&FaultyDisk::new(files, 1), options(Sync::Always)).expect("a store that opens unaided")
}

fn contents(log: &LogStore) -> Model {
    let mut model = Model::new();
    for shard in [0, 1, Key::COMMON] {
        let mut kind = 0;
        let visit = &mut |key: Key, bytes: &[u8]| {
            assert!(key.kind >= kind, "kinds ascend");
            kind = key.kind;
            assert_eq!(model.insert(key, bytes.to_vec()), None, "each key once");
            ControlFlow::Continue(())
        };
        log.each(shard, visit).expect("readable segments");
    }
    let mut bytes = Vec::new();
    for (key, expected) in &model {
        assert!(log.fetch(*key, &mut bytes).unwrap() && bytes == *expected, "{key:?} is fetched as it is shown");
    }
    model
}

/// How many rounds a test runs: `few` by default, the number in GOLDCREST_LONG in a long run.
fn long_or(few: u64) -> u64 {
    std::env::var("GOLDCREST_LONG").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

fn key(slot: u32) -> Key {
    Key { shard: 0, kind: 1, slot }
}

fn put(model: &mut Model, batch: &mut Batch, key: Key, body: &[u8]) {
    model.insert(key, body.to_vec());
    batch.put_bytes(key, body);
}

fn delete(model: &mut Model, batch: &mut Batch, key: Key) {
    model.remove(&key);
    batch.delete(key);
}

/// Appends `batches`. Makes room first if there is none.
fn append(log: &mut LogStore, batches: &[Batch]) -> Result<(), Failure> {
    for _ in 0..200 {
        match log.append(batches) {
            Err(Failure::NoRoom) => {
                log.upkeep(Duration::ZERO)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
    Err(Failure::NoRoom)
}

/// Batches of a random workload. `model` gets the records that the store holds after them.
fn random_batches(random: &mut Random, model: &mut Model) -> Vec<Batch> {
    let batches = 1 + random.below(3);
    let one = |shard| {
        let mut batch = Batch::default();
        for _ in 0..random.below(8) {
            let shard = if random.below(6) == 0 { Key::COMMON } else { shard };
            let key = Key { shard, kind: 1 + random.below(3) as u8, slot: random.below(12) as u32 };
            if random.below(5) < 2 {
                delete(model, &mut batch, key);
            } else {
                let len = if random.below(20) == 0 { 2000 } else { random.below(200) };
                let byte = random.below(256) as u8;
                put(model, &mut batch, key, &vec![byte; len as usize]);
            }
        }
        batch
    };
    (0..batches).map(|batch| batch as u16 % 2).map(one).collect()
}
