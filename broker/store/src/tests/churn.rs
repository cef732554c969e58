//! The disk space that a store takes is bounded by its live records, however many records come and go beside old ones.

use super::*;

/// One old record stays in the first segment while thousands come and go. Neither these records nor the tombstones that the old
/// segment makes necessary pile up.
#[test]
fn an_old_record_does_not_keep_dead_segments_on_disk() {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let (mut model, mut batch) = (Model::new(), Batch::default());
    put(&mut model, &mut batch, Key { shard: 1, kind: 1, slot: 9 }, b"forgotten");
    // These records stand in the same segment. They are deleted later, and must not come back.
    for slot in 0..20 {
        put(&mut model, &mut batch, key(slot), &[1; 100]);
    }
    append(&mut log, &[batch]).unwrap();
    let mut random = Random::new(3);
    for round in 0..4000 {
        let mut batch = Batch::default();
        let slot = random.below(40) as u32;
        match model.contains_key(&key(slot)) {
            true => delete(&mut model, &mut batch, key(slot)),
            false => put(&mut model, &mut batch, key(slot), &[round as u8; 100]),
        }
        append(&mut log, &[batch]).unwrap();
        assert!(disk.used() <= 14 * SEGMENT, "round {round}: {:?}", log.stats());
        if round % 500 == 0 {
            assert!(contents(&open_files(disk.files()).0) == model, "round {round}");
        }
    }
    assert!(contents(&log) == model);
    for slot in 0..40 {
        let mut batch = Batch::default();
        delete(&mut model, &mut batch, key(slot));
        append(&mut log, &[batch]).unwrap();
    }
    assert!(contents(&open_files(disk.crash()).0) == model);
}

/// A tombstone must outlive every record that it voids, wherever compaction has moved the tombstone or the record.
#[test]
fn no_deleted_record_comes_back_after_a_start() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(Files::new(), seed);
        let (mut log, _) = open(&disk, Options { max_bytes: 12 * SEGMENT, ..options(Sync::Always) }).unwrap();
        let (mut random, mut model) = (Random::new(seed), Model::new());
        for round in 0..300 {
            // At first few of the keys are live, then many, then few again.
            let batches = random_batches(&mut random, &mut model);
            append(&mut log, &batches).unwrap();
            if round % 30 == 0 {
                log.upkeep(Duration::ZERO).unwrap();
                let found = contents(&open_files(disk.crash()).0);
                assert!(found == model, "seed {seed} round {round}");
            }
            if random.below(60) == 0 {
                drop(log);
                (log, _) = open(&disk, options(Sync::Always)).unwrap();
            }
        }
    }
}

#[test]
fn disk_space_of_deleted_records_is_given_back() {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let (mut model, slots) = (Model::new(), 400);
    for slot in 0..slots {
        let mut batch = Batch::default();
        put(&mut model, &mut batch, key(slot), &[1; 300]);
        append(&mut log, &[batch]).unwrap();
    }
    let full = disk.used();
    for slot in 0..slots {
        let mut batch = Batch::default();
        delete(&mut model, &mut batch, key(slot));
        append(&mut log, &[batch]).unwrap();
    }
    while log.upkeep(Duration::ZERO).unwrap() {}
    assert!(disk.used() < full / 2, "{} of {full}: {:?}", disk.used(), log.stats());
    assert!(contents(&open_files(disk.files()).0) == model);
}
