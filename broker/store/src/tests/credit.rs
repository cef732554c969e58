//! Granted credit has its room, even if the disk is full by the time the credit is used.

use super::*;
use crate::{Answer, Committer, requests};
use std::sync::mpsc::channel;

const WAIT: Duration = Duration::from_secs(20);

/// A shard, as the store sees it.
#[derive(Debug, Default)]
struct Shard {
    granted: usize,
    is_under_way: bool,
    tickets: u64,
    is_full: bool,
    /// The slots of its messages that are live.
    live: Vec<u32>,
    slots: u32,
}

/// Shards hand in as much as they may, until all know that the store is full. Then each shard uses up its credit, and none has to
/// wait for room. Once there is room again they go on.
#[test]
fn granted_credit_can_be_used_while_the_disk_is_full() {
    for seed in 1..=long_or(12) {
        let disk = FaultyDisk::new(Files::new(), seed);
        disk.set_capacity((6 + seed % 7) * SEGMENT);
        let shards = 1 + (seed % 3) as u16;
        let options = Options { shards, thread: seed % 2 == 0, ..options(Sync::Always) };
        let (log, _) = open(&disk, options).unwrap();
        let share = log.credit_share() as usize;
        let (handle, pending) = requests();
        let (tell, told) = channel();
        let tell = move |shard, answer| drop(tell.send((shard, answer)));
        let committer = Committer::start((handle.clone(), pending), Box::new(log), shards, tell).unwrap();
        let mut random = Random::new(seed);
        let mut all: Vec<Shard> = (0..shards).map(|_| Shard::default()).collect();
        for shard in 0..shards {
            // Sometimes the shard wants more than one segment.
            handle.want_credit(shard, random.below(3) * SEGMENT + share as u64);
        }
        let (mut fulls, mut batches) = (0, 0);
        while fulls < 3 {
            let (index, answer) = told.recv_timeout(WAIT).unwrap_or_else(|_| {
                panic!("seed {seed}: nobody is answered: {all:?}, {:?}, disk {}", handle.stats(), disk.used())
            });
            let shard = &mut all[usize::from(index)];
            if matches!(answer, Answer::HalfFull(_)) {
                continue;
            }
            let has_space = matches!(answer, Answer::Full(false));
            shard.hear(answer);
            if has_space {
                handle.want_credit(index, share.saturating_sub(shard.granted) as u64);
            }
            if !shard.is_full && random.below(4) == 0 {
                let mut batch = Batch::default();
                batch.put_bytes(Key { shard: Key::COMMON, kind: 1, slot: random.below(8) as u32 }, &[7; 20]);
                handle.commit_common(batch);
            }
            if !shard.is_under_way {
                match shard.next_batch(&mut random, index) {
                    Some(batch) => {
                        handle.commit(index, shard.tickets, batch);
                        batches += 1;
                    }
                    None if shard.is_full => {}
                    None => handle.want_credit(index, SEGMENT),
                }
            }
            if all.iter().all(|shard| shard.is_full && !shard.is_under_way) {
                fulls += 1;
                // The room is larger than the prepared segments, since compaction may be using some of these.
                disk.set_capacity(disk.used() + (4 + random.below(5)) * SEGMENT);
            }
        }
        assert!(batches > 10, "seed {seed}: {batches}");
        committer.close().unwrap();
    }
}

#[test]
fn returned_credit_can_be_granted_to_other_shards() {
    let disk = FaultyDisk::new(Files::new(), 1);
    disk.set_capacity(8 * SEGMENT);
    let shards = 2;
    let (log, _) = open(&disk, Options { shards, ..options(Sync::Always) }).unwrap();
    let share = log.credit_share();
    let (handle, pending) = requests();
    let (tell, told) = channel();
    let tell = move |shard, answer| drop(tell.send((shard, answer)));
    let committer = Committer::start((handle.clone(), pending), Box::new(log), shards, tell).unwrap();
    for shard in [0, 1].repeat(50) {
        handle.want_credit(shard, share);
        let mut granted = 0;
        while granted < share {
            match told.recv_timeout(WAIT).unwrap() {
                (to, Answer::Credit(bytes)) if to == shard => granted += bytes,
                other => panic!("{other:?}"),
            }
        }
        handle.return_credit(granted);
    }
    committer.close().unwrap();
}

/// All shards are told when half of the bytes that the store may take are in use, and when they no longer are, even at a start.
#[test]
fn shards_are_told_when_half_of_the_store_is_in_use() {
    let disk = FaultyDisk::new(Files::new(), 1);
    let options = Options { shards: 2, max_bytes: 20 * SEGMENT, ..options(Sync::Always) };
    // The limit of what the records may take: less than `max_bytes`, because the store keeps some segments prepared.
    let limit = 16 * SEGMENT;
    let mut used = 0;
    for deletes in [false, false, true] {
        let (log, _) = open(&disk, options.clone()).unwrap();
        let (handle, pending) = requests();
        let (tell, told) = channel();
        let tell = move |shard, answer| drop(tell.send((shard, answer)));
        let committer = Committer::start((handle.clone(), pending), Box::new(log), 2, tell).unwrap();
        // A new committer does not know what the last one told the shards.
        let mut heard = [false; 2];
        for ticket in 1.. {
            let mut batch = Batch::default();
            if deletes {
                used -= 1;
                batch.delete(key(used));
            } else {
                batch.put_bytes(key(used), &[7; 400]);
                used += 1;
            }
            handle.commit(0, ticket, batch);
            let mut is_safe = false;
            while !is_safe {
                let (shard, answer) = told.recv_timeout(WAIT).unwrap();
                match answer {
                    Answer::Persisted { .. } => is_safe = true,
                    Answer::HalfFull(is_half_full) => heard[usize::from(shard)] = is_half_full,
                    other => panic!("{other:?}"),
                }
            }
            let live = handle.stats().unwrap().live_bytes;
            for (shard, answer) in told.try_iter() {
                let Answer::HalfFull(is_half_full) = answer else { panic!("{answer:?}") };
                heard[usize::from(shard)] = is_half_full;
            }
            // The shards may not have heard of the last batch yet.
            let margin = 500;
            if live < limit / 16 * 7 - margin {
                assert_eq!(heard, [false; 2], "{live} of {limit}");
            } else if live > limit / 2 + margin {
                assert_eq!(heard, [true; 2], "{live} of {limit}");
            }
            let is_enough = if deletes { !heard[1] } else { live > limit / 8 * 5 };
            if is_enough {
                break;
            }
            assert!(ticket < 10_000, "{live} of {limit}");
        }
        committer.close().unwrap();
    }
}

impl Shard {
    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Credit(bytes) => self.granted += bytes as usize,
            Answer::Persisted { ticket, .. } => {
                assert_eq!(ticket, self.tickets);
                self.is_under_way = false;
            }
            Answer::Full(is_full) => self.is_full = is_full,
            other => panic!("{other:?}"),
        }
    }

    /// A batch of new messages, as far as there is credit for them. It sometimes deletes some too.
    fn next_batch(&mut self, random: &mut Random, shard: u16) -> Option<Batch> {
        let mut batch = Batch::default();
        for _ in 0..1 + random.below(4) {
            // The messages are short, so that little room is left unused at the ends of segments.
            let len = random.below(200) as usize;
            let mut larger = Batch::default();
            larger.put_bytes(key(0), &vec![0; len]);
            if batch.bytes_in_log() + larger.bytes_in_log() <= self.granted {
                batch.put_bytes(Key { shard, kind: 1, slot: self.slots }, &vec![7; len]);
                self.live.push(self.slots);
                self.slots += 1;
            }
        }
        if batch.is_empty() {
            return None;
        }
        if random.below(8) == 0
            && let Some(slot) = self.live.pop()
        {
            batch.delete(Key { shard, kind: 1, slot: slot.saturating_sub(20) });
        }
        self.granted = self.granted.saturating_sub(batch.bytes_in_log());
        self.is_under_way = true;
        self.tickets += 1;
        Some(batch)
    }
}
