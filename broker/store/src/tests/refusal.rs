//! What the store refuses: a second process, newer formats, and batches that there is no room for.

use super::*;
use crate::disk::Directory;
use crate::log::segment::State;

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_as_it_is() {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    append(&mut log, &[Batch::default()]).unwrap();
    drop(log);
    let mut files = disk.files();
    let header = files.values_mut().next().unwrap();
    header[8..12].copy_from_slice(&3u32.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    let disk = FaultyDisk::new(files.clone(), 5);
    let error = open(&disk, options(Sync::Always)).err().unwrap();
    assert!(matches!(error, OpenError::Newer { format: 3, .. }), "{error}");
    assert_eq!((disk.files(), disk.operations()), (files, 0));
}

#[test]
fn only_one_process_can_take_a_directory() {
    let path = std::env::temp_dir().join(format!("goldcrest-lock-{}", std::process::id()));
    let taken = Directory::take(&path).unwrap();
    assert_eq!(Directory::take(&path).err().unwrap().kind(), std::io::ErrorKind::WouldBlock);
    drop(taken);
    assert!(Directory::take(&path).is_ok());
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_record_larger_than_a_segment_is_refused_without_harm_to_others() {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let mut batch = Batch::default();
    batch.put_bytes(key(0), &[0; SEGMENT as usize]);
    assert!(matches!(append(&mut log, &[batch]), Err(Failure::TooLarge(_))));
    let (mut model, mut batch) = (Model::new(), Batch::default());
    let largest = (SEGMENT - Options::segment_overhead(64)) as usize;
    put(&mut model, &mut batch, key(0), &vec![1; largest]);
    append(&mut log, &[batch]).unwrap();
    assert!(contents(&log) == model);
}

/// Fills the store until it says that it is full, then deletes until it has room again.
fn fill_and_empty(disk: &FaultyDisk, options: Options) {
    let (mut log, _) = open(disk, options).unwrap();
    let mut model = Model::new();
    log.upkeep(Duration::ZERO).unwrap();
    let mut slots = 0;
    while !log.is_full() {
        let mut batch = Batch::default();
        put(&mut model, &mut batch, key(slots), &[7; 300]);
        append(&mut log, &[batch]).unwrap();
        slots += 1;
        assert!(slots < 10_000, "it never fills");
    }
    assert!(slots > 20, "{slots}");
    let used = disk.used();
    // Deletes, and changes that need no more room, go on one at a time.
    for slot in (0..slots).filter(|slot| slot % 2 == 0) {
        let mut batch = Batch::default();
        delete(&mut model, &mut batch, key(slot));
        put(&mut model, &mut batch, key(slot + 1 - (slot + 1) / slots), &[8; 100]);
        append(&mut log, &[batch]).unwrap();
    }
    assert!(disk.used() <= used + 4 * SEGMENT, "{} after {used}", disk.used());
    let started = std::time::Instant::now();
    while log.is_full() {
        log.upkeep(Duration::ZERO).unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", log.stats());
    }
    assert!(contents(&log) == model);
    let (log, _) = open_files(disk.crash());
    assert!(contents(&log) == model);
}

#[test]
fn at_the_limit_the_store_is_full_until_records_are_deleted() {
    let disk = FaultyDisk::new(Files::new(), 5);
    fill_and_empty(&disk, Options { max_bytes: 12 * SEGMENT, ..options(Sync::Always) });
    assert!(disk.used() <= 16 * SEGMENT);
}

#[test]
fn on_a_full_disk_the_store_is_full_until_records_are_deleted() {
    let disk = FaultyDisk::new(Files::new(), 5);
    disk.set_capacity(12 * SEGMENT);
    fill_and_empty(&disk, options(Sync::Always));
}

/// A bug of the past: each try to use the removed file again failed, and the store was full for ever.
#[test]
fn removing_an_unused_file_by_hand_does_not_fill_the_store() {
    let disk = FaultyDisk::new(Files::new(), 6);
    let options = Options { max_bytes: 8 * SEGMENT, ..options(Sync::Always) };
    let (mut log, _) = open(&disk, options).unwrap();
    let (mut model, mut removed) = (Model::new(), 0);
    for round in 0..400 {
        let mut batch = Batch::default();
        put(&mut model, &mut batch, key(round % 7), &[round as u8; 300]);
        append(&mut log, &[batch]).unwrap_or_else(|error| panic!("round {round}, {removed} removed: {error}"));
        assert!(!log.is_full(), "round {round}, {removed} removed: {:?}", log.why_full());
        let free = log.contents.segments.iter().find(|(_, segment)| matches!(segment.state, State::Dead | State::Free));
        if let Some((_, segment)) = free
            && disk.remove(&segment.name).is_ok()
        {
            removed += 1;
        }
    }
    assert!(removed > 5, "{removed}");
    assert!(contents(&log) == model);
    drop(log);
    assert!(contents(&open_files(disk.files()).0) == model);
}

#[test]
fn when_the_disk_has_room_again_the_store_goes_on_within_a_second() {
    let disk = FaultyDisk::new(Files::new(), 5);
    disk.set_capacity(5 * SEGMENT);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let mut slot = 0;
    while !log.is_full() {
        let mut batch = Batch::default();
        batch.put_bytes(key(slot), &[7; 300]);
        append(&mut log, &[batch]).unwrap();
        slot += 1;
    }
    let why = log.why_full().unwrap();
    assert!(why.cause == Cause::Disk, "the disk is full, not what max_bytes allows: {why}");
    disk.set_capacity(u64::MAX);
    let started = std::time::Instant::now();
    while log.is_full() {
        log.upkeep(Duration::ZERO).unwrap();
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}
