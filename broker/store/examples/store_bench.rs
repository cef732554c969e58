//! Measures the store on this machine's disk: `cargo run --release -p goldcrest-store --example store_bench -- DIRECTORY`.
//!
//! First many writers each put a record of 64 to 300 bytes and delete it again; a writer waits until each change is synced.
//! Their batches are handed in by two shards. Then a million messages of 1 KiB are put, and the store is opened again.

use goldcrest_store::{Answer, Batch, Committer, Directory, Key, LogStore, Options, Store, Sync, requests};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const SHARDS: u16 = 2;

fn main() {
    let root: PathBuf = std::env::args_os().nth(1).expect("a directory on the disk to be measured").into();
    std::fs::create_dir_all(&root).expect("a directory");
    one_write(&root);
    for writers in [200, 500] {
        writers_that_wait(&root.join("writers"), writers);
    }
    start(&root.join("start"));
}

fn open(path: &Path) -> LogStore {
    let options = Options {
        sync: Sync::Always,
        segment_bytes: 16 << 20,
        max_bytes: 4 << 30,
        shards: SHARDS,
        time: Arc::new(|| (0, 0)),
        thread: true,
        gives_up: Arc::default(),
    };
    let disk = Directory::take(path).expect("a directory of our own");
    LogStore::open(Arc::new(disk), options).expect("a store").0
}

/// Measures a write and sync of 256 bytes: at the end of a growing file, and into a file that was filled with zeros.
fn one_write(root: &Path) {
    for name in ["growing", "prepared"] {
        const ROUNDS: u64 = 300;
        let path = root.join(name);
        let file = std::fs::File::create(&path).expect("a file");
        if name == "prepared" {
            file.write_all_at(&vec![0; 256 * ROUNDS as usize], 0).expect("room");
        }
        file.sync_all().expect("a disk");
        let started = Instant::now();
        for round in 0..ROUNDS {
            file.write_all_at(&[7; 256], round * 256).expect("room");
            file.sync_data().expect("a disk");
        }
        println!("256 B write and fdatasync, {name} file: {:?}", started.elapsed() / ROUNDS as u32);
        std::fs::remove_file(path).expect("our file");
    }
}

fn writers_that_wait(path: &Path, writers: u32) {
    let (handle, pending) = requests();
    let (tellers, ears): (Vec<_>, Vec<_>) = (0..SHARDS).map(|_| channel()).unzip();
    let answer = move |shard, answer| drop(tellers[usize::from(shard)].send(answer));
    let committer =
        Committer::start((handle.clone(), pending), Box::new(open(path)), SHARDS, answer).expect("a thread");
    let time = Duration::from_secs(8);
    let started = Instant::now();
    let threads: Vec<_> = (0..SHARDS)
        .zip(ears)
        .map(|(shard, ear)| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                let (mut batch, mut records, mut round) = (Batch::default(), 0_u64, 0_u32);
                while started.elapsed() < time {
                    for slot in 0..writers / u32::from(SHARDS) {
                        let key = Key { shard, kind: 4, slot };
                        if round.is_multiple_of(2) {
                            batch.put_bytes(key, &[7; 300][..64 + (slot * 37 % 237) as usize]);
                        } else {
                            batch.delete(key);
                        }
                        records += 1;
                    }
                    handle.commit(shard, round.into(), batch);
                    batch = loop {
                        match ear.recv().expect("the store answers") {
                            Answer::Persisted { batch, .. } => break batch,
                            Answer::Failed => panic!("the store failed"),
                            _ => {}
                        }
                    };
                    round += 1;
                }
                records
            })
        })
        .collect();
    let records: u64 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    let rate = records as f64 / started.elapsed().as_secs_f64();
    let stats = handle.stats().expect("a store");
    println!("{writers} writers: {rate:.0} records/s in {} commits; {} segments", stats.commits, stats.segments);
    drop(handle);
    committer.close().expect("a disk");
    std::fs::remove_dir_all(path).expect("our directory");
}

fn start(path: &Path) {
    const MESSAGES: u32 = 1_000_000;
    let mut log = open(path);
    let body = [7; 1024];
    for first in (0..MESSAGES).step_by(1000) {
        let mut batch = Batch::default();
        for slot in first..first + 1000 {
            batch.put_bytes(Key { shard: (slot % 2) as u16, kind: 4, slot: slot / 2 }, &body);
            batch.put_bytes(Key { shard: (slot % 2) as u16, kind: 6, slot: slot / 2 }, &body[..24]);
        }
        let batches = [batch];
        while log.append(&batches).is_err() {
            log.upkeep(Duration::from_millis(100)).expect("a disk");
        }
    }
    log.close().expect("a disk");
    drop(log);
    let started = Instant::now();
    let mut log = open(path);
    let read = started.elapsed();
    let mut count = 0;
    for shard in 0..SHARDS {
        let visit = &mut |_: Key, _: &[u8]| {
            count += 1;
            ControlFlow::Continue(())
        };
        log.each(shard, visit).expect("a disk");
    }
    println!("{MESSAGES} messages of 1 KiB, {count} records: read in {read:?}, shown after {:?}", started.elapsed());
    log.close().expect("a disk");
    drop(log);
    std::fs::remove_dir_all(path).expect("our directory");
}
