//! Changes of the number of shards. Power may be lost at every operation of the change. Then the store has the whole old layout
//! or the whole new one.

use super::*;

#[derive(Debug)]
struct Broken;

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        panic!("{failure}")
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        panic!("{error}")
    }
}

/// Moves all records to the other shard, in batches of 3, and adds to their bodies. Fails at the end if `breaks_off`.
fn turn_over(log: &mut LogStore, model: &Model, shards: u16, breaks_off: bool) -> Result<Model, Broken> {
    let mut new = Model::new();
    log.change_layout(shards, |log| {
        let records: Vec<_> = model.iter().collect();
        for records in records.chunks(3) {
            let mut batch = Batch::default();
            for (key, body) in records {
                if key.shard == Key::COMMON {
                    // The record belongs to no layout, so it stays where it is.
                    new.insert(**key, (*body).clone());
                    continue;
                }
                let mut before = Vec::new();
                assert!(log.fetch_before(**key, &mut before)?);
                assert_eq!(before, **body);
                let key = Key { shard: 1 - key.shard, ..**key };
                put(&mut new, &mut batch, key, &[b"new ", &before[..]].concat());
            }
            log.append_patiently(batch)?;
        }
        if breaks_off { Err(Broken) } else { Ok(()) }
    })?;
    Ok(new)
}

#[test]
fn the_number_of_shards_changes_as_a_whole_whenever_power_is_lost() {
    let mut checked = 0;
    for seed in 0..long_or(3) {
        let disk = FaultyDisk::new(Files::new(), seed);
        let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
        let (mut random, mut old) = (Random::new(seed), Model::new());
        for _ in 0..30 {
            let batches = random_batches(&mut random, &mut old);
            append(&mut log, &batches).unwrap();
        }
        assert!(turn_over(&mut log, &old, 9, true).is_err());
        assert!(contents(&log) == old, "what breaks off changes nothing");
        disk.take_images();
        let mut shards = 2;
        // The layout changes, and then changes back to the first base.
        for next in [5, 3] {
            let new = turn_over(&mut log, &old, next, false).unwrap();
            assert!(contents(&log) == new);
            let mut both = [0, 0];
            for image in disk.take_images() {
                let (log, report) = open_files(image.clone());
                let found = contents(&log);
                let is_new = found == new;
                assert!(is_new || found == old, "seed {seed}");
                assert_eq!(report.shards, if is_new { next } else { shards }, "seed {seed}");
                both[usize::from(is_new)] += 1;
                checked += 1;
                drop(log);
                // The remains of an unfinished change do not disturb a new one.
                if random.below(20) == 0 {
                    let (mut log, _) = open_files(image);
                    let again = turn_over(&mut log, &found, 4, false).unwrap();
                    assert!(contents(&log) == again);
                }
            }
            assert!(both[0] > 5 && both[1] > 0, "{both:?}");
            (old, shards) = (new, next);
        }
    }
    println!("{checked} images");
}
