//! Records that belong to no shard, handed in beside the batches of shards.

use super::*;
use crate::{Answer, Committer, requests};
use std::sync::mpsc::channel;

/// A shard's records refer to common records that were handed in before. So a loss of power must never take a common record and
/// leave a record that refers to it.
#[test]
fn a_common_record_is_safe_before_later_batches_of_shards() {
    const RECORDS: u32 = 40;
    let mut partly = 0;
    for seed in 0..long_or(4) {
        let disk = FaultyDisk::new(Files::new(), seed);
        disk.take_images();
        let (log, _) = open(&disk, options(Sync::Always)).unwrap();
        let (handle, pending) = requests();
        let (tell, told) = channel();
        let tell = move |shard, answer| drop(tell.send((shard, answer)));
        let committer = Committer::start((handle.clone(), pending), Box::new(log), 2, tell).unwrap();
        let mut answered = 0;
        for slot in 0..RECORDS {
            let (mut common, mut batch) = (Batch::default(), Batch::default());
            common.put_bytes(Key { shard: Key::COMMON, kind: 2, slot }, b"a name");
            batch.put_bytes(key(slot), b"what refers to it");
            handle.commit_common(common);
            handle.commit(0, slot.into(), batch);
            // Some become safe together, and some before others are handed in.
            while slot % 3 == 0 && answered <= slot {
                answered += u32::from(is_persisted(told.recv_timeout(Duration::from_secs(20)).unwrap()));
            }
        }
        committer.close().unwrap();
        answered += told.try_iter().map(|answer| u32::from(is_persisted(answer))).sum::<u32>();
        assert_eq!(answered, RECORDS, "nobody hears of common records");
        for image in disk.take_images() {
            let found = contents(&open_files(image).0);
            let is_there = |shard, kind, slot| found.contains_key(&Key { shard, kind, slot });
            let there = (0..RECORDS).filter(|&slot| is_there(0, 1, slot)).count() as u32;
            for slot in 0..RECORDS {
                assert!(!is_there(0, 1, slot) || is_there(Key::COMMON, 2, slot), "seed {seed}, slot {slot}");
            }
            partly += u32::from((1..RECORDS).contains(&there));
        }
    }
    assert!(partly > 20, "{partly}");
}

fn is_persisted((shard, answer): (u16, Answer)) -> bool {
    assert_eq!(shard, 0, "{answer:?}");
    matches!(answer, Answer::Persisted { .. })
}
