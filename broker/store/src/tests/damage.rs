//! Every byte and every length of a small store is damaged. The damage is always detected, nothing panics, and the whole records
//! are served.

use super::*;

/// A store of a few segments, and the model of what it holds.
fn small_store(is_closed: bool) -> (Files, Model) {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let (mut random, mut model) = (Random::new(11), Model::new());
    for _ in 0..4 {
        let batches = random_batches(&mut random, &mut model);
        append(&mut log, &batches).unwrap();
    }
    if is_closed {
        log.close().unwrap();
    }
    (disk.files(), model)
}

/// Opens damaged files. Returns whether the damage was noticed. Each record that is served was once written under its key.
fn notices(files: Files, model: &Model, lost: &mut usize) -> bool {
    let (log, report) = open_files(files);
    let found = contents(&log);
    *lost += model.iter().filter(|(key, body)| found.get(key) != Some(body)).count();
    !report.damage.is_none() || report.torn_bytes > 0 || found == *model
}

#[test]
fn every_flipped_bit_in_a_store_is_detected() {
    let mut tried = 0;
    for is_closed in [true, false] {
        let (files, model) = small_store(is_closed);
        let mut lost = 0;
        for (name, bytes) in &files {
            for at in (0..bytes.len()).step_by(if long_or(0) > 0 { 1 } else { 3 }) {
                // The bytes behind the last frame are no part of the store.
                if bytes[at..].iter().all(|&byte| byte == 0) {
                    break;
                }
                let mut damaged = files.clone();
                damaged.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
                assert!(notices(damaged, &model, &mut lost), "{name} at {at}");
                tried += 1;
            }
        }
        println!("{lost} records lost in {tried} flips of a store with {} records", model.len());
    }
}

#[test]
fn every_truncation_of_a_segment_is_detected() {
    let (files, model) = small_store(true);
    let mut tried = 0;
    for (name, bytes) in &files {
        // By default one length in 13 is tried; in a long run every length.
        let step = if long_or(0) > 0 { 1 } else { 13 };
        for len in (0..bytes.len()).step_by(step) {
            let mut damaged = files.clone();
            damaged.get_mut(name).unwrap().truncate(len);
            assert!(notices(damaged.clone(), &model, &mut 0), "{name} cut to {len}");
            let (log, report) = open_files(damaged);
            assert!(!report.damage.is_none(), "{name} cut to {len}");
            drop(log);
            tried += 1;
        }
    }
    println!("{tried} truncations");
}

#[test]
fn a_damaged_body_loses_only_its_record_and_is_copied_aside() {
    let disk = FaultyDisk::new(Files::new(), 5);
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    let (mut model, mut batch) = (Model::new(), Batch::default());
    for slot in 0..5 {
        put(&mut model, &mut batch, key(slot), &[b'a' + slot as u8; 100]);
    }
    // The older body of the same key must not come back in its place.
    let mut older = Batch::default();
    older.put_bytes(key(2), b"older");
    append(&mut log, &[older]).unwrap();
    append(&mut log, &[batch]).unwrap();
    log.close().unwrap();
    let mut files = disk.files();
    let damaged = files.values_mut().find_map(|bytes| Some((bytes.windows(50).position(|w| w == [b'c'; 50])?, bytes)));
    let (at, bytes) = damaged.unwrap();
    bytes[at] = b'X';
    let disk = FaultyDisk::new(files, 1);
    for _ in 0..2 {
        let (mut log, report) = open(&disk, options(Sync::Always)).unwrap();
        assert_eq!((report.damage.places, report.damage.records.get(&1)), (1, Some(&1)));
        model.remove(&key(2));
        assert!(contents(&log) == model);
        assert_eq!(disk.list_damaged().len(), 1);
        drop(log.stats());
        log.close().unwrap();
    }
    // The store moves the whole records out of the damaged segment, and removes the segment with the damage in it.
    let (mut log, _) = open(&disk, options(Sync::Always)).unwrap();
    while log.upkeep(Duration::ZERO).unwrap() {}
    append(&mut log, &[Batch::default()]).unwrap();
    for _ in 0..10 {
        log.upkeep(Duration::ZERO).unwrap();
    }
    log.close().unwrap();
    let (log, report) = open(&disk, options(Sync::Always)).unwrap();
    assert!(contents(&log) == model);
    assert!(report.damage.is_none(), "{report:?}");
}

impl FaultyDisk {
    fn list_damaged(&self) -> Vec<String> {
        self.files().into_keys().filter(|name| name.starts_with("damaged-")).collect()
    }
}
